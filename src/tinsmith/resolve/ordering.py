"""In which order candidate edits are tried: as the model ranks them, or at random (plain enumerate-and-test)."""

import random
from collections.abc import Sequence
from typing import Protocol


class Order(Protocol):
    """Indices of `continuations` in the order of trying. `prefix` and the continuations are token ids."""

    def __call__(self, prefix: Sequence[int], continuations: Sequence[Sequence[int]]) -> Sequence[int]: ...


def shuffled(seed: int) -> Order:
    """The enumerator without a model: every candidate once, in an order drawn by `seed`."""

    def order(prefix: Sequence[int], continuations: Sequence[Sequence[int]]) -> Sequence[int]:
        indices = list(range(len(continuations)))
        random.Random(seed).shuffle(indices)
        return indices

    return order
