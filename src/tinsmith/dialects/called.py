"""The arguments of calls in a history as JSON values, also of tools and parameters that nobody declared."""

import json
from collections.abc import Iterable
from typing import Any

from tinsmith.dialects.tool_call import Call, ToolSpec


def call_values(call: Call, tools: Iterable[ToolSpec]) -> dict[str, Any]:
    """The arguments of `call` by name, in its order.

    A value of a parameter that `tools` declare as text is that text. All others are read as JSON, since a call of an
    undeclared tool holds JSON (`conversation_from_messages`); what is none stands for itself.
    """
    spec = next((tool for tool in tools if tool.name == call.tool), None)
    texts = {parameter.name for parameter in spec.parameters if parameter.is_text} if spec else frozenset[str]()
    return {name: value if name in texts else _read(value) for name, value in call.arguments.items()}


def _read(text: str) -> Any:
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()  # no half of a surrogate pair
    except (ValueError, RecursionError):
        return text
    return value
