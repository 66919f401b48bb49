"""How a model is run on a machine: what lies on the GPU and what in RAM, the window, the threads; what that takes and
how fast it will be.

The plan is what the engine is started with (`Plan.engine_options`).
"""

from dataclasses import dataclass
from typing import Any, Literal

from tinsmith.models.compute_buffer import compute_buffer_bytes
from tinsmith.models.geometry import CacheType, Geometry
from tinsmith.models.machine import Machine
from tinsmith.models.plan_memory import GIB, PROCESS, Capacity, Share, capacity
from tinsmith.models.plan_speed import Speed, Split, predict
from tinsmith.models.weights import Weights

Place = Literal["gpu", "experts", "layers", "cpu"]
"""All on the GPU; all but some layers' routed experts on it; some layers on it; nothing."""

BATCH = 512
"""Tokens of a prompt that are read at once."""
_HOST_CACHE_MIB = 1024
"""MiB for the caches of other conversations, where there is so much left: the first that gives way."""


@dataclass(frozen=True)
class EngineOptions:
    """What an engine is started with. `gpu_layers` counts the output as one; the routed experts of the first
    `cpu_expert_layers` layers stay in RAM."""

    context: int
    key: CacheType
    value: CacheType
    gpu_layers: int
    cpu_expert_layers: int
    threads: int
    batch: int
    host_cache_mib: int

    def llama_server_arguments(self) -> list[str]:
        """As `llama-server` takes them; window, threads, batch and host cache are orders of their own."""
        arguments = ["--cache-type-k", self.key, "--cache-type-v", self.value, "--n-gpu-layers", str(self.gpu_layers)]
        if self.cpu_expert_layers:
            arguments += ["--n-cpu-moe", str(self.cpu_expert_layers)]
        return arguments


