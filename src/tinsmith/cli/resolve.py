"""`tinsmith resolve`."""

import os
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from tinsmith.cli.answer import answer_with, as_json_option, error_row
from tinsmith.cli.interrupt import Interruptible
from tinsmith.cli.runs import find_run
from tinsmith.errors import InputError

_EXIT_CODES = {"resolved": 0, "unresolved": 1, "unverified": 4, "error": 5, "interrupted": 130}
_MAX_ISSUE_BYTES = 1 << 20


@click.command()
@click.option("--repo", metavar="DIR", default=".", help="The checkout, or a package in it.  [default: here]")
@click.option("--issue", "issue_file", metavar="FILE", help="A file with the issue; - for stdin.")
@click.option("--issue-text", metavar="TEXT", help="The issue itself.")
@click.option("--resume", metavar="RUN", help="Go on with an interrupted run, as it was asked for.")
@click.option("--model", metavar="MODEL", help="A catalogue id, a GGUF file or a base URL.  [default: solder]")
@click.option("--python", metavar="PYTHON", help="The interpreter that runs the tests.  [default: the environment's]")
@click.option("--test-command", metavar="COMMAND", help="How the tests are run.  [default: PYTHON -m pytest]")
@click.option("--package", metavar="DIR", help="Run the tests in this directory, named from the checkout's top.")
@click.option(
    "--attempts", metavar="N", help="Tries the tests choose the best of; they share the limits.  [default: 1]"
)
@click.option("--seed", metavar="N", help="Makes a run exact to repeat.  [default: 1]")
@click.option("--context", metavar="N", help="The context window in tokens.  [default: the model's or the server's]")
@click.option("--dialect", metavar="NAME", help="How the model writes calls.  [default: auto, as the model says]")
@click.option("--max-turns", metavar="N", help="[default: 60]")
@click.option("--max-test-runs", metavar="N", help="Test runs after an edit.  [default: 20]")
@click.option("--max-seconds", metavar="N", help="Wall clock of the whole run.  [default: 3600]")
@click.option("--max-tokens", metavar="N", help="Tokens read and written.  [default: 2000000]")
@click.option("--test-timeout", metavar="N", help="Seconds of one test run.  [default: 300]")
@click.option(
    "--approve-sensitive", is_flag=True, help="A branch also where the patch touches CI files, hooks and their like."
)
@click.option("--sandbox", type=click.Choice(["bubblewrap", "landlock"]), help="[default: bubblewrap]")
@click.option("--unsafe-no-sandbox", is_flag=True, help="Run tests and commands as you, with your files and network.")
@as_json_option
@click.pass_context
def resolve(
    command: click.Context,
    repo: str,
    issue_file: str | None,
    issue_text: str | None,
    resume: str | None,
    approve_sensitive: bool,
    unsafe_no_sandbox: bool,
    as_json: bool,
    **flags: str | None,
) -> None:
    """Turn an issue into a tested branch, patch and pull-request text.

    Your work tree, index and HEAD are not touched: the result is the branch tinsmith/<slug>. Settings come from these
    flags, the environment, the repository's tinsmith.toml and your own file, in that order. A llama-server on PATH, or
    the one that TINSMITH_LLAMA_SERVER names, computes in the place of the built-in llama.cpp.
    """

    if unsafe_no_sandbox:
        flags["sandbox"] = "none"

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith.events import RunStore
        from tinsmith.resolve import resolve as start
        from tinsmith.resolve import resume as go_on

        with Interruptible() as terminal:
            if resume is not None:
                _check_alone(command)
                result = go_on(find_run(RunStore(), resume).run, terminal.say)
            else:
                result = start(
                    _request(repo, _issue(issue_file, issue_text), flags, approve_sensitive, terminal), terminal.say
                )
        answer = result.as_json()
        code = _EXIT_CODES[result.status]
        if result.error is not None:
            answer["error"] = error_row(result.error)
            code = result.error.exit_code
        elif result.status == "interrupted":
            remedy = f"Go on with it: tinsmith resolve --resume {result.run}"
            answer["error"] = {"code": "interrupted", "message": "Interrupted; the run is kept.", "remedy": remedy}
        if not as_json:
            _show_result(answer)
        return answer, code

    answer_with(work, as_json)


def _request(
    repo: str, issue: str, flags: dict[str, str | None], approve_sensitive: bool, terminal: Interruptible
) -> Any:
    from tinsmith.agent import Limits
    from tinsmith.resolve import Request
    from tinsmith.settings import SETTINGS, Settings

    place = Path(os.path.abspath(repo))
    settings = Settings.load(place, flags)
    for file in sorted({source for source in settings.sources.values() if source.endswith(".toml")}):
        names = ", ".join(name for name in SETTINGS if settings.sources[name] == file)
        terminal.say(f"{file} sets {names}")
    return Request(
        repo=place,
        issue=issue,
        model=settings.model,
        python=settings.python,
        test_command=settings.test_command,
        package=settings.package,
        seed=settings.seed,
        attempts=settings.attempts,
        limits=Limits(settings.max_turns, settings.max_test_runs, float(settings.max_seconds), settings.max_tokens),
        test_timeout=float(settings.test_timeout),
        agents_tokens=settings.agents_tokens,
        context=settings.context,
        dialect=settings.dialect,
        approve_sensitive=approve_sensitive,
        sandbox=settings.sandbox,
    )


def _check_alone(context: click.Context) -> None:
    """A run goes on as it was asked for: no other option can change it."""
    given = [
        name
        for name in context.params
        if name not in ("resume", "as_json") and context.get_parameter_source(name) != ParameterSource.DEFAULT
    ]
    if given:
        flags = ", ".join(f"--{'issue' if name == 'issue_file' else name.replace('_', '-')}" for name in given)
        raise InputError(
            "resume_alone", f"--resume takes no {flags}: a run goes on as it was asked for.", "Give --resume alone."
        )


def _issue(file: str | None, text: str | None) -> str:
    if (file is None) == (text is None):
        raise InputError("no_issue", "Give the issue once.", "Use --issue FILE (or - for stdin) or --issue-text TEXT.")
    if text is not None:
        return text
    try:
        if file == "-":
            content = sys.stdin.buffer.read(_MAX_ISSUE_BYTES + 1)
        else:
            with Path(str(file)).open("rb") as stream:
                content = stream.read(_MAX_ISSUE_BYTES + 1)
        if len(content) > _MAX_ISSUE_BYTES:
            raise OSError(f"it is longer than {_MAX_ISSUE_BYTES} bytes")
        return content.decode()
    except (OSError, ValueError) as error:
        raise InputError("issue_unreadable", f"Cannot read {file}: {error}.", "Name a UTF-8 text file.") from error


def _show_result(answer: dict[str, Any]) -> None:
    click.echo(f"{answer['status']}: {answer['reason']}")
    for name in ("branch", "patch", "pull_request", "report"):
        if answer[name]:
            click.echo(f"{name.replace('_', ' ')}: {answer[name]}")
