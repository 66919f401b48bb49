"""Writes what happened as JSON lines, in the person's Python inside the sandbox: what the plugins share.

Standard library only, Python 3.8 and later.  The lines, read by `tinsmith.workspace.runners.report_lines`:

    {"kind": "session"}                           the tests have started
    {"kind": "collected", "nodeids": [...]}       what would run
    {"kind": "start", "nodeid"}
    {"kind": "report", "nodeid", "phase": "collect" | "setup" | "call" | "teardown", "outcome", "xfail",
     "duration", "failure": null | {"type", "message", "by", "frames": [[path, line, function], ...]},
     "trace": {path: [line, ...]}}
    {"kind": "trace_cut"}                         traces of later tests are left out
    {"kind": "end", "status"}

Paths are relative to the tree.  Failures are described from the exception itself, never from printed text.
"""

# Annotations are not evaluated: Python 3.8 does not know how to.
from __future__ import annotations

import json
import os
from typing import Any

MESSAGE_LIMIT = 2000
_FRAME_LIMIT = 40
_TRACE_BUDGET = 32 << 20
_TREE = os.path.realpath(os.environ.get("TINSMITH_TREE", os.getcwd()))


class Writer:
    """Appends lines to a file, each in one write."""

    def __init__(self, path: Any) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._trace_budget = _TRACE_BUDGET

    def write(self, **line: Any) -> None:
        os.write(self._fd, json.dumps(line).encode() + b"\n")

    def report(self, trace: Any = None, **line: Any) -> None:
        """A line of kind `report`; the trace only as long as the budget of the whole run allows."""
        if trace:
            before = self._trace_budget
            self._trace_budget -= len(json.dumps(trace))
            if self._trace_budget > 0:
                line["trace"] = trace
            elif before > 0:
                self.write(kind="trace_cut")
        self.write(kind="report", **line)


def tree() -> str:
    """The top of the tree, links resolved."""
    return _TREE


def relative(name: Any) -> str | None:
    """A path below the tree, or None for anything else: libraries, the environment, generated code."""
    if name.startswith("<"):
        return None
    path = os.path.realpath(name)
    if not path.startswith(_TREE + os.sep):
        return None
    below = path[len(_TREE) + 1 :]
    parts = below.split(os.sep)
    if "site-packages" in parts or any(part.startswith(".") for part in parts[:-1]):
        return None
    return below


def is_test_file(path: Any) -> bool:
    *directories, name = path.split(os.sep)
    if name == "conftest.py" or name.startswith("test_") or name.endswith("_test.py"):
        return True
    return "tests" in directories or "test" in directories


def describe(error: Any, traceback: Any, assertions: Any = ()) -> dict[str, Any]:
    """`failure` of a report; `assertions` are exceptions that count as one beside AssertionError."""
    frames: list[list[Any]] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        path = relative(code.co_filename)
        if path is not None:
            frames.append([path, traceback.tb_lineno, code.co_name])
        traceback = traceback.tb_next
    if isinstance(error, SyntaxError) and error.filename and relative(error.filename):
        frames.append([relative(error.filename), error.lineno or 1, "<module>"])
    try:
        message = str(error)
    except Exception as failed:
        message = f"<str() raised {type(failed).__name__}>"
    asserted = isinstance(error, (AssertionError, *assertions)) or "DocTest" in type(error).__name__
    return {
        "type": type(error).__name__,
        "message": message[:MESSAGE_LIMIT],
        "by": "assertion" if asserted else "error",
        "frames": frames[-_FRAME_LIMIT:],
    }
