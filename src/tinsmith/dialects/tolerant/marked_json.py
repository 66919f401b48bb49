"""Calls of DeepSeek and Kimi: the tool's name and its arguments as JSON, between marks of their own.

    <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>NAME<｜tool▁sep｜>{…}<｜tool▁call▁end｜><｜tool▁calls▁end｜>       (V3.1)
    <｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\\n```json\\n{…}\\n```<｜tool▁call▁end｜>                   (V3, R1)
    <|tool_calls_section_begin|><|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{…}<|tool_call_end|>

Sources: the chat templates of DeepSeek-V3.1, DeepSeek-R1 and Kimi-K2.
"""

import re

from tinsmith.dialects.tolerant.catalogue import Tools
from tinsmith.dialects.tolerant.coercion import Draft, finished
from tinsmith.dialects.tolerant.hermes import give_arguments
from tinsmith.dialects.tolerant.json_text import read_json
from tinsmith.dialects.tolerant.parsed import ParsedCall, Repair

MARKS = ("<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>", "<|tool_calls_section_begin|>", "<|tool_call_begin|>")
"""What such calls begin with."""

_SPACE = r"\s{0,64}"
_OPEN = re.compile(rf"(?:<｜tool▁calls▁begin｜>|<\|tool_calls_section_begin\|>){_SPACE}")
_BEGIN = re.compile(rf"{_SPACE}(?:<｜tool▁call▁begin｜>|<\|tool_call_begin\|>)")
_HEADER = re.compile(
    rf"{_SPACE}(?:"
    r"function<｜tool▁sep｜>([\w.\-]{1,100})\s{0,64}```json\n"
    r"|([\w.\-]{1,100})<｜tool▁sep｜>"
    rf"|functions\.([\w.\-]{{1,100}}):\d{{1,6}}{_SPACE}<\|tool_call_argument_begin\|>"
    r")"
)
_END = re.compile(rf"(?:\s{{0,64}}```)?{_SPACE}(?:<｜tool▁call▁end｜>|<\|tool_call_end\|>)")
_CLOSE = re.compile(rf"{_SPACE}(?:<｜tool▁calls▁end｜>|<\|tool_calls_section_end\|>)")
_GIVEN_UP = re.compile("(<｜tool▁call▁end｜>|<\\|tool_call_end\\|>)|" + "|".join(map(re.escape, MARKS)))


def read_marked(text: str, start: int, tools: Tools, most: int) -> tuple[tuple[ParsedCall, ...], int]:
    """The calls, `most` at most, that begin with the mark at `start`, and where they end. Never raises."""
    opened = _OPEN.match(text, start)
    position = opened.end() if opened else start
    calls: list[ParsedCall] = []
    while len(calls) < most and (begun := _BEGIN.match(text, position)):
        call, end = _read(text, position, begun.end(), tools)
        calls.append(call)
        position = end
    if not calls:
        cut = (Repair.VALUE_CUT,) if position == len(text) else ()
        calls.append(ParsedCall(None, text[start:position], cut, "No call follows what opens calls."))
    closed = _CLOSE.match(text, position)
    return tuple(calls), closed.end() if closed else position


def _read(text: str, start: int, position: int, tools: Tools) -> tuple[ParsedCall, int]:
    """The call whose header begins at `position`."""
    header = _HEADER.match(text, position)
    if header is None:
        end = _given_up(text, position)
        why = "The tool's name and its arguments cannot be told apart."
        cut = (Repair.VALUE_CUT,) if end == len(text) else ()
        return ParsedCall(None, text[start:end], cut, why), end
    draft = Draft(next(name for name in header.groups() if name))
    reading = read_json(text, header.end())
    draft.repairs += sorted(reading.repairs)
    closed = _END.match(text, reading.end)
    end = closed.end() if closed else reading.end
    if reading.problem is not None:
        draft.problem, end = f"The arguments' JSON cannot be read: {reading.problem}.", _given_up(text, reading.end)
    else:
        give_arguments(draft, reading.value)
        if closed is None:
            draft.repairs.append(Repair.CLOSER)
    return finished(draft, text[start:end], tools), end


def _given_up(text: str, position: int) -> int:
    """Where a call that cannot be read ends: after its mark, before the next call's, or with the text."""
    found = _GIVEN_UP.search(text, position)
    return len(text) if found is None else found.end() if found.group(1) else found.start()
