"""The append-only token transcript, and forks of it.

The prompt of a turn begins with every id of the turn before it: sampled ids are kept as they were sampled,
text is encoded once. There is no way to change what is there. Going back to try something else, forgetting
and going on after an interrupt are forks: a new branch that begins with a prefix of an older one, recorded in
the log. So the log alone tells the ids of every branch.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from tinsmith.dialects import Encoder, Spans


class EventSink(Protocol):
    """Where events go: a run's log."""

    def append(self, type: str, /, **data: Any) -> Any: ...


def branches_in(events: Iterable[Mapping[str, Any]]) -> dict[int, list[int]]:
    """The ids of every branch as a run's events tell them, by the branch's number."""
    found: dict[int, list[int]] = {0: []}
    for event in events:
        if event["type"] == "fork":
            found[event["branch"]] = found[event["parent"]][: event["at"]]
        elif event["type"] == "tokens":
            ids = found[event["branch"]]
            if event["at"] != len(ids):
                raise ValueError(f"branch {event['branch']} has {len(ids)} ids and goes on at {event['at']}")
            ids += event["ids"]
    return found


class Transcript:
    """One branch. `write` appends spans of ours or of the repository's, `sampled` the model's ids."""

    def __init__(self, encoder: Encoder, sink: EventSink, *, _branch: int = 0) -> None:
        self._encoder = encoder
        self._sink = sink
        self._branch = _branch
        self._branches = [_branch]  # shared by all forks: the highest number given out
        self._ids: list[int] = []

    @classmethod
    def restored(
        cls, encoder: Encoder, sink: EventSink, branches: Mapping[int, Sequence[int]], branch: int, length: int
    ) -> "Transcript":
        """A new branch with the first `length` ids of `branch`, in a run whose branches so far are `branches`.

        What an interrupted turn wrote after them stays in the log, on the branch that it was written to.
        """
        ended = cls(encoder, sink, _branch=branch)
        ended._branches[0] = max(branches)
        ended._ids = list(branches[branch])
        return ended.fork(length)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> Sequence[int]:
        """All ids so far. A copy: what has been written cannot be changed."""
        return tuple(self._ids)

    @property
    def branch(self) -> int:
        """This branch's number within the run; the first is 0."""
        return self._branch

    def write(self, spans: Spans, kind: str) -> None:
        """Appends text and control tokens. `kind` is for the log: system, user, syntax, observation."""
        self._append(self._encoder.encode(spans), kind)

    def sampled(self, ids: Sequence[int], kind: str = "sampled") -> None:
        """Appends ids exactly as the model gave (or ranked) them."""
        self._append(ids, kind)

    def fork(self, length: int) -> "Transcript":
        """A new branch that begins with this one's first `length` ids. Raises ValueError beyond its end."""
        if not 0 <= length <= len(self._ids):
            raise ValueError(f"cannot fork at {length} of {len(self._ids)} ids")
        self._branches[0] += 1
        other = Transcript(self._encoder, self._sink, _branch=self._branches[0])
        other._branches = self._branches
        other._ids = self._ids[:length]
        self._sink.append("fork", parent=self._branch, at=length, branch=other._branch)
        return other

    def _append(self, ids: Sequence[int], kind: str) -> None:
        if not ids:
            return
        self._sink.append("tokens", branch=self._branch, at=len(self._ids), kind=kind, ids=list(ids))
        self._ids.extend(ids)
