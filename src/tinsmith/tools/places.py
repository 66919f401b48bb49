"""The place in a file that the arguments of a call name."""

import difflib
from collections.abc import Mapping, Sequence

from tinsmith.tools.files import Refused


class Missed(Refused):
    """The call named a place that is not there."""


def line_range(given: Mapping[str, str], count: int) -> tuple[int, int]:
    """The range start..end of a text of `count` lines. Raises Missed where there is none."""
    try:
        start = int(given["start"])
        end = int(given.get("end", given["start"]))
    except ValueError as error:
        raise Missed("start and end are line numbers.") from error
    if not 1 <= start <= end <= count:
        raise Missed(f"Lines {start} to {end} are not a range of a file of {count} lines.")
    return start, end


def edit_range(path: str, lines: Sequence[str], readable: Sequence[str], given: Mapping[str, str]) -> tuple[int, int]:
    """The line range that the arguments of an edit name; where range and `old` are both given they must agree.

    Raises Missed, with the nearest of the `readable` lines.
    """
    found: tuple[int, int] | None = None
    if "end" in given and "start" not in given:
        raise Missed("end is given without start.")
    if "old" in given:
        old = given["old"].split("\n")
        places = [
            (at + 1, at + len(old)) for at in range(len(lines) - len(old) + 1) if list(lines[at : at + len(old)]) == old
        ]
        if len(places) != 1:
            raise Missed(_nearest(path, readable, old, len(places)))
        found = places[0]
    if "start" in given:
        named = line_range(given, len(lines))
        if found is not None and found != named:
            places = f"{found[0]} to {found[1]}", f"{named[0]} to {named[1]}"
            raise Missed(f"old is at lines {places[0]} of {path}, not at {places[1]}.")
        found = named
    assert found is not None
    return found


def _nearest(path: str, lines: Sequence[str], old: Sequence[str], count: int) -> str:
    if count > 1:
        return f"old occurs {count} times in {path}; give line numbers."
    close = difflib.get_close_matches(old[0], lines, n=3, cutoff=0.5)
    places = [f"{lines.index(line) + 1}\t{line}" for line in close]
    nearest = "\nNearest:\n" + "\n".join(places) if places else ""
    return f"old does not occur in {path} as whole lines.{nearest}"
