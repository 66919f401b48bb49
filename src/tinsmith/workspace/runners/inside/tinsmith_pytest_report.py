"""A pytest plugin that writes what happened (see `tinsmith_report_writer`), in the person's Python in the sandbox.

Standard library only, Python 3.8 and later, pytest 6 and later.  `tinsmith.workspace.runners.pytest_command` mounts
this directory and has the plugin loaded through PYTEST_ADDOPTS.
"""

# Annotations are not evaluated: Python 3.8 does not know how to.
from __future__ import annotations

import os
import sys
from typing import Any

import pytest

# The repository may have modules of these names, and its directory may come first.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tinsmith_report_writer as reports
import tinsmith_spectrum as spectrum

del sys.path[0]

_MODULE = "tinsmith_pytest_report"

# Processes that the tests start, nested pytest runs above all, must neither report nor need this plugin.
_REPORT = os.environ.pop("TINSMITH_REPORT", None)
os.environ.pop("PYTEST_ADDOPTS", None)
if os.environ.get("PYTEST_PLUGINS") == _MODULE:
    del os.environ["PYTEST_PLUGINS"]
if os.environ.get("PYTHONPATH") == os.path.dirname(os.path.abspath(__file__)):
    del os.environ["PYTHONPATH"]
_TRACING = os.environ.get("TINSMITH_TRACE", "0")
"""`0`, `call`, or `whole`: fixtures too."""
_WRITER = reports.Writer(_REPORT) if _REPORT else None
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
        self._prefix = os.path.relpath(os.path.realpath(root), reports.tree())
        self._tracer: Any = spectrum.make_tracer() if _TRACING != "0" else None

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
            extra["failure"] = reports.describe(call.excinfo.value, call.excinfo.tb, (pytest.fail.Exception,))
        extra["trace"] = item.__dict__.pop("_tinsmith_trace", None)
        # Plain data in an attribute survives the way from a worker to its controller.
        report.__dict__["tinsmith"] = extra

    def pytest_exception_interact(self, node: Any, call: Any, report: Any) -> None:
        if getattr(report, "when", "collect") == "collect" and call.excinfo is not None:
            error = call.excinfo.value
            # pytest wraps what a module raised at import; the cause is what went wrong.
            inner = error.__cause__ or error
            failure = reports.describe(inner, inner.__traceback__, (pytest.fail.Exception,))
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
            failure = {"type": "", "message": str(report.longrepr)[: reports.MESSAGE_LIMIT], "by": by, "frames": []}
        self._writer.report(
            extra.get("trace"),
            nodeid=self._nodeid(report.nodeid),
            phase=phase,
            outcome=report.outcome,
            xfail=hasattr(report, "wasxfail"),
            duration=getattr(report, "duration", 0.0),
            failure=failure,
        )

    # To start costs most, so once a test: for the call alone, or from the first fixture to the last.

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_setup(self, item: Any) -> Any:
        if _TRACING == "whole":
            self._tracer.start()
        yield

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self, item: Any) -> Any:
        if _TRACING == "call":
            self._tracer.start()
        yield
        if _TRACING == "call":
            item._tinsmith_trace = self._tracer.stop()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_teardown(self, item: Any) -> Any:
        yield
        if _TRACING == "whole":
            item._tinsmith_trace = self._tracer.stop()
