"""Published chat templates as oracles: what a server that renders them makes of the same messages.

The environment is that of `transformers` 5 (`utils/chat_template_utils.py`): Jinja's immutable sandbox with trimmed
blocks, a `tojson` that does not escape HTML, `raise_exception` and `strftime_now`.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tests import vocabularies

from tinsmith.dialects import Conversation, Encoder, messages_from_conversation

TEMPLATES = Path(__file__).parent / "data" / "templates"

QWEN_RESERVED = {
    text: 151_643 + number
    for number, text in enumerate(
        [
            *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
            *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"),
            *("<|vision_pad|>", "<|image_pad|>", "<|video_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>"),
            *("<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>"),
            *("</tool_response>", "<think>", "</think>"),
        ]
    )
}
"""The added tokens of Qwen3-Coder and Qwen3.5 (tokenizer_config.json)."""

QWEN_ENCODER = Encoder(vocabularies.qwen().encode_ordinary, QWEN_RESERVED)


def template(name: str) -> str:
    """The text of a template file."""
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


def reference(source: str, conversation: Conversation, **flags: Any) -> str:
    """The prompt that the template gives for `conversation`."""
    messages = messages_from_conversation(conversation)
    for message in messages:
        if message["role"] == "assistant":
            message.setdefault("reasoning_content", "")
    return rendered(source, messages, [tool.as_json() for tool in conversation.tools], **flags)


def rendered(source: str, messages: list[dict[str, Any]], tools: list[dict[str, Any]], **flags: Any) -> str:
    """The prompt that the template gives for these messages."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _as_json
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    given: Mapping[str, Any] = {"messages": messages, "tools": tools or None, "add_generation_prompt": True} | flags
    return environment.from_string(source).render(**given)


def qwen_ids(prompt: str) -> list[int]:
    """A prompt's ids as a server tokenises it: the texts of added tokens become those, all else is ordinary."""
    names = "|".join(map(re.escape, sorted(QWEN_RESERVED, key=len, reverse=True)))
    parts = re.split(f"({names})", prompt)
    encode = vocabularies.qwen().encode_ordinary
    return [id_ for part in parts for id_ in ([QWEN_RESERVED[part]] if part in QWEN_RESERVED else encode(part))]


def _as_json(value: Any, ensure_ascii: bool = False, **layout: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, **layout)


def _refuse(message: str) -> None:
    raise TemplateError(message)
