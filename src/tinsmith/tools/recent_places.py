"""Where the work is: the places that were last read or edited, shown again when old observations are forgotten."""

from collections.abc import Callable, Sequence
from typing import Any

from tinsmith.tools.listing import Excerpt
from tinsmith.tools.shown_lines import runs

MAX_PLACES = 4
MAX_LINES = 60
"""Lines of one place, from its first."""
AROUND = 10
"""Lines before and after an edit."""


class RecentPlaces:
    """At most MAX_PLACES ranges of lines, the latest last; edits move them."""

    def __init__(self, places: Sequence[tuple[str, int, int]] = ()) -> None:
        self._places = list(places)

    def read(self, path: str, start: int, end: int) -> None:
        """Lines start..end of `path` were read."""
        self._places = [place for place in self._places if place != (path, start, end)]
        self._places.append((path, start, end))
        del self._places[:-MAX_PLACES]

    def edited(self, path: str, start: int, end: int, count: int) -> None:
        """Lines start..end of `path` became `count` lines."""
        moved = count - (end - start + 1)

        def place(each: tuple[str, int, int]) -> tuple[str, int, int]:
            name, first, last = each
            if name != path or last < start:
                return each
            return (name, first + moved, last + moved) if first > end else (name, first, max(first, last + moved))

        self._places = [place(each) for each in self._places]
        self.read(path, max(1, start - AROUND), start + count - 1 + AROUND)

    def excerpts(self, lines_of: Callable[[str], Sequence[str | None]]) -> list[Excerpt]:
        """The places as they stand now, no line twice. `lines_of` a path has None for a line not to be shown."""
        taken: dict[str, set[int]] = {}
        found: list[Excerpt] = []
        for path, start, end in reversed(self._places):
            lines, known = lines_of(path), taken.setdefault(path, set())
            numbers = range(start, min(end, start + MAX_LINES - 1, len(lines)) + 1)
            new = [n for n in numbers if n not in known and lines[n - 1] is not None]
            for first, last in reversed(list(runs(new))):
                found.append(Excerpt(path, first, tuple(line or "" for line in lines[first - 1 : last])))
            known.update(new)
        return found[::-1]

    def state(self) -> list[list[Any]]:
        """All of it as JSON."""
        return [list(place) for place in self._places]

    @classmethod
    def from_state(cls, state: Sequence[Sequence[Any]]) -> "RecentPlaces":
        """What `state` gave."""
        return cls([(str(path), int(start), int(end)) for path, start, end in state])
