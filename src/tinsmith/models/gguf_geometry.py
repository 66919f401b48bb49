"""The geometry of a model from the metadata of its file.

Keys: `gguf-py/gguf/constants.py` of llama.cpp; what they mean for each architecture: `src/models/*.cpp` and
`llama-hparams.cpp` there (`n_embd_k_gqa`, `n_embd_r`, `n_embd_s`, `set_swa_pattern`).
"""

from typing import Any, Final

from tinsmith.errors import InputError
from tinsmith.models.geometry import DeltaNet, Geometry, LatentAttention, LayerCache
from tinsmith.models.gguf_layout import Layout, unreadable

LAYERS: Final = 512
"""llama.cpp takes no more layers."""
_MOST = 1 << 31

_DELTA = frozenset({"qwen3next", "qwen35", "qwen35moe"})
_MAMBA = frozenset({"mamba", "mamba2"})
_HYBRID = frozenset({"jamba", "granitehybrid", "nemotron_h", "nemotron_h_moe", "lfm2", "lfm2moe"})
_BOTH = frozenset({"falcon-h1"})  # each layer attends and has a state
_PERIODS: Final[dict[str, int]] = {
    "gpt-oss": 2,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gemma4": 0,
    "cohere2": 4,
    "exaone4": 4,
    "olmo2": 4,
}
"""Architectures with sliding layers: every how manieth layer is full, unless the file says so (0: it must)."""
_PLAIN = frozenset(
    {
        "llama",
        "mistral3",
        "qwen2",
        "qwen2moe",
        "qwen3",
        "qwen3moe",
        "qwen2vl",
        "qwen3vl",
        "qwen3vlmoe",
        "gemma",
        "deepseek2",
        "glm4",
        "glm4moe",
        "starcoder2",
        "granite",
        "granitemoe",
        "command-r",
        "internlm2",
        "seed_oss",
        "smollm3",
    }
)
_KNOWN = _PLAIN | _DELTA | _MAMBA | _HYBRID | _BOTH | _PERIODS.keys()


def geometry_of(layout: Layout) -> Geometry:
    """The geometry that the metadata tells. Raises InputError `model_unreadable` where it does not, or not sensibly."""
    return _Reading(layout).geometry()


