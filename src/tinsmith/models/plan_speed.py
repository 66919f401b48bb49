"""How fast a placement will be: a roofline over the memories that the weights lie in.

A decoded token reads the weights that it uses once, and the cache once. Its time is the sum, over the memories, of
bytes / (bandwidth x efficiency), and a fixed time for each layer that a GPU computes. On cores a second ceiling holds:
what they can unpack and multiply, whatever the memory gives. A prompt is bound by arithmetic: two operations a
weight and token, and those of attention; experts or layers that lie in RAM are copied to the GPU for each batch, or
computed by the cores, whichever is sooner.

The constants are fitted to measurements of others and of our own, which stand with the error of each in docs/fit.md.
"""

from dataclasses import dataclass

from tinsmith.models.geometry import Geometry
from tinsmith.models.machine import Machine
from tinsmith.models.weights import Weights

RAM_EFFICIENCY = 0.65
GPU_EFFICIENCY = 0.65
"""Of the bandwidth, in decoding."""
CORE_RATES = {"avx512f": 9e9, "i8mm": 6e9, "avx2": 3.7e9, "asimddp": 3e9}
CORE_RATE = 2e9
"""Bytes of weights that one core unpacks and multiplies in a second, at most: by the first of these instruction sets
that it has; without any of them."""
LAYER_SECONDS = 50e-6
"""Of each layer on a GPU, for a token: starting its kernels. As much again where its experts lie in RAM."""
CPU_PREFILL = 1.1
"""Of the cores' measured 32-bit product: more than all of it, since quantised products are taken in 8-bit integers."""
GPU_PREFILL = 0.25
"""Of the GPU's stated half-precision product."""
PCIE = 8e9
"""Bytes/s from mapped pages of RAM to a GPU."""
DISK = 1e9
DISK_OF_BOARD = 0.4e9
"""Bytes/s of reading a file that is not in memory: of a usual SSD, of one at a single-board computer."""
DEPTH = 8_192
"""Tokens in the cache at which speeds are told."""


@dataclass(frozen=True)
class Issue:
    """A typical issue: `turns` calls, `prefilled` tokens read over the whole run since what was read stays cached, and
    `decoded` tokens written; a model that thinks before each call writes `thinking` times as many."""

    turns: int = 30
    prefilled: int = 12_067
    decoded: int = 8_000
    thinking: float = 3.0
    reread: int = 4_000

    def minutes(self, speed: "Speed", context: int, *, thinks: bool = False) -> float:
        """Minutes of computing, without the time of tests. What does not fit the window is forgotten, and after each
        forgetting `reread` tokens are read anew."""
        decoded = self.decoded * (self.thinking if thinks else 1.0)
        forgotten = max(0, -(-int(self.prefilled + decoded) // (context * 15 // 16)) - 1)
        prefilled = self.prefilled + forgotten * self.reread
        return (prefilled / speed.prefill + decoded / speed.decode) / 60


ISSUE = Issue()


@dataclass(frozen=True)
class Speed:
    """Tokens/s at a depth of `DEPTH` tokens, or of the window where that is smaller; seconds to load the file."""

    prefill: float
    decode: float
    load_seconds: float


@dataclass(frozen=True)
class Split:
    """Where the weights of a placement lie, for its speed: bytes on the GPU and in RAM that a token reads, bytes in RAM
    that a batch of the prompt reads, the part of the parameters in RAM, layers on the GPU, layers with experts in RAM,
    and the part of the cache on the GPU."""

    gpu_read: float
    ram_read: float
    ram_weights: float
    ram_part: float
    gpu_layers: int
    expert_layers: int
    cache_part: float


def cores_read(machine: Machine) -> float:
    """Bytes/s of weights that all cores together read and use."""
    rate = next((rate for name, rate in CORE_RATES.items() if name in machine.instructions), CORE_RATE)
    return min(machine.bandwidth * RAM_EFFICIENCY, machine.cores * rate)


def predict(
    geometry: Geometry, weights: Weights, machine: Machine, split: Split, cache: int, context: int, batch: int
) -> Speed:
    """`cache`: bytes of the whole cache at `context` tokens."""
    depth = min(DEPTH, context)
    cache_read = cache * depth / context
    seconds = 0.0
    if split.gpu_layers:
        bandwidth = min(device.bandwidth for device in machine.gpus)
        seconds += (split.gpu_read + cache_read * split.cache_part) / (bandwidth * GPU_EFFICIENCY)
        seconds += LAYER_SECONDS * (split.gpu_layers + split.expert_layers)
    ram = split.ram_read + cache_read * (1 - split.cache_part)
    if ram:
        seconds += ram / cores_read(machine)
    disk = DISK_OF_BOARD if machine.board else DISK
    return Speed(_prefill(geometry, weights, machine, split, depth, batch), 1 / seconds, weights.total / disk)


def _prefill(geometry: Geometry, weights: Weights, machine: Machine, split: Split, depth: int, batch: int) -> float:
    attending = sum(layer.kind != "recurrent" for layer in geometry.layers)
    attention = 2 * geometry.heads * geometry.head_size * attending * depth  # half of the depth, on average
    work = 2 * weights.active_parameters + attention
    on_cores = work / (machine.compute * CPU_PREFILL)
    if not split.gpu_layers:
        return 1 / on_cores
    on_gpu = work / (sum(device.compute for device in machine.gpus) / len(machine.gpus) * GPU_PREFILL)
    if not split.ram_part or machine.unified:
        return 1 / on_gpu
    copied = on_gpu + split.ram_weights / PCIE / batch
    shared = on_gpu * (1 - split.ram_part) + on_cores * split.ram_part
    return 1 / min(copied, shared)
