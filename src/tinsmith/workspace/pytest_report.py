"""A pytest plugin that writes what happened as JSON lines, in the person's Python inside the sandbox.

Standard library only, Python 3.8 and later, pytest 6 and later.  `tinsmith.workspace.test_runner` mounts
this file, has it loaded through PYTEST_ADDOPTS and reads the lines:

    {"kind": "session"}                           pytest has started
    {"kind": "collected", "nodeids": [...]}       what would run
    {"kind": "start", "nodeid"}
    {"kind": "report", "nodeid", "phase": "collect" | "setup" | "call" | "teardown", "outcome", "xfail",
     "duration", "failure": null | {"type", "message", "by", "frames": [[path, line, function], ...]},
     "trace": {path: [line, ...]}}
    {"kind": "end", "status"}

Paths are relative to the tree.  Failures are described from the exception itself, never from printed text.
"""

# Annotations are not evaluated: Python 3.8 does not know how to.
from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

import pytest

_MODULE = "tinsmith_pytest_report"
_MESSAGE_LIMIT = 2000
_FRAME_LIMIT = 40
_TRACE_BUDGET = 16 << 20

# Processes that the tests start, nested pytest runs above all, must neither report nor need this plugin.
_REPORT = os.environ.pop("TINSMITH_REPORT", None)
os.environ.pop("PYTEST_ADDOPTS", None)
if os.environ.get("PYTEST_PLUGINS") == _MODULE:
    del os.environ["PYTEST_PLUGINS"]
if os.environ.get("PYTHONPATH") == os.path.dirname(os.path.abspath(__file__)):
    del os.environ["PYTHONPATH"]
_TREE = os.path.realpath(os.environ.get("TINSMITH_TREE", os.getcwd()))
_TRACING = os.environ.get("TINSMITH_TRACE") == "1"


class _Writer:
    def __init__(self, path: Any) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, **line: Any) -> None:
        os.write(self._fd, json.dumps(line).encode() + b"\n")


_WRITER = _Writer(_REPORT) if _REPORT else None
if _WRITER is not None:
    # At import, since a conftest.py that fails to load ends the run before any hook.
    _WRITER.write(kind="session")
_outermost: Any = None


def pytest_configure(config: Any) -> None:
    global _outermost
    worker = hasattr(config, "workerinput")
    if _outermost is not None or (_WRITER is None and not worker):
        return
    _outermost = config
    if getattr(config.option, "dist", "no") != "no":
        # The workers of pytest-xdist, which start after this; the variable is gone again once they have it.
        os.environ["PYTEST_PLUGINS"] = _MODULE
    config.pluginmanager.register(_Reporter(config, None if worker else _WRITER), _MODULE + "_reporter")


