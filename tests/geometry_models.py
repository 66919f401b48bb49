"""Model files of any geometry whose tensors are known, with weights of zero, or random ones."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy

from tinsmith.models.geometry import Geometry, padded
from tinsmith.models.gguf_types import BLOCKS
from tinsmith.models.quant_recipes import tensor_kinds
from tinsmith.models.random_weights import small_vocabulary
from tinsmith.models.tensor_list import tensors_of


def write_geometry(
    path: Path,
    geometry: Geometry,
    quant: str = "F16",
    *,
    more: dict[str, Any] | None = None,
    data: bool = True,
    name: str = "",
    scale: float = 0.0,
) -> Path:
    """Writes a GGUF of `geometry`, its tensors of the types of the recipe `quant`, and returns `path`.

    The vocabulary is of bytes, filled up to the geometry's size. `more` is further metadata of the architecture.
    Without `data` the file has a hole in the place of its weights. `scale` is the standard deviation of random weights
    (F16 and F32 alone; norms are 1); `name` becomes `general.name`.
    """
    small = small_vocabulary()
    tokens = list(small.texts)
    kinds = {**dict.fromkeys(small.control, 3), **dict.fromkeys(small.delimiters, 4)}
    tokens += [f"<unused{i}>" for i in range(len(tokens), geometry.vocabulary)]
    assert len(tokens) == geometry.vocabulary
    writer = gguf.GGUFWriter(path, geometry.architecture)
    if name:
        writer.add_name(name)
    draw = numpy.random.default_rng(1)
    for key, value in [*keys_of(geometry), *(more or {}).items()]:
        field = f"{geometry.architecture}.{key}"
        if isinstance(value, bool):
            writer.add_bool(field, value)
        elif isinstance(value, float):
            writer.add_float32(field, value)
        elif isinstance(value, list):
            writer.add_array(field, value)
        else:
            writer.add_uint32(field, value)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([kinds.get(token, 1) for token in tokens])
    writer.add_token_merges(list(small_vocabulary().merges))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    named = tensors_of(geometry)
    total = 0
    for (tensor, shape), kind in zip(named, tensor_kinds(named, quant, geometry), strict=True):
        block, size = BLOCKS[kind]
        rows = (*reversed(shape[1:]), shape[0] // block * size)
        raw = gguf.GGMLQuantizationType[kind]
        if data and scale:
            weights = numpy.ones(shape) if len(shape) == 1 else draw.standard_normal(tuple(reversed(shape))) * scale
            writer.add_tensor(tensor, weights.astype({"F16": numpy.float16, "F32": numpy.float32}[kind]), raw_dtype=raw)
        elif data:
            writer.add_tensor(tensor, numpy.zeros(rows, dtype=numpy.uint8), raw_dtype=raw)
        else:
            writer.add_tensor_info(tensor, rows, numpy.dtype(numpy.uint8), math.prod(rows), raw)
        total += padded(math.prod(rows), 32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    if data:
        writer.write_tensors_to_file()
    else:
        writer.write_ti_data_to_file()
    writer.close()
    if not data:
        with path.open("r+b") as file:
            file.truncate(padded(path.stat().st_size, 32) + total)
    return path


def keys_of(g: Geometry) -> Iterator[tuple[str, Any]]:
    """The metadata that tells `g`, as llama.cpp's converter writes it, without the architecture's prefix."""
    attending = [layer for layer in g.layers if layer.key_width]
    yield "block_count", len(g.layers)
    yield "context_length", g.context or 4096
    yield "embedding_length", g.d_model
    yield "vocab_size", g.vocabulary
    yield "attention.head_count", g.heads
    yield "attention.layer_norm_rms_epsilon", 1e-6
    yield "rope.freq_base", 1e6
    if g.latent is not None:
        a = g.latent
        yield "attention.head_count_kv", 1
        yield "attention.key_length", a.rank + a.rope
        yield "attention.value_length", a.rank
        yield "attention.key_length_mla", a.no_rope + a.rope
        yield "attention.value_length_mla", a.value
        yield "attention.kv_lora_rank", a.rank
        if a.query_rank:
            yield "attention.q_lora_rank", a.query_rank
        yield "rope.dimension_count", a.rope
    else:
        yield "attention.head_count_kv", attending[0].key_width // g.head_size
        yield "attention.key_length", g.head_size
        yield "attention.value_length", g.head_size
        yield "rope.dimension_count", g.head_size
    windows = {layer.window for layer in g.layers if layer.window}
    if windows:
        yield "attention.sliding_window", windows.pop()
    if g.architecture in ("qwen35", "qwen35moe"):
        yield "rope.dimension_sections", [g.head_size // 8, g.head_size // 8, g.head_size // 8, 0]
    if g.experts:
        yield "expert_count", g.experts
        yield "expert_used_count", g.experts_used
        yield "expert_feed_forward_length", g.feed_forward
        yield "feed_forward_length", g.dense_feed_forward or g.feed_forward
        if g.dense_layers:
            yield "leading_dense_block_count", g.dense_layers
        if g.architecture == "deepseek2":
            yield "expert_shared_count", g.experts_shared
            yield "expert_weights_scale", 1.0
            yield "expert_weights_norm", True
            yield "expert_gating_func", 2
        if g.shared_feed_forward:
            yield "expert_shared_feed_forward_length", g.shared_feed_forward
    else:
        yield "feed_forward_length", g.feed_forward
    if g.delta is not None:
        n = g.delta
        yield "ssm.conv_kernel", n.conv
        yield "ssm.inner_size", n.value_heads * n.head_size
        yield "ssm.state_size", n.head_size
        yield "ssm.time_step_rank", n.value_heads
        yield "ssm.group_count", n.key_heads
        full = [i for i, layer in enumerate(g.layers) if layer.kind == "full"]
        yield "full_attention_interval", full[0] + 1
