"""From recipes, a checkout and a machine: what is mounted, which variables are set, how the tests are run.

Nothing is executed to find that out, and nothing of the checkout is believed: its file names choose recipes, no more.
"""

import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinsmith.workspace.environments.recipe import Program, Recipe, TestCommand, load_recipes
from tinsmith.workspace.git import run_git
from tinsmith.workspace.sandbox import Bind

HOME_INSIDE = Path("/home/agent")
_DEPTH = 3
"""Levels below the top at which installed packages are looked for, as in a repository of several packages."""
_NEVER = (".ssh", ".gnupg", ".aws", ".config", ".kube", ".docker", ".local/share/keyrings", ".password-store", ".netrc")
_PYTHON = ("pyproject.toml", "setup.py", "setup.cfg", "pytest.ini", "tox.ini", "conftest.py", "Pipfile")
"""A package with one of these is tested by Python's own default, whatever else lies beside it (as in Django)."""
_BROAD = ("", ".local", ".local/share", ".cache", ".config", "bin")
"""Below the home directory; far more than a toolchain lies there."""


@dataclass(frozen=True)
class Environment:
    """What the sandbox gets of the machine for one checkout, beside the Python of `interpreter`."""

    names: tuple[str, ...] = ()
    """Of the recipes that apply."""
    mounts: tuple[Bind, ...] = ()
    """(on the machine, in the sandbox), to be mounted read-only."""
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    offline: Mapping[str, str] = field(default_factory=dict[str, str])
    """Variables for as long as there is no network."""
    path: tuple[str, ...] = ()
    """Directories in the sandbox for PATH, after the interpreter's."""
    test_command: str | None = None
    """None: Python's own default."""
    junit: str | None = None
    address_space: int = 0
    """Bytes of one process that tools reserve (see `Limits.address_space`); memory itself has a limit of its own."""
    missing: tuple[str, ...] = ()
    """Programs that a recipe needs and this machine lacks."""
    refused: tuple[str, ...] = ()
    """Mounts that would have shown more of the home directory than a toolchain."""

    def variables(self, python: Path, *, online: bool) -> dict[str, str]:
        """The variables of a command; `python` is the directory of the tests' interpreter, which comes first."""
        path = (str(python), *self.path, "/usr/local/bin:/usr/bin:/bin")
        return {**self.env, **({} if online else self.offline), "PATH": ":".join(path)}


