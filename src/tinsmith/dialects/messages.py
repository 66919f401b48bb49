"""Conversations from messages in OpenAI's form, as other programs send them, and back.

What programs send is often not what chat templates take: roles that repeat, results in another order than the calls
or missing, arguments as text or as an object, content as text or as parts. All of that becomes a `Conversation`, in
which it cannot be expressed. What is lost is said here: pictures and other parts that are no text become their type
in brackets; the thinking of an answer without calls has no place.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from tinsmith.dialects.called import call_values
from tinsmith.dialects.conversation import Answered, Conversation, Exchange, Step, call_id
from tinsmith.dialects.tool_call import Call, ToolSpec
from tinsmith.errors import InputError

NO_RESULT = "(no result)"
INTERRUPTED = "(interrupted)"
CONTINUE = "(continue)"
"""What stands for the person's words where the model is to go on after its own answer."""
NO_QUESTION = "(no message)"
"""What stands for the person's words where the model spoke first."""

_GAP = "\n\n"


def conversation_from_messages(messages: Sequence[Mapping[str, Any]], tools: Sequence[ToolSpec] = ()) -> Conversation:
    """The conversation that `messages` hold; `tools` are those that can be called now.

    Neighbours of the same role become one, with an empty line between. System texts are gathered from everywhere. A
    result goes to the unanswered call with its id, or without one to the first unanswered call; where there is none it
    is the person's text. Raises InputError `bad_messages` where a message is no object or no message is the person's.
    """
    reader = _Reader({tool.name: tool for tool in tools})
    for number, message in enumerate(cast("Sequence[Any]", messages)):
        if not isinstance(message, Mapping):
            raise _bad(f"message {number} is no object")
        reader.read(cast("Mapping[str, Any]", message))
    return reader.conversation(tuple(tools))


def messages_from_conversation(conversation: Conversation) -> list[dict[str, Any]]:
    """The messages of `conversation`; arguments are objects, ids are `call_id`s."""
    messages: list[dict[str, Any]] = []
    if conversation.system:
        messages.append({"role": "system", "content": conversation.system})
    number = 0
    now = Exchange(conversation.user, "", conversation.steps)
    for exchange in (*conversation.past, now):
        messages.append({"role": "user", "content": exchange.user})
        for step in exchange.steps:
            calls: list[dict[str, Any]] = []
            results: list[dict[str, Any]] = []
            for answered in step.calls:
                arguments = call_values(answered.call, conversation.tools)
                function = {"name": answered.call.tool, "arguments": arguments}
                calls.append({"id": call_id(number), "type": "function", "function": function})
                results.append({"role": "tool", "tool_call_id": call_id(number), "content": answered.result})
                number += 1
            thinking = {"reasoning_content": step.thinking} if step.thinking else {}
            messages.append({"role": "assistant", "content": step.said, **thinking, "tool_calls": calls})
            messages += results
        if exchange is not now:
            messages.append({"role": "assistant", "content": exchange.answer})
    return messages


@dataclass
class _Pending:
    """A call and its result, once it is known."""

    id: str
    call: Call
    result: str | None = None


@dataclass
class _Said:
    """A turn of the model's. One without calls is an answer."""

    said: list[str] = field(default_factory=list[str])
    thinking: list[str] = field(default_factory=list[str])
    calls: list[_Pending] = field(default_factory=list[_Pending])


@dataclass
class _Asked:
    """What the person said, and the model's turns after it."""

    user: list[str] = field(default_factory=list[str])
    turns: list[_Said] = field(default_factory=list[_Said])


