"""How far a long download or check is: one line that is drawn again on a terminal, a line now and then elsewhere."""

import sys
import time
from types import TracebackType
from typing import TextIO

_EVERY = 15.0
"""Seconds between two lines where nothing can be drawn again."""


class ProgressLine:
    """Written to stderr.  Entered, it leaves the cursor at the beginning of a line in the end."""

    def __init__(self, label: str, stream: TextIO | None = None) -> None:
        self._label, self._stream = label, stream or sys.stderr
        self._redraws = self._stream.isatty()
        self._width = 0
        self._told = time.monotonic()

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._width:
            print(file=self._stream)

    def say(self, line: str) -> None:
        """A line of its own."""
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=self._stream)
            self._width = 0
        print(line, file=self._stream, flush=True)

    def show(self, done: int, total: int, rate: float) -> None:
        """`done` of `total` bytes, `rate` of them per second."""
        now = time.monotonic()
        if not self._redraws and now - self._told < _EVERY:
            return
        self._told = now
        text = f"{self._label}  {described(done)} of {described(total)}"
        if total > 0:
            text += f"  {100 * done // total} %"
        if rate > 0:
            text += f"  {described(int(rate))}/s"
            if done < total:
                text += f"  {_time((total - done) / rate)} left"
        if self._redraws:
            text = text[:78]
            print("\r" + text.ljust(self._width), end="", file=self._stream, flush=True)
            self._width = len(text)
        else:
            print(text, file=self._stream, flush=True)


def described(count: int) -> str:
    """A number of bytes in the units in which sizes of models are given: GB are 10^9 bytes."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{max(count, 0)} B"


def _time(seconds: float) -> str:
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"
