"""Starts unittest, or a script that does (Django's), and writes what happened (see `tinsmith_report_writer`).

Run as `PYTHON tinsmith_unittest_report.py -m unittest ...` or `... SCRIPT ARGUMENTS`, in the person's Python inside
the sandbox; standard library only, Python 3.8 and later.  What is told comes from the calls that unittest makes on
its result object, whatever class that is, as long as it is derived from `unittest.TestResult` as documented.
TINSMITH_SELECTED names a JSON list of node ids to run, TINSMITH_COLLECT=1 only lists.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import sys
import time
import unittest
from typing import Any

import tinsmith_report_writer as reports
import tinsmith_spectrum as spectrum

_loader: Any = unittest.loader
_suite: Any = unittest.suite
_failed_imports: dict[str, Any] = {}


class _Reporter:
    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._process = os.getpid()
        self._started: dict[str, float] = {}
        self._tracer = spectrum.make_tracer() if os.environ.get("TINSMITH_TRACE", "0") != "0" else None

    def watch(self, result: Any) -> None:
        """Every result object from now on tells this one first."""
        calls: dict[str, Any] = {
            "startTest": self.start,
            "stopTest": self.stop,
            "addSuccess": self._telling("passed"),
            "addFailure": self._telling("failed"),
            "addError": self._telling("failed"),
            "addSkip": self._telling("skipped"),
            "addExpectedFailure": self._telling("skipped", xfail=True),
            "addUnexpectedSuccess": self._telling("failed", unexpected=True),
            "addSubTest": self.subtest,
        }
        for name, call in calls.items():
            setattr(result, name, self._both(call, getattr(result, name)))

    def _telling(self, outcome: str, **more: Any) -> Any:
        def call(test: Any, detail: Any = None) -> None:
            # The detail is the exception, of a skip the reason.
            self.tell(test, outcome, detail if outcome == "failed" else None, **more)

        return call

    def _both(self, ours: Any, original: Any) -> Any:
        def method(result: Any, *arguments: Any) -> Any:
            # Workers of a parallel run tell their parent, which replays what they did.
            if os.getpid() == self._process:
                ours(*arguments)
            return original(result, *arguments)

        return method

    def start(self, test: Any) -> None:
        nodeid = nodeid_of(test)
        self._writer.write(kind="start", nodeid=nodeid)
        self._started[nodeid] = time.perf_counter()
        if self._tracer is not None:
            self._tracer.start()

    def stop(self, test: Any) -> None:
        nodeid = nodeid_of(test)
        trace = self._tracer.stop() if self._tracer is not None else None
        ended: dict[str, Any] = {"phase": "teardown", "outcome": "passed", "xfail": False, "failure": None}
        self._writer.report(trace, nodeid=nodeid, duration=self._duration(nodeid), **ended)

    def subtest(self, test: Any, subtest: Any, error: Any) -> None:
        if error is not None:
            about = str(subtest._subDescription()) if hasattr(subtest, "_subDescription") else ""
            self.tell(test, "failed", error, about=about)

    def tell(
        self,
        test: Any,
        outcome: str,
        error: Any = None,
        *,
        xfail: bool = False,
        unexpected: bool = False,
        about: str = "",
    ) -> None:
        phase, failure = "call", None
        if outcome == "failed" and error is not None:
            kind, value, traceback = error
            failure = reports.describe(value if value is not None else kind(), traceback, (_case_failure(test),))
            failure["message"] = f"{about} {failure['message']}".strip()[: reports.MESSAGE_LIMIT]
        if unexpected:
            failure = {"type": "", "message": "unexpected success", "by": "assertion", "frames": []}
        if isinstance(test, _suite._ErrorHolder):
            phase = "teardown" if test.description.startswith("tearDown") else "setup"
        name = _failed_import_of(test)
        if name is not None:
            phase, failure = "collect", _failed_imports.get(name, failure)
            if failure is not None:
                failure["by"] = "collection"
        nodeid = nodeid_of(test)
        line: dict[str, Any] = {"phase": phase, "outcome": outcome, "xfail": xfail, "failure": failure}
        self._writer.report(None, nodeid=nodeid, duration=self._duration(nodeid), **line)

    def _duration(self, nodeid: str) -> float:
        """Since the start or since the last report: reports of one test add up."""
        now = time.perf_counter()
        duration = now - self._started.get(nodeid, now)
        if nodeid in self._started:
            self._started[nodeid] = now
        return duration


def _case_failure(test: Any) -> Any:
    # `None` for what stands for a class whose setup failed.
    return getattr(test, "failureException", None) or AssertionError


def nodeid_of(test: Any) -> str:
    """`PATH::Class::method`, as pytest has it; the dotted id for what has no file in the tree."""
    name = _failed_import_of(test)
    if name is not None:
        return _file_of_name(name) or name
    if isinstance(test, _suite._ErrorHolder):
        found = re.match(r"\w+ \((.+)\)$", test.description)
        return _place_of_name(found.group(1)) if found else str(test.id())
    function = getattr(test, "_testFunc", None)
    if function is not None:
        path = reports.relative(function.__code__.co_filename)
        return f"{path}::{function.__qualname__}" if path else str(test.id())
    doctest = getattr(test, "_dt_test", None)
    if doctest is not None:
        path = reports.relative(doctest.filename or "<none>")
        return f"{path}::{doctest.name}" if path else str(test.id())
    kind: Any = type(test)
    path = _file_of_module(kind.__module__)
    if path is None or not hasattr(test, "_testMethodName"):
        return str(test.id())
    return "::".join([path, *kind.__qualname__.split("."), test._testMethodName])


def _failed_import_of(test: Any) -> str | None:
    """The name of the module, for the stand-in that the loader makes of one that cannot be imported."""
    kind = type(test)
    if kind.__module__ == "unittest.loader" and kind.__name__ in ("_FailedTest", "ModuleSkipped"):
        return str(test._testMethodName)
    return None


def _file_of_module(name: str) -> str | None:
    path = getattr(sys.modules.get(name), "__file__", None)
    return reports.relative(path) if path else None


def _file_of_name(name: str) -> str | None:
    """The file of a module that may not have been imported: looked for where the loader looked."""
    relative = name.replace(".", os.sep)
    for place in sys.path:
        for ending in (".py", os.sep + "__init__.py"):
            path = os.path.join(place or os.getcwd(), relative + ending)
            if os.path.isfile(path):
                return reports.relative(path)
    return None


def _place_of_name(name: str) -> str:
    """`a.b.Class` or `a.b`: the longest module first."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        path = _file_of_module(".".join(parts[:end]))
        if path is not None:
            return "::".join([path, *parts[end:]])
    return name


