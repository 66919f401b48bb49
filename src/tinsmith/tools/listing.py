"""How lines of a file are shown to a model: one form, in the brief, in `read` and in training data alike."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Excerpt:
    """Consecutive lines of a file. `first` is the 1-based number of the first; lines carry no newline."""

    path: str
    first: int
    lines: tuple[str, ...]

    @property
    def last(self) -> int:
        """The 1-based number of the last line."""
        return self.first + len(self.lines) - 1


def numbered(first: int, lines: Sequence[str]) -> str:
    """`lines` with their numbers, a tab between: the form whose ranges `edit` accepts."""
    return "\n".join(f"{number}\t{line}" for number, line in enumerate(lines, first))


def shown(excerpt: Excerpt) -> str:
    """The path and the numbered lines of an excerpt."""
    return f"{excerpt.path}\n{numbered(excerpt.first, excerpt.lines)}"
