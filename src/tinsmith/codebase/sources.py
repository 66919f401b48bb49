"""Which files of a tree are its own readable text."""

import os
import re
import stat
from functools import lru_cache
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
_ODD = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


def source_files(root: Path, suffix: str = "") -> list[str]:
    """Paths, from `root` and sorted, of the regular text files that end in `suffix`.

    Hidden and vendored ones are left out, and names that hold control characters or are not UTF-8. Without a
    suffix every file is looked into: text is UTF-8 without NUL.
    """
    found: list[str] = []
    top = len(str(root)) + 1  # paths are cut as text: as objects they would take most of the time
    for directory, names, files in os.walk(root):
        names[:] = sorted(n for n in names if not n.startswith(".") and n not in _SKIPPED_DIRECTORIES)
        for name in files:
            path = f"{directory}/{name}"
            relative = path[top:]
            if name.startswith(".") or not name.endswith(suffix) or not _is_plain(relative):
                continue
            try:
                status = os.lstat(path)
            except OSError:
                continue
            if not stat.S_ISREG(status.st_mode) or status.st_size > _MAX_BYTES:
                continue
            if suffix or _is_text(path, status.st_ino, status.st_size, status.st_ctime_ns):
                found.append(relative)
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


def _is_plain(path: str) -> bool:
    """Whether the name can be written on one line of a call."""
    return _ODD.search(path) is None


@lru_cache(maxsize=1 << 16)
def _is_text(path: str, inode: int, size: int, changed: int) -> bool:
    """Remembered for as long as the file stays as it is: the whole of it has to be read."""
    try:
        data = Path(path).read_bytes()
        data.decode()
    except (OSError, UnicodeDecodeError):
        return False
    return b"\0" not in data
