"""Frames from the stack text that a runner puts into its report, where the runner gives no frames as data.

Only the last run of lines in a stack's form counts: an error's message comes before its stack, so a message that looks
like one does not pass for it.  Frames only point at code; no outcome rests on them.
"""

import re
from collections.abc import Callable, Iterator

from tinsmith.workspace.test_outcomes import Frame

LIMIT = 40
_V8 = re.compile(r"\s+at (?:(?:async )?(?P<function>.*?) \()?(?P<file>[^()\s][^()]*?):(?P<line>\d+):\d+\)?$")
_JAVA = re.compile(
    r"\s+at (?:[\w.@/-]+/)?(?P<owner>[\w.$]+)\.(?P<function>[\w$<>]+)\((?P<file>\w+\.\w+):(?P<line>\d+)\)$"
)
_PYTHON = re.compile(r'\s*File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<function>.+))?$')


def v8_frames(text: str, locate: Callable[[str], str | None]) -> tuple[Frame, ...]:
    """Of a JavaScript error's `stack`; `locate` gives the path from the top, or None outside the tree."""
    frames: list[Frame] = []
    for line in _last_block(text, "at "):
        found = _V8.match(line)
        path = locate(found["file"]) if found else None
        if found and path is not None:
            frames.append(Frame(path, int(found["line"]), found["function"] or ""))
    return tuple(reversed(frames[:LIMIT]))


def java_frames(text: str, locate: Callable[[str], str | None]) -> tuple[Frame, ...]:
    """Of the JVM's `printStackTrace`, the innermost cause's; `locate` gets `com/example/File.java`."""
    frames: list[Frame] = []
    for line in _last_block(text, "at ", also="..."):
        found = _JAVA.match(line)
        if found is None:
            continue
        package = found["owner"].split(".")[:-1]
        path = locate("/".join([*package, found["file"]]))
        if path is not None:
            frames.append(Frame(path, int(found["line"]), found["function"]))
    return tuple(reversed(frames[:LIMIT]))


def python_frames(text: str, locate: Callable[[str], str | None]) -> tuple[Frame, ...]:
    """Of a Python traceback."""
    frames: list[Frame] = []
    for line in text.rpartition("Traceback (most recent call last):")[2].splitlines():
        found = _PYTHON.match(line)
        path = locate(found["file"]) if found else None
        if found and path is not None:
            frames.append(Frame(path, int(found["line"]), found["function"] or ""))
    return tuple(frames[-LIMIT:])


def _last_block(text: str, beginning: str, also: str = "at ") -> Iterator[str]:
    """The last lines in a row that begin so, in their order."""
    block: list[str] = []
    for line in reversed(text.splitlines()):
        if line.strip().startswith((beginning, also)):
            block.append(line)
        elif any(one.strip().startswith(beginning) for one in block):
            break
        else:
            block.clear()
    return reversed(block)
