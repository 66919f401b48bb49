"""Whether a test that was written for an issue reproduces it: run twice, each time on a clean copy of the base.

It does if it fails there by assertion, by an error raised in the code under test or by one that the issue reports, or,
where the issue says so, by never ending; if the failing test executes code of the repository; and if both runs come
out alike.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePath
from threading import Event

from tinsmith.codebase import is_test_file
from tinsmith.engines import Cancelled
from tinsmith.errors import InputError
from tinsmith.resolve.reproduction_place import own_modules
from tinsmith.resolve.reproduction_source import Unproven, check_source, raising_lines
from tinsmith.tools import failure_text
from tinsmith.workspace import CommandSandbox, TestOutcome, TestRunner, Workspace

MAX_SECONDS = 60.0
"""A single test file is not waited for any longer."""
_HANGS = re.compile(
    r"\b(hang(s|ing)?|hung|endless(ly)?|infinite(ly)?|forever|deadlocks?|freez(es|ing)|frozen|stuck|tim(es|ed) ?out)\b"
    r"|\b(never|(does|do|did)(n't|n’t| not)) (end|finish|terminate|stop|complete|return)(e?s)?\b",
    re.IGNORECASE,
)
_MISUSE = frozenset(
    {"NameError", "UnboundLocalError", "AttributeError", "TypeError", "ImportError", "ModuleNotFoundError"}
)
"""What a test raises that calls something wrongly. Believed only where the issue reports the very message."""
_SURROUNDINGS = frozenset(
    {"ModuleNotFoundError", "ConnectionError", "ConnectionRefusedError", "gaierror", "URLError", "ConnectTimeout"}
)
"""What code raises that lacks something in the sandbox."""
_VARYING = re.compile(r"0x[0-9a-fA-F]+|\d+(?:[.:_-]\d+)*")
_NO_START = "The test command did not survive it. Write plain test functions."
_ALARM = """

import signal as _signal

import pytest as _pytest


class _TimeIsOver(BaseException):
    pass


class _TestGoesOn(BaseException):
    pass


_calls = []


def _ring(number, frame):
    call = None
    while frame is not None and frame.f_code.co_filename != __file__:
        call, frame = frame, frame.f_back
    _calls.append(call)
    if call is None or call is not _calls[0]:
        raise _TestGoesOn
    if len(_calls) > 1:
        raise _TimeIsOver


@_pytest.fixture(autouse=True)
def _alarm():
    _calls.clear()
    _signal.signal(_signal.SIGALRM, _ring)
    _signal.setitimer(_signal.ITIMER_REAL, {seconds}, {seconds})
    yield
    _signal.setitimer(_signal.ITIMER_REAL, 0)
