"""The bytes of a quantised model by where they can lie: embedding, output, and per layer what all tokens use and what
only some use (routed experts).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from tinsmith.models.geometry import Geometry
from tinsmith.models.gguf_layout import Tensor
from tinsmith.models.gguf_types import BLOCKS
from tinsmith.models.quant_recipes import QUANTS as QUANTS
from tinsmith.models.quant_recipes import tensor_kinds
from tinsmith.models.tensor_list import tensors_of

_ENTRY = 62  # bytes of metadata per entry of the vocabulary: its text, type and merges; 39 (Qwen) to 77 (Tekken)
_EXPERT = re.compile(r"ffn_\w+_(ch)?exps\.|ffn_(gate|up|down)\.\d+\.")
_LAYER = re.compile(r"blk\.(\d{1,9})\.")


@dataclass(frozen=True)
class LayerWeights:
    """Bytes of one layer: `experts` are its routed experts, `dense` everything else."""

    dense: int
    experts: int


@dataclass(frozen=True)
class Weights:
    """Bytes of one quantised model.

    `output` is 0 where the embedding is also the output matrix. `active_parameters` are those that one token's decoding
    uses: all but the input embedding (one row) and the experts that are not chosen. `experts_used` of `experts` are
    chosen per token and layer. `predictor` is what only predicts further tokens (MTP): in the file, not read by
    ordinary decoding.
    """

    embedding: int
    output: int
    layers: tuple[LayerWeights, ...]
    parameters: int
    active_parameters: int
    experts: int = 0
    experts_used: int = 0
    predictor: int = 0

    @classmethod
    def of_tensors(cls, tensors: Iterable[Tensor], geometry: Geometry) -> Self:
        """The tensors of a file, sorted by where they can lie. What belongs to no layer goes with the output matrix."""
        dense, experts = [0] * len(geometry.layers), [0] * len(geometry.layers)
        embedding = output = others = predictor = 0
        parameters = idle = 0
        embedded = 0
        for tensor in tensors:
            elements = _elements(tensor.shape)
            parameters += elements
            layer = _LAYER.match(tensor.name)
            if layer is not None and int(layer[1]) >= len(dense):
                predictor += tensor.size
                idle += elements
            elif layer is not None and _EXPERT.search(tensor.name):
                experts[int(layer[1])] += tensor.size
                if geometry.experts:
                    idle += elements - elements * geometry.experts_used // geometry.experts
            elif layer is not None:
                dense[int(layer[1])] += tensor.size
            elif tensor.name == "output.weight":
                output += tensor.size
            elif tensor.name.endswith("token_embd.weight"):
                embedding += tensor.size
                embedded += elements
            else:
                others += tensor.size
        if output:
            output += others
            idle += embedded
        else:
            embedding += others
        return cls(
            embedding,
            output,
            tuple(LayerWeights(*pair) for pair in zip(dense, experts, strict=True)),
            parameters,
            parameters - idle,
            geometry.experts,
            geometry.experts_used,
            predictor,
        )

    @property
    def total(self) -> int:
        """Bytes of all tensors."""
        layers = sum(layer.dense + layer.experts for layer in self.layers)
        return self.embedding + self.output + layers + self.predictor

    def read_per_token(self) -> int:
        """Bytes read from memory to decode one token: the output matrix, all dense parts, the experts used."""
        output = self.output or self.embedding
        dense = sum(layer.dense for layer in self.layers)
        experts = sum(layer.experts for layer in self.layers)
        return output + dense + (experts * self.experts_used // self.experts if self.experts else 0)


def computed_weights(geometry: Geometry, quant: str) -> Weights:
    """The weights of a model of `geometry` quantised by llama.cpp's recipe `quant`, one of `QUANTS`, without its file.

    Raises ValueError for an architecture or a quant that is not known.
    """
    named = tensors_of(geometry)
    kinds = tensor_kinds(named, quant, geometry)
    tensors = [
        Tensor(name, shape, kind, _elements(shape) // BLOCKS[kind][0] * BLOCKS[kind][1])
        for (name, shape), kind in zip(named, kinds, strict=True)
    ]
    return Weights.of_tensors(tensors, geometry)


def file_bytes(geometry: Geometry, quant: str) -> int:
    """Bytes of the file of such a model: its tensors, and an estimate of its metadata, most of which is the vocabulary.

    Within 0.1 % of published files. Raises ValueError as `computed_weights` does.
    """
    return computed_weights(geometry, quant).total + _ENTRY * geometry.vocabulary


def _elements(shape: tuple[int, ...]) -> int:
    elements = 1
    for size in shape:
        elements *= size
    return elements
