"""One model for one machine and use, with the reason, and what the runner-up would trade."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tinsmith.models.catalogue_entry import Entry, Score, Use
from tinsmith.models.fit import MINUTES, Candidate, candidates
from tinsmith.models.machine import Machine
from tinsmith.models.plan_memory import GIB, capacity, reserve

FREE_LICENCES = frozenset({"Apache-2.0", "MIT"})
"""Licences that ask nothing of a company but their text."""
_MAIN = "SWE-bench Verified"
_SLOWER = 2.0
_SAME = 0.05


@dataclass(frozen=True)
class Recommendation:
    """`pick` is None where nothing fits; then `instead` says what would, and what works anyway."""

    use: Use
    machine: Machine
    pick: Candidate | None
    reasons: tuple[str, ...]
    runner_up: Candidate | None
    trade: str
    instead: str

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "use": self.use,
            "machine": self.machine.as_json(),
            "model": self.pick.entry.id if self.pick else None,
            "quant": self.pick.quant.name if self.pick else None,
            "pick": self.pick.as_json() if self.pick else None,
            "reasons": list(self.reasons),
            "runner_up": self.runner_up.as_json() if self.runner_up else None,
            "trade": self.trade,
            "instead": self.instead,
        }


def recommend(
    entries: Iterable[Entry], machine: Machine, use: Use = "local", *, context: int | None = None
) -> Recommendation:
    """The best model of `entries` for `use` on `machine`.

    In order: it fits; it is done in the time that the use has; least is lost by its bits; its scores are higher where
    both were measured alike; it is quicker. Models without a dialect of ours, and for `private` those whose
    licence is restricted, stand back.
    """
    usable = [entry for entry in entries if not entry.is_built_in and _may(entry, use, context)]
    rows = candidates(usable, machine, use=use, context=context)
    fitting = [row for row in rows if row.plan is not None and not row.refused]
    if not fitting:
        return Recommendation(use, machine, None, (), None, "", _instead(rows, machine))
    ranked = _ranked(fitting, use)
    pick = ranked[0]
    runner_up = next((row for row in ranked if row.entry.id != pick.entry.id), None)
    trade = _trade(pick, runner_up) if runner_up else "no other model fits"
    reasons = (*_reasons(pick, use), *_too_slow(rows))
    return Recommendation(use, machine, pick, reasons, runner_up, trade, "")


def compare_scores(one: Entry, other: Entry) -> tuple[float, str]:
    """How much higher `one` scores than `other`, in points, by results of one kind: the same benchmark, scaffold and
    source where a third party ran both, else the same benchmark by their vendors. 0 and why where there are none."""
    pairs = [(a, b) for a in one.scores for b in other.scores if _alike(a, b)]
    third = [pair for pair in pairs if pair[0].said.by == "third party"]
    vendor = [pair for pair in pairs if pair[0].said.by == "vendor"]
    chosen = third or [pair for pair in vendor if pair[0].benchmark == _MAIN] or vendor
    if not chosen:
        return 0.0, "no result of one kind compares them"
    gap = sum(a.value - b.value for a, b in chosen) / len(chosen)
    a, _ = chosen[0]
    who = "by one third party" if third else "each by its vendor"
    return gap, f"{a.benchmark}, {who}"


def _alike(a: Score, b: Score) -> bool:
    if a.benchmark != b.benchmark or a.said.by != b.said.by:
        return False
    return a.said.by == "vendor" or (a.said.by == "third party" and a.said.source == b.said.source)


def _may(entry: Entry, use: Use, context: int | None) -> bool:
    if use == "private" and entry.licence not in FREE_LICENCES:
        return False
    return entry.window.native >= (context or (65_536 if use == "long-context" else 16_384))


def _ranked(fitting: list[Candidate], use: Use) -> list[Candidate]:
    """Best first. Of each model only its best quant counts. Where nothing is done in time, twice the quickest's is."""
    quickest = min(row.minutes for row in fitting)
    patience = max(MINUTES[use], 1.0)
    if quickest > patience:
        patience = _SLOWER * quickest
    best: dict[str, Candidate] = {}
    for row in fitting:
        known = best.get(row.entry.id)
        if known is None or _quant_key(row, patience) < _quant_key(known, patience):
            best[row.entry.id] = row
    rows = list(best.values())

    def key(row: Candidate) -> tuple[Any, ...]:
        wins = sum(compare_scores(row.entry, other.entry)[0] > 0 for other in rows)
        losses = sum(compare_scores(row.entry, other.entry)[0] < 0 for other in rows)
        window = row.plan.context if row.plan and use == "long-context" else 0
        foreign = row.entry.dialect == "template"
        return foreign, _late(row, patience), row.loss, -window, losses - wins, row.minutes

    return sorted(rows, key=key)


