"""Tools, their arguments and calls of them, whatever the model family."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Parameter:
    """One argument of a tool. `type` is the JSON type, empty where `schema` says something else; `description` one
    short line.

    `schema` is a whole JSON Schema where the type alone does not say all (tools of others); its `$ref` are resolved
    in `ToolSpec.schema`.
    """

    name: str
    type: str
    description: str = ""
    required: bool = True
    schema: Mapping[str, Any] | None = None

    @property
    def is_text(self) -> bool:
        """Whether its values are strings and nothing else: these stand raw in `Call.arguments`, all others as JSON."""
        return self.type == "string"

    def as_schema(self) -> Mapping[str, Any]:
        """Its JSON Schema."""
        if self.schema is not None:
            return self.schema
        return {"type": self.type} | ({"description": self.description} if self.description else {})


@dataclass(frozen=True)
class ToolSpec:
    """What the model is told of a tool. `schema`: of its arguments, as another program declared it."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    schema: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """The tool as OpenAI's interface declares one: {"type": "function", "function": {…}}."""
        schema = self.schema
        if schema is None:
            required = [parameter.name for parameter in self.parameters if parameter.required]
            properties = {parameter.name: parameter.as_schema() for parameter in self.parameters}
            schema = {"type": "object", "properties": properties, "required": required}
        function = {"name": self.name, "description": self.description, "parameters": schema}
        return {"type": "function", "function": function}

    def parameter(self, name: str) -> Parameter:
        """The parameter of that name. Raises KeyError."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        raise KeyError(name)


@dataclass(frozen=True)
class OneOfValues:
    """The value is one of these strings, and at least one is given."""

    values: tuple[str, ...]


@dataclass(frozen=True)
class FreeText:
    """The value is any text of at most `max_tokens` tokens."""

    max_tokens: int = 512


@dataclass(frozen=True)
class JsonValue:
    """The value is JSON under the parameter's schema, of about `max_tokens` tokens: closing it may take a few more."""

    max_tokens: int = 512


Domain = OneOfValues | FreeText | JsonValue


@dataclass(frozen=True)
class Call:
    """A tool call: every value as text. Where the parameter `is_text` it is the string itself, else JSON."""

    tool: str
    arguments: Mapping[str, str] = field(default_factory=dict[str, str])

    def values(self, spec: ToolSpec) -> dict[str, Any]:
        """The arguments as JSON values. Raises ValueError where one is no JSON though it should be."""
        return {
            name: value if spec.parameter(name).is_text else json.loads(value) for name, value in self.arguments.items()
        }


@dataclass(frozen=True)
class Malformed:
    """Text that opens a call and does not hold one. `raw` is kept; `reason` is for the model to read."""

    raw: str
    reason: str
