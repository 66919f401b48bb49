"""Private keys in PEM, in files, diffs, listings and strings, also where a block's beginning or end is cut off."""

import re

_BEGIN = re.compile(r"-{4,5} ?BEGIN (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_END = re.compile(r"-{4,5} ?END (?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)? ?-{4,5}")
_MARGIN = re.compile(r"[ \t>|+\-:#*/(,\\\"']{0,40}+(?:\d{1,7}+[:|\t][ \t]{0,20}+)?[ \t\"'+-]{0,20}+")
"""What stands before a line in a diff, a listing, a comment or a string; it stays."""
_BODY = re.compile(r"[A-Za-z0-9+/=]{16,}+")
_BODY_HEADER = re.compile(r"(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset): .*|=[A-Za-z0-9+/]{4}")
_LAST = re.compile(r"[A-Za-z0-9+/=]++")
_AFTER = re.compile(r"(?:\\[nr])*+[\"'`]?[ \t,;+\\)]*+(?:\\[nr])*+\r?")
_ON_ONE_LINE = re.compile(
    _BEGIN.pattern
    + r"(?P<body>(?:\\[nr]|(?:Proc-Type|DEK-Info): [\w,-]{1,80}|[A-Za-z0-9+/= \t])*+)(?P<end>(?:"
    + _END.pattern
    + ")?)"
)
_MAX_BLOCK = 400
"""Lines; what lies between markers that are further apart has nothing to do with them."""


def without_private_keys(text: str, mark: str) -> str:
    """`text` with each line of each block replaced by `mark`; what stands before it on the line stays."""
    if "PRIVATE KEY" not in text:
        return text
    text = _ON_ONE_LINE.sub(lambda match: mark if _holds_key(match) else match[0], text)
    lines = text.split("\n")
    ends = _next_end(lines)
    at = 0
    while at < len(lines):
        line = lines[at]
        begins = list(_BEGIN.finditer(line))
        if begins:
            at = _cut_block(lines, at, begins[-1], ends[at + 1] if at + 1 < len(lines) else None, mark)
            continue
        if at > 0 and (end := _END.search(line)) and _is_body(lines[at - 1]):
            lines[at] = _before(line, end) + mark + line[end.end() :]
            above = at - 1
            while above >= 0 and _is_body(lines[above]):  # a block whose beginning was cut off
                lines[above] = _without_body(lines[above], mark)
                above -= 1
        at += 1
    return "\n".join(lines)


def _holds_key(match: re.Match[str]) -> bool:
    runs = re.findall(r"[A-Za-z0-9+/=]+", match["body"])
    return any(len(run) >= (8 if match["end"] else 16) for run in runs)


def _cut_block(lines: list[str], at: int, begin: re.Match[str], end_at: int | None, mark: str) -> int:
    """Redacts the block that begins on line `at`; returns the line to go on with."""
    rest = lines[at][begin.end() :]
    bare = _AFTER.fullmatch(rest) is not None
    quoted = re.search(r"[\"'`]", rest) is not None
    whole = bare and not quoted and end_at is not None and end_at - at <= _MAX_BLOCK
    if not bare or at + 1 == len(lines) or not (whole or _is_body(lines[at + 1])):
        return at + 1  # the marker alone, as code that reads such files has it
    lines[at] = lines[at][: begin.start()] + mark + rest
    for number in range(at + 1, len(lines)):
        line = lines[number]
        if end := _END.search(line):
            lines[number] = _before(line, end) + mark + line[end.end() :]
            return number + 1
        if _is_body(line):
            lines[number] = _without_body(line, mark)
        elif whole:
            lines[number] = line[: _margin(line)] + mark
        elif line.strip():
            last = _LAST.match(line, _margin(line))
            if last and _AFTER.fullmatch(line, last.end()):
                lines[number] = line[: last.start()] + mark + line[last.end() :]
                number += 1
            return number
    return len(lines)


def _next_end(lines: list[str]) -> list[int | None]:
    """For each line the next one, itself included, that ends a block."""
    ends: list[int | None] = [None] * len(lines)
    following: int | None = None
    for number in range(len(lines) - 1, -1, -1):
        if "PRIVATE KEY" in lines[number] and _END.search(lines[number]):
            following = number
        ends[number] = following
    return ends


def _margin(line: str) -> int:
    match = _MARGIN.match(line)
    return match.end() if match else 0


def _before(line: str, marker: re.Match[str]) -> str:
    """What stays of a line before the marker that ends a block."""
    return line[: _margin(line[: marker.start()])]


def _is_body(line: str) -> bool:
    margin = _margin(line)
    if body := _BODY.match(line, margin):
        return _AFTER.fullmatch(line, body.end()) is not None
    return _BODY_HEADER.match(line, margin) is not None


def _without_body(line: str, mark: str) -> str:
    margin = _margin(line)
    body = _BODY.match(line, margin)
    return line[:margin] + mark + (line[body.end() :] if body else "")
