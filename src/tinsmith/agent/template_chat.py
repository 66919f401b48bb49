"""A model of no dialect of ours, spoken to with messages: its own chat template writes them as ids, an engine of ids
goes on freely, and the answer is its text.

Nothing is forbidden to the model: what opens and closes calls in its template may be control tokens, so these come out
as their texts, for the tolerant parser to read. What ends an answer ends it here too. The conversation stays text:
nothing in it becomes control but what the template itself writes.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Event
from typing import Any, cast

from tinsmith.dialects import (
    TEMPLATE_WAIVES,
    Answered,
    Call,
    ChatTemplate,
    Conversation,
    Encoder,
    Exchange,
    Parameter,
    Spans,
    Step,
    Text,
    ToolSpec,
    calls_as_text,
    conversation_from_messages,
    tool_from_json,
    without_system,
)
from tinsmith.dialects.tolerant import split_channels
from tinsmith.engines import ChatReply, ContextExceededError, NativeCall, Sampling, TokenEngine, TurnUsage
from tinsmith.errors import InputError

_LEAST = 256
"""Tokens that an answer is always given, where that many are asked for."""
_OPENED = ("<think>", "[THINK]", "<|start|>assistant")
"""What a template may end its prompt with that belongs to the model's turn."""
_THOUGHT = re.compile(r"\s*(?:<think>|\[THINK\])(.*?)(?:</think>|\[/THINK\])", re.DOTALL)
_KEYS = frozenset({"name", "arguments", "parameters", "id", "type"})


