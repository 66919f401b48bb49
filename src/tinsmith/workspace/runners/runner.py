"""The seam between the one way to run tests and the many runners."""

import fnmatch
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol

from tinsmith.errors import InputError
from tinsmith.workspace.sandbox import Completed
from tinsmith.workspace.test_outcomes import Reading
from tinsmith.workspace.tree import read_inside, read_regular, resolve_inside

INSIDE = Path(__file__).with_name("inside")
"""What runs in the sandbox, on the host."""
INSIDE_PLACE = "/opt/tinsmith"
REPORT_PLACE = "/opt/tinsmith-report"
"""The directory for reports, in the sandbox."""
REPORT_LIMIT = 256 << 20
"""Bytes of one report file; a larger one is not read."""
Trace = Literal["no", "call", "whole"]


@dataclass(frozen=True)
class Launch:
    """One start of a test command."""

    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    """{name: content}, put into the report directory before."""


@dataclass(frozen=True)
class Place:
    """Where a test command runs, as the host sees it.  Nothing in the sandbox runs while the host looks."""

    tree: Path
    """The copy, on the host."""
    inside: Path
    """The absolute path at which it stands in the sandbox."""
    cwd: str
    """Relative to the top."""
    python: Path

    def read(self, path: str) -> bytes | None:
        """A regular file by its path from the top; None where there is none, and none outside of the tree."""
        try:
            return read_inside(self.tree, path)
        except (OSError, InputError):
            return None

    def has(self, path: str) -> bool:
        try:
            return resolve_inside(self.tree, path).exists()
        except (OSError, InputError):
            return False

    def find(self, pattern: str, limit: int = 10_000) -> Iterator[Path]:
        """Regular files below `cwd` whose path from there matches a shell pattern (`*` matches `/` too)."""
        top = resolve_inside(self.tree, self.cwd)
        for directory, names, files in os.walk(top):
            names[:] = sorted(name for name in names if name not in (".git", "node_modules"))
            for name in sorted(files):
                path = Path(directory, name)
                if fnmatch.fnmatchcase(str(path.relative_to(top)), pattern) and stat.S_ISREG(path.lstat().st_mode):
                    limit -= 1
                    if limit < 0:
                        return
                    yield path

    def in_tree(self, name: str) -> str | None:
        """A path as a report tells it (absolute, `file://`, or relative to `cwd`), from the top.

        None outside the tree and in installed packages.  Symlinks are not followed: it is only a name.
        """
        name = name.removeprefix("file://")
        path = os.path.normpath(os.path.join(self.inside, self.cwd, name))
        if "\0" in name or ":" in name.partition("/")[0]:
            return None  # `node:internal/...`, `webpack://...`
        if not path.startswith(f"{self.inside}/"):
            return None
        below = path[len(str(self.inside)) + 1 :]
        installed = {"node_modules", "site-packages", "vendor"}
        return None if installed.intersection(below.split("/")) else below

    def from_cwd(self, path: str) -> str:
        """A path from the top, as one relative to `cwd`."""
        return os.path.relpath(path, self.cwd)


class Runner(Protocol):
    """One test runner, bound to a command and a place.

    Each has beside this a class method `recognise(command, place)`: the runner for that command, or None.
    """

    name: str
    starts_with_report: bool
    """Whether a run without any report means that the command cannot be used at all."""
    narrows: bool
    """Whether a run of chosen tests runs these only; else others' outcomes are left out afterwards."""

    def collect(self) -> Launch | None:
        """Lists the tests without running one; None where the runner cannot."""
        ...

    def run(self, nodeids: Sequence[str] | None, trace: Trace) -> Launch:
        """Runs the tests that `nodeids` names (files, classes or tests), or all."""
        ...

    def read(self, directory: Path, completed: Completed) -> Reading | None:
        """What the report in `directory` (on the host) tells; None where there is none."""
        ...


def program(word: str) -> str:
    """The name of a program, without its directory."""
    return PurePosixPath(word).name


def read_report(path: Path) -> bytes | None:
    """A report file, which the tests can write too: None for one that is no regular file or too large."""
    try:
        if path.lstat().st_size > REPORT_LIMIT:
            return None
        return read_regular(path)
    except OSError:
        return None
