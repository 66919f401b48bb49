"""The model's turns where it is asked with messages: every answer is read, and one without a call is asked again.

A server may leave a call in the text, cut it, or give one of a tool that is not there; a model may announce a call and
make none. What is clean is done. Anything else is shown back with the reason and asked again, within a bound; nothing
that had to be repaired changes a file. All of it stands in the transcript, in an order that strict chat templates take:
a result for every call, and a turn of the person's after an answer without one.
"""

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from threading import Event

from tinsmith.agent.arguments import Tools
from tinsmith.agent.chat_tokens import ChatTokens
from tinsmith.agent.limits import LimitReached
from tinsmith.agent.stages import WindowFull, sampling_at
from tinsmith.agent.transcript import Transcript
from tinsmith.agent.writer import Options, Written
from tinsmith.dialects import ChatTranscript, ToolSpec, WrittenCall, calls_in, open_calls
from tinsmith.dialects.tolerant import ParsedCall, complaint, is_safe_to_run, native_calls, parse_text
from tinsmith.engines import ChatReply, Sampling
from tinsmith.tools import FINISH, READ, SEARCH

MAX_LOST = 3
"""Answers in a row without a call that can be run."""
_MIN_REPLY = 256
"""Tokens that an answer is always given."""
_CHANGE_NOTHING = frozenset({SEARCH.name, READ.name, FINISH.name})
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")  # what OpenAI takes for a tool's name

ONE_CALL = "Not run: one call a turn. Make this call again if it is still wanted."


@dataclass(frozen=True)
class _Answer:
    """A reply as it was read.

    `sent`: each of its calls as a message can hold it, None where it cannot be sent back; `as_text`: all of it as it
    came; `unsent`: the same, where what is sent differs from it.
    """

    said: str
    thinking: str
    calls: Sequence[ParsedCall]
    sent: Sequence[WrittenCall | None]
    as_text: str
    unsent: str
    cut: bool


