"""Engines that take messages and give a message: OpenAI-compatible endpoints, on this machine or hosted.

Nothing that a server does loses a turn. Busy, starting or unreachable before anything was generated: it is asked again
with growing waits. Broken off in the middle: what came is thrown away (nothing of it was done) and the turn is asked
again. A parameter that it does not know is left out from then on.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from tinsmith.engines.chat_errors import Busy, NoToolParser, UnknownParameter, refused
from tinsmith.engines.chat_http import SILENCE, ChatHTTP, ConnectionLost, Refusal, Silent, Unreachable
from tinsmith.engines.chat_stream import Assembly, ChatReply, DamagedStream, StreamError
from tinsmith.engines.protocol import Cancelled, TurnUsage, Usage
from tinsmith.errors import EngineError

OPTIONAL = ("parallel_tool_calls", "stream_options", "return_progress", "seed")
"""Parameters of a request that a server may refuse: it is then asked without."""
MAX_DROPS = 3
"""Answers in a row that may break off."""
_TOLD = 10.0
"""Seconds between two words on how far a prompt is read, or on a silence."""
_AFTER_THE_END = 2.0
"""Seconds for a server that has said why the message ended, to end the answer too."""
_BYTES_A_TOKEN = 4
"""Where the server counts nothing."""

_NO_TOOLS = "Start it with a tool parser (vLLM: --enable-auto-tool-choice --tool-call-parser), or use another model."

Progress = Callable[[str], None]


class ChatEngine(Protocol):
    """Takes messages and gives a message. Not thread-safe: one caller at a time."""

    model: str
    context_window: int
    """Tokens that fit, as the server says."""
    usage: Usage

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        *,
        seed: int,
        limit: int,
        cancel: threading.Event | None = None,
    ) -> ChatReply:
        """The model's next message, of at most `limit` tokens, whole. How ids are drawn is the server's own, which
        knows the model, but for the `seed`.

        Raises ContextExceededError; EngineError `engine_died`, `engine_unreachable`, `engine_silent`,
        `engine_refused`; InputError `key_refused`, `model_unknown`; Cancelled.
        """
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


@dataclass(frozen=True)
class Patience:
    """In seconds: how long a server may stay busy or away, the first wait (each is twice the one before), the longest,
    and how long an answer may be silent."""

    busy: float = 180.0
    first_wait: float = 1.0
    longest_wait: float = 20.0
    silence: float = SILENCE


class OpenAIChatEngine:
    """A `ChatEngine` over `POST {base_url}/chat/completions`, streamed. `progress` is told of waits and of reading."""

    def __init__(
        self,
        base_url: str,
        model: str,
        context_window: int,
        *,
        key: str = "",
        patience: Patience | None = None,
        progress: Progress = lambda line: None,
    ) -> None:
        self.model = model
        self.context_window = context_window
        self.usage = Usage()
        self._url = base_url.rstrip("/")
        self._patience = patience or Patience()
        self._progress = progress
        self._http = ChatHTTP(base_url, key, self._patience.silence)
        self._turn = Usage()
        self._left_out: set[str] = set()
        self._tool_choice = "auto"
        self._thinking_field = "reasoning_content"

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        *,
        seed: int,
        limit: int,
        cancel: threading.Event | None = None,
    ) -> ChatReply:
        """See `ChatEngine`."""
        body = self._body(messages, tools, seed, limit)
        drops, wait = 0, self._patience.first_wait
        away_since: float | None = None
        while True:
            sent = {name: value for name, value in body.items() if name not in self._left_out}
            if "tool_choice" in sent:
                sent["tool_choice"] = self._tool_choice
            assembly = Assembly(thinking_field=self._thinking_field)
            try:
                return self._ask(sent, assembly, cancel)
            except Silent as error:
                raise self._silent() from error
            except UnknownParameter as unknown:
                self._left_out.add(unknown.name)
                continue
            except NoToolParser as error:
                if self._tool_choice == "none":
                    raise EngineError("engine_refused", f"{self._url} takes no tools: {error}", _NO_TOOLS) from error
                self._tool_choice = "none"
                continue
            except (Unreachable, ConnectionLost, DamagedStream, Busy) as error:
                reason, asked = _reason(error), error.wait if isinstance(error, Busy) else None
            if is_away := not assembly.begun:
                away_since = away_since or time.monotonic()
            else:
                drops, away_since = drops + 1, None
            if drops >= MAX_DROPS:
                words = f"{self._url} broke off {drops} answers in a row ({reason})"
                raise EngineError("engine_died", words, "See why the server ends them; then go on with --resume.")
            pause = wait if asked is None else asked
            if away_since is not None and time.monotonic() - away_since + pause > self._patience.busy:
                raise self._away(reason)
            again = "asking again" if is_away else "the answer broke off; what came is thrown away, asking again"
            self._progress(f"{reason}; {again} in {pause:.0f} s")
            _sleep(pause, cancel)
            wait = min(2 * wait, self._patience.longest_wait)
            # The same draw could end the same way.
            body["seed"] += 1

    def begin_turn(self) -> None:
        """See `ChatEngine`."""
        self._turn = Usage()

    def end_turn(self) -> TurnUsage:
        """See `ChatEngine`."""
        return TurnUsage(**asdict(self._turn))

    def close(self) -> None:
        """See `ChatEngine`."""
        self._http.close()

    def _body(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        seed: int,
        limit: int,
    ) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [self._message(message) for message in messages],
            **({"tools": list(tools), "tool_choice": "auto", "parallel_tool_calls": False} if tools else {}),
            "stream": True,
            "stream_options": {"include_usage": True},
            "return_progress": True,  # llama.cpp's
            "max_tokens": limit,
            "seed": seed,
        }

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A message with its thinking under the name that this server gives it."""
        thinking = "reasoning_content"
        return {self._thinking_field if key == thinking else key: value for key, value in message.items()}

    def _ask(self, body: dict[str, Any], assembly: Assembly, cancel: threading.Event | None) -> ChatReply:
        """One request. Fills `assembly`, of which what is there tells how far it came."""
        started = time.monotonic()
        first: float | None = None
        told = started
        waiting = _Waiting(assembly, self._progress, self.model)
        lines = self._http.stream(self._url + "/chat/completions", body, cancel, waiting)
        try:
            with contextlib.closing(lines):
                for line in lines:
                    if line.startswith(b"{"):  # a server that does not stream
                        assembly.event(b"\n".join([line, *lines]))
                        assembly.ended = True
                        break
                    assembly.line(line)
                    if assembly.ended:
                        break
                    now = time.monotonic()
                    if assembly.begun and first is None:
                        first = now
                    if assembly.progress and now - told >= _TOLD:
                        told = now
                        done, total = assembly.progress.get("processed"), assembly.progress.get("total")
                        self._progress(f"reading the prompt: {done} of {total} tokens")
        except Refusal as refusal:
            raise self._meaning(refusal.status, refusal.retry_after, refusal.body, body) from refusal
        except Enough:
            pass
        except StreamError as error:
            raise self._meaning(500, "", error.body, body) from error
        if not (assembly.ended or assembly.finish):
            raise ConnectionLost("the stream ended early")
        self._thinking_field = assembly.thinking_field
        return self._account(assembly, len(json.dumps(body["messages"])), started, first or started)

    def _meaning(self, status: int, retry_after: str, answer: bytes, asked: Mapping[str, Any]) -> Exception:
        optional = [name for name in OPTIONAL if name in asked]
        return refused(status, retry_after, answer, self._url, self.model, optional)

    def _account(self, assembly: Assembly, sent: int, started: float, first: float) -> ChatReply:
        """Takes in what the server tells of the work: OpenAI's `usage`, or llama.cpp's `timings`. `sent` is the length
        of the messages, from which the prompt is guessed where it tells nothing."""
        usage, timings = assembly.usage, assembly.timings
        details: Mapping[str, Any] = usage.get("prompt_tokens_details") or {}
        cached = _count(details.get("cached_tokens"), timings.get("cache_n")) or 0
        prompt = _count(usage.get("prompt_tokens"))
        if prompt is None and "prompt_n" in timings:
            prompt = int(timings["prompt_n"]) + cached
        decoded = _count(usage.get("completion_tokens"), timings.get("predicted_n"))
        read = sent // _BYTES_A_TOKEN if prompt is None else prompt - cached
        decoded = assembly.length // _BYTES_A_TOKEN if decoded is None else decoded
        now = time.monotonic()
        for account in (self.usage, self._turn):
            account.prefilled += max(0, read)
            account.decoded += decoded
            account.requests += 1
            account.prefill_seconds += float(timings.get("prompt_ms", 1000 * (first - started))) / 1000
            account.decode_seconds += float(timings.get("predicted_ms", 1000 * (now - first))) / 1000
        self.usage.reused += cached
        if self._turn.requests == 1:
            self._turn.reused = cached
        return assembly.reply(prompt)

    def _silent(self) -> EngineError:
        seconds = self._patience.silence
        words = f"{self._url} has sent nothing for {seconds:.0f} seconds"
        return EngineError("engine_silent", words, "See whether the server still works; then go on with --resume.")

    def _away(self, reason: str) -> EngineError:
        words = f"{self._url} does not answer: {reason}"
        return EngineError("engine_unreachable", words, "Start the server, or wait until it is free; then --resume.")


class Enough(Exception):
    """The message is whole, though the server does not let go."""


@dataclass
class _Waiting:
    """What happens in a silence."""

    assembly: Assembly
    progress: Progress
    model: str
    told: float = 0.0

    def __call__(self, seconds: float) -> None:
        if self.assembly.finish and seconds > _AFTER_THE_END:
            raise Enough
        self.told = min(self.told, seconds)  # it spoke in between
        if seconds - self.told >= _TOLD:
            self.told = seconds
            self.progress(f"waiting for {self.model}: {seconds:.0f} s without a word")


def _count(*told: Any) -> int | None:
    return next((int(value) for value in told if isinstance(value, int | float)), None)


def _reason(error: Exception) -> str:
    return "an event of the stream cannot be read" if isinstance(error, DamagedStream) else str(error)


def _sleep(seconds: float, cancel: threading.Event | None) -> None:
    if (cancel or threading.Event()).wait(seconds):
        raise Cancelled
