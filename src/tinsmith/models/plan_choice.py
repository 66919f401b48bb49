"""The plan for one file: the largest window that fits with a sensible cache, and what to do where none does."""

from collections.abc import Sequence

from tinsmith.errors import MachineError
from tinsmith.models.geometry import CacheType, Geometry
from tinsmith.models.machine import Machine
from tinsmith.models.plan import Plan, plan_for
from tinsmith.models.plan_memory import GIB, capacity, memory_needed
from tinsmith.models.plan_speed import ISSUE
from tinsmith.models.weights import Weights

CONTEXTS = (32_768, 24_576, 16_384)
"""Windows in tokens, the first that fits is taken: work is comfortable in the first and finishes in the last."""
_CACHES: tuple[CacheType, ...] = ("f16", "q8_0")
"""No loss by q8_0 was measured on coding and long-context tasks; what is smaller is never chosen for a person."""
_GAIN = 0.9
"""q8_0 is taken where f16 would fit only if it makes the run this much shorter."""


def best_plan(
    geometry: Geometry, weights: Weights, machine: Machine, contexts: Sequence[int] = CONTEXTS, *, now: bool = False
) -> Plan | None:
    """The plan with the first of `contexts` that fits, None where none does. See `plan_for` for `now`."""
    for context in contexts:
        found: Plan | None = None
        for kind in _CACHES:
            try:
                made = plan_for(geometry, weights, machine, context, kind, kind, now=now)
            except ValueError:
                continue  # the cache cannot be of this type
            if made is not None and (found is None or _minutes(made) < _GAIN * _minutes(found)):
                found = made
        if found is not None:
            return found
    return None


def windows(asked: int | None, usual: int, trained: int) -> tuple[int, ...]:
    """The windows to try: what a person asked for and nothing else, or the usual one and what is smaller; none is more
    than the model was trained for (0: not known)."""
    most = trained or (asked or usual)
    if asked is not None:
        return (min(asked, most),)
    first = min(usual, most)
    return (first, *(context for context in CONTEXTS if context < first))


def plan_or_error(name: str, geometry: Geometry, weights: Weights, machine: Machine, contexts: Sequence[int]) -> Plan:
    """The plan for what is free now. Raises MachineError `model_does_not_fit`, which says what would."""
    if (found := best_plan(geometry, weights, machine, contexts, now=True)) is not None:
        return found
    least = memory_needed(geometry, weights, contexts[-1], "q8_0", "q8_0")
    room, free = capacity(machine), capacity(machine, now=True)
    need = f"{name} needs {least / GIB:.1f} GiB of memory with a window of {contexts[-1]} tokens"
    if (later := best_plan(geometry, weights, machine, contexts)) is not None:
        words = f"{need}; {_said(free.ram, free.vram)} are free now"
        remedy = f"Close other programs: this machine could give it {_said(room.ram, room.vram)}. It would then run "
        raise MachineError("model_does_not_fit", words, f"{remedy}{later.where()}.")
    words = f"{need}; this machine can give a model {_said(room.ram, room.vram)}"
    smaller = weights.total - (least - room.ram - (0 if room.unified else room.vram))
    remedy = "See what fits with `tinsmith models recommend`; without --model the built-in model works everywhere."
    if smaller > weights.parameters * 2.4 / 8:
        remedy = f"A smaller quant of it, of at most {smaller / 1e9:.1f} GB, would fit. {remedy}"
    elif len(contexts) == 1 and contexts[0] > CONTEXTS[-1]:
        remedy = f"Try a smaller --context. {remedy}"
    raise MachineError("model_does_not_fit", words, remedy)


def _said(ram: int, vram: int) -> str:
    return f"{ram / GIB:.1f} GiB" + (f" of RAM and {vram / GIB:.1f} GiB of GPU memory" if vram else "")


def _minutes(made: Plan) -> float:
    return ISSUE.minutes(made.speed, made.context)
