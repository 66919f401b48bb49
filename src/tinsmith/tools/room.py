"""How much of a text fits: the budget of an observation in tokens, as the model's own vocabulary counts them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tinsmith.events import redact

_MOST_CHARACTERS = 64
"""Characters of a token, at most, of a text worth showing; more need not be counted to be too much."""
_MOST_LINES = 400
"""Lines of a clipped text, at most."""


@dataclass(frozen=True)
class Room:
    """`tokens` for one text. `count` says how many tokens a text has."""

    tokens: int
    count: Callable[[str], int]

    def at_most(self, tokens: int) -> "Room":
        """This room, or `tokens` where that is less."""
        return Room(min(self.tokens, tokens), self.count)

    def holds(self, text: str) -> bool:
        """Whether `text`, its secrets redacted, fits."""
        if len(text) > max(self.tokens, 0) * _MOST_CHARACTERS:
            return False
        return self.count(redact(text)) <= self.tokens

    def cut(self, text: str) -> str:
        """As many characters of `text` from the first as fit."""
        longest = min(len(text), max(self.tokens, 0) * _MOST_CHARACTERS)
        return text[: most(longest, lambda length: self.holds(text[:length]))]

    def ends(self, before: str, lines: Sequence[str], gap: Callable[[int, int], str]) -> str:
        """`before`, then the first and last of `lines`, as many as fit.

        Between them stands `gap` of the first and the last line left out, counted from 1. Where not even the
        last line fits, as much of its end as does.
        """

        def kept(count: int) -> str:
            head = count // 3
            tail = lines[len(lines) - (count - head) :]
            return "\n".join([before, *lines[:head], gap(head + 1, len(lines) - len(tail)), *tail])

        count = most(min(len(lines) - 1, _MOST_LINES), lambda count: count > 0 and self.holds(kept(count)))
        if count:
            return kept(count)
        last, start = lines[-1], f"{before}\n{gap(1, len(lines) - 1) if len(lines) > 1 else 'The end of one line:'}\n"
        length = most(min(len(last), 4 * max(self.tokens, 0)), lambda n: self.holds(start + last[len(last) - n :]))
        return self.cut(start + last[len(last) - length :] if length else start)


def most(limit: int, fits: Callable[[int], bool]) -> int:
    """The largest number up to `limit` that was seen to fit, 0 where none was.

    What fits is mostly true of every smaller number too; the merges of a vocabulary make exceptions.
    """
    if limit <= 0 or fits(limit):
        return max(limit, 0)
    low, high = 0, limit
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low
