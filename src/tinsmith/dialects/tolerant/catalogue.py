"""The tools of a turn, looked up while its text is read, and what a model is told of one it got wrong."""

import difflib
import json
from collections.abc import Sequence

from tinsmith.dialects.json_schema import JsonSchemas
from tinsmith.dialects.tool_call import Parameter, ToolSpec

_SHORT = 60


class Tools:
    """The tools by name. Of two with one name the first counts."""

    def __init__(self, specs: Sequence[ToolSpec]) -> None:
        self.by_name: dict[str, ToolSpec] = {}
        for spec in specs:
            self.by_name.setdefault(spec.name, spec)
        # The longest first, so that a name is never taken for one that it begins with.
        self.names = tuple(sorted((name for name in self.by_name if name), key=lambda name: (-len(name), name)))
        self.keys = tuple(sorted({parameter.name for spec in specs for parameter in spec.parameters} - {""}))
        self._schemas: dict[str, JsonSchemas] = {}

    def schemas(self, spec: ToolSpec) -> JsonSchemas:
        """The schemas that the tool's parameters are under."""
        if spec.name not in self._schemas:
            self._schemas[spec.name] = JsonSchemas(spec.as_json()["function"]["parameters"])
        return self._schemas[spec.name]

    def unknown(self, name: str) -> str:
        """What to say of a call of a tool that there is not."""
        near = difflib.get_close_matches(name[:_SHORT], self.by_name, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"There is no tool {name[:_SHORT]!r}.{hint} The tools are: {', '.join(self.by_name) or 'none'}."


def signature(spec: ToolSpec) -> str:
    """The tool's parameters in one line: `edit(path: string, start?: integer, new: string)`."""
    return f"{spec.name}({', '.join(map(_parameter, spec.parameters))})"


def _parameter(parameter: Parameter) -> str:
    optional = "" if parameter.required else "?"
    return f"{parameter.name}{optional}: {described(parameter)}"


def described(parameter: Parameter) -> str:
    """The parameter's type, or its schema in short."""
    if parameter.schema is None or set(parameter.schema) <= {"type", "description", "title", "default"}:
        return parameter.type or "any JSON"
    plain = {key: value for key, value in parameter.schema.items() if key not in ("description", "title")}
    text = json.dumps(plain, ensure_ascii=False, default=str)
    return text if len(text) <= 2 * _SHORT else text[: 2 * _SHORT] + "…"
