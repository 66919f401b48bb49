"""The weights of a catalogue model in a quant whose file is not here, and what is known of the loss of so few bits."""

import contextlib
from dataclasses import dataclass, replace
from functools import cache
from typing import Final, Literal

from tinsmith.models.catalogue_entry import Entry
from tinsmith.models.geometry import Geometry
from tinsmith.models.weights import QUANTS, LayerWeights, Weights, computed_weights, file_bytes

USUAL: Final = ("Q2_K", "Q3_K_M", "IQ4_XS", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0")
"""The quants that are published for nearly every model."""

_FULL, _SMALL, _LEAST = 4.7, 4.15, 3.4
"""Bits per weight of Q4_K_M, which lost nothing that was measured; above those of Q3_K_L, which lost; of Q3_K_S, below
which no recipe of llama.cpp was measured on code."""
_LEARNED: Final = {"qwen3-coder-30b-a3b": 2.65, "devstral-small-2-24b": 2.4}
"""The same for files whose types were learned tensor by tensor (ByteShape's, named by their bits). Of the second there
is one of 2.34 bits, beside the cliff that is told of near 2.3."""
_APART = 0.06
"""Vendors round their counts of parameters."""

Loss = Literal[0, 1, 2, 3, 4]
"""Nothing measured; little, by its place between what was measured; measurable; about a tenth; unknown, or a cliff."""


@dataclass(frozen=True)
class Quant:
    """One quant of a model. `bytes` of its file, `exact` where they are a published one's."""

    name: str
    bytes: int
    exact: bool
    published: bool
    weights: Weights

    @property
    def bits(self) -> float:
        """Bits per weight, over the whole file."""
        return 8 * self.bytes / self.weights.parameters


def quants_of(entry: Entry) -> list[Quant]:
    """The published quants and the usual ones of `entry`, largest first; none where its shape is not known."""
    geometry = entry.geometry
    if geometry is None:
        return []
    found: dict[str, Quant] = {}
    for name in (*entry.quants, *USUAL):
        published = entry.quants.get(name)
        weights = _weights(entry, geometry, name, published.bytes if published else 0)
        if weights is not None and name not in found:
            size = published.bytes if published else _file_bytes(geometry, name)
            found[name] = Quant(name, size, published is not None and published.exact, published is not None, weights)
    return sorted(found.values(), key=lambda quant: -quant.bytes)


def loss_of(entry: Entry, quant: Quant) -> tuple[Loss, str]:
    """What so few bits lose, and in words. Evidence: Q4_K_M with a q8_0 cache kept LongBench-v2 and BigCodeBench where
    Q3_K_L lost (P. Jazdzyk, 2026-03); 2.70 learned bits kept 94 % of a sister of Qwen3-Coder-30B (ByteShape)."""
    learned = "bpw" in quant.name
    floor = _LEARNED.get(entry.id, _LEAST) if learned else _LEAST
    if entry.is_built_in or quant.bits >= _FULL or "MXFP4" in quant.name:
        return 0, "no loss was measured"
    if quant.bits < floor:
        return 4, f"{quant.bits:.1f} bits a weight: below {floor} nobody measured it to be of use"
    if learned and quant.bits < _SMALL:
        return 3, f"{quant.bits:.1f} bits a weight keep about nine tenths"
    if quant.bits < _SMALL:
        return 2, f"{quant.bits:.1f} bits a weight lose measurably"
    return 1, f"{quant.bits:.1f} bits a weight lose little"


def _weights(entry: Entry, geometry: Geometry, name: str, size: int) -> Weights | None:
    """By llama.cpp's recipe, else Q4_K_M's shares in a file of `size` bytes; None where neither is known."""
    like = None
    with contextlib.suppress(ValueError):
        computed = _computed(geometry, name if name in QUANTS else "Q4_K_M")
        if _is_whole(entry, computed):
            if name in QUANTS:
                return computed
            like = computed
    like = like or _by_parameters(entry, geometry)
    if not size or like is None:
        return None
    part = size / like.total
    layers = tuple(LayerWeights(int(layer.dense * part), int(layer.experts * part)) for layer in like.layers)
    embedding, output = int(like.embedding * part), int(like.output * part)
    return replace(like, layers=layers, embedding=embedding, output=output, predictor=int(like.predictor * part))


@cache
def _computed(geometry: Geometry, name: str) -> Weights:
    return computed_weights(geometry, name)


@cache
def _file_bytes(geometry: Geometry, name: str) -> int:
    return file_bytes(geometry, name)


def _by_parameters(entry: Entry, geometry: Geometry) -> Weights | None:
    """Shares of a model whose tensors are not known one by one, a byte a parameter: what is active by the vendor's
    count is everything but the experts that are not used."""
    if entry.parameters is None:
        return None
    total, active, count = entry.parameters.total, entry.parameters.active, len(geometry.layers)
    embedding = geometry.vocabulary * geometry.d_model
    experts = 0.0
    if geometry.experts:
        experts = (total - active) / (1 - geometry.experts_used / geometry.experts) / count
    rest = total - 2 * embedding - count * experts
    if rest <= 0:
        return None
    layers = (LayerWeights(int(rest / count), int(experts)),) * count
    return Weights(embedding, embedding, layers, total, active, geometry.experts, geometry.experts_used)


def _is_whole(entry: Entry, weights: Weights) -> bool:
    """Whether the recipe counted what the vendor counts: not where a part of the shape is unknown."""
    return entry.parameters is None or abs(weights.parameters / entry.parameters.total - 1) < _APART
