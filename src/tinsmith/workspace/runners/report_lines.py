"""Outcomes from the JSON lines of our plugins; the format is in `inside/tinsmith_report_writer.py`."""

import json
from pathlib import Path
from typing import Any

from tinsmith.workspace.runners.runner import read_report
from tinsmith.workspace.test_outcomes import Frame, Reading, TestOutcome, interrupted, merge


def read_lines(path: Path, *, timed_out: bool) -> Reading | None:
    """None where not one well-formed line is there, so that the tests did not even start."""
    content = read_report(path)
    if content is None:
        return None
    lines: list[dict[str, Any]] = []
    for line in content.split(b"\n"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and _is_well_formed(value):
            lines.append(value)
    if not lines:
        return None
    collected = [nodeid for line in lines if line.get("kind") == "collected" for nodeid in line["nodeids"]]
    complete = all(line["kind"] != "trace_cut" for line in lines)
    return Reading(_outcomes(lines, timed_out=timed_out), tuple(collected), trace_complete=complete)


def _is_well_formed(line: dict[str, Any]) -> bool:
    kind = line.get("kind")
    if kind == "collected":
        nodeids = line.get("nodeids")
        return isinstance(nodeids, list) and all(isinstance(nodeid, str) for nodeid in nodeids)
    if kind in ("start", "report") and not isinstance(line.get("nodeid"), str):
        return False
    return kind in ("session", "start", "report", "trace_cut", "end")


def _outcomes(lines: list[dict[str, Any]], *, timed_out: bool) -> dict[str, TestOutcome]:
    outcomes: dict[str, TestOutcome] = {}
    running: dict[str, None] = {}
    for line in lines:
        if line["kind"] == "start":
            running[line["nodeid"]] = None
        elif line["kind"] == "report":
            try:
                new = _outcome(line)
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
            outcomes[new.nodeid] = merge(outcomes.get(new.nodeid), new)
            if new.phase == "teardown":
                running.pop(new.nodeid, None)
    for nodeid in running:
        before = outcomes.get(nodeid)
        if before is None or before.ok:
            outcomes[nodeid] = interrupted(nodeid, timed_out=timed_out)
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
