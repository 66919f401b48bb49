"""`tinsmith doctor`."""

from typing import Any

import click

from tinsmith.cli.answer import answer_with, as_json_option


@click.command()
@as_json_option
def doctor(as_json: bool) -> None:
    """What is wrong on this machine, and the remedy; and which engine computes here."""

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith import engines, models, workspace
        from tinsmith.errors import InputError
        from tinsmith.resolve import engine_choice
        from tinsmith.settings import Settings

        rows: list[dict[str, Any]] = []
        choice, server = engines.EngineChoice(), ""
        try:
            settings = Settings.of_person()
            choice, endpoint = engine_choice(settings), models.find_endpoint(settings.model)
            server = endpoint.url if endpoint else ""
        except InputError as error:
            rows.append({"name": "settings", "ok": False, "detail": error.message, "remedy": error.remedy})
        rows += [check._asdict() for check in (*engines.checks(choice, server), *models.checks())]
        rows += [{**check, "name": check["check"]} for check in workspace.checks()]
        if not as_json:
            for row in rows:
                click.echo(f"{'ok  ' if row['ok'] else 'FAIL'}  {row['name']}: {row['detail']}")
                if not row["ok"]:
                    click.echo(f"      {row['remedy']}")
        return {"rows": rows}, 0 if all(row["ok"] for row in rows) else 3

    answer_with(work, as_json)
