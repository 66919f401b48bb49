"""Which files of a tree are its own readable text."""

import os
from pathlib import Path

_SKIPPED_DIRECTORIES = frozenset(
    {
        "__pycache__",
        "node_modules",
        "venv",
        "env",
        "build",
        "dist",
        "site-packages",
        "_vendor",
        "vendor",
        "third_party",
    }
)
_MAX_BYTES = 1_000_000


def source_files(root: Path, suffix: str = "") -> list[str]:
    """Paths, from `root` and sorted, of the regular text files that end in `suffix`; hidden and vendored ones left out."""
    found: list[str] = []
    for directory, names, files in os.walk(root):
        names[:] = sorted(n for n in names if not n.startswith(".") and n not in _SKIPPED_DIRECTORIES)
        for name in files:
            path = Path(directory, name)
            if name.startswith(".") or not name.endswith(suffix) or path.is_symlink():
                continue
            if path.stat().st_size <= _MAX_BYTES and (suffix or not _is_binary(path)):
                found.append(path.relative_to(root).as_posix())
    return sorted(found)


def is_test_file(path: str) -> bool:
    """Whether `path` is, by pytest's and common usage, a test file or part of a test directory."""
    parts = path.split("/")
    name = parts[-1]
    return (
        name.startswith("test_")
        or name.endswith(("_test.py", "_tests.py"))
        or name in ("conftest.py", "tests.py")
        or any(part in ("tests", "test", "testing") for part in parts[:-1])
    )


def _is_binary(path: Path) -> bool:
    with path.open("rb") as file:
        return b"\0" in file.read(4096)
