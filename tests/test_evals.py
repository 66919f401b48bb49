"""What is measured on is held out, equal seeds plant equal bugs, and the harness ranks what a run ranks."""

import hashlib
import json
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest

from tinsmith.agent import CallWriter, Option, Transcript
from tinsmith.dialects import Encoder, Text, dialect_named
from tinsmith.engines import EmbeddedEngine, Sampling, open_engine
from tinsmith.errors import InputError, MachineError
from tinsmith.evals import Archive, HeldOut, fetch, held_out, real_bugs, single_edits, unpack
from tinsmith.evals.bugs import SingleEdit
from tinsmith.evals.ranking import Question, choices, in_random_order, rank_of_fix, summary, totals
from tinsmith.evals.repositories import commit_all, git, plant
from tinsmith.evals.rows import Row, Rows
from tinsmith.evals.scoring import SCORINGS
from tinsmith.evals.single_edits import Validator, draw, function_at
from tinsmith.evals.table import solved, table
from tinsmith.evals.twins import twin
from tinsmith.models import cards, find_model
from tinsmith.models.random_weights import write_random
from tinsmith.resolve.brief import first_turn
from tinsmith.tools import Excerpt, Files, ShellResult, Toolbox
from tinsmith.workspace import Sandbox

CODE = '''\
def clamp(value, low, high):
    if value < low:
        return low
    if value > high:
        return high
    return value


def total(values):
    """The sum of all values."""
    result = 0
    for value in values:
        result = result + value
    return result
'''
TESTS = """\
from lib.calc import clamp, total


def test_clamp():
    assert clamp(5, 0, 3) == 3
    assert clamp(-1, 0, 3) == 0


def test_total():
    assert total([1, 2, 3]) == 6


def test_nothing():
    assert True
"""
PACKAGE = HeldOut("lib", "1.0", "lib-1.0.tar.gz", "", "MIT", runnable=True)
BUG = SingleEdit(
    "lib", "lib/calc.py", 13, "        result = result + value", "        result = result - value", "operator"
)
QUESTION = Question(
    "q",
    "lib/calc.py",
    BUG.plant(CODE),
    # The function as it stands in the file.
    next(f for f in [function_at("lib/calc.py", CODE, 13)] if f),
    13,
    BUG.before,
    "total is wrong",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "lib-1.0"
    (root / "lib").mkdir(parents=True)
    (root / "tests").mkdir()
    (root / "lib" / "__init__.py").write_text("")
    (root / "lib" / "calc.py").write_text(CODE)
    (root / "tests" / "test_calc.py").write_text(TESTS)
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random(tmp_path_factory.mktemp("model") / "random.gguf", scale=0.15, name="solder")


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[EmbeddedEngine]:
    with open_engine(model, context=4096) as engine:
        yield engine


def test_nothing_measured_on_is_trained_on() -> None:
    learn = Path(str(files("tinsmith.learn")))
    [pinned], [listed] = learn.rglob("corpus.toml"), learn.rglob("excluded.txt")
    corpus = tomllib.loads(pinned.read_text(encoding="utf-8"))
    trained = {row["name"].lower().replace("_", "-") for row in corpus["package"]}
    excluded = set(listed.read_text(encoding="utf-8").split("\n"))
    measured = {package.name for package in held_out()} | {bug.package for bug in real_bugs()}
    assert not measured & trained
    assert measured <= excluded


def test_the_data_keeps_to_its_schema() -> None:
    packages = {package.name: package for package in held_out()}
    assert len(packages) == len(held_out()) >= 10
    assert all(len(package.sha256) == 64 and package.licence for package in held_out())
    bugs = real_bugs()
    assert len({bug.instance_id for bug in bugs}) == len(bugs) >= 20
    assert all("\n" not in bug.fixed and bug.report and bug.link.startswith("https://") for bug in bugs)
    for bug in single_edits():
        assert packages[bug.package].runnable and bug.fail_to_pass and bug.before != bug.after
        assert bug.after.strip() not in bug.statement and bug.before.strip() not in bug.statement
        assert len(json.dumps(bug.as_json())) < 1500
    assert len({bug.instance_id for bug in single_edits()}) == len(single_edits())


def test_the_same_seed_plants_the_same_bugs(root: Path) -> None:
    bugs = list(draw(PACKAGE, root, 7))
    assert bugs == list(draw(PACKAGE, root, 7))
    assert len({bug.line for bug in bugs}) == len(bugs) == 2  # one in each function, none in the tests
    for bug in bugs:
        assert bug.plant(CODE).split("\n")[bug.line - 1] == bug.after
        with pytest.raises(ValueError):
            bug.plant(bug.plant(CODE))


def test_a_bug_counts_if_the_tests_see_it(root: Path, tmp_path: Path) -> None:
    with Validator(root, tmp_path, Path(sys.executable), Sandbox.find()) as validator:
        assert len(validator.passing) == 3
        seen = validator.validate(BUG)
        assert seen is not None
        assert seen.fail_to_pass == ("tests/test_calc.py::test_total",)
        assert seen.statement.startswith("total does not work: AssertionError")
        unseen = SingleEdit("lib", "lib/calc.py", 2, "    if value < low:", "    if value <= low:", "boundary")
        assert validator.validate(unseen) is None
        fatal = SingleEdit("lib", "lib/calc.py", 1, CODE.split("\n")[0], "def clamp(value):", "x")
        assert validator.validate(fatal) is not None  # fails in its call; the copy was put back before
    assert (root / "lib" / "calc.py").read_text() == CODE


def test_a_bug_becomes_one_commit_and_its_patch_mends_it(root: Path) -> None:
    plant(root / BUG.path, BUG)
    commit = commit_all(root)
    row = BUG.swe_bench(commit, CODE, ["tests/test_calc.py::test_clamp"])
    assert git(root, "rev-list", "--all", "--count") == "1"
    subprocess.run(["git", "-C", str(root), "apply"], input=row["patch"], text=True, check=True)
    assert (root / "lib" / "calc.py").read_text() == CODE
    with pytest.raises(InputError):  # planted twice only where the line is the expected one
        plant(root / BUG.path, SingleEdit("lib", "lib/calc.py", 3, "no such line", "x", "x"))


def test_only_the_pinned_archive_is_unpacked(root: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "archives").mkdir(parents=True)
    file = cache / "archives" / PACKAGE.file
    with tarfile.open(file, "w:gz") as archive:
        archive.add(root, arcname="lib-1.0")
    good = Archive("lib", "1.0", PACKAGE.file, hashlib.sha256(file.read_bytes()).hexdigest())
    assert (unpack(good, cache) / "lib" / "calc.py").read_text() == CODE
    with pytest.raises(InputError):
        fetch(Archive("lib", "1.0", PACKAGE.file, "0" * 64), cache)


def test_no_download_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(MachineError) as caught:
        fetch(Archive("tinsmith-has-no-such", "1.0", "tinsmith_has_no_such-1.0.tar.gz", "0" * 64), tmp_path)
    assert caught.value.code == "eval_download"


def test_the_harness_ranks_what_a_run_ranks(engine: EmbeddedEngine, tmp_path: Path) -> None:
    """The ids before the candidates, and the candidates' ids, are those that `CallWriter` gives its order."""
    card = cards()["solder"]
    dialect, encoder = dialect_named(card.dialect), Encoder(engine.tokenize, engine.vocabulary.reserved)
    given = choices(QUESTION, "function", card, encoder)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "calc.py").write_text(QUESTION.source)
    shown = Excerpt("lib/calc.py", 9, tuple(QUESTION.source.split("\n")[8:14]))
    toolbox = FakeToolbox(Files(tmp_path), lambda command: ShellResult(0, ""), count=encoder.count, free_tokens=64)
    toolbox.show(shown)
    seen: list[tuple[Sequence[int], Sequence[Option]]] = []

    def order(prefix: Sequence[int], options: Sequence[Option], /) -> Sequence[int]:
        seen.append((prefix, options))
        return range(len(options))

    writer = CallWriter(
        engine,
        dialect,
        encoder,
        toolbox,
        sampling=Sampling(),
        preamble_tokens=card.preamble_tokens,
        candidates=lambda tool: given.calls,
        order=order,
    )
    transcript = Transcript(encoder, FakeSink())
    transcript.write(dialect.system(card.system or "", ()), "system")
    transcript.write(dialect.user(first_turn(QUESTION.issue, [QUESTION.failure], [shown])), "user")
    writer.write(transcript)
    prefix, options = seen[0]
    assert list(prefix) == given.prefix
    assert [list(option.ids) for option in options] == given.continuations
    assert [list(option.chosen) for option in options] == given.counted
    name = encoder.encode([Text(dialect.tool_literal("edit"))])
    assert given.prefix[-len(name) :] == name


