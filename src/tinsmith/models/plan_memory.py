"""What a model needs of memory to be run, and what a machine can give.

Weights that are mapped from the file count like any others: a page that is not in memory is read from the disk for
each token. Cache and buffers are laid out as llama.cpp lays them out.
"""

from dataclasses import dataclass

from tinsmith.models.compute_buffer import compute_buffer_bytes
from tinsmith.models.geometry import CacheType, Geometry
from tinsmith.models.machine import Machine
from tinsmith.models.weights import Weights

GIB = 1 << 30
PROCESS = 300 << 20
"""Bytes of the engine's process beside weights, cache and compute buffer: its code, vocabulary, HTTP server. 50 MiB
were measured with a small vocabulary and 170 with one of 152 thousand tokens."""
GPU_RESERVE = 512 << 20
"""Bytes of a GPU that drivers take for a context, beside a fiftieth that stays free against fragmentation."""
GROUP_RESERVE = 256 << 20
"""Bytes of a control group's limit for what runs in it beside the engine."""


@dataclass(frozen=True)
class Share:
    """Bytes in one memory."""

    weights: int = 0
    cache: int = 0
    compute: int = 0
    process: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.cache + self.compute + self.process


@dataclass(frozen=True)
class Capacity:
    """Bytes that a plan may use: of RAM, of all GPUs together; whether both are one memory, of which `ram` is all."""

    ram: int
    vram: int
    unified: bool


def reserve(memory_total: int) -> int:
    """Bytes left to the system and to what else runs: an eighth, at least 1 GiB and at most 4 GiB."""
    return min(4 * GIB, max(GIB, memory_total // 8))


def capacity(machine: Machine, *, now: bool = False) -> Capacity:
    """What `machine` can give a model: with other programs at rest, or as things are `now`. Swap never counts."""
    ram = machine.memory_total - reserve(machine.memory_total)
    if machine.memory_limit:
        ram = min(ram, machine.memory_limit - GROUP_RESERVE)
    if now:
        ram = min(ram, machine.memory_available)
    vram = 0
    for device in machine.gpus:
        memory = min(device.memory_free, device.memory_total) if now else device.memory_total
        # Where the memory is shared, the limit is Metal's or the driver's own, with its reserve in it.
        vram += memory if machine.unified else max(0, memory - GPU_RESERVE - memory // 50)
    return Capacity(max(0, ram), vram, machine.unified)


def memory_needed(
    geometry: Geometry,
    weights: Weights,
    context: int,
    key: CacheType = "f16",
    value: CacheType = "f16",
    *,
    batch: int = 512,
) -> int:
    """Bytes that must be in memory, wherever they lie, to run the model with a window of `context` tokens; without the
    system's reserve."""
    cache = geometry.cache_bytes(context, key, value, batch=batch)
    return weights.total + cache + compute_buffer_bytes(geometry, context, batch) + PROCESS
