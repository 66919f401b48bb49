"""The vocabularies of the models that Tinsmith is for, from packages that carry them."""

import base64
import json
from functools import cache
from importlib.metadata import files
from pathlib import Path
from typing import Any

import tiktoken

QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2Tokenizer's pre-tokenizer."""


@cache
def qwen() -> tiktoken.Encoding:
    """Qwen's, as Qwen3-Coder has it."""
    lines = _packaged("dashscope", "qwen.tiktoken").read_text().splitlines()
    ranks = {base64.b64decode(text): int(rank) for text, rank in (line.split() for line in lines)}
    assert len(ranks) == 151_643
    return tiktoken.Encoding("qwen", pat_str=QWEN_PATTERN, mergeable_ranks=ranks, special_tokens={})


@cache
def tekken() -> tiktoken.Encoding:
    """Mistral's Tekken, as Devstral has it."""
    model = tekken_file()
    config = model["config"]
    size = config["default_vocab_size"] - config["default_num_special_tokens"]
    ranks = {base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in model["vocab"][:size]}
    return tiktoken.Encoding("tekken", pat_str=config["pattern"], mergeable_ranks=ranks, special_tokens={})


@cache
def tekken_file() -> dict[str, Any]:
    """The tokenizer file that mistral-common carries."""
    return json.loads(_packaged("mistral-common", "tekken_240911.json").read_bytes())


def _packaged(distribution: str, name: str) -> Path:
    """A data file of an installed distribution, without importing the distribution."""
    found = [file for file in files(distribution) or () if file.name == name]
    return Path(str(found[0].locate()))
