"""Runs a repository's tests in the sandbox and says, per test, what happened.

Any test command that ends in pytest is understood test by test through a plugin (`pytest_report`); another
command is one test, judged by its exit status.
"""

import json
import os
import shlex
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from tinsmith.errors import InputError
from tinsmith.workspace.copy import Workspace
from tinsmith.workspace.sandbox import Completed, Sandbox
from tinsmith.workspace.tree import make_parents, read_regular, remove

_PLUGIN = "tinsmith_pytest_report"
_PLUGIN_PLACE = Path("/opt/tinsmith")
_REPORT_PLACE = Path("/opt/tinsmith-report")
_REPORT_LIMIT = 256 << 20
_TAIL = 8000
SESSION = "<session>"
"""The node id for a pytest run that failed as a whole, as by a conftest.py that cannot be imported."""


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
    """Relative to the top of the tree."""
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
    """How often the command was started: twice where it was killed from outside."""

    def failing(self) -> list[TestOutcome]:
        return [outcome for outcome in self.outcomes.values() if not outcome.ok]


class TestRunner:
    """A test command bound to a copy."""

    __test__ = False

    def __init__(
        self, workspace: Workspace, sandbox: Sandbox, command: Sequence[str] | str | None = None, *, cwd: str = "."
    ) -> None:
        """`command` is an argument list or one string in shell quoting; None is `PYTHON -m pytest -q`.

        It is run in `cwd`, relative to the top; node ids are relative to the top all the same.  The interpreter
        is the workspace's.  Raises InputError `bad_test_command`.
        """
        self._workspace = workspace
        self._sandbox = sandbox
        self._cwd = cwd
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
        self.is_pytest = any(PurePath(word).name in ("pytest", "py.test") for word in argv)

    def collect(self, *, timeout: float) -> TestReport:
        """The node ids of every test, without running one.

        Raises as `run` does, and InputError `bad_test_command` for a command that is not pytest.
        """
        if not self.is_pytest:
            raise _bad_command(f"{shlex.join(self.command)} is not pytest, so its tests cannot be listed")
        return self._start([*self.command, "--collect-only"], trace=False, timeout=timeout)

    def run(self, nodeids: Sequence[str] | None = None, *, trace: bool = False, timeout: float) -> TestReport:
        """Run the tests of `nodeids` (None: all; a command that is not pytest always runs whole).

        `timeout` is in seconds for the whole command.  Raises InputError `test_command_failed_to_start` for
        a program that is missing, a Python without pytest or options that pytest does not know;
        MachineError as `Sandbox.run`.
        """
        if nodeids is not None and not nodeids:
            return TestReport({}, (), 0, "", started=True, timed_out=False, seconds=0.0)
        chosen = [self._as_argument(nodeid) for nodeid in nodeids or ()] if self.is_pytest else []
        return self._start([*self.command, *chosen], trace=trace, timeout=timeout)

    def _as_argument(self, nodeid: str) -> str:
        path, separator, rest = nodeid.partition("::")
        return os.path.relpath(path, self._cwd) + separator + rest

    def _start(self, argv: Sequence[str], *, trace: bool, timeout: float) -> TestReport:
        completed, report = self._reported(argv, trace=trace, timeout=timeout)
        starts = 1
        if completed.returncode == 128 + signal.SIGKILL and not completed.timed_out and not completed.truncated:
            # Killed from outside, as where memory is short: that says nothing of the code. A test that kills
            # itself does so again.
            completed, report = self._reported(argv, trace=trace, timeout=timeout)
            starts = 2
        if report is None:
            return replace(self._without_report(completed, _text(completed)), starts=starts)
        if completed.returncode == 4 and "error: unrecognized arguments" in report.output:
            raise self._failed_to_start(report.output)
        return replace(report, starts=starts)

    def _reported(self, argv: Sequence[str], *, trace: bool, timeout: float) -> tuple[Completed, TestReport | None]:
        return run_reported(self._workspace, self._sandbox, argv, cwd=self._cwd, timeout=timeout, trace=trace)

    def _without_report(self, completed: Completed, output: str) -> TestReport:
        if completed.returncode in (126, 127) or (self.is_pytest and not completed.timed_out):
            raise self._failed_to_start(output)
        name = shlex.join(self.command)
        passed = completed.returncode == 0
        outcome = TestOutcome(
            name,
            "timeout" if completed.timed_out else "passed" if passed else "failed",
            duration=completed.seconds,
            by=None if passed else "error",
            message="" if passed else output[-2000:],
        )
        return TestReport(
            {name: outcome},
            (name,),
            completed.returncode,
            output,
            True,
            completed.timed_out,
            completed.seconds,
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
    sandbox: Sandbox,
    argv: Sequence[str],
    *,
    cwd: str = ".",
    timeout: float,
    trace: bool = False,
) -> tuple[Completed, TestReport | None]:
    """Run any command in the copy; where it starts pytest, also what became of each test.

    `cwd` is relative to the top, `timeout` in seconds for the whole command.  Raises as `Workspace.run` does.
    """
    report_directory = make_parents(workspace.directory, "test-report")
    remove(report_directory)
    report_directory.mkdir()
    plugin = Path(__file__).with_name("pytest_report.py")
    completed = workspace.run(
        sandbox,
        # A command that sets PYTHONPATH itself would lose the plugin, and pytest without it does not start.
        [word.replace("PYTHONPATH=", f"PYTHONPATH={_PLUGIN_PLACE}:") for word in argv],
        cwd=cwd,
        timeout=timeout,
        extra_ro_binds=[(plugin, _PLUGIN_PLACE / f"{_PLUGIN}.py")],
        extra_rw_binds=[(report_directory, _REPORT_PLACE)],
        env={
            "PYTEST_ADDOPTS": f"-p {_PLUGIN}",
            "PYTHONPATH": str(_PLUGIN_PLACE),
            "TINSMITH_REPORT": str(_REPORT_PLACE / "report.jsonl"),
            "TINSMITH_TREE": str(workspace.inside),
            "TINSMITH_TRACE": "1" if trace else "0",
        },
    )
    lines = _read_lines(report_directory / "report.jsonl")
    remove(report_directory)
    if not lines:
        return completed, None
    output = _text(completed)
    collected = [nodeid for line in lines if line.get("kind") == "collected" for nodeid in line["nodeids"]]
    outcomes = _outcomes(lines, timed_out=completed.timed_out)
    # 5 is pytest's status for "no tests collected".
    if not outcomes and completed.returncode not in (0, 5):
        outcomes[SESSION] = TestOutcome(
            SESSION,
            "timeout" if completed.timed_out else "error",
            "collect",
            completed.seconds,
            "collection",
            message=output[-2000:],
        )
    return completed, TestReport(
        outcomes,
        tuple(collected),
        completed.returncode,
        output,
        True,
        completed.timed_out,
        completed.seconds,
    )


