"""The ranking harness: where does the exact fix stand among the candidate edits, without running a test.

For each bug the model sees what `resolve` would show it (issue, failing test, the function) and orders the
candidate edits of the function's lines, or of the suspect line alone. Beside it stand twins with random
weights, and random order, whose expectation follows from the number of candidates.

    python -m tinsmith.evals.ranking --cache DIR --bugs 160 [--model PATH] [--twins 5] [--real] [--json]

No test is run here, so the failing test in the brief is a stand-in that names the function and says only
that an assertion failed.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tinsmith.codebase import Function, Suspect
from tinsmith.dialects import Call, Control, Encoder, Text, arguments_pieces, dialect_named
from tinsmith.engines import TokenEngine, open_engine
from tinsmith.errors import InputError, TinsmithError
from tinsmith.evals.archives import unpack
from tinsmith.evals.bugs import RealBug, SingleEdit, real_bugs
from tinsmith.evals.held_out import held_out, package_named
from tinsmith.evals.rows import Row, Rows
from tinsmith.evals.scoring import SCORINGS
from tinsmith.evals.single_edits import DEFAULT_SEED, function_at, read, spread
from tinsmith.evals.twins import digest, twin
from tinsmith.models import ModelCard, find_model
from tinsmith.resolve.brief import Failure, first_turn
from tinsmith.resolve.candidates import candidate_calls, excerpts_of
from tinsmith.resolve.opening import DEFAULT_SYSTEM, MAX_ISSUE_CHARACTERS, MAX_SHOWN_LINES
from tinsmith.tools import EDIT, TOOLS, Excerpt, Files, shorten

KEEP = 20
TOPS = (1, 5, 20)
SETTINGS = ("function", "line")
"""What is under suspicion: all lines of the function, or the line of the bug."""


@dataclass(frozen=True)
class Question:
    """A bug to rank: the broken file, the function around the line, the line's right text, the issue."""

    id: str
    path: str
    source: str
    function: Function
    line: int
    fixed: str
    issue: str

    @property
    def failure(self) -> Failure:
        """A failing test in the form of the pipeline's."""
        stem = self.path.rsplit("/", 1)[-1].removesuffix(".py")
        name = self.function.name.rsplit(".", 1)[-1].strip("_")
        return Failure(f"tests/test_{stem}.py::test_{name}", "AssertionError")


def planted(bug: SingleEdit, cache: Path) -> Question:
    """The question of a planted bug. Raises as `fetch` does."""
    broken = bug.plant(read(unpack(package_named(bug.package), cache) / bug.path))
    function = _function(bug.path, broken, bug.line)
    issue = bug.statement or f"`{function.name}` gives a wrong result."
    return Question(bug.instance_id, bug.path, broken, function, bug.line, bug.before, issue)


def real(bug: RealBug, cache: Path) -> Question:
    """The question of a bug that people made: the release as it is. Raises as `fetch` does."""
    source = read(unpack(bug.archive, cache) / bug.path)
    function = _function(bug.path, source, bug.line)
    return Question(bug.instance_id, bug.path, source, function, bug.line, bug.fixed, bug.report)


def _function(path: str, source: str, line: int) -> Function:
    function = function_at(path, source, line)
    if function is None:
        raise InputError("eval_archive", f"No function holds {path}:{line}.", "Make the bugs anew.")
    return function


@dataclass(frozen=True)
class Choices:
    """What is ranked: the turn so far up to the arguments of `edit`, the candidate calls, and their ids."""

    prefix: list[int]
    calls: list[Call]
    continuations: list[list[int]]
    counted: list[list[bool]]


def choices(question: Question, setting: str, card: ModelCard, encoder: Encoder) -> Choices:
    """The candidates of `question` after exactly the ids that stand before them in a run of `resolve`."""
    dialect = dialect_named(card.dialect)
    function = question.function
    lines = tuple(range(function.first, function.last + 1)) if setting == "function" else (question.line,)
    suspect = Suspect(question.path, function.name, function.first, function.last, 1.0, (), lines)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, question.path)
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w", encoding="utf-8", newline="") as stream:
            stream.write(question.source)
        files = Files(Path(directory))
        shown: list[Excerpt] = excerpts_of(files, [suspect], MAX_SHOWN_LINES)
        calls = candidate_calls(files, [suspect], shown)
    issue = shorten(question.issue, MAX_ISSUE_CHARACTERS[card.edit_domain])
    system = dialect.system(card.system or DEFAULT_SYSTEM, TOOLS if card.tools == "full" else ())
    spans = [
        *system,
        *dialect.user(first_turn(issue, [question.failure], shown)),
        *dialect.assistant_start(),
        Control(dialect.call_opener()),
        *dialect.tool_start(),
        Text(dialect.tool_literal(EDIT.name)),
    ]
    encoder.prime([dialect.value_text(EDIT.parameter(k), v) for c in calls for k, v in c.arguments.items()])
    continuations: list[list[int]] = []
    counted: list[list[bool]] = []
    for call in calls:
        pieces = [
            (piece.kind == "value", encoder.encode([piece.span])) for piece in arguments_pieces(dialect, EDIT, call)
        ]
        continuations.append([token for _, ids in pieces for token in ids])
        counted.append([chosen for chosen, ids in pieces for _ in ids])
    return Choices(encoder.encode(spans), calls, continuations, counted)