def detect(
    top: Path,
    package: str = ".",
    *,
    in_tree: Collection[str] = (),
    recipes: Sequence[Recipe] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Environment:
    """The environment of the checkout at `top` whose tests run in `package` (relative to the top).

    `in_tree` are its directories of installed packages (see `installed_in_tree`).  Raises InputError `bad_recipe`.
    """
    top = top.resolve()
    recipes = load_recipes(environment, top=top) if recipes is None else recipes
    machine = _Machine(top, environment)
    applying = [recipe for recipe in recipes if _marked(top, package, recipe.files)]
    for recipe in applying:
        for program in recipe.programs:
            machine.add_program(program)
        for mount in recipe.mounts:
            machine.add_mount(mount.source, mount.target)
        machine.env.update(recipe.env)
        machine.offline.update(recipe.offline)
    for path in in_tree:
        machine.mounts[top / path] = top / path
    test = _test_command(top / package, applying)
    return Environment(
        tuple(recipe.name for recipe in applying),
        tuple(dict.fromkeys((source, target) for target, source in machine.mounts.items())),
        machine.env,
        machine.offline,
        tuple(dict.fromkeys(machine.path)),
        test.command if test else None,
        (test.junit or None) if test else None,
        max((recipe.address_space for recipe in applying), default=0),
        tuple(dict.fromkeys(machine.missing)),
        tuple(dict.fromkeys(machine.refused)),
    )


def installed_in_tree(top: Path, recipes: Sequence[Recipe]) -> tuple[str, ...]:
    """The directories of installed packages in a checkout, relative to its top; not what git tracks.

    A symlink is none: what it leads to is not the checkout's.
    """
    names = {name for recipe in recipes if _marked(top, ".", recipe.files, below=True) for name in recipe.in_tree}
    found = list(_directories(top, names)) if names else []
    if not found:
        return ()
    tracked = run_git(["ls-files", "-z", "--", *found], cwd=top).stdout.split(b"\0")
    return tuple(path for path in found if not any(os.fsdecode(name).startswith(f"{path}/") for name in tracked))


def _directories(top: Path, names: Collection[str], prefix: str = "", depth: int = 0) -> Iterator[str]:
    try:
        found = [entry.name for entry in os.scandir(top / prefix) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for name in sorted(found):
        if name in names:
            yield prefix + name
        elif depth < _DEPTH and not name.startswith("."):
            yield from _directories(top, names, f"{prefix}{name}/", depth + 1)


def _marked(top: Path, package: str, files: Sequence[str], *, below: bool = False) -> bool:
    """Whether one of `files` lies in the package or above it, up to the top; or in a directory right below it."""
    place = top / package
    places = [place, *(parent for parent in place.parents if parent.is_relative_to(top))]
    if below:
        with os.scandir(top) as children:
            places += [Path(child.path) for child in children if child.is_dir(follow_symlinks=False)]
    # Of `os.path`, which says no of what may not be looked at.
    return any(os.path.isfile(directory / name) for directory in places for name in files)


def _test_command(package: Path, recipes: Sequence[Recipe]) -> TestCommand | None:
    """Of the first recipe whose own files are in the package itself; None for a Python package."""
    if any(os.path.isfile(package / name) for name in _PYTHON):
        return None
    for recipe in recipes:
        for test in recipe.tests:
            own = any(os.path.isfile(package / name) for name in recipe.files)
            if own and all(os.path.isfile(package / name) for name in test.files):
                return test
    return None


class _Machine:
    """What the recipes ask of the machine, as far as it is there and may be shown."""

    def __init__(self, top: Path, environment: Mapping[str, str]) -> None:
        self._top = top
        self._environment = environment
        home = environment.get("HOME", "")
        self._home = Path(home) if os.path.isabs(home) else Path("/nonexistent")
        self.mounts: dict[Path, Path] = {}
        """{in the sandbox: on the machine}."""
        self.env: dict[str, str] = {}
        self.offline: dict[str, str] = {}
        self.path: list[str] = []
        self.missing: list[str] = []
        self.refused: list[str] = []

    def add_program(self, program: Program) -> None:
        found = shutil.which(program.name, path=self._own_path())
        if found is None:
            self.missing.append(program.name)
            return
        real = Path(os.path.realpath(found))
        if program.home:
            self.env[program.home] = str(real.parent.parent)
        if real.is_relative_to("/usr"):
            return
        if program.show == "bin":
            # The directory as PATH has it: what lies in it may be links, and choose by their names.
            directory = Path(found).parent
            if self._may_show(directory):
                self._show(directory, directory)
                self.path.append(str(directory))
            if not real.is_relative_to(directory) and self._may_show(real):
                self._show(real, real)
            return
        prefix = real.parent.parent
        shown = prefix if self._may_show(prefix) else real
        if self._may_show(shown):
            self._show(shown, shown)
            self.path.append(str(real.parent))

    def add_mount(self, source: str, target: str) -> None:
        for path in self._sources(source, pattern=not target):
            inside = HOME_INSIDE / target[2:] if target.startswith("~/") else Path(target or path)
            if self._may_show(path):
                self._show(path, inside)

    def _sources(self, text: str, *, pattern: bool) -> list[Path]:
        """The existing paths that a recipe's `from` means; variables are the person's."""

        def value(found: re.Match[str]) -> str:
            return self._environment.get(found[1]) or found[2] or ""

        path = re.sub(r"\$\{(\w+)(?::-((?:[^{}]|\$\{[^{}]*\})*))?\}", value, text)
        path = re.sub(r"\$\{(\w+)(?::-([^{}]*))?\}", value, path)
        if path.startswith("~/"):
            path = str(self._home / path[2:])
        if not os.path.isabs(path) or ".." in path.split("/"):
            return []
        if pattern and re.search(r"[*?\[]", path):
            return sorted(Path("/").glob(path.lstrip("/")))
        return [Path(path)] if os.path.exists(path) else []

    def _may_show(self, path: Path) -> bool:
        """Not the home directory or what holds it, not where secrets lie, not the checkout or a part of it."""
        allowed = all(self._is_narrow(place) for place in {path, Path(os.path.realpath(path))})
        if not allowed:
            self.refused.append(str(path))
        return allowed

    def _is_narrow(self, path: Path) -> bool:
        for home in {self._home, Path(os.path.realpath(self._home))}:
            if home.is_relative_to(path) or any(path == home / name for name in _BROAD if name):
                return False
            if any(path.is_relative_to(home / name) or (home / name).is_relative_to(path) for name in _NEVER):
                return False
        return not path.is_relative_to(self._top) and not self._top.is_relative_to(path)

    def _show(self, source: Path, target: Path) -> None:
        self.mounts.setdefault(target, source)

    def _own_path(self) -> str:
        """PATH without what lies in the checkout, which is a stranger's."""
        places = self._environment.get("PATH", os.defpath).split(os.pathsep)
        own = (p for p in places if os.path.isabs(p) and not Path(os.path.realpath(p)).is_relative_to(self._top))
        return os.pathsep.join(own)
