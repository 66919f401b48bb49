"""What in a patch makes its evidence weaker, read from the syntax trees before and after: only what is new counts.

A finding does not say that the patch cheats. It says why passing tests prove less than they seem to, and the
run ends *unverified*. What this cannot see is in SECURITY.md.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from tinsmith.resolve.audit_literals import Literals, known_literals, literals_of
from tinsmith.resolve.audit_names import Occurrence, suspicious_names
from tinsmith.resolve.audit_shapes import always_equal, checks_in, swallowed_errors
from tinsmith.resolve.findings import Finding, parsed

_CODING = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_KNOWN_CODINGS = frozenset({"utf-8", "utf8", "utf-8-sig", "ascii", "us-ascii", "latin-1", "latin1", "iso-8859-1"})


def audit_patch(
    before: Mapping[str, str],
    after: Mapping[str, str],
    tests: Sequence[str] = (),
    raised: Collection[str] = (),
) -> list[Finding]:
    """The findings on the changed source files, {path: text}, of a patch; by path and line.

    `tests` are the texts of the reproduction (see `test_code`), `raised` the names of the errors that it failed by.
    """
    literals = literals_of(tests)
    old = literals_of(text for path, text in before.items() if path.endswith(".py"))
    seen = Counter[tuple[str, str]]()
    for path, text in before.items():
        seen.update((o.rule, o.key) for o in _occurrences(path, text, literals, old, raised))
    findings: dict[tuple[str, str, int], Finding] = {}
    for path, text in sorted(after.items()):
        if text == before.get(path):
            continue
        for occurrence in _occurrences(path, text, literals, old, raised):
            if seen[occurrence.rule, occurrence.key] > 0:
                seen[occurrence.rule, occurrence.key] -= 1
                continue
            finding = Finding(occurrence.rule, path, occurrence.line, occurrence.text)
            findings.setdefault((path, finding.rule, finding.line), finding)
    for path in before.keys() & after.keys():
        lost = _checks(path, before[path]) - _checks(path, after[path])
        if lost > 0:
            said = f"The patch takes away {lost} of the checks that the code makes itself."
            findings[path, "removed-check", 1] = Finding("removed-check", path, 1, said)
    return sorted(findings.values(), key=lambda finding: (finding.path, finding.line, finding.rule))


def _checks(path: str, text: str) -> int:
    tree = parsed(text) if path.endswith(".py") else None
    return checks_in(tree) if tree else 0


def _occurrences(
    path: str, text: str, literals: Literals, before: Literals, raised: Collection[str]
) -> Iterable[Occurrence]:
    if not path.endswith((".py", ".pyi")):
        yield from _in_other_text(text, literals)
        return
    for number, line in enumerate(text.split("\n")[:2], 1):
        if (said := _CODING.match(line)) and said.group(1).lower().replace("_", "-") not in _KNOWN_CODINGS:
            yield Occurrence(
                "opaque", "coding", number, f"The file is written in {said.group(1)}, so it reads otherwise."
            )
    tree = parsed(text)
    if tree is None:
        yield Occurrence("opaque", "syntax", 1, "The file is no Python that could be read.")
        return
    yield from suspicious_names(tree)
    yield from swallowed_errors(tree, raised)
    yield from always_equal(tree)
    yield from known_literals(tree, literals, before)


def _in_other_text(text: str, literals: Literals) -> Iterator[Occurrence]:
    """Data that the code may read: whole long texts of the reproduction."""
    for kind, value in sorted(literals.values, key=repr):
        if kind == "str" and isinstance(value, str) and len(value) >= 8 and value in text:
            line = text[: text.index(value)].count("\n") + 1
            said = f"The file holds {value[:60]!r}, which stands in the reproduction."
            yield Occurrence("knows-reproduction", repr(value), line, said)
