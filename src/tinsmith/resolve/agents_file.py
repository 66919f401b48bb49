"""AGENTS.md: what a repository tells agents, read as data and within a budget of tokens."""

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from tinsmith.errors import InputError
from tinsmith.workspace import resolve_inside

NAME = "AGENTS.md"
_MAX_BYTES = 256 << 10


def agents_notes(root: Path, package: str, budget: int, count: Callable[[str], int]) -> str:
    """The AGENTS.md files that hold for `package` (relative to `root`), the nearest first.

    Cut at a line's end so that `count(text)` tokens are at most `budget`.  A file that is no text, that is larger
    than 256 KiB or that leads out of `root` is left out.
    """
    lines: list[str] = []
    seen: set[Path] = set()
    for path in _candidates(package):
        if (found := _read(root, path)) is not None and found[0] not in seen and found[1].strip():
            seen.add(found[0])
            lines += [f"Notes of the repository ({path}):", *found[1].strip().splitlines(), ""]
    fits, too_many = 0, len(lines) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if count(_joined(lines, middle)) <= budget:
            fits = middle
        else:
            too_many = middle
    # A longer text may count less where tokens meet, so what is given is what was counted.
    while fits and (count(_joined(lines, fits)) > budget or lines[fits - 1].startswith("Notes of the repository (")):
        fits -= 1
    return _joined(lines, fits)


def _joined(lines: list[str], number: int) -> str:
    return "\n".join(lines[:number]).rstrip()


def _candidates(package: str) -> Iterator[str]:
    """The places of AGENTS.md from the package up to the top."""
    place = PurePosixPath(package)
    if ".." in place.parts or place.is_absolute():
        return
    for directory in (place, *place.parents):
        yield (directory / NAME).as_posix()
        if directory == PurePosixPath("."):
            return


def _read(root: Path, path: str) -> tuple[Path, str] | None:
    """(its real place, its text); symlinks are followed inside `root` only."""
    try:
        place = resolve_inside(root, path)
        fd = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as stream:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                return None
            content = stream.read(_MAX_BYTES + 1)
        text = content.decode()
    except (InputError, OSError, UnicodeDecodeError):  # InputError: it leads outside
        return None
    return None if len(content) > _MAX_BYTES or "\0" in text else (place, text)
