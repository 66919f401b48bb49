"""A call's arguments, key by key, each value under its domain."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from tinsmith.agent.stages import Stages
from tinsmith.dialects import Call, Dialect, FreeText, OneOfValues, ToolSpec, value_rest
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
    if isinstance(domain, OneOfValues):
        texts = [dialect.value_text(parameter, value) for value in domain.values]
        text = stages.choose(texts, dialect.value_follow(parameter))
    else:
        assert isinstance(domain, FreeText)
        text = stages.free(dialect.free_value(parameter), domain.max_tokens, dialect.value_end(parameter))
    if rest := value_rest(text, dialect.value_end(parameter)):
        stages.literal(rest)
    return dialect.value_from(parameter, text)
