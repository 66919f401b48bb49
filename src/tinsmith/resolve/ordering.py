"""The enumerator without a model: candidate edits in random order, for plain enumerate-and-test."""

import random
from collections.abc import Sequence

from tinsmith.agent import Option, Order


def shuffled(seed: int) -> Order:
    """Every option once, in an order drawn by `seed`."""

    def order(prefix: Sequence[int], options: Sequence[Option], /) -> Sequence[int]:
        indices = list(range(len(options)))
        random.Random(seed).shuffle(indices)
        return indices

    return order