def rank_of_fix(engine: TokenEngine, card: ModelCard, question: Question, setting: str, scoring: str) -> Row:
    """{candidates, reach, rank}: `rank` counts from 1 and is None beyond the first KEEP."""
    started = time.monotonic()
    encoder = Encoder(engine.tokenize, engine.vocabulary.reserved)
    given = choices(question, setting, card, encoder)
    fixes = {
        index
        for index, call in enumerate(given.calls)
        if call.arguments["start"] == str(question.line) and call.arguments["new"] == question.fixed
    }
    rank = None
    if fixes:  # otherwise no order can help
        ordered = SCORINGS[scoring](engine, given.prefix, given.calls, given.continuations, given.counted)
        rank = next((at for at, i in enumerate(islice(ordered, KEEP), 1) if i in fixes), None)
    return {
        "id": question.id,
        "setting": setting,
        "candidates": len(given.calls),
        "reach": bool(fixes),
        "rank": rank,
        "seconds": round(time.monotonic() - started, 2),
    }


def measure(
    model: Path,
    card: ModelCard,
    questions: Sequence[Question],
    scoring: str,
    rows: Rows,
    settings: Sequence[str],
) -> list[Row]:
    """A row for each question and setting; those that are in `rows` are not measured again."""
    key = digest(model)
    found: list[Row] = []
    with open_engine(model, context=card.context) as engine:
        for number, question in enumerate(questions, 1):
            for setting in settings:

                def once(question: Question = question, setting: str = setting) -> Row:
                    return rank_of_fix(engine, card, question, setting, scoring)

                found.append(rows.get(f"{key}/{scoring}/{setting}/{question.id}", once))
            print(f"{number}/{len(questions)} {question.id}: {found[-1]['rank']}", file=sys.stderr)
    return found


def in_random_order(rows: Iterable[Row], top: int) -> float:
    """Expected number of bugs whose fix is among the first `top` of a random order."""
    return sum(min(top, row["candidates"]) / row["candidates"] for row in rows if row["reach"])


def totals(rows: Sequence[Row]) -> dict[str, Any]:
    """{bugs, reach, candidates (mean), top: {k: bugs}, seconds (mean)} of the rows of one setting."""
    count = max(len(rows), 1)
    return {
        "bugs": len(rows),
        "reach": sum(row["reach"] for row in rows),
        "candidates": round(sum(row["candidates"] for row in rows) / count, 1),
        "top": {str(top): sum((row["rank"] or KEEP + 1) <= top for row in rows) for top in TOPS},
        "seconds": round(sum(row["seconds"] for row in rows) / count, 2),
    }


def summary(own: dict[str, list[Row]], twins: Sequence[list[Row]], settings: Sequence[str]) -> dict[str, Any]:
    """By setting: the totals of the model under each scoring, of the twins (means), and of random order."""
    result: dict[str, Any] = {}
    for setting in settings:
        of = {name: [row for row in rows if row["setting"] == setting] for name, rows in own.items()}
        drawn = [totals([row for row in rows if row["setting"] == setting])["top"] for rows in twins]
        any_rows = next(iter(of.values()))
        result[setting] = {
            "model": {name: totals(rows) for name, rows in of.items()},
            "random_weights": {str(top): round(sum(one[str(top)] for one in drawn) / len(drawn), 2) for top in TOPS}
            if drawn
            else None,
            "random_order": {str(top): round(in_random_order(any_rows, top), 2) for top in TOPS},
        }
    return result


def table(result: dict[str, Any]) -> str:
    """`summary` as Markdown."""
    lines = [
        "| setting | order | bugs | reach | top 1 | top 5 | top 20 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for setting, part in result.items():
        first = next(iter(part["model"].values()))
        head = f"{first['bugs']} | {first['reach']}"
        orders = {f"model, {name}": found["top"] for name, found in part["model"].items()}
        if part["random_weights"]:
            orders["random weights (mean)"] = part["random_weights"]
        orders["random order (expected)"] = part["random_order"]
        lines += [
            f"| {setting} | {name} | {head} | {' | '.join(str(top[str(k)]) for k in TOPS)} |"
            for name, top in orders.items()
        ]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command of the module's docstring; the exit code."""
    parser = argparse.ArgumentParser(prog="tinsmith.evals.ranking", description="Rank of the exact fix.")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--bugs", type=int, default=160)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--model")
    parser.add_argument("--twins", type=int, default=5, help="seeds of random weights, 0 for none")
    parser.add_argument("--scoring", choices=list(SCORINGS), action="append")
    parser.add_argument("--setting", choices=SETTINGS, action="append")
    parser.add_argument("--real", action="store_true", help="the real bugs instead of planted ones")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    try:
        result = _run(given)
    except TinsmithError as error:
        print(f"{error.message} {error.remedy}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(result) if given.json else table(result))
    return 0


def _run(given: argparse.Namespace) -> dict[str, Any]:
    model = find_model(given.model)
    if model.card.edit_domain != "candidates":
        raise InputError(
            "eval_model",
            f"{model.path} does not rank candidates.",
            "Give the path of a model with Solder's card.",
        )
    cache: Path = given.cache
    if given.real:
        questions = [real(bug, cache) for bug in real_bugs()]
    else:
        questions = [planted(bug, cache) for bug in spread(held_out(), cache, given.seed, given.bugs)]
    rows = Rows(cache / "ranking.jsonl")
    settings = given.setting or list(SETTINGS)
    own = {
        scoring: measure(model.path, model.card, questions, scoring, rows, settings)
        for scoring in given.scoring or ["sum"]
    }
    twins = [
        measure(twin(model, seed, cache), model.card, questions, "sum", rows, settings)
        for seed in range(1, given.twins + 1)
    ]
    return summary(own, twins, settings)


if __name__ == "__main__":
    raise SystemExit(main())
