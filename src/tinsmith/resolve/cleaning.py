"""Old runs gone, with all that lies beside their logs."""

import fcntl
import os
import shutil
import stat
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tinsmith.errors import InputError
from tinsmith.events import RunRow, RunStore

ENDED = ("resolved", "unresolved", "unverified")
"""Statuses of runs that are over; one that was interrupted or failed can still be resumed."""
_TRASH = ".trash-"


@dataclass(frozen=True)
class Cleaned:
    """The runs that went, oldest first, and the size of their files in bytes."""

    removed: tuple[str, ...]
    bytes: int


def clean(
    store: RunStore,
    *,
    keep: int = 0,
    older_than: timedelta | None = None,
    named: Collection[str] = (),
    every: bool = False,
    dry_run: bool = False,
) -> Cleaned:
    """Deletes runs that have ended, with all their files; of those the newest `keep` and what is younger stay.

    `named` deletes just these, `every` also those that could be resumed or are damaged; a running one never goes.
    Killed half way, a run is there whole or not at all.  Raises InputError `run_in_use` for a named run.
    """
    if not store.runs.is_dir():
        return Cleaned((), 0)
    removed: list[str] = []
    size = 0
    with _locked(store.runs, os.O_RDONLY | os.O_DIRECTORY, wait=True):  # one clean at a time
        for trash in sorted(store.runs.glob(_TRASH + "*")) if not dry_run else ():  # what a killed clean left
            size += _size(trash)
            _delete(trash)
        for run in _named_runs(store, named) if named else _old_runs(store.list(), keep, older_than, every):
            directory = store.runs / run
            with _locked(directory / "lock", os.O_RDWR | os.O_CREAT) as free:
                if free:
                    size += _size(directory)
                    removed.append(run)
                    if not dry_run:
                        _remove(store.runs, run)
                elif named:
                    raise InputError("run_in_use", f"run {run} is running", "Wait for it to end, or stop it.")
    return Cleaned(tuple(removed), size)


def _named_runs(store: RunStore, named: Collection[str]) -> list[str]:
    return sorted({store.open(run).run for run in named})


def _old_runs(rows: Collection[RunRow], keep: int, older_than: timedelta | None, every: bool) -> list[str]:
    runs = [row["run"] for row in rows if every or row["status"] in ENDED]
    runs = runs[: max(len(runs) - keep, 0)]
    if older_than is not None:
        # A run's name begins with its start, which a damaged log no longer tells.
        latest = f"{datetime.now(UTC) - older_than:%Y%m%d-%H%M%S}"
        runs = [run for run in runs if run < latest]
    return runs


@contextmanager
def _locked(place: Path, flags: int, *, wait: bool = False) -> Generator[bool]:
    """Whether nobody else holds the lock on `place`; then nobody can take it meanwhile."""
    lock = os.open(place, flags | os.O_CLOEXEC, 0o600)
    try:
        yield _lock(lock, wait)
    finally:
        os.close(lock)


def _lock(lock: int, wait: bool) -> bool:
    if wait:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return True
    for _ in range(5):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.02)  # whoever asks for a run's status holds its lock for a moment
    return False


def _remove(runs: Path, run: str) -> None:
    """From one moment to the next the run is no more; its files go after that."""
    trash = runs / (_TRASH + run)
    os.rename(runs / run, trash)
    _sync(runs)
    _delete(trash)


def _size(directory: Path) -> int:
    _open_up(directory)
    return sum(
        os.lstat(os.path.join(parent, name)).st_size for parent, _, files in os.walk(directory) for name in files
    )


def _delete(directory: Path) -> None:
    _open_up(directory)
    shutil.rmtree(directory)


def _open_up(directory: Path) -> None:
    """Directories that a command in the sandbox closed would stay for ever."""
    for parent, names, _ in os.walk(directory):
        for name in names:
            place = os.path.join(parent, name)
            status = os.lstat(place)
            if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o700 != 0o700:
                os.chmod(place, 0o700)


def _sync(directory: Path) -> None:
    """Makes new names in `directory` survive a power cut."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