def _text(completed: Completed) -> str:
    """The end of what was printed."""
    return completed.output.decode(errors="replace")[-_TAIL:]


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The plugin's lines.  The tests can write there too, so nothing about the file is trusted."""
    try:
        if path.lstat().st_size > _REPORT_LIMIT:
            return []
        content = read_regular(path)
    except OSError:
        return []
    lines: list[dict[str, Any]] = []
    for line in content.split(b"\n"):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict) and _is_well_formed(value):
            lines.append(value)
    return lines


def _is_well_formed(line: dict[str, Any]) -> bool:
    kind = line.get("kind")
    if kind == "collected":
        nodeids = line.get("nodeids")
        return isinstance(nodeids, list) and all(isinstance(nodeid, str) for nodeid in nodeids)
    if kind in ("start", "report") and not isinstance(line.get("nodeid"), str):
        return False
    return kind in ("session", "start", "report", "end")


def _outcomes(lines: list[dict[str, Any]], *, timed_out: bool) -> dict[str, TestOutcome]:
    outcomes: dict[str, TestOutcome] = {}
    running: dict[str, None] = {}
    for line in lines:
        if line["kind"] == "start":
            running[line["nodeid"]] = None
        elif line["kind"] == "report":
            try:
                new = _outcome(line)
            except (KeyError, TypeError, ValueError):
                continue
            outcomes[new.nodeid] = _merge(outcomes.get(new.nodeid), new)
            if new.phase == "teardown":
                running.pop(new.nodeid, None)
    for nodeid in running:
        before = outcomes.get(nodeid)
        if before is None or before.ok:
            ended = "timeout" if timed_out else "crashed"
            outcomes[nodeid] = TestOutcome(nodeid, ended, by="error", message=f"the test {ended}")
    return outcomes


def _outcome(line: dict[str, Any]) -> TestOutcome:
    phase, result, xfail = line["phase"], line["outcome"], bool(line["xfail"])
    if result == "failed":
        result = "failed" if phase == "call" else "error"
    elif xfail:
        result = "xfailed" if result == "skipped" else "xpassed"
    failure = line["failure"] or {}
    trace = line.get("trace") or {}
    return TestOutcome(
        line["nodeid"],
        result,
        phase,
        float(line["duration"]),
        failure.get("by"),
        failure.get("type", ""),
        failure.get("message", ""),
        tuple(Frame(str(path), int(number), str(function)) for path, number, function in failure.get("frames", [])),
        frozenset((str(path), int(number)) for path, numbers in trace.items() for number in numbers),
    )


def _merge(before: TestOutcome | None, new: TestOutcome) -> TestOutcome:
    """Setup, call and teardown (and subtests) are reported one by one; the first failure decides."""
    if before is None:
        return new
    duration = before.duration + new.duration
    decided = not before.ok or (new.ok and (new.phase == "teardown" or before.outcome != "passed"))
    if not decided:
        return replace(new, duration=duration, trace=before.trace | new.trace)
    return replace(before, duration=duration, trace=before.trace | new.trace)


def _bad_command(words: str) -> InputError:
    return InputError("bad_test_command", f"the test command cannot be used: {words}", "Give --test-command another.")
