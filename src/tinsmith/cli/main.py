"""`tinsmith`: what the person typed, and how the answer is shown. Every command imports its room when it runs."""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from tinsmith import __version__
from tinsmith.errors import InputError, TinsmithError

_EXIT_CODES = {"resolved": 0, "unresolved": 1, "unverified": 4, "error": 5, "interrupted": 130}

_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line of stdout.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tinsmith")
def cli() -> None:
    """Resolve issues in your repository with a small coding model on your own machine.

    Nothing leaves the computer. Exit codes: 0 done and verified, 1 not solved, 2 bad input, 3 the machine lacks
    something, 4 done but unverified, 5 the engine failed, 130 interrupted.
    """


@cli.command()
@click.option("--repo", type=click.Path(path_type=Path), default=Path("."), help="The checkout.  [default: here]")
@click.option("--issue", "issue_file", type=click.Path(path_type=str), help="A file with the issue; - for stdin.")
@click.option("--issue-text", help="The issue itself.")
@click.option("--model", help="A catalogue id or a GGUF file.  [default: TINSMITH_MODEL, else solder]")
@click.option("--python", type=click.Path(path_type=Path), help="The interpreter that runs the tests.")
@click.option("--test-command", help="How the tests are run.  [default: PYTHON -m pytest]")
@click.option("--seed", type=int, default=1, show_default=True, help="Makes a run exact to repeat.")
@click.option("--max-turns", type=click.IntRange(1), default=60, show_default=True)
@click.option("--max-test-runs", type=click.IntRange(1), default=20, show_default=True, help="Test runs after an edit.")
@click.option("--max-seconds", type=click.IntRange(1), default=3600, show_default=True)
@click.option("--test-timeout", type=click.IntRange(1), default=300, show_default=True, help="Seconds of one test run.")
@_json
def resolve(repo: Path, issue_file: str | None, issue_text: str | None, as_json: bool, **options: Any) -> None:
    """Turn an issue into a tested branch, patch and pull-request text.

    Your work tree, index and HEAD are not touched: the result is the branch tinsmith/<slug>.
    """

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith.agent import Limits
        from tinsmith.resolve import Request
        from tinsmith.resolve import resolve as run

        limits = Limits(options["max_turns"], options["max_test_runs"], float(options["max_seconds"]))
        request = Request(
            repo=repo,
            issue=_issue(issue_file, issue_text),
            model=options["model"],
            python=options["python"],
            test_command=options["test_command"],
            seed=options["seed"],
            limits=limits,
            test_timeout=float(options["test_timeout"]),
        )
        result = run(request, _progress)
        answer = result.as_json()
        code = _EXIT_CODES[result.status]
        if result.error is not None:
            answer["error"] = _error(result.error)
            code = result.error.exit_code
        if not as_json:
            _show_result(answer)
        return answer, code

    _answer(work, as_json)


@cli.group()
def log() -> None:
    """What happened in past runs."""


@log.command("list")
@_json
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

    _answer(work, as_json)


@log.command("show")
@click.argument("run")
def log_show(run: str) -> None:
    """The events of RUN, one JSON object a line."""

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith.events import RunStore

        for event in RunStore().open(run).events():
            click.echo(json.dumps(event, ensure_ascii=False))
        return {}, 0

    _answer(work, False)


@cli.command()
@_json
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

    _answer(work, as_json)


def main() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _interrupt)
    cli.main(prog_name="tinsmith")


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _answer(work: Callable[[], tuple[dict[str, Any], int]], as_json: bool) -> None:
    """Runs a command and ends the process by its exit code; with `--json` failures too are one JSON object."""
    try:
        answer, code = work()
    except TinsmithError as error:
        answer, code = {"error": _error(error)}, error.exit_code
    except KeyboardInterrupt:
        message = {"code": "interrupted", "message": "Interrupted.", "remedy": "Run the command again."}
        answer, code = {"error": message}, 130
    if as_json:
        click.echo(json.dumps(answer, ensure_ascii=False))
    if "error" in answer:
        click.echo(f"tinsmith: {answer['error']['message']}\n{answer['error']['remedy']}", err=True)
    sys.exit(code)


def _error(error: TinsmithError) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "remedy": error.remedy}


def _issue(file: str | None, text: str | None) -> str:
    if (file is None) == (text is None):
        raise InputError("no_issue", "Give the issue once.", "Use --issue FILE (or - for stdin) or --issue-text TEXT.")
    if text is not None:
        return text
    if file == "-":
        return sys.stdin.read()
    try:
        return Path(str(file)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("issue_unreadable", f"Cannot read {file}: {error}.", "Name a UTF-8 text file.") from error


def _progress(line: str) -> None:
    click.echo(line, err=True)


def _show_result(answer: dict[str, Any]) -> None:
    click.echo(f"{answer['status']}: {answer['reason']}")
    for name in ("branch", "patch", "pull_request", "report"):
        if answer[name]:
            click.echo(f"{name.replace('_', ' ')}: {answer[name]}")