class _Reading:
    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        architecture = layout.value("general.architecture")
        if not isinstance(architecture, str) or not architecture:
            raise unreadable(layout.source, "general.architecture, which names the architecture, is missing")
        self.architecture = architecture
        blocks = self.number("block_count")
        self.count = blocks - self.number("nextn_predict_layers", 0)
        if blocks > LAYERS or self.count < 1:
            raise self._wrong("block_count", f"says {blocks} layers, of which {self.count} would be ordinary")
        self.blocks = blocks
        self.d_model = self.number("embedding_length")
        self.heads = max(self.numbers("attention.head_count", 0))
        self.head_size = self.number("attention.key_length", self.d_model // self.heads if self.heads else 0)
        self.value_size = self.number("attention.value_length", self.head_size)
        self.latent = self._latent()

    def geometry(self) -> Geometry:
        experts = self.number("expert_count", 0)
        dense = self.number("leading_dense_block_count", 0) if experts else 0
        wide = max(self.numbers("feed_forward_length", 0))
        shared = self.number("expert_shared_feed_forward_length", 0) if experts else 0
        delta = self._delta() if self.architecture in _DELTA else None
        return Geometry(
            architecture=self.architecture,
            layers=self._layers(),
            d_model=self.d_model,
            heads=self.heads,
            head_size=self.head_size,
            vocabulary=self.layout.count("tokenizer.ggml.tokens") or self.number("vocab_size", 0),
            feed_forward=self.number("expert_feed_forward_length", wide) if experts else wide,
            experts=experts,
            experts_used=self.number("expert_used_count", 0) if experts else 0,
            experts_shared=self.number("expert_shared_count", 1 if shared else 0) if experts else 0,
            context=self.number("context_length", 0),
            tied=all(tensor.name != "output.weight" for tensor in self.layout.tensors),
            dense_layers=dense,
            dense_feed_forward=wide if dense else 0,
            shared_feed_forward=shared,
            delta=delta,
            latent=self.latent,
            certain=self.architecture in _KNOWN and not any(".indexer." in key for key in self.layout.metadata),
        )

    def _layers(self) -> tuple[LayerCache, ...]:
        kv_heads = self.numbers("attention.head_count_kv", None)
        recurrent, state = self._recurrent(kv_heads), self._state_bytes()
        sliding, window = self._sliding(), self.number("attention.sliding_window", 0)
        key_swa = self.number("attention.key_length_swa", self.head_size)
        value_swa = self.number("attention.value_length_swa", self.value_size)
        kept = self.count - self.number("attention.shared_kv_layers", 0)  # later layers look into those before
        layers: list[LayerCache] = []
        for i in range(self.count):
            held = state if self.architecture in _BOTH else 0
            if recurrent[i]:
                layers.append(LayerCache("recurrent", state_bytes=state))
            elif i >= kept:
                layers.append(LayerCache("full"))
            elif self.latent is not None:
                layers.append(LayerCache("latent", self.latent.rank + self.latent.rope))
            elif sliding[i]:
                layers.append(LayerCache("sliding", kv_heads[i] * key_swa, kv_heads[i] * value_swa, window))
            else:
                width, depth = kv_heads[i] * self.head_size, kv_heads[i] * self.value_size
                layers.append(LayerCache("full", width, depth, state_bytes=held))
        return tuple(layers)

    def _recurrent(self, kv_heads: list[int]) -> list[bool]:
        if self.architecture in _MAMBA:
            return [True] * self.count
        if self.architecture in _DELTA:
            told = self._flags("attention.recurrent_layers")
            if told is not None:
                return told
            every = self.number("full_attention_interval", 4)
            return [every == 0 or (i + 1) % every != 0 for i in range(self.count)]
        if self.architecture in _HYBRID:
            wide = self.numbers("feed_forward_length", 0)
            only_mixing = self.architecture.startswith("nemotron")  # its layers are one of state, attention, MLP
            return [not kv_heads[i] and not (only_mixing and wide[i]) for i in range(self.count)]
        return [False] * self.count

    def _state_bytes(self) -> int:
        """Of one recurrent layer, in f32: llama.cpp's `n_embd_r` and `n_embd_s`."""
        if (cached := self.number("shortconv.l_cache", 0)) > 0:
            return 4 * self.d_model * (cached - 1)
        conv = self.number("ssm.conv_kernel", 0)
        inner, size = self.number("ssm.inner_size", 0), self.number("ssm.state_size", 0)
        groups = self.number("ssm.group_count", 0)
        return 4 * (max(0, conv - 1) * (inner + 2 * groups * size) + size * inner)

    def _sliding(self) -> list[bool]:
        if not self.number("attention.sliding_window", 0):
            return [False] * self.count
        told = self._flags("attention.sliding_window_pattern")
        if told is not None:
            return told
        period = self.number("attention.sliding_window_pattern", _PERIODS.get(self.architecture, 0))
        if self.architecture not in _PERIODS or not period:
            return [False] * self.count  # read as full, which is never too little
        return [i % period < period - 1 for i in range(self.count)]

    def _latent(self) -> LatentAttention | None:
        whole, value = self.number("attention.key_length_mla", 0), self.number("attention.value_length_mla", 0)
        if not (whole and value):
            return None  # older files of such models keep K and V of all heads
        rope = self.number("rope.dimension_count")
        if rope > whole:
            raise self._wrong("rope.dimension_count", f"is {rope}, more than the {whole} of a head")
        return LatentAttention(
            self.number("attention.q_lora_rank", 0), self.number("attention.kv_lora_rank"), rope, whole - rope, value
        )

    def _delta(self) -> DeltaNet:
        return DeltaNet(
            self.number("ssm.group_count"),
            self.number("ssm.time_step_rank"),
            self.number("ssm.state_size"),
            self.number("ssm.conv_kernel"),
        )

    def number(self, name: str, default: int | None = None) -> int:
        """The integer `name` of the architecture; of an array the first."""
        value = self._value(name)
        if isinstance(value, list):
            value = value[0] if value else None
        return self._integer(name, default if value is None else value)

    def numbers(self, name: str, default: int | None) -> list[int]:
        """The integer `name` per layer, whether the file gives one or an array; `default` None: as many as heads."""
        value = self._value(name)
        if value is None:
            return [self.heads if default is None else default] * self.blocks
        if not isinstance(value, list):
            return [self._integer(name, value)] * self.blocks
        if len(value) < self.blocks:
            raise self._wrong(name, f"has {len(value)} elements for {self.blocks} layers")
        return [self._integer(name, element) for element in value[: self.blocks]]

    def _flags(self, name: str) -> list[bool] | None:
        """The array of booleans `name`, None where it is no array."""
        value = self._value(name)
        if not isinstance(value, list):
            return None
        if len(value) < self.count:
            raise self._wrong(name, f"has {len(value)} elements for {self.count} layers")
        return [bool(element) for element in value[: self.count]]

    def _value(self, name: str) -> Any:
        return self.layout.value(f"{self.architecture}.{name}")

    def _integer(self, name: str, value: Any) -> int:
        if value is None:
            raise self._wrong(name, "is missing")
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MOST:
            raise self._wrong(name, f"is {value!r:.40} and no number of things")
        return value

    def _wrong(self, name: str, reason: str) -> InputError:
        value = self.layout.metadata.get(f"{self.architecture}.{name}")
        where = f"at byte {value.offset}, " if value is not None else ""
        return unreadable(self.layout.source, f"{where}{self.architecture}.{name} {reason}")
