"""What commands printed, kept whole on disk behind a handle that `read` and `search` can open."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from tinsmith.workspace import Capture

MAX_KEPT = 32 << 20
"""Bytes of one output; what is longer keeps its head and its tail."""

_HANDLE = re.compile(r"output:([1-9]\d{0,8})")
_FILE = re.compile(r"([1-9]\d{0,8})\.txt")


class Outputs:
    """Long outputs as files in `directory`, the N-th by the handle `output:N`.

    They are never changed and never deleted; a later process goes on after the highest number.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        names = [_FILE.fullmatch(name) for name in os.listdir(directory)]
        self._lines: dict[int, int] = {}
        self._numbers = sorted(int(name[1]) for name in names if name)

    @staticmethod
    def is_handle(path: str) -> bool:
        """Whether `path` has the form of a handle, of an output that there is or not."""
        return _HANDLE.fullmatch(path) is not None

    def handles(self) -> list[str]:
        """The handles that can be opened, in the order in which they were given."""
        return [f"output:{number}" for number in self._numbers]

    def keep(self, text: str) -> str:
        """Writes `text`, free of control characters, and gives its handle."""
        capture = Capture(MAX_KEPT)
        capture.add(text.encode(errors="replace"))
        number = self._numbers[-1] + 1 if self._numbers else 1
        place = self.directory / f"{number}.txt"
        temporary = self.directory / f".{number}.{os.getpid()}"
        with open(temporary, "wb") as file:
            file.write(capture.text())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, place)
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._numbers.append(number)
        return f"output:{number}"

    def file(self, handle: str) -> str | None:
        """The name of the output's file in `directory`; None where there is no such output."""
        match = _HANDLE.fullmatch(handle)
        return f"{match[1]}.txt" if match and int(match[1]) in self._numbers else None

    def lines(self, handle: str) -> Sequence[str]:
        """The lines of an output. Raises KeyError where there is none of this handle."""
        if (name := self.file(handle)) is None:
            raise KeyError(handle)
        lines = (self.directory / name).read_text(encoding="utf-8", errors="replace").split("\n")
        return lines[:-1] if len(lines) > 1 and not lines[-1] else lines

    def length(self, handle: str) -> int:
        """How many lines an output has; remembered. Raises KeyError where there is none of this handle."""
        number = int(handle.removeprefix("output:"))
        if number not in self._lines:
            self._lines[number] = len(self.lines(handle))
        return self._lines[number]
