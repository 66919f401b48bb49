"""How each model family writes turns and tool calls, and what text may never become a control token."""

from tinsmith.dialects.protocol import (
    Call,
    Dialect,
    Domain,
    FreeText,
    Malformed,
    OneOfValues,
    Parameter,
    ToolSpec,
)
from tinsmith.dialects.qwen_xml import QwenXml
from tinsmith.dialects.spans import Control, Encoder, ReservedIdError, Span, Spans, Text
from tinsmith.dialects.writing import Piece, arguments_pieces, call_pieces
from tinsmith.errors import InputError

__all__ = [
    "Call",
    "Control",
    "Dialect",
    "Domain",
    "Encoder",
    "FreeText",
    "Malformed",
    "OneOfValues",
    "Parameter",
    "Piece",
    "QwenXml",
    "ReservedIdError",
    "Span",
    "Spans",
    "Text",
    "ToolSpec",
    "arguments_pieces",
    "call_pieces",
    "dialect_named",
]

_DIALECTS: dict[str, type[Dialect]] = {QwenXml.name: QwenXml}


def dialect_named(name: str) -> Dialect:
    """The dialect of that name. Raises InputError `unknown_dialect`."""
    if name not in _DIALECTS:
        raise InputError("unknown_dialect", f"There is no dialect {name!r}.", f"Use one of: {', '.join(_DIALECTS)}.")
    return _DIALECTS[name]()
