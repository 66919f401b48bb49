"""How a command answers: text or one JSON object, errors with their remedy, the exit code by cause."""

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from tinsmith.errors import TinsmithError

as_json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object as the last line of stdout."
)


def answer_with(work: Callable[[], tuple[dict[str, Any], int]], as_json: bool) -> None:
    """Runs a command and ends the process by its exit code; with `--json` failures too are one JSON object."""
    try:
        answer, code = work()
    except TinsmithError as error:
        answer, code = {"error": error_row(error)}, error.exit_code
    except KeyboardInterrupt:
        message = {"code": "interrupted", "message": "Interrupted.", "remedy": "Run the command again."}
        answer, code = {"error": message}, 130
    if as_json:
        click.echo(json.dumps(answer))
    if "error" in answer:
        click.echo(f"tinsmith: {answer['error']['message']}\n{answer['error']['remedy']}", err=True)
    sys.exit(code)


def error_row(error: TinsmithError) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "remedy": error.remedy}


def progress(line: str) -> None:
    """One line of progress, to stderr."""
    click.echo(line, err=True)
