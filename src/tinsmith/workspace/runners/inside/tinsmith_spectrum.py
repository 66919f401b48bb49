"""Which lines of the tree each test executes, in the person's Python inside the sandbox.

Standard library only, Python 3.8 and later.  From 3.12 on `sys.monitoring` tells each line once per test and costs
next to nothing for code outside the tree; before, `sys.settrace` tells every line each time it runs.  Threads are
seen by both (by `settrace` those that start during the test), other processes by neither.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import tinsmith_report_writer as report

Lines = Any
"""{path: [line, ...]}, sorted; files that are not tests."""


def make_tracer() -> Any:
    """A tracer: `start()`, and `stop()`, which returns what was executed in between."""
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is not None and os.environ.get("TINSMITH_TRACER") != "settrace":
        # 0, 1, 2 and 5 are a debugger's, coverage's, a profiler's and an optimiser's.
        for tool in (4, 3):
            if monitoring.get_tool(tool) is None:
                return _MonitoringTracer(monitoring, tool)
    return _SettraceTracer()


class _Places:
    """Which code is of interest, remembered by file name."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}

    def of(self, name: str) -> str | None:
        if name not in self._known:
            path = report.relative(name)
            self._known[name] = None if path is None or report.is_test_file(path) else path
        return self._known[name]


class _MonitoringTracer:
    """Local LINE events for the code objects of the tree, which are found as each is first entered.

    A line's event is switched off once it has been seen; `restart_events` switches all on again for the next test.
    """

    def __init__(self, monitoring: Any, tool: int) -> None:
        self._monitoring = monitoring
        self._tool = tool
        self._places = _Places()
        self._seen: dict[str, set[int]] | None = None
        events = monitoring.events
        monitoring.use_tool_id(tool, "tinsmith")
        monitoring.register_callback(tool, events.PY_START, self._entered)
        monitoring.register_callback(tool, events.LINE, self._line)
        monitoring.set_events(tool, events.PY_START)

    def start(self) -> None:
        self._seen = {}
        self._monitoring.restart_events()

    def stop(self) -> Lines:
        seen, self._seen = self._seen or {}, None
        return {path: sorted(lines) for path, lines in seen.items()}

    def _entered(self, code: Any, offset: int) -> Any:
        if self._places.of(code.co_filename) is not None:
            self._monitoring.set_local_events(self._tool, code, self._monitoring.events.LINE)
        return self._monitoring.DISABLE

    def _line(self, code: Any, line: int) -> Any:
        seen, path = self._seen, self._places.of(code.co_filename)
        if seen is not None and path is not None:
            seen.setdefault(path, set()).add(line)
        return self._monitoring.DISABLE


class _SettraceTracer:
    def __init__(self) -> None:
        self._places = _Places()
        self._lines: dict[str, set[int]] = {}
        self._before: Any = None

    def start(self) -> None:
        self._lines = {}
        self._before = sys.gettrace()
        threading.settrace(self._entered)
        sys.settrace(self._entered)

    def stop(self) -> Lines:
        sys.settrace(self._before)
        threading.settrace(self._before)
        return {path: sorted(lines) for path, lines in self._lines.items()}

    def _entered(self, frame: Any, event: Any, argument: Any) -> Any:
        path = self._places.of(frame.f_code.co_filename)
        if path is None:
            return None
        seen = self._lines.setdefault(path, set())

        def line(frame: Any, event: Any, argument: Any) -> Any:
            if event == "line":
                seen.add(frame.f_lineno)
            return line

        return line
