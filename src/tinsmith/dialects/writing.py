"""A whole known call as pieces: what is syntax and what a model would have to choose.

Used where the call is known beforehand: candidate calls that a model ranks, and training data. The pieces are
cut exactly where staged decoding cuts them, so that the ids are the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tinsmith.dialects.protocol import Call, Dialect, ToolSpec
from tinsmith.dialects.spans import Control, Span, Text


@dataclass(frozen=True)
class Piece:
    """`kind` is what is chosen: the tool, the next key, the value of `key`; syntax is never chosen."""

    span: Span
    kind: Literal["syntax", "tool", "key", "value"]
    key: str = ""


def arguments_pieces(dialect: Dialect, spec: ToolSpec, call: Call) -> list[Piece]:
    """The arguments of `call`, in the order of the tool's parameters, and the literal that closes them.

    Raises ValueError for a value that the dialect cannot write.
    """
    pieces: list[Piece] = []
    for parameter in spec.parameters:
        if parameter.name not in call.arguments:
            continue
        first = not pieces
        value = dialect.value_text(parameter, call.arguments[parameter.name])
        pieces.append(Piece(Text(dialect.key_literal(parameter.name, first)), "key", parameter.name))
        pieces.append(Piece(Text(value), "value", parameter.name))
        whole = dialect.value_abort(parameter)
        if not value.endswith(whole):
            pieces.append(Piece(Text(_rest(value, whole)), "syntax"))
    pieces.append(Piece(Text(dialect.close_literal(not pieces)), "key"))
    return pieces


def call_pieces(dialect: Dialect, spec: ToolSpec, call: Call) -> list[Piece]:
    """The model's whole turn, from the turn's opening to its end."""
    pieces = [
        *_syntax(dialect.assistant_start()),
        Piece(Control(dialect.call_opener()), "syntax"),
        *_syntax(dialect.tool_start()),
    ]
    grammar_end = dialect.tool_literal(spec.name)
    pieces.append(Piece(Text(grammar_end), "tool"))
    pieces += arguments_pieces(dialect, spec, call)
    return pieces + _syntax(dialect.call_end())


def _syntax(spans: Iterable[Span]) -> list[Piece]:
    return [Piece(span, "syntax") for span in spans]


def _rest(value: str, whole: str) -> str:
    """What of the closing syntax `whole` is still to come after `value`, which ends in a part of it."""
    for length in range(len(whole), 0, -1):
        if value.endswith(whole[:length]):
            return whole[length:]
    return whole
