"""Three ways to order candidate edits by likelihood. The product uses `by_sum`; the others are compared."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Protocol

from tinsmith.dialects import Call
from tinsmith.engines import TokenEngine, best_first

MEAN_POOL = 100
"""How many of the most likely candidates `by_mean` orders anew."""


class Scoring(Protocol):
    """Indices of `calls`, best first. `continuations`: arguments as ids; `counted`: which of them score."""

    def __call__(
        self,
        engine: TokenEngine,
        prefix: Sequence[int],
        calls: Sequence[Call],
        continuations: Sequence[Sequence[int]],
        counted: Sequence[Sequence[bool]],
    ) -> Iterator[int]: ...


def by_sum(
    engine: TokenEngine,
    prefix: Sequence[int],
    calls: Sequence[Call],
    continuations: Sequence[Sequence[int]],
    counted: Sequence[Sequence[bool]],
) -> Iterator[int]:
    """log P(line, text): what the product does."""
    return (index for index, _ in best_first(engine, prefix, continuations, counted=counted))


def by_mean(
    engine: TokenEngine,
    prefix: Sequence[int],
    calls: Sequence[Call],
    continuations: Sequence[Sequence[int]],
    counted: Sequence[Sequence[bool]],
) -> Iterator[int]:
    """log P(line, text) per token, among the MEAN_POOL of highest sum: a mean gives the search no bound."""
    pool = list(islice(best_first(engine, prefix, continuations, counted=counted), MEAN_POOL))
    pool.sort(key=lambda scored: -scored[1] / len(continuations[scored[0]]))
    return (index for index, _ in pool)


def by_text(
    engine: TokenEngine,
    prefix: Sequence[int],
    calls: Sequence[Call],
    continuations: Sequence[Sequence[int]],
    counted: Sequence[Sequence[bool]],
) -> Iterator[int]:
    """log P(text | line), every line as likely as any other: the model's choice of the line is left out.

    What all candidates of a line share is its place, and `best_first` does not score what is shared. So it is
    exact, but for a text that begins like all others of its line.
    """
    lines: dict[str, list[int]] = {}
    for index, call in enumerate(calls):
        lines.setdefault(call.arguments["start"], []).append(index)

    def of_line(members: list[int]) -> Iterator[tuple[float, int]]:
        ranked = best_first(
            engine,
            prefix,
            [continuations[i] for i in members],
            counted=[counted[i] for i in members],
        )
        return ((-score, members[at]) for at, score in ranked)

    return (index for _, index in heapq.merge(*(of_line(members) for members in lines.values())))


SCORINGS: Mapping[str, Scoring] = {"sum": by_sum, "mean": by_mean, "ratio": by_text}
"""By the name on the command line."""