class TemplateChat:
    """A `ChatEngine` over an engine of ids. `sampling` is the model card's; each answer brings its own seed.

    Raises InputError `template_failed` for a template that cannot write even texts that alternate, or leaves some of
    them out; the engine stays the caller's then.
    """

    def __init__(self, engine: TokenEngine, template: ChatTemplate, sampling: Sampling, model: str) -> None:
        self.model = model
        self.context_window = engine.context_window
        self.usage = engine.usage
        self._engine = engine
        self._template = template
        self._sampling = sampling
        vocabulary = engine.vocabulary
        self._encoder = Encoder(engine.tokenize, vocabulary.reserved, engine.tokenize_all)
        self._marks = sorted(vocabulary.reserved, key=len, reverse=True)
        self._form = _form_for(template)

    @property
    def waives(self) -> str:
        """What is to be said once of a run with this model."""
        more = "; its template does not write tools, calls and results, so they are written as text"
        return TEMPLATE_WAIVES + ("" if self._form in _WITH_TOOLS else more)

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        *,
        seed: int,
        limit: int,
        cancel: Event | None = None,
    ) -> ChatReply:
        """See `ChatEngine`: raises ContextExceededError, EngineError, Cancelled, and InputError `template_failed`."""
        spans = self.prompt(messages, tools)
        ids = self._encoded(spans)
        room = self._engine.context_window - len(ids)
        if room < min(limit, _LEAST):
            raise ContextExceededError(len(ids), self._engine.context_window)
        drawn = Sampling(self._sampling.temperature, self._sampling.top_k, self._sampling.top_p, seed)
        answer = self._engine.generate(ids, sampling=drawn, limit=min(limit, room), cancel=cancel)
        written = self._engine.detokenize(answer.ids).decode(errors="replace")
        finish = "length" if answer.stop == "limit" else "stop"
        thinking, text = split_channels(_opened(spans) + written)
        if thought := _THOUGHT.match(text):
            thinking, text = thought.group(1).strip(), text[thought.end() :]
        if calls := self._only_calls(text):
            return ChatReply("", thinking, calls, finish, len(ids))
        return ChatReply(text, thinking, (), finish, len(ids))

    def prompt(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> Spans:
        """What the model reads. Raises InputError `template_failed`."""
        specs = tuple(map(tool_from_json, tools))
        return self._template.render(self._form(_one_call_a_step(conversation_from_messages(messages, specs))))

    def begin_turn(self) -> None:
        """See `ChatEngine`."""
        self._engine.begin_turn()

    def end_turn(self) -> TurnUsage:
        """See `ChatEngine`."""
        return self._engine.end_turn()

    def close(self) -> None:
        """See `ChatEngine`."""
        self._engine.close()

    def _encoded(self, spans: Spans) -> list[int]:
        self._encoder.prime([span.text for span in spans if isinstance(span, Text)])  # the turns before are known
        return self._encoder.encode(spans)

    def _only_calls(self, text: str) -> tuple[NativeCall, ...]:
        """The calls of an answer that is one JSON value and nothing else, but for control tokens around it: the form of
        Llama 3, Phi-4 and Granite 3. Nothing is put right: what is not exactly this is text."""
        text = text.strip()
        if text.startswith(_OPENED):  # it is still thinking
            return ()
        while mark := next((mark for mark in self._marks if text.startswith(mark)), ""):
            text = text.removeprefix(mark).lstrip()
        while mark := next((mark for mark in self._marks if text.endswith(mark)), ""):
            text = text.removesuffix(mark).rstrip()
        if not text.startswith(("{", "[")):
            return ()
        try:
            value = json.loads(text, object_pairs_hook=_no_key_twice)
            return tuple(_calls(value))
        except (ValueError, RecursionError):
            return ()


def _as_it_is(conversation: Conversation) -> Conversation:
    return conversation


def _as_text_without_system(conversation: Conversation) -> Conversation:
    return without_system(calls_as_text(conversation))


_WITH_TOOLS = (_as_it_is, without_system)
_FORMS = (*_WITH_TOOLS, calls_as_text, _as_text_without_system)
"""What a conversation is made into for a template, the best first: not all templates take tools or a system text."""


def _opened(spans: Spans) -> str:
    """What of the model's own turn the prompt ends with."""
    end = "".join(span.text for span in spans[-4:]).rstrip()
    return next((text for text in _OPENED if end.endswith(text)), "")


def _one_call_a_step(conversation: Conversation) -> Conversation:
    """Some templates write only the first call of a turn; one call after the other says the same to all."""
    past = tuple(Exchange(each.user, each.answer, _alone(each.steps)) for each in conversation.past)
    return Conversation(conversation.user, _alone(conversation.steps), past, conversation.system, conversation.tools)


def _alone(steps: Sequence[Step]) -> tuple[Step, ...]:
    return tuple(
        Step((answered,), *(("", "") if number else (step.said, step.thinking)))
        for step in steps
        for number, answered in enumerate(step.calls)
    )


def _calls(value: Any) -> Iterator[NativeCall]:
    """The calls of a JSON value. Raises ValueError where it is anything else."""
    for each in cast("list[Any]", value) if isinstance(value, list) else [value]:
        if not isinstance(each, dict):
            raise ValueError("no call")
        call = cast("dict[str, Any]", each)
        arguments = call.get("arguments", call.get("parameters"))
        if not isinstance(call.get("name"), str) or not isinstance(arguments, dict) or not call.keys() <= _KEYS:
            raise ValueError("no call")
        yield NativeCall("", call["name"], json.dumps(arguments, ensure_ascii=False))


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is there twice")
    return found


_STEP = Step((Answered(Call("probe-tool", {"probe-key": "probe-value"}), "probe-result"),))
_PROBE = Conversation(
    "probe-question",
    (_STEP,),
    (Exchange("probe-first", "probe-answer", (_STEP,)),),
    "probe-system",
    (ToolSpec("probe-tool", "probe-declared", (Parameter("probe-key", "string"),)),),
)
"""All that a run's conversation can have: a template that writes every word of it writes any other."""
_WORDS = ("probe-system", "probe-declared", "probe-value", "probe-result", "probe-answer", "probe-question")


def _form_for(template: ChatTemplate) -> Callable[[Conversation], Conversation]:
    for form in _FORMS:
        if _writes(template, form(_PROBE)):
            return form
    template.render(_FORMS[-1](_PROBE))  # says why not, where it knows
    raise InputError(
        "template_failed",
        "The model's own chat template leaves out parts of a conversation.",
        "Get a file of the model with a corrected template.",
    )


def _writes(template: ChatTemplate, conversation: Conversation) -> bool:
    """Whether the template takes the probe and leaves none of its words out."""
    try:
        prompt = "".join(span.text for span in template.render(conversation))
    except InputError:
        return False
    return all(word in prompt for word in _WORDS)