class _Reader:
    def __init__(self, tools: Mapping[str, ToolSpec]) -> None:
        self._tools = tools
        self._system: list[str] = []
        self._exchanges: list[_Asked] = []
        self._asked = False
        self._last = ""

    def read(self, message: Mapping[str, Any]) -> None:
        role, text = message.get("role"), _text(message.get("content"))
        if role in ("system", "developer"):
            self._system.append(text)
            return
        if role == "assistant":
            self._assistant(message, text)
        elif role in ("tool", "function"):
            self._result(message, text)
        else:
            self._asked = True
            self._user(text)

    def conversation(self, tools: tuple[ToolSpec, ...]) -> Conversation:
        if not self._asked:
            raise _bad("no message is the person's")
        exchanges = self._exchanges
        in_work = not exchanges[-1].turns or exchanges[-1].turns[-1].calls
        now = exchanges.pop() if in_work else _Asked([CONTINUE])
        past = tuple(Exchange(_join(each.user), _answer(each), self._steps(each)) for each in exchanges)
        return Conversation(_join(now.user), self._steps(now), past, _join(self._system), tools)

    def _steps(self, asked: _Asked) -> tuple[Step, ...]:
        return tuple(
            Step(
                tuple(Answered(each.call, NO_RESULT if each.result is None else each.result) for each in turn.calls),
                _join(turn.said),
                _join(turn.thinking),
            )
            for turn in asked.turns
            if turn.calls
        )

    def _user(self, text: str) -> None:
        if self._last != "user":
            self._exchanges.append(_Asked())
        self._exchanges[-1].user.append(text)
        self._last = "user"

    def _assistant(self, message: Mapping[str, Any], text: str) -> None:
        if not self._exchanges:
            self._exchanges.append(_Asked([NO_QUESTION]))
        if self._last != "assistant":
            self._exchanges[-1].turns.append(_Said())
        self._last = "assistant"
        turn = self._exchanges[-1].turns[-1]
        turn.said.append(text)
        thinking = message.get("reasoning_content") or message.get("reasoning")
        turn.thinking.append(_text(thinking))
        for call in _calls(message):
            read = self._call(call)
            if read is None:
                turn.said.append(_json(call))  # no call, but not lost either
            else:
                turn.calls.append(read)

    def _call(self, raw: Any) -> _Pending | None:
        if not isinstance(raw, Mapping):
            return None
        outer = cast("Mapping[str, Any]", raw)
        inner = outer.get("function", outer)
        if not isinstance(inner, Mapping):
            return None
        function = cast("Mapping[str, Any]", inner)
        name, arguments = function.get("name"), _object(function.get("arguments"))
        if not isinstance(name, str) or not name or arguments is None:
            return None
        name = _clean(name)
        spec = self._tools.get(name)
        texts = {parameter.name for parameter in spec.parameters if parameter.is_text} if spec else frozenset[str]()
        values = {
            _clean(key): _clean(value) if key in texts and isinstance(value, str) else _json(value)
            for key, value in arguments.items()
        }
        return _Pending(_identifier(outer.get("id")), Call(name, values))

    def _result(self, message: Mapping[str, Any], text: str) -> None:
        known = _identifier(message.get("tool_call_id"))
        waiting = [
            call
            for asked in reversed(self._exchanges)
            for turn in reversed(asked.turns)
            for call in turn.calls
            if call.result is None
        ]
        turn = self._exchanges[-1].turns[-1] if self._exchanges and self._exchanges[-1].turns else _Said()
        found = next((call for call in waiting if call.id == known), None)
        if found is None:
            # Only the last turn's, since a call that was never answered must not shift those after it.
            unnamed = (call for call in turn.calls if call.result is None and not (known and call.id))
            found = next(unnamed, None)
        if found is None:
            self._user(text)
            return
        found.result = text
        if self._last == "assistant" and turn.calls:
            self._last = "tool"


def _answer(asked: _Asked) -> str:
    last = asked.turns[-1] if asked.turns else None
    return INTERRUPTED if last is None or last.calls else _join(last.said)


def _join(texts: Sequence[str]) -> str:
    return _GAP.join(filter(None, texts))


def _calls(message: Mapping[str, Any]) -> list[Any]:
    """The calls of an assistant's message, today's and the older `function_call`."""
    calls = message.get("tool_calls")
    found = list(cast("Sequence[Any]", calls)) if isinstance(calls, (list, tuple)) else []
    older = message.get("function_call")
    return [*found, older] if older else found


def _object(arguments: Any) -> Mapping[str, Any] | None:
    """The arguments as an object; some programs encode them twice. None where they are none."""
    for _ in range(2):
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments) if arguments.strip() else {}
            except (ValueError, RecursionError):
                return None
    return {} if arguments is None else cast("Mapping[str, Any]", arguments) if isinstance(arguments, Mapping) else None


def _text(content: Any) -> str:
    """The text of a message's content."""
    if content is None:
        return ""
    if isinstance(content, str):
        return _clean(content)
    if isinstance(content, (list, tuple)):
        return "\n".join(map(_part, cast("Sequence[Any]", content)))
    return _json(content)


def _part(part: Any) -> str:
    if isinstance(part, Mapping):
        named = cast("Mapping[str, Any]", part)
        text = named.get("text")
        return _clean(text) if isinstance(text, str) else f"({_clean(str(named.get('type', 'part')))})"
    return _text(part)


def _identifier(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else _json(value)


def _json(value: Any) -> str:
    try:
        return _clean(json.dumps(value, ensure_ascii=False, default=str))
    except (TypeError, ValueError, RecursionError):  # keys that are no strings, circles, depth
        return f"({type(value).__name__})"


def _clean(text: str) -> str:
    """Halves of surrogate pairs, which JSON can hold and UTF-8 cannot, become U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _bad(why: str) -> InputError:
    remedy = "Send messages as OpenAI's chat completions take them, with at least one of the role `user`."
    return InputError("bad_messages", f"The messages cannot be answered: {why}.", remedy)
