"""Examples on disk as flat arrays that need no parsing, and batches of few fixed shapes.

A shard directory holds `ids.npy` (uint16, all examples end to end), `kinds.npy` (uint8, `Kind`) and
`offsets.npy` (int64, one more than there are examples).
"""

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinsmith.learn.examples import Example, Kind

BUCKETS = (256, 384, 640, 1024)
"""Lengths that examples are padded to; few, as each costs a compilation. Longer examples are left out."""


@dataclass(frozen=True)
class Batch:
    """ids: (rows, length + 1); picked, weights: flat positions in (rows, length) whose next id is learnt."""

    ids: NDArray[np.int64]
    picked: NDArray[np.int64]
    weights: NDArray[np.float32]


def write_shard(directory: Path, examples: Iterable[Example]) -> int:
    """Writes the examples that fit the longest bucket; returns how many tokens they have."""
    ids: list[NDArray[Any]] = []
    kinds: list[NDArray[Any]] = []
    lengths: list[int] = []
    for example in examples:
        if len(example.ids) > BUCKETS[-1] + 1:
            continue
        ids.append(np.array(example.ids, dtype=np.uint16))
        kinds.append(np.array(example.kinds, dtype=np.uint8))
        lengths.append(len(example.ids))
    directory.mkdir(parents=True, exist_ok=True)
    np.save(directory / "ids.npy", np.concatenate(ids))
    np.save(directory / "kinds.npy", np.concatenate(kinds))
    np.save(directory / "offsets.npy", np.cumsum([0, *lengths]))
    return sum(lengths)


class Shards:
    """All examples of some shard directories, as batches in a seeded order."""

    def __init__(self, directories: Iterable[Path]) -> None:
        self._parts: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = [
            (
                np.load(directory / "ids.npy", mmap_mode="r"),
                np.load(directory / "kinds.npy", mmap_mode="r"),
                np.load(directory / "offsets.npy"),
            )
            for directory in directories
        ]
        self._index = [(part, row) for part, (_, _, at) in enumerate(self._parts) for row in range(len(at) - 1)]

    def __len__(self) -> int:
        return len(self._index)

    def batches(self, tokens: int, seed: int, learnt_share: float, weights: Mapping[Kind, float]) -> Iterator[Batch]:
        """One pass in the order of `seed`: batches of about `tokens` ids, each of one bucket.

        `learnt_share` of the positions are learnt, those of most weight first and at random among equals: all
        of the calls' and a share of the brief's. So a bucket has one fixed number of them, and a compiled
        step one shape.
        """
        rng = random.Random(seed)
        order = self._index.copy()
        rng.shuffle(order)
        scale = np.array([weights.get(kind, 0.0) for kind in Kind], dtype=np.float32)
        waiting: dict[int, list[tuple[int, int]]] = {bucket: [] for bucket in BUCKETS}
        for part, row in order:
            at = self._parts[part][2]
            length = int(at[row + 1] - at[row]) - 1
            bucket = next(size for size in BUCKETS if length <= size)
            waiting[bucket].append((part, row))
            if len(waiting[bucket]) == max(1, tokens // bucket):
                yield self._batch(waiting[bucket], bucket, rng, learnt_share, scale)
                waiting[bucket] = []

    def _batch(
        self,
        rows: list[tuple[int, int]],
        bucket: int,
        rng: random.Random,
        learnt_share: float,
        scale: NDArray[np.float32],
    ) -> Batch:
        ids = np.zeros((len(rows), bucket + 1), dtype=np.int64)
        weights = np.zeros((len(rows), bucket + 1), dtype=np.float32)
        for row, (part, index) in enumerate(rows):
            all_ids, kinds, at = self._parts[part]
            begin, end = int(at[index]), int(at[index + 1])
            ids[row, : end - begin] = all_ids[begin:end]
            weights[row, : end - begin] = scale[kinds[begin:end]]
        flat = weights[:, 1:].reshape(-1)
        noise = np.random.default_rng(rng.getrandbits(32)).random(flat.shape) * 1e-3
        count = int(flat.size * learnt_share)
        picked = np.sort(np.argpartition(-(flat + noise), count - 1)[:count])
        return Batch(ids, picked.astype(np.int64), flat[picked])
