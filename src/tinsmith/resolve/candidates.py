"""The candidate edits of the suspicious lines: the domain of `edit` for a model that ranks and does not write."""

from collections.abc import Sequence

from tinsmith.codebase import Suspect
from tinsmith.dialects import Call
from tinsmith.tools import EDIT, Excerpt, Files, candidate_edits

MAX_A_LINE = 32
"""Candidates of one line; the recipe puts the likely forms first."""


def candidate_calls(files: Files, suspects: Sequence[Suspect], shown: Sequence[Excerpt]) -> list[Call]:
    """Every candidate edit of the suspects' suspicious lines that an excerpt shows, as complete `edit` calls."""
    visible = {(excerpt.path, number) for excerpt in shown for number in range(excerpt.first, excerpt.last + 1)}
    calls: list[Call] = []
    done: set[tuple[str, int]] = set()
    for suspect in suspects:
        source = "\n".join(files.lines(suspect.path))
        for line in suspect.lines:
            if (suspect.path, line) not in visible or (suspect.path, line) in done:
                continue
            done.add((suspect.path, line))
            place = {"path": suspect.path, "start": str(line), "end": str(line)}
            calls += [Call(EDIT.name, {**place, "new": new}) for new in candidate_edits(source, line, limit=MAX_A_LINE)]
    return calls


def excerpts_of(files: Files, suspects: Sequence[Suspect], budget: int, longest: int = 40) -> list[Excerpt]:
    """The code of the suspects, best first, at most `longest` lines each and `budget` lines in all.

    Of a longer function the window with most suspicious lines is taken, the later one among equals.
    """
    excerpts: list[Excerpt] = []
    for suspect in suspects:
        lines = files.lines(suspect.path)
        first, last = suspect.first, min(suspect.last, len(lines))
        if last - first + 1 > longest:
            starts = range(first, last - longest + 2)
            first = max(starts, key=lambda at: (sum(at <= n < at + longest for n in suspect.lines), at))
            last = first + longest - 1
        if budget < last - first + 1 and excerpts:
            break
        budget -= last - first + 1
        excerpts.append(Excerpt(suspect.path, first, tuple(lines[first - 1 : last])))
    return excerpts
