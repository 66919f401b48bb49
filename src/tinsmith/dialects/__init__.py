"""How each model family writes turns and tool calls, and what text may never become a control token."""

from tinsmith.dialects.called import call_values
from tinsmith.dialects.calls_as_text import calls_as_text, without_system
from tinsmith.dialects.chat_template import TEMPLATE_WAIVES, ChatTemplate
from tinsmith.dialects.chat_transcript import (
    ChatPrompt,
    ChatTranscript,
    WrittenCall,
    calls_in,
    chat_encoder,
    messages_of,
    open_calls,
)
from tinsmith.dialects.conversation import Answered, Conversation, Exchange, Step, call_id
from tinsmith.dialects.declarations import text_values, tool_from_json
from tinsmith.dialects.detection import TEMPLATE, Detected, detect_dialect, dialect_of
from tinsmith.dialects.function_text import FunctionText
from tinsmith.dialects.json_keywords import Schema, any_of, as_json
from tinsmith.dialects.json_numbers import Numbers
from tinsmith.dialects.json_schema import Arrays, Finite, JsonSchemas, Objects, Strings
from tinsmith.dialects.json_shortest import Shortest, shortest
from tinsmith.dialects.messages import conversation_from_messages, messages_from_conversation
from tinsmith.dialects.mistral_v7 import MistralV7
from tinsmith.dialects.mistral_v11 import MistralV11
from tinsmith.dialects.mistral_v13 import MistralV13
from tinsmith.dialects.protocol import Dialect
from tinsmith.dialects.qwen_thinking import QwenThinking
from tinsmith.dialects.qwen_xml import QwenXml
from tinsmith.dialects.spans import Control, Encoder, ReservedIdError, Span, Spans, Text
from tinsmith.dialects.tool_call import (
    Call,
    Domain,
    FreeText,
    JsonValue,
    Malformed,
    OneOfValues,
    Parameter,
    ToolSpec,
)
from tinsmith.dialects.turns import Turns
from tinsmith.dialects.writing import Piece, arguments_pieces, call_pieces, opener_span, value_rest
from tinsmith.errors import InputError

__all__ = [
    "TEMPLATE",
    "TEMPLATE_WAIVES",
    "Answered",
    "Arrays",
    "Call",
    "ChatPrompt",
    "ChatTemplate",
    "ChatTranscript",
    "Control",
    "Conversation",
    "Detected",
    "Dialect",
    "Domain",
    "Encoder",
    "Exchange",
    "Finite",
    "FreeText",
    "FunctionText",
    "JsonSchemas",
    "JsonValue",
    "Malformed",
    "MistralV7",
    "MistralV11",
    "MistralV13",
    "Numbers",
    "Objects",
    "OneOfValues",
    "Parameter",
    "Piece",
    "QwenThinking",
    "QwenXml",
    "ReservedIdError",
    "Schema",
    "Shortest",
    "Span",
    "Spans",
    "Step",
    "Strings",
    "Text",
    "ToolSpec",
    "Turns",
    "WrittenCall",
    "any_of",
    "arguments_pieces",
    "as_json",
    "call_id",
    "call_pieces",
    "call_values",
    "calls_as_text",
    "calls_in",
    "chat_encoder",
    "conversation_from_messages",
    "detect_dialect",
    "dialect_named",
    "dialect_of",
    "messages_from_conversation",
    "messages_of",
    "open_calls",
    "opener_span",
    "shortest",
    "text_values",
    "tool_from_json",
    "value_rest",
    "without_system",
]

_DIALECTS: dict[str, type[Dialect]] = {
    each.name: each for each in (QwenXml, QwenThinking, MistralV7, MistralV11, MistralV13, FunctionText)
}


def dialect_named(name: str) -> Dialect:
    """The dialect of that name. Raises InputError `unknown_dialect`."""
    if name not in _DIALECTS:
        raise InputError("unknown_dialect", f"There is no dialect {name!r}.", f"Use one of: {', '.join(_DIALECTS)}.")
    return _DIALECTS[name]()
