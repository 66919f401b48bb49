"""Calls that a server parsed: OpenAI's `tool_calls`, which are not always whole."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tinsmith.dialects.tolerant.catalogue import Tools
from tinsmith.dialects.tolerant.coercion import Draft, finished
from tinsmith.dialects.tolerant.hermes import give_arguments
from tinsmith.dialects.tolerant.json_text import read_json, skip_space
from tinsmith.dialects.tolerant.parsed import ParsedCall, Repair
from tinsmith.dialects.tool_call import ToolSpec

_LEFT_OVER = ("</parameter>", "</function>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]")
_SEPARATORS = ("[CALL_ID]", "[ARGS]", "<|channel|>", "<|constrain|>")


def native_calls(tool_calls: Sequence[Mapping[str, Any]], tools: Sequence[ToolSpec]) -> tuple[ParsedCall, ...]:
    """The calls of a message: {"id", "function": {"name", "arguments"}} or {"name", "arguments"} each, where
    `arguments` is JSON text, as OpenAI has it, or the object itself, as Ollama has it. Never raises."""
    known = Tools(tools)
    return tuple(_native(call, known) for call in cast("Sequence[Any]", tool_calls or ()))


def _native(value: Any, tools: Tools) -> ParsedCall:
    raw = _raw(value)
    call: Any = value
    if isinstance(value, Mapping):
        call = cast("Mapping[str, Any]", value).get("function", value)
    if not isinstance(call, Mapping):
        return ParsedCall(None, raw, (), "A call has a name and arguments.")
    given = cast("Mapping[str, Any]", call)
    name, arguments = given.get("name"), given.get("arguments")
    if not isinstance(name, str):
        return ParsedCall(None, raw, (), "The call names no tool.")
    draft = _draft(name, arguments, tools)
    if any(isinstance(each, str) and each.rstrip().endswith(_LEFT_OVER) for each in draft.arguments.values()):
        draft.repairs.append(Repair.LEFT_OVER)
    return finished(draft, raw, tools)


def _draft(name: str, arguments: Any, tools: Tools) -> Draft:
    """The call, with what servers are known to leave in its parts."""
    draft = Draft(name)
    if name not in tools.by_name:
        if isinstance(arguments, str) and (swapped := arguments.removeprefix("[ARGS]").strip()) in tools.by_name:
            draft.tool, arguments = swapped, name
            draft.repairs.append(Repair.SWAPPED)
        else:
            draft.tool = min((name.partition(each)[0] for each in _SEPARATORS), key=len).strip()
            if draft.tool != name:
                draft.repairs.append(Repair.JUNK)
    if isinstance(arguments, str):
        if arguments.startswith("[ARGS]"):
            arguments = arguments.removeprefix("[ARGS]")
            draft.repairs.append(Repair.JUNK)
        if not arguments.strip():
            arguments = {}
        elif arguments.lstrip().startswith('"'):  # JSON in a JSON string
            reading = read_json(arguments)
            if isinstance(reading.value, str) and skip_space(arguments, reading.end) == len(arguments):
                draft.repairs += [*sorted(reading.repairs), Repair.TYPE]
                arguments = reading.value
    give_arguments(draft, arguments)
    return draft


def _raw(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return f"<{type(value).__name__}>"
