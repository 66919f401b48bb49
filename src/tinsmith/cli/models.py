"""`tinsmith models`: which model, does it fit, get it."""

import click

from tinsmith.cli.models_catalogue import compare, list_models, show
from tinsmith.cli.models_fit import fit, recommend
from tinsmith.cli.models_store import STORE_COMMANDS


@click.group()
def models() -> None:
    """Which model, does it fit, get it.

    MODEL is an id of the catalogue (`tinsmith models list`), or what a file, a server or Ollama calls it.
    """


for _command in (list_models, show, compare, fit, recommend, *STORE_COMMANDS):
    models.add_command(_command)
