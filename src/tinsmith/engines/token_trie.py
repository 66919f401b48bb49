"""A finite choice as a trie over token ids: what is common is appended unasked, only a branch is decoded.

The texts' own (canonical) ids are packed big-endian, four bytes an id, and sorted: a node of the radix trie is then
a slice of the list and a depth, and nothing is built before it is walked. So 50,000 paths cost a sort.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from sys import byteorder

_WIDTH = 4


@dataclass(frozen=True)
class Chosen:
    """The text of that index, its ids, and which of them were decoded; the others had no alternative."""

    index: int
    ids: list[int]
    decoded: list[bool]


def packed(ids: Sequence[int]) -> bytes:
    """Ids as bytes that sort and compare as the ids do."""
    words = array("I", ids)
    assert words.itemsize == _WIDTH
    if byteorder == "little":
        words.byteswap()
    return words.tobytes()


class TokenTrie:
    """The trie of `texts` (packed ids), one of which is chosen.

    Where the ids of one begin another's, what comes next tells whether it has ended: the ids of one of `follow` (packed
    too) are walked like the rest of a text, and are not part of it. Raises ValueError where two are still alike.
    """

    def __init__(self, texts: Sequence[bytes], follow: Sequence[bytes] = ()) -> None:
        if not texts:
            raise ValueError("a choice of nothing")
        self._lengths = [len(text) for text in texts]
        self._follow = len(follow)
        places = {text: index for index, text in enumerate(texts)}
        self._keys = sorted(places)
        self._texts = [places[key] for key in self._keys]
        if short := self._beginnings():
            self._tell_apart([(key, self._texts[at]) for at, key in enumerate(self._keys)], short, follow)

    def walk(self, pick: Callable[[Sequence[int], Sequence[int]], int]) -> Chosen:
        """Goes down to one text. `pick` is asked at each branch: the ids so far, and the ids that may come next."""
        keys, low, high, depth = self._keys, 0, len(self._keys), 0
        path: list[int] = []
        decoded: list[bool] = []
        while not self._is_decided(low, high):
            shared = _shared(keys[low], keys[high - 1], depth)
            forced = _unpacked(keys[low][depth:shared])
            path += forced
            decoded += [False] * len(forced)
            children = self._children(low, high, shared)
            token = pick(path, list(children))
            low, high = children[token]
            path.append(token)
            decoded.append(True)
            depth = shared + _WIDTH
        index = self._texts[low]
        rest = _unpacked(keys[low][depth:])
        length = self._lengths[index] // _WIDTH
        return Chosen(index, (path + rest)[:length], (decoded + [False] * len(rest))[:length])

    def _is_decided(self, low: int, high: int) -> bool:
        """Whether one text is left, though perhaps with several ways to end."""
        return high - low <= max(1, self._follow) and len(set(self._texts[low:high])) == 1

    def _children(self, low: int, high: int, depth: int) -> dict[int, tuple[int, int]]:
        """The next ids below the node and the slice of each."""
        keys, found = self._keys, dict[int, tuple[int, int]]()
        end = depth + _WIDTH
        while low < high:
            head = keys[low][:end]
            token = int.from_bytes(head[depth:])
            after = bisect_left(keys, head[:depth] + (token + 1).to_bytes(_WIDTH), low + 1, high)
            found[token] = (low, after)
            low = after
        return found

    def _beginnings(self) -> set[int]:
        """The places of the keys that the key after them begins with."""
        keys = self._keys
        return {at for at in range(len(keys) - 1) if keys[at + 1].startswith(keys[at])}

    def _tell_apart(self, entries: list[tuple[bytes, int]], short: set[int], follow: Sequence[bytes]) -> None:
        if not follow or not all(follow):
            raise ValueError("one text begins another, and nothing tells where it ends")
        # Of two that begin alike the shorter says enough.
        follow = [after for after in set(follow) if not any(after != o and after.startswith(o) for o in follow)]
        longer = [(entries[at][0] + after, entries[at][1]) for at in short for after in follow]
        entries = sorted([entry for at, entry in enumerate(entries) if at not in short] + longer)
        self._keys = [key for key, _ in entries]
        self._texts = [index for _, index in entries]
        if self._beginnings():
            raise ValueError("what follows a text is also how a longer one goes on")


def _unpacked(key: bytes) -> list[int]:
    return [int.from_bytes(key[at : at + _WIDTH]) for at in range(0, len(key), _WIDTH)]


def _shared(first: bytes, last: bytes, depth: int) -> int:
    """Length of the common prefix of the two in bytes, whole ids only; known to be at least `depth`."""
    most = min(len(first), len(last))
    while depth < most and first[depth : depth + _WIDTH] == last[depth : depth + _WIDTH]:
        depth += _WIDTH
    return depth
