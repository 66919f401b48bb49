"""Recipe files: their schema, and reading them.

name = "rust"
files = ["Cargo.toml"]               # one of these, at the tests' directory or above, makes the recipe apply
in_tree = ["node_modules"]           # directories of installed packages in the checkout, mounted as they are
address_space = 1_099_511_627_776    # bytes; where a tool reserves far more than the usual limit and uses little

[[programs]]
name = "cargo"                       # looked for on the person's PATH
show = "bin"                         # of one outside /usr: `prefix` (its installation), `bin` (its directory)
home = "JAVA_HOME"                   # optional: a variable that is to name the installation

[[mounts]]
from = "${CARGO_HOME:-~/.cargo}/registry"   # on the machine; a shell pattern is allowed where there is no `to`
to = "~/.cargo/registry"                    # in the sandbox, `~` is its own home; default: the same path

[env]
CARGO_HOME = "/home/agent/.cargo"

[offline]                            # variables for as long as there is no network
CARGO_NET_OFFLINE = "true"

[[tests]]                            # the first that fits is the default test command
files = ["Cargo.toml"]               # all of these must be there; default: none
command = "cargo test"
junit = "build/*.xml"                # JUnit XML that the command writes, where no runner knows it
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from tinsmith.errors import InputError

_MAX_BYTES = 64 << 10
_NAMES = {"name", "files", "in_tree", "address_space", "programs", "mounts", "env", "offline", "tests"}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Program:
    """A program that a toolchain needs."""

    name: str
    show: Literal["prefix", "bin"] = "prefix"
    home: str = ""


@dataclass(frozen=True)
class Mount:
    """Something of the machine that the sandbox gets to see; paths as in the recipe."""

    source: str
    target: str = ""


@dataclass(frozen=True)
class TestCommand:
    """A default test command and the files that it needs."""

    __test__ = False

    command: str
    files: tuple[str, ...] = ()
    junit: str = ""


@dataclass(frozen=True)
class Recipe:
    """One toolchain."""

    name: str
    files: tuple[str, ...] = ()
    in_tree: tuple[str, ...] = ()
    address_space: int = 0
    programs: tuple[Program, ...] = ()
    mounts: tuple[Mount, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    offline: tuple[tuple[str, str], ...] = ()
    tests: tuple[TestCommand, ...] = ()

    def extended(self, other: "Recipe") -> "Recipe":
        """What a person's file of the same name adds; its variables and test commands come first."""
        return replace(
            self,
            files=(*self.files, *other.files),
            in_tree=(*self.in_tree, *other.in_tree),
            address_space=max(self.address_space, other.address_space),
            programs=(*self.programs, *other.programs),
            mounts=(*self.mounts, *other.mounts),
            env=tuple({**dict(self.env), **dict(other.env)}.items()),
            offline=tuple({**dict(self.offline), **dict(other.offline)}.items()),
            tests=(*other.tests, *self.tests),
        )


def load_recipes(environment: Mapping[str, str] = os.environ, *, top: Path | None = None) -> tuple[Recipe, ...]:
    """The built-in recipes with what the person's files add.

    A configuration directory in the checkout at `top` is a stranger's and not read.  Raises InputError `bad_recipe`.
    """
    found: dict[str, Recipe] = {}
    for file in sorted(
        resources.files("tinsmith.workspace.environments").joinpath("recipes").iterdir(), key=lambda file: file.name
    ):
        if file.name.endswith(".toml"):
            recipe = parse_recipe(file.read_text(encoding="utf-8"), file.name)
            found[recipe.name] = recipe
    directory = _person_directory(environment)
    if top is not None and directory.resolve().is_relative_to(top.resolve()):
        return tuple(found.values())
    for path in sorted(directory.glob("*.toml")):
        try:
            content = path.read_bytes()
            text = content[: _MAX_BYTES + 1].decode()
        except (OSError, UnicodeDecodeError) as error:
            raise _bad(str(path), str(error)) from error
        recipe = parse_recipe(text, str(path))
        before = found.get(recipe.name)
        found[recipe.name] = before.extended(recipe) if before else recipe
    return tuple(found.values())