def _late(row: Candidate, patience: float) -> int:
    """0 where it is done in time; else how often its time has to be halved for that."""
    return max(0, math.ceil(math.log2(row.minutes / patience)))


def _quant_key(row: Candidate, patience: float) -> tuple[Any, ...]:
    """In time first, then without loss, the window, a published file, of K-quants where cores compute, the quicker."""
    assert row.plan is not None
    on_cores = row.plan.place == "cpu" and row.quant.name.startswith("IQ")
    return _late(row, patience), row.loss, -row.plan.context, not row.quant.published, on_cores, row.minutes


def _reasons(row: Candidate, use: Use) -> list[str]:
    made, entry = row.plan, row.entry
    assert made is not None
    found = [f"it fits: {made.described()}", f"{row.quant.name}, {row.quant.bits:.1f} bits a weight: {row.loss_words}"]
    main = [score for score in entry.scores if score.benchmark == _MAIN]
    if main:
        told = ", ".join(f"{score.value:g} % ({score.said.by}, {score.scaffold})" for score in main[:3])
        found.append(f"{_MAIN}: {told}")
    thinks = {"yes": "it thinks before each call, counted as three times the tokens", "no": "it does not think"}
    thinks["unknown"] = "whether it thinks is not known, and counted as if it did"
    words = thinks.get(entry.thinking, "it thinks where the request asks for it, which is not counted")
    late = "" if row.minutes <= MINUTES[use] else f", more than the {MINUTES[use]:.0f} that this use has patience for"
    found.append(f"about {row.minutes:.0f} minutes of computing for a typical issue{late}; {words}")
    if (why := entry.uses.get(use)) is not None:
        found.append(f"the catalogue for this use: {why}")
    if use == "private":
        found.append(f"its licence is {entry.licence}")
    return found


def _too_slow(rows: list[Candidate]) -> list[str]:
    """The models that fit and are refused for their speed alone, with the arithmetic: the two that come nearest."""
    usable = {row.entry.id for row in rows if row.plan is not None and not row.refused}
    found: dict[str, Candidate] = {}
    for row in sorted(rows, key=lambda row: row.minutes):
        if row.slow and row.plan is not None and row.entry.id not in usable:
            found.setdefault(row.entry.id, row)
    nearest = sorted(found.values(), key=lambda row: (row.quant.weights.read_per_token(), -row.entry.window.native))
    return [f"passed over: {row.entry.name} {row.quant.name}, since {row.refused}" for row in nearest[:2]]


def _trade(pick: Candidate, other: Candidate) -> str:
    gap, words = compare_scores(other.entry, pick.entry)
    parts = [f"{gap:+.1f} points ({words})" if gap else words]
    factor = other.minutes / pick.minutes
    if abs(factor - 1) < _SAME:
        parts.append("as many minutes")
    else:
        parts.append(f"{factor:.1f} times the minutes" if factor > 1 else f"{1 / factor:.1f} times quicker")
    assert pick.plan is not None
    assert other.plan is not None
    if other.plan.total != pick.plan.total:
        parts.append(f"{(other.plan.total - pick.plan.total) / GIB:+.1f} GiB of memory")
    if other.loss > pick.loss:
        parts.append(other.loss_words)
    if {other.entry.thinking, pick.entry.thinking} == {"yes", "no"}:
        parts.append("it thinks" if other.entry.thinking == "yes" else "it does not think")
    if other.entry.dialect == "template":
        parts.append("no dialect of its own here: calls are parsed, not valid by construction")
    return "; ".join(parts)


def _instead(rows: list[Candidate], machine: Machine) -> str:
    """What would fit: the least memory of any sensible choice, with its arithmetic."""
    room = capacity(machine)
    words = f"This machine can give a model {room.ram / GIB:.1f} GiB"
    words += f" of RAM and {room.vram / GIB:.1f} GiB of GPU memory." if room.vram and not room.unified else "."
    sensible = [row for row in rows if row.loss < 4 and not row.slow]
    if sensible:
        least = min(sensible, key=lambda row: row.needs)
        left = reserve(max(least.needs * 8 // 7, machine.memory_total))
        words += (
            f" The least that is sensible is {least.entry.name} {least.quant.name} ({least.quant.bytes / 1e9:.1f} GB), "
            f"which needs {least.needs / GIB:.1f} GiB beside {left / GIB:.1f} GiB for the system: a machine with "
            f"{math.ceil((least.needs + left) / GIB)} GiB or more."
        )
    return words + " The built-in model, Solder, works here: it mends small Python bugs and downloads nothing."
