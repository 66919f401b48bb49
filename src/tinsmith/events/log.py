"""One run's append-only log: what is on disk after `append` returned survives a kill and a power cut."""

import fcntl
import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tinsmith.errors import InputError

SCHEMA_VERSION = 1
_ENVELOPE = ("v", "seq", "time", "type")

Event = dict[str, Any]
"""{"v": 1, "seq": int from 0, "time": ISO 8601 in UTC, "type": str, ...data}; data is JSON."""


class RunLog:
    """The log and the directory of one run.

    Whoever appends first becomes the run's owner: it holds a lock on the run until `close` or the end of its
    process, which is how a run whose process is gone is told from one that is still going.  Reading needs
    no lock.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        """Where the run's other files (patch, report, workspace) lie."""
        self.run = directory.name
        self._path = directory / "events.jsonl"
        self._lock_fd: int | None = None
        self._fd: int | None = None
        self._next = 0
        self._mutex = threading.Lock()
        self._subscribers: list[Callable[[Event], None]] = []

    def append(self, type: str, **data: Any) -> Event:
        """Write one event and return it as written.  It is on the disk when this returns.

        Raises InputError `run_in_use` when another process owns the run, `log_corrupt` when the log cannot be
        continued, and ValueError or TypeError for data that is not JSON or uses an envelope key.
        """
        reserved = [key for key in data if key in _ENVELOPE]
        if reserved:
            raise ValueError(f"event data may not use the envelope's keys: {', '.join(reserved)}")
        with self._mutex:
            self.own()
            assert self._fd is not None
            moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
            event: Event = {"v": SCHEMA_VERSION, "seq": self._next, "time": moment, "type": type, **data}
            # ASCII JSON carries lone surrogates (undecodable file names and output) without loss.
            line = json.dumps(event, allow_nan=False, separators=(",", ":")).encode() + b"\n"
            # Before the write: an interrupt after it must not give the number away twice.
            self._next += 1
            before = os.fstat(self._fd).st_size
            try:
                written = 0
                while written < len(line):
                    written += os.write(self._fd, line[written:])
                os.fsync(self._fd)
            except OSError:
                os.ftruncate(self._fd, before)  # a full disk must not leave half a line before the next
                raise
        for subscriber in self._subscribers:
            subscriber(event)
        return event

    def end(self, status: str, **data: Any) -> Event:
        """Append `run_ended` with the run's final status."""
        return self.append("run_ended", status=status, **data)

    def subscribe(self, subscriber: Callable[[Event], None]) -> None:
        """Call `subscriber` with every event appended through this object, after it is on the disk."""
        self._subscribers.append(subscriber)

    def events(self, after: int = -1) -> Iterator[Event]:
        """The events with `seq` greater than `after`, in order; a torn last line is passed over.

        Raises InputError `log_corrupt` for a broken line before the last.
        """
        events, _ = self._read()
        yield from (event for event in events if event["seq"] > after)

    def status(self) -> str:
        """`running`, `interrupted`, or the status that the last `run_ended` gave."""
        if self._lock_fd is None and self._owned_elsewhere():
            return "running"
        ended: str | None = None
        for event in self.events():
            if event["type"] == "run_ended":
                ended = str(event.get("status", "error"))
            elif event["type"] == "run_resumed":
                ended = None
        if ended is not None:
            return ended
        return "running" if self._lock_fd is not None else "interrupted"

    def own(self) -> None:
        """Become the run's owner and cut off what a killed process left unfinished; idempotent.

        Raises InputError `run_in_use`, `log_corrupt`.
        """
        if self._lock_fd is not None:
            return
        lock = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise InputError(
                "run_in_use",
                f"run {self.run} belongs to another process",
                "Wait for it to end, or stop it.",
            ) from None
        try:
            events, length = self._read()
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            if os.fstat(self._fd).st_size > length:
                os.ftruncate(self._fd, length)
        except BaseException:
            os.close(lock)
            raise
        self._next = events[-1]["seq"] + 1 if events else 0
        self._lock_fd = lock

    def close(self) -> None:
        """Give the run up; it can be owned again."""
        for fd in (self._fd, self._lock_fd):
            if fd is not None:
                os.close(fd)
        self._fd = self._lock_fd = None

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _owned_elsewhere(self) -> bool:
        try:
            lock = os.open(self.directory / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def _read(self) -> tuple[list[Event], int]:
        """Every whole event, and the length in bytes of the part of the file that holds them."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return [], 0
        events: list[Event] = []
        position = 0
        while position < len(content):
            end = content.find(b"\n", position)
            event = _parse(content[position:end]) if end != -1 else None
            if event is None:
                # A power cut can leave any bytes at the end, even a newline; in the middle it is damage.
                if end == -1 or not content[end + 1 :].strip(b"\0"):
                    break
                raise InputError(
                    "log_corrupt",
                    f"line {len(events) + 1} of {self._path} is not an event",
                    "Restore the file, or delete the run with `tinsmith clean`.",
                )
            events.append(event)
            position = end + 1
        return events, position


def _parse(line: bytes) -> Event | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    if isinstance(value, dict) and isinstance(value.get("seq"), int) and isinstance(value.get("type"), str):
        return value
    return None
