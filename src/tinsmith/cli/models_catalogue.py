"""`tinsmith models list`, `show` and `compare`: what the catalogue knows, and who says so."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinsmith.cli.answer import answer_with, as_json_option
from tinsmith.cli.table import paragraph, table, width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tinsmith.models import Claim, Entry

_LABEL, _WIDE_LABEL = 17, 22
_AT_ONCE = 3
"""Models beside each other in one table."""


@click.command("list")
@as_json_option
def list_models(as_json: bool) -> None:
    """The models of the catalogue."""

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith.models import entries, listed

        rows = [listed(entry) for entry in entries().values()]
        if not as_json:
            head = ("model", "parameters", "context", "KV/token", "file", "licence")
            texts = [_listed(row) for row in rows]
            for line in table(head, texts, (21, 13, 7, 9, 8, 12)):
                click.echo(line)
            click.echo()
            click.echo(
                paragraph(
                    "The file is that of the quant it is usually taken in. `tinsmith models show MODEL` tells all of "
                    "one and who says it, `tinsmith models compare A B` sets models beside each other."
                )
            )
        return {"rows": rows}, 0

    answer_with(work, as_json)


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--markdown", is_flag=True, help="The tables in Markdown.")
@as_json_option
def compare(models: tuple[str, ...], markdown: bool, as_json: bool) -> None:
    """Models beside each other, and what is wrongly said of them."""

    def work() -> tuple[dict[str, Any], int]:
        from dataclasses import asdict

        from tinsmith.models import claims_about, comparison_markdown, described, find_entry

        found = list({entry.id: entry for entry in map(find_entry, models)}.values())
        claims = claims_about(*(entry.id for entry in found))
        if not as_json:
            for line in [comparison_markdown(found)] if markdown else _compared(found, claims):
                click.echo(line)
        return {"rows": [described(entry) for entry in found], "claims": [asdict(claim) for claim in claims]}, 0

    answer_with(work, as_json)


@click.command()
@click.argument("model", metavar="MODEL")
@as_json_option
def show(model: str, as_json: bool) -> None:
    """All of one MODEL: an entry of the catalogue, or what the header of a GGUF file says.

    A file is given by its path, by an http(s) URL, of which only the header is fetched, or by its name in the store.
    """

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith.models import Store, described, entry_named, facts_of_file, find_entry

        stored = None
        if "://" not in model and not Path(model).is_file() and not model.endswith(".gguf"):
            if entry_named(model) is None and (stored := Store().find(model)) is None:
                find_entry(model)  # raises, with names like it
            if stored is None:
                entry = find_entry(model)
                if not as_json:
                    for line in _shown(entry):
                        click.echo(line)
                return described(entry), 0
        facts = facts_of_file(str(stored.path) if stored else model)
        if not as_json:
            for label, text in facts.lines():
                click.echo(_labelled(label, text))
        return facts.as_json(), 0

    answer_with(work, as_json)


def _listed(row: dict[str, Any]) -> list[str]:
    from tinsmith.models import gigabytes

    total, active = row["parameters"], row["parameters_active"]
    count = f"{total / 1e9:.1f}B" if total and total >= 1e8 else f"{(total or 0) / 1e6:.1f}M"
    if active and active < 0.8 * total:
        count += f" A{active / 1e9:.1f}B"
    context, kept = row["context_length"], row["kv_bytes_per_token"]
    return [
        row["id"],
        count,
        f"{context // 1024}K" if context else "?",
        f"{kept / 1024:.4g} KiB" if kept else "?",
        gigabytes(row["usual_bytes"]) if row["usual_bytes"] else "?",
        row["licence"],
    ]


def _compared(found: "Sequence[Entry]", claims: "Sequence[Claim]") -> "Iterator[str]":
    from tinsmith.models import LEGEND, comparison

    for start in range(0, len(found), _AT_ONCE):
        group = found[start : start + _AT_ONCE]
        column = (width() - _LABEL - 2 * len(group)) // len(group)
        rows = [[label, *cells] for label, cells in comparison(group)]
        yield from table(["", *(entry.id for entry in group)], rows, [_LABEL, *[column] * len(group)])
        yield ""
    yield paragraph(
        f"{LEGEND}. Scores of different scaffolds cannot be compared: one model has 31.8 and 50.3. Memory is weights, "
        "cache (f16) and buffers, wherever they lie; files in GB (10^9), memory in GiB (2^30)."
    )
    yield from _claims(claims)


def _shown(entry: "Entry") -> "Iterator[str]":
    from tinsmith.models import LEGEND, MARKS, claims_about, comparison, gigabytes, quant_sizes

    yield f"{entry.name} ({entry.id}), {entry.vendor}"
    yield paragraph(entry.summary)
    yield ""
    indent = " " * (_WIDE_LABEL + 2)
    for label, cells in comparison([entry]):
        yield _labelled(label, cells[0])
    if entry.run.sampling_note:
        yield paragraph(entry.run.sampling_note, indent)
    yield ""
    yield "Quants"
    usual = entry.hubs[0].repository if entry.hubs else ""
    for name, size in quant_sizes(entry).items():
        place = entry.quants.get(name)
        told = "" if size.exact or size.by == "computed" else ", rounded"
        where = f", {place.repository}" if place is not None and place.repository not in ("", usual) else ""
        yield paragraph(f"{name:<16} {gigabytes(size.bytes):>9}  [{MARKS[size.by]}{told}]{where}", " " * 6, "  ")
    ollama = [f"Ollama: {', '.join(entry.ollama)}"] if entry.ollama else []
    for title, texts in (
        ("Where", [*(f"hub: {hub.repository}" for hub in entry.hubs), *ollama]),
        ("Good for", [f"{use}: {why}" for use, why in entry.uses.items()]),
        ("Traps", [f"{trap.text} ({trap.source})" for trap in entry.traps]),
    ):
        if texts:
            yield ""
            yield title
            yield from (paragraph(text, "    ", "  - ") for text in texts)
    yield ""
    yield paragraph(f"{LEGEND}.")
    yield from _claims(claims_about(entry.id))


def _labelled(label: str, text: str) -> str:
    return paragraph(text, " " * (_WIDE_LABEL + 2), f"{label:<{_WIDE_LABEL}}  ")


def _claims(claims: "Sequence[Claim]") -> "Iterator[str]":
    if claims:
        yield ""
        yield "What is said, and what is true"
    for claim in claims:
        yield paragraph(f"{claim.claim} {claim.verdict.upper()}.", "    ", "  - ")
        yield paragraph(claim.truth, "    ")
