"""What the model has been shown and is still true: the only lines that an edit may name."""

from collections import defaultdict
from collections.abc import Iterator, Sequence


class ShownLines:
    """Per file, the lines that were shown, with the text they had; one that has changed is not shown."""

    def __init__(self) -> None:
        self._lines: dict[str, dict[int, str]] = defaultdict(dict)

    def show(self, path: str, first: int, lines: Sequence[str]) -> None:
        """Records that `lines` of `path`, from the 1-based line `first` on, were shown."""
        self._lines[path].update(enumerate(lines, first))

    def paths(self) -> list[str]:
        """The files of which a line is shown."""
        return sorted(path for path, lines in self._lines.items() if lines)

    def valid(self, path: str, current: Sequence[str]) -> list[int]:
        """The shown lines of `path` whose text is still what was shown."""
        return [
            number
            for number, text in sorted(self._lines.get(path, {}).items())
            if number <= len(current) and current[number - 1] == text
        ]

    def replaced(self, path: str, start: int, end: int, new: Sequence[str]) -> None:
        """Lines start..end of `path` became `new`: what follows moves, the new lines count as shown."""
        moved = len(new) - (end - start + 1)
        lines = self._lines[path]
        after = {number + moved: text for number, text in lines.items() if number > end}
        before = {number: text for number, text in lines.items() if number < start}
        self._lines[path] = {**before, **dict(enumerate(new, start)), **after}

    def copy(self) -> "ShownLines":
        """An independent copy, for going back to."""
        other = ShownLines()
        for path, lines in self._lines.items():
            other._lines[path] = dict(lines)
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