def _person_directory(environment: Mapping[str, str]) -> Path:
    named = environment.get("XDG_CONFIG_HOME", "")
    place = Path(named) if os.path.isabs(named) else Path(environment.get("HOME", "/nonexistent"), ".config")
    return place / "tinsmith" / "environments"


def parse_recipe(text: str, where: str) -> Recipe:
    """Raises InputError `bad_recipe`."""
    if len(text) > _MAX_BYTES:
        raise _bad(where, "it is too long")
    try:
        values: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _bad(where, str(error)) from error
    _known(values, _NAMES, where)
    name = _text(values.get("name"), f"{where}: name")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise _bad(where, f"{name!r} is no name: lower-case letters, digits and `-`")
    return Recipe(
        name,
        _files(values.get("files", []), f"{where}: files"),
        _files(values.get("in_tree", []), f"{where}: in_tree"),
        _number(values.get("address_space", 0), f"{where}: address_space"),
        tuple(_program(row, where) for row in _rows(values.get("programs", []), f"{where}: programs")),
        tuple(_mount(row, where) for row in _rows(values.get("mounts", []), f"{where}: mounts")),
        _variables(values.get("env", {}), f"{where}: env"),
        _variables(values.get("offline", {}), f"{where}: offline"),
        tuple(_test(row, where) for row in _rows(values.get("tests", []), f"{where}: tests")),
    )


def _program(row: dict[str, Any], where: str) -> Program:
    _known(row, {"name", "show", "home"}, f"{where}: programs")
    name = _text(row.get("name"), f"{where}: programs.name")
    show = row.get("show", "prefix")
    home = row.get("home", "")
    if os.sep in name or show not in ("prefix", "bin") or (home and not _VARIABLE.fullmatch(str(home))):
        raise _bad(where, f"programs: {name!r} is a name on PATH; show is `prefix` or `bin`, home a variable")
    return Program(name, show, str(home))


def _mount(row: dict[str, Any], where: str) -> Mount:
    _known(row, {"from", "to"}, f"{where}: mounts")
    source = _text(row.get("from"), f"{where}: mounts.from")
    target = _text(row.get("to", ""), f"{where}: mounts.to", empty=True)
    if not source.startswith(("/", "~/", "${")) or not (target == "" or target.startswith(("/", "~/"))):
        raise _bad(where, f"mounts: {source!r} and {target!r} begin with `/`, `~/` or a variable")
    if ".." in (*source.split("/"), *target.split("/")):
        raise _bad(where, f"mounts: {source!r} has `..` in it")
    return Mount(source, target)


def _test(row: dict[str, Any], where: str) -> TestCommand:
    _known(row, {"command", "files", "junit"}, f"{where}: tests")
    return TestCommand(
        _text(row.get("command"), f"{where}: tests.command"),
        _files(row.get("files", []), f"{where}: tests.files"),
        _text(row.get("junit", ""), f"{where}: tests.junit", empty=True),
    )


def _variables(value: object, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict) or not all(_VARIABLE.fullmatch(str(name)) for name in value):
        raise _bad(where, "it holds variables and their texts")
    return tuple((str(name), _text(text, f"{where}.{name}", empty=True)) for name, text in value.items())


def _rows(value: object, where: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise _bad(where, "it is a list of tables, [[...]]")
    return value


def _files(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise _bad(where, "it is a list of names")
    names = tuple(_text(name, where) for name in value)
    if any(name.startswith("/") or ".." in name.split("/") for name in names):
        raise _bad(where, "names are relative and hold no `..`")
    return names


def _number(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1 << 47:
        raise _bad(where, "it is a number of bytes")
    return value


def _text(value: object, where: str, *, empty: bool = False) -> str:
    if not isinstance(value, str) or "\0" in value or not (value or empty):
        raise _bad(where, "it is a text")
    return value


def _known(table: dict[str, Any], names: set[str], where: str) -> None:
    for name in table:
        if name not in names:
            raise _bad(where, f"there is no {name!r} here, only {', '.join(sorted(names))}")


def _bad(where: str, words: str) -> InputError:
    return InputError(
        "bad_recipe", f"{where}: {words}", "docs/how-to/your-repository.md shows how a recipe is written."
    )