class ChatWriter:
    """Writes the model's turns into a transcript of a chat; to the loop what `CallWriter` is.

    `reply_tokens` bounds an answer; `progress` is told when one is asked for again.
    """

    def __init__(
        self,
        engine: ChatTokens,
        tools: Tools,
        *,
        sampling: Sampling,
        reply_tokens: int,
        progress: Callable[[str], None] = lambda line: None,
        cancel: Event | None = None,
    ) -> None:
        self._engine = engine
        self._tools = tools
        self._sampling = sampling
        self._reply = reply_tokens
        self._progress = progress
        self._cancel = cancel
        self._turns = ChatTranscript()

    def write(self, transcript: Transcript) -> Written:
        """Asks until there is a call to run. Raises WindowFull, EngineError, Cancelled, and LimitReached where
        `MAX_LOST` answers in a row have none."""
        for _ in range(open_calls(transcript.ids)):  # of the turn before, all but its first
            transcript.write(self._turns.observation(ONE_CALL), "observation")
        reason = ""
        for _ in range(MAX_LOST):
            answer = self._read(self._ask(transcript))
            reason = self._reason(answer)
            if not reason:
                call = answer.calls[0].call
                assert call is not None
                self._write_calls(transcript, answer)
                return Written(call, None, answer.said)
            self._show_back(transcript, answer, reason)
            self._progress(f"asked again: {reason.splitlines()[0][:100]}")
        last = reason.splitlines()[0][:160]
        raise LimitReached(f"{MAX_LOST} answers in a row without a call that can be run: {last}")

    def options(self, transcript: Transcript, tool: str, tried: Collection[str] = ()) -> Options | None:
        """None: an endpoint of messages ranks nothing."""
        return None

    def number(self, transcript: Transcript) -> int:
        """The number of the last call in `transcript`, from 0."""
        return calls_in(transcript.ids) - 1

    def _ask(self, transcript: Transcript) -> ChatReply:
        window = self._engine.context_window
        room = window - len(transcript)
        if room < _MIN_REPLY:
            raise WindowFull(f"the context window of {window} tokens is full")
        seed = sampling_at(self._sampling, len(transcript)).seed
        return self._engine.ask(transcript.ids, seed, min(self._reply, room), self._cancel)

    def _read(self, reply: ChatReply) -> _Answer:
        specs, cut = self._tools.specs, reply.finish == "length"
        if reply.calls:
            calls = native_calls([{"name": call.name, "arguments": call.arguments} for call in reply.calls], specs)
            given = [_as_given(call.name, call.arguments) for call in reply.calls]
            sent = [one or _as_read(call, specs) for one, call in zip(given, calls, strict=True)]
            raw = "\n".join(f"{call.name}({call.arguments})" for call in reply.calls)
            unsent = raw if None in given else ""
            return _Answer(reply.text, reply.thinking, calls, sent, f"{reply.text}\n{raw}", unsent, cut)
        parsed = parse_text(reply.text, specs)
        thinking = "\n".join(filter(None, (reply.thinking, parsed.thinking)))
        if not parsed.calls and not reply.text.strip() and reply.thinking:
            parsed = parse_text(reply.thinking, specs, in_thinking=True)
            thinking = parsed.thinking
        sent = [_as_read(call, specs) for call in parsed.calls]
        unsent = parsed.raw if parsed.calls else ""
        return _Answer(parsed.said, thinking, parsed.calls, sent, parsed.raw, unsent, cut)

    def _reason(self, answer: _Answer) -> str:
        """Why the answer's first call is not run, for the model to read; empty where it is."""
        names = self._tools.available()
        if not answer.calls:
            what = "was cut at its limit of length" if answer.cut else "holds no call"
            return f"Your answer {what}. Every turn is one call of {', '.join(names)}: make it now."
        first = answer.calls[0]
        specs = [spec for spec in self._tools.specs if spec.name in names]
        mutating = [spec.name for spec in specs if spec.name not in _CHANGE_NOTHING]
        if is_safe_to_run(first, mutating) and answer.sent[0] is not None:
            assert first.call is not None
            tool = first.call.tool
            return "" if tool in names else f"{tool} cannot be called now, only {', '.join(names)}."
        short = "\nYour answer was cut at its limit of length; make a shorter call." if answer.cut else ""
        return complaint(first, specs) + short

    def _show_back(self, transcript: Transcript, answer: _Answer, reason: str) -> None:
        turns = self._turns
        if answer.calls and None not in answer.sent:
            self._write_calls(transcript, answer)
            for text in (reason, *[ONE_CALL] * (len(answer.sent) - 1)):
                transcript.write(turns.observation(text), "observation")
            return
        # What cannot be sent as a call is sent as text, and the reason as the person's answer to it.
        said = answer.as_text if answer.calls else answer.said
        transcript.write(turns.assistant(said.strip() or "(nothing)", answer.thinking), "sampled")
        transcript.write(turns.user(reason), "user")

    def _write_calls(self, transcript: Transcript, answer: _Answer) -> None:
        sent = [call for call in answer.sent if call is not None]
        transcript.write(self._turns.assistant(answer.said, answer.thinking, sent, answer.unsent), "sampled")


def _as_given(name: str, arguments: str) -> WrittenCall | None:
    """A call as the server gave it, where a server takes it back: its arguments are an object."""
    if not _NAME.fullmatch(name):
        return None
    try:
        is_object = isinstance(json.loads(arguments), dict)
    except ValueError:
        return None
    return WrittenCall(name, arguments) if is_object else None


def _as_read(parsed: ParsedCall, specs: Sequence[ToolSpec]) -> WrittenCall | None:
    """A call in the form that it should have had; None where it could not be read."""
    spec = next((spec for spec in specs if parsed.call is not None and spec.name == parsed.call.tool), None)
    if spec is None or parsed.call is None:
        return None
    try:
        return WrittenCall(spec.name, json.dumps(parsed.call.values(spec), ensure_ascii=False))
    except (KeyError, ValueError):
        return None
