"""A message from the events of a streamed chat completion.

Servers differ in what they stream: text and reasoning by other names, a tool call whole or in pieces, its name once or
with every piece, its id or its index missing, an answer that is not streamed at all, events that are no answer
(llama.cpp's progress, keep-alives), no `[DONE]`. All of it is taken.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class NativeCall:
    """A call as the server gave it; `arguments` ought to be a JSON object."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class ChatReply:
    """A whole message of the model's.

    `finish` is the server's word for why it ended ("length": at the limit), empty where it gave none. `prompt_tokens`
    is the server's count, None where it told none.
    """

    text: str
    thinking: str
    calls: tuple[NativeCall, ...]
    finish: str
    prompt_tokens: int | None = None


class DamagedStream(Exception):
    """An event that cannot be read: what it held is lost, so the message is not to be trusted."""


class StreamError(Exception):
    """An error that the server sent in the place of an event. `body` is as an answer with an error status has it."""

    def __init__(self, body: bytes) -> None:
        super().__init__(body)
        self.body = body


@dataclass
class _Assembled:
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass
class Assembly:
    """A message in the making. `begun`: the model has written something. `ended`: the server said so.
    `thinking_field` is its name for the thinking."""

    begun: bool = False
    ended: bool = False
    finish: str = ""
    text: str = ""
    thinking: str = ""
    thinking_field: str = ""
    usage: Mapping[str, Any] = field(default_factory=dict[str, Any])
    timings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    progress: Mapping[str, Any] | None = None
    """llama.cpp's last word on how much of the prompt it has read: {total, cache, processed, time_ms}."""
    calls: list[_Assembled] = field(default_factory=list[_Assembled])
    _by_index: dict[Any, _Assembled] = field(default_factory=dict[Any, _Assembled])

    def line(self, line: bytes) -> None:
        """Takes a line of the stream. Raises DamagedStream, StreamError."""
        kind, _, data = line.partition(b":")
        data = data.strip()
        if kind == b"error":  # an older llama.cpp
            raise StreamError(b'{"error":' + data + b"}")
        if kind != b"data":
            return  # a comment, an event's name, a blank line
        if data == b"[DONE]":
            self.ended = True
        elif data.startswith(b"{"):
            self.event(data)

    def event(self, data: bytes) -> None:
        """Takes an event, or a whole answer that is not streamed. Raises DamagedStream, StreamError."""
        try:
            event = json.loads(data)
        except ValueError as error:
            raise DamagedStream from error
        if event.get("error"):
            raise StreamError(json.dumps(event).encode())
        self.usage = event.get("usage") or self.usage
        self.timings = event.get("timings") or self.timings
        self.progress = event.get("prompt_progress")
        for choice in event.get("choices") or ():
            self._delta(choice.get("delta") or choice.get("message") or {})
            self.finish = choice.get("finish_reason") or self.finish

    @property
    def length(self) -> int:
        """Bytes of what the model wrote."""
        calls = "".join(call.name + call.arguments for call in self.calls)
        return len((self.text + self.thinking + calls).encode("utf-8", "replace"))

    def reply(self, prompt_tokens: int | None) -> ChatReply:
        """The message so far."""
        calls = tuple(NativeCall(call.id, call.name, call.arguments) for call in self.calls)
        return ChatReply(self.text, self.thinking, calls, self.finish, prompt_tokens)

    def _delta(self, delta: Mapping[str, Any]) -> None:
        content = delta.get("content")
        if isinstance(content, list):  # Mistral's hosted models: a list of parts
            for part in content:
                self.text += _text(part.get("text"))
                self.thinking += "".join(_text(inner.get("text")) for inner in part.get("thinking") or ())
        else:
            self.text += _text(content)
        for name in ("reasoning_content", "reasoning"):
            if thought := _text(delta.get(name)):
                self.thinking += thought
                self.thinking_field = name
                break
        for call in delta.get("tool_calls") or ():
            self._call(call)
        self.begun = bool(self.begun or self.text or self.thinking or self.calls)

    def _call(self, delta: Mapping[str, Any]) -> None:
        call = self._of(delta)
        function = delta.get("function") or {}
        name, arguments = _text(function.get("name")), function.get("arguments")
        # In pieces, or the same with every piece, or all of it so far.
        call.name = name if name.startswith(call.name) else call.name + name if name != call.name else name
        call.arguments += arguments if isinstance(arguments, str) else json.dumps(arguments) if arguments else ""

    def _of(self, delta: Mapping[str, Any]) -> _Assembled:
        """The call that a piece belongs to. Some servers give no index, or the same for all calls; some give no id."""
        given, index = _text(delta.get("id")), delta.get("index")
        if given and (same := next((call for call in self.calls if call.id == given), None)):
            return same
        known = self._by_index.get(index) if index is not None else next(reversed(self.calls), None)
        if known is not None:
            names = (delta.get("function") or {}).get("name")
            another = known.id != "" if given else index is None and names and _is_json(known.arguments)
            if not another:
                known.id = known.id or given
                return known
        call = _Assembled(given)
        self.calls.append(call)
        self._by_index[index] = call
        return call


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
