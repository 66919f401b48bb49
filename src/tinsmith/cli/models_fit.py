"""`tinsmith models fit` and `recommend`: does it fit this machine, or another, and which one to take."""

from typing import TYPE_CHECKING, Any

import click

from tinsmith.cli.answer import answer_with, as_json_option, progress
from tinsmith.cli.table import paragraph, table, width

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinsmith.models import Candidate, Machine, Recommendation

USES = ("local", "edge", "issues", "cli", "private", "long-context")
_ROWS = 12
"""Rows that are shown of a model; --json has all."""

_machine = click.option("--machine", metavar="NAME|FILE", help="Another machine: a profile or a TOML file.")
_no_measure = click.option("--no-measure", is_flag=True, help="Do not measure this machine's speed, which takes 2 s.")
_context = click.option("--context", metavar="N", type=click.IntRange(1024), help="The window in tokens.")


@click.command()
@click.argument("model", metavar="[MODEL]", required=False)
@_context
@click.option("--for", "use", type=click.Choice(USES), help="What it is for: decides the window.")
@_machine
@_no_measure
@as_json_option
def fit(model: str | None, context: int | None, use: Any, machine: str | None, no_measure: bool, as_json: bool) -> None:
    """How MODEL would run here, or each model of the catalogue.

    MODEL is an id of the catalogue, or a GGUF file by its path, by its name in the store, or by an http(s) URL of which
    only the header is fetched. Shown are quant, window, what lies on the GPU and in RAM, memory, tokens per second read
    and written, and minutes of computing for a typical issue; what may be recommended comes first.
    """

    def work() -> tuple[dict[str, Any], int]:
        host = _host(machine, no_measure)
        rows = _rows(model, host, use, context)
        if not as_json:
            click.echo(paragraph(f"{host.name}: {host.described()}."))
            click.echo()
            for line in _fitted(rows, one=model is not None):
                click.echo(line)
        answer: dict[str, Any] = {"machine": host.as_json(), "rows": [row.as_json() for row in rows]}
        return answer, 0

    answer_with(work, as_json)


@click.command()
@_context
@click.option("--for", "use", type=click.Choice(USES), default="local", show_default=True, help="What it is for.")
@_machine
@_no_measure
@as_json_option
def recommend(context: int | None, use: Any, machine: str | None, no_measure: bool, as_json: bool) -> None:
    """Which model to take on this machine, why, and what the runner-up would trade."""

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith.errors import MachineError
        from tinsmith.models import entries
        from tinsmith.models import recommend as choose

        host = _host(machine, no_measure)
        found = choose(entries().values(), host, use, context=context)
        if found.pick is None:
            remedy = "Take a machine like that, a smaller --context, or the built-in model: leave --model out."
            raise MachineError("nothing_fits", found.instead, remedy)
        if not as_json:
            for line in _recommended(found):
                click.echo(line)
        return found.as_json(), 0

    answer_with(work, as_json)


def _host(name: str | None, no_measure: bool) -> "Machine":
    from tinsmith.events import default_state_dir
    from tinsmith.models import find_profile, this_machine

    if name is not None:
        return find_profile(name)
    state_dir = default_state_dir()
    known = this_machine(state_dir=state_dir)
    if no_measure or known.sources["bandwidth"] == "measured":
        return known
    progress("measuring this machine for 2 s")
    return this_machine(state_dir=state_dir, may_measure=True)


def _rows(model: str | None, host: "Machine", use: Any, context: int | None) -> "list[Candidate]":
    from pathlib import Path

    from tinsmith.errors import InputError
    from tinsmith.models import Store, candidates, entries, entry_named, file_candidate, find_entry

    if model is None:
        usable = [entry for entry in entries().values() if not entry.is_built_in]
        return candidates(usable, host, use=use, context=context)
    if "://" in model or Path(model).is_file():
        return [file_candidate(model, host, context)]
    if entry_named(model) is None and (stored := Store().find(model)) is not None:
        return [file_candidate(stored.path, host, context)]
    entry = find_entry(model)
    rows = candidates([entry], host, use=use, context=context)
    if not rows and entry.geometry is not None:
        words = f"{entry.name} has a window of {entry.window.native} tokens"
        raise InputError("context_too_long", words, "Ask for a smaller --context.")
    if not rows:
        words = f"the shape of {entry.name} is not known, so nothing can be said of its memory"
        raise InputError("shape_unknown", words, "Give the path or the URL of its GGUF file: its header says it.")
    return rows


def _fitted(rows: "list[Candidate]", *, one: bool) -> "Iterator[str]":
    from tinsmith.models import gives_way

    best: list[Candidate] = []
    for row in rows:
        if one or all(row.entry.id != other.entry.id for other in best):
            best.append(row)
    head = ("quant" if one else "model, quant", "memory", "window", "read/s", "write/s", "min.", "where; why not")
    columns = (15 if one else 21, 9, 6, 6, 7, 5)
    place = width() - sum(columns) - 2 * len(columns)
    yield from table(head, [_cells(row, one) for row in best[:_ROWS]], (*columns, place))
    if len(best) > _ROWS:
        yield f"({len(best) - _ROWS} more: --json)"
    if one and rows and (said := gives_way(rows[0])):
        yield ""
        yield "What gives way first where memory gets short:"
        yield from (paragraph(text, "  - " if number < 0 else "    ", "  - ") for number, text in enumerate(said))
    yield ""
    yield paragraph(
        "Memory in GiB, on GPU + in RAM; tokens per second with 8K tokens in the window; minutes of computing for a "
        "typical issue, without tests. All are predictions: docs/fit.md has the arithmetic and its errors."
    )


def _cells(row: "Candidate", one: bool) -> list[str]:
    name = row.quant.name if one else f"{row.entry.id} {row.quant.name}"
    made = row.plan
    if made is None:
        return [name, f"{row.needs / (1 << 30):.1f}", "", "", "", "", f"does not fit: {row.refused}"]
    memory = f"{made.ram.total / (1 << 30):.1f}"
    if made.vram.total:
        memory = f"{made.vram.total / (1 << 30):.1f}+{memory}"
    where = made.where() + (f"; not recommended: {row.refused}" if row.refused else "")
    window = f"{made.context // 1024}K" + (" q8" if made.key == "q8_0" else "")
    speed = made.speed
    return [name, memory, window, f"{speed.prefill:.0f}", f"{speed.decode:.1f}", f"{row.minutes:.0f}", where]


def _recommended(found: "Recommendation") -> "Iterator[str]":
    from tinsmith.models import gives_way

    pick = found.pick
    assert pick is not None
    yield f"{pick.entry.name}, {pick.quant.name} ({pick.quant.bytes / 1e9:.1f} GB)"
    yield from (paragraph(text, "    ", "  - ") for text in found.reasons)
    if found.runner_up is not None:
        other = found.runner_up
        yield paragraph(f"Runner-up: {other.entry.name}, {other.quant.name}: {found.trade}.", "    ", "")
    yield "What gives way first where memory gets short:"
    yield from (paragraph(text, "    ", "  - ") for text in gives_way(pick))
    yield paragraph(f"Get it: tinsmith models pull {pick.entry.id} --quant {pick.quant.name}", "    ", "")
