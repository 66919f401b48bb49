"""The vocabulary of a vLLM, which tells no bytes of its tokens: from the model's directory or from a GGUF file."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tinsmith.engines.utf8 import PieceBytes
from tinsmith.engines.vllm_http import VLLMHTTP, ServedModel
from tinsmith.errors import EngineError
from tinsmith.models import GGUFHeader, Vocabulary, read_tokenizer

_PROBES = 64
"""Ids whose text the server and the file must agree on."""


def vllm_vocabulary(http: VLLMHTTP, served: ServedModel, given: Path | None) -> Vocabulary:
    """The vocabulary of `given` (a directory with `tokenizer.json`, or a GGUF file), else of the directory that the
    server serves. Raises EngineError `no_vocabulary`, InputError `tokenizer_unreadable` or `model_unreadable`.
    """
    root = Path(served.root)
    if given is not None:
        path = given.expanduser()
        vocabulary = read_tokenizer(path) if path.is_dir() else GGUFHeader(path).vocabulary
    elif root.is_absolute() and (root / "tokenizer.json").is_file():
        vocabulary = read_tokenizer(root)
    else:
        raise _none(f"the server serves {served.root!r}, which is no directory of this machine")
    usable = sorted(PieceBytes(vocabulary.pieces).forcible - set(vocabulary.ids_of_kind("control", "unused")))
    for token in dict.fromkeys(usable[len(usable) * i // _PROBES] for i in range(_PROBES)):
        piece, said = vocabulary.pieces[token].decode(), http.detokenize(served.id, token)
        if said.lstrip(" ") != piece.lstrip(" "):  # some tokenizers drop the first space
            raise _none(f"the one that was given has {piece!r} for id {token}, the server {said!r}")
    return vocabulary


def without_controls(text: str, controls: Sequence[str]) -> list[str]:
    """`text` in parts none of which holds one of `controls`, which vLLM would read in it: each is cut after its first
    character."""
    cuts = {0, len(text)}
    for control in controls:
        at = text.find(control)
        while at >= 0:
            cuts.add(at + 1)
            at = text.find(control, at + 1)
    places = sorted(cuts)
    return [text[low:high] for low, high in pairwise(places)]


def _none(reason: str) -> EngineError:
    return EngineError(
        "no_vocabulary",
        f"the server's vocabulary cannot be had: {reason}",
        "Give the directory with the model's tokenizer.json or a GGUF file of it, or use it as a chat server.",
    )
