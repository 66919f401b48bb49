"""The agent's directory as seen from the host: walked, read and written without following its symlinks.

Nothing in the sandbox runs while the host looks, but what ran before may have left anything: symlinks out
of the tree, pipes, directories without permissions, nested repositories.
"""

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO

from tinsmith.errors import InputError
from tinsmith.workspace.beneath import Beneath, open_beneath, remove_entry
from tinsmith.workspace.object_store import EXECUTABLE, FILE, SYMLINK, Entries, ObjectStore

# A file whose change time is younger than this when it is hashed may change again within the clock's tick.
_RACY_NS = 100_000_000
SETTLE = 0.11
"""Seconds after which a file that was written is known by its status."""
_MAX_LINKS = 40
_DEEPEST = 200
_LONGEST = 1500
"""Directories in each other, and characters of a path below the top, beyond which nothing is looked at: the kernel
takes paths of 4,096 bytes, and a command can make deeper trees."""
LARGE = 8 << 20
"""Files of more bytes than this are never read whole."""

_LITTER = {"__pycache__", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache", ".tinsmith-build"}
_LITTER_ENDINGS = (".pyc", ".pyo")


def is_litter(path: str) -> bool:
    """Whether this is what running Python tests, or a default test command of ours, leaves behind in any repository."""
    parts = path.split("/")
    coverage_data = parts[-1] == ".coverage" or parts[-1].startswith(".coverage.")
    return coverage_data or path.endswith(_LITTER_ENDINGS) or not _LITTER.isdisjoint(parts)


Identity = tuple[int, ...]
"""What tells that a file is as it was: modification and change time in ns, size, inode and mode."""


def identity(status: os.stat_result) -> Identity:
    """The identity of a file as it is now."""
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_mode


def is_settled(known: Identity, when: int) -> bool:
    """Whether a file read at `when` (ns) cannot have changed since without its identity telling.

    The change time cannot be forged from inside a sandbox, unlike the modification time.
    """
    return known[1] + _RACY_NS < when


class TreeScanner:
    """Hashes a directory into a store, reading again only what changed since it last looked."""

    def __init__(self, top: Path, store: ObjectStore) -> None:
        self._top = top
        self._store = store
        self._known: dict[str, tuple[Identity, int, tuple[int, str]]] = {}

    def know(self, files: Mapping[str, tuple[Identity, tuple[int, str]]], when: int) -> None:
        """Take it as given that the files had this content when they had this identity, at `when` (ns)."""
        self._known.update({path: (known, when, entry) for path, (known, entry) in files.items()})

    def scan(self, skip: frozenset[str], keep: Callable[[list[str]], Iterable[str]]) -> Entries:
        """The regular files and symlinks that `keep` picks from those there are.

        Never looks into `.git` or the directories of `skip`.
        """
        found = {
            path: status
            for path, status in walk(self._top, skip)
            if (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)) and not _is_in_git(path)
        }
        known: dict[str, tuple[Identity, int, tuple[int, str]]] = {}
        for path in keep(list(found)):
            status = found[path]
            now = identity(status)
            before = self._known.get(path)
            if before is not None and before[0] == now and is_settled(now, before[1]):
                known[path] = before
            else:
                known[path] = (now, time.time_ns(), self._hash(path, status))
        self._known = known
        return {path: entry for path, (_, _, entry) in known.items()}

    def _hash(self, path: str, status: os.stat_result) -> tuple[int, str]:
        with Beneath(self._top) as tree:
            if stat.S_ISLNK(status.st_mode):
                return SYMLINK, self._store.write_blob(tree.read_link(path))
            if not status.st_mode & 0o400:
                tree.set_mode(path, 0o644)
            with tree.open_regular(path) as stream:
                return mode_of(status), store_file(self._store, stream)


def mode_of(status: os.stat_result) -> int:
    """The mode that git gives a regular file."""
    return EXECUTABLE if status.st_mode & 0o100 else FILE


def store_file(store: ObjectStore, stream: IO[bytes]) -> str:
    """The id of an open file's content, which is stored."""
    if os.fstat(stream.fileno()).st_size > LARGE:
        return store.write_open_file(stream.fileno())
    return store.write_blob(stream.read())


def _is_in_git(path: str) -> bool:
    folded = path.casefold()
    return ".git" in folded and ".git" in folded.split("/")


