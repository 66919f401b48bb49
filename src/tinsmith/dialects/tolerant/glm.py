"""Calls of GLM (4.5 and later): names and values in tags, strings raw and all else as JSON.

    <tool_call>NAME<arg_key>KEY</arg_key><arg_value>VALUE</arg_value>…</tool_call>

Tags may stand on lines of their own. Source: the chat template of GLM-4.7-Flash. Nothing in the form escapes a tag
inside a value, so a value that holds one is in doubt, and a value that holds the end of one call and the beginning of
another is read as two calls.
"""

import re

from tinsmith.dialects.tolerant.catalogue import Tools
from tinsmith.dialects.tolerant.coercion import Draft, finished
from tinsmith.dialects.tolerant.parsed import ParsedCall, Repair

_NAME = re.compile(r"<tool_call>\s{0,64}([\w.\-]{1,100})\s{0,64}(?=<arg_key>)")
_ARGUMENT = re.compile(r"\s{0,64}<arg_key>\s{0,64}([^<>]{1,200}?)\s{0,64}</arg_key>\s{0,64}<arg_value>")
_VALUE_END = re.compile(r"</arg_value>(?=\s{0,64}(?:<arg_key>|</tool_call>))")
_CALL_END = re.compile(r"\s{0,64}</tool_call>")
_TAGS = ("arg_key", "arg_value", "tool_call")
_TAG = re.compile(rf"</?(?:{'|'.join(_TAGS)})>")


def read_glm(text: str, start: int, tools: Tools) -> tuple[ParsedCall, int]:
    """The call that begins at `start`, and where it ends. Never raises."""
    name = _NAME.match(text, start)
    assert name is not None
    values: dict[str, str] = {}
    draft = Draft(name.group(1), values, in_text=True)
    position = name.end()
    while (argument := _ARGUMENT.match(text, position)) is not None:
        end = _VALUE_END.search(text, argument.end())
        if end is None:
            draft.problem = f"The value of {argument.group(1)} does not end with </arg_value>."
            break
        key, value = argument.group(1), text[argument.end() : end.start()]
        if key in values:
            draft.problem = f"{key} is there twice."
        if _TAG.search(value):
            draft.repairs.append(Repair.AMBIGUOUS)
        values[key] = value
        position = end.end()
    closed = _CALL_END.match(text, position)
    end = closed.end() if closed else len(text)
    if closed is None:
        draft.problem = draft.problem or "Only <arg_key> or </tool_call> can follow a value."
        if "</tool_call>" not in text[position:]:
            draft.repairs.append(Repair.VALUE_CUT)
    elif any(text.count(f"<{tag}>", end) != text.count(f"</{tag}>", end) for tag in _TAGS):
        draft.repairs.append(Repair.LEFT_OVER)  # what ended the call stood in a value
    if draft.repairs or draft.problem:
        end = len(text)  # what follows may stand inside a value: nothing of it is read
    return finished(draft, text[start:end], tools), end
