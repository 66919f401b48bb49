"""A call's arguments, key by key, each value under its domain."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from tinsmith.agent.json_writer import write_json
from tinsmith.agent.stages import Stages
from tinsmith.dialects import Call, Dialect, JsonValue, OneOfValues, Text, ToolSpec, value_rest
from tinsmith.tools import Choices


class Tools(Protocol):
    """What can be called now: the toolbox, or a part of it."""

    specs: Sequence[ToolSpec]

    def available(self) -> list[str]:
        """The names of the tools that can be called now; at least one."""
        ...

    def choices(self, tool: str, given: Mapping[str, str]) -> Choices:
        """What may come next in a call of `tool` that has `given` so far."""
        ...


def write_arguments(stages: Stages, dialect: Dialect, tools: Tools, spec: ToolSpec) -> Call:
    """Everything between the tool's name and the end of the call."""
    given = dict[str, str]()
    while True:
        choices = tools.choices(spec.name, given)
        first = not given
        literals: dict[str, str | None] = {dialect.key_literal(key, first): key for key in choices.options}
        if choices.may_close:
            literals[dialect.close_literal(first)] = None
        key = literals[stages.choose(list(literals))]
        if key is None:
            return Call(spec.name, given)
        given[key] = _write_value(stages, dialect, spec, key, choices)


def _write_value(stages: Stages, dialect: Dialect, spec: ToolSpec, key: str, choices: Choices) -> str:
    parameter, domain = spec.parameter(key), choices.options[key]
    start, end = dialect.value_start(parameter), dialect.value_end(parameter)
    if isinstance(domain, JsonValue):
        # What comes next is its end, where it has one.
        follow = [Text(end)] if end else dialect.value_follow(parameter)
        value = write_json(stages, parameter.as_schema(), spec.schema or {}, domain.max_tokens, follow, start)
        if end:
            stages.literal(end)
        return value
    if start:
        stages.literal(start)
    if isinstance(domain, OneOfValues):
        texts = [dialect.value_text(parameter, value) for value in domain.values]
        text = stages.choose(texts, dialect.value_follow(parameter))
    else:
        text = stages.free(dialect.free_value(parameter), domain.max_tokens, end)
    if rest := value_rest(text, end):
        stages.literal(rest)
    return dialect.value_from(parameter, text)