def walk(top: Path, skip: frozenset[str] = frozenset()) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below `top` that is not a directory, or is one too deep to look into: (relative path, its status)."""
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(f"{top}/{prefix}") as found:
            children = sorted(found, key=lambda entry: entry.name)
        for child in children:
            path = prefix + child.name
            if path in skip:
                continue
            status = child.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode) and path.count("/") < _DEEPEST and len(path) < _LONGEST:
                if status.st_mode & 0o700 != 0o700:
                    with Beneath(top) as tree:
                        tree.set_mode(path, 0o755)
                waiting.append(path + "/")
            else:
                yield path, status


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file to be read; OSError for anything else, and never through a symlink at its end."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path} is not a regular file")
    return os.fdopen(fd, "rb")


def read_regular(path: Path) -> bytes:
    """The bytes of a regular file; OSError as `open_regular`."""
    with open_regular(path) as stream:
        return stream.read()


def read_inside(top: Path, path: str) -> bytes:
    """The bytes of a regular file that a path below `top` leads to, as `resolve_inside` says and at no other place.

    Raises InputError `path_outside`, OSError; also where a symlink came into the way meanwhile.
    """
    with open_beneath(top, str(resolve_inside(top, path).relative_to(top))) as stream:
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
    with Beneath(top) as tree:
        ready: set[str] = set()
        for path in paths:
            mode, identifier = entries[path]
            above = path.rpartition("/")[0]
            if above not in ready:
                tree.make_way(path)
                ready.add(above)
            tree.remove_all(path)
            content = store.read(identifier)
            if mode == SYMLINK:
                tree.write_link(path, content, temporary=f".tinsmith-{os.urandom(8).hex()}")
            else:
                tree.write(path, content, mode=0o755 if mode == EXECUTABLE else 0o644)


def write_inside(top: Path, path: str, content: bytes) -> None:
    """Write a file at the place below `top` that a path leads to; parents are made, an existing file keeps its mode.

    Raises InputError `path_outside`, OSError.
    """
    place = str(resolve_inside(top, path).relative_to(top))
    with Beneath(top) as tree:
        tree.make_way(place)
        before = tree.status(place)
        mode = before.st_mode & 0o777 if before and stat.S_ISREG(before.st_mode) else 0o644
        tree.write(place, content, mode=mode)


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


def prune_empty(top: Path, skip: frozenset[str]) -> None:
    """Remove directories below `top` with nothing in them, at any depth; not those of `skip`."""
    with Beneath(top) as tree:
        found = [path for path in _directories(top, skip) if path]
        for path in sorted(found, key=lambda path: path.count("/"), reverse=True):
            tree.remove_directory(path)


def _directories(top: Path, skip: frozenset[str]) -> Iterator[str]:
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(f"{top}/{prefix}") as found:
            below = [prefix + child.name for child in found if child.is_dir(follow_symlinks=False)]
        for path in below:
            if path not in skip:
                yield path
                waiting.append(path + "/")


def remove(place: Path) -> None:
    """Remove whatever is at `place`, a whole directory of any depth too, without following symlinks."""
    try:
        above = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        remove_entry(above, place.name)
    except FileNotFoundError:
        return
    finally:
        os.close(above)


def resolve_inside(top: Path, path: str) -> Path:
    """The place below `top` that a relative path leads to, symlinks followed as long as they stay inside.

    `top` itself is not resolved: the path of an overlay's view means nothing when it is.

    Raises InputError `path_outside` for a path that leaves the tree or is in `.git`.
    """
    waiting = path.split("/")[::-1]
    parts: list[str] = []
    links = 0
    while waiting and not os.path.isabs(path) and "\0" not in path:
        part = waiting.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not parts:
                break
            parts.pop()
            continue
        try:
            target = os.readlink(f"{top}/{'/'.join([*parts, part])}")
        except OSError:
            if part.casefold() == ".git":
                break
            parts.append(part)
            continue
        links += 1
        if os.path.isabs(target) or links > _MAX_LINKS:
            break
        waiting += target.split("/")[::-1]
    else:
        if not os.path.isabs(path) and "\0" not in path:
            return top.joinpath(*parts)
    raise InputError("path_outside", f"{path!r} is not a path in the repository", "Use a path relative to its top.")