class _Reporter:
    """In a worker of pytest-xdist it only adds to the reports, which travel to the controller; that one
    writes."""

    def __init__(self, config: Any, writer: Any) -> None:
        self._writer = writer
        root = str(getattr(config, "rootpath", None) or config.rootdir)
        self._prefix = os.path.relpath(os.path.realpath(root), _TREE)
        self._trace_budget = _TRACE_BUDGET

    def _nodeid(self, nodeid: Any) -> Any:
        """Node ids are relative to pytest's root directory, which may lie below the tree or above it."""
        if self._prefix == "." or not nodeid:
            return nodeid
        path, separator, rest = nodeid.partition("::")
        return os.path.normpath(os.path.join(self._prefix, path)) + separator + rest

    def pytest_collection_finish(self, session: Any) -> None:
        if self._writer is not None and not hasattr(session.config, "workerinput"):
            nodeids = [self._nodeid(item.nodeid) for item in session.items]
            self._writer.write(kind="collected", nodeids=nodeids)

    def pytest_runtest_logstart(self, nodeid: Any, location: Any) -> None:
        if self._writer is not None:
            self._writer.write(kind="start", nodeid=self._nodeid(nodeid))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: Any, call: Any) -> Any:
        outcome = yield
        report = outcome.get_result()
        extra: dict[str, Any] = {}
        if report.failed and call.excinfo is not None:
            extra["failure"] = _describe(call.excinfo.value, call.excinfo.tb)
        if call.when == "call":
            extra["trace"] = item.__dict__.pop("_tinsmith_trace", None)
        # Plain data in an attribute survives the way from a worker to its controller.
        report.__dict__["tinsmith"] = extra

    def pytest_exception_interact(self, node: Any, call: Any, report: Any) -> None:
        if getattr(report, "when", "collect") == "collect" and call.excinfo is not None:
            error = call.excinfo.value
            # pytest wraps what a module raised at import; the cause is what went wrong.
            inner = error.__cause__ or error
            failure = _describe(inner, inner.__traceback__)
            failure["by"] = "collection"
            report.__dict__["tinsmith"] = {"failure": failure}

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._write_report(report, "collect")

    def pytest_runtest_logreport(self, report: Any) -> None:
        self._write_report(report, report.when)

    def pytest_sessionfinish(self, session: Any, exitstatus: Any) -> None:
        if self._writer is not None:
            self._writer.write(kind="end", status=int(exitstatus))

    def _write_report(self, report: Any, phase: Any) -> None:
        if self._writer is None:
            return
        extra = getattr(report, "tinsmith", {})
        failure = extra.get("failure")
        if report.failed and failure is None:
            # A strict xfail that passed, or a worker that died: there is no exception.
            by = "collection" if phase == "collect" else "assertion"
            failure = {"type": "", "message": str(report.longrepr)[:_MESSAGE_LIMIT], "by": by, "frames": []}
        line = {
            "kind": "report",
            "nodeid": self._nodeid(report.nodeid),
            "phase": phase,
            "outcome": report.outcome,
            "xfail": hasattr(report, "wasxfail"),
            "duration": getattr(report, "duration", 0.0),
            "failure": failure,
        }
        if extra.get("trace"):
            self._trace_budget -= len(json.dumps(extra["trace"]))
            if self._trace_budget > 0:
                line["trace"] = extra["trace"]
        self._writer.write(**line)

    if _TRACING:

        @pytest.hookimpl(hookwrapper=True)
        def pytest_runtest_call(self, item: Any) -> Any:
            tracer = _Tracer()
            before = sys.gettrace()
            threading.settrace(tracer)
            sys.settrace(tracer)
            try:
                yield
            finally:
                sys.settrace(before)
                threading.settrace(before)
                item._tinsmith_trace = tracer.lines()


class _Tracer:
    """Records the lines executed in the tree's own files that are not tests."""

    def __init__(self) -> None:
        self._relative: dict[str, str | None] = {}
        self._lines: dict[str, set[int]] = {}

    def __call__(self, frame: Any, event: Any, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if name not in self._relative:
            path = _relative(name)
            self._relative[name] = None if path is None or _is_test_file(path) else path
        path = self._relative[name]
        if path is None:
            return None
        seen = self._lines.setdefault(path, set())

        def line(frame: Any, event: Any, argument: Any) -> Any:
            if event == "line":
                seen.add(frame.f_lineno)
            return line

        return line

    def lines(self) -> dict[str, list[int]]:
        return {path: sorted(lines) for path, lines in self._lines.items()}


def _relative(name: Any) -> str | None:
    """A path below the tree, or None for anything else: libraries, the environment, generated code."""
    if name.startswith("<"):
        return None
    path = os.path.realpath(name)
    if not path.startswith(_TREE + os.sep):
        return None
    relative = path[len(_TREE) + 1 :]
    parts = relative.split(os.sep)
    if "site-packages" in parts or any(part.startswith(".") for part in parts[:-1]):
        return None
    return relative


def _is_test_file(path: Any) -> bool:
    *directories, name = path.split(os.sep)
    if name == "conftest.py" or name.startswith("test_") or name.endswith("_test.py"):
        return True
    return "tests" in directories or "test" in directories


def _describe(error: Any, traceback: Any) -> dict[str, Any]:
    frames: list[list[Any]] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        path = _relative(code.co_filename)
        if path is not None:
            frames.append([path, traceback.tb_lineno, code.co_name])
        traceback = traceback.tb_next
    if isinstance(error, SyntaxError) and error.filename and _relative(error.filename):
        frames.append([_relative(error.filename), error.lineno or 1, "<module>"])
    try:
        message = str(error)
    except Exception as failed:
        message = f"<str() raised {type(failed).__name__}>"
    asserted = isinstance(error, (AssertionError, pytest.fail.Exception)) or "DocTest" in type(error).__name__
    return {
        "type": type(error).__name__,
        "message": message[:_MESSAGE_LIMIT],
        "by": "assertion" if asserted else "error",
        "frames": frames[-_FRAME_LIMIT:],
    }
