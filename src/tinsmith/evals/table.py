"""The table on the model card: bugs fixed within 5 and 20 test runs, through `resolve`.

Three methods in the same loop: the model's order, the order of twins with random weights, and plain
enumerate-and-test (the candidates shuffled), the last two as means over five seeds. A run has the larger
limit; the result at the smaller one follows from the number of test runs after an edit that it took.

    python -m tinsmith.evals.table --cache DIR [--model PATH] [--demo REPO] [--only solder] [--json]
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinsmith.agent import Limits
from tinsmith.errors import InputError, TinsmithError
from tinsmith.evals.bugs import single_edits
from tinsmith.evals.repositories import git, prepare
from tinsmith.evals.rows import Row, Rows
from tinsmith.evals.twins import digest, twin
from tinsmith.events import RunStore
from tinsmith.models import Model, find_model
from tinsmith.resolve import Request, resolve

LIMITS = (5, 20)
SEEDS = (1, 2, 3, 4, 5)
METHODS = {"solder": (1,), "random": SEEDS, "enumerate": SEEDS}
"""Each method with its seeds. The model's own order has no chance in it."""
NAMES = {"solder": "Solder", "random": "random weights, same shape", "enumerate": "enumerate and test"}
TEST_SECONDS = 60.0
RUN_SECONDS = 900.0


@dataclass(frozen=True)
class Bug:
    """A repository and its issue. `fix` is the line that undoes a planted bug, where it is known."""

    id: str
    repo: Path
    issue: str
    fix: str | None = None


def run_once(bug: Bug, model: Path, method: str, seed: int, state: Path) -> Row:
    """`solved_at` is the number of test runs after an edit that it took, None where it was not resolved."""
    started = time.monotonic()
    request = Request(
        repo=bug.repo,
        issue=bug.issue,
        model=str(model),
        python=Path(sys.executable),
        seed=seed,
        limits=Limits(turns=2 * max(LIMITS), test_runs=max(LIMITS), seconds=RUN_SECONDS),
        test_timeout=TEST_SECONDS,
        state_dir=state,
        order="shuffled" if method == "enumerate" else "model",
    )
    result = resolve(request)
    if result.branch:  # the next run finds the repository as this one did
        git(bug.repo, "update-ref", "-d", f"refs/heads/{result.branch}")
    events = list(RunStore(state).open(result.run).events())
    # As under the limit: what only confirms an accepted fix is not counted.
    runs = sum(event["type"] == "test_run" and event["counted"] for event in events)
    patch = result.patch.read_text(encoding="utf-8") if result.patch else ""
    return {
        "bug": bug.id,
        "method": method,
        "seed": seed,
        "status": result.status,
        "reason": result.reason,
        "runs": runs,
        "solved_at": runs if result.status == "resolved" else None,
        "exact": bug.fix is not None and f"\n+{bug.fix}\n" in patch,
        "usage": result.usage,
        "seconds": round(time.monotonic() - started, 1),
    }


def solved(rows: Sequence[Row], method: str, limit: int) -> float:
    """How many bugs `method` fixes within `limit` test runs after an edit: the mean over its seeds."""
    own = [row for row in rows if row["method"] == method]
    seeds = {row["seed"] for row in own}
    count = sum(row["solved_at"] is not None and row["solved_at"] <= limit for row in own)
    return count / len(seeds) if seeds else 0.0


def table(rows: Sequence[Row], demo: str | None) -> str:
    """The Markdown table; the demo's bug in a column of its own, and a sentence where the enumerator wins."""
    planted = [row for row in rows if row["bug"] != demo]
    shown = [row for row in rows if row["bug"] == demo]
    count = len({row["bug"] for row in planted})
    head = [f"of {count} within {limit} test runs" for limit in LIMITS]
    head += [f"demo bug within {limit}" for limit in LIMITS] if demo else []
    lines = [f"| method | {' | '.join(head)} |", f"| --- |{' --- |' * len(head)}"]
    methods = [method for method in METHODS if any(row["method"] == method for row in rows)]
    for method in methods:
        cells = [f"{solved(planted, method, limit):g}" for limit in LIMITS]
        cells += [f"{solved(shown, method, limit):g}" for limit in LIMITS] if demo else []
        lines.append(f"| {NAMES[method]} | {' | '.join(cells)} |")
    if {"solder", "enumerate"} <= set(methods):
        lost = [limit for limit in LIMITS if solved(planted, "enumerate", limit) > solved(planted, "solder", limit)]
        lines += [f"\nAt {limit} test runs plain enumerate-and-test fixes more than Solder." for limit in lost]
    return "\n".join(lines)


def summary(rows: Sequence[Row], demo: str | None) -> dict[str, Any]:
    """The same figures as JSON, with every row; runs that ended in an error are counted apart."""
    planted = [row for row in rows if row["bug"] != demo]
    return {
        "solved": {method: {str(limit): solved(planted, method, limit) for limit in LIMITS} for method in METHODS},
        "errors": sum(row["status"] in ("error", "interrupted") for row in rows),
        "rows": list(rows),
    }


def run_all(bugs: Sequence[Bug], model: Model, methods: Sequence[str], cache: Path) -> list[Row]:
    """Every bug by every method and seed; finished ones are taken from `cache`/table.jsonl."""
    rows = Rows(cache / "table.jsonl")
    key = digest(model.path)
    found: list[Row] = []
    for method in methods:
        for seed in METHODS[method]:
            path = twin(model, seed, cache) if method == "random" else model.path
            for number, bug in enumerate(bugs, 1):

                def once(bug: Bug = bug, path: Path = path, method: str = method, seed: int = seed) -> Row:
                    return run_once(bug, path, method, seed, cache / "state")

                # The enumerator's order is not the model's, so its rows outlive a new model.
                owner = method if method == "enumerate" else key
                row = rows.get(f"{owner}/{method}/{seed}/{bug.id}", once)
                found.append(row)
                said = f"solved at {row['solved_at']}" if row["solved_at"] else row["reason"]
                print(f"{method} {seed} {number}/{len(bugs)} {bug.id}: {said}", file=sys.stderr)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """The command of the module's docstring; the exit code."""
    parser = argparse.ArgumentParser(prog="tinsmith.evals.table", description="Fixed within 5 and 20 test runs.")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--demo", type=Path, help="a repository with one more bug")
    parser.add_argument("--demo-issue", type=Path, help="its issue; default: ISSUE.md in the repository")
    parser.add_argument("--only", choices=list(METHODS), action="append")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        cache: Path = given.cache.absolute()
        bugs = [Bug(b.instance_id, prepare(b, cache), b.statement, b.before) for b in single_edits()]
        demo = None
        if given.demo:
            demo = "demo"
            bugs.append(Bug(demo, given.demo.absolute(), _issue(given.demo, given.demo_issue)))
        if not bugs:
            raise InputError("eval_no_bugs", "There is no bug to run.", "Make them with evals.single_edits.")
        rows = run_all(bugs, find_model(given.model), given.only or list(METHODS), cache)
    except TinsmithError as error:
        print(f"{error.message} {error.remedy}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(summary(rows, demo)) if given.json else table(rows, demo))
    return 0


def _issue(repo: Path, named: Path | None) -> str:
    file = named or repo / "ISSUE.md"
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError("eval_issue", f"{file} cannot be read.", "Give --demo-issue.") from error


if __name__ == "__main__":
    raise SystemExit(main())
