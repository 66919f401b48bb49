"""`tinsmith`: what the person typed, and how the answer is shown. Every command imports its room when it runs."""

import signal

import click

from tinsmith import __version__
from tinsmith.cli.doctor import doctor
from tinsmith.cli.models import models
from tinsmith.cli.resolve import resolve
from tinsmith.cli.runs import apply, clean, log, undo
from tinsmith.cli.sandbox import sandbox


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tinsmith")
def cli() -> None:
    """Resolve issues in your repository with a small coding model on your own machine.

    Nothing leaves the computer. Exit codes: 0 done and verified, 1 not solved, 2 bad input, 3 the machine lacks
    something, 4 done but unverified, 5 the engine failed, 130 interrupted.
    """


for _command in (resolve, apply, undo, clean, log, doctor, sandbox, models):
    cli.add_command(_command)


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _interrupt)
    cli.main(prog_name="tinsmith")


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
