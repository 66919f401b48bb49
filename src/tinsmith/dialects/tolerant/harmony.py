"""Calls of gpt-oss that a server left in the text, however their header is written.

    <|channel|>commentary to=functions.NAME <|constrain|>json<|message|>{…}<|call|>

What stands in the header besides the recipient is passed over: servers answer "unexpected tokens remaining in message
header" there (openai/harmony#38).
"""

import re

from tinsmith.dialects.tolerant.catalogue import Tools
from tinsmith.dialects.tolerant.coercion import Draft, finished
from tinsmith.dialects.tolerant.hermes import give_arguments
from tinsmith.dialects.tolerant.json_text import read_json
from tinsmith.dialects.tolerant.parsed import ParsedCall, Repair

_HEADER = re.compile(r"[^\n{]{0,120}?to=functions\.([\w.\-]{1,100})[^\n{]{0,120}\n?(?=\{)")
_CLEAN = re.compile(
    r"(?:<\|channel\|>commentary to=functions\.\S+? ?|<\|start\|>assistant to=functions\.\S+?<\|channel\|>commentary ?)"
    r"(?:<\|constrain\|>)?json<\|message\|>"
)
_MESSAGE = re.compile(r"\s{0,64}(?:<\|start\|>assistant)?<\|channel\|>(analysis|commentary|final)\s{0,64}<\|message\|>")
_MESSAGE_END = re.compile(r"<\|(?:end|return)\|>|(?=<\|(?:start|channel)\|>)")
_OPENED = re.compile(r"\s{0,64}<\|start\|>assistant(?=<\|channel\|>)")
_END = re.compile(r"\s{0,64}<\|call\|>")


def read_harmony(text: str, start: int, tools: Tools) -> tuple[tuple[ParsedCall, ...], int]:
    """The call whose header begins at `start`, and where it ends. Never raises."""
    header = _HEADER.match(text, start)
    if header is None:
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        return (ParsedCall(None, text[start:end], (), "The header of the call has no arguments behind it."),), end
    draft = Draft(header.group(1))
    if _CLEAN.fullmatch(header.group()) is None:
        draft.repairs.append(Repair.TAG)
    reading = read_json(text, header.end())
    draft.repairs += sorted(reading.repairs)
    closed = _END.match(text, reading.end)
    end = closed.end() if closed else reading.end
    if reading.problem is not None:
        draft.problem = f"The arguments' JSON cannot be read: {reading.problem}."
    else:
        give_arguments(draft, reading.value)
    return (finished(draft, text[start:end], tools),), end


def split_channels(text: str) -> tuple[str, str]:
    """What gpt-oss thought (`<|channel|>analysis<|message|>…<|end|>`), and the rest: its words without their headers,
    its call and all after it as they came. Text that begins with no channel is all rest."""
    thinking: list[str] = []
    said: list[str] = []
    position = 0
    while (header := _MESSAGE.match(text, position)) is not None:
        found = _MESSAGE_END.search(text, header.end())
        end, position = (found.start(), found.end()) if found else (len(text), len(text))
        (thinking if header.group(1) == "analysis" else said).append(text[header.end() : end])
    # The recipient may stand in either part of a call's header; behind the channel it needs no role.
    opened = _OPENED.match(text, position)
    call = text[opened.end() if opened else position :]
    return "\n".join(thinking).strip(), "\n".join(filter(None, (*said, call)))
