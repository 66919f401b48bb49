"""Done is a gate: what the tests say on copies that the agent cannot touch, and not what the model says.

`finish` is judged on a clean copy in which everything that decides how tests run is as the base has it (see
`Harness`). Then the reproduction runs once more, and once as a negative control that must fail. What makes the
evidence weaker, though the tests pass, is a finding.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tinsmith.agent import EventSink, LimitReached, Verdict
from tinsmith.errors import InputError
from tinsmith.resolve.audit_literals import test_code
from tinsmith.resolve.findings import Finding
from tinsmith.resolve.harness import Harness, installed_modules
from tinsmith.resolve.negative_control import must_fail
from tinsmith.resolve.patch_audit import audit_patch
from tinsmith.resolve.reproduction import Reproduction
from tinsmith.tools import describe
from tinsmith.workspace import CommandSandbox, TestOutcome, TestReport, TestRunner, Workspace

REPRODUCTION_PASSES = "The reproduction passes. Call finish."
_UNTRUE = "Not done: the report of the tests is not true to them. Undo what changes how tests run or report."
MAX_RERUN = 10
"""Broken tests beyond this number are no flakes."""


@dataclass
class Evidence:
    """What the gate saw, for the report; JSON through `asdict`, and again by `Evidence(**data)`.

    Ids are pytest node ids. `flaky` passed only when run again, `findings` are rows of `Finding`. `control`:
    whether the reproduction with a failure put into it was reported as failing; None where that was not tried.
    """

    reproduction: list[str] = field(default_factory=list[str])
    before: dict[str, str] = field(default_factory=dict[str, str])
    after: dict[str, str] = field(default_factory=dict[str, str])
    still_passing: int = 0
    broken: list[str] = field(default_factory=list[str])
    flaky: list[str] = field(default_factory=list[str])
    control: bool | None = None
    findings: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


class Gate:
    """The judge of a run. `runs` counts every start of the test command, `runs_after_edit` those under the limit.

    `seconds` is the time that its runs took. `findings` belong to the last `finish` that was granted.
    """

    def __init__(
        self,
        workspace: Workspace,
        sandbox: CommandSandbox,
        test_command: str | None,
        reproduction: Reproduction,
        sink: EventSink,
        *,
        limit: int,
        runs: int,
        timeout: float,
        runs_after_edit: int = 0,
        reproduction_files: Mapping[str, bytes] | None = None,
        cwd: str = ".",
    ) -> None:
        """`reproduction_files`, {path: content}, are those that the run wrote: they are there in every test run.

        The test command runs in `cwd`, relative to the top.
        """
        self._workspace = workspace
        self._sandbox = sandbox
        self._command = test_command
        self._cwd = cwd
        self._reproduction = reproduction
        self._sink = sink
        self._timeout = timeout
        self._files = dict(reproduction_files or {})
        self._harness: Harness | None = None
        self.limit = limit
        self.runs = runs
        self.runs_after_edit = runs_after_edit
        self.seconds = 0.0
        self.findings: list[Finding] = []
        self.evidence = Evidence(
            reproduction=list(reproduction.ids),
            before={outcome.nodeid: "failed" for outcome in reproduction.failing},
        )

    def after_edit(self) -> Verdict:
        """Runs the reproduction on the agent's copy; without one, what passed before. A hint, and no judgement."""
        for path, content in self._files.items():
            self._workspace.write_file(path, content)
        if not self._reproduction.failing:
            broken = self._broken(self._run(self._workspace, None))
            return _verdict_on(broken, "Nothing that passed is broken. Call finish.")
        report = self._run(self._workspace, self._reproduction.ids)
        failing = [o for o in self._of(report, self._reproduction.ids) if o is None or o.outcome != "passed"]
        if not failing:
            return Verdict(True, REPRODUCTION_PASSES)
        return Verdict(False, "\n".join(describe(outcome) for outcome in failing[:3]))

    def finish(self, summary: str) -> Verdict:
        """Runs everything on a clean copy of the base with the patch, but with the base's tests."""
        tree = self._workspace.snapshot()
        judged = self._workspace.compose(tree, self._known_harness().keeps, self._files)
        evidence, self.findings = self.evidence, []
        evidence.flaky, evidence.control, evidence.findings = [], None, []
        copy = self._workspace.clean_copy(judged)
        try:
            report = self._run(copy, None)
            evidence.after = self._after(report)
            evidence.broken = self._broken(report)
            if evidence.broken and self._flipped():
                self._run_broken_again(copy, judged, report)
            evidence.still_passing = len(self._reproduction.passing) - len(evidence.broken)
            verdict = self._verdict()
            if verdict.accepted and self._reproduction.failing:
                verdict = self._confirm(copy, judged) or verdict
        finally:
            copy.discard()
        if verdict.accepted:
            self._find(tree)
            self._sink.append("evidence", evidence=asdict(self.evidence))
        return verdict

    def _verdict(self) -> Verdict:
        accepted = "The gate accepts: what was broken passes, what passed still does."
        if not self._reproduction.failing:
            accepted = "Nothing that passed is broken; no test failed before, so nothing proves the fix."
        if not self._flipped():
            failing = [nodeid for nodeid, outcome in self.evidence.after.items() if outcome != "passed"]
            return Verdict(False, f"Not done: {', '.join(failing[:3])} still fails on a clean copy.")
        return _verdict_on(self.evidence.broken, accepted)

    def _run_broken_again(self, copy: Workspace, judged: str, report: TestReport) -> None:
        """What failed where it passed before gets a second chance: a flaky test is not the patch's fault."""
        broken = self.evidence.broken
        if len(broken) > MAX_RERUN or any(nodeid not in report.outcomes for nodeid in broken):
            return
        copy.restore(judged)
        again = self._run(copy, broken, counted=False)
        self.evidence.flaky = [n for n in broken if (o := again.outcomes.get(n)) and o.outcome == "passed"]
        self.evidence.broken = [n for n in broken if n not in self.evidence.flaky]

    def _confirm(self, copy: Workspace, judged: str) -> Verdict | None:
        """The reproduction once more, and as a negative control; None where both say what they must."""
        copy.restore(judged)
        again = self._run(copy, self._reproduction.ids, counted=False)
        after = self._after(again)
        unsteady = [nodeid for nodeid, outcome in after.items() if outcome != "passed"]
        if unsteady:
            self.evidence.after.update({nodeid: after[nodeid] for nodeid in unsteady})
            return Verdict(
                False, f"Not done: {unsteady[0]} passes only sometimes. Make the code give the same result each time."
            )
        if again.returncode and not again.failing() and not self._base_exits_with(copy, again.returncode):
            return Verdict(False, _UNTRUE)
        copy.restore(judged)
        controlled: list[str] = []
        for path in dict.fromkeys(nodeid.partition("::")[0] for nodeid in self._reproduction.ids):
            ids = [nodeid for nodeid in self._reproduction.ids if nodeid.partition("::")[0] == path]
            by_error = any(o.by == "error" for o in self._reproduction.failing if o.nodeid in ids)
            text, done = must_fail(self._text_of(copy, path), ids, by_error=by_error)
            if done:
                copy.write_file(path, text.encode("utf-8", "surrogateescape"))
                controlled += done
        if not controlled:
            return None
        outcomes = self._run(copy, controlled, counted=False).outcomes
        self.evidence.control = all((o := outcomes.get(n)) is not None and not o.ok for n in controlled)
        if any((o := outcomes.get(n)) is not None and o.outcome in ("passed", "xpassed") for n in controlled):
            return Verdict(False, _UNTRUE)
        return None

    def _base_exits_with(self, copy: Workspace, status: int) -> bool:
        """Whether tests that pass leave this exit status on the base too, as where a coverage goal is missed."""
        if not self._reproduction.passing:
            return True
        copy.restore(copy.base)
        report = self._run(copy, self._reproduction.passing[:1], counted=False)
        return report.returncode == status and not report.failing()

    def _find(self, tree: str) -> None:
        """The findings of an accepted patch, each file as it was and as it is."""
        changed = {path: pair for path, pair in self._workspace.changed(tree).items() if path not in self._files}
        before = {path: _text(old.content) for path, (old, _) in changed.items() if old}
        after = {path: _text(new.content) for path, (_, new) in changed.items() if new}
        links = [path for path, (_, new) in changed.items() if new and new.is_symlink]
        harness = self._known_harness()
        sources = [path for path in changed if not harness.keeps(path)]
        files = {nodeid: self._base_text(nodeid.partition("::")[0]) for nodeid in self._reproduction.ids}
        tests = [test_code(text, nodeid) for nodeid, text in files.items()]
        self.findings = harness.audit(before, after, links, files.values()) + audit_patch(
            {path: before[path] for path in sources if path in before},
            {path: after[path] for path in sources if path in after},
            tests,
            {o.exception for o in self._reproduction.failing if o.by == "error" and o.exception},
        )
        if self.evidence.control is False:
            text = "The reproduction with a failure put into it did not run as it must, so its passing is in doubt."
            self.findings.append(Finding("control", self._reproduction.ids[0].partition("::")[0], 1, text))
        self.evidence.findings = [asdict(finding) for finding in self.findings]
        if self.findings:
            self._sink.append("findings", rows=self.evidence.findings)

    def _known_harness(self) -> Harness:
        if self._harness is None:
            workspace = self._workspace
            self._harness = Harness(
                workspace.paths(workspace.base),
                (*self._reproduction.ids, *self._reproduction.passing),
                self._command or "",
                installed_modules(workspace.interpreter.mounts),
            )
        return self._harness

    def _after(self, report: TestReport) -> dict[str, str]:
        ids = self._reproduction.ids
        return {n: o.outcome if o else "missing" for n, o in zip(ids, self._of(report, ids), strict=True)}

    def _flipped(self) -> bool:
        return all(outcome == "passed" for outcome in self.evidence.after.values())

    def _broken(self, report: TestReport) -> list[str]:
        """What passed on the base and does not now: a test that is skipped now proves nothing any more."""
        passing = self._reproduction.passing
        return [n for n, o in zip(passing, self._of(report, passing), strict=True) if not o or o.outcome != "passed"]

    def _run(self, workspace: Workspace, nodeids: Sequence[str] | None, *, counted: bool = True) -> TestReport:
        if counted and self.runs_after_edit >= self.limit:
            raise LimitReached(f"the limit of {self.limit} test runs")
        self.runs_after_edit += counted
        runner = TestRunner(workspace, self._sandbox, self._command, cwd=self._cwd)
        report = runner.run(nodeids, timeout=self._timeout)
        self.runs += report.starts
        self.seconds += report.seconds
        self._sink.append(
            "test_run",
            selected=list(nodeids) if nodeids is not None else None,
            outcomes={nodeid: outcome.outcome for nodeid, outcome in report.outcomes.items()},
            timed_out=report.timed_out,
            seconds=round(report.seconds, 3),
            starts=report.starts,
            counted=counted,
        )
        return report

    def _base_text(self, path: str) -> str:
        if path in self._files:
            return _text(self._files[path])
        return _text(self._workspace.read_base(path) or b"")

    @staticmethod
    def _text_of(copy: Workspace, path: str) -> str:
        try:
            return _text(copy.read_file(path))
        except (OSError, InputError):  # the name of another command than pytest, which is no file
            return ""

    @staticmethod
    def _of(report: TestReport, nodeids: Sequence[str]) -> list[TestOutcome | None]:
        return [report.outcomes.get(nodeid) for nodeid in nodeids]


def _verdict_on(broken: Sequence[str], accepted: str) -> Verdict:
    if broken:
        return Verdict(False, f"Not done: {len(broken)} tests that passed are broken, first {broken[0]}.")
    return Verdict(True, accepted)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")