class FakeToolbox(Toolbox):
    """Offers `edit` alone, so that a model with random weights takes it."""

    def available(self) -> list[str]:
        return ["edit"]


class FakeSink:
    """Takes events and forgets them."""

    def append(self, type: str, /, **data: object) -> None: ...


@pytest.mark.parametrize("scoring", SCORINGS)
def test_each_scoring_is_the_brute_force_order(engine: EmbeddedEngine, scoring: str) -> None:
    card = cards()["solder"]
    encoder = Encoder(engine.tokenize, engine.vocabulary.reserved)
    whole = choices(QUESTION, "line", card, encoder)
    calls, continuations = whole.calls[:12], whole.continuations[:12]
    head = len(continuations[0])
    for ids in continuations[1:]:
        head = min(head, next(i for i, (a, b) in enumerate(zip(continuations[0], ids, strict=False)) if a != b))
    start = [*whole.prefix, *continuations[0][:head]]
    scores = engine.score(start, [ids[head:] for ids in continuations])
    if scoring == "mean":
        scores = [score / len(ids) for score, ids in zip(scores, continuations, strict=True)]
    best = sorted(range(len(scores)), key=lambda i: -scores[i])
    found = list(
        SCORINGS[scoring](engine, whole.prefix, calls, continuations, [[True] * len(ids) for ids in continuations])
    )
    assert sorted(found) == list(range(len(calls)))
    assert all(scores[a] >= scores[b] - 1e-3 for a, b in pairwise(found))
    assert scores[found[0]] == pytest.approx(scores[best[0]], abs=1e-3)