def _tests_of(suite: Any) -> Any:
    inner = [*getattr(suite, "subsuites", ()), *getattr(suite, "_tests", ())]
    if not isinstance(suite, unittest.BaseTestSuite):
        yield suite
    for test in inner:
        yield from _tests_of(test)


def _narrow(suite: Any, keep: Any) -> None:
    suite._tests = [t for t in suite._tests if isinstance(t, unittest.BaseTestSuite) or (t is not None and keep(t))]
    for test in suite._tests:
        if isinstance(test, unittest.BaseTestSuite):
            _narrow(test, keep)


def _selection(path: str) -> Any:
    with open(path, encoding="utf-8") as stream:
        selected = json.load(stream)

    def keep(test: Any) -> bool:
        nodeid = nodeid_of(test)
        # A module that cannot be imported stands for all that is in it.
        return any(nodeid == one or nodeid.startswith(one + "::") or one.startswith(nodeid + "::") for one in selected)

    return keep


def _watch_runner(runner: Any, writer: Any) -> None:
    """Lists, narrows or empties the suite as it is about to be run."""
    original = runner.run
    selected = os.environ.pop("TINSMITH_SELECTED", "")
    collect = os.environ.pop("TINSMITH_COLLECT", "0") == "1"

    def run(self: Any, test: Any) -> Any:
        if selected and isinstance(test, unittest.BaseTestSuite) and not hasattr(test, "subsuites"):
            _narrow(test, _selection(selected))
        tests = list(_tests_of(test))
        writer.write(kind="collected", nodeids=[nodeid_of(t) for t in tests if _failed_import_of(t) is None])
        if collect:
            test = unittest.TestSuite([t for t in tests if _failed_import_of(t) is not None])
        return original(self, test)

    runner.run = run


def _watch_imports() -> None:
    """The loader keeps of an import that fails only its text; here the exception itself is at hand."""
    original = getattr(_loader, "_make_failed_import_test", None)
    if original is None:
        return

    def make(name: Any, suite_class: Any) -> Any:
        error = sys.exc_info()[1]
        if error is not None:
            _failed_imports[str(name)] = reports.describe(error, error.__traceback__)
        return original(name, suite_class)

    _loader._make_failed_import_test = make


def main() -> None:
    path = os.environ.pop("TINSMITH_REPORT", None)
    del sys.argv[0]
    if path:
        writer = reports.Writer(path)
        writer.write(kind="session")
        _Reporter(writer).watch(unittest.TestResult)
        _watch_runner(unittest.TextTestRunner, writer)
        _watch_imports()
    if sys.argv[0] == "-m":
        del sys.argv[0]
        # As Python itself does for `-m` and for a script.
        sys.path[0] = os.getcwd()
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = os.path.dirname(os.path.realpath(sys.argv[0]))
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
