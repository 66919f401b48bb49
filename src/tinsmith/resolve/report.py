"""The pull request's text, in Markdown, from what the run found and what the gate saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinsmith.codebase import Suspect
from tinsmith.events import redact
from tinsmith.resolve.diff_view import FileDiff, file_diffs
from tinsmith.resolve.gate import Evidence

_MAX_QUOTED = 40
"""Lines of a patch that the text quotes; a longer one is read where the forge shows it."""


@dataclass(frozen=True)
class Facts:
    """Everything the text is made of. `failures`: what each test said on the clean base; `waived`: what the sandbox did
    not hold."""

    run: str
    issue: str
    status: str
    reason: str
    model: str
    suspects: Sequence[Suspect]
    patch: str
    evidence: Evidence
    failures: Mapping[str, str]
    usage: Mapping[str, float]
    branch: str | None
    summary: str
    waived: str = ""


def title(issue: str) -> str:
    """The first line of the issue, as a title."""
    first = next((line.strip("# \t") for line in issue.splitlines() if line.strip("# \t")), "the issue")
    return first if len(first) <= 72 else first[:69].rstrip() + "..."


def readable(summary: str) -> str:
    """What the model said of its fix, on one line; nothing where it is no prose: a small model's may only repeat."""
    words = summary.split()
    if 2 * len(set(words)) < len(words) or max(map(len, words), default=0) > 60:
        return ""
    line = " ".join(words)
    return line if len(line) <= 400 else line[:397].rstrip() + "..."


def pull_request(facts: Facts) -> str:
    """What, root cause, evidence, how it was verified, what to look at. Without secrets."""
    diffs = file_diffs(facts.patch)
    sections = {
        "What": _what(facts, diffs),
        "Root cause": [_root_cause(facts, diffs)],
        "Evidence": _evidence(facts),
        "How it was verified": _verification(facts),
        "Look at these": [_finding(row) for row in facts.evidence.findings],
    }
    lines = [f"# Fix: {_plain(title(facts.issue))}", ""]
    for name, content in sections.items():
        if content:
            lines += [f"## {name}", "", *content, ""]
    status = f"Status: **{facts.status}** ({_plain(facts.reason)})."
    lines += [f"Made by Tinsmith with {facts.model}, run {facts.run}. {status}", ""]
    return redact("\n".join(lines))


def _what(facts: Facts, diffs: Sequence[FileDiff]) -> list[str]:
    if not diffs:
        return ["No change."]
    summary = readable(facts.summary)
    lines = [_plain(summary), ""] if summary else []
    lines += [f"- {_code(diff.path)} ({diff.change}, +{diff.added} -{diff.removed})" for diff in diffs]
    if facts.patch.count("\n") <= _MAX_QUOTED:
        lines += ["", *_fenced("diff", facts.patch)]
    return lines


def _root_cause(facts: Facts, diffs: Sequence[FileDiff]) -> str:
    if not diffs:
        return "Not found."
    by_path = {diff.path: diff for diff in diffs}
    cause = next((s for s in facts.suspects if s.path in by_path and by_path[s.path].touches(s.first, s.last)), None)
    if cause is None:
        return f"In {', '.join(_code(path) for path in by_path)}."
    place = f"{_code(cause.name)} in {_code(cause.path)}, lines {cause.first} to {cause.last}"
    if not facts.evidence.reproduction:
        return f"{place}: {'; '.join(cause.reasons)}."
    return f"The failing test leads to {place} ({'; '.join(cause.reasons)})."


def _evidence(facts: Facts) -> list[str]:
    evidence = facts.evidence
    if not evidence.reproduction:
        return ["No test failed on the clean base, so nothing proves the fix: this run is *unverified*."]
    lines = ["| test | clean base | clean copy with the patch |", "| --- | --- | --- |"]
    for test in evidence.reproduction:
        before, after = evidence.before.get(test, "failed"), evidence.after.get(test, "not run")
        lines.append(f"| {_code(test)} | {before} | {after} |")
    said = [f"- {_code(test)}: {_code(message)}" for test, message in facts.failures.items()]
    return [*lines, *(["", "On the clean base:", "", *said] if said else [])]


def _verification(facts: Facts) -> list[str]:
    evidence = facts.evidence
    if not evidence.after:
        return []
    where = f"with less than a whole sandbox ({facts.waived})" if facts.waived else "in a sandbox without network"
    lines = [
        f"The tests ran {where}, on a clean copy of the base and on a clean copy with the patch. "
        f"Tests that passed before and still pass: {evidence.still_passing}; broken: {len(evidence.broken)}."
    ]
    if evidence.control is not None:
        shown = "was reported as failing" if evidence.control else "was NOT reported as failing"
        lines += ["", f"As a control, the reproduction with a failure put into it {shown}."]
    if evidence.flaky:
        lines += ["", f"Passed only when run again: {', '.join(_code(test) for test in evidence.flaky[:20])}."]
    if evidence.broken:
        lines += ["", *(f"- {_code(test)}" for test in evidence.broken[:20])]
    return lines


def _finding(row: Mapping[str, Any]) -> str:
    place = f"{row.get('path', '')}:{row.get('line', '')}"
    return f"- {_code(place)}: {_plain(str(row.get('text', '')))} ({row.get('rule', '')})"


def _plain(text: str) -> str:
    """A stranger's words on one line, without what Markdown would make of them."""
    line = " ".join(text.split())
    return line.replace("<", "&lt;").replace("![", "!\\[")


def _code(text: str) -> str:
    """`text` as code, also where it holds backticks or would end a table's cell."""
    line = " ".join(text.split()).replace("|", "\\|")
    ticks = "`"
    while ticks in line:
        ticks += "`"
    return f"{ticks}{line}{ticks}" if len(ticks) == 1 else f"{ticks} {line} {ticks}"


def _fenced(kind: str, text: str) -> list[str]:
    fence = "```"
    while fence in text:
        fence += "`"
    return [fence + kind, text.rstrip("\n"), fence]
