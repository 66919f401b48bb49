"""The tensors that a model of a geometry has, by name and shape, as llama.cpp's converter writes them.

Known for the architectures named in `ARCHITECTURES`. Sources: `gguf-py/gguf/constants.py` and `src/models/*.cpp` of
llama.cpp.
"""

from collections.abc import Iterator
from typing import Final

from tinsmith.models.geometry import Geometry, LayerCache

Named = tuple[str, tuple[int, ...]]
"""A tensor's name and its shape in GGUF's order (fastest first)."""

ARCHITECTURES: Final = frozenset(
    {
        "llama",
        "mistral3",
        "qwen2",
        "qwen3",
        "qwen3moe",
        "qwen3next",
        "qwen35",
        "qwen35moe",
        "deepseek2",
        "gpt-oss",
    }
)
_QK_NORM = frozenset({"qwen3", "qwen3moe", "qwen3next", "qwen35", "qwen35moe"})
_GATED_ATTENTION = frozenset({"qwen3next", "qwen35", "qwen35moe"})


def tensors_of(geometry: Geometry) -> list[Named]:
    """All tensors in the order of a file. Raises ValueError for an architecture that is not known."""
    if geometry.architecture not in ARCHITECTURES:
        raise ValueError(f"the tensors of the architecture {geometry.architecture!r} are not known")
    d = geometry.d_model
    tensors: list[Named] = [("token_embd.weight", (d, geometry.vocabulary)), ("output_norm.weight", (d,))]
    if not geometry.tied:
        tensors.append(("output.weight", (d, geometry.vocabulary)))
    for i, layer in enumerate(geometry.layers):
        tensors += [(f"blk.{i}.{name}", shape) for name, shape in _layer(geometry, layer, i)]
    return tensors


def _layer(g: Geometry, layer: LayerCache, i: int) -> Iterator[Named]:
    d = g.d_model
    yield "attn_norm.weight", (d,)
    if layer.kind == "recurrent":
        yield from _delta_net(g)
    elif layer.kind == "latent":
        yield from _latent(g)
    else:
        yield from _attention(g, layer)
    after = "ffn_norm" if g.architecture not in _GATED_ATTENTION | {"gpt-oss"} else "post_attention_norm"
    yield f"{after}.weight", (d,)
    if g.experts and i >= g.dense_layers:
        yield from _experts(g)
    else:
        wide = g.dense_feed_forward if g.experts else g.feed_forward
        yield from _feed_forward(d, wide, "")


def _attention(g: Geometry, layer: LayerCache) -> Iterator[Named]:
    d, q = g.d_model, g.heads * g.head_size
    gate = 2 if g.architecture in _GATED_ATTENTION else 1
    out = q * layer.value_width // layer.key_width
    yield "attn_q.weight", (d, q * gate)
    yield "attn_k.weight", (d, layer.key_width)
    yield "attn_v.weight", (d, layer.value_width)
    yield "attn_output.weight", (out, d)
    if g.architecture in _QK_NORM:
        yield "attn_q_norm.weight", (g.head_size,)
        yield "attn_k_norm.weight", (g.head_size,)
    if g.architecture in ("qwen2", "gpt-oss"):
        yield "attn_q.bias", (q,)
        yield "attn_k.bias", (layer.key_width,)
        yield "attn_v.bias", (layer.value_width,)
    if g.architecture == "gpt-oss":
        yield "attn_output.bias", (d,)
        yield "attn_sinks.weight", (g.heads,)


def _latent(g: Geometry) -> Iterator[Named]:
    a, d = g.latent, g.d_model
    if a is None:
        raise ValueError("a geometry with latent layers must say their ranks")
    if a.query_rank:
        yield "attn_q_a.weight", (d, a.query_rank)
        yield "attn_q_a_norm.weight", (a.query_rank,)
        yield "attn_q_b.weight", (a.query_rank, g.heads * (a.no_rope + a.rope))
    else:
        yield "attn_q.weight", (d, g.heads * (a.no_rope + a.rope))
    yield "attn_kv_a_mqa.weight", (d, a.rank + a.rope)
    yield "attn_kv_a_norm.weight", (a.rank,)
    yield "attn_k_b.weight", (a.no_rope, a.rank, g.heads)
    yield "attn_v_b.weight", (a.rank, a.value, g.heads)
    yield "attn_output.weight", (g.heads * a.value, d)


def _delta_net(g: Geometry) -> Iterator[Named]:
    n, d = g.delta, g.d_model
    if n is None:
        raise ValueError("a geometry with recurrent layers must say their delta net")
    keys, values = n.key_heads * n.head_size, n.value_heads * n.head_size
    yield "attn_qkv.weight", (d, 2 * keys + values)
    yield "attn_gate.weight", (d, values)
    yield "ssm_conv1d.weight", (n.conv, 2 * keys + values)
    yield "ssm_dt.bias", (n.value_heads,)
    yield "ssm_a", (n.value_heads,)
    if g.architecture == "qwen3next":
        yield "ssm_ba.weight", (d, 2 * n.value_heads)
    else:
        yield "ssm_beta.weight", (d, n.value_heads)
        yield "ssm_alpha.weight", (d, n.value_heads)
    yield "ssm_norm.weight", (n.head_size,)
    yield "ssm_out.weight", (values, d)


def _experts(g: Geometry) -> Iterator[Named]:
    d, f, e = g.d_model, g.feed_forward, g.experts
    yield "ffn_gate_inp.weight", (d, e)
    yield "ffn_gate_exps.weight", (d, f, e)
    yield "ffn_up_exps.weight", (d, f, e)
    yield "ffn_down_exps.weight", (f, d, e)
    if g.architecture == "deepseek2":
        yield "exp_probs_b.bias", (e,)
    if g.architecture == "gpt-oss":
        yield "ffn_gate_inp.bias", (e,)
        yield "ffn_gate_exps.bias", (f, e)
        yield "ffn_up_exps.bias", (f, e)
        yield "ffn_down_exps.bias", (d, e)
    shared = g.shared_feed_forward or g.experts_shared * f
    if shared:
        if g.architecture in _GATED_ATTENTION:
            yield "ffn_gate_inp_shexp.weight", (d,)
        yield from _feed_forward(d, shared, "_shexp")


def _feed_forward(d: int, wide: int, suffix: str) -> Iterator[Named]:
    yield f"ffn_gate{suffix}.weight", (d, wide)
    yield f"ffn_up{suffix}.weight", (d, wide)
    yield f"ffn_down{suffix}.weight", (wide, d)
