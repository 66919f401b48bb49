"""What every dialect can do: render turns to spans, write a call in stages, parse a call from text.

A call is never written as one string. The loop asks the dialect for the literals (syntax, appended without
decoding) and for the grammar of each free place (tool name, next key, value), decodes those, and appends what
was sampled. A new model family is one new module that implements `Dialect`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from tinsmith.dialects.spans import Spans
from tinsmith.engines import Grammar


@dataclass(frozen=True)
class Parameter:
    """One argument of a tool. `type` is the JSON type; `description` one short line."""

    name: str
    type: Literal["string", "integer"]
    description: str = ""
    required: bool = True


@dataclass(frozen=True)
class ToolSpec:
    """What the model is told of a tool."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]

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


Domain = OneOfValues | FreeText


@dataclass(frozen=True)
class Call:
    """A tool call: every value as text, whatever its type."""

    tool: str
    arguments: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Malformed:
    """Text that opens a call and does not hold one. `raw` is kept; `reason` is for the model to read."""

    raw: str
    reason: str


class Dialect(Protocol):
    """How one family of models writes turns and calls.

    Every method that returns spans returns the complete span list for that piece, so that pieces concatenate.
    """

    name: str
    controls: tuple[str, ...]
    """The control tokens and delimiters that it writes; a vocabulary without one of them cannot speak it."""

    def system(self, text: str, tools: Sequence[ToolSpec]) -> Spans:
        """The fixed part: system text and the declaration of the tools, where there are any."""
        ...

    def user(self, text: str) -> Spans:
        """A turn of the person (or of the harness)."""
        ...

    def user_end(self) -> Spans:
        """What `user` ends with: more text can stand before it, in the same turn."""
        ...

    def observation(self, text: str) -> Spans:
        """The result of the call just made."""
        ...

    def assistant_start(self) -> Spans:
        """Opens the model's turn."""
        ...

    def call_opener(self) -> str:
        """The control token whose appearance ends free text and opens a call."""
        ...

    def tool_start(self) -> Spans:
        """The syntax between the opener and the tool's name."""
        ...

    def tool_choice(self, names: Sequence[str]) -> Grammar:
        """The tool's name and what ends it."""
        ...

    def tool_literal(self, name: str) -> str:
        """The text that `tool_choice` decodes for the tool of this name."""
        ...

    def tool_from(self, text: str) -> str:
        """The tool's name from the decoded text of `tool_choice`."""
        ...

    def key_choice(self, tool: ToolSpec, keys: Sequence[str], may_close: bool, first: bool) -> Grammar:
        """Which argument comes next, or the end of the call."""
        ...

    def key_literal(self, key: str, first: bool) -> str:
        """The text that opens the value of `key`; one of the strings `key_choice` admits."""
        ...

    def close_literal(self, first: bool) -> str:
        """The text that ends the arguments; one of the strings `key_choice` admits."""
        ...

    def value(self, parameter: Parameter, domain: Domain) -> Grammar:
        """The value and as much of its closing syntax as ends it unambiguously."""
        ...

    def value_text(self, parameter: Parameter, value: str) -> str:
        """`value` written as `value(parameter, ...)` would have it decoded, its end included.

        Raises ValueError for a value that cannot be written because it holds what ends it.
        """
        ...

    def value_from(self, parameter: Parameter, text: str) -> str:
        """The value from the decoded text of `value`."""
        ...

    def value_close(self, parameter: Parameter, domain: Domain) -> str:
        """The rest of the closing syntax, appended without decoding."""
        ...

    def value_abort(self, parameter: Parameter) -> str:
        """The syntax that ends a free value which ran into its bound."""
        ...

    def call_end(self) -> Spans:
        """Ends the call and the model's turn."""
        ...

    def parse(self, text: str, tools: Sequence[ToolSpec]) -> Call | Malformed | None:
        """The first call in the model's text; None when it holds none. Never raises."""
        ...