"""
"""Goes below a test that did not end. It rings twice: the one call of the test that it waits for must be the same."""


class Trials:
    """Tries test files on clean copies of `workspace.base`. `runs` counts the starts of the test command."""

    def __init__(
        self,
        workspace: Workspace,
        sandbox: CommandSandbox,
        command: str | None,
        *,
        package: str,
        issue: str,
        timeout: float,
        cancel: Event | None = None,
    ) -> None:
        """`package` is the subdirectory that the tests are run in, `timeout` in seconds for each run."""
        self._workspace = workspace
        self._sandbox = sandbox
        self._command = command
        self._package = package
        self._issue = issue
        self._timeout = timeout
        self._cancel = cancel
        self._own = own_modules(workspace.paths(workspace.base))
        self._files_before: frozenset[str] = frozenset()
        self._changed_anyway: frozenset[str] = frozenset()
        self.runs = 0

    def listed(self) -> tuple[str, ...]:
        """The node ids of all tests on the clean base; none where the command does not tell its tests apart.

        Raises what `TestRunner.run` raises.
        """
        copy = self._clean(self._workspace.base)
        try:
            self._files_before = _files(listed := self._list(copy))
            self._changed_anyway = frozenset(copy.changed(copy.snapshot()))
        finally:
            copy.discard()
        return listed

    def judge(self, path: str, text: str) -> tuple[TestOutcome, ...]:
        """The failing tests of the file, once it is shown that they reproduce the issue.

        Raises Unproven where it is not, Cancelled, MachineError.
        """
        tree = check_source(text, self._own)
        first = self._run(path, text, trace=True)
        failing = self._failing(path, first, raising_lines(tree))
        endless = [outcome for outcome in failing if outcome.outcome == "timeout"]
        for outcome in failing:
            if outcome not in endless and all(is_test_file(traced) for traced, _ in outcome.trace):
                raise Unproven(
                    f"`{_name(outcome)}` fails but runs no code of the repository. "
                    "Import what the issue is about and call it inside the test."
                )
        if endless:
            failing = self._stopped(path, text, first, failing)
        else:
            _compare(first, self._run(path, text))
        self._check_collection(path, text, failing)
        return tuple(replace(outcome, trace=frozenset()) for outcome in failing)

    def _failing(self, path: str, report: dict[str, TestOutcome], raised: set[int]) -> list[TestOutcome]:
        """Those that fail as a reproduction may. Raises Unproven where there is none, or one fails otherwise."""
        failing = [outcome for outcome in report.values() if not outcome.ok]
        for outcome in failing:
            self._check_failure(path, outcome, raised)
        if not failing:
            said = {outcome.outcome for outcome in report.values()}
            if not said:
                raise Unproven("No test was collected from it. Write a plain function whose name begins with `test_`.")
            if "passed" not in said:
                raise Unproven("Its tests are skipped or expected to fail. A reproduction must fail now.")
            raise Unproven(
                "Its tests pass on the code as it is, so they do not show the issue. "
                "Use the very input of the issue and assert what it says should happen."
            )
        return failing

    def _check_failure(self, path: str, outcome: TestOutcome, raised: set[int]) -> None:
        name, told = _name(outcome), failure_text(outcome)
        if outcome.outcome == "timeout":
            if not _HANGS.search(self._issue):
                raise Unproven(f"`{name}` did not end in {self._limit:.0f} seconds. Write a test that ends soon.")
            return
        if outcome.outcome == "crashed":
            raise Unproven(f"`{name}` ended the whole test run. Write a test that fails by an assertion.")
        if outcome.phase == "collect" or outcome.by == "collection":
            raise Unproven(f"The file cannot be imported: {told}. Import only what the repository has.")
        if outcome.outcome != "failed" or outcome.phase != "call" or not outcome.exception:
            raise Unproven(f"`{name}` fails outside its own body: {told}. Use only fixtures that exist.")
        if outcome.by == "assertion":
            return
        reported = re.search(rf"\b{re.escape(outcome.exception)}\b", self._issue) is not None
        message = outcome.message.strip()
        verbatim = reported and bool(message) and _steady(message) in _steady(self._issue)
        innermost = outcome.frames[-1] if outcome.frames else None
        if innermost is None or innermost.path == path or is_test_file(innermost.path):
            if innermost is not None and innermost.path == path and innermost.line in raised:
                raise Unproven(f"`{name}` raises {outcome.exception} itself. Let the code under test fail.")
            if not (verbatim if outcome.exception in _MISUSE else reported):
                raise Unproven(
                    f"`{name}` fails by an error in the test's own lines: {told}. "
                    "Use the code as it is meant to be used, and assert what it should give."
                )
        elif outcome.exception in _SURROUNDINGS and not reported:
            raise Unproven(f"`{name}` fails by what is missing here: {told}. Call code that needs nothing else.")

    def _stopped(
        self, path: str, text: str, first: dict[str, TestOutcome], failing: list[TestOutcome]
    ) -> list[TestOutcome]:
        """Where a test did not end: the second run stops it by an alarm and tells in which function it was."""
        rung = self._run(path, text + _ALARM.format(seconds=self._limit / 4))
        found: list[TestOutcome] = []
        for outcome in failing:
            if outcome.outcome != "timeout":
                found.append(outcome)
                continue
            stopped = rung.get(outcome.nodeid)
            if stopped is None or stopped.exception not in ("_TimeIsOver", "_TestGoesOn"):
                raise Unproven(f"`{_name(outcome)}` does not come out alike twice. Use only fixed inputs.")
            inside = [frame for frame in stopped.frames if frame.function != "_ring"]
            if stopped.exception == "_TestGoesOn" or not inside or is_test_file(inside[-1].path):
                raise Unproven(
                    f"`{_name(outcome)}` does not end in its own lines. Let it call the code that does not end."
                )
            found.append(replace(outcome, frames=tuple(inside)))
        others = {nodeid: outcome for nodeid, outcome in first.items() if outcome.outcome != "timeout"}
        _compare(others, {nodeid: rung[nodeid] for nodeid in others if nodeid in rung})
        return found

    @property
    def _limit(self) -> float:
        return min(self._timeout, MAX_SECONDS)

    @property
    def is_pytest(self) -> bool:
        """Whether single test files can be run."""
        return self._runner(self._workspace).is_pytest

    @property
    def is_python(self) -> bool:
        """Whether a test written in Python can be one of the command's."""
        return self._runner(self._workspace).runner.name in ("pytest", "unittest", "command")

    def _run(self, path: str, text: str, *, trace: bool = False) -> dict[str, TestOutcome]:
        """What became of the file's tests, in a fresh copy in which the file left nothing else behind."""
        copy = self._copy(path, text)
        try:
            runner = self._runner(copy)
            limit = self._limit if runner.is_pytest else self._timeout
            try:
                report = runner.run([path], trace=trace, timeout=limit)
            except InputError as error:
                raise Unproven(_NO_START) from error
            changed = copy.changed(copy.snapshot())
        finally:
            copy.discard()
        own = changed.pop(path, None)
        touched = [path] if own is not None and (own[1] is None or own[1].content != text.encode()) else []
        # What a test run leaves by itself (reports, coverage) is not the test's doing.
        touched += [
            name
            for name, (before, _) in changed.items()
            if name not in self._changed_anyway and (before is not None or PurePath(name).name in text)
        ]
        if touched:
            raise Unproven(f"The test changes files of the repository: {touched[0]}. Use tmp_path for files.")
        ours = {nodeid: outcome for nodeid, outcome in report.outcomes.items() if nodeid.partition("::")[0] == path}
        if not ours and report.returncode not in (0, 5):
            raise Unproven("The test run ended before a test of it did. Write plain functions and nothing beside them.")
        return ours

    def _check_collection(self, path: str, text: str, failing: Iterable[TestOutcome]) -> None:
        """What was collected before still is, and so is the new file: the gate runs everything together."""
        copy = self._copy(path, text)
        try:
            listed = self._list(copy)
        except InputError as error:
            raise Unproven(_NO_START) from error
        finally:
            copy.discard()
        if lost := sorted(self._files_before - _files(listed)):
            raise Unproven(f"With this file {lost[0]} is not collected any more. Leave the other modules alone.")
        if not {outcome.nodeid for outcome in failing} <= set(listed):
            raise Unproven("The test command does not collect it. Write functions whose names begin with `test_`.")

    def _list(self, copy: Workspace) -> tuple[str, ...]:
        runner = self._runner(copy)
        if runner.is_pytest:
            return runner.collect(timeout=self._timeout).collected
        report = runner.run(None, timeout=self._timeout)
        return tuple(nodeid for nodeid in report.outcomes if "::" in nodeid)

    def _copy(self, path: str, text: str) -> Workspace:
        workspace = self._workspace
        return self._clean(workspace.compose(workspace.base, lambda path: False, {path: text.encode()}))

    def _clean(self, tree: str) -> Workspace:
        """A fresh copy for one start of the test command."""
        if self._cancel is not None and self._cancel.is_set():
            raise Cancelled
        self.runs += 1
        return self._workspace.clean_copy(tree)

    def _runner(self, copy: Workspace) -> TestRunner:
        return TestRunner(copy, self._sandbox, self._command, cwd=self._package or ".")


def _compare(first: dict[str, TestOutcome], second: dict[str, TestOutcome]) -> None:
    """Raises Unproven where two runs did not come out alike."""

    def told(outcome: TestOutcome | None) -> tuple[str, ...]:
        return (outcome.outcome, outcome.exception, _steady(outcome.message)) if outcome else ()

    for nodeid in first.keys() | second.keys():
        if told(first.get(nodeid)) != told(second.get(nodeid)):
            name = _name(first.get(nodeid) or second[nodeid])
            raise Unproven(f"`{name}` does not come out alike twice. Use only fixed inputs, no state that varies.")


def _files(nodeids: Iterable[str]) -> frozenset[str]:
    return frozenset(nodeid.partition("::")[0] for nodeid in nodeids)


def _name(outcome: TestOutcome) -> str:
    return outcome.nodeid.rpartition("::")[2]


def _steady(message: str) -> str:
    """A message without what may differ from run to run: addresses, numbers, times."""
    return " ".join(_VARYING.sub("#", message).split())
