"""Which dialect the model in a GGUF file speaks, from what the file says of itself.

The chat template decides. The vocabulary can hold control tokens of newer versions than the model was trained with, so
it is asked only where there is no template, and for the tokens that the dialect needs.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

from tinsmith.dialects.qwen_thinking import QwenThinking
from tinsmith.dialects.qwen_xml import QwenXml
from tinsmith.models import GGUFHeader, ModelCard

TEMPLATE = "template"
"""The name of what is no dialect of ours: the model's own chat template and the tolerant parser."""


@dataclass(frozen=True)
class Detected:
    """The name of a dialect, or `TEMPLATE`; `reason` is half a sentence for the person."""

    name: str
    reason: str


def dialect_of(card: ModelCard, header: GGUFHeader) -> Detected:
    """The dialect of the model file: the card's, where it names one, else detected."""
    if card.dialect != "auto":
        return Detected(card.dialect, "its model card says so")
    name = str(header.value("general.name", ""))
    return detect_dialect(template_of(header), header.vocabulary.reserved, name)


def template_of(header: GGUFHeader) -> str:
    """The file's chat template, the one for tools where there are several; empty where there is none."""
    keys = ("tokenizer.chat_template.tool_use", "tokenizer.chat_template")
    return next((str(found) for key in keys if (found := header.value(key))), "")


def detect_dialect(template: str, tokens: Collection[str], name: str = "") -> Detected:
    """The dialect of a model with this chat template (empty: none), these control tokens and delimiters, and this
    `general.name`."""
    if re.search(r"devstral.*2505", name, re.IGNORECASE):
        return Detected("function-text", "Devstral Small 2505 was trained on a text protocol")
    return _by_template(template, tokens) if template else _by_tokens(tokens)


def _by_template(template: str, tokens: Collection[str]) -> Detected:
    if "[ARGS]" in template:
        if "[CALL_ID]" in template:
            return Detected("mistral-v11", "its chat template has [ARGS] and [CALL_ID]")
        return Detected("mistral-v13", "its chat template has [ARGS] and no [CALL_ID]")
    if "[TOOL_CALLS]" in template and "[TOOL_CONTENT]" in template:
        return Detected("mistral-v7", "its chat template has [TOOL_CALLS] and [TOOL_CONTENT] and no [ARGS]")
    if not all(text in template for text in ("<|im_start|>", "<tool_call>", "<function=")):
        return Detected(TEMPLATE, "no dialect of ours writes calls as its chat template does")
    # Other families write calls in Qwen's XML, but declare tools differently.
    if "<think>" not in template:
        return _qwen(QwenXml, tokens, "its chat template has <function= in <tool_call>")
    if re.search(r"\btool\s*\|\s*tojson", template) and "the following functions:" in template:
        return _qwen(QwenThinking, tokens, "its chat template has <function= in <tool_call>, and <think>")
    return Detected(TEMPLATE, "its chat template declares tools in a form of its own")


def _qwen(dialect: type[QwenXml], tokens: Collection[str], reason: str) -> Detected:
    lacking = [text for text in dialect.controls if text not in tokens]
    if lacking:
        return Detected(TEMPLATE, f"its vocabulary lacks {', '.join(lacking)}")
    return Detected(dialect.name, reason)


def _by_tokens(tokens: Collection[str]) -> Detected:
    if all(text in tokens for text in QwenXml.controls):
        return Detected(QwenXml.name, "it has no chat template, and Qwen's delimiters")
    if "[ARGS]" in tokens:
        version = "11" if "[CALL_ID]" in tokens else "13"
        return Detected(f"mistral-v{version}", "it has no chat template, and Mistral's control tokens")
    if "[TOOL_CALLS]" in tokens and "[TOOL_CONTENT]" in tokens:
        return Detected("mistral-v7", "it has no chat template, and Mistral's control tokens")
    return Detected(TEMPLATE, "it has neither a chat template nor the control tokens of a dialect of ours")
