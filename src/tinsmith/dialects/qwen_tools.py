"""How Qwen's models are told of their tools: as XML (Qwen3-Coder) or as lines of JSON (Qwen3.5 and later).

Source: Qwen's published chat templates. The text after the declarations is theirs where other programs declared the
tools. The agent's own five are followed by a shorter one, which asks for exactly one call.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tinsmith.dialects.spans import Span, Text, with_controls
from tinsmith.dialects.tool_call import ToolSpec

CALL, CALL_END = "<tool_call>", "</tool_call>"

_HEAD = "# Tools\n\nYou have access to the following functions:\n\n<tools>"
_END = "\n</tools>\n\n"
_OURS = (
    "Call exactly one function a turn, in this format with no suffix:\n\n"
    f"{CALL}\n<function=NAME>\n<parameter=KEY>\nVALUE\n</parameter>\n</function>\n{CALL_END}"
)
_PUBLISHED = f"""If you choose to call a function ONLY reply in the following format with NO suffix:

{CALL}
<function=example_function_name>
<parameter=example_parameter_1>
value_1
</parameter>
<parameter=example_parameter_2>
This is the value for the second parameter
that can span
multiple lines
</parameter>
</function>
{CALL_END}

<IMPORTANT>
Reminder:
- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested within \
{CALL}{CALL_END} XML tags
- Required parameters MUST be specified
- You may provide optional reasoning for your function call in natural language BEFORE the function call, but NOT after
- If there is no function call available, answer the question like normal with your current knowledge and do not tell \
the user about function calls
</IMPORTANT>"""


def tools_as_xml(tools: Sequence[ToolSpec]) -> list[Span]:
    """What Qwen3-Coder is told. Without the empty line before it."""
    return [Text(_HEAD + "".join(map(_xml, tools)) + _END), *_format(tools)]


def tools_as_json(tools: Sequence[ToolSpec]) -> list[Span]:
    """What Qwen3.5 and later are told."""
    lines = "".join("\n" + json.dumps(tool.as_json(), ensure_ascii=False) for tool in tools)
    return [Text(_HEAD + lines + _END), *_format(tools)]


def _format(tools: Sequence[ToolSpec]) -> list[Span]:
    # Only another program's declaration has a schema of its own.
    foreign = all(tool.schema is not None for tool in tools)
    return with_controls(_PUBLISHED if foreign else _OURS, (CALL, CALL_END))


def _xml(tool: ToolSpec) -> str:
    schema: Mapping[str, Any] = tool.as_json()["function"]["parameters"]
    properties = schema.get("properties")
    named = cast("Mapping[str, Any]", properties) if isinstance(properties, Mapping) else {}
    parameters = "".join(
        f"\n<parameter>\n<name>{name}</name>{_fields(words)}\n</parameter>" for name, words in named.items()
    )
    return (
        f"\n<function>\n<name>{tool.name}</name>\n<description>{tool.description.strip()}</description>\n<parameters>"
        f"{parameters}{_keys(schema, ('type', 'properties'))}\n</parameters>\n</function>"
    )


def _fields(words: Any) -> str:
    """A parameter's schema; one that is true or false has no keys."""
    if not isinstance(words, Mapping):
        return ""
    schema = cast("Mapping[str, Any]", words)
    text = f"\n<type>{schema['type']}</type>" if "type" in schema else ""
    if "description" in schema:
        text += f"\n<description>{str(schema['description']).strip()}</description>"
    return text + _keys(schema, ("name", "type", "description"))


def _keys(schema: Mapping[str, Any], but: Sequence[str]) -> str:
    """The other keys, as the template writes them: arrays and objects as JSON, true as `True`."""
    text = ""
    for key, value in schema.items():
        if key not in but:
            nested = isinstance(value, (Mapping, list, tuple))
            text += f"\n<{key}>{json.dumps(value, ensure_ascii=False) if nested else value}</{key}>"
    return text
