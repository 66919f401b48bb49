"""Which files of a checkout the private copy gets, and copying them."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from tinsmith.errors import InputError
from tinsmith.workspace.checkout import list_files
from tinsmith.workspace.object_store import EXECUTABLE, FILE, SYMLINK, Entries, ObjectStore
from tinsmith.workspace.tree import read_regular

_NOT_SOURCE = {"node_modules", "build", "dist", "site-packages", "__pycache__"}
_NEEDED_ENDINGS = (".py", ".pyi", ".so", ".pyd", ".egg-link")


def copy_files(top: Path, tree: Path, store: ObjectStore) -> tuple[Entries, Entries, list[str]]:
    """Copy what is needed; returns the files that count, the extras, and the inner repositories."""
    listing = list_files(top)
    base: Entries = {}
    extras: Entries = {}
    real_parents: dict[str, bool] = {"": True}
    # An untracked `.env` is a secret far more often than a source.
    untracked = [path for path in listing.untracked if path.rpartition("/")[2] != ".env"]
    for path in (*listing.tracked, *untracked):
        _copy_one(top, tree, path, store, base, real_parents)
    for path in listing.ignored:
        for needed in _needed(top, path):
            _copy_one(top, tree, needed, store, extras, real_parents)
    inner = list(listing.inner)
    for repository in listing.inner:
        if (top / repository / ".git").exists() and not (top / repository).is_symlink():
            for path in list_files(top / repository).tracked:
                _copy_one(top, tree, f"{repository}/{path}", store, extras, real_parents)
    return base, extras, inner


def _copy_one(
    top: Path, tree: Path, path: str, store: ObjectStore, entries: Entries, real_parents: dict[str, bool]
) -> None:
    """Copy a file or symlink, mode and times; not what is missing, special or behind a symlink."""
    parent = path.rpartition("/")[0]
    if not _is_real(top, parent, real_parents):
        return
    source, place = top / path, tree / path
    if source.is_symlink():
        target = os.readlink(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, place)
        entries[path] = (SYMLINK, store.write_blob(os.fsencode(target)))
        return
    try:
        content = read_regular(source)
    except OSError as error:
        if source.exists() and source.is_file():
            raise InputError(
                "unreadable_file", f"cannot read {source}: {error.strerror}", "Make it readable."
            ) from error
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    shutil.copystat(source, place)
    if place.stat().st_mode & 0o600 != 0o600:
        place.chmod(place.stat().st_mode | 0o600)
    mode = EXECUTABLE if source.stat().st_mode & 0o100 else FILE
    entries[path] = (mode, store.write_blob(content))


def _is_real(top: Path, directory: str, known: dict[str, bool]) -> bool:
    """Whether no part of a directory's path below `top` is a symlink."""
    if directory not in known:
        above = _is_real(top, directory.rpartition("/")[0], known)
        known[directory] = above and not (top / directory).is_symlink()
    return known[directory]


def _needed(top: Path, path: str) -> list[str]:
    """Of an ignored file or directory (ends in `/`), the files that imports need."""
    if not path.endswith("/"):
        return [path] if _is_needed_file(path) and not _left_out(path.split("/")[:-1]) else []
    directory = path.rstrip("/")
    if _left_out(directory.split("/")) or (top / directory).is_symlink():
        return []
    if (top / directory / "pyvenv.cfg").exists() or (top / directory / "conda-meta").exists():
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
