"""False alarms of the gate's patch audit on fixes that people really made, each with the test that shows it.

    python -m tinsmith.evals.honest_fixes                       # what is packaged: no network, no cache
    python -m tinsmith.evals.honest_fixes --repository CLONE …  # fix commits of clones, with the tests they bring

Packaged are one-line fixes of published releases with a test of our own (`honest_fixes.jsonl`), and the fixes of the
planted bugs (`single_edits.jsonl`), which have no test beside them. Of a clone, a fix is a commit that says so
in its subject, changes one to three source files by at most sixty lines, and brings or changes a test.
"""

import argparse
import ast
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from tinsmith.codebase import is_test_file
from tinsmith.evals.bugs import single_edits
from tinsmith.evals.repositories import git
from tinsmith.resolve.audit_literals import test_code
from tinsmith.resolve.findings import Finding
from tinsmith.resolve.patch_audit import audit_patch

MAX_SOURCE_FILES, MAX_CHANGED_LINES = 3, 60
_FIX = re.compile(r"\b(fix|fixes|fixed|bug|bugfix)\b", re.IGNORECASE)
_NOT_A_FIX = re.compile(r"\b(typo|docs?|documentation|readme|lint|flake8|pep8|mypy|typing|ci|travis|changelog)\b", re.I)
_FORMS = (
    "{}",
    "{}\n        pass",
    "if x:\n        pass\n    {}\n        pass",
    "try:\n        pass\n    {}\n        pass",
    "f({})",
    "x = ({}",
    "({}",
    "{})",
    "x = {{{}",
    "x = [{}]",
)


@dataclass(frozen=True)
class HonestFix:
    """A fix as the audit sees it: {path: text} before and after, and the texts of the tests that show it."""

    name: str
    before: dict[str, str]
    after: dict[str, str]
    tests: tuple[str, ...]

    def findings(self) -> list[Finding]:
        """The audit's false alarms."""
        return audit_patch(self.before, self.after, self.tests)


def packaged_fixes() -> list[HonestFix]:
    """The packaged fixes; a line stands in the simplest function that can hold it."""
    text = files("tinsmith.evals").joinpath("honest_fixes.jsonl").read_text(encoding="utf-8")
    found: list[HonestFix] = []
    for row in map(json.loads, text.splitlines()):
        path, name = row["path"], f"{row['package']}-{row['version']}-{row['path']}:{row['line']}"
        found.append(HonestFix(name, {path: _around(row["before"])}, {path: _around(row["after"])}, (row["test"],)))
    for bug in single_edits():
        fixed, broken = {bug.path: _around(bug.before)}, {bug.path: _around(bug.after)}
        found.append(HonestFix(bug.instance_id, broken, fixed, ()))
    return found


def fixes_in(repository: Path) -> Iterator[HonestFix]:
    """The fix commits of a clone, newest first. Raises MachineError `eval_git`."""
    for line in git(repository, "log", "--no-merges", "--format=%H %s").splitlines():
        commit, _, subject = line.partition(" ")
        if not _FIX.search(subject) or _NOT_A_FIX.search(subject):
            continue
        changed: dict[str, int] = {}
        for row in git(repository, "show", "--format=", "--numstat", "--no-renames", commit).splitlines():
            added, removed, path = row.split("\t")
            if path.endswith(".py") and added != "-":
                changed[path] = int(added) + int(removed)
        tests = [path for path in changed if is_test_file(path)]
        sources = [path for path in changed if not is_test_file(path) and path not in ("setup.py", "docs/conf.py")]
        size = sum(changed[path] for path in sources)
        if not tests or not 1 <= len(sources) <= MAX_SOURCE_FILES or size > MAX_CHANGED_LINES:
            continue
        try:
            shown = [text for path in tests for text in _new_tests(repository, commit, path)]
            before = {path: text for path in sources if (text := _at(repository, f"{commit}~1", path))}
            after = {path: text for path in sources if (text := _at(repository, commit, path))}
        except UnicodeDecodeError:
            continue
        if shown:
            yield HonestFix(f"{commit[:10]} {subject[:60]}", before, after, tuple(shown))


def _new_tests(repository: Path, commit: str, path: str) -> list[str]:
    """The texts of the tests that a commit brings or changes in a file."""
    before, after = _at(repository, f"{commit}~1", path), _at(repository, commit, path)
    known = {ast.dump(function) for _, function in _tests_of(before)}
    return [
        test_code(after, f"{path}::{name}") for name, function in _tests_of(after) if ast.dump(function) not in known
    ]


def _tests_of(text: str) -> list[tuple[str, ast.stmt]]:
    try:
        body = ast.parse(text).body
    except SyntaxError:  # Python 2, for one
        return []
    inner = [(f"{c.name}::", s) for c in body if isinstance(c, ast.ClassDef) for s in c.body]
    return [
        (prefix + statement.name, statement)
        for prefix, statement in [*(("", s) for s in body), *inner]
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name.startswith("test")
    ]


def _at(repository: Path, commit: str, path: str) -> str:
    listed = git(repository, "ls-tree", "--name-only", commit, "--", path)
    return git(repository, "show", f"{commit}:{path}") if listed else ""


def _around(line: str) -> str:
    for form in _FORMS:
        text = "def f():\n    " + form.format(line.strip()) + "\n"
        try:
            ast.parse(text)
        except SyntaxError:
            continue
        return text
    raise ValueError(f"no function can hold {line!r}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints each false alarm and, per rule, how many fixes have one."""
    parser = argparse.ArgumentParser(prog="tinsmith.evals.honest_fixes", description="False alarms of the patch audit.")
    parser.add_argument("--repository", type=Path, nargs="+", default=[], help="clones to read fix commits from")
    parser.add_argument("--limit", type=int, default=40, help="commits of each clone at most")
    given = parser.parse_args(arguments)
    fixes = packaged_fixes() if not given.repository else []
    for repository in given.repository:
        found = fixes_in(repository)
        fixes += [fix for fix, _ in zip(found, range(given.limit), strict=False)]
    rules = Counter[str]()
    alarmed = 0
    for fix in fixes:
        findings = fix.findings()
        alarmed += bool(findings)
        rules.update({finding.rule for finding in findings})
        for finding in findings:
            print(f"{fix.name}\n    {finding.path}:{finding.line} {finding.rule}: {finding.text}")
    print("| rule | fixes with a false alarm |\n| --- | --- |")
    for rule, count in rules.most_common():
        print(f"| {rule} | {count} |")
    print(f"{alarmed} of {len(fixes)} honest fixes have a finding ({100 * alarmed / max(1, len(fixes)):.1f} %)")


if __name__ == "__main__":
    main()
