"""Trees that were copied once and are kept: the lower layer, or the source, of every later copy.

    TREES/KEY/tree           the files, with the modes and times of the checkout they came from
    TREES/KEY/objects.git    their contents as git objects
    TREES/KEY/index.json     what is there, and by which status each file is known
    TREES/KEY/users/         a link to each workspace that stands on it
    TREES/checkouts/         what each checkout looked like when a tree was made of it
    TREES/new-*, old-*       trees in the making (locked by who makes them), and trees on their way out
    TREES/lock               shared to look, exclusive to add and to take away

KEY is a hash over every path, mode and content.  A tree is made aside and renamed to its place when it is whole, so a
kill leaves at most a `new-*` that the next process finds unlocked and removes.  It is then never written again: a
sandboxed command sees it only through an overlay, or a copy of it.  A checkout is never a lower layer itself, since
the person works in it.

A checkout that differs in a few files from the tree that was made of it needs no new one: the copy begins with that
tree and gets the files that differ.
"""

import fcntl
import hashlib
import json
import os
import stat
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tinsmith.errors import InputError
from tinsmith.workspace.copy_in import Selection, copy_file, copy_large
from tinsmith.workspace.known_listing import known_selection
from tinsmith.workspace.object_store import Entries, ObjectStore
from tinsmith.workspace.tree import SETTLE, Identity, identity, is_settled, remove

_FORMAT = 1
_MOST_DIFFERENT = 0.1  # of the files: with more, a tree of its own pays


class CachedFile(NamedTuple):
    """One file of a cached tree."""

    mode: int
    name: str
    """The object id of its content."""
    extra: bool
    identity: Identity


