"""`tinsmith doctor`."""

from typing import Any

import click

from tinsmith.cli.answer import answer_with, as_json_option


@click.command()
@as_json_option
def doctor(as_json: bool) -> None:
    """What is wrong on this machine, and the remedy."""

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith import engines, workspace

        rows: list[dict[str, Any]] = [check._asdict() for check in engines.checks()]
        rows += [{**check, "name": check["check"]} for check in workspace.checks()]
        if not as_json:
            for row in rows:
                click.echo(f"{'ok  ' if row['ok'] else 'FAIL'}  {row['name']}: {row['detail']}")
                if not row["ok"]:
                    click.echo(f"      {row['remedy']}")
        return {"rows": rows}, 0 if all(row["ok"] for row in rows) else 3

    answer_with(work, as_json)
