"""Which files of a repository decide how its tests run, and what a patch does to them.

The gate judges a patch with these files as the base has them, so that no patch can decide how it is judged.
"""

import ast
import configparser
import shlex
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

from tinsmith.codebase import is_test_file
from tinsmith.resolve.findings import Finding, parsed

_CONFIGURATION = frozenset(
    {
        "conftest.py",
        "pytest.ini",
        ".pytest.ini",
        "pytest.toml",
        ".pytest.toml",
        "tox.ini",
        "setup.cfg",
        "pyproject.toml",
        ".coveragerc",
        "sitecustomize.py",
        "usercustomize.py",
    }
)
_CONFIGURED_BY = {
    "make": ("Makefile", "makefile", "GNUmakefile"),
    "gmake": ("Makefile", "makefile", "GNUmakefile"),
    "nox": ("noxfile.py",),
    "just": ("justfile", "Justfile"),
}
_TEST_DIRECTORIES = frozenset({"tests", "testdata", "test_data", "__snapshots__", "golden"})
_METADATA = (".egg-info", ".dist-info")
# What a test run imports beside the standard library and what is installed; the first is our own plugin.
_MACHINERY = frozenset({"tinsmith_pytest_report", "pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments"})
_COMPILED = (".so", ".pyd")
_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_BYTECODE = (".pyc", ".pyo")


class Harness:
    """The files of one repository that decide how its tests run."""

    def __init__(
        self, base: Iterable[str], tests: Iterable[str] = (), command: str = "", installed: Iterable[str] = ()
    ) -> None:
        """`base`: the paths of the clean base; `tests`: node ids that it collects; `command`: the test command.

        `installed` are the top-level modules that the interpreter has without the repository.
        """
        self._base = frozenset(base)
        words = shlex.split(command)
        named = {name for word in words for name in _CONFIGURED_BY.get(PurePath(word).name, ())}
        self._named = named | {word.removeprefix("./") for word in words} & self._base
        self._modules = _MACHINERY | sys.stdlib_module_names | frozenset(installed)
        # `test` and `testing` are tests only where tests lie in them: `django/test` is a part of Django.
        self._test_directories = {
            parent
            for path in self._base
            if is_test_file(PurePath(path).name)
            for parent in map(str, PurePath(path).parents)
            if PurePath(parent).name in ("test", "testing")
        }
        self._holding_tests = {nodeid.partition("::")[0] for nodeid in tests if not _is_doctest(nodeid)}

    def decides(self, path: str) -> bool:
        """Whether `path` is a test, or says how tests run."""
        *directories, name = path.split("/")
        return (
            self._is_test(path)
            or name in _CONFIGURATION
            or name.endswith((".pth", *_BYTECODE))
            or "__pycache__" in directories
            or any(directory.endswith(_METADATA) for directory in directories)
            or path in self._named
        )

    def shadows(self, path: str) -> bool:
        """Whether a new `path` would be imported in place of a module that the tests need and do not own."""
        parts = path.split("/")
        for depth, part in enumerate(parts):
            place = "/".join(parts[: depth + 1])
            module = part.partition(".")[0] if depth == len(parts) - 1 else part
            if module in self._modules and self._is_new(place) and self._may_be_imported_from(parts[:depth]):
                return True
        return False

    def keeps(self, path: str) -> bool:
        """Whether the judged copy has `path` as the base has it."""
        return self.decides(path) or self.shadows(path)

    def audit(
        self,
        before: Mapping[str, str],
        after: Mapping[str, str],
        symlinks: Iterable[str] = (),
        tests: Iterable[str] = (),
    ) -> list[Finding]:
        """What a patch does to these files, where it weakens the evidence. Texts of the changed files by path.

        `tests` are the texts of the files that hold the reproduction: what data they name, a patch must not change.
        """
        found: list[Finding] = []
        links, tests = set(symlinks), list(tests)
        for path in sorted(before.keys() | after.keys()):
            old, new = before.get(path), after.get(path)
            if old is None and self.shadows(path):
                text = f"`{path}` would be imported in place of a module that the tests need; it was left out."
                found.append(Finding("shadow", path, 1, text))
            elif self.decides(path):
                if text := self._weakens(path, old, new):
                    found.append(Finding("test-machinery", path, 1, text))
            elif path in links:
                found.append(
                    Finding("opaque", path, 1, f"`{path}` became a symbolic link; what it leads to was not read.")
                )
            elif new is not None and path.endswith(_COMPILED):
                found.append(Finding("opaque", path, 1, f"`{path}` is compiled code, which nobody can read in a diff."))
            elif old is not None and not path.endswith(".py") and any(PurePath(path).name in text for text in tests):
                text = f"`{path}` is named in the reproduction, so the patch changes what it is judged by."
                found.append(Finding("test-data", path, 1, text))
            elif path in self._holding_tests:
                text = f"`{path}` holds tests itself, so the patch changes what judges it."
                found.append(Finding("test-machinery", path, 1, text))
            elif old is not None and self._looks_like_support(path):
                text = f"`{path}` looks like a part of what runs the tests."
                found.append(Finding("test-machinery", path, 1, text))
        return found

    def _looks_like_support(self, path: str) -> bool:
        *directories, name = path.split("/")
        return not {"test", "testing"}.isdisjoint([*directories, name.removesuffix(".py").lstrip("_")])

    def _is_test(self, path: str) -> bool:
        parts = path.split("/")
        if is_test_file(parts[-1]) or not _TEST_DIRECTORIES.isdisjoint(parts[:-1]):
            return True
        return any(str(parent) in self._test_directories for parent in PurePath(path).parents)

    def _is_new(self, place: str) -> bool:
        return place not in self._base and not any(path.startswith(place + "/") for path in self._base)

    def _may_be_imported_from(self, directories: list[str]) -> bool:
        """A directory can be on the path of imports if it is not a package."""
        return not directories or "/".join([*directories, "__init__.py"]) not in self._base

    def _weakens(self, path: str, old: str | None, new: str | None) -> str:
        """What the person must know; nothing where the change cannot weaken the evidence."""
        name = PurePath(path).name
        if name.endswith(_BYTECODE) or "__pycache__" in path.split("/"):
            return ""
        if name in _CONFIGURATION and name not in ("conftest.py", "sitecustomize.py", "usercustomize.py"):
            if _pytest_part(name, old) == _pytest_part(name, new):
                return ""
            return f"The patch changes how tests run, in `{path}`; it was judged with the base's settings."
        if self._is_test(path) and name != "conftest.py":
            if old is None or (new is not None and _only_adds(old, new)):
                return ""
            did = "deletes" if new is None else "changes"
            return f"The patch {did} `{path}`, which existed; it was judged with the tests as they were."
        return f"`{path}` decides how tests run; the patch was judged without its change."


