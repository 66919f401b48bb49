"""The vocabulary of a llama-server that runs somewhere: from its GGUF file if that can be read here, else asked.

Asked: one completion that reports the log-probability of every id reports its bytes too; `/detokenize` gives the
text of control tokens, which have no bytes there; `/tokenize` tells control tokens from those that plain text
becomes. What cannot be seen is which ordinary-looking id is a delimiter that plain text becomes, so each piece
that looks like one counts as reserved: too many cost nothing but a cut in the text that holds them.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tinsmith.engines.llama_http import LlamaHTTP
from tinsmith.errors import EngineError, TinsmithError
from tinsmith.models import END_TEXTS, GGUFHeader, Kind, Vocabulary

Ask = Callable[[Callable[[LlamaHTTP], dict[str, Any]]], dict[str, Any]]

_DELIMITER = re.compile(rb"<[^<>\s]{2,}>|\[[^\[\]\s]{2,}\]")
_PROBES = 64
"""Ids whose text the server and the file must agree on."""


def served_vocabulary(call: Ask, gguf: Path | None = None, progress: Callable[[str], None] | None = None) -> Vocabulary:
    """The vocabulary of the server that `call` asks. `gguf`: a file with the same vocabulary, given by the person.

    Raises EngineError `not_llama_server`, `no_vocabulary`, InputError `model_unreadable` for `gguf`.
    """
    properties = call(lambda http: http.get("/props"))
    if "default_generation_settings" not in properties:
        raise EngineError(
            "not_llama_server", "the server is no llama-server", "Give it as a chat server, with --model URL/v1."
        )
    size = _size(call)
    if gguf is not None:
        vocabulary = GGUFHeader(gguf.expanduser()).vocabulary
        if not _agree(call, vocabulary, size):
            raise _none(f"{gguf} has another vocabulary than the server")
        return vocabulary
    told = Path(str(properties.get("model_path", "")))
    try:
        # A relative path is the server's; here it would lead into the repository of a stranger.
        if told.is_absolute() and _agree(call, vocabulary := GGUFHeader(told).vocabulary, size):
            return vocabulary
    except TinsmithError:
        pass  # the file is on another machine
    if progress:
        progress(f"asking the server for its vocabulary of {size:,} tokens")
    return _asked(call, size, str(properties.get("bos_token", "")), str(properties.get("eos_token", "")))


def _size(call: Ask) -> int:
    models = call(lambda http: http.get("/v1/models")).get("data", [])
    size = next((model["meta"]["n_vocab"] for model in models if "n_vocab" in (model.get("meta") or {})), 0)
    if not size:
        raise _none("it does not say how many tokens it knows")
    return int(size)


def _agree(call: Ask, vocabulary: Vocabulary, size: int) -> bool:
    if vocabulary.size != size:
        return False
    for token in (size * i // _PROBES for i in range(_PROBES)):
        text = vocabulary.pieces[token].decode(errors="replace")
        if "\ufffd" not in text and _text_of(call, token) != text:
            return False
    return True


def _asked(call: Ask, size: int, bos: str, eos: str) -> Vocabulary:
    pieces = _pieces(call, size)
    kinds: list[Kind] = ["normal"] * size
    reserved: dict[str, int] = {}
    for token, piece in enumerate(pieces):
        if piece and not _DELIMITER.fullmatch(piece):
            continue
        text = piece.decode(errors="replace") if piece else _text_of(call, token)
        if not text or text in reserved or _ids(call, text, special=True) != [token]:
            kinds[token] = "normal" if piece else "unused"
            continue
        pieces[token] = text.encode()
        kinds[token] = "user_defined" if _ids(call, text, special=False) == [token] else "control"
        reserved[text] = token
    ends = [reserved[text] for text in (eos, *sorted(END_TEXTS)) if text in reserved]
    if not ends:
        raise _none("it does not say which token ends a generation")
    return Vocabulary(
        pieces=tuple(pieces),
        kinds=tuple(kinds),
        end_of_generation=tuple(dict.fromkeys(ends)),
        reserved=reserved,
        bos=reserved.get(bos),
        add_bos=_adds_bos(call, reserved.get(bos)),
    )


def _pieces(call: Ask, size: int) -> list[bytes]:
    """The bytes of every id, empty for those that a completion does not show."""
    # An ASCII token: the server tells nothing of one that only begins a character.
    plain = _ids(call, "a", special=False)[-1]
    body = {
        "prompt": [plain],
        "n_predict": 1,
        "n_probs": size,
        "samplers": ["top_k"],
        "top_k": 1,
        "grammar": f"root ::= <[{plain}]>\n",
        "return_tokens": True,
    }
    answer = call(lambda http: http.post("/completion", body))
    listed = answer.get("completion_probabilities") or [{}]
    found = {int(entry["id"]): bytes(entry["bytes"]) for entry in listed[0].get("top_logprobs", [])}
    if sorted(found) != list(range(size)):
        raise _none("it does not tell the bytes of all of its tokens")
    return [found[token] for token in range(size)]


def _ids(call: Ask, text: str, *, special: bool) -> list[int]:
    body = {"content": text, "add_special": False, "parse_special": special}
    return call(lambda http: http.post("/tokenize", body))["tokens"]


def _text_of(call: Ask, token: int) -> str:
    return call(lambda http: http.post("/detokenize", {"tokens": [token]}))["content"]


def _adds_bos(call: Ask, bos: int | None) -> bool:
    body = {"content": "a", "add_special": True, "parse_special": False}
    tokens: Sequence[int] = call(lambda http: http.post("/tokenize", body))["tokens"]
    return bos is not None and tokens[:1] == [bos]


def _none(reason: str) -> EngineError:
    return EngineError(
        "no_vocabulary",
        f"the server's vocabulary cannot be had: {reason}",
        "Give a GGUF file of the model, or use the server as a chat server.",
    )
