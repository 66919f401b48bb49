"""The agent's directory as seen from the host: walked, read and written without following its symlinks.

Nothing in the sandbox runs while the host looks, but what ran before may have left anything: symlinks out
of the tree, pipes, directories without permissions, nested repositories.
"""

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tinsmith.errors import InputError
from tinsmith.workspace.object_store import EXECUTABLE, FILE, SYMLINK, Entries, ObjectStore

# A file whose change time is younger than this when it is hashed may change again within the clock's tick.
_RACY_NS = 100_000_000
_LITTER = {"__pycache__", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache"}
_LITTER_ENDINGS = (".pyc", ".pyo")


def is_litter(path: str) -> bool:
    """Whether this is what running Python tests leaves behind, in any repository."""
    parts = path.split("/")
    coverage_data = parts[-1] == ".coverage" or parts[-1].startswith(".coverage.")
    return coverage_data or path.endswith(_LITTER_ENDINGS) or not _LITTER.isdisjoint(parts)


class TreeScanner:
    """Hashes a directory into a store, reading again only what changed since it last looked."""

    def __init__(self, top: Path, store: ObjectStore) -> None:
        self._top = top
        self._store = store
        self._known: dict[str, tuple[tuple[int, ...], int, tuple[int, str]]] = {}

    def scan(self, skip: frozenset[str], keep: Callable[[list[str]], Iterable[str]]) -> Entries:
        """The regular files and symlinks that `keep` picks from those there are.

        Never looks into `.git` or the directories of `skip`.
        """
        found = {
            path: status
            for path, status in walk(self._top, skip)
            if (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode))
            and ".git" not in path.casefold().split("/")
        }
        known: dict[str, tuple[tuple[int, ...], int, tuple[int, str]]] = {}
        for path in keep(list(found)):
            status = found[path]
            identity = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_mode)
            before = self._known.get(path)
            # The change time cannot be forged from inside, unlike the modification time.
            if before is not None and before[0] == identity and status.st_ctime_ns + _RACY_NS < before[1]:
                known[path] = before
            else:
                known[path] = (identity, time.time_ns(), self._hash(path, status))
        self._known = known
        return {path: entry for path, (_, _, entry) in known.items()}

    def _hash(self, path: str, status: os.stat_result) -> tuple[int, str]:
        place = self._top / path
        if stat.S_ISLNK(status.st_mode):
            return SYMLINK, self._store.write_blob(os.fsencode(os.readlink(place)))
        if not status.st_mode & 0o400:
            os.chmod(place, 0o644)
        mode = EXECUTABLE if status.st_mode & 0o100 else FILE
        return mode, self._store.write_blob(read_regular(place))


def walk(top: Path, skip: frozenset[str] = frozenset(), prefix: str = "") -> Iterator[tuple[str, os.stat_result]]:
    """Everything below `top` that is not a directory: (relative path, its own status)."""
    with os.scandir(top / prefix) as found:
        children = sorted(found, key=lambda entry: entry.name)
    for child in children:
        path = prefix + child.name
        if path in skip:
            continue
        status = child.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            if status.st_mode & 0o700 != 0o700:
                os.chmod(child.path, 0o755)
            yield from walk(top, skip, path + "/")
        else:
            yield path, status


def read_regular(path: Path) -> bytes:
    """The bytes of a regular file; OSError for anything else, and never through a symlink at its end."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as stream:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(f"{path} is not a regular file")
        return stream.read()


def write_regular(path: Path, content: bytes, mode: int) -> None:
    """Put a new file in place of whatever stands at `path`, in one step."""
    temporary = path.with_name(f".{path.name[:200]}.{os.urandom(4).hex()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, mode)
        os.rename(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def materialise(top: Path, store: ObjectStore, entries: Entries, paths: Iterable[str]) -> None:
    """Write `paths` of `entries` below `top`; what stands in the way of a parent directory is removed."""
    for path in paths:
        mode, identifier = entries[path]
        place = make_parents(top, path)
        remove(place)
        content = store.read(identifier)
        if mode == SYMLINK:
            os.symlink(os.fsdecode(content), place)
        else:
            write_regular(place, content, 0o755 if mode == EXECUTABLE else 0o644)


def make_parents(top: Path, path: str) -> Path:
    """Make every parent of `path` a real, writable directory; returns the place of `path`."""
    *parents, name = path.split("/")
    place = top
    for parent in parents:
        place = place / parent
        try:
            status = os.lstat(place)
        except FileNotFoundError:
            os.mkdir(place, 0o755)
            continue
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(place)
            os.mkdir(place, 0o755)
        elif status.st_mode & 0o700 != 0o700:
            os.chmod(place, 0o755)
    return place / name


def prune_empty(top: Path, skip: frozenset[str], prefix: str = "") -> bool:
    """Remove directories with nothing in them, at any depth; whether `prefix` itself is empty now."""
    empty = True
    for name in os.listdir(top / prefix):
        path = prefix + name
        place = top / path
        if path in skip or not stat.S_ISDIR(os.lstat(place).st_mode):
            empty = False
        elif prune_empty(top, skip, path + "/"):
            os.rmdir(place)
        else:
            empty = False
    return empty


def remove(place: Path) -> None:
    """Remove whatever is at `place`, a whole directory too, without following symlinks."""
    try:
        status = os.lstat(place)
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(place)
        return
    os.chmod(place, 0o755)
    for name in os.listdir(place):
        remove(place / name)
    os.rmdir(place)


def resolve_inside(top: Path, path: str) -> Path:
    """The real place of a path relative to `top`, symlinks followed as long as they stay inside.

    Raises InputError `path_outside` for a path that leaves the tree or is in `.git`.
    """
    real_top = top.resolve()
    if not os.path.isabs(path) and "\0" not in path:
        place = (real_top / path).resolve()
        if place.is_relative_to(real_top):
            inside = place.relative_to(real_top).parts
            if ".git" not in (part.casefold() for part in inside):
                return place
    raise InputError("path_outside", f"{path!r} is not a path in the repository", "Use a path relative to its top.")
