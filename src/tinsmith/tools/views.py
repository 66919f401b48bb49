"""What the model sees of a file, of a search and of a command: as much as its room holds, and where the rest is."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tinsmith.tools.listing import SPARSE_ABOVE, entries
from tinsmith.tools.room import Room, most
from tinsmith.tools.test_digest import MAX_DESCRIBED, Digest

MIN_KNOWN = 8
"""Lines; a shorter run that stands above already is shown again, which costs less than saying so."""
MAX_LINE = 200
"""Characters of a line that a search shows."""
MAX_COUNTED = 8
"""Files whose further hits a search counts."""


@dataclass(frozen=True)
class View:
    """A text, and the lines that stand whole in it: by path and number, the way `text` has them."""

    text: str
    lines: Mapping[tuple[str, int], str]
    elided: bool = False
    """Whether lines are only said to stand above."""


def file_view(path: str, lines: Sequence[str], start: int, end: int, known: Collection[int], room: Room) -> View:
    """Lines start..end of a file, numbered; runs of those in `known` are only said to stand above.

    What does not fit is left out from the end, and said.
    """
    sparse = end - start + 1 > SPARSE_ABOVE
    head = f"{path} has {len(lines)} lines"

    def part(last: int) -> View:
        texts = [head]
        shown: dict[tuple[str, int], str] = {}
        elided = False
        for first, final, is_known in _segments(start, last, known):
            elided |= is_known
            if is_known:
                texts.append(f"Lines {first} to {final} were shown above and have not changed.")
                continue
            listed = entries(first, lines[first - 1 : final], sparse=sparse)
            shown |= {(path, number): entry for number, entry in enumerate(listed, first)}
            texts += listed
        if last < end:
            texts.append(f"Lines {last + 1} to {end} are left out.")
        return View("\n".join(texts), shown, elided)

    if count := most(end - start + 1, lambda count: count > 0 and room.holds(part(start + count - 1).text)):
        return part(start + count - 1)
    return View(_one_line(f"{head}\n{start}\t", lines[start - 1], room), {})


def output_view(handle: str, lines: Sequence[str], start: int, end: int, room: Room) -> str:
    """Lines start..end of an output. They bear no numbers, since nobody edits them."""
    head = f"{handle} has {len(lines)} lines\n"

    def part(count: int) -> str:
        last = start + count - 1
        rest = f"\nLines {last + 1} to {end} are left out." if last < end else ""
        return head + "\n".join(lines[start - 1 : last]) + rest

    if count := most(end - start + 1, lambda count: count > 0 and room.holds(part(count))):
        return part(count)
    return _one_line(head, lines[start - 1], room)


def hits_view(hits: Sequence[tuple[str, int, str]], counts: Mapping[str, int], room: Room) -> View:
    """Hits as (path, number, line), grouped by file in the form of a listing; of those that do not fit, how many.

    `counts` are all hits of each file. A line longer than MAX_LINE is cut and does not stand whole.
    """

    def part(count: int) -> View:
        texts: list[str] = []
        shown: dict[tuple[str, int], str] = {}
        for at, (path, number, line) in enumerate(hits[:count]):
            if not at or hits[at - 1][0] != path:
                texts.append(path)
            entry = f"{number}\t{line[:MAX_LINE]}"
            if len(line) <= MAX_LINE:
                shown[path, number] = entry
            texts.append(entry if len(line) <= MAX_LINE else entry + "…")
        if rest := _uncounted(hits[:count], counts):
            texts.append(("Not listed: " if count else "Hits: ") + rest)
        return View("\n".join(texts), shown)

    count = most(len(hits), lambda count: room.holds(part(count).text))
    return part(count) if room.holds(part(count).text) else View(room.cut(part(count).text), {})


def output_text(head: str, output: str, keep: Callable[[str], str] | None, whole: Room, clipped: Room) -> str:
    """A command's output: whole where `whole` holds it, else its two ends in `clipped` and the handle of the rest."""
    text = f"{head}\n{output}".rstrip("\n")
    if whole.holds(text):
        return text
    lines = output.rstrip("\n").split("\n")
    said = f"; read {keep(output)}" if keep is not None else ""
    return clipped.ends(head, lines, lambda first, last: f"[lines {first} to {last} of {len(lines)} left out{said}]")


def report_text(
    head: str, output: str, digested: Callable[[int], Digest], keep: Callable[[str], str] | None, room: Room
) -> Digest:
    """A test run as its digest, and the handle of what was printed; where that is no longer, what was printed.

    `digested` is told how many failing tests to describe.
    """
    printed = f"{head}\n{output}".rstrip("\n")
    full = digested(MAX_DESCRIBED)
    if room.holds(printed) and room.count(printed) <= room.count(f"{head}\n{full.text}"):
        return Digest(printed, ())
    lines = output.count("\n") + 1
    said = f"\nWhat was printed: {keep(output)}, {lines} lines." if keep is not None and output else ""

    def part(described: int) -> str:
        return f"{head}\n{digested(described).text}{said}"

    described = most(MAX_DESCRIBED, lambda described: room.holds(part(described)))
    if room.holds(part(described)):
        return Digest(part(described), digested(described).described)
    short = Room(room.tokens - room.count(said), room.count).cut(f"{head}\n{digested(0).text}")
    return Digest(room.cut(short + said), ())


def _segments(start: int, end: int, known: Collection[int]) -> Iterator[tuple[int, int, bool]]:
    """The range in runs, as (first, last, whether it is known); short known ones join their neighbours."""
    first = number = start
    while number <= end:
        last = number
        while last <= end and last in known:
            last += 1
        if last - number >= MIN_KNOWN:
            if first < number:
                yield first, number - 1, False
            yield number, last - 1, True
            first = last
        number = max(last, number + 1)
    if first <= end:
        yield first, end, False


def _one_line(before: str, line: str, room: Room) -> str:
    """The beginning of a line that does not fit by itself."""
    after = "\nThe rest of the line is left out."
    length = most(min(len(line), 4 * max(room.tokens, 0)), lambda length: room.holds(before + line[:length] + after))
    return room.cut(before + line[:length] + after)


def _uncounted(listed: Sequence[tuple[str, int, str]], counts: Mapping[str, int]) -> str:
    """How many hits of which files are not among those listed."""
    left = dict(counts)
    for path, _, _ in listed:
        left[path] -= 1
    more = [(count, path) for path, count in left.items() if count]
    said = [f"{count} in {path}" for count, path in more[:MAX_COUNTED]]
    if others := more[MAX_COUNTED:]:
        said.append(f"{sum(count for count, _ in others)} in {len(others)} other files")
    return ", ".join(said)
