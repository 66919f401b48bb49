"""A whole known call as pieces: what is syntax and what a model would have to choose.

Used where the call is known beforehand: candidate calls that a model ranks, and training data. The pieces are
cut exactly where staged decoding cuts them, so that the ids are the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tinsmith.dialects.protocol import Dialect
from tinsmith.dialects.spans import Control, Span, Text
from tinsmith.dialects.tool_call import Call, ToolSpec


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
        if start := dialect.value_start(parameter):
            pieces.append(Piece(Text(start), "syntax"))
        pieces.append(Piece(Text(value), "value", parameter.name))
        if rest := value_rest(value, dialect.value_end(parameter)):
            pieces.append(Piece(Text(rest), "syntax"))
    pieces.append(Piece(Text(dialect.close_literal(not pieces)), "key"))
    return pieces


def call_pieces(dialect: Dialect, spec: ToolSpec, call: Call, number: int = 0) -> list[Piece]:
    """The model's whole turn with the transcript's call of that number, from its opening to its end."""
    pieces = [
        *_syntax(dialect.assistant_start()),
        Piece(opener_span(dialect), "syntax"),
        *_syntax(dialect.tool_start()),
    ]
    grammar_end = dialect.tool_literal(spec.name)
    pieces.append(Piece(Text(grammar_end), "tool"))
    pieces += [*_syntax(dialect.arguments_start(number)), *arguments_pieces(dialect, spec, call)]
    return pieces + _syntax(dialect.call_end(number))


def opener_span(dialect: Dialect) -> Span:
    """The opener of a call as a span: a control token, or text in a dialect whose opener is not one."""
    opener = dialect.call_opener()
    return Control(opener) if opener in dialect.controls else Text(opener)


def _syntax(spans: Iterable[Span]) -> list[Piece]:
    return [Piece(span, "syntax") for span in spans]


def value_rest(value: str, end: str) -> str:
    """What of the closing syntax `end` is still to come after `value`, which ends in a part of it."""
    return next((end[length:] for length in range(len(end), 0, -1) if value.endswith(end[:length])), end)
