"""Which tests concern a change: those that executed the files, or that import them, or are named after them."""

import ast
import os
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from tinsmith.codebase import is_test_file, source_files
from tinsmith.workspace.test_outcomes import TestReport

_PYTHON = ".py"
_SCRIPT = (".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".vue", ".svelte")
_IMPORT = re.compile(r"""(?:\bfrom|\bimport|\brequire|\bmock)\s*\(?\s*["'](\.[^"'\n]*)["']""")
_AFFIXES = re.compile(r"^(?:test[_-]?)|(?:[._-]?(?:tests?|spec|it))$", re.IGNORECASE)
_MAX_DISTANCE = 8


def related_tests(root: Path, paths: Iterable[str], spectra: TestReport | None = None) -> list[str]:
    """Node ids where `spectra` (of `TestRunner.spectra`) tells them, else test files, nearest first.

    `paths` are relative to `root`.  A changed test file is related to itself.  Without spectra, a test file is related
    that reaches a path through the imports of Python or the relative imports of JavaScript and TypeScript, or that
    has its name (`test_x.py`, `x.test.ts`, `x_test.go`, `XTest.java`); in Go, all tests of the package.
    """
    changed = {os.path.normpath(path) for path in paths}
    if spectra is not None and changed:
        found = [n for n, o in spectra.outcomes.items() if any(path in changed for path, _ in o.trace)]
        found += [n for n in spectra.outcomes if n not in found and n.partition("::")[0] in changed]
        # Files that no test executed by then may still be imported by one.
        executed = {path for outcome in spectra.outcomes.values() for path, _ in outcome.trace}
        changed -= executed | {n.partition("::")[0] for n in found}
        return found + [path for path in _by_sources(root, changed) if path not in found]
    return _by_sources(root, changed)


def _by_sources(root: Path, changed: set[str]) -> list[str]:
    if not changed:
        return []
    files = source_files(root)
    tests = [path for path in files if _is_test(path)]
    users = _users(root, files)
    distance = dict.fromkeys(changed, 0)
    frontier = list(changed)
    for step in range(1, _MAX_DISTANCE + 1):
        frontier = [
            user for path in frontier for user in users.get(path, ()) if distance.setdefault(user, step) == step
        ]
        frontier = list(dict.fromkeys(frontier))
    named = {_name(path) for path in changed if not _is_test(path)}
    packages = {str(PurePosixPath(path).parent) for path in changed if path.endswith(".go")}
    for path in tests:
        if _name(path) in named or (path.endswith("_test.go") and str(PurePosixPath(path).parent) in packages):
            distance[path] = min(distance.get(path, 1), 1)
    reached = [
        path for path in tests if path in distance and PurePosixPath(path).name not in ("conftest.py", "__init__.py")
    ]
    return sorted(reached, key=lambda path: (distance[path], path))


def _is_test(path: str) -> bool:
    """As `codebase.is_test_file`, and by the usage of other languages."""
    name = PurePosixPath(path).name
    other = re.search(r"(?:[._-](?:test|spec)\.[cm]?[jt]sx?|_test\.go|(?:Test|Tests|IT)\.(?:java|kt))$", name)
    if other or path.endswith(_SCRIPT):
        return bool(other) or "__tests__" in path.split("/")
    return (path.endswith(_PYTHON) and is_test_file(path)) or (path.endswith(".rs") and path.startswith("tests/"))


def _name(path: str) -> tuple[str, str]:
    """`parser` of `test_parser.py`, `parser.test.ts`, `parser_test.go` and `ParserTest.java`, and the language."""
    name = PurePosixPath(path).name.partition(".")[0]
    for ending in (".test.", ".spec."):
        name = PurePosixPath(path).name.partition(ending)[0] if ending in path else name
    language = "script" if path.endswith(_SCRIPT) else PurePosixPath(path).suffix
    return _AFFIXES.sub("", name).lower(), language


def _users(root: Path, files: list[str]) -> dict[str, set[str]]:
    """{path: the files that import it}."""
    modules = {name: path for path in files if path.endswith(_PYTHON) for name in _module_names(path)}
    known = set(files)
    users: dict[str, set[str]] = {}
    for path in files:
        if path.endswith(_PYTHON):
            imported = _python_imports(root / path, path, modules)
        elif path.endswith(_SCRIPT):
            imported = _script_imports(root / path, path, known)
        else:
            continue
        for target in imported:
            users.setdefault(target, set()).add(path)
    # A conftest.py serves every test below it.
    for path in files:
        if path.endswith("conftest.py"):
            below = path.removesuffix("conftest.py")
            users.setdefault(path, set()).update(p for p in files if p.startswith(below) and _is_test(p) and p != path)
    return users


def _module_names(path: str) -> Iterator[str]:
    """The dotted names by which a file may be imported: from the top, from `src`, from its own directory."""
    parts = list(PurePosixPath(path).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    for start in range(len(parts)):
        yield ".".join(parts[start:])
        # Below a package its parts are no names of their own; `src`, `lib` and `tests` are.
        if parts[start] not in ("src", "lib", "python", "tests", "test", "packages"):
            break


def _python_imports(file: Path, path: str, modules: dict[str, str]) -> set[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):
        return set()
    package = list(PurePosixPath(path).parent.parts)
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            home = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*home, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    found: set[str] = set()
    for name in names:
        # Importing `a.b.c` runs `a` and `a.b` too, but only the named module is what is used.
        for candidate in (name, name.removeprefix("src.")):
            if candidate in modules:
                found.add(modules[candidate])
    return found - {path}


def _script_imports(file: Path, path: str, known: set[str]) -> set[str]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    found: set[str] = set()
    for name in _IMPORT.findall(text):
        base = os.path.normpath(os.path.join(PurePosixPath(path).parent, name))
        stem = re.sub(r"\.[cm]?js$", "", base)
        candidates = [base, *(stem + e for e in _SCRIPT), *(f"{base}/index{e}" for e in _SCRIPT)]
        found.update(candidate for candidate in candidates if candidate in known)
    return found - {path}
