"""`tinsmith resolve`."""

import sys
from pathlib import Path
from typing import Any

import click

from tinsmith.cli.answer import answer_with, as_json_option, error_row, progress
from tinsmith.errors import InputError

_EXIT_CODES = {"resolved": 0, "unresolved": 1, "unverified": 4, "error": 5, "interrupted": 130}


@click.command()
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
@as_json_option
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
        result = run(request, progress)
        answer = result.as_json()
        code = _EXIT_CODES[result.status]
        if result.error is not None:
            answer["error"] = error_row(result.error)
            code = result.error.exit_code
        if not as_json:
            _show_result(answer)
        return answer, code

    answer_with(work, as_json)


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


def _show_result(answer: dict[str, Any]) -> None:
    click.echo(f"{answer['status']}: {answer['reason']}")
    for name in ("branch", "patch", "pull_request", "report"):
        if answer[name]:
            click.echo(f"{name.replace('_', ' ')}: {answer[name]}")
