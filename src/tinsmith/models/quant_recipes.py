"""Which type each tensor gets in a quantised file: the recipes of llama.cpp's `llama-quantize` (`llama-quant.cpp`).

A recipe is the default type of a quant's name, and exceptions: the tensors that lose most get more bits. They are
followed here as with an importance matrix, which published files have; without one only the first eighth of `ffn_down`
of IQ4_XS and Q4_0 differs.
"""

from collections.abc import Iterable
from typing import Final

from tinsmith.models.geometry import Geometry
from tinsmith.models.gguf_types import BLOCKS
from tinsmith.models.tensor_list import Named

_DEFAULTS: Final[dict[str, str]] = {
    "Q2_K": "Q2_K",
    "Q3_K_S": "Q3_K",
    "Q3_K_M": "Q3_K",
    "Q3_K_L": "Q3_K",
    "IQ4_XS": "IQ4_XS",
    "Q4_0": "Q4_0",
    "MXFP4": "MXFP4",
    "Q4_K_S": "Q4_K",
    "Q4_K_M": "Q4_K",
    "Q5_K_S": "Q5_K",
    "Q5_K_M": "Q5_K",
    "Q6_K": "Q6_K",
    "Q8_0": "Q8_0",
    "BF16": "BF16",
    "F16": "F16",
}

QUANTS: Final = tuple(_DEFAULTS)
"""The quants that can be computed. `MXFP4` is the recipe MXFP4_MOE: experts in MXFP4, the rest in Q8_0."""

_FALLBACKS = {
    "Q2_K": "Q4_0",
    "Q3_K": "Q4_0",
    "IQ4_XS": "IQ4_NL",
    "Q4_K": "Q5_0",
    "Q5_K": "Q5_1",
    "Q6_K": "Q8_0",
}
"""Where a row is no whole number of blocks of 256: the type of blocks of 32 in its place."""

_EIGHT_EXPERTS = frozenset({"Q2_K", "Q3_K_S", "Q3_K_M", "IQ4_XS", "Q4_K_S", "Q4_K_M"})


def tensor_kinds(tensors: Iterable[Named], quant: str, geometry: Geometry) -> list[str]:
    """The type of each of `tensors` (in a file's order) in the quant named. Raises ValueError for an unknown name."""
    if quant not in _DEFAULTS:
        raise ValueError(f"the quant {quant!r} is not known")
    recipe = _Recipe(list(tensors), quant, geometry)
    return [recipe.kind(name, shape) for name, shape in recipe.tensors]


class _Recipe:
    def __init__(self, tensors: list[Named], quant: str, geometry: Geometry) -> None:
        self.tensors = tensors
        self.quant = quant
        self.default = _DEFAULTS[quant]
        self.experts = geometry.experts
        self.layers = len(geometry.layers)
        self.shared_heads = _heads_per_kv_head(geometry)
        self.values = sum(_is_value(name) for name, _ in tensors)
        self.values_seen = self.downs_seen = 0
        self.tied = all(name != "output.weight" for name, _ in tensors)

    def kind(self, name: str, shape: tuple[int, ...]) -> str:
        """The type of the next tensor."""
        if not _quantisable(name, shape):
            return "F32"
        if self.default in ("BF16", "F16"):
            return self.default
        kind = self._chosen(name, shape)
        if shape[0] % BLOCKS[kind][0]:
            kind = _FALLBACKS.get(kind, "F16")
            if shape[0] % BLOCKS[kind][0]:
                kind = "F16"
        return kind

    def _chosen(self, name: str, shape: tuple[int, ...]) -> str:
        if name == "output.weight" or (self.tied and name == "token_embd.weight"):
            if self.default in ("Q8_0", "MXFP4") or shape[0] % BLOCKS[self.default][0]:
                return "Q8_0"
            return "Q6_K"
        if self.quant == "MXFP4":
            return "MXFP4" if len(shape) > 2 and shape[2] > 1 else "Q8_0"
        if name == "token_embd.weight":
            return self.default
        if _is_value(name):
            self.values_seen += 1
            return self._value(self.values_seen - 1)
        if "attn_k.weight" in name:
            return "Q8_0" if self.experts == 8 else self.default
        if "ffn_down" in name:
            self.downs_seen += 1
            layer = int(name.split(".")[1]) if self.experts > 1 else self.downs_seen - 1
            return self._down(layer)
        if "attn_output.weight" in name:
            return self._attention_output()
        return self.default

    def _value(self, i: int) -> str:
        """The V projection: small where heads share it, and sensitive."""
        if self.experts == 8:
            return "Q8_0"
        if self.quant == "Q2_K":
            return "Q4_K" if self.shared_heads >= 4 else "Q3_K"
        if self.quant == "Q3_K_M":
            return "Q5_K" if i < 2 else "Q4_K"
        if self.quant == "Q3_K_L" or (self.quant == "IQ4_XS" and self.shared_heads >= 4):
            return "Q5_K"
        if self.quant in ("Q4_K_M", "Q5_K_M") and _more_bits(i, self.values):
            return "Q6_K"
        if self.quant == "Q4_K_S" and i < 4:
            return "Q5_K"
        return self.default

    def _down(self, layer: int) -> str:
        """The way out of the feed-forward, whose outliers cost most in the first and the last layers."""
        early = layer < self.layers // 8
        if self.quant == "Q2_K":
            return "Q3_K"
        if self.quant == "Q3_K_M":
            return "Q5_K" if layer < self.layers // 16 else "Q4_K"
        if self.quant == "Q3_K_L" or (early and self.quant == "Q4_K_S"):
            return "Q5_K"
        if early and self.quant == "Q4_0":
            return "Q4_1"
        if self.quant in ("Q4_K_M", "Q5_K_M") and _more_bits(layer, self.layers):
            return "Q6_K"
        return self.default

    def _attention_output(self) -> str:
        if self.experts == 8:
            return "Q5_K" if self.quant in _EIGHT_EXPERTS else self.default
        return {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K"}.get(self.quant, self.default)


def _quantisable(name: str, shape: tuple[int, ...]) -> bool:
    return (
        len(shape) > 1
        and name.endswith("weight")
        and "_norm.weight" not in name
        and "ffn_gate_inp.weight" not in name
        and "ssm_conv1d" not in name
    )


def _is_value(name: str) -> bool:
    return any(part in name for part in ("attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight"))


def _more_bits(i: int, count: int) -> bool:
    """llama.cpp's `use_more_bits`: the first and the last eighth, and every third between."""
    return i < count // 8 or i >= 7 * count // 8 or (i - count // 8) % 3 == 2


def _heads_per_kv_head(geometry: Geometry) -> int:
    for layer in geometry.layers:
        if layer.kind == "latent":
            return geometry.heads  # one shared latent row
        if layer.key_width:
            return geometry.heads * geometry.head_size // layer.key_width
    return 0
