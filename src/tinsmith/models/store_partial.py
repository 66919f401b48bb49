"""A download under way: a directory of its own, held by one process at a time, that a later one goes on with."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from tinsmith.models.store_files import disk_errors

_GONE = ".gone-"


class Partial:
    """ROOT/KEY/{lock, files/, notes/}: entered, it belongs to this process.

    Entering waits for another process that holds it, after one call of `waiting`. `files` is what a later attempt
    goes on with; `notes` is beside it.  Raises MachineError `disk_full`, `store_unusable`.
    """

    def __init__(self, root: Path, key: str, *, waiting: Callable[[], None] = lambda: None) -> None:
        self.place = root / key
        self.files = self.place / "files"
        self.notes = self.place / "notes"
        self._waiting = waiting
        self._fd = -1

    def __enter__(self) -> "Partial":
        with disk_errors(self.place.parent):
            for gone in self.place.parent.glob(f"{_GONE}*"):
                # A kill while it was being deleted.
                shutil.rmtree(gone, ignore_errors=True)
            while True:
                self.place.mkdir(parents=True, exist_ok=True, mode=0o700)
                if self._hold(wait=True):
                    break
            self.files.mkdir(exist_ok=True, mode=0o700)
            self.notes.mkdir(exist_ok=True, mode=0o700)
        return self

    def enter_at_once(self) -> bool:
        """Enters it as it is, if it is there and nobody else holds it; makes no directory."""
        with disk_errors(self.place.parent):
            return self._hold(wait=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def empty(self) -> None:
        """Forgets what an earlier attempt left."""
        for place in (self.files, self.notes):
            shutil.rmtree(place)
            place.mkdir(mode=0o700)

    def remove(self) -> None:
        """Takes the directory away while it is held: by one rename, so that nobody enters a half of it."""
        gone = self.place.with_name(f"{_GONE}{os.getpid()}-{self.place.name}")
        os.rename(self.place, gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _hold(self, *, wait: bool) -> bool:
        try:
            fd = os.open(self.place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                os.close(fd)
                return False
            self._waiting()
            fcntl.flock(fd, fcntl.LOCK_EX)
        # Who held it before may have removed the directory: then the lock is of a file without a name.
        if _is_named(fd, self.place / "lock"):
            self._fd = fd
            return True
        os.close(fd)
        return False


def abandoned(root: Path, older_than: float) -> Iterator[Partial]:
    """Downloads that nobody is at and nobody wrote to for `older_than` seconds, each held by this process."""
    for place in sorted(root.glob("[!.]*")):
        partial = Partial(root, place.name)
        try:
            # Before it is entered: that makes the lock file where a kill came before there was one.
            made = place.stat().st_mtime
        except OSError:
            continue
        if not partial.enter_at_once():
            continue
        try:
            newest = max((path.stat().st_mtime for path in place.glob("*/*")), default=made)
            if time.time() - newest >= older_than:
                yield partial
        finally:
            partial.__exit__(None, None, None)


def _is_named(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False
