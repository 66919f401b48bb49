"""Done is a gate: what the tests say on copies that the agent cannot touch, and not what the model says."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tinsmith.agent import EventSink, LimitReached, Verdict
from tinsmith.resolve.brief import shorten
from tinsmith.resolve.reproduction import Reproduction
from tinsmith.workspace import Sandbox, TestOutcome, TestReport, TestRunner, Workspace

REPRODUCTION_PASSES = "The reproduction passes. Call finish."


@dataclass
class Evidence:
    """What the gate saw, for the report. Ids are pytest node ids."""

    reproduction: list[str] = field(default_factory=list[str])
    before: dict[str, str] = field(default_factory=dict[str, str])
    after: dict[str, str] = field(default_factory=dict[str, str])
    still_passing: int = 0
    broken: list[str] = field(default_factory=list[str])


class Gate:
    """The judge of a run. `runs` counts every start of the test command, `runs_after_edit` those under the limit."""

    def __init__(
        self,
        workspace: Workspace,
        sandbox: Sandbox,
        test_command: str | None,
        reproduction: Reproduction,
        sink: EventSink,
        *,
        limit: int,
        runs: int,
        timeout: float,
    ) -> None:
        self._workspace = workspace
        self._sandbox = sandbox
        self._command = test_command
        self._reproduction = reproduction
        self._sink = sink
        self._limit = limit
        self._timeout = timeout
        self.runs = runs
        self.runs_after_edit = 0
        self.evidence = Evidence(
            reproduction=list(reproduction.ids),
            before={outcome.nodeid: "failed" for outcome in reproduction.failing},
        )

    def after_edit(self) -> Verdict:
        """Runs the reproduction on the agent's copy; without one, what passed before."""
        if not self._reproduction.failing:
            return self._verdict_on_suite(
                self._run(self._workspace, None), "Nothing that passed is broken. Call finish."
            )
        report = self._run(self._workspace, self._reproduction.ids)
        failing = [o for o in self._of(report, self._reproduction.ids) if o is None or o.outcome != "passed"]
        if not failing:
            return Verdict(True, REPRODUCTION_PASSES)
        return Verdict(False, "\n".join(describe(outcome) for outcome in failing[:3]))

    def finish(self, summary: str) -> Verdict:
        """Runs everything on a clean copy of the base with the patch."""
        copy = self._workspace.clean_copy(self._workspace.snapshot())
        try:
            report = self._run(copy, None)
        finally:
            copy.discard()
        for nodeid, outcome in zip(self._reproduction.ids, self._of(report, self._reproduction.ids), strict=True):
            self.evidence.after[nodeid] = outcome.outcome if outcome else "missing"
        flipped = all(outcome == "passed" for outcome in self.evidence.after.values())
        accepted = "The gate accepts: what was broken passes, what passed still does."
        if not self._reproduction.failing:
            accepted = "Nothing that passed is broken; no test failed before, so nothing proves the fix."
        verdict = self._verdict_on_suite(report, accepted)
        if not flipped:
            failing = [nodeid for nodeid, outcome in self.evidence.after.items() if outcome != "passed"]
            return Verdict(False, f"Not done: {', '.join(failing[:3])} still fails on a clean copy.")
        return verdict

    def _verdict_on_suite(self, report: TestReport, accepted: str) -> Verdict:
        broken = [
            nodeid
            for nodeid in self._reproduction.passing
            if (o := report.outcomes.get(nodeid)) is None or o.outcome not in ("passed", "skipped", "xfailed")
        ]
        self.evidence.broken = broken
        self.evidence.still_passing = len(self._reproduction.passing) - len(broken)
        if broken:
            return Verdict(False, f"Not done: {len(broken)} tests that passed are broken, first {broken[0]}.")
        return Verdict(True, accepted)

    def _run(self, workspace: Workspace, nodeids: Sequence[str] | None) -> TestReport:
        if self.runs_after_edit >= self._limit:
            raise LimitReached(f"the limit of {self._limit} test runs")
        self.runs += 1
        self.runs_after_edit += 1
        runner = TestRunner(workspace, self._sandbox, self._command)
        report = runner.run(nodeids, timeout=self._timeout)
        self._sink.append(
            "test_run",
            selected=list(nodeids) if nodeids is not None else None,
            outcomes={nodeid: outcome.outcome for nodeid, outcome in report.outcomes.items()},
            timed_out=report.timed_out,
        )
        return report

    @staticmethod
    def _of(report: TestReport, nodeids: Sequence[str]) -> list[TestOutcome | None]:
        return [report.outcomes.get(nodeid) for nodeid in nodeids]


def describe(outcome: TestOutcome | None) -> str:
    """One failing test in a few short lines: its id, the error, the innermost place in the tree."""
    if outcome is None:
        return "The test did not run."
    lines = [f"{outcome.nodeid}: {failure_text(outcome)}"]
    if outcome.frames:
        frame = outcome.frames[-1]
        lines.append(f"at {frame.path}:{frame.line} in {frame.function}")
    return "\n".join(lines)


def failure_text(outcome: TestOutcome) -> str:
    """Exception and message of a failing test, short."""
    message = " ".join(outcome.message.split())
    if message.startswith(outcome.exception):
        return shorten(message, 200)
    return shorten(f"{outcome.exception}: {message}", 200)
