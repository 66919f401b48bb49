"""How large llama.cpp's compute buffer is: the activations of one physical batch, and the attention mask.

ggml gives tensors of the graph a place and takes it back when nobody needs them, so the buffer is as large as the
widest point of any layer: inside the feed-forward, the experts, attention or the delta net, with five rows of d_model
alive around it. What is wide there was measured with the built-in engine for shapes of every architecture of
`tensor_list` (`tests/test_compute_buffer.py`): exact to a few hundred KiB at the shapes of real models, too much by at
most a third for small ones. Without flash attention, and on a GPU beside it, more is needed.
"""

from tinsmith.models.geometry import CELLS, Geometry, LayerCache, padded

_AROUND = 5  # rows of d_model: the residual, the normed input, what comes out
_GATED_ATTENTION = frozenset({"qwen3next", "qwen35", "qwen35moe"})


def compute_buffer_bytes(geometry: Geometry, context: int, batch: int, *, outputs: int = 1) -> int:
    """Bytes of the compute buffer for a window of `context` tokens, a physical batch (`n_ubatch`) of `batch` and flash
    attention. `outputs` is the tokens of a batch whose logits are kept: 1 as the server asks now, `batch` in builds
    of before 2026.
    """
    cells = padded(context, CELLS)
    widths = [_feed_forward(geometry)]
    kept: set[int] = set()
    for layer in set(geometry.layers):
        widths.append(_mixer(geometry, layer))
        if layer.kind != "recurrent":
            kept.add(min(cells, padded(layer.window + batch, CELLS)) if layer.window else cells)
    activations = 4 * batch * (_AROUND * geometry.d_model + max(widths))
    logits = 4 * outputs * (geometry.vocabulary + geometry.d_model)
    return max(activations, logits) + 2 * batch * sum(kept)  # the masks are in f16


def _feed_forward(g: Geometry) -> int:
    """Elements per token: gate, up and their product; with experts their results too where those find no free place."""
    dense = 3 * (g.dense_feed_forward if g.experts else g.feed_forward)
    if not g.experts:
        return dense
    wide, results = g.experts_used * g.feed_forward, g.experts_used * g.d_model
    return max(dense, 3 * wide + (results if results > 2 * wide else 0))


def _mixer(g: Geometry, layer: LayerCache) -> int:
    """Elements per token of what mixes the tokens: Q before and after its rotation, K and V where they are wide too."""
    if layer.kind == "recurrent":
        return 3 * (2 * g.delta.key_heads + g.delta.value_heads) * g.delta.head_size if g.delta else 0
    if g.latent is not None:
        a = g.latent
        return g.heads * (2 * (a.rank + a.rope) + a.no_rope + a.rope)
    q, kv = g.heads * g.head_size, layer.key_width
    if g.architecture in _GATED_ATTENTION:
        return 4 * q + 2 * kv
    return 2 * q + (2 * kv if 2 * kv >= q else 0)
