"""The shape of a model: its layers, what each keeps per sequence, and the bytes of the KV cache.

The cache is laid out as llama.cpp lays it out (`llama-kv-cache.cpp`, `llama-kv-cache-iswa.cpp`,
`llama-memory-recurrent.cpp`), so `Geometry.cache_bytes` is what the engine allocates, to the byte.
"""

from dataclasses import dataclass
from typing import Literal

LayerKind = Literal["full", "sliding", "latent", "recurrent"]
"""`latent` is multi-head latent attention (MLA): one compressed row per token, kept in K."""

CacheType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
"""What the K and the V cache may be made of (`--cache-type-k`, `--cache-type-v`)."""

_BLOCKS: dict[CacheType, tuple[int, int]] = {
    "f32": (1, 4),
    "f16": (1, 2),
    "bf16": (1, 2),
    "q8_0": (32, 34),
    "q5_1": (32, 24),
    "q5_0": (32, 22),
    "q4_1": (32, 20),
    "q4_0": (32, 18),
    "iq4_nl": (32, 18),
}
"""Elements and bytes of one block (ggml-common.h)."""

CELLS = 256
"""llama.cpp rounds the cells of a cache up to a multiple of this."""


@dataclass(frozen=True)
class LayerCache:
    """What one layer keeps per sequence.

    `key_width` and `value_width` are elements per token (KV heads x head size; latent: rank + rope in `key_width`, 0
    in `value_width`). `window` is the tokens that a sliding layer keeps, 0 all. `state_bytes` is what a recurrent
    layer keeps, whatever the context.
    """

    kind: LayerKind
    key_width: int = 0
    value_width: int = 0
    window: int = 0
    state_bytes: int = 0


@dataclass(frozen=True)
class DeltaNet:
    """The gated delta net of the recurrent layers of Qwen3-Next and its successors; `conv` is the kernel's width."""

    key_heads: int
    value_heads: int
    head_size: int
    conv: int = 4

    @property
    def state_bytes(self) -> int:
        """Bytes that a layer keeps, in f32: the last columns of the convolution, and a square state per value head."""
        columns = (2 * self.key_heads + self.value_heads) * self.head_size
        return 4 * ((self.conv - 1) * columns + self.value_heads * self.head_size * self.head_size)


@dataclass(frozen=True)
class LatentAttention:
    """Multi-head latent attention: the ranks of Q and KV, and per head the sizes of K without and with position and of
    V. `query_rank` is 0 where Q is not compressed.
    """

    query_rank: int
    rank: int
    rope: int
    no_rope: int
    value: int


@dataclass(frozen=True)
class Geometry:
    """The shape of a model.

    `architecture` is GGUF's `general.architecture`. `feed_forward` is the width of a dense layer, or of one expert
    where there are experts. `context` is the trained context in tokens, 0 where nothing says it. `tied`: the embedding
    is also the output matrix. `dense_layers` are those at the beginning that have no experts, `dense_feed_forward`
    wide; `shared_feed_forward` is the width of the shared experts together. `certain` is False where an unknown
    architecture was read by the standard keys alone.
    """

    architecture: str
    layers: tuple[LayerCache, ...]
    d_model: int
    heads: int
    head_size: int
    vocabulary: int
    feed_forward: int
    experts: int = 0
    experts_used: int = 0
    experts_shared: int = 0
    context: int = 0
    tied: bool = False
    dense_layers: int = 0
    dense_feed_forward: int = 0
    shared_feed_forward: int = 0
    delta: DeltaNet | None = None
    latent: LatentAttention | None = None
    certain: bool = True

    def cache_bytes(self, context: int, key: CacheType = "f16", value: CacheType = "f16", *, batch: int = 512) -> int:
        """Bytes that one sequence of `context` tokens takes: K, V and recurrent state.

        `batch` is the physical batch (`n_ubatch`) by which the cells of sliding layers exceed their window. Raises
        ValueError where a row is no whole number of blocks of `key` or `value`, which llama.cpp refuses too.
        """
        cells = padded(context, CELLS)
        total = 0
        for layer in self.layers:
            total += layer.state_bytes
            kept = min(cells, padded(layer.window + batch, CELLS)) if layer.window else cells
            total += kept * (row_bytes(layer.key_width, key) + row_bytes(layer.value_width, value))
        return total

    def cache_bytes_per_token(self) -> int:
        """Bytes by which the cache grows with each token at f16: what full and latent layers add."""
        return sum(2 * (layer.key_width + layer.value_width) for layer in self.layers if not layer.window)

    def state_bytes(self) -> int:
        """Bytes of recurrent state of one sequence, whatever the context."""
        return sum(layer.state_bytes for layer in self.layers)


def row_bytes(elements: int, kind: CacheType) -> int:
    """Bytes of a row of `elements` in the cache type `kind`. Raises ValueError where blocks do not fill the row."""
    block, size = _BLOCKS[kind]
    if elements % block:
        raise ValueError(f"a row of {elements} elements is no whole number of blocks of {block} ({kind})")
    return elements // block * size


def padded(number: int, step: int) -> int:
    """`number` rounded up to a multiple of `step`."""
    return -(-number // step) * step