@dataclass(frozen=True)
class CachedTree:
    """A tree of the cache, as long as a user of it is noted."""

    directory: Path
    base: str
    """The id of the tree of files that count."""
    extras: str
    inner: tuple[str, ...]
    files: dict[str, CachedFile]
    when: int
    """Nanoseconds: nothing was written to it after this."""

    @property
    def tree(self) -> Path:
        """The files.  To be read only."""
        return self.directory / "tree"

    @property
    def store(self) -> ObjectStore:
        """Their contents."""
        return ObjectStore(self.directory / "objects.git")

    def entries(self, *, extra: bool) -> Entries:
        """The flat tree of the files that count, or of the extras."""
        return {path: (file.mode, file.name) for path, file in self.files.items() if file.extra is extra}

    @classmethod
    def open(cls, directory: Path) -> "CachedTree":
        """Raises InputError `no_tree`."""
        try:
            index = json.loads((directory / "index.json").read_bytes())
            if index["format"] != _FORMAT:
                raise ValueError("another format")
            files = {
                path: CachedFile(mode, name, extra, tuple(known)) for path, mode, name, extra, known in index["files"]
            }
            return cls(directory, index["base"], index["extras"], tuple(index["inner"]), files, index["when"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError("no_tree", f"the cached tree {directory} is gone", "Start the run again.") from error


class Difference(NamedTuple):
    """How a checkout differs from the cached tree that a copy begins with."""

    changed: tuple[str, ...]
    gone: tuple[str, ...]
    selection: Selection


class TreeCache:
    """The cached trees of one state directory; any number of processes may use it at once."""

    def __init__(self, directory: Path, *, limit: int = 8 << 30) -> None:
        """`limit` is in bytes of files; trees that are in use do not make room."""
        self.directory = directory.absolute()
        self._limit = limit

    def take(self, top: Path, user: Path, leave_out: Collection[str] = ()) -> tuple[CachedTree, Difference]:
        """The tree nearest to the checkout at `top`, which is made where there is none, and what differs from it.

        `user` is the directory of the copy; the tree stays as long as that exists.

        Raises InputError as `open_checkout` and `copy_file` do.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        selection = known_selection(top, leave_out, self._record(top).with_suffix(".listing.json"))
        if (known := self._nearest(top, user)) is not None:
            tree, seen, when = known
            place = str(top)
            changed = tuple(
                path
                for paths, extra in ((selection.base, False), (selection.extras, True))
                for path in paths
                if (file := tree.files.get(path)) is None
                or file.extra is not extra
                or not _is_same(place, path, seen[path], when)
            )
            changed = tuple(path for path in changed if path in tree.files or os.path.lexists(top / path))
            gone = tuple(tree.files.keys() - set(selection.base) - set(selection.extras))
            if len(changed) + len(gone) <= _MOST_DIFFERENT * len(tree.files):
                return tree, Difference(changed, gone, selection)
        self.collect()
        return self._fill(top, selection, user), Difference((), (), selection)

    def collect(self) -> None:
        """Remove what was left half made, and the trees not used for longest until the others fit the limit."""
        with self._lock(exclusive=True):
            for place in self.directory.glob("new-*"):
                if not _is_locked(place):
                    place.rename(place.with_name(place.name.replace("new-", "old-", 1)))
            trees: list[tuple[int, int, Path]] = []
            for index in self.directory.glob("*/index.json"):
                with suppress(OSError, ValueError, KeyError):
                    size = json.loads((index.parent / "size.json").read_bytes())["bytes"]
                    if not index.parent.name.startswith(("new-", "old-")):
                        trees.append((index.stat().st_mtime_ns, size, index.parent))
            total = sum(size for _, size, _ in trees)
            for _, size, place in sorted(trees):
                if total > self._limit and not _has_users(place):
                    place.rename(self.directory / f"old-{os.urandom(8).hex()}")
                    total -= size
        for place in self.directory.glob("old-*"):
            with suppress(OSError):  # another process is at it too
                remove(place)

    @contextmanager
    def scratch(self) -> Generator[Path]:
        """A directory beside the trees that is gone afterwards, or after a kill when the next process collects."""
        with self._new() as new:
            yield new

    def note_user(self, tree: CachedTree, user: Path) -> None:
        """Keep `tree` as long as the directory `user` is there.  Raises InputError `no_tree`."""
        with self._lock(exclusive=False):
            CachedTree.open(tree.directory)
            _note_user(tree.directory, user)

    def _nearest(self, top: Path, user: Path) -> tuple[CachedTree, dict[str, Identity], int] | None:
        try:
            record = json.loads(self._record(top).read_bytes())
            place = self.directory / record["key"]
            with self._lock(exclusive=False):
                tree = CachedTree.open(place)
                _note_user(place, user)
            seen = dict(zip(tree.files, map(tuple, record["files"]), strict=True))
            return tree, seen, record["when"]
        except (OSError, ValueError, KeyError, TypeError, InputError):
            return None

    def _fill(self, top: Path, selection: Selection, user: Path) -> CachedTree:
        with self._new() as new:
            key, seen, when = self._make(new, top, selection)
            place = self.directory / key
            with self._lock(exclusive=True):
                try:
                    tree = CachedTree.open(place)
                except InputError:
                    if place.exists():  # a power cut took a part of it
                        place.rename(self.directory / f"old-{os.urandom(8).hex()}")
                    new.rename(place)
                    tree = CachedTree.open(place)
                _note_user(place, user)
        record = self._record(top)
        record.parent.mkdir(exist_ok=True)
        _write(record, {"key": key, "when": when, "files": [seen[path] for path in tree.files]})
        return tree

    def _make(self, new: Path, top: Path, selection: Selection) -> tuple[str, dict[str, Identity], int]:
        """Fills `new`; the key of the tree, the identities of the checkout's files, and when it began."""
        tree = new / "tree"
        tree.mkdir()
        (new / "users").mkdir()
        store = ObjectStore.create(new / "objects.git")
        began = time.time_ns()
        seen: dict[str, Identity] = {}
        files: dict[str, tuple[tuple[int, str], bool]] = {}
        for paths, extra in ((selection.base, False), (selection.extras, True)):
            for path in paths:
                if (copied := copy_file(top, tree, path, store, optional=extra)) is not None:
                    files[path] = copied.entry, extra
                    seen[path] = copied.source
        base = store.write_tree({path: entry for path, (entry, extra) in files.items() if not extra})
        extras = store.write_tree({path: entry for path, (entry, extra) in files.items() if extra})
        store.sync()
        digest, size, rows = hashlib.sha256(b"%d\0" % _FORMAT), 0, list[list[object]]()
        for path in sorted(files):
            (mode, name), extra = files[path]
            status = os.lstat(tree / path)
            digest.update(os.fsencode(f"{path}\0{stat.S_IMODE(status.st_mode):o} {mode:o} {name} {extra}\0"))
            size += status.st_size
            rows.append([path, mode, name, extra, identity(status)])
        index = {"format": _FORMAT, "base": base, "extras": extras, "inner": selection.inner, "files": rows}
        _write(new / "size.json", {"bytes": size})
        time.sleep(SETTLE)  # so that every file is known by its status from now on
        _write(new / "index.json", {**index, "when": time.time_ns()})
        return digest.hexdigest()[:40], seen, began

    @contextmanager
    def _new(self) -> Generator[Path]:
        """A directory to make a tree in, locked while it is there."""
        new = self.directory / f"new-{os.urandom(8).hex()}"
        with self._lock(exclusive=False):  # nobody collects before it is locked
            new.mkdir(mode=0o700)
            fd = os.open(new, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            yield new
        finally:
            os.close(fd)
            remove(new)

    def _record(self, top: Path) -> Path:
        return self.directory / "checkouts" / f"{hashlib.sha256(os.fsencode(top)).hexdigest()[:40]}.json"

    @contextmanager
    def _lock(self, *, exclusive: bool) -> Generator[None]:
        with open(self.directory / "lock", "w") as held:
            fcntl.flock(held, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield


def copy_tree(tree: CachedTree, place: Path) -> None:
    """A whole copy of a cached tree's files in the empty directory `place`: shared blocks where possible."""
    made: set[str] = set()
    for path, file in tree.files.items():
        source, target = f"{tree.tree}/{path}", f"{place}/{path}"
        parent = target.rpartition("/")[0]
        if parent not in made:
            os.makedirs(parent, exist_ok=True)
            made.add(parent)
        if stat.S_ISLNK(file.identity[4]):
            os.symlink(os.readlink(source), target)
            continue
        with open(source, "rb", buffering=0) as read, open(target, "xb", buffering=0) as written:
            copy_large(read.fileno(), written.fileno())
            os.fchmod(written.fileno(), stat.S_IMODE(file.identity[4]))
            os.utime(written.fileno(), ns=(file.identity[0], file.identity[0]))


def _is_same(top: str, path: str, seen: Identity, when: int) -> bool:
    try:
        return identity(os.lstat(f"{top}/{path}")) == seen and is_settled(seen, when)
    except OSError:
        return False


def _note_user(place: Path, user: Path) -> None:
    link = place / "users" / hashlib.sha256(os.fsencode(user)).hexdigest()[:40]
    with suppress(FileExistsError):
        link.symlink_to(user)
    os.utime(place / "index.json")


def _has_users(place: Path) -> bool:
    return any(os.path.exists(link) for link in (place / "users").iterdir())


def _is_locked(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _write(path: Path, value: object) -> None:
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    temporary.write_text(json.dumps(value, separators=(",", ":")))
    temporary.rename(path)
