"""`tinsmith log`, `apply`, `undo`, `clean`: what is left of past runs."""

import json
import os
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from tinsmith.cli.answer import answer_with, as_json_option
from tinsmith.errors import InputError

if TYPE_CHECKING:
    from tinsmith.events import RunLog, RunStore


def find_run(store: "RunStore", typed: str) -> "RunLog":
    """The run that a person means: its name, the beginning of one name only, or `last`.

    Raises InputError `unknown_run`, `ambiguous_run`.
    """
    names = sorted(name for name in os.listdir(store.runs) if name[:1].isdigit()) if store.runs.is_dir() else []
    if typed == "last" and names:
        return store.open(names[-1])
    meant = [name for name in names if typed and name.startswith(typed)]
    if len(meant) > 1 and typed not in meant:
        raise InputError(
            "ambiguous_run", f"{typed!r} begins {len(meant)} runs: {', '.join(meant[:5])}", "Type more of the name."
        )
    return store.open(meant[0] if len(meant) == 1 else typed)


@click.group()
def log() -> None:
    """What happened in past runs."""


@log.command("list")
@as_json_option
def log_list(as_json: bool) -> None:
    """The runs, the latest last."""

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith.events import RunStore

        rows = list(RunStore().list())
        if not as_json:
            for row in rows:
                # A damaged log says neither model nor repository.
                click.echo(f"{row['run']}  {row['status']:<11}  {row['model'] or '?'}  {row['repo'] or '?'}")
            if not rows:
                click.echo("No runs yet.")
        return {"rows": rows}, 0

    answer_with(work, as_json)


@log.command("show")
@click.argument("run")
def log_show(run: str) -> None:
    """The events of RUN, one JSON object a line, without secrets.

    RUN is a run's name, the beginning of it, or `last`.
    """

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith.events import RunStore, redact_event

        for event in find_run(RunStore(), run).events():
            click.echo(json.dumps(redact_event(event), ensure_ascii=False).encode("utf-8", "replace").decode())
        return {}, 0

    answer_with(work, False)


@click.command()
@click.argument("run")
@click.option("--approve-sensitive", is_flag=True, help="Also changes to CI files, hooks and what else acts by itself.")
@as_json_option
def apply(run: str, approve_sensitive: bool, as_json: bool) -> None:
    """Put the patch of RUN into the work tree, all of it or nothing.

    Your own changes stay where the patch fits; index and HEAD are not touched. RUN is a run's name, the beginning of
    it, or `last`.
    """

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith.resolve import after_run

        return _changed(partial(after_run.apply, approve_sensitive=approve_sensitive), run, "applied", as_json)

    answer_with(work, as_json)


@click.command()
@click.argument("run")
@as_json_option
def undo(run: str, as_json: bool) -> None:
    """Take the patch of RUN out of the work tree again.

    Refused where the files have changed since `apply`. RUN is a run's name, the beginning of it, or `last`.
    """

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith.resolve import after_run

        return _changed(after_run.undo, run, "undone", as_json)

    answer_with(work, as_json)


def _changed(change: Callable[["RunLog"], tuple[str, ...]], run: str, word: str, as_json: bool) -> tuple[Any, int]:
    from tinsmith.events import RunStore, redact

    log = find_run(RunStore(), run)
    paths = [redact(path) for path in change(log)]
    if not as_json:
        for path in paths:
            click.echo(f"{word}: {path}")
    return {"run": log.run, word: paths}, 0


@click.command()
@click.option("--keep", metavar="N", type=click.IntRange(0), default=0, help="Keep the N newest of them.")
@click.option("--older-than", metavar="DAYS", type=click.FloatRange(0, 36500), help="Only what began before that.")
@click.option(
    "--run", "runs", metavar="RUN", multiple=True, help="Just this run, whatever its status; may be repeated."
)
@click.option("--all", "every", is_flag=True, help="Also runs that could be resumed.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@as_json_option
def clean(
    keep: int, older_than: float | None, runs: tuple[str, ...], every: bool, dry_run: bool, as_json: bool
) -> None:
    """Delete runs that have ended, with their copies, logs and patches.

    Branches stay. A running run never goes, nor, unless named, one that was interrupted or failed: it can be resumed.
    """

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith.events import RunStore
        from tinsmith.resolve import cleaning

        if runs and (keep or older_than is not None or every):
            raise InputError(
                "clean_options", "--run says which runs go; the other choices are for all.", "Give --run alone."
            )
        store = RunStore()
        cleaned = cleaning.clean(
            store,
            keep=keep,
            older_than=None if older_than is None else timedelta(days=older_than),
            named=[find_run(store, run).run for run in runs],
            every=every,
            dry_run=dry_run,
        )
        if not as_json:
            for run in cleaned.removed:
                click.echo(f"{'would go' if dry_run else 'removed'}: {run}")
            click.echo(f"{len(cleaned.removed)} runs, {cleaned.bytes / 1e6:.1f} MB")
        return {"removed": list(cleaned.removed), "bytes": cleaned.bytes}, 0

    answer_with(work, as_json)