@dataclass(frozen=True)
class Plan:
    """One way to run a model. `ram` and `vram` are what it takes of each; of unified memory `vram` is a part of what
    there is, and `ram` the rest. `spare`: bytes that are left of RAM."""

    place: Place
    context: int
    key: CacheType
    value: CacheType
    layers: int
    gpu_layers: int
    cpu_expert_layers: int
    threads: int
    batch: int
    ram: Share
    vram: Share
    spare: int
    speed: Speed

    def engine_options(self) -> EngineOptions:
        """What the engine is started with."""
        host_cache = max(0, min(_HOST_CACHE_MIB, (self.spare >> 20) // 2))
        return EngineOptions(
            self.context,
            self.key,
            self.value,
            self.gpu_layers,
            self.cpu_expert_layers,
            self.threads,
            self.batch,
            host_cache,
        )

    @property
    def total(self) -> int:
        """Bytes that must be in memory."""
        return self.ram.total + self.vram.total

    def where(self) -> str:
        """Where it lies, in a few words."""
        match self.place:
            case "gpu":
                return "all on the GPU"
            case "experts" if self.cpu_expert_layers == self.layers:
                return "on the GPU, all experts in RAM"
            case "experts":
                return f"on the GPU, experts of {self.cpu_expert_layers} of {self.layers} layers in RAM"
            case "layers":
                return f"{self.gpu_layers} of {self.layers} layers on the GPU, the rest in RAM"
            case _:
                return "in RAM, on the cores"

    def described(self) -> str:
        """In one line, for a person."""
        cache = self.key if self.key == self.value else f"{self.key}/{self.value}"
        parts = [f"{self.where()}; window of {self.context} tokens, {cache} cache"]
        if self.vram.total:
            parts.append(f"{self.vram.total / GIB:.1f} GiB on the GPU and {self.ram.total / GIB:.1f} GiB of RAM")
        else:
            parts.append(f"{self.ram.total / GIB:.1f} GiB of memory")
        parts.append(f"about {self.speed.prefill:.0f} tokens/s read and {self.speed.decode:.1f} written")
        return "; ".join(parts)

    def as_json(self) -> dict[str, Any]:
        """For a log and for `--json`."""
        return {
            "place": self.place,
            "where": self.where(),
            "context": self.context,
            "cache_type_k": self.key,
            "cache_type_v": self.value,
            "gpu_layers": self.gpu_layers,
            "cpu_expert_layers": self.cpu_expert_layers,
            "threads": self.threads,
            "batch": self.batch,
            "ram_bytes": self.ram.total,
            "vram_bytes": self.vram.total,
            "ram": dict(vars(self.ram)),
            "vram": dict(vars(self.vram)),
            "prefill_tokens_per_second": round(self.speed.prefill, 1),
            "decode_tokens_per_second": round(self.speed.decode, 2),
            "load_seconds": round(self.speed.load_seconds, 1),
        }


def plan_for(
    geometry: Geometry,
    weights: Weights,
    machine: Machine,
    context: int,
    key: CacheType = "f16",
    value: CacheType = "f16",
    *,
    now: bool = False,
) -> Plan | None:
    """The fastest placement of the model with a window of `context` tokens, None where it does not fit.

    `now`: into what is free as things are, else into what the machine has. Raises ValueError where the cache cannot
    be of these types.
    """
    room = capacity(machine, now=now)
    found = [
        made
        for place in ("gpu", "experts", "layers", "cpu")
        if (made := _placed(place, geometry, weights, machine, room, context, key, value)) is not None
    ]
    return min(found, key=_seconds, default=None)


def _seconds(made: Plan) -> float:
    # A turn reads four hundred tokens and writes as many hundreds less: both speeds count.
    return 400 / made.speed.prefill + 270 / made.speed.decode


def _placed(
    place: Place,
    geometry: Geometry,
    weights: Weights,
    machine: Machine,
    room: Capacity,
    context: int,
    key: CacheType,
    value: CacheType,
) -> Plan | None:
    if place != "cpu" and not machine.gpus:
        return None
    count = len(weights.layers)
    cache = geometry.cache_bytes(context, key, value, batch=BATCH)
    compute = compute_buffer_bytes(geometry, context, BATCH)
    output = weights.output or weights.embedding  # an output that is tied is copied to the GPU
    dense = [layer.dense for layer in weights.layers]
    experts = [layer.experts for layer in weights.layers]
    in_ram = cpu_experts = 0
    match place:
        case "cpu":
            in_ram = count
        case "gpu":
            pass
        case "experts":
            if not any(experts):
                return None
            fixed = output + sum(dense) + cache + compute
            over = fixed + sum(experts) - room.vram
            if over <= 0 or fixed > room.vram:
                return None
            while over > 0 and cpu_experts < count:
                over -= experts[cpu_experts]
                cpu_experts += 1
        case "layers":
            each = [dense[i] + experts[i] + cache // count for i in range(count)]
            over = output + sum(each) + compute - room.vram
            if over <= 0:
                return None
            while over > 0 and in_ram < count:
                over -= each[in_ram]
                in_ram += 1
            if over > 0 or in_ram == count:
                return None
    on_gpu = count - in_ram
    cache_vram = cache * on_gpu // count
    ram_experts = sum(experts[: max(in_ram, cpu_experts)])
    ram_layers = sum(dense[:in_ram]) + ram_experts
    if place == "cpu":
        ram = Share(weights.total, cache, compute, PROCESS)
        vram = Share()
    else:
        # The embedding is looked up, not multiplied: llama.cpp leaves it in RAM.
        ram = Share(weights.embedding + ram_layers, cache - cache_vram, compute if in_ram else compute // 4, PROCESS)
        vram = Share(output + sum(dense) + sum(experts) - ram_layers, cache_vram, compute)
    if vram.total > room.vram and place != "cpu":
        return None
    taken = ram.total + vram.total if room.unified else ram.total
    if taken > room.ram:
        return None
    part = weights.experts_used / weights.experts if weights.experts else 1.0
    ram_read = sum(dense[:in_ram]) + ram_experts * part + (output if place == "cpu" else 0)
    read = weights.read_per_token()
    split = Split(
        gpu_read=max(0.0, read - ram_read),
        ram_read=ram_read,
        ram_weights=ram_layers,
        ram_part=ram_read / read,
        gpu_layers=0 if place == "cpu" else on_gpu,
        expert_layers=cpu_experts,
        cache_part=0.0 if place == "cpu" else on_gpu / count,
    )
    return Plan(
        place=place,
        context=context,
        key=key,
        value=value,
        layers=count,
        gpu_layers=0 if place == "cpu" else on_gpu + 1,
        cpu_expert_layers=cpu_experts,
        threads=machine.cores,
        batch=BATCH,
        ram=ram,
        vram=vram,
        spare=room.ram - taken,
        speed=predict(geometry, weights, machine, split, cache, context, BATCH),
    )
