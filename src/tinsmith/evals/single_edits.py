"""Makes bugs: one mutation in one function of a held-out package, the same ones for the same seed.

For the ranking harness any such bug will do. A bug that is to be run must be seen by the package's own tests:
at least one that passed fails by assertion or by an error in its call, at least one still passes, and a
second run says the same.

    python -m tinsmith.evals.single_edits --cache DIR [--seed N] [--count 20] > single_edits.jsonl
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice, zip_longest
from pathlib import Path

from tinsmith.codebase import Function, functions_in
from tinsmith.errors import InputError
from tinsmith.evals.archives import unpack
from tinsmith.evals.bugs import SingleEdit
from tinsmith.evals.held_out import HeldOut, held_out, own_sources
from tinsmith.evals.repositories import commit_all, plant
from tinsmith.tasks import Mutation, sample
from tinsmith.tools import failure_text, shorten
from tinsmith.workspace import Sandbox, TestOutcome, TestReport, TestRunner, Workspace

SHORTEST, LONGEST = 4, 40
"""Lines of a function that gets a bug."""
SUITE_SECONDS = 60.0
KEPT_TESTS = 8
"""Of the tests that see a bug, so many are named in its row."""
DEFAULT_SEED = 20


def draw(package: HeldOut, root: Path, seed: int) -> Iterator[SingleEdit]:
    """Bugs of the package unpacked at `root`, at most one in a function, in an order drawn by `seed`."""
    rng = random.Random(f"{seed}/{package.name}")
    functions = [f for path in own_sources(root) for f in functions_in(path, read(root / path))]
    rng.shuffle(functions)
    taken: set[Function] = set()
    for function in functions:
        if not SHORTEST <= function.last - function.first + 1 <= LONGEST:
            continue
        source = read(root / function.path)
        for mutation in sample(source, function.first, function.last, rng, 1):
            owner = function_at(function.path, source, mutation.line)
            if owner == function and function not in taken:
                taken.add(function)
                yield _bug(package, function, mutation)


def spread(packages: Sequence[HeldOut], cache: Path, seed: int, count: int) -> list[SingleEdit]:
    """`count` bugs, one of each package in turn. Raises as `fetch` does."""
    turns = zip_longest(*(draw(package, unpack(package, cache), seed) for package in packages))
    return list(islice((bug for bug in chain.from_iterable(turns) if bug is not None), count))


def function_at(path: str, source: str, line: int) -> Function | None:
    """The innermost function that holds `line`."""
    holding = [f for f in functions_in(path, source) if f.first <= line <= f.last]
    return max(holding, key=lambda f: f.first) if holding else None


def read(file: Path) -> str:
    """The text of a file, its newlines as they are; nothing where it is not UTF-8."""
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            return stream.read()
    except UnicodeDecodeError:
        return ""


class Validator:
    """Runs the tests of one package with a bug in it, in the sandbox. A context manager."""

    def __init__(self, root: Path, cache: Path, python: Path, sandbox: Sandbox) -> None:
        self._scratch = tempfile.TemporaryDirectory(dir=cache)
        repository = Path(self._scratch.name, "repository")
        shutil.copytree(root, repository)
        commit_all(repository)
        self._workspace = Workspace.create(repository, Path(self._scratch.name, "work"), python=python)
        self._runner = TestRunner(self._workspace, sandbox)
        self._passing: frozenset[str] = frozenset()
        first, second = self._run(), self._run()
        self._passing = _passed(first) & _passed(second)

    def __enter__(self) -> "Validator":
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.cleanup()

    @property
    def passing(self) -> frozenset[str]:
        """What passes, twice, without a bug."""
        return self._passing

    def validate(self, bug: SingleEdit) -> SingleEdit | None:
        """The bug with its symptom and failing tests, or None where the tests do not see it or disagree."""
        plant(self._workspace.tree / bug.path, bug)
        try:
            first = self._failures(self._run())
            if not first or self._failures(self._run()).keys() != first.keys():
                return None
        finally:
            self._workspace.restore(self._workspace.base)
        if not self._passing - first.keys():
            return None
        symptom = statement(first).replace(f"{self._workspace.inside}/", "")
        return replace(bug, fail_to_pass=tuple(first)[:KEPT_TESTS], statement=symptom)

    def _run(self) -> TestReport:
        report = self._runner.run(None, timeout=SUITE_SECONDS)
        if report.timed_out and not self._passing:
            raise InputError(
                "eval_suite",
                f"The tests in {self._workspace.inside} take more than {SUITE_SECONDS:.0f} s.",
                "Run it on an idle machine, or mark the package not runnable.",
            )
        return report

    def _failures(self, report: TestReport) -> dict[str, TestOutcome]:
        """What passed before and fails in its call; nothing where something is lost in another way."""
        # A bug that never ends is no bug for this: its runs would cost the whole time limit.
        lost = {nodeid: report.outcomes.get(nodeid) for nodeid in sorted(self._passing - _passed(report))}
        found = {
            nodeid: outcome
            for nodeid, outcome in lost.items()
            if outcome and outcome.outcome == "failed" and outcome.by in ("assertion", "error")
        }
        return found if len(found) == len(lost) else {}


def statement(failures: dict[str, TestOutcome]) -> str:
    """The symptom: what the first failing test is called and what it said. Never the place."""
    nodeid, outcome = next(iter(failures.items()))
    name = nodeid.rsplit("::", 1)[-1].split("[", 1)[0].removeprefix("test_").replace("_", " ").strip()
    return shorten(f"{name} does not work: {failure_text(outcome)}", 300)


def _bug(package: HeldOut, function: Function, mutation: Mutation) -> SingleEdit:
    return SingleEdit(package.name, function.path, mutation.line, mutation.before, mutation.after, mutation.kind)


def _passed(report: TestReport) -> frozenset[str]:
    return frozenset(nodeid for nodeid, outcome in report.outcomes.items() if outcome.outcome == "passed")


def runnable_bugs(cache: Path, seed: int, count: int, tries: int = 60) -> Iterator[SingleEdit]:
    """Valid bugs, evenly over the runnable packages; of each at most `tries` are tried."""
    packages = [package for package in held_out() if package.runnable]
    sandbox, python = Sandbox.find(), Path(sys.executable)
    for number, package in enumerate(packages):
        share = count * (number + 1) // len(packages) - count * number // len(packages)
        root = unpack(package, cache)
        with Validator(root, cache, python, sandbox) as validator:
            if not validator.passing:
                raise InputError("eval_suite", f"No test of {package.name} passes.", "Mark it not runnable.")
            tried = islice(draw(package, root, seed), tries)
            yield from islice((bug for b in tried if (bug := validator.validate(b))), share)


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the stored rows."""
    parser = argparse.ArgumentParser(prog="tinsmith.evals.single_edits", description="Make the bugs that are run.")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED)
    parser.add_argument("--count", type=int, default=20)
    given = parser.parse_args(arguments)
    for bug in runnable_bugs(given.cache, given.seed, given.count):
        print(json.dumps(bug.as_json()), flush=True)
        print(f"{bug.instance_id}: {len(bug.fail_to_pass)} tests fail", file=sys.stderr)


if __name__ == "__main__":
    main()