def installed_modules(mounts: Iterable[Path]) -> set[str]:
    """The top-level modules in the site-packages below an interpreter's `mounts`."""
    found: set[str] = set()
    for mount in mounts:
        for pattern in ("site-packages", "python3*/site-packages", "lib/python3*/site-packages"):
            for place in mount.glob(pattern):
                found.update(entry.name.partition(".")[0] for entry in place.iterdir() if "-" not in entry.name)
    return {name for name in found if name.isidentifier() and not name.startswith("__")}


def _is_doctest(nodeid: str) -> bool:
    """A doctest of a module has the dotted name of what it is in: `shop/prices.py::shop.prices.discount`."""
    path, _, rest = nodeid.partition("::")
    return path.endswith(".py") and ("." in rest.partition("[")[0] or rest == PurePath(path).stem)


def _pytest_part(name: str, text: str | None) -> object:
    """What of a configuration file tells pytest or coverage something; the text itself where it cannot be read."""
    if text is None:
        return {}
    try:
        if name.endswith(".toml"):
            tool = tomllib.loads(text).get("tool", {})
            part = {key: tool[key] for key in ("pytest", "coverage") if key in tool}
            return tomllib.loads(text) if "pytest" in name else part
        parser = configparser.RawConfigParser(strict=False)
        parser.read_string(text)
    except (tomllib.TOMLDecodeError, configparser.Error):
        return text
    ours = [each for each in parser.sections() if "pytest" in each or each.startswith(("coverage:", "run"))]
    return {section: dict(parser.items(section)) for section in ours}


def _only_adds(old: str, new: str) -> bool:
    """Whether every statement of a test file is still there, and what came is tests and imports of new names."""
    before, after = parsed(old), parsed(new)
    return before is not None and after is not None and _adds(before.body, after.body)


def _adds(before: list[ast.stmt], after: list[ast.stmt]) -> bool:
    left = list(before)
    bound = {name for statement in before for name in _bound(statement)}

    def taken(name: str) -> bool:
        return name in bound or (name.startswith("pytest") and name != "pytest")

    for statement in after:
        if left and _is_still_there(left[0], statement):
            left.pop(0)
        elif (
            not isinstance(statement, _DEFINITIONS)
            or any(map(taken, _bound(statement)))
            or "autouse" in ast.dump(statement)
        ):
            return False
    return not left


def _is_still_there(before: ast.stmt, after: ast.stmt) -> bool:
    """The same statement, the same class with more tests in it, or an import of more names."""
    if isinstance(before, ast.ClassDef) and isinstance(after, ast.ClassDef):
        heads = [ast.dump(ast.ClassDef(c.name, c.bases, c.keywords, [], c.decorator_list)) for c in (before, after)]
        return heads[0] == heads[1] and _adds(before.body, after.body)
    if isinstance(before, ast.ImportFrom) and isinstance(after, ast.ImportFrom):
        names = [{(alias.name, alias.asname) for alias in each.names} for each in (before, after)]
        return (before.module, before.level) == (after.module, after.level) and names[0] <= names[1]
    return ast.dump(before) == ast.dump(after)


def _bound(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).partition(".")[0] for alias in statement.names]
    return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
