"""Calls as JSON objects: Hermes and Qwen3 general in `<tool_call>`, others bare.

<tool_call>\\n{"name": "NAME", "arguments": {…}}\\n</tool_call>
"""

from collections.abc import Mapping
from typing import Any, cast

from tinsmith.dialects.tolerant.catalogue import Tools
from tinsmith.dialects.tolerant.coercion import Draft, finished
from tinsmith.dialects.tolerant.json_text import JsonReading, read_json, skip_space
from tinsmith.dialects.tolerant.parsed import ParsedCall, Repair
from tinsmith.dialects.tolerant.qwen_xml import broken_end

_CALL_TAG = "<tool_call>"
_CALL_END = "</tool_call>"
_NAMES = ("name", "tool_name", "tool", "function")
_ARGUMENTS = ("arguments", "parameters", "args", "input")


def read_hermes(text: str, start: int, tools: Tools) -> tuple[tuple[ParsedCall, ...], int]:
    """The calls of the JSON that begins at `start`, with or without `<tool_call>`, and where they end. Never raises."""
    tagged = text.startswith(_CALL_TAG, start)
    reading = read_json(text, start + len(_CALL_TAG) * tagged)
    after = skip_space(text, reading.end)
    closed = text.startswith(_CALL_END, after)
    end = after + len(_CALL_END) if closed else reading.end
    problem, repairs = reading.problem, list(reading.repairs)
    if tagged and problem is None and not closed and after < len(text) and not text.startswith(_CALL_TAG, after):
        problem = f"only </tool_call> can follow the JSON, not {text[after : after + 40]!r}"
    if problem is not None:
        end = broken_end(text, reading.end)
    elif tagged != closed:
        repairs.append(Repair.CLOSER if tagged else Repair.OPENER)
    elif not tagged:
        repairs.append(Repair.OPENER)
    return calls_in(reading, text[start:end], tools, repairs, problem), end


def calls_in(
    reading: JsonReading, raw: str, tools: Tools, repairs: list[Repair], problem: str | None
) -> tuple[ParsedCall, ...]:
    """The calls that a JSON value holds: an object, a list of them, or OpenAI's message; at least one."""
    if problem is not None:
        return (ParsedCall(None, raw, tuple(repairs), f"The call's JSON cannot be read: {problem}."),)
    value = reading.value
    if isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
        value = value["tool_calls"]
    listed = cast("list[Any]", value) if isinstance(value, list) and value else [value]
    return tuple(_call(each, raw, tools, repairs) for each in listed)


def _call(value: Any, raw: str, tools: Tools, repairs: list[Repair]) -> ParsedCall:
    form = 'A call is {"name": …, "arguments": {…}}'
    if not isinstance(value, Mapping):
        return ParsedCall(None, raw, tuple(repairs), f"{form}.")
    call = cast("Mapping[str, Any]", value)
    inner = call.get("function")
    if isinstance(inner, Mapping):
        call = cast("Mapping[str, Any]", inner)
    name = next((call[key] for key in _NAMES if isinstance(call.get(key), str)), None)
    if name is None:
        return ParsedCall(None, raw, tuple(repairs), f"{form}; the name is missing.")
    arguments: Any = next((call[key] for key in _ARGUMENTS if key in call), {})
    draft = Draft(name, repairs=list(repairs))
    give_arguments(draft, arguments)
    return finished(draft, raw, tools)


def give_arguments(draft: Draft, arguments: Any) -> None:
    """Sets the arguments of `draft` from a JSON value; JSON inside a string is read."""
    if isinstance(arguments, str):
        reading = read_json(arguments)
        draft.repairs += sorted(reading.repairs)
        if reading.problem is not None:
            draft.problem = f"The arguments' JSON cannot be read: {reading.problem}."
            return
        if skip_space(arguments, reading.end) != len(arguments):
            draft.problem = f"Nothing may follow the arguments, as {arguments[reading.end :][:40]!r} does."
            return
        arguments = reading.value
    if isinstance(arguments, Mapping):
        draft.arguments = cast("Mapping[str, Any]", arguments)
    elif arguments is not None:
        draft.problem = f"The arguments must be one JSON object, not {type(cast('object', arguments)).__name__}."
