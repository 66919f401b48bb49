"""The stage before the model: what fails on the clean base, and where it points."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tinsmith.agent import EventSink
from tinsmith.codebase import Evidence, Suspect, is_test_file, rank_suspects
from tinsmith.resolve.reproduction import Reproduction, find_reproduction, test_source
from tinsmith.tools import failure_text
from tinsmith.workspace import TestReport, TestRunner, Workspace


@dataclass(frozen=True)
class Analysis:
    """`runs` are the starts of the test command so far, `seconds` is what the whole suite took."""

    reproduction: Reproduction
    suspects: tuple[Suspect, ...]
    runs: int
    seconds: float

    @property
    def failures(self) -> dict[str, str]:
        """What each failing test says, by its id."""
        return {outcome.nodeid: failure_text(outcome) for outcome in self.reproduction.failing}

    @classmethod
    def of_events(cls, events: Iterable[Mapping[str, Any]]) -> "Analysis | None":
        """What `analyse` found, from the log of an earlier process; None where it did not come to its end."""
        found: Analysis | None = None
        base: Mapping[str, Any] | None = None
        for event in events:
            if event["type"] == "base":
                base = event
            elif event["type"] == "suspects" and base is not None:
                suspects = tuple(_suspect(row) for row in event["rows"])
                found = cls(Reproduction.from_json(base), suspects, base["runs"], base["seconds"])
        return found


def analyse(
    workspace: Workspace,
    runner: TestRunner,
    issue: str,
    *,
    timeout: float,
    package: str,
    sink: EventSink,
    progress: Callable[[str], None],
) -> Analysis:
    """Runs the tests on the clean base and ranks the functions that the issue and the failing tests point at."""
    progress("running the tests on the clean base")
    base = runner.run(None, timeout=timeout)
    reproduction = find_reproduction(base, issue, workspace.tree)
    progress(f"clean base: {len(reproduction.passing)} passed, {len(reproduction.failing)} reproduce the issue")
    return locate(workspace, runner, issue, reproduction, base.starts, base.seconds, timeout, package, sink)


def locate(
    workspace: Workspace,
    runner: TestRunner,
    issue: str,
    reproduction: Reproduction,
    runs: int,
    seconds: float,
    timeout: float,
    package: str,
    sink: EventSink,
) -> Analysis:
    """Ranks the suspects of `reproduction`, whose lines are traced in one more run."""
    clues = Evidence(issue)
    if reproduction.failing:
        traced = runner.run(reproduction.ids, trace=True, timeout=timeout)
        runs += traced.starts
        clues = _clues(workspace, issue, reproduction, traced)
    ranking = rank_suspects(workspace.tree, clues)
    if package:  # the person named the part of the checkout that this is about
        ranking.sort(key=lambda suspect: not suspect.path.startswith(package + "/"))
    sink.append("base", **reproduction.as_json(), runs=runs, seconds=round(seconds, 3))
    sink.append("suspects", rows=[asdict(suspect) for suspect in ranking])
    return Analysis(reproduction, tuple(ranking), runs, round(seconds, 3))


def _clues(workspace: Workspace, issue: str, reproduction: Reproduction, traced: TestReport) -> Evidence:
    """What the reproduction says of the place: its tracebacks, its source and the lines that it executed."""
    frames = [
        (frame.path, frame.line)
        for outcome in reproduction.failing
        for frame in reversed(outcome.frames)
        if not is_test_file(frame.path)
    ]
    tests = "\n".join(test_source(workspace.tree, nodeid) for nodeid in reproduction.ids)
    executed: dict[str, set[int]] = {}
    for nodeid in reproduction.ids:
        if outcome := traced.outcomes.get(nodeid):
            for path, line in outcome.trace:
                executed.setdefault(path, set()).add(line)
    lines = {path: frozenset(numbers) for path, numbers in executed.items() if not is_test_file(path)}
    return Evidence(issue, tests, tuple(frames), lines)


def _suspect(row: Mapping[str, Any]) -> Suspect:
    fields: dict[str, Any] = dict(row)
    fields["reasons"], fields["lines"] = tuple(row["reasons"]), tuple(row["lines"])
    return Suspect(**fields)
