"""Where a new test belongs, and what of the repository it can import."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath

from tinsmith.codebase import is_test_file
from tinsmith.workspace import slug

MAX_NAME = 40
"""Characters of a new file's name, without what makes it a test."""


def new_test_path(issue: str, paths: Sequence[str], nodeids: Iterable[str], package: str) -> str:
    """A path that is not among `paths` (all files of the base), beside the tests that `nodeids` say are run.

    `package` is the subdirectory that the issue is about.
    """
    run = {nodeid.partition("::")[0] for nodeid in nodeids}
    below = package + "/" if package else ""
    tests = sorted(path for path in filter(is_test_file, run) if path.startswith(below))
    tests = tests or [path for path in paths if path.startswith(below) and _is_test_name(path)]
    directory = _home(tests, paths, package)
    beside = [PurePath(path).name for path in tests if _parent(path) == directory]
    # Where every neighbour is called `…_test.py`, this is what the test command looks for.
    form = "{}_test" if beside and all(name.endswith("_test.py") for name in beside) else "test_{}"
    title = slug(issue.strip().split("\n")[0]).replace("-", "_").removeprefix("test_")
    if len(title) > MAX_NAME:
        title = title[: MAX_NAME + 1].rpartition("_")[0] or title[:MAX_NAME]
    taken = {PurePath(path).stem for path in paths}  # two test modules of one name cannot be imported
    stem, count = form.format(title), 1
    while stem in taken:
        count += 1
        stem = form.format(f"{title}_{count}")
    return f"{directory}/{stem}.py" if directory else f"{stem}.py"


def imports_beside(
    path: str, issue: str, paths: Sequence[str], read: Callable[[str], bytes | None], limit: int = 12
) -> list[str]:
    """The import lines of the test beside `path` that shares most words with the issue; at most `limit`."""
    said = _words(issue)
    beside = [other for other in paths if _parent(other) == _parent(path) and _is_test_name(other)]
    texts = [(read(other) or b"").decode("utf-8", "replace") for other in beside]
    best = max(texts, key=lambda text: len(said & _words(text)), default="")
    return [line for line in best.splitlines() if re.match(r"(from [\w.]+ )?import \S", line)][:limit]


def own_modules(paths: Iterable[str]) -> set[str]:
    """The names under which code of the repository may be imported at the top: packages, modules, namespaces."""
    every = frozenset(paths)
    found: set[str] = set()
    for path in every:
        if not path.endswith(".py") or is_test_file(path):
            continue
        parts = path.removesuffix(".py").split("/")
        while len(parts) > 1 and "/".join([*parts[:-1], "__init__.py"]) in every:
            parts.pop()
        found.update(parts)
    return found


def _home(tests: Sequence[str], paths: Sequence[str], package: str) -> str:
    """The directory of most tests; without any, one that is meant for them, or the top."""
    if tests:
        counts = Counter(map(_parent, tests))
        return min(counts, key=lambda directory: (-counts[directory], len(directory), directory))
    for name in ("tests", "test"):
        directory = f"{package}/{name}" if package else name
        if any(path.startswith(directory + "/") for path in paths):
            return directory
    return package


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _is_test_name(path: str) -> bool:
    name = PurePath(path).name
    return name.endswith(".py") and name != "conftest.py" and is_test_file(name)


def _words(text: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Za-z]{3,}", text)}
