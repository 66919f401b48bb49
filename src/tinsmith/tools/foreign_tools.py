"""Tools that another program declares and executes: what may stand in a call of theirs."""

from collections.abc import Mapping, Sequence

from tinsmith.dialects import (
    Domain,
    FreeText,
    JsonSchemas,
    JsonValue,
    OneOfValues,
    Parameter,
    ToolSpec,
    text_values,
)
from tinsmith.tools.domains import Choices


class ForeignTools:
    """The tools `specs`, all of which can be called at any time; `free_tokens` bounds each value."""

    def __init__(self, specs: Sequence[ToolSpec], free_tokens: int) -> None:
        self.specs = specs
        self._domains = {spec.name: _domains(spec, free_tokens) for spec in specs}
        self._required = {
            spec.name: {parameter.name for parameter in spec.parameters if parameter.required} for spec in specs
        }

    def available(self) -> list[str]:
        """The names of all tools."""
        return [spec.name for spec in self.specs]

    def choices(self, tool: str, given: Mapping[str, str]) -> Choices:
        """The parameters of `tool` that are not `given`, in the order declared; it may end when none required is left.
        Raises KeyError for a tool that there is not."""
        left = {name: domain for name, domain in self._domains[tool].items() if name not in given}
        return Choices(left, may_close=self._required[tool] <= given.keys())


def _domains(spec: ToolSpec, free_tokens: int) -> dict[str, Domain]:
    schemas = JsonSchemas(spec.schema or {})
    return {parameter.name: _domain(parameter, schemas, free_tokens) for parameter in spec.parameters}


def _domain(parameter: Parameter, schemas: JsonSchemas, free_tokens: int) -> Domain:
    values = text_values(parameter.as_schema(), schemas) if parameter.is_text else None
    if values is None:
        return JsonValue(free_tokens)
    return OneOfValues(values) if values else FreeText(free_tokens)
