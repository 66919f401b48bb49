"""A model that a run speaks with, by either kind of engine: what the loop needs, and who writes its calls.

The loop knows an engine's window and accounts, how turns are written, and a writer of calls. Whether ids are decoded
under grammars or messages are parsed is the writer's.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Protocol

from tinsmith.agent.arguments import Tools
from tinsmith.agent.chat_tokens import ChatTokens
from tinsmith.agent.chat_writer import ChatWriter
from tinsmith.agent.transcript import Transcript
from tinsmith.agent.writer import CallWriter, Options, Order, Written
from tinsmith.dialects import Call, ChatTranscript, Dialect, Encoder, Turns, chat_encoder
from tinsmith.engines import ChatEngine, Engine, Sampling, TokenEngine


class Writer(Protocol):
    """Writes the model's turns into a transcript."""

    def write(self, transcript: Transcript) -> Written:
        """The model's next call. Raises WindowFull, LimitReached, EngineError, Cancelled."""
        ...

    def options(self, transcript: Transcript, tool: str, tried: Collection[str] = ()) -> Options | None:
        """The ranked arguments of a call; None where the model writes them."""
        ...

    def number(self, transcript: Transcript) -> int:
        """The number of the last call in `transcript`, from 0."""
        ...


class Speaker(Protocol):
    """An engine with how it is spoken to."""

    @property
    def engine(self) -> Engine: ...

    @property
    def turns(self) -> Turns: ...

    @property
    def encoder(self) -> Encoder: ...

    def writer(
        self,
        tools: Tools,
        sampling: Sampling,
        reply_tokens: int,
        *,
        candidates: Callable[[str], Sequence[Call]] = lambda tool: (),
        order: Order | None = None,
        skip: Collection[str] = (),
    ) -> Writer:
        """A writer of calls of `tools`, of at most about `reply_tokens`; the rest is as for `CallWriter`."""
        ...


@dataclass(frozen=True)
class TokenSpeaker:
    """A model whose ids we decode. `preamble_tokens` is how much free text may come before a call."""

    engine: TokenEngine
    turns: Dialect
    encoder: Encoder
    preamble_tokens: int
    cancel: Event | None = None

    def writer(
        self,
        tools: Tools,
        sampling: Sampling,
        reply_tokens: int,
        *,
        candidates: Callable[[str], Sequence[Call]] = lambda tool: (),
        order: Order | None = None,
        skip: Collection[str] = (),
    ) -> Writer:
        """See `Speaker`; the free values of `tools` bound the length of a call."""
        return CallWriter(
            self.engine,
            self.turns,
            self.encoder,
            tools,
            sampling=sampling,
            preamble_tokens=self.preamble_tokens,
            candidates=candidates,
            order=order,
            skip=skip,
            cancel=self.cancel,
        )


class ChatSpeaker:
    """A model that is asked with messages. `progress` is told when an answer is asked for again."""

    def __init__(
        self, engine: ChatEngine, progress: Callable[[str], None] = lambda line: None, cancel: Event | None = None
    ) -> None:
        self.engine = ChatTokens(engine)
        self.turns = ChatTranscript()
        self.encoder = chat_encoder()
        self._progress = progress
        self._cancel = cancel

    def writer(
        self,
        tools: Tools,
        sampling: Sampling,
        reply_tokens: int,
        *,
        candidates: Callable[[str], Sequence[Call]] = lambda tool: (),
        order: Order | None = None,
        skip: Collection[str] = (),
    ) -> Writer:
        """See `Speaker`. `candidates`, `order` and `skip` are for models that rank, which no chat endpoint does."""
        return ChatWriter(
            self.engine,
            tools,
            sampling=sampling,
            reply_tokens=reply_tokens,
            progress=self._progress,
            cancel=self._cancel,
        )
