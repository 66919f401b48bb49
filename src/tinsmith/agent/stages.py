"""The places of a call that a model fills, one after the other: each is one bounded question to the engine.

What is written lands in the transcript as it is decided. A place with one possible text is appended without asking.
"""

from collections.abc import Sequence
from itertools import groupby
from threading import Event
from typing import Protocol

from tinsmith.agent.transcript import Transcript
from tinsmith.dialects import Encoder, Spans, Text
from tinsmith.engines import JsonString, Sampling, TokenEngine, TokenTrie, Until, can_end, packed

CLOSING_RESERVE = 96
"""Tokens kept back for the syntax that ends a call."""


class WindowFull(Exception):
    """The next stage does not fit the context window."""


class Stages(Protocol):
    """Writes a call piece by piece. `EngineStages` asks a model; anything that can choose can stand in for it."""

    def literal(self, text: str) -> None:
        """Appends `text`, which nobody chooses."""
        ...

    def choose(self, texts: Sequence[str], follow: Spans = ()) -> str:
        """Has one of `texts` chosen and appends it. Where one of them begins another, `follow` are what can come next,
        alternatives: choosing how one of these begins means that the shorter text ends. They are not appended."""
        ...

    def free(self, grammar: Until | JsonString, limit: int, abort: str) -> str:
        """Has text under `grammar` written, of at most `limit` tokens, appends and returns it, its end included.

        Where the limit comes first it is cut at a whole character and ended with `abort`, which is appended too.
        """
        ...

    def room(self) -> int:
        """Tokens left for the call beside the reserve for closing it. Raises WindowFull where there is none."""
        ...


_MANY = 64
"""Texts of a list that is worth keeping."""
_KEPT = 4
"""Long lists that are kept: the files to search, to read, and what else comes turn after turn."""


class ChoiceTries:
    """Lists of texts as tries over their ids. The long ones of late are kept, and the ids of all their texts."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._packed: dict[str, bytes] = {}
        self._recent: list[tuple[object, TokenTrie]] = []

    def trie(self, texts: Sequence[str], follow: Spans) -> TokenTrie:
        """The trie of `texts`, in their order. Raises ValueError where `follow` does not tell apart two of them."""
        if len(texts) < _MANY:
            return self._made([packed(self._encoder.encode_text(text)) for text in texts], follow)
        # Comparing finds a long list more quickly than a hash of its new strings.
        key = [list(texts), list(follow)]
        entry = next((entry for entry in self._recent if entry[0] == key), None)
        if entry is None:
            entry = (key, self._made(self._ids(texts), follow))
        self._recent = [entry, *(other for other in self._recent if other is not entry)][:_KEPT]
        return entry[1]

    def _ids(self, texts: Sequence[str]) -> list[bytes]:
        if new := [text for text in texts if text not in self._packed]:
            self._encoder.prime(new)
            self._packed.update((text, packed(self._encoder.encode_text(text))) for text in new)
        return [self._packed[text] for text in texts]

    def _made(self, ids: Sequence[bytes], follow: Spans) -> TokenTrie:
        return TokenTrie(ids, [packed(self._encoder.encode([span])) for span in follow])


class EngineStages:
    """The stages of one call in `transcript`, asked of an engine. `tries` outlive the call."""

    def __init__(
        self,
        engine: TokenEngine,
        encoder: Encoder,
        transcript: Transcript,
        sampling: Sampling,
        cancel: Event | None = None,
        tries: ChoiceTries | None = None,
    ) -> None:
        self._engine = engine
        self._encoder = encoder
        self._transcript = transcript
        self._sampling = sampling
        self._cancel = cancel
        self._tries = tries or ChoiceTries(encoder)

    def literal(self, text: str) -> None:
        """See `Stages`."""
        self._transcript.write([Text(text)], "syntax")

    def choose(self, texts: Sequence[str], follow: Spans = ()) -> str:
        """See `Stages`."""
        if len(texts) == 1:
            self.literal(texts[0])
            return texts[0]
        room, before, sampling = self.room(), self._transcript.ids, self._drawn()

        def pick(path: Sequence[int], allowed: Sequence[int]) -> int:
            if len(path) >= room:
                raise WindowFull(f"a value did not end within {room} tokens")
            return self._engine.choose([*before, *path], allowed, sampling, self._cancel).id

        chosen = self._tries.trie(texts, follow).walk(pick)
        if len(chosen.ids) > room:
            raise WindowFull(f"a value has more than {room} tokens")
        runs = groupby(zip(chosen.ids, chosen.decoded, strict=True), key=lambda entry: entry[1])
        for was_decoded, run in runs:
            self._transcript.sampled([token for token, _ in run], "sampled" if was_decoded else "syntax")
        return texts[chosen.index]

    def free(self, grammar: Until | JsonString, limit: int, abort: str) -> str:
        """See `Stages`."""
        generation = self._engine.generate(
            self._transcript.ids,
            grammar=grammar,
            banned=self._encoder.reserved_ids,
            sampling=self._drawn(),
            limit=min(limit, self.room()),
            cancel=self._cancel,
        )
        ids = generation.ids
        if generation.stop == "grammar":
            self._transcript.sampled(ids)
            return self._engine.detokenize(ids).decode()
        while ids and not _may_end(grammar, self._engine.detokenize(ids)):
            ids.pop()
        self._transcript.sampled(ids)
        self.literal(abort)
        return self._engine.detokenize(ids).decode() + abort

    def room(self) -> int:
        """See `Stages`."""
        window = self._engine.context_window
        room = window - len(self._transcript) - CLOSING_RESERVE
        if room < 1:
            raise WindowFull(f"the context window of {window} tokens is full")
        return room

    def _drawn(self) -> Sampling:
        return sampling_at(self._sampling, len(self._transcript))


def sampling_at(sampling: Sampling, place: int) -> Sampling:
    """Each stage has a seed of its own, from the run's and from where it stands, so that a run is exact to repeat and
    goes on after an interrupt as it would have without."""
    seed = (sampling.seed * 1_000_003 + 7_919 * place) % 2**31
    return Sampling(sampling.temperature, sampling.top_k, sampling.top_p, seed)


def _may_end(grammar: Until | JsonString, written: bytes) -> bool:
    try:
        return can_end(grammar, written.decode())
    except UnicodeDecodeError:
        return False
