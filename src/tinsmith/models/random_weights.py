"""Models with random weights: real inference, real tokens, no knowledge.

They stand in tests for any model, and beside Solder as the baseline that shows what its training is worth: a
*twin* copies a file's metadata, vocabulary and tensor shapes, and draws only the weights anew.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinsmith.models.gguf_header import GGUFHeader
from tinsmith.models.vocabulary import byte_characters

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
DELIMITERS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")

_WORDS = (
    "return",
    "self",
    "def",
    "import",
    "None",
    "True",
    "False",
    "for",
    "if",
    "path",
    "test",
    "value",
    "    ",
    "\n\n",
)


@dataclass(frozen=True)
class Shape:
    """The sizes of a Qwen3-family model; `context` in tokens."""

    layers: int = 2
    d_model: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 16
    ffn: int = 128
    context: int = 32768


@dataclass(frozen=True)
class TokenList:
    """A byte-level BPE vocabulary: token texts in their mapped form, merges in order of rank, which tokens are control
    tokens and which are delimiters (user-defined).

    `end` ends a turn, `begin` is the BOS token where there is one, `pre` is llama.cpp's name of the pre-tokenizer,
    `template` the chat template that the file carries.
    """

    texts: Sequence[str]
    merges: Sequence[str]
    control: Collection[str] = CONTROL
    delimiters: Collection[str] = DELIMITERS
    end: str = "<|im_end|>"
    pad: str = "<|endoftext|>"
    begin: str | None = None
    pre: str = "qwen2"
    template: str | None = None


def write_random(
    path: Path,
    *,
    like: Path | None = None,
    tokens: TokenList | None = None,
    vocabulary: Sequence[str] | None = None,
    merges: Sequence[str] | None = None,
    shape: Shape | None = None,
    seed: int = 0,
    scale: float = 0.02,
    context: int | None = None,
    name: str | None = None,
) -> Path:
    """Writes a GGUF with normally distributed weights (standard deviation `scale`, norms 1) and returns
    `path`.

    `like` makes a twin of that file: same metadata, shapes and types (F32, F16, Q8_0), `context` replaces its
    context length. Otherwise a Qwen3-architecture model of `shape` over `tokens`, or over `vocabulary` and `merges`
    with Qwen-XML's control tokens and delimiters known by their text, by default a small one of 256 bytes, a few
    Python words and the reserved tokens. `name` becomes `general.name`. Raises ValueError for a tensor type that
    cannot be written.
    """
    if like is not None:
        _write_twin(path, GGUFHeader(like), seed, scale, context, name)
    else:
        if tokens is None:
            tokens = small_vocabulary() if vocabulary is None else TokenList(vocabulary, merges or ())
        _write_fresh(path, tokens, shape or Shape(), seed, scale, name or "random")
    return path


def small_vocabulary() -> TokenList:
    """256 bytes, the prefixes of a few words, the reserved tokens of Qwen-XML."""
    characters = byte_characters()
    tokens = list(characters.values())
    merges: list[str] = []
    for word in _WORDS:
        mapped = "".join(characters[byte] for byte in word.encode())
        for end in range(2, len(mapped) + 1):
            if mapped[:end] not in tokens:
                tokens.append(mapped[:end])
                merges.append(f"{mapped[: end - 1]} {mapped[end - 1]}")
    return TokenList([*tokens, *CONTROL, *DELIMITERS], merges)


def _write_fresh(path: Path, tokens: TokenList, shape: Shape, seed: int, scale: float, name: str) -> None:
    import gguf
    import numpy

    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_name(name)
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.d_model)
    writer.add_feed_forward_length(shape.ffn)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_tokenizer_model("gpt2")
    texts, control, delimiters = list(tokens.texts), frozenset(tokens.control), frozenset(tokens.delimiters)
    writer.add_tokenizer_pre(tokens.pre)
    writer.add_token_list(texts)
    writer.add_token_types([3 if text in control else 4 if text in delimiters else 1 for text in texts])
    writer.add_token_merges(list(tokens.merges))
    writer.add_eos_token_id(texts.index(tokens.end))
    writer.add_pad_token_id(texts.index(tokens.pad))
    if tokens.begin is not None:
        writer.add_bos_token_id(texts.index(tokens.begin))
    writer.add_add_bos_token(tokens.begin is not None)
    if tokens.template is not None:
        writer.add_chat_template(tokens.template)

    draw = numpy.random.default_rng(seed)

    def weight(name: str, *rows_columns: int) -> None:
        values = draw.standard_normal(rows_columns, dtype=numpy.float32) * numpy.float32(scale)
        writer.add_tensor(name + ".weight", values)

    def norm(name: str, size: int) -> None:
        writer.add_tensor(name + ".weight", numpy.ones(size, dtype=numpy.float32))

    d, q, kv = shape.d_model, shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    weight("token_embd", len(texts), d)  # also the output matrix: embeddings are tied
    norm("output_norm", d)
    for block in (f"blk.{layer}." for layer in range(shape.layers)):
        norm(block + "attn_norm", d)
        weight(block + "attn_q", q, d)
        weight(block + "attn_k", kv, d)
        weight(block + "attn_v", kv, d)
        norm(block + "attn_q_norm", shape.head_dim)
        norm(block + "attn_k_norm", shape.head_dim)
        weight(block + "attn_output", d, q)
        norm(block + "ffn_norm", d)
        weight(block + "ffn_gate", shape.ffn, d)
        weight(block + "ffn_up", shape.ffn, d)
        weight(block + "ffn_down", d, shape.ffn)
    _finish(writer)


def _write_twin(path: Path, header: GGUFHeader, seed: int, scale: float, context: int | None, name: str | None) -> None:
    import gguf
    import numpy

    replaced: dict[str, Any] = {}
    if context is not None:
        replaced[f"{header.architecture}.context_length"] = context
    if name is not None:
        replaced["general.name"] = name
    writer = gguf.GGUFWriter(path, header.architecture)
    for key, entry in header.layout.metadata.items():
        if key == "general.architecture":
            continue
        element = gguf.GGUFValueType[entry.element] if entry.element else None
        writer.add_key_value(key, replaced.get(key, header.value(key)), gguf.GGUFValueType[entry.kind], element)
    draw = numpy.random.default_rng(seed)
    for tensor in header.tensors:
        if tensor.kind not in ("F32", "F16", "Q8_0"):
            raise ValueError(f"{tensor.name} is {tensor.kind}: only F32, F16 and Q8_0 can be drawn anew")
        kind = gguf.GGMLQuantizationType[tensor.kind]
        shape = tuple(reversed(tensor.shape))
        if len(shape) == 1:  # norms, and biases of families that have them: neutral
            values = numpy.full(shape, 1.0 if "norm" in tensor.name else 0.0, dtype=numpy.float32)
        else:
            values = draw.standard_normal(shape, dtype=numpy.float32) * numpy.float32(scale)
        writer.add_tensor(tensor.name, gguf.quants.quantize(values, kind), raw_dtype=kind)
    _finish(writer)


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
