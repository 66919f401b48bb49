"""What became of tests: the same words whatever runner ran them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

SESSION = "<session>"
"""The node id for a run that failed as a whole, as by a conftest.py that cannot be imported or code that does not
compile."""


@dataclass(frozen=True)
class Frame:
    """One frame of a traceback inside the tree, outermost first."""

    path: str
    line: int
    """From 1."""
    function: str


@dataclass(frozen=True)
class TestOutcome:
    """What became of one test (or of one file that could not be collected)."""

    __test__ = False

    nodeid: str
    """`PATH::NAME::...`, the path relative to the top of the tree."""
    outcome: str
    """`passed`, `failed`, `error` (not in the test's own body), `skipped`, `xfailed`, `xpassed`, `timeout`
    (it was running when the time was over), `crashed` (it was running when the process died)."""
    phase: str = "call"
    """Where it ended: `collect`, `setup`, `call`, `teardown`."""
    duration: float = 0.0
    """Seconds, all phases."""
    by: str | None = None
    """What a failure is: `assertion`, `error` (another exception) or `collection`; else None."""
    exception: str = ""
    message: str = ""
    frames: tuple[Frame, ...] = ()
    trace: frozenset[tuple[str, int]] = frozenset()
    """(path, line) executed in files that are not tests, during the call; only when asked for."""

    @property
    def ok(self) -> bool:
        return self.outcome in ("passed", "skipped", "xfailed", "xpassed")


@dataclass(frozen=True)
class TestReport:
    """What one run of the test command came to."""

    __test__ = False

    outcomes: dict[str, TestOutcome]
    collected: tuple[str, ...]
    """Node ids in the order in which they would run; empty where pytest-xdist's workers collected."""
    returncode: int
    output: str
    """The end of what was printed, for people and models; no decision rests on it."""
    started: bool
    """Whether the tests began at all."""
    timed_out: bool
    seconds: float
    starts: int = 1
    """How often the command was started: twice where it was killed from outside, more with reruns."""
    flaky: frozenset[str] = frozenset()
    """Tests that failed here and passed when run again; `outcomes` holds the failure."""
    trace_complete: bool = True
    """False where so many lines were executed that those of later tests were left out."""

    def failing(self) -> list[TestOutcome]:
        return [outcome for outcome in self.outcomes.values() if not outcome.ok]


@dataclass(frozen=True)
class Reading:
    """What a runner read in its report."""

    outcomes: dict[str, TestOutcome]
    collected: tuple[str, ...] = ()
    output: str | None = None
    """What was printed, where the runner has that in its report; None: it is the command's output."""
    trace_complete: bool = True
    flaky: frozenset[str] = frozenset()
    """What the runner itself ran again."""


def merge(before: TestOutcome | None, new: TestOutcome) -> TestOutcome:
    """Setup, call and teardown (and subtests) are reported one by one; the first failure decides."""
    if before is None:
        return new
    duration = before.duration + new.duration
    decided = not before.ok or (new.ok and (new.phase == "teardown" or before.outcome != "passed"))
    if not decided:
        return replace(new, duration=duration, trace=before.trace | new.trace)
    return replace(before, duration=duration, trace=before.trace | new.trace)


def interrupted(nodeid: str, *, timed_out: bool) -> TestOutcome:
    """A test that began and did not end."""
    ended = "timeout" if timed_out else "crashed"
    return TestOutcome(nodeid, ended, by="error", message=f"the test {ended}")


def is_selected(nodeid: str, selected: Iterable[str]) -> bool:
    """Whether `nodeid` is one of `selected` or lies within one: a file, a class, a test with subtests."""
    return nodeid == SESSION or any(
        nodeid == one or (nodeid.startswith(one) and nodeid[len(one)] in ":/[") or one == "." for one in selected
    )
