"""A transcript of ids for models that are asked with messages: a virtual vocabulary, and messages from its ids.

A chat endpoint takes no token ids and tells none. So that log, forks, forgetting and resuming are the same for it, its
transcript is written in a vocabulary of our own: text is cut into pieces of at most three UTF-8 bytes, and ids beyond
these mark what a message is made of. The real tokenizers of code take three bytes and more for a token as a rule, so
the length of a transcript is a careful estimate of the prompt's; `tinsmith.agent.ChatTokens` corrects it by what the
server counts. Text can never become a mark, and `messages_of` gives back exactly what was written.

Messages are those of OpenAI's chat completions. Results belong to calls by their order.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tinsmith.dialects.conversation import call_id
from tinsmith.dialects.spans import Control, Encoder, Span, Spans, Text
from tinsmith.dialects.tool_call import ToolSpec

_PIECE = 3
_OFFSETS = (0, 0, 1 << 8, (1 << 8) + (1 << 16))
"""The first id of the pieces of 1, 2 and 3 bytes."""
_FIRST_MARK = _OFFSETS[_PIECE] + (1 << 8 * _PIECE)

_SYSTEM = Control("<|chat:system|>")
_TOOLS = Control("<|chat:tools|>")
_USER = Control("<|chat:user|>")
_ASSISTANT = Control("<|chat:assistant|>")
_THINKING = Control("<|chat:thinking|>")
_UNSENT = Control("<|chat:unsent|>")
_CALL = Control("<|chat:call|>")
_ARGUMENTS = Control("<|chat:arguments|>")
_RESULT = Control("<|chat:result|>")
_END = Control("<|chat:end|>")
_MARKS = (_SYSTEM, _TOOLS, _USER, _ASSISTANT, _THINKING, _UNSENT, _CALL, _ARGUMENTS, _RESULT, _END)
_IDS = {mark.text: _FIRST_MARK + number for number, mark in enumerate(_MARKS)}

Message = dict[str, Any]


@dataclass(frozen=True)
class WrittenCall:
    """A call as it stands in an assistant's message; `arguments` is a JSON object as text."""

    name: str
    arguments: str


@dataclass(frozen=True)
class ChatPrompt:
    """What an endpoint is asked with: OpenAI's `messages` and `tools`."""

    messages: list[Message]
    tools: list[dict[str, Any]]


class ChatTranscript:
    """The turns of a chat. A `Turns`, and what the model said."""

    name = "chat"

    def system(self, text: str, tools: Sequence[ToolSpec]) -> Spans:
        """See `Turns`."""
        spans: list[Span] = [_SYSTEM, Text(text)]
        if tools:
            spans += [_TOOLS, Text(json.dumps([tool.as_json() for tool in tools], ensure_ascii=False))]
        return [*spans, _END]

    def user(self, text: str) -> Spans:
        """See `Turns`."""
        return [_USER, Text(text), *self.user_end()]

    def user_end(self) -> Spans:
        """See `Turns`."""
        return [_END]

    def observation(self, text: str, number: int = 0, tool: str = "") -> Spans:
        """The result of the first call that has none."""
        return [_RESULT, Text(text), _END]

    def assistant(self, said: str, thinking: str = "", calls: Sequence[WrittenCall] = (), unsent: str = "") -> Spans:
        """A whole message of the model's. `unsent` is kept in the transcript and never sent: what was repaired or left
        out of it, as it came."""
        spans: list[Span] = [_ASSISTANT, Text(said)]
        for mark, text in ((_THINKING, thinking), (_UNSENT, unsent)):
            spans += [mark, Text(text)] if text else []
        for call in calls:
            spans += [_CALL, Text(call.name), _ARGUMENTS, Text(call.arguments)]
        return [*spans, _END]


def chat_encoder() -> Encoder:
    """The encoder of the virtual vocabulary."""
    return Encoder(cut, _IDS)


def cut(text: str) -> list[int]:
    """The ids of `text`. Lone surrogates, which no UTF-8 has, become U+FFFD."""
    data = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
    pieces = (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))
    return [_OFFSETS[len(piece)] + int.from_bytes(piece) for piece in pieces]


def messages_of(ids: Sequence[int]) -> ChatPrompt:
    """The messages and tools that `ids` hold. Raises ValueError where they are no transcript of a chat."""
    messages: list[Message] = []
    tools: list[dict[str, Any]] = []
    calls = results = 0
    for mark, text in _parts(ids):
        if mark == _SYSTEM:
            messages.append({"role": "system", "content": text})
        elif mark == _TOOLS:
            tools = json.loads(text)
        elif mark == _USER:
            messages.append({"role": "user", "content": text})
        elif mark == _ASSISTANT:
            messages.append({"role": "assistant", "content": text})
        elif mark == _THINKING:
            messages[-1]["reasoning_content"] = text
        elif mark == _CALL:
            call = {"id": call_id(calls), "type": "function", "function": {"name": text}}
            messages[-1].setdefault("tool_calls", []).append(call)
            calls += 1
        elif mark == _ARGUMENTS:
            messages[-1]["tool_calls"][-1]["function"]["arguments"] = text
        elif mark == _RESULT:
            if results == calls:
                raise ValueError("a result without a call")
            messages.append({"role": "tool", "tool_call_id": call_id(results), "content": text})
            results += 1
    return ChatPrompt(messages, tools)


def calls_in(ids: Sequence[int]) -> int:
    """How many calls `ids` hold."""
    return ids.count(_IDS[_CALL.text])


def open_calls(ids: Sequence[int]) -> int:
    """How many calls in `ids` have no result yet."""
    return calls_in(ids) - ids.count(_IDS[_RESULT.text])


def _parts(ids: Sequence[int]) -> Iterator[tuple[Control, str]]:
    """Each mark with the text after it."""
    mark: Control | None = None
    text = bytearray()
    for token in ids:
        if token >= _FIRST_MARK:
            if mark is not None:
                yield mark, text.decode()
            mark, text = _MARKS[token - _FIRST_MARK], bytearray()
        else:
            text += _piece(token)
    if mark is not None:
        yield mark, text.decode()


def _piece(token: int) -> bytes:
    length = next(length for length in (3, 2, 1) if token >= _OFFSETS[length])
    return (token - _OFFSETS[length]).to_bytes(length)
