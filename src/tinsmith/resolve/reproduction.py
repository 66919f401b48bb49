"""Which failing tests of the clean base reproduce the issue.

A test counts if it fails in its call by assertion, by an error raised in the code under test, or by its time limit;
never one that could not be collected. Among several failing tests, those that share most words with the issue are
taken.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tinsmith.workspace import Frame, TestOutcome, TestReport


@dataclass(frozen=True)
class Reproduction:
    """The tests that must flip, and those that passed before and must still pass."""

    failing: tuple[TestOutcome, ...]
    passing: tuple[str, ...]

    @property
    def ids(self) -> tuple[str, ...]:
        """The node ids of the failing tests."""
        return tuple(outcome.nodeid for outcome in self.failing)

    def as_json(self) -> dict[str, Any]:
        """{"reproduction": [the fields of each outcome but its trace], "passing": [node id]}."""
        rows = [{**asdict(replace(outcome, trace=frozenset())), "trace": []} for outcome in self.failing]
        return {"reproduction": rows, "passing": list(self.passing)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Reproduction":
        """What `as_json` gave; more keys may be there."""
        failing: list[TestOutcome] = []
        for row in data["reproduction"]:
            told: dict[str, Any] = dict(row)
            told.update(frames=tuple(Frame(**frame) for frame in row["frames"]), trace=frozenset[tuple[str, int]]())
            failing.append(TestOutcome(**told))
        return cls(tuple(failing), tuple(data["passing"]))


def find_reproduction(report: TestReport, issue: str, root: Path) -> Reproduction:
    """The reproduction of `issue` among the outcomes of the clean base at `root`; `failing` may be empty."""
    passing = tuple(nodeid for nodeid, outcome in report.outcomes.items() if outcome.outcome == "passed")
    failing = [
        outcome
        for outcome in report.outcomes.values()
        if outcome.outcome == "timeout" or (outcome.outcome == "failed" and outcome.by in ("assertion", "error"))
    ]
    if len(failing) <= 1:
        return Reproduction(tuple(failing), passing)
    said = _words(issue)
    shared = {o.nodeid: len(said & _words(o.nodeid + "\n" + test_source(root, o.nodeid))) for o in failing}
    named = [outcome for outcome in failing if _is_named(outcome.nodeid, issue)]
    best = max(shared.values())
    chosen = named or [outcome for outcome in failing if 2 * shared[outcome.nodeid] >= best]
    return Reproduction(tuple(chosen), passing)


def test_source(root: Path, nodeid: str) -> str:
    """The text of the test function that `nodeid` names, or nothing where it is not found."""
    path, _, rest = nodeid.partition("::")
    file = root / path
    if not rest or not file.is_file():
        return ""
    name = rest.rsplit("::", 1)[-1].split("[", 1)[0]
    lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    for at, line in enumerate(lines):
        if match := re.match(rf"(\s*)(?:async\s+)?def {re.escape(name)}\b", line):
            return "\n".join([line, *_block(lines[at + 1 :], len(match.group(1)))])
    return ""


def _block(lines: Sequence[str], indent: int) -> list[str]:
    taken: list[str] = []
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        taken.append(line)
    return taken


def _is_named(nodeid: str, issue: str) -> bool:
    name = nodeid.rsplit("::", 1)[-1].split("[", 1)[0]
    return nodeid in issue or re.search(rf"\b{re.escape(name)}\b", issue) is not None


def _words(text: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Za-z]+|\d+", text) if len(word) > 2}
