"""Which functions an issue points at: a simple ranking by its words and by what a failing test ran.

Each piece of evidence adds to a function's score and says so in its reasons. Where the lines that a failing
test executed are known, a function that it never entered cannot be the cause and is not ranked.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinsmith.codebase.functions import Function, functions_in
from tinsmith.codebase.sources import is_test_file, source_files


@dataclass(frozen=True)
class Evidence:
    """What is known of the failure. Lines are 1-based, paths from the root; `frames` innermost first."""

    issue: str
    test_source: str = ""
    frames: tuple[tuple[str, int], ...] = ()
    executed: Mapping[str, frozenset[int]] = field(default_factory=dict[str, frozenset[int]])


@dataclass(frozen=True)
class Suspect:
    """A function under suspicion.

    `lines`: its own lines (1-based), where known those that were executed. `raised`: a traceback goes through it.
    """

    path: str
    name: str
    first: int
    last: int
    score: float
    reasons: tuple[str, ...]
    lines: tuple[int, ...]
    raised: bool = False


_FRAME = (6.0, 3.0, 1.5)
_NAMED_IN_ISSUE = 4.0
_NAMED_IN_TEST = 3.0
_SHARED_WORD = 0.5
_PATH_IN_ISSUE = 2.0


def rank_suspects(root: Path, evidence: Evidence, limit: int = 10) -> list[Suspect]:
    """The most suspicious functions of the Python files under `root`, best first."""
    paths: Iterable[str] = evidence.executed or (p for p in source_files(root, ".py") if not is_test_file(p))
    issue_words = _words(evidence.issue)
    test_words = _words(evidence.test_source)
    suspects: list[Suspect] = []
    for path in sorted(paths):
        file = root / path
        if not file.is_file():
            continue
        functions = functions_in(path, file.read_text(encoding="utf-8", errors="replace"))
        owned = _own_lines(functions)
        for function in functions:
            lines = owned[function]
            if evidence.executed:
                lines = tuple(line for line in lines if line in evidence.executed.get(path, frozenset()))
                # The `def` line runs at import; only a body line shows that the function was entered.
                if not any(line >= function.body for line in lines):
                    continue
            score, reasons = _score(function, evidence, issue_words, test_words)
            if score > 0 or evidence.executed:
                raised = _depth(function, evidence) is not None
                place = (path, function.name, function.first, function.last)
                suspects.append(Suspect(*place, score, tuple(reasons), lines, raised))
    suspects.sort(key=lambda suspect: (-suspect.score, suspect.path, suspect.first))
    return suspects[:limit]


def prime_suspects(suspects: Sequence[Suspect], limit: int) -> list[Suspect]:
    """The first `limit` of a ranking; where an error was raised in the code under test, those on its way only."""
    raised = [suspect for suspect in suspects if suspect.raised]
    return (raised or list(suspects))[:limit]


def _depth(function: Function, evidence: Evidence) -> int | None:
    """How far from the innermost frame `function` is in the tracebacks; None where it is not in them."""
    inside = (
        depth
        for depth, (path, line) in enumerate(evidence.frames)
        if path == function.path and function.first <= line <= function.last
    )
    return next(inside, None)


def _score(
    function: Function, evidence: Evidence, issue_words: frozenset[str], test_words: frozenset[str]
) -> tuple[float, list[str]]:
    score, reasons = 0.0, list[str]()
    if (depth := _depth(function, evidence)) is not None:
        score += _FRAME[min(depth, len(_FRAME) - 1)]
        reasons.append("in the failing test's traceback")
    name = function.name.rsplit(".", 1)[-1]
    if name.lower() in issue_words:
        score += _NAMED_IN_ISSUE
        reasons.append("named in the issue")
    if name.lower() in test_words:
        score += _NAMED_IN_TEST
        reasons.append("named in the failing test")
    shared = (_words(name.replace("_", " ")) | _words(function.name.split(".")[0])) & issue_words - {name.lower()}
    if shared:
        score += _SHARED_WORD * len(shared)
        reasons.append(f"shares words with the issue: {', '.join(sorted(shared))}")
    if Path(function.path).stem.lower() in issue_words:
        score += _PATH_IN_ISSUE
        reasons.append("its file is named in the issue")
    if evidence.executed:
        reasons.append("executed by the failing test")
    return score, reasons


def _own_lines(functions: Sequence[Function]) -> dict[Function, tuple[int, ...]]:
    """The lines of each function that belong to no function inside it."""
    owner: dict[int, Function] = {}
    for function in functions:  # outer before inner, so the innermost wins
        for line in range(function.first, function.last + 1):
            owner[line] = function
    owned: dict[Function, list[int]] = defaultdict(list)
    for line, function in sorted(owner.items()):
        owned[function].append(line)
    return {function: tuple(owned[function]) for function in functions}


def _words(text: str) -> frozenset[str]:
    """Identifiers of `text`, whole and in parts, in lower case; short ones say nothing and are left out."""
    found: set[str] = set()
    for word in re.findall(r"[A-Za-z_][A-Za-z0-9_]*", text):
        found.add(word.lower())
        found.update(part.lower() for part in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", word))
    return frozenset(word for word in found if len(word) > 2)
