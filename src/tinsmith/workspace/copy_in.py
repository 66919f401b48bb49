"""Which files of a checkout the private copy gets, and copying them."""

import os
import shutil
import stat
from collections.abc import Collection, Sequence
from pathlib import Path

from tinsmith.errors import InputError
from tinsmith.workspace.checkout import list_files
from tinsmith.workspace.object_store import EXECUTABLE, FILE, SYMLINK, Entries, ObjectStore
from tinsmith.workspace.tree import read_regular

_NOT_SOURCE = {"node_modules", "build", "dist", "site-packages", "__pycache__"}
_NEEDED_ENDINGS = (".py", ".pyi", ".so", ".pyd", ".egg-link")


def copy_files(
    top: Path, tree: Path, store: ObjectStore, leave_out: Collection[str] = ()
) -> tuple[Entries, Entries, list[str]]:
    """Copy what is needed; returns the files that count, the extras, and the inner repositories.

    What lies at or below a path of `leave_out` (relative to the top) is neither copied nor part of a patch.
    Raises InputError `unreadable_file` for a file that git knows, or would add, and that may not be read.
    """
    listing = list_files(top)
    base: Entries = {}
    extras: Entries = {}
    copier = _Copier(top, tree, store, frozenset(leave_out))
    for path in listing.tracked:
        copier.copy(path, base)
    for path in listing.untracked:
        # An untracked `.env` is a secret far more often than a source.
        if path.rpartition("/")[2] != ".env" and not copier.is_in_environment(path):
            copier.copy(path, base)
    for path in listing.ignored:
        if not copier.is_left_out(path.rstrip("/")):
            for needed in _needed(top, path):
                copier.copy(needed, extras, optional=True)
    inner = list(listing.inner)
    for repository in inner:  # grows: a submodule may have submodules
        if copier.is_left_out(repository) or not copier.is_real(repository):
            continue
        if (top / repository / ".git").exists():
            below = list_files(top / repository)
            for path in below.tracked:
                copier.copy(f"{repository}/{path}", extras, optional=True)
            inner += [f"{repository}/{path}" for path in below.inner]
    return base, extras, inner


class _Copier:
    """Copies files and symlinks of one checkout, and remembers what it found out about its directories."""

    def __init__(self, top: Path, tree: Path, store: ObjectStore, leave_out: frozenset[str]) -> None:
        self._top, self._tree, self._store, self._leave_out = top, tree, store, leave_out
        self._real = {"": True}
        self._environments = {"": False}

    def copy(self, path: str, entries: Entries, *, optional: bool = False) -> None:
        """Copy a file or symlink, mode and times; not what is missing, special or behind a symlink."""
        if self.is_left_out(path) or not self.is_real(path.rpartition("/")[0]):
            return
        source, place = self._top / path, self._tree / path
        try:
            status = os.lstat(source)
            target = os.readlink(source) if stat.S_ISLNK(status.st_mode) else None
            content = read_regular(source) if stat.S_ISREG(status.st_mode) else None
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            if optional:
                return
            raise InputError(
                "unreadable_file",
                f"cannot read {source}: {error.strerror}",
                "Make it readable to you, or have git ignore it.",
            ) from error
        if target is None and content is None:
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        if target is not None:
            os.symlink(target, place)
            entries[path] = (SYMLINK, self._store.write_blob(os.fsencode(target)))
        elif content is not None:
            place.write_bytes(content)
            shutil.copystat(source, place)
            place.chmod(stat.S_IMODE(status.st_mode) | 0o600)
            mode = EXECUTABLE if status.st_mode & 0o100 else FILE
            entries[path] = (mode, self._store.write_blob(content))

    def is_left_out(self, path: str) -> bool:
        parts = path.split("/")
        return any("/".join(parts[:end]) in self._leave_out for end in range(1, len(parts) + 1))

    def is_real(self, directory: str) -> bool:
        """Whether no part of a directory's path below the top is a symlink."""
        if directory not in self._real:
            above = self.is_real(directory.rpartition("/")[0])
            self._real[directory] = above and not os.path.islink(self._top / directory)
        return self._real[directory]

    def is_in_environment(self, path: str) -> bool:
        """Whether a file lies in a virtual environment, which git was not told to ignore."""
        directory = path.rpartition("/")[0]
        if directory not in self._environments:
            place = self._top / directory
            self._environments[directory] = self.is_in_environment(directory) or _is_environment(place)
        return self._environments[directory]


def _is_environment(directory: Path) -> bool:
    """Whether a Python environment lies there, as venv, virtualenv or conda make one."""
    return os.path.exists(directory / "pyvenv.cfg") or os.path.exists(directory / "conda-meta")


def _needed(top: Path, path: str) -> list[str]:
    """Of an ignored file or directory (ends in `/`), the files that imports need."""
    if not path.endswith("/"):
        return [path] if _is_needed_file(path) and not _left_out(path.split("/")[:-1]) else []
    directory = path.rstrip("/")
    if _left_out(directory.split("/")) or (top / directory).is_symlink():
        return []
    if _is_environment(top / directory):
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
    return any(name in _NOT_SOURCE or name.startswith(".") for name in directories)


def _is_needed_file(path: str) -> bool:
    *directories, name = path.split("/")
    metadata = any(directory.endswith((".egg-info", ".dist-info")) for directory in directories)
    return not name.startswith(".") and (metadata or name.endswith(_NEEDED_ENDINGS) or ".so." in name)
