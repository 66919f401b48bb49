"""Mistral's calls, whole or damaged.

    v7   [TOOL_CALLS][{"name": "NAME", "arguments": {…}, "id": "ID"}, …]
    v11  [TOOL_CALLS]NAME[CALL_ID]ID[ARGS]{…}
    v13  [TOOL_CALLS]NAME[ARGS]{…}[TOOL_CALLS]…

Where a server drops control tokens from the text, `NAME{…}` is left, in v11 `NAMEID{…}`.
"""

import re
from collections.abc import Mapping

from tinsmith.dialects.tolerant.catalogue import Tools
from tinsmith.dialects.tolerant.coercion import Draft, finished
from tinsmith.dialects.tolerant.hermes import calls_in, give_arguments
from tinsmith.dialects.tolerant.json_text import JsonReading, read_json, skip_space
from tinsmith.dialects.tolerant.parsed import ParsedCall, Repair

_CALL = "[TOOL_CALLS]"
_NAMED = re.compile(
    r"\s{0,64}([^\s\[\]{}<>\"']{1,200})[ \t]{0,32}"
    r"(\[CALL_ID\][ \t]?[^\s\[{]{0,64})?[ \t]{0,32}(\[ARGS\])?\s{0,64}(?=\{)"
)
_SWAPPED = re.compile(r"\s{0,64}\[ARGS\]\s{0,64}([^\s\[\]{}<>\"']{1,200})")
_NEXT = re.compile(r"\[TOOL_CALLS\]")
_END = re.compile(r"\s{0,64}</s>")


def read_mistral(text: str, start: int, tools: Tools) -> tuple[tuple[ParsedCall, ...], int]:
    """The calls that begin with the `[TOOL_CALLS]` at `start`, and where they end. Never raises."""
    begin = skip_space(text, start + len(_CALL))
    if text.startswith(("[", "{"), begin) and not text.startswith("[ARGS]", begin):
        return _listed(text, start, begin, tools)
    named = _NAMED.match(text, begin)
    if named is None:
        return _broken(text, start, begin, "After [TOOL_CALLS] comes NAME[ARGS]{…}.")
    draft = Draft(named.group(1))
    if named.group(3) is None:
        draft.repairs.append(Repair.TAG)
    call, end = _with_arguments(text, start, named.end(), draft, tools)
    return (call,), end


def read_named(text: str, start: int, tools: Tools) -> tuple[tuple[ParsedCall, ...], int]:
    """The call that begins at `start` with a known tool's name and no `[TOOL_CALLS]`. Never raises."""
    name = next(name for name in tools.names if text.startswith(name, start))
    brace = text.find("{", start, start + len(name) + 120)
    if brace < 0:
        return _broken(text, start, start + len(name), "The arguments are missing.")
    between = text[start + len(name) : brace].strip()
    draft = Draft(name, repairs=[Repair.OPENER])
    if between not in ("", "[ARGS]"):
        draft.repairs.append(Repair.JUNK)
    call, end = _with_arguments(text, start, brace, draft, tools)
    return (call,), end


def _with_arguments(text: str, start: int, brace: int, draft: Draft, tools: Tools) -> tuple[ParsedCall, int]:
    reading = read_json(text, brace)
    end = _closed(text, reading.end)
    draft.repairs += sorted(reading.repairs)
    if reading.problem is not None:
        draft.problem = f"The arguments' JSON cannot be read: {reading.problem}."
        end = _given_up(text, reading.end)
    else:
        give_arguments(draft, reading.value)
    return finished(draft, text[start:end], tools), end


def _listed(text: str, start: int, begin: int, tools: Tools) -> tuple[tuple[ParsedCall, ...], int]:
    reading = read_json(text, begin)
    repairs = sorted(reading.repairs)
    if reading.problem is not None:
        end = _given_up(text, reading.end)
        return calls_in(reading, text[start:end], tools, repairs, reading.problem), end
    value = reading.value
    swapped = _SWAPPED.match(text, reading.end)
    if swapped is not None and isinstance(value, Mapping):
        end = _closed(text, swapped.end())
        draft = Draft(swapped.group(1), value, repairs=[*repairs, Repair.SWAPPED])
        return (finished(draft, text[start:end], tools),), end
    if isinstance(value, Mapping):
        repairs.append(Repair.TAG)  # the list's brackets
    end = _closed(text, reading.end)
    return calls_in(JsonReading(value, reading.end, reading.repairs), text[start:end], tools, repairs, None), end


def _broken(text: str, start: int, position: int, why: str) -> tuple[tuple[ParsedCall, ...], int]:
    end = _given_up(text, position)
    return (ParsedCall(None, text[start:end], (), why),), end


def _given_up(text: str, position: int) -> int:
    match = _NEXT.search(text, position)
    return match.start() if match else len(text)


def _closed(text: str, position: int) -> int:
    match = _END.match(text, position)
    return match.end() if match else position
