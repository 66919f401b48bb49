"""`tinsmith log`: what happened in past runs."""

import json
from typing import Any

import click

from tinsmith.cli.answer import answer_with, as_json_option


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
                click.echo(f"{row['run']}  {row['status']:<11}  {row['model']}  {row['repo']}")
            if not rows:
                click.echo("No runs yet.")
        return {"rows": rows}, 0

    answer_with(work, as_json)


@log.command("show")
@click.argument("run")
def log_show(run: str) -> None:
    """The events of RUN, one JSON object a line."""

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith.events import RunStore

        for event in RunStore().open(run).events():
            click.echo(json.dumps(event, ensure_ascii=False))
        return {}, 0

    answer_with(work, False)
