"""Test suites of other people's projects: inside the sandbox they end as they end on the machine itself.

`make prove-projects` unpacks pinned source archives, runs each suite in the sandbox and, for comparison, with the
machine's own file system and without limits (`OpenMachine`: code of strangers is never run bare), and compares test by
test. What differs between two runs outside is no matter of the sandbox and is told apart.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from proofs.other_sandboxes import OpenMachine

from tinsmith.errors import InputError
from tinsmith.evals import held_out, unpack
from tinsmith.workspace import CommandSandbox, Sandbox, TestReport, TestRunner, Workspace

SECONDS = 300.0
MANY = 20
"""Tests that pass, from which on a suite counts: others need more than pytest, or were not released with tests."""
GIT = ("git", "-c", "user.name=proof", "-c", "user.email=proof@localhost")


def outcomes(repository: Path, place: Path, sandbox: CommandSandbox) -> tuple[dict[str, str], TestReport]:
    """What became of each test of the checkout, in a fresh copy."""
    workspace = Workspace.create(repository, place, python=Path(sys.executable), overlay=False)
    # As their own configuration has it but for plugins that are not here; parameters out of sets in one order.
    command = [
        "env",
        "PYTHONPATH=src:.",
        "PYTHONHASHSEED=0",
        str(workspace.python),
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
    ]
    report = TestRunner(workspace, sandbox, [*command, "-o", "addopts="]).run(None, timeout=SECONDS)
    return {nodeid: outcome.outcome for nodeid, outcome in report.outcomes.items()}, report


class Found(NamedTuple):
    """What came of a project: how many tests pass inside, whether one ends otherwise than outside, both in words."""

    passed: int
    differs: bool
    line: str


def prove(name: str, source: Path, sandbox: CommandSandbox) -> Found:
    """Runs the suite outside, inside, and outside again."""
    with tempfile.TemporaryDirectory(prefix="tinsmith-projects-") as directory:
        repository = Path(directory, "repository")
        shutil.copytree(source, repository)
        for command in (("init", "--quiet"), ("add", "--all", "--force"), ("commit", "--quiet", "-m", "as released")):
            subprocess.run([*GIT, *command], cwd=repository, check=True, capture_output=True)
        outside, _ = outcomes(repository, Path(directory, "outside"), OpenMachine())
        inside, report = outcomes(repository, Path(directory, "inside"), sandbox)
        again, _ = outcomes(repository, Path(directory, "again"), OpenMachine())
    steady = {test for test in outside.keys() | again.keys() if outside.get(test) == again.get(test)}
    unlike = sorted(test for test in steady | inside.keys() if test in steady and outside.get(test) != inside.get(test))
    passed = sum(outcome == "passed" for outcome in inside.values())
    words = f"{name}: {len(inside)} tests inside, {len(outside)} outside, {passed} pass, {report.seconds:.1f} s"
    if len(steady) < len(outside):
        words += f", {len(outside.keys() | again.keys()) - len(steady)} unsteady outside"
    if unlike:
        shown = ", ".join(f"{test} ({outside.get(test)} outside, {inside.get(test)} inside)" for test in unlike[:5])
        words += f"; {len(unlike)} differs: {shown}"
    return Found(passed, bool(unlike), words)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where every test of every project ends inside as outside, 1 where one does not, or a suite has no test."""
    parser = argparse.ArgumentParser(description="Runs other people's test suites inside and outside.")
    parser.add_argument("--cache", type=Path, required=True, help="where the pinned archives lie, or are fetched to")
    parser.add_argument("--only", action="append", help="a package; may be given again")
    given = parser.parse_args(arguments)
    sandbox, wrong, count = Sandbox.find(), 0, 0
    for package in held_out():
        if given.only and package.name not in given.only:
            continue
        try:
            found = prove(package.name, unpack(package, given.cache), sandbox)
        except InputError as error:
            print(f"{package.name}: not counted, {error.code}", flush=True)
            continue
        print(found.line if found.passed >= MANY else f"not counted, {found.line}", flush=True)
        count += found.passed >= MANY
        wrong += found.differs
    print(f"prove-projects: {count} projects, {'FAULTS in ' + str(wrong) if wrong else 'inside as outside'}")
    return 1 if wrong or not count else 0


if __name__ == "__main__":
    raise SystemExit(main())
