"""What the model has in its window and is still true: the only lines that an edit may name."""

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_DIGEST = 6  # bytes of a line's hash, 8 characters of base 64


class ShownLines:
    """Per file, the lines that were shown, with a hash of the text they had; one that has changed is not shown.

    A line is *listed* where it stands in the window under the number it still has. A line that an edit wrote
    or moved is shown, since the model knows its text, but not listed.
    """

    def __init__(self) -> None:
        self._lines: dict[str, dict[int, str]] = defaultdict(dict)
        self._listed: dict[str, set[int]] = defaultdict(set)

    def show(self, path: str, first: int, lines: Sequence[str]) -> None:
        """Records that `lines` of `path`, from the 1-based line `first` on, were shown."""
        self._lines[path].update(enumerate(map(line_hash, lines), first))
        self._listed[path].update(range(first, first + len(lines)))

    def paths(self) -> list[str]:
        """The files of which a line is shown."""
        return sorted(path for path, lines in self._lines.items() if lines)

    def valid(self, path: str, current: Sequence[str]) -> list[int]:
        """The shown lines of `path` whose text is still what was shown."""
        return [
            number
            for number, digest in sorted(self._lines.get(path, {}).items())
            if number <= len(current) and line_hash(current[number - 1]) == digest
        ]

    def listed(self, path: str, current: Sequence[str]) -> set[int]:
        """Those of the valid lines that stand in the window under their number."""
        return self._listed[path].intersection(self.valid(path, current)) if path in self._listed else set()

    def replaced(self, path: str, start: int, end: int, new: Sequence[str]) -> None:
        """Lines start..end of `path` became `new`: what follows moves, the new lines count as shown."""
        moved = len(new) - (end - start + 1)
        lines = self._lines[path]
        after = {number + moved: digest for number, digest in lines.items() if number > end}
        before = {number: digest for number, digest in lines.items() if number < start}
        self._lines[path] = {**before, **dict(enumerate(map(line_hash, new), start)), **after}
        self._listed[path] = {n for n in self._listed[path] if n < start or (n > end and not moved)}

    def copy(self) -> "ShownLines":
        """An independent copy, for going back to."""
        return ShownLines.from_state(self.state())

    def state(self) -> dict[str, Any]:
        """All of it as JSON: per file the runs of shown lines with their hashes, and the runs of listed ones."""
        return {
            path: {
                "shown": [[first, "".join(lines[n] for n in range(first, last + 1))] for first, last in _runs(lines)],
                "listed": [[first, last] for first, last in _runs(self._listed.get(path, ()))],
            }
            for path, lines in sorted(self._lines.items())
            if lines
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "ShownLines":
        """What `state` gave."""
        other = cls()
        for path, each in state.items():
            for first, hashes in each["shown"]:
                parts = [hashes[at : at + 8] for at in range(0, len(hashes), 8)]
                other._lines[path].update(enumerate(parts, first))
            for first, last in each["listed"]:
                other._listed[path].update(range(first, last + 1))
        return other


def runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """The runs of consecutive numbers in a sorted sequence, as (first, last)."""
    start = previous = None
    for number in numbers:
        if start is None or previous is None:
            start = previous = number
        elif number == previous + 1:
            previous = number
        else:
            yield start, previous
            start = previous = number
    if start is not None and previous is not None:
        yield start, previous


def _runs(numbers: Mapping[int, str] | set[int] | tuple[()]) -> Iterator[tuple[int, int]]:
    return runs(sorted(numbers))


def line_hash(line: str) -> str:
    """What tells a text from another, short."""
    digest = hashlib.blake2b(line.encode(errors="surrogatepass"), digest_size=_DIGEST).digest()
    return base64.b64encode(digest).decode()
