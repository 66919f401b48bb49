"""The chat template of a model that a server runs: what it says itself, or what lies beside its vocabulary."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinsmith.models import GGUFHeader


def template_in_properties(properties: Mapping[str, Any]) -> str:
    """What a llama-server's `/props` says: the template for tools where there are two, empty where there is none.

    Wire format: llama.cpp `tools/server/README.md`. A file without a template is served with ChatML, which is told
    like any other.
    """
    return str(properties.get("chat_template_tool_use") or properties.get("chat_template") or "")


def template_at(path: Path) -> str:
    """What lies in a GGUF file, or in a model's directory as `transformers` writes it (`chat_template.jinja`, else
    `tokenizer_config.json`); empty where there is none. Raises InputError `model_unreadable`."""
    if path.is_file():
        header = GGUFHeader(path)
        return str(header.value("tokenizer.chat_template.tool_use") or header.value("tokenizer.chat_template") or "")
    try:
        return (path / "chat_template.jinja").read_text(encoding="utf-8")
    except OSError:
        pass
    try:
        found: Any = json.loads((path / "tokenizer_config.json").read_bytes()).get("chat_template")
    except (OSError, ValueError, AttributeError):
        return ""
    if isinstance(found, list):  # several, each with a name
        named = {row["name"]: row["template"] for row in found if isinstance(row, dict)}
        found = named.get("tool_use") or named.get("default")
    return str(found or "")
