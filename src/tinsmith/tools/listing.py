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


SPARSE_ABOVE = 40
"""Lines; a longer listing numbers every fifth."""
STEP = 5


def entries(first: int, lines: Sequence[str], *, sparse: bool) -> list[str]:
    """Each of `lines` as a listing has it; `sparse`: a number on the first, the last and every fifth only,
    nothing on blank ones.

    A number on every line costs 2.9 tokens a line in Mistral's vocabulary and 2.7 in Qwen's, where each digit is
    one; on every fifth 0.7 and 0.6. The tab alone costs nearly nothing and keeps the columns.
    """
    last = first + len(lines) - 1

    def entry(number: int, line: str) -> str:
        if not sparse or number in (first, last):
            return f"{number}\t{line}"
        if not line:
            return ""
        return f"{number if number % STEP == 0 else ''}\t{line}"

    return [entry(number, line) for number, line in enumerate(lines, first)]


def shown(excerpt: Excerpt) -> str:
    """The path and the numbered lines of an excerpt."""
    return f"{excerpt.path}\n{numbered(excerpt.first, excerpt.lines)}"
