"""What a token engine is: ids in, ids out, a grammar where one is asked for, and an account of the work."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Literal, Protocol

from tinsmith.engines.grammar import Grammar
from tinsmith.models import Vocabulary


@dataclass(frozen=True)
class Sampling:
    """How ids are drawn: `temperature` 0 is greedy, `top_k` 0 and `top_p` 1 are off."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


GREEDY = Sampling()


@dataclass(frozen=True)
class Token:
    """One generated id; `logprob` (natural) is the model's own, before temperature, bans and grammar.

    None where the engine does not tell: llama.cpp reports only the last of several ids that make one
    character.
    """

    id: int
    logprob: float | None


@dataclass(frozen=True)
class Generation:
    """What came out. The end-of-generation id that ended it, if one did, is not among `tokens`.

    `stop`: `grammar` the grammar is complete, `eog` the model ended by itself, `stop` a stop id came (it is
    not among `tokens` either), `limit` the bound or the window was met.
    """

    tokens: tuple[Token, ...]
    stop: Literal["grammar", "eog", "stop", "limit"]

    @property
    def ids(self) -> list[int]:
        """The generated ids."""
        return [token.id for token in self.tokens]


@dataclass
class Usage:
    """Over all requests that were answered: prompt tokens read, prompt tokens found in the KV cache, tokens
    generated, and the engine's own time for reading and for generating.
    """

    prefilled: int = 0
    reused: int = 0
    decoded: int = 0
    requests: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0


@dataclass(frozen=True)
class TurnUsage:
    """One turn: `reused` is what its first request found cached, `prefilled` what all of them read.

    Where the engine was restarted within the turn, `reused` is what the first request after that found cached
    (nothing, where the cache was lost), and `prefilled` holds what was read before and all that was read again.
    A request whose answer was lost with the engine is not counted, the one that repeated it is.
    """

    prefilled: int
    reused: int
    decoded: int
    requests: int
    prefill_seconds: float
    decode_seconds: float


class Cancelled(Exception):
    """The caller's event was set; nothing is generated and the engine can be used again."""


class TokenEngine(Protocol):
    """Turns token ids into token ids. Not thread-safe: one caller at a time.

    Every method may raise EngineError (`engine_died`, `context_exceeded`, `grammar_rejected`,
    `engine_refused`).
    """

    context_window: int
    """Tokens that fit, as the engine itself says."""
    vocabulary: Vocabulary
    usage: Usage

    def tokenize(self, text: str) -> list[int]:
        """The ids of plain text: control tokens are not parsed and no BOS is added, but user-defined tokens
        appear.

        Lone surrogates, which no UTF-8 has, become U+FFFD.
        """
        ...

    def tokenize_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each of many texts, as `tokenize` gives them, in as few requests as can be."""
        ...

    def detokenize(self, ids: Sequence[int]) -> bytes:
        """The bytes of `ids`; they are UTF-8 only where the ids cut no character."""
        ...

    def warm(self, ids: Sequence[int], cancel: Event | None = None) -> None:
        """Reads all of `ids` but the last into the KV cache. Raises Cancelled, within a batch of tokens."""
        ...

    def generate(
        self,
        ids: Sequence[int],
        *,
        grammar: Grammar | None = None,
        banned: Collection[int] = (),
        stop: Collection[int] = (),
        sampling: Sampling = GREEDY,
        limit: int,
        cancel: Event | None = None,
    ) -> Generation:
        """At most `limit` ids after `ids`, none of them `banned`, up to one of `stop` (only without a
        grammar).

        Under a grammar the bytes are valid UTF-8 without NUL, control tokens never appear, and generation
        ends with the grammar (`banned` cannot take the id away that says so). Raises Cancelled.
        """
        ...

    def choose(
        self, ids: Sequence[int], allowed: Sequence[int], sampling: Sampling = GREEDY, cancel: Event | None = None
    ) -> Token:
        """The next id after `ids`, drawn among `allowed` alone: any ids, those of cut characters and control tokens
        too. Raises ValueError where there is none, Cancelled.
        """
        ...

    def log_probs(self, ids: Sequence[int], forced: Sequence[int], cancel: Event | None = None) -> list[float]:
        """The natural log-probability of each of `forced` after `ids` and those before it."""
        ...

    def next_log_probs(self, ids: Sequence[int], count: int, cancel: Event | None = None) -> dict[int, float]:
        """The `count` most probable next ids with their natural log-probabilities."""
        ...

    def score(self, ids: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[float]:
        """The summed log-probability of each continuation after `ids` (`rank` is the fast way)."""
        ...

    def begin_turn(self) -> None:
        """Starts a turn's account."""
        ...

    def end_turn(self) -> TurnUsage:
        """The account since `begin_turn`."""
        ...

    def close(self) -> None:
        """Ends the engine; may be called twice."""
        ...


class Engine(Protocol):
    """What the loop asks of an engine of any kind: its window and the account of a turn. A `TokenEngine` is one."""

    @property
    def context_window(self) -> int:
        """Tokens that fit, as the engine itself says."""
        ...

    @property
    def usage(self) -> Usage:
        """The account of all turns."""
        ...

    def begin_turn(self) -> None:
        """Starts a turn's account."""
        ...

    def end_turn(self) -> TurnUsage:
        """The account since `begin_turn`."""
        ...

    def close(self) -> None:
        """Ends the engine; may be called twice."""
        ...
