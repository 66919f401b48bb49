"""Runs a repository's tests in the sandbox and says, per test, what happened.

Which runner understands the command is found by `tinsmith.workspace.runners`; a command that none knows is one test,
judged by its exit status, unless pytest starts somewhere in it.
"""

import shlex
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from tinsmith.errors import InputError
from tinsmith.workspace.copy import Workspace
from tinsmith.workspace.related_tests import related_tests
from tinsmith.workspace.runners import Launch, Place, Runner, recognise
from tinsmith.workspace.runners.pytest_command import PytestRunner, pytest_launch
from tinsmith.workspace.runners.runner import INSIDE, INSIDE_PLACE, REPORT_PLACE, Trace
from tinsmith.workspace.sandbox import CommandSandbox, Completed
from tinsmith.workspace.test_outcomes import SESSION, Reading, TestOutcome, TestReport, is_selected
from tinsmith.workspace.tree import make_parents, remove, write_regular

_TAIL = 8000
# Exit statuses of pytest and unittest for "no tests".
_NO_TESTS = 5


class TestRunner:
    """A test command bound to a copy."""

    __test__ = False

    def __init__(
        self,
        workspace: Workspace,
        sandbox: CommandSandbox,
        command: Sequence[str] | str | None = None,
        *,
        cwd: str = ".",
        junit: str | None = None,
    ) -> None:
        """`command` is an argument list or one string in shell quoting; None is what a recipe says for `cwd` (see
        `tinsmith.workspace.environments`), else `PYTHON -m pytest -q`.

        It is run in `cwd`, relative to the top; node ids are relative to the top all the same.  The interpreter
        is the workspace's.  `junit` is a shell pattern for the JUnit XML files that the command writes, relative
        to `cwd`.  Raises InputError `bad_test_command`, `bad_junit_pattern`, `bad_recipe`.
        """
        self._workspace = workspace
        self._sandbox = sandbox
        self._cwd = cwd
        if command is None:
            tools = workspace.environment(cwd)
            command, junit = tools.test_command, junit or tools.junit
        if command is None:
            argv = [str(workspace.python), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        else:
            try:
                argv = shlex.split(command) if isinstance(command, str) else list(command)
            except ValueError as error:
                raise _bad_command(f"{command!r}: {error}") from error
        if not argv:
            raise _bad_command("it is empty")
        self.command = argv
        self._place = Place(workspace.tree, workspace.inside, cwd, workspace.python)
        self.runner: Runner = recognise(argv, self._place, junit)
        self.is_pytest = self.runner.name == "pytest"

    def collect(self, *, timeout: float) -> TestReport:
        """The node ids of every test, without running one.

        Raises as `run` does, and InputError `bad_test_command` for a command whose tests cannot be listed.
        """
        launch = self.runner.collect()
        if launch is None:
            words = shlex.join(self.command)
            raise _bad_command(f"{words} is not pytest or another runner whose tests can be listed")
        report = self._start(launch, timeout=timeout)
        # Where listing means to run none of them, what passed and was skipped says nothing.
        return replace(report, outcomes={nodeid: o for nodeid, o in report.outcomes.items() if not o.ok})

    def run(
        self, nodeids: Sequence[str] | None = None, *, trace: bool = False, reruns: int = 0, timeout: float
    ) -> TestReport:
        """Run the tests of `nodeids`, which may be files (None: all; a command that knows no tests runs whole).

        `timeout` is in seconds for the whole command, and for the reruns together.  What fails is run again, up
        to `reruns` times in the copy as the run left it; what passes then is `flaky`.  `trace` is for Python.
        Raises InputError `test_command_failed_to_start` for a program that is missing, a Python without pytest or
        options that pytest does not know; MachineError as `Sandbox.run`.
        """
        report = self._run(nodeids, "call" if trace else "no", timeout)
        return self._rerun(report, reruns, timeout) if reruns else report

    def run_related(
        self, paths: Iterable[str], *, spectra: TestReport | None = None, reruns: int = 0, timeout: float
    ) -> TestReport:
        """Run the tests that concern `paths` (from the top): by `spectra` where given, else by imports and names.

        See `related_tests`; where nothing is found, nothing is run and the report is empty.  Raises as `run`.
        """
        return self.run(related_tests(self._workspace.tree, paths, spectra), reruns=reruns, timeout=timeout)

    def spectra(self, nodeids: Sequence[str] | None = None, *, timeout: float) -> TestReport:
        """Run tests with the lines that each executes in its `trace`, fixtures included.  For Python.

        `trace_complete` of the report says whether all are there.  Raises as `run`.
        """
        return self._run(nodeids, "whole", timeout)

    def _run(self, nodeids: Sequence[str] | None, trace: Trace, timeout: float) -> TestReport:
        if nodeids is not None and not nodeids:
            return TestReport({}, (), 0, "", started=True, timed_out=False, seconds=0.0)
        report = self._start(self.runner.run(nodeids, trace), timeout=timeout)
        if nodeids is None or self.runner.narrows:
            return report
        kept = {nodeid: outcome for nodeid, outcome in report.outcomes.items() if is_selected(nodeid, nodeids)}
        collected = tuple(nodeid for nodeid in report.collected if is_selected(nodeid, nodeids))
        return replace(report, outcomes=kept, collected=collected)

    def _rerun(self, report: TestReport, reruns: int, timeout: float) -> TestReport:
        deadline = time.monotonic() + timeout
        # A test that hangs would do it again, and one that was not collected has not failed.
        again = [o.nodeid for o in report.failing() if o.phase != "collect" and o.outcome != "timeout"]
        flaky = set(report.flaky)
        starts, seconds = report.starts, report.seconds
        for _ in range(reruns):
            again = [nodeid for nodeid in again if nodeid not in flaky]
            left = deadline - time.monotonic()
            if not again or left <= 0:
                break
            rerun = self._run(again, "no", left)
            flaky |= {nodeid for nodeid in again if (o := rerun.outcomes.get(nodeid)) and o.outcome == "passed"}
            starts, seconds = starts + rerun.starts, seconds + rerun.seconds
        return replace(report, flaky=frozenset(flaky), starts=starts, seconds=seconds)

    def _start(self, launch: Launch, *, timeout: float) -> TestReport:
        completed, report = self._reported(launch, timeout)
        starts = 1
        if completed.returncode == 128 + signal.SIGKILL and completed.killed_for is None and not completed.truncated:
            # Killed from outside, as where memory is short: that says nothing of the code. A test that kills
            # itself does so again.
            completed, report = self._reported(launch, timeout)
            starts = 2
        if report is None:
            return replace(self._without_report(completed, _text(completed)), starts=starts)
        if completed.returncode == 4 and "error: unrecognized arguments" in report.output:
            raise self._failed_to_start(report.output)
        return replace(report, starts=starts)

    def _reported(self, launch: Launch, timeout: float) -> tuple[Completed, TestReport | None]:
        return _run_launch(self._workspace, self._sandbox, launch, self.runner, cwd=self._cwd, timeout=timeout)

    def _without_report(self, completed: Completed, output: str) -> TestReport:
        if completed.returncode in (126, 127) or (self.runner.starts_with_report and not completed.timed_out):
            raise self._failed_to_start(output)
        # A command without tests that we know is itself the test; a runner's own command has run none.
        name = shlex.join(self.command) if self.runner.name == "command" else SESSION
        passed = completed.returncode == 0
        outcome = TestOutcome(
            name,
            "timeout" if completed.timed_out else "passed" if passed else "failed" if name != SESSION else "error",
            phase="call" if name != SESSION else "collect",
            duration=completed.seconds,
            by=None if passed else "error" if name != SESSION else "collection",
            message="" if passed else output[-2000:],
        )
        outcomes = {} if passed and name == SESSION else {name: outcome}
        collected = (name,) if name != SESSION else ()
        return TestReport(
            outcomes, collected, completed.returncode, output, True, completed.timed_out, completed.seconds
        )

    def _failed_to_start(self, output: str) -> InputError:
        words = output.strip()[-800:]
        return InputError(
            "test_command_failed_to_start",
            f"the test command `{shlex.join(self.command)}` does not start: {words}",
            "Give --python the project's own interpreter (with pytest), or another --test-command.",
        )


def run_reported(
    workspace: Workspace,
    sandbox: CommandSandbox,
    argv: Sequence[str],
    *,
    cwd: str = ".",
    timeout: float,
    trace: bool = False,
) -> tuple[Completed, TestReport | None]:
    """Run any command in the copy; where it starts pytest, also what became of each test.

    `cwd` is relative to the top, `timeout` in seconds for the whole command.  Raises as `Workspace.run` does.
    """
    runner = PytestRunner(argv, Place(workspace.tree, workspace.inside, cwd, workspace.python))
    launch = pytest_launch(argv, workspace.inside, "call" if trace else "no")
    return _run_launch(workspace, sandbox, launch, runner, cwd=cwd, timeout=timeout)


def _run_launch(
    workspace: Workspace, sandbox: CommandSandbox, launch: Launch, runner: Runner, *, cwd: str, timeout: float
) -> tuple[Completed, TestReport | None]:
    directory = make_parents(workspace.directory, "test-report")
    remove(directory)
    directory.mkdir()
    for name, content in launch.files.items():
        write_regular(directory / name, content, 0o644)
    completed = workspace.run(
        sandbox,
        launch.argv,
        cwd=cwd,
        timeout=timeout,
        extra_ro_binds=[(INSIDE, Path(INSIDE_PLACE))],
        extra_rw_binds=[(directory, Path(REPORT_PLACE))],
        env=launch.env,
    )
    reading = runner.read(directory, completed)
    remove(directory)
    return completed, None if reading is None else _report(reading, completed)


def _report(reading: Reading, completed: Completed) -> TestReport:
    output = _text(completed) if reading.output is None else reading.output[-_TAIL:]
    outcomes = reading.outcomes
    if not outcomes and completed.returncode not in (0, _NO_TESTS):
        outcomes[SESSION] = TestOutcome(
            SESSION,
            "timeout" if completed.timed_out else "error",
            "collect",
            completed.seconds,
            "collection",
            message=output[-2000:],
        )
    return TestReport(
        outcomes,
        reading.collected,
        completed.returncode,
        output,
        True,
        completed.timed_out,
        completed.seconds,
        flaky=reading.flaky,
        trace_complete=reading.trace_complete,
    )


def _text(completed: Completed) -> str:
    """The end of what was printed."""
    return completed.output.decode(errors="replace")[-_TAIL:]


def _bad_command(words: str) -> InputError:
    return InputError("bad_test_command", f"the test command cannot be used: {words}", "Give --test-command another.")
