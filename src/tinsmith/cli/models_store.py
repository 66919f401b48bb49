"""`tinsmith models pull`, `import`, `verify`, `path`, `remove`, `gc`: the models on this machine."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tinsmith.cli.answer import answer_with, as_json_option, progress
from tinsmith.cli.progress_line import ProgressLine, described

if TYPE_CHECKING:
    from tinsmith.models import Entry, FileCheck, Sources, Store, StoredModel
    from tinsmith.settings import Settings


@click.command()
@click.argument("model")
@click.option("--quant", metavar="QUANT", default="", help="Which quantisation; else the one that suits this machine.")
@click.option("--name", metavar="NAME", default="", help="What to call it; else after its id or its file.")
@as_json_option
def pull(model: str, quant: str, name: str, as_json: bool) -> None:
    """Download MODEL into the store, or go on with a download that was stopped.

    MODEL is an id of `tinsmith models list`, hf:OWNER/REPO[:QUANT or FILE], ollama:NAME[:TAG], a URL, or a GGUF file,
    which is copied. The sha256 is checked before the model can be used.
    """

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith import models
        from tinsmith.settings import Settings

        store = models.Store()
        if Path(model).expanduser().is_file():
            stored = store.add_file(Path(model), name)
            return _added(stored, as_json), 0
        with ProgressLine(model) as line:
            wanted = models.locate(
                model, _sources(Settings.of_person()), quant=quant, choose_quant=_suitable_quant, say=line.say
            )
            size = f" ({described(wanted.bytes)})" if wanted.bytes >= 0 else ""
            line.say(f"{wanted.source}{size}")
            try:
                stored = models.pull(
                    store,
                    wanted,
                    name=name,
                    say=line.say,
                    progress=lambda now: line.show(now.bytes, now.total, now.rate),
                )
            except KeyboardInterrupt:
                line.say("Stopped. What came is kept: the same command goes on with it.")
                raise
        return _added(stored, as_json), 0

    answer_with(work, as_json)


@click.command("import")
@click.argument("what", metavar="[NAME|PATH]", required=False)
@click.option("--name", metavar="NAME", default="", help="What to call it; else as it is called where it is.")
@as_json_option
def import_(what: str | None, name: str, as_json: bool) -> None:
    """Use a model where it is, without a copy: a GGUF file, or what another program has downloaded.

    Without NAME: list what Ollama, LM Studio, llama.cpp and the Hugging Face cache hold.
    """

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith import models

        if what is not None:
            return _added(models.import_model(models.Store(), what, name), as_json), 0
        found = models.foreign_models()
        if not as_json:
            for model in found:
                click.echo(f"{model.holder:<12} {described(model.bytes):>10}  {model.name}")
            click.echo("`tinsmith models import NAME` uses one where it is." if found else "No model was found.")
        rows = [
            {
                "holder": model.holder,
                "name": model.name,
                "path": str(model.path),
                "bytes": model.bytes,
                "sha256": model.sha256 or None,
            }
            for model in found
        ]
        return {"rows": rows}, 0

    answer_with(work, as_json)


@click.command()
@click.argument("names", metavar="[MODEL]...", nargs=-1)
@as_json_option
def verify(names: tuple[str, ...], as_json: bool) -> None:
    """Read every byte of MODEL, or of all stored models, and compare its sha256. Exit 3 where a file is bad."""

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith import models

        store = models.Store()
        rows: list[dict[str, Any]] = []
        for stored in [store.get(name) for name in names] or store.models():
            checks = _checked(store, stored)
            for check in checks:
                rows.append(
                    {"name": stored.name, "path": str(check.path), "ok": not check.problem, "problem": check.problem}
                )
                if not as_json:
                    click.echo(f"{'BAD ' if check.problem else 'ok  '}  {check.path}")
                    if check.problem:
                        click.echo(f"      {check.problem}")
        bad = sorted({row["name"] for row in rows if not row["ok"]})
        if bad and not as_json:
            click.echo(f"`tinsmith models remove {bad[0]}`, then pull or import it again.")
        return {"rows": rows}, 3 if bad else 0

    answer_with(work, as_json)


@click.command()
@click.argument("model")
@as_json_option
def path(model: str, as_json: bool) -> None:
    """Print the path of MODEL's file; of a split model that of its first part."""

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith import models

        found = models.find_model(model).path
        if not as_json:
            click.echo(str(found))
        return {"path": str(found)}, 0

    answer_with(work, as_json)


@click.command()
@click.argument("name")
@as_json_option
def remove(name: str, as_json: bool) -> None:
    """Take the stored model NAME away. A file that was imported in place stays where it is."""

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith import models

        store = models.Store()
        removed = store.remove(name)
        stays = removed.path.exists()
        if not as_json:
            words = "imported" if removed.in_place else "under another name too"
            click.echo(f"removed: {removed.name}{f' ({removed.path} stays: {words})' if stays else ''}")
        return removed.row() | {"file_stays": stays}, 0

    answer_with(work, as_json)


@click.command()
@click.option("--partial", is_flag=True, help="Also unfinished downloads that could still be resumed.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@as_json_option
def gc(partial: bool, dry_run: bool, as_json: bool) -> None:
    """Delete what no model uses: files without a name, downloads that nobody went on with for a week."""

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith import models

        store = models.Store()
        gone = store.collect(0.0, dry_run=dry_run) if partial else store.collect(dry_run=dry_run)
        if not as_json:
            for place in gone.paths:
                click.echo(f"{'would go' if dry_run else 'deleted'}: {place}")
            click.echo(f"{described(gone.bytes)} {'would be' if dry_run else 'were'} freed")
        return {"removed": [str(place) for place in gone.paths], "bytes": gone.bytes}, 0

    answer_with(work, as_json)


STORE_COMMANDS = (pull, import_, verify, path, remove, gc)


def _added(stored: "StoredModel", as_json: bool) -> dict[str, Any]:
    if not as_json:
        click.echo(f"{stored.name}  {described(stored.bytes)}  {stored.path}")
        click.echo(f"Use it with --model {stored.name}.")
    return stored.row()


def _checked(store: "Store", stored: "StoredModel") -> "tuple[FileCheck, ...]":
    began, read = time.monotonic(), 0
    with ProgressLine(stored.name) as line:

        def count(more: int) -> None:
            nonlocal read
            read += more
            line.show(read, stored.bytes, read / max(time.monotonic() - began, 1e-3))

        return store.verify(stored, count)


def _sources(settings: "Settings") -> "Sources":
    from tinsmith import models

    hub = models.Hub(settings.hub, settings.hub_token)
    return models.Sources(hub, settings.ollama_registry, settings.offline)


def _suitable_quant(entry: "Entry") -> str | None:
    """The quant that suits this machine, and says so; None where none fits."""
    from tinsmith import models

    pick = models.recommend([entry], models.this_machine()).pick
    quant = pick.quant.name if pick else models.usual_quant(entry)
    if quant:
        why = "suits this machine" if pick else "is the usual one, though nothing of this model fits here"
        progress(f"{entry.name}: {quant} {why} (--quant names another)")
    return quant
