"""The vocabulary of a model in the form of Hugging Face's `tokenizers`: a directory with `tokenizer.json`.

Read beside it, where they are there: `tokenizer_config.json` (BOS, EOS) and `generation_config.json` (every id
that ends a generation). Only BPE vocabularies, byte-level or with byte fallback.
"""

import json
from pathlib import Path
from typing import Any, cast

from tinsmith.errors import InputError
from tinsmith.models.vocabulary import Vocabulary, build_vocabulary

_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 3, 4, 5, 6  # as in a GGUF header


def read_tokenizer(directory: Path) -> Vocabulary:
    """The vocabulary of `directory`. Raises InputError `tokenizer_unreadable`."""
    try:
        tokenizer = json.loads((directory / "tokenizer.json").read_bytes())
        return _vocabulary(
            tokenizer, _optional(directory / "tokenizer_config.json"), _optional(directory / "generation_config.json")
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(
            "tokenizer_unreadable",
            f"{directory / 'tokenizer.json'} cannot be read as a BPE tokenizer: {error}",
            "Give the directory of the model that the server serves, or a GGUF file with the same vocabulary.",
        ) from error


def _vocabulary(tokenizer: dict[str, Any], config: dict[str, Any], generation: dict[str, Any]) -> Vocabulary:
    model = tokenizer["model"]
    if model.get("type", "BPE") != "BPE":
        raise ValueError(f"its model is {model['type']}")
    is_byte_level = '"ByteLevel"' in json.dumps([tokenizer.get("pre_tokenizer"), tokenizer.get("decoder")])
    if not is_byte_level and not model.get("byte_fallback"):
        raise ValueError("it is neither byte-level nor with byte fallback")
    added: list[dict[str, Any]] = tokenizer.get("added_tokens", [])
    ids = {int(token): text for text, token in cast(dict[str, Any], model["vocab"]).items()}
    ids |= {int(token["id"]): str(token["content"]) for token in added}
    kinds = {int(token["id"]): _CONTROL if token.get("special") else _USER_DEFINED for token in added}
    size = max(ids) + 1
    texts = [ids.get(token, "") for token in range(size)]

    def kind(token: int) -> int:
        if token not in ids:
            return _UNUSED
        is_byte = not is_byte_level and len(texts[token]) == 6 and texts[token].startswith("<0x")
        return kinds.get(token, _BYTE if is_byte else _NORMAL)

    named = {str(token["content"]): int(token["id"]) for token in added}
    ends: Any = generation.get("eos_token_id", [])
    ends = [ends] if isinstance(ends, int) else list(ends)
    eos, bos = (named.get(_text(config.get(key))) for key in ("eos_token", "bos_token"))
    return build_vocabulary(
        texts,
        [kind(token) for token in range(size)],
        model="gpt2" if is_byte_level else "llama",
        # What the chat template ends a turn with comes first.
        ends=[token for token in (eos, *ends) if token is not None],
        bos=bos,
        add_bos=bool(config.get("add_bos_token", False)),
    )


def _text(token: Any) -> str:
    """A special token is a text, or an object with the text as its `content`."""
    return str(cast(dict[str, Any], token).get("content")) if isinstance(token, dict) else str(token)


def _optional(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes()) if path.is_file() else {}
