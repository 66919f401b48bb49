"""An engine of messages with the face that the loop knows of an engine of ids.

Its window is counted in the ids of the virtual vocabulary, of which `len(transcript)` is the length. How many of the
server's tokens these are is learnt from each answer, and from a refusal: what the server counts is believed, never what
was thought before.
"""

from collections.abc import Sequence
from threading import Event

from tinsmith.agent.stages import WindowFull
from tinsmith.dialects import messages_of
from tinsmith.engines import ChatEngine, ChatReply, ContextExceededError, TurnUsage, Usage

_SHRINK = 0.75
"""What is left of the window where a server says that a prompt is too long and not how long it may be."""


class ChatTokens:
    """See the module's docstring. An `Engine`."""

    def __init__(self, engine: ChatEngine) -> None:
        self._engine = engine
        self._served = float(engine.context_window)
        self._ratio = 1.0  # ids of ours for each of the server's tokens, never taken for more than one

    @property
    def context_window(self) -> int:
        """Ids that fit."""
        return int(self._served * self._ratio)

    @property
    def usage(self) -> Usage:
        """As the server counts."""
        return self._engine.usage

    def begin_turn(self) -> None:
        """See `Engine`."""
        self._engine.begin_turn()

    def end_turn(self) -> TurnUsage:
        """See `Engine`."""
        return self._engine.end_turn()

    def close(self) -> None:
        """See `Engine`."""
        self._engine.close()

    def ask(self, ids: Sequence[int], seed: int, limit: int, cancel: Event | None) -> ChatReply:
        """The model's message after `ids`. Raises WindowFull where the server says so, EngineError, Cancelled."""
        prompt = messages_of(ids)
        try:
            reply = self._engine.chat(prompt.messages, prompt.tools, seed=seed, limit=limit, cancel=cancel)
        except ContextExceededError as error:
            self._learn(len(ids), error.prompt_tokens)
            self._served = error.window or min(self._served, _SHRINK * len(ids) / self._ratio)
            raise WindowFull(str(error)) from error
        self._learn(len(ids), reply.prompt_tokens)
        return reply

    def _learn(self, length: int, prompt_tokens: int | None) -> None:
        if prompt_tokens:
            self._ratio = min(1.0, length / prompt_tokens)
