"""The vocabulary of a model: which bytes each token id stands for and which ids are more than text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["normal", "unknown", "control", "user_defined", "unused", "byte"]

_NORMAL: Kind = "normal"
_KINDS: dict[int, Kind] = {
    1: "normal",
    2: "unknown",
    3: "control",
    4: "user_defined",
    5: "unused",
    6: "byte",
}
"""`tokenizer.ggml.token_type` of the GGUF specification."""

END_TEXTS = frozenset(
    {
        "<|endoftext|>",
        "<|im_end|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<|flush|>",
        "<|calls|>",
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end_of_text|>",
        "<end_of_turn>",
        "<end_of_utterance>",
        "<eos>",
        "</s>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "[EOS]",
        "<|fim_pad|>",
        "<|repo_name|>",
        "<|file_sep|>",
        "<|fim_repo|>",
        "<|fim_sep|>",
        "<|reponame|>",
    }
)
"""Texts that llama.cpp takes for an end of generation whatever the metadata says (llama-vocab.cpp)."""


def byte_characters() -> dict[int, str]:
    """Byte -> the printable character that stands for it in a byte-level BPE vocabulary (GPT-2's mapping)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in set(printable)]
    mapping = {byte: chr(byte) for byte in printable}
    mapping.update({byte: chr(256 + index) for index, byte in enumerate(rest)})
    return mapping


@dataclass(frozen=True)
class Vocabulary:
    """Id -> bytes and kind; the ids that end a generation; the ids of control tokens and delimiters by their
    text.

    `end_of_generation` is ordered: the id that a model is meant to end its turn with comes first.
    """

    pieces: tuple[bytes, ...]
    kinds: tuple[Kind, ...]
    end_of_generation: tuple[int, ...]
    reserved: Mapping[str, int]
    bos: int | None
    add_bos: bool

    @property
    def size(self) -> int:
        """Number of token ids."""
        return len(self.pieces)

    def ids_of_kind(self, *kinds: Kind) -> list[int]:
        """The ids whose kind is one of `kinds`, in order."""
        return [token for token, kind in enumerate(self.kinds) if kind in kinds]

    def detokenize(self, ids: Iterable[int]) -> bytes:
        """The bytes of `ids`; control tokens give their text. Raises IndexError for an unknown id."""
        return b"".join(self.pieces[token] for token in ids)


def build_vocabulary(
    texts: Sequence[str],
    types: Sequence[int],
    *,
    model: str,
    ends: Sequence[int],
    bos: int | None,
    add_bos: bool,
) -> Vocabulary:
    """A vocabulary from the arrays of a GGUF header.

    `model` is `tokenizer.ggml.model`: `gpt2` (byte-level BPE) or `llama` (SentencePiece: a lower one eighth
    block is a space). `ends` are the eos/eot/eom ids of the metadata. Raises ValueError for another tokenizer
    model.
    """
    if model not in ("gpt2", "llama"):
        raise ValueError(f"tokenizer model {model!r}")
    kinds: tuple[Kind, ...] = tuple(_KINDS.get(kind, _NORMAL) for kind in types)
    unmap = {character: byte for byte, character in byte_characters().items()}

    def piece(text: str, kind: Kind) -> bytes:
        if kind == "byte":
            return bytes([int(text[1:-1], 16)])  # <0xAB>
        if kind != "normal":
            return text.encode()
        if model == "llama":
            return text.replace("\u2581", " ").encode()
        return b"".join(bytes([unmap[c]]) if c in unmap else c.encode() for c in text)

    reserved = {
        text: token
        for token, (text, kind) in enumerate(zip(texts, kinds, strict=True))
        if kind in ("control", "user_defined") and text
    }
    named = [reserved[text] for text in sorted(END_TEXTS & reserved.keys())]
    return Vocabulary(
        pieces=tuple(piece(text, kind) for text, kind in zip(texts, kinds, strict=True)),
        kinds=kinds,
        end_of_generation=tuple(dict.fromkeys([*ends, *named])),
        reserved=reserved,
        bos=bos,
        add_bos=add_bos,
    )
