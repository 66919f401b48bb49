"""Two kinds of bug that a model is measured on, as they are stored: a planted edit, and one that people made.

The stored rows hold a place and a line or two, never a tree of code.
"""

import difflib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from tinsmith.evals.archives import Archive


@dataclass(frozen=True)
class SingleEdit:
    """A bug planted in one line of a held-out package.

    `line` counts from 1; `before` is the package's own line (the fix), `after` the broken one. `statement` is
    the symptom as a person might report it, `fail_to_pass` the pytest node ids that the bug makes fail; both
    are empty for bugs that are only ranked and never run.
    """

    package: str
    path: str
    line: int
    before: str
    after: str
    kind: str
    statement: str = ""
    fail_to_pass: tuple[str, ...] = ()

    @property
    def instance_id(self) -> str:
        """Unique among the bugs of a set."""
        return f"{self.package}-{self.path.replace('/', '.').removesuffix('.py')}-{self.line}-{self.kind}"

    def plant(self, source: str) -> str:
        """The file with the bug in it. Raises ValueError where the line is not the one expected."""
        return _with_line(source, self.line, self.before, self.after)

    def as_json(self) -> dict[str, Any]:
        """The stored row."""
        return asdict(self)

    def swe_bench(self, base_commit: str, source: str, pass_to_pass: Sequence[str]) -> dict[str, Any]:
        """The row in SWE-bench's fields (`source`: the file without the bug) plus `place`."""
        broken, fixed = _diff_lines(self.plant(source)), _diff_lines(source)
        diff = difflib.unified_diff(broken, fixed, f"a/{self.path}", f"b/{self.path}")
        return {
            "instance_id": self.instance_id,
            "repo": self.package,
            "base_commit": base_commit,
            "problem_statement": self.statement,
            "patch": f"diff --git a/{self.path} b/{self.path}\n" + "".join(diff),
            "test_patch": "",
            "FAIL_TO_PASS": list(self.fail_to_pass),
            "PASS_TO_PASS": list(pass_to_pass),
            "place": {"path": self.path, "line": self.line, "before": self.before, "after": self.after},
        }


@dataclass(frozen=True)
class RealBug:
    """A one-line bug of a published release: the release is the broken state, `fixed` the line that mends it.

    `link` says where it was fixed; `report` is our own short description of the symptom.
    """

    package: str
    version: str
    file: str
    sha256: str
    path: str
    line: int
    fixed: str
    link: str
    report: str

    @property
    def instance_id(self) -> str:
        """Unique among the real bugs."""
        return f"{self.package}-{self.version}-{self.path.replace('/', '.').removesuffix('.py')}-{self.line}"

    @property
    def archive(self) -> Archive:
        """The release."""
        return Archive(self.package, self.version, self.file, self.sha256)


@cache
def single_edits() -> tuple[SingleEdit, ...]:
    """The twenty bugs that are run."""
    return tuple(single_edit(row) for row in _rows("single_edits.jsonl"))


def single_edit(row: dict[str, Any]) -> SingleEdit:
    """The bug of a stored row."""
    fields: dict[str, Any] = {**row, "fail_to_pass": tuple(row["fail_to_pass"])}
    return SingleEdit(**fields)


@cache
def real_bugs() -> tuple[RealBug, ...]:
    """Bugs that people made and mended."""
    return tuple(RealBug(**row) for row in _rows("real_bugs.jsonl"))


def _rows(name: str) -> list[dict[str, Any]]:
    text = files("tinsmith.evals").joinpath(name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _diff_lines(text: str) -> list[str]:
    *lines, last = text.split("\n")
    return [line + "\n" for line in lines] + ([f"{last}\n\\ No newline at end of file\n"] if last else [])


def _with_line(source: str, line: int, expected: str, new: str) -> str:
    lines = source.split("\n")
    if not 1 <= line <= len(lines) or lines[line - 1] != expected:
        raise ValueError(f"line {line} is not {expected!r}")
    lines[line - 1] = new
    return "\n".join(lines)
