"""Exact n-best: which of many continuations does the model think most likely, without scoring them all.

The continuations form a radix trie over token ids, so what they share is read once. The search is best first:
a node's score is the log-probability of its path, which only falls further down, so the first `keep` complete
continuations that leave the heap are the best, and whole branches are never scored. At a branching node one
request for the most probable next ids scores many children at once; a child outside them has an upper bound
until its turn comes.
"""

import heapq
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice
from threading import Event

from tinsmith.engines.protocol import TokenEngine

_PROBABLE = 256
"""How many next ids are listed at a branching node: as dear as one; the others get a bound that seldom matters."""


@dataclass
class _Node:
    """A node of the radix trie: its edge's ids and which of them count, which continuations end here, the
    children by first id."""

    edge: Sequence[int] = ()
    counted: Sequence[bool] = ()
    ends: list[int] = field(default_factory=list[int])
    children: dict[int, "_Node"] = field(default_factory=dict[int, "_Node"])


@dataclass(frozen=True)
class _Scored:
    """A node whose score is exact; `path` leads to its end."""

    node: _Node
    path: tuple[int, ...]


@dataclass(frozen=True)
class _Unscored:
    """A node with an upper bound: `path` leads to its edge, the first `known` ids of which `base` has."""

    node: _Node
    path: tuple[int, ...]
    known: int
    base: float


_Item = _Scored | _Unscored


def rank(
    engine: TokenEngine,
    prefix: Sequence[int],
    continuations: Sequence[Sequence[int]],
    *,
    counted: Sequence[Sequence[bool]] | None = None,
    keep: int | None = None,
    cancel: Event | None = None,
) -> list[tuple[int, float]]:
    """The `keep` (None: all) most likely continuations of `prefix`, best first: (index, log-probability).

    See `best_first`, which gives the same one at a time and does only the work that those taken need.
    """
    return list(islice(best_first(engine, prefix, continuations, counted=counted, cancel=cancel), keep))


def best_first(
    engine: TokenEngine,
    prefix: Sequence[int],
    continuations: Sequence[Sequence[int]],
    *,
    counted: Sequence[Sequence[bool]] | None = None,
    cancel: Event | None = None,
) -> Iterator[tuple[int, float]]:
    """The continuations of `prefix` as (index, log-probability), the most likely first.

    The log-probability (natural, the model's own softmax) is summed over the ids after the head that all
    continuations share, which is a constant and not scored. `counted`, of the shape of `continuations`, says
    which ids were a choice: the others are syntax that a constrained decoder appends without asking, and
    cost nothing. The engine may be used for other things between
    two of them. Raises ValueError for an empty continuation, Cancelled, EngineError.
    """
    if any(len(continuation) == 0 for continuation in continuations):
        raise ValueError("an empty continuation has no likelihood")
    if not continuations:
        return
    head = _shared(continuations)
    masks = counted or [[True] * len(ids) for ids in continuations]
    root = _node([(ids, i) for i, ids in enumerate(continuations)], head, masks)
    start = [*prefix, *continuations[0][:head]]
    order = count()
    heap: list[tuple[float, int, _Item]] = [(0.0, next(order), _Scored(root, ()))]
    while heap:
        cost, _, item = heapq.heappop(heap)
        node = item.node
        if isinstance(item, _Unscored):
            score = item.base + _edge_score(engine, [*start, *item.path], node, item.known, cancel)
            heapq.heappush(heap, (-score, next(order), _Scored(node, (*item.path, *node.edge))))
            continue
        yield from ((index, -cost) for index in node.ends)
        for child, exact, value in _children(engine, [*start, *item.path], node, cancel):
            bound = value - cost
            scored = exact and len(child.edge) == 1
            found = (
                _Scored(child, (*item.path, *child.edge))
                if scored
                else _Unscored(child, item.path, int(exact), bound if exact else -cost)
            )
            heapq.heappush(heap, (-bound, next(order), found))


def _edge_score(engine: TokenEngine, ids: Sequence[int], node: _Node, known: int, cancel: Event | None) -> float:
    """The log-probability of the counted ids of `node`'s edge from `known` on; `ids` lead to the edge."""
    score, at = 0.0, known
    while at < len(node.edge):
        end = at
        while end < len(node.edge) and node.counted[end] == node.counted[at]:
            end += 1
        if node.counted[at]:
            score += sum(engine.log_probs([*ids, *node.edge[:at]], node.edge[at:end], cancel))
        at = end
    return score


def _children(
    engine: TokenEngine, ids: Sequence[int], node: _Node, cancel: Event | None
) -> list[tuple[_Node, bool, float]]:
    """Each child with whether its first id's log-probability is known, and it or an upper bound."""
    if not node.children:
        return []
    if len(node.children) == 1 or not any(child.counted[0] for child in node.children.values()):
        return [(child, False, 0.0) for child in node.children.values()]
    probable = engine.next_log_probs(ids, min(_PROBABLE, engine.vocabulary.size), cancel)
    # What is not listed is no more likely than the last that is, nor than all that is left together.
    left = 1.0 - sum(map(math.exp, probable.values()))
    bound = min(min(probable.values()), math.log(left) if left > 1e-6 else 0.0)
    return [(child, first in probable, probable.get(first, bound)) for first, child in node.children.items()]


def _node(
    members: Sequence[tuple[Sequence[int], int]],
    depth: int,
    masks: Sequence[Sequence[bool]],
    edge: Sequence[int] = (),
    counted: Sequence[bool] = (),
) -> _Node:
    """The node under which `members` (ids, index) lie, whose path is their first `depth` ids."""
    node = _Node(edge, counted, [index for ids, index in members if len(ids) == depth])
    groups: dict[int, list[tuple[Sequence[int], int]]] = {}
    for ids, index in members:
        if len(ids) > depth:
            groups.setdefault(ids[depth], []).append((ids, index))
    for first, group in groups.items():
        end = _shared([ids for ids, _ in group])
        ids, index = group[0]
        node.children[first] = _node(group, end, masks, ids[depth:end], masks[index][depth:end])
    return node


def _shared(sequences: Sequence[Sequence[int]]) -> int:
    """Length of the prefix that all `sequences` have in common."""
    low, high = min(map(tuple, sequences)), max(map(tuple, sequences))
    return next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
