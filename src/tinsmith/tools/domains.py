"""What may follow in a call, as far as it is worked out from lines and paths alone."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tinsmith.dialects import Domain, OneOfValues

MAX_OLD = 200
"""Characters of a line that `old` may name."""
MAX_STARTS = 5_000
"""First lines that a read offers; of a file with more, every fiftieth (or hundredth, …) and those that were named."""
_START_STEP = 50


@dataclass(frozen=True)
class Choices:
    """What may follow in a call: the arguments that may come next, with their domains; whether it may end."""

    options: Mapping[str, Domain]
    may_close: bool = False


def one_of(numbers: Iterable[int]) -> OneOfValues:
    """These numbers."""
    return OneOfValues(tuple(map(str, numbers)))


def starts(count: int, named: Iterable[int]) -> Sequence[int]:
    """The first lines of a read in a text of `count` lines; a grammar of all of a long one is slow to compile."""
    if count <= MAX_STARTS:
        return range(1, count + 1)
    step = _START_STEP * -(-count // (_START_STEP * MAX_STARTS))
    return sorted({1, *range(step, count + 1, step), *(number for number in named if number <= count)})


def unique_lines(lines: Sequence[str], numbers: Iterable[int]) -> list[str]:
    """The lines of these numbers that name their place: they say something, are not long and occur once."""
    times = Counter(lines)
    named = (lines[number - 1] for number in numbers)
    return sorted({line for line in named if line.strip() and len(line) <= MAX_OLD and times[line] == 1})


def with_directories(paths: Sequence[str]) -> list[str]:
    """The paths and every directory above them, sorted."""
    directories = {path[:at] for path in paths for at, character in enumerate(path) if character == "/"}
    return sorted({*paths, *directories})
