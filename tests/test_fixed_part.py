"""The fixed part of every prompt, system text and five tools, in the vocabularies of the models it is for."""

import base64
import json
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest
import tiktoken

from tinsmith.dialects import Control, QwenXml, ToolSpec
from tinsmith.resolve.opening import DEFAULT_SYSTEM
from tinsmith.tools import TOOLS

BUDGET = 800

QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2Tokenizer's pre-tokenizer."""


def packaged(distribution: str, name: str) -> Path:
    """A data file of an installed distribution, without importing the distribution."""
    found = [file for file in files(distribution) or () if file.name == name]
    return Path(str(found[0].locate()))


@pytest.fixture(scope="module")
def qwen() -> tiktoken.Encoding:
    lines = packaged("dashscope", "qwen.tiktoken").read_text().splitlines()
    ranks = {base64.b64decode(text): int(rank) for text, rank in (line.split() for line in lines)}
    assert len(ranks) == 151_643
    return tiktoken.Encoding("qwen", pat_str=QWEN_PATTERN, mergeable_ranks=ranks, special_tokens={})


@pytest.fixture(scope="module")
def tekken() -> tiktoken.Encoding:
    model: dict[str, Any] = json.loads(packaged("mistral-common", "tekken_240911.json").read_bytes())
    config = model["config"]
    size = config["default_vocab_size"] - config["default_num_special_tokens"]
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in model["vocab"][:size]}
    return tiktoken.Encoding("tekken", pat_str=config["pattern"], mergeable_ranks=ranks, special_tokens={})


def test_fixed_part_in_qwens_vocabulary(qwen: tiktoken.Encoding, record_property: Any) -> None:
    spans = QwenXml().system(DEFAULT_SYSTEM, TOOLS)
    tokens = sum(1 if isinstance(span, Control) else len(qwen.encode_ordinary(span.text)) for span in spans)
    record_property("fixed_part_qwen_tokens", tokens)
    print(f"fixed part in Qwen's vocabulary: {tokens} tokens")
    assert 100 < tokens < BUDGET


def test_fixed_part_in_mistrals_vocabulary(tekken: tiktoken.Encoding, record_property: Any) -> None:
    """As Mistral's v13 template renders it: the tools once, as JSON, after the system text."""
    tools = json.dumps([openai_form(tool) for tool in TOOLS], ensure_ascii=False)
    controls = ["<s>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"]
    tokens = len(controls) + sum(len(tekken.encode_ordinary(text)) for text in (DEFAULT_SYSTEM, tools))
    record_property("fixed_part_mistral_tokens", tokens)
    print(f"fixed part in Mistral's vocabulary: {tokens} tokens")
    assert 100 < tokens < BUDGET


def openai_form(tool: ToolSpec) -> dict[str, Any]:
    """The tool as an OpenAI function, which is what Mistral's models are given."""
    properties: dict[str, Any] = {}
    for parameter in tool.parameters:
        properties[parameter.name] = {"type": parameter.type}
        if parameter.description:
            properties[parameter.name]["description"] = parameter.description
    required = [parameter.name for parameter in tool.parameters if parameter.required]
    schema = {"type": "object", "properties": properties, "required": required}
    function = {"name": tool.name, "description": tool.description, "parameters": schema}
    return {"type": "function", "function": function}
