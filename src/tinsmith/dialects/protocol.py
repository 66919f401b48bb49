"""What every dialect can do: render turns to spans, write a call in stages, parse a call from text.

A call is never written as one string. The loop asks the dialect for the literals (syntax, appended without
decoding) and for the grammar of each free place (tool name, next key, value), decodes those, and appends what
was sampled. A new model family is one new module that implements `Dialect`.
"""

from collections.abc import Sequence
from typing import Protocol

from tinsmith.dialects.conversation import Conversation
from tinsmith.dialects.spans import Spans
from tinsmith.dialects.tool_call import Call, Malformed, Parameter, ToolSpec
from tinsmith.engines import JsonString, Until


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

    def observation(self, text: str, number: int = 0, tool: str = "") -> Spans:
        """The result of the call just made: the transcript's call of that number, a call of `tool`."""
        ...

    def assistant_start(self) -> Spans:
        """Opens the model's turn."""
        ...

    def thinking_end(self) -> Spans:
        """What ends the thinking that `assistant_start` opened; its first span is a Control, which the model writes
        when it has thought enough. Empty for a model that does not think."""
        ...

    def render(self, conversation: Conversation) -> Spans:
        """A whole conversation up to where the model writes: it ends with `assistant_start`."""
        ...

    def call_opener(self) -> str:
        """What ends free text and opens a call: a control token where it is one of `controls`, else plain text."""
        ...

    def tool_start(self) -> Spans:
        """The syntax between the opener and the tool's name."""
        ...

    def tool_literal(self, name: str) -> str:
        """The tool's name, and what ends it where that is text."""
        ...

    def tool_follow(self) -> Spans:
        """What comes after `tool_literal` and tells a name from a longer one: alternatives. Empty where the name shows
        its end."""
        ...

    def arguments_start(self, number: int) -> Spans:
        """The syntax between the name and the arguments of the transcript's call of that number, from 0."""
        ...

    def key_literal(self, key: str, first: bool) -> str:
        """The text that says that a value of `key` comes; `first`: no value came before it."""
        ...

    def value_start(self, parameter: Parameter) -> str:
        """The text between `key_literal` and the value, which nobody chooses; empty where there is none."""
        ...

    def close_literal(self, first: bool) -> str:
        """The text that ends the arguments."""
        ...

    def free_value(self, parameter: Parameter) -> Until | JsonString:
        """Any string and what ends it."""
        ...

    def value_text(self, parameter: Parameter, value: str) -> str:
        """`value` and as much of `value_end` as ends it unambiguously.

        Raises ValueError for a value that cannot be written because it holds what ends it.
        """
        ...

    def value_from(self, parameter: Parameter, text: str) -> str:
        """The value from what `value_text` gives or `free_value` admits."""
        ...

    def value_end(self, parameter: Parameter) -> str:
        """All of the syntax that ends a value; what of it `value_text` lacks is appended without asking."""
        ...

    def value_follow(self, parameter: Parameter) -> Spans:
        """What comes after a `value_text` and tells a value from a longer one that begins with it: alternatives.
        They are no part of the value. Empty where every value shows its own end."""
        ...

    def call_end(self, number: int = 0) -> Spans:
        """Ends the transcript's call of that number and the model's turn."""
        ...

    def parse(self, text: str, tools: Sequence[ToolSpec]) -> Call | Malformed | None:
        """The first call in the model's text; None when it holds none. Never raises."""
        ...
