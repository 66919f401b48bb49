"""Which files of a checkout the private copy gets, and copying them."""

import os
import stat
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from tinsmith.errors import InputError
from tinsmith.workspace.beneath import open_beneath, read_link_beneath
from tinsmith.workspace.checkout import Listing, list_files
from tinsmith.workspace.namespaces import reflink
from tinsmith.workspace.object_store import SYMLINK, ObjectStore
from tinsmith.workspace.tree import LARGE, Identity, identity, mode_of

_NOT_SOURCE = {"node_modules", "build", "dist", "site-packages", "__pycache__"}
_NEEDED_ENDINGS = (".py", ".pyi", ".so", ".pyd", ".egg-link")


class Selection(NamedTuple):
    """What of a checkout a copy gets; paths relative to its top."""

    base: tuple[str, ...]
    """Files that count: a change to them is part of a patch."""
    extras: tuple[str, ...]
    inner: tuple[str, ...]
    """Repositories in the repository."""
    excludes: str
    """The person's global ignore file; empty for none."""


class FileCopy(NamedTuple):
    """What became of one copied file."""

    entry: tuple[int, str]
    source: Identity
    """Of the file in the checkout, when it was read."""


def select_files(top: Path, leave_out: Collection[str] = (), listing: Listing | None = None) -> Selection:
    """What is needed of the checkout at `top`, of which git says `listing`; some of it may be missing on disk.

    What lies at or below a path of `leave_out` (relative to the top) is neither copied nor part of a patch.
    """
    listing = listing or list_files(top)
    places = _Places(top, frozenset(leave_out))
    base = [path for path in listing.tracked if places.holds(path)]
    for path in listing.untracked:
        # An untracked `.env` is a secret far more often than a source.
        if path.rpartition("/")[2] != ".env" and not places.is_in_environment(path) and places.holds(path):
            base.append(path)
    extras: list[str] = []
    for path in listing.ignored:
        if not places.is_left_out(path.rstrip("/")):
            extras += [needed for needed in _needed(top, path) if places.holds(needed)]
    inner = list(listing.inner)
    for repository in inner:  # grows: a submodule may have submodules
        if places.is_left_out(repository) or not places.is_real(repository):
            continue
        if (top / repository / ".git").exists():
            below = list_files(top / repository)
            extras += [path for name in below.tracked if places.holds(path := f"{repository}/{name}")]
            inner += [f"{repository}/{path}" for path in below.inner]
    once = dict.fromkeys(extras)  # git may name a file, and the directory that it lies in
    return Selection(tuple(base), tuple(once.keys() - set(base)), tuple(inner), listing.excludes)


def copy_file(top: Path, tree: Path, path: str, store: ObjectStore, *, optional: bool = False) -> FileCopy | None:
    """Copy a file or symlink, mode and times, and store its content; None for what is missing or special.

    A large file is never read whole; it is shared with the checkout's where the file system can.

    Raises InputError `unreadable_file` for a file that may not be read, unless `optional`.
    """
    source, place = top / path, tree / path
    try:
        status = os.lstat(source)
        if stat.S_ISLNK(status.st_mode):
            target = os.fsdecode(read_link_beneath(top, path))
            place.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(target, place)
            return FileCopy((SYMLINK, store.write_blob(os.fsencode(target))), identity(status))
        if not stat.S_ISREG(status.st_mode):
            return None
        stream = open_beneath(top, path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if optional:
            return None
        raise InputError(
            "unreadable_file",
            f"cannot read {source}: {error.strerror}",
            "Make it readable to you, or have git ignore it.",
        ) from error
    with stream:
        status = os.fstat(stream.fileno())
        place.parent.mkdir(parents=True, exist_ok=True)
        mode = stat.S_IMODE(status.st_mode) | 0o600
        fd = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(fd, "wb", buffering=0) as written:
            if status.st_size > LARGE:
                copy_large(stream.fileno(), fd)
                name = store.write_open_file(fd)
            else:
                content = stream.read()
                written.write(content)
                name = store.write_blob(content)
            os.fchmod(fd, mode)
            os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
    return FileCopy((mode_of(status), name), identity(status))


def copy_large(source: int, target: int) -> None:
    """Copy one open file to another, empty one: shared blocks where the file system can, else by the kernel."""
    if reflink(source, target):
        return
    position = 0
    while True:
        try:
            written = os.copy_file_range(source, target, 1 << 30, position, position)
        except OSError:  # file systems that do not take part in it
            piece = os.pread(source, 1 << 20, position)
            written = os.pwrite(target, piece, position) if piece else 0
        if written == 0:
            return
        position += written


class _Places:
    """What was found out about the directories of a checkout."""

    def __init__(self, top: Path, leave_out: frozenset[str]) -> None:
        self._top, self._leave_out = top, leave_out
        self._real = {"": True}
        self._environments = {"": False}

    def holds(self, path: str) -> bool:
        """Whether a file is wanted and not behind a symlink."""
        return not self.is_left_out(path) and self.is_real(path.rpartition("/")[0])

    def is_left_out(self, path: str) -> bool:
        if not self._leave_out:
            return False
        parts = path.split("/")
        return any("/".join(parts[:end]) in self._leave_out for end in range(1, len(parts) + 1))

    def is_real(self, directory: str) -> bool:
        """Whether no part of a directory's path below the top is a symlink."""
        if directory not in self._real:
            above = self.is_real(directory.rpartition("/")[0])
            self._real[directory] = above and not os.path.islink(f"{self._top}/{directory}")
        return self._real[directory]

    def is_in_environment(self, path: str) -> bool:
        """Whether a file lies in a virtual environment, which git was not told to ignore."""
        directory = path.rpartition("/")[0]
        if directory not in self._environments:
            place = self._top / directory
            self._environments[directory] = self.is_in_environment(directory) or is_environment(place)
        return self._environments[directory]


def is_environment(directory: Path) -> bool:
    """Whether a Python environment lies there, as venv, virtualenv or conda make one."""
    return os.path.exists(directory / "pyvenv.cfg") or os.path.exists(directory / "conda-meta")


def _needed(top: Path, path: str) -> list[str]:
    """Of an ignored file or directory (ends in `/`), the files that imports need."""
    if not path.endswith("/"):
        return [path] if _is_needed_file(path) and not _left_out(path.split("/")[:-1]) else []
    directory = path.rstrip("/")
    if _left_out(directory.split("/")) or (top / directory).is_symlink():
        return []
    if is_environment(top / directory):
        return []
    try:
        children = sorted(os.scandir(top / directory), key=lambda entry: entry.name)
    except OSError:
        return []
    found: list[str] = []
    for child in children:
        below = f"{directory}/{child.name}"
        found += _needed(top, below + "/" if child.is_dir(follow_symlinks=False) else below)
    return found


def _left_out(directories: Sequence[str]) -> bool:
    return any(is_never_source(name) for name in directories)


def is_never_source(name: str) -> bool:
    """Whether an ignored directory of this name, and all below it, is left out."""
    return name in _NOT_SOURCE or name.startswith(".")


def _is_needed_file(path: str) -> bool:
    *directories, name = path.split("/")
    metadata = any(directory.endswith((".egg-info", ".dist-info")) for directory in directories)
    return not name.startswith(".") and (metadata or name.endswith(_NEEDED_ENDINGS) or ".so." in name)
