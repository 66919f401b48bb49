"""The tables of docs/fit.md: what is recommended for twelve machines, with the arithmetic, and predictions beside
measurements. `python -m tinsmith.models.fit_table docs/fit.md` writes them between their marks.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple, get_args

from tinsmith.models.catalogue_entry import Use, entries
from tinsmith.models.fit_weights import quants_of
from tinsmith.models.gpu import gpu
from tinsmith.models.machine import Machine
from tinsmith.models.machine_profile import profiles
from tinsmith.models.plan import plan_for
from tinsmith.models.plan_memory import GIB, capacity
from tinsmith.models.recommendation import recommend

_SHORT = 512
"""Tokens in the window when the measurements below were taken, as far as they say."""


class Measurement(NamedTuple):
    """Tokens/s that somebody measured, lowest and highest, read and written; (0, 0) where it was not."""

    what: str
    machine: Machine
    model: str
    quant: str
    read: tuple[float, float]
    written: tuple[float, float]
    source: str


def measurements() -> list[Measurement]:
    """What others and we measured, with the machine as far as it is told."""
    server = profiles()["server-24gb"]

    def with_gpu(name: str, memory: int) -> Machine:
        return replace(profiles()["gpu24-ram64"], gpus=(gpu(name, memory * GIB, memory * GIB, "cuda"),))

    coder, devstral, q4 = "qwen3-coder-30b-a3b", "devstral-small-2-24b", "Q4_K_M"
    none = (0.0, 0.0)
    return [
        Measurement("2 cores, AVX2", server, coder, q4, (24, 24), (3.2, 4.2), "ours, by processor time"),
        Measurement(
            "Pi 5, 16 GB",
            profiles()["pi5-16gb"],
            coder,
            "Q3_K_S-2.69bpw",
            none,
            (8.03, 8.03),
            "ByteShape, sister model",
        ),
        Measurement("RTX 3090", with_gpu("RTX 3090", 24), devstral, q4, none, (33, 44), "users, partly estimated"),
        Measurement("RTX 4090", with_gpu("RTX 4090", 24), devstral, q4, none, (40, 50), "users, partly estimated"),
        Measurement(
            "RTX 5090",
            with_gpu("RTX 5090", 32),
            "qwen3.6-35b-a3b",
            "UD-Q4_K_M",
            (7700, 9200),
            (271, 271),
            "omegaprime669/rtx-5090-benchmarks",
        ),
        Measurement("RTX 5080", with_gpu("RTX 5080", 16), "gpt-oss-20b", "MXFP4", none, (190, 190), "users"),
        Measurement(
            "8 GB GPU, layers in RAM",
            profiles()["gpu8-ram32"],
            devstral,
            q4,
            (17, 17),
            (0.54, 0.54),
            "one log; its machine is not described",
        ),
    ]


def recommended_table() -> Iterator[str]:
    """Twelve machines, for local development: the pick and its memory."""
    yield "| machine | pick | weights + cache + buffers + process | of | window | tokens/s read, written | minutes |"
    yield "|---|---|---|---|---|---|---|"
    for host in profiles().values():
        title, found = host.sources["title"], recommend(entries().values(), host, "local")
        room = capacity(host)
        has = f"{room.ram / GIB:.1f}"
        if room.vram:
            has = f"GPU {room.vram / GIB:.1f}, {'all' if room.unified else 'RAM'} {has}"
        if found.pick is None or found.pick.plan is None:
            yield f"| {title} | nothing; Solder | {found.instead.split('. ')[1]} | {has} | | | |"
            continue
        pick, made = found.pick, found.pick.plan
        parts = []
        for name, share in (("GPU", made.vram), ("RAM", made.ram)):
            if share.total:
                terms = (share.weights, share.cache, share.compute, share.process)
                terms = tuple(term for term in terms if term)
                arithmetic = " + ".join(f"{term / GIB:.1f}" for term in terms)
                parts.append(f"{name} {arithmetic} = {share.total / GIB:.1f}")
        window = f"{made.context // 1024}K" + ("" if made.key == "f16" else f", {made.key}")
        speed = f"{made.speed.prefill:.0f}, {made.speed.decode:.0f}"
        yield (
            f"| {title} | `{pick.entry.id}` {pick.quant.name}, {made.where()} | {'; '.join(parts)} | {has} "
            f"| {window} | {speed} | {pick.minutes:.0f} |"
        )


def trade_table() -> Iterator[str]:
    """The same machines: what the runner-up would trade, and what is passed over."""
    yield "| machine | runner-up, and what it trades | passed over for its speed |"
    yield "|---|---|---|"
    for host in profiles().values():
        found = recommend(entries().values(), host, "local")
        if found.pick is None:
            continue
        other = found.runner_up
        trade = f"`{other.entry.id}` {other.quant.name}: {found.trade}" if other else found.trade
        passed = "; ".join(text.removeprefix("passed over: ") for text in found.reasons if text.startswith("passed"))
        yield f"| {host.sources['title']} | {trade} | {passed} |"


def use_table() -> Iterator[str]:
    """The pick for each machine and use."""
    uses: tuple[Use, ...] = get_args(Use)
    yield f"| machine | {' | '.join(uses)} |"
    yield "|---|" + "---|" * len(uses)
    for host in profiles().values():
        cells: list[str] = []
        for use in uses:
            pick = recommend(entries().values(), host, use).pick
            window = f", {pick.plan.context // 1024}K" if pick and pick.plan and use == "long-context" else ""
            cells.append(f"{pick.entry.id} {pick.quant.name}{window} ({pick.minutes:.0f})" if pick else "nothing")
        yield f"| {host.sources['title']} | {' | '.join(cells)} |"


def error_table() -> Iterator[str]:
    """Measured speeds beside predicted ones."""
    yield "| machine | model | measured read, written | predicted | error | who measured |"
    yield "|---|---|---|---|---|---|"
    for row in measurements():
        entry = entries()[row.model]
        quant = next(quant for quant in quants_of(entry) if quant.name == row.quant)
        assert entry.geometry is not None
        made = plan_for(entry.geometry, quant.weights, row.machine, _SHORT)
        assert made is not None
        measured, predicted, errors = [], [], []
        for (low, high), said in ((row.read, made.speed.prefill), (row.written, made.speed.decode)):
            if not high:
                continue
            measured.append(f"{low:g}" if low == high else f"{low:g} to {high:g}")
            predicted.append(f"{said:,.0f}" if said >= 100 else f"{said:.2g}")
            nearest = min(max(said, low), high)
            errors.append("within" if nearest == said else f"{said / nearest - 1:+.0%}")
        cells = (", ".join(measured), ", ".join(predicted), ", ".join(errors))
        yield f"| {row.what} | `{row.model}` {row.quant} | {' | '.join(cells)} | {row.source} |"


TABLES: Final = {"recommended": recommended_table, "trades": trade_table, "uses": use_table, "errors": error_table}


def written(text: str) -> str:
    """`text` with every table between its marks, `<!-- NAME -->` and `<!-- /NAME -->`, as it is now."""
    for name, lines in TABLES.items():
        before, opening, rest = text.partition(f"<!-- {name} -->\n")
        _, closing, after = rest.partition(f"<!-- /{name} -->")
        assert opening, f"the mark of {name} is missing"
        assert closing, f"the mark of {name} is missing"
        text = before + opening + "\n".join(lines()) + "\n" + closing + after
    return text


def main() -> None:
    """Writes the tables into the file named."""
    path = Path(sys.argv[1])
    path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
