"""Which models and quants fit a machine, how each would lie there, and what that takes: a ranked list.

`memory_needed` is what a comparison of models asks.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tinsmith.models.catalogue_entry import Entry, Use
from tinsmith.models.fit_weights import Quant, loss_of, quants_of
from tinsmith.models.geometry import Geometry
from tinsmith.models.machine import Machine
from tinsmith.models.plan import Plan
from tinsmith.models.plan_choice import CONTEXTS, best_plan
from tinsmith.models.plan_memory import GIB, memory_needed
from tinsmith.models.plan_speed import ISSUE, RAM_EFFICIENCY, cores_read

__all__ = [
    "FILE",
    "MINUTES",
    "SLOWEST",
    "Candidate",
    "candidate",
    "candidates",
    "contexts_for",
    "gives_way",
    "memory_needed",
]

FILE: Final = "file"
"""The name of the quant that a file at hand is."""

SLOWEST: Final = 2.0
"""Tokens/s of decoding below which nothing is recommended: a call of 270 tokens would take more than two minutes."""

MINUTES: Final[Mapping[Use, float]] = {
    "local": 10.0,
    "cli": 20.0,
    "private": 30.0,
    "long-context": 30.0,
    "issues": 120.0,
    "edge": 480.0,
}
"""Minutes of computing for a typical issue that a use has patience for: one waits, looks again later, or sleeps."""

_LONG: Final = (131_072, 65_536)


@dataclass(frozen=True)
class Candidate:
    """A quant of a model on a machine. `plan` is None where it does not fit, `needs` the least bytes of memory it takes
    with the smallest window; `minutes` of a typical issue; `loss` as in `loss_of`; `refused`: why it is not
    recommended, empty where it may be; `slow`: that is for want of speed alone."""

    entry: Entry
    quant: Quant
    plan: Plan | None
    needs: int
    minutes: float
    loss: int
    loss_words: str
    refused: str
    slow: bool

    def as_json(self) -> dict[str, Any]:
        """A row of `fit --json`."""
        return {
            "model": self.entry.id,
            "quant": self.quant.name,
            "bytes": self.quant.bytes,
            "bytes_exact": self.quant.exact,
            "bits_per_weight": round(self.quant.bits, 2),
            "fits": self.plan is not None,
            "memory_needed": self.needs,
            "minutes_per_issue": round(self.minutes, 1) if self.plan else None,
            "thinking": self.entry.thinking,
            "loss": self.loss_words,
            "refused": self.refused,
            "plan": self.plan.as_json() if self.plan else None,
            "gives_way": gives_way(self) if self.plan else [],
        }


def contexts_for(use: Use | None, asked: int | None) -> tuple[int, ...]:
    """The windows to try, in tokens: what is asked for alone, else those of the use."""
    if asked is not None:
        return (asked,)
    return _LONG if use == "long-context" else CONTEXTS


def candidates(
    entries: Iterable[Entry], machine: Machine, *, use: Use | None = None, context: int | None = None
) -> list[Candidate]:
    """Every quant of `entries` on `machine`, of models that have such a window: what may be recommended first, then by
    loss and minutes."""
    found: list[Candidate] = []
    for entry in entries:
        contexts = [tokens for tokens in contexts_for(use, context) if tokens <= entry.window.native]
        found += [candidate(entry, quant, machine, contexts) for quant in quants_of(entry) if contexts]
    return sorted(found, key=lambda row: (row.plan is None, bool(row.refused), row.loss, row.minutes, row.needs))


def gives_way(row: Candidate) -> list[str]:
    """What gives way first where memory gets short, in order, with what each gives."""
    made, geometry = row.plan, row.entry.geometry
    if made is None or geometry is None:
        return []
    found: list[str] = []
    now = geometry.cache_bytes(made.context, made.key, made.value)
    if made.engine_options().host_cache_mib:
        found.append("the cache of other conversations: at most 1 GiB, which the sum leaves out")
    if made.key == "f16" and (quantised := _q8(geometry, made.context)):
        found.append(f"the cache to q8_0: {(now - quantised) / GIB:.1f} GiB")
    if made.context > CONTEXTS[-1]:
        smaller = geometry.cache_bytes(CONTEXTS[-1], made.key, made.value)
        found.append(f"the window to {CONTEXTS[-1]} tokens: {(now - smaller) / GIB:.1f} GiB")
    if made.vram.total and geometry.experts and made.cpu_expert_layers < made.layers:
        each = max(layer.experts for layer in row.quant.weights.layers) / GIB
        found.append(f"experts from the GPU to RAM: {each:.2f} GiB a layer")
    elif made.vram.total and not geometry.experts:
        each = max(layer.dense for layer in row.quant.weights.layers) / GIB
        found.append(f"layers from the GPU to RAM: {each:.2f} GiB each, at a great loss of speed")
    lower = [quant for quant in quants_of(row.entry) if quant.bytes < row.quant.bytes and row.quant.name != FILE]
    if lower and loss_of(row.entry, lower[0])[0] < 4:
        words = loss_of(row.entry, lower[0])[1]
        found.append(f"the quant to {lower[0].name}: {(row.quant.bytes - lower[0].bytes) / GIB:.1f} GiB ({words})")
    return [text for text in found if ": 0.0 GiB" not in text]


def _q8(geometry: Geometry, context: int) -> int:
    try:
        return geometry.cache_bytes(context, "q8_0", "q8_0")
    except ValueError:
        return 0


def candidate(entry: Entry, quant: Quant, machine: Machine, contexts: Sequence[int]) -> Candidate:
    """One `quant` of `entry` on `machine`, with the first of `contexts` that fits."""
    geometry = entry.geometry
    assert geometry is not None
    made = best_plan(geometry, quant.weights, machine, contexts)
    kind = "q8_0" if _q8(geometry, contexts[-1]) else "f16"
    needs = memory_needed(geometry, quant.weights, contexts[-1], kind, kind)
    loss, words = loss_of(entry, quant)
    thinks = entry.thinking in ("yes", "unknown")
    minutes = ISSUE.minutes(made.speed, made.context, thinks=thinks) if made else float("inf")
    slow = loss < 4 and _is_slow(quant, made, machine)
    refused = ""
    if slow and made is not None and machine.gpus:
        refused = f"it would write about {made.speed.decode:.1f} tokens/s"
    elif slow:
        read, rate = quant.weights.read_per_token(), cores_read(machine)
        bound = "the memory gives" if rate == machine.bandwidth * RAM_EFFICIENCY else f"{machine.cores} cores use"
        refused = (
            f"it reads {read / 1e9:.1f} GB a token, and {bound} {rate / 1e9:.1f} GB/s: the ceiling is "
            f"{rate / read:.1f} tokens/s"
        )
    if made is None:
        refused = f"it needs {needs / GIB:.1f} GiB" + (f", and {refused}" if refused else "")
    elif loss == 4:
        refused = words
    elif made.place == "layers" and not refused:
        refused = "a part of all layers would lie in RAM: the one careful log of that has 0.54 tokens/s"
    return Candidate(entry, quant, made, needs, minutes, loss, words, refused, slow)


def _is_slow(quant: Quant, made: Plan | None, machine: Machine) -> bool:
    """Whether it would be too slow: by its plan, or by its best case where it does not fit and there is no GPU."""
    if made is not None:
        return made.speed.decode < SLOWEST
    return not machine.gpus and cores_read(machine) / quant.weights.read_per_token() < SLOWEST
