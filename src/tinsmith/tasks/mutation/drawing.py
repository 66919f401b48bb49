"""All bugs of some lines, or some of them drawn by kind."""

import random
from collections.abc import Iterator
from functools import lru_cache

from tinsmith.errors import InputError
from tinsmith.tasks.mutation.checking import Checker, Mutation
from tinsmith.tasks.mutation.file import File, Splice
from tinsmith.tasks.mutation.kinds import KINDS
from tinsmith.tasks.mutation.planting import plant


def mutations(source: str, first: int, last: int) -> list[Mutation]:
    """Every bug that can be planted in lines `first` to `last` (1-based, inclusive) of a Python file, once
    each, in the order of the code.

    Only code inside functions is touched; docstrings, annotations, decorators and f-strings are not. Raises
    InputError when the file does not parse or has no such lines.
    """
    return list(_all(source, first, last))


def sample(source: str, first: int, last: int, rng: random.Random, count: int) -> list[Mutation]:
    """Up to `count` different bugs in lines `first` to `last`, drawn by kind (weights: `KINDS`), then
    evenly within the kind.

    Equal arguments and an equal state of `rng` give equal bugs. Raises InputError as `mutations` does.
    """
    checker, splices = _checked(source, first, last)
    groups: dict[str, list[Splice]] = {}
    for splice in splices:
        groups.setdefault(splice.kind, []).append(splice)
    drawn: list[Mutation] = []
    seen: set[tuple[int, str]] = set()
    while groups and len(drawn) < count:
        kinds = list(groups)
        kind = rng.choices(kinds, [KINDS[name] for name in kinds])[0]
        group = groups[kind]
        splice = group.pop(rng.randrange(len(group)))
        if not group:
            del groups[kind]
        mutation = checker.mutation(splice)
        if mutation is not None and (mutation.line, mutation.after) not in seen:
            seen.add((mutation.line, mutation.after))
            drawn.append(mutation)
    return drawn


def _all(source: str, first: int, last: int) -> Iterator[Mutation]:
    checker, splices = _checked(source, first, last)
    seen: set[tuple[int, str]] = set()
    for splice in splices:
        mutation = checker.mutation(splice)
        if mutation is not None and (mutation.line, mutation.after) not in seen:
            seen.add((mutation.line, mutation.after))
            yield mutation


def _checked(source: str, first: int, last: int) -> tuple[Checker, list[Splice]]:
    file = _read(source)
    if not 1 <= first <= last <= len(file.lines):
        raise InputError("lines-missing", f"Lines {first} to {last} are not in the file.", "Give lines of the file.")
    splices = [splice for splice in plant(file, first, last) if first <= splice.line <= last]
    return Checker(file, first, last), splices


@lru_cache(maxsize=8)
def _read(source: str) -> File:
    return File(source)