def test_the_fix_is_found_among_the_candidates(engine: EmbeddedEngine) -> None:
    row = rank_of_fix(engine, cards()["solder"], QUESTION, "line", "sum")
    assert row["reach"] and row["candidates"] > 1
    assert row["rank"] is None or 1 <= row["rank"] <= 20
    assert function_at("lib/calc.py", CODE, 13) == QUESTION.function


def test_figures() -> None:
    rows: list[Row] = [
        {"setting": "line", "candidates": 10, "reach": True, "rank": 1, "seconds": 1.0},
        {"setting": "line", "candidates": 4, "reach": True, "rank": 7, "seconds": 1.0},
        {"setting": "line", "candidates": 0, "reach": False, "rank": None, "seconds": 1.0},
    ]
    assert totals(rows)["top"] == {"1": 1, "5": 1, "20": 2}
    assert in_random_order(rows, 5) == pytest.approx(0.5 + 1)
    part = summary({"sum": rows}, [rows, rows], ["line"])["line"]
    assert part["random_weights"]["5"] == 1 and part["model"]["sum"]["reach"] == 2
    runs: list[Row] = [
        {"bug": "a", "method": "solder", "seed": 1, "solved_at": 7},
        {"bug": "a", "method": "enumerate", "seed": 1, "solved_at": 3},
        {"bug": "a", "method": "enumerate", "seed": 2, "solved_at": None},
    ]
    assert [solved(runs, "solder", limit) for limit in (5, 20)] == [0, 1]
    assert solved(runs, "enumerate", 5) == 0.5
    assert "At 5 test runs plain enumerate-and-test fixes more" in table(runs, None)
    assert "At 20" not in table(runs, None)


def test_an_interrupted_measurement_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    Rows(path).get("one", lambda: {"n": 1})
    with path.open("a") as file:
        file.write('{"key": "two", "n"')  # killed here
    again = Rows(path)
    assert again.get("one", lambda: {"n": 99})["n"] == 1
    assert again.get("two", lambda: {"n": 2})["n"] == 2
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [1, 2]


def test_a_twin_has_the_card_and_other_weights(model: Path, tmp_path: Path) -> None:
    own = find_model(str(model))
    one, two = twin(own, 1, tmp_path), twin(own, 2, tmp_path)
    assert find_model(str(one)).card == own.card
    assert one.read_bytes() != two.read_bytes() and one.stat().st_size == two.stat().st_size
    assert twin(own, 1, tmp_path) == one
