"""What Mistral's dialects share: turns between control tokens, and a call whose arguments are one JSON object.

Wire format (mistral-common 1.13, `tokens/tokenizers/instruct.py`): no newlines or spaces around the tags,

    <s>[SYSTEM_PROMPT]S[/SYSTEM_PROMPT][AVAILABLE_TOOLS]JSON[/AVAILABLE_TOOLS][INST]U[/INST]ANSWER</s>

The tools are the JSON of OpenAI's objects as Python's `json.dumps` writes it. v13 declares them before the first
user turn, v7 and v11 before the last one. A session of the agent's has one user turn, and its transcript only grows, so
there the two agree; `render` follows each version. All tags are control tokens, which a tokenizer never makes of text.

The arguments are written in stages whose seams lie where Tekken cuts JSON: `{"path":`, then ` "`, then the value.
The quote that ends a text is no part of what is chosen. A model writes it in one token with what comes next (`",`),
so these tokens are what tells a text that ends from a longer one (`value_follow`).
"""

import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from tinsmith.dialects.called import call_values
from tinsmith.dialects.conversation import Conversation, Step
from tinsmith.dialects.mistral_parsing import CallText, DamagedCall
from tinsmith.dialects.spans import Control, Span, Spans, Text
from tinsmith.dialects.tool_call import Call, Malformed, Parameter, ToolSpec
from tinsmith.engines import JsonString, Until

BEGIN = Control("<s>")
END = Control("</s>")
_SYSTEM = Control("[SYSTEM_PROMPT]")
_SYSTEM_END = Control("[/SYSTEM_PROMPT]")
_USER = Control("[INST]")
_USER_END = Control("[/INST]")
_TOOLS = Control("[AVAILABLE_TOOLS]")
_TOOLS_END = Control("[/AVAILABLE_TOOLS]")
CALL = Control("[TOOL_CALLS]")
RESULT = Control("[TOOL_RESULTS]")
RESULT_END = Control("[/TOOL_RESULTS]")

TURN_CONTROLS = tuple(span.text for span in (BEGIN, END, _SYSTEM, _SYSTEM_END, _USER, _USER_END))
JSON_CONTROLS = (*TURN_CONTROLS, *(span.text for span in (_TOOLS, _TOOLS_END, CALL, RESULT, RESULT_END)))


class MistralTurns:
    """The turns of persons and models. The model's begins without a tag and ends with `</s>`."""

    def user(self, text: str) -> Spans:
        return [_USER, Text(text), *self.user_end()]

    def user_end(self) -> Spans:
        return [_USER_END]

    def assistant_start(self) -> Spans:
        return []

    def thinking_end(self) -> Spans:
        return []

    def beginning(self, system: str) -> Spans:
        """What stands before all turns."""
        return [BEGIN, *([_SYSTEM, Text(system), _SYSTEM_END] if system else [])]

    def answer(self, text: str) -> Spans:
        """A turn of the model's without a call; spaces at its end are dropped, as the vendor does."""
        return [Text(text.rstrip(" ")), END]


class MistralJson(MistralTurns, ABC):
    """A Mistral dialect whose calls are `[TOOL_CALLS]` and JSON. See the module's docstring and `Dialect`.

    A subclass says how a name, its call's id and the arguments stand together. The thinking of a step is left out:
    these models have none.
    """

    name: str
    controls: tuple[str, ...]
    tools_before_first_user = False
    """Where a whole conversation declares its tools: before the first user turn, else before the last."""
    space = ""
    """What stands before the object of the arguments."""
    closers: tuple[str, ...] = (",", "}")
    """How tokens begin that come after a value."""

    def system(self, text: str, tools: Sequence[ToolSpec]) -> Spans:
        return [*self.beginning(text), *_declare(tools)]

    @abstractmethod
    def observation(self, text: str, number: int = 0, tool: str = "") -> Spans: ...

    def render(self, conversation: Conversation) -> Spans:
        numbers = itertools.count()
        last = len(conversation.past)
        spans = [*self.beginning(conversation.system)]
        turns = [(exchange.user, exchange.steps) for exchange in conversation.past]
        for index, (user, steps) in enumerate([*turns, (conversation.user, conversation.steps)]):
            if index == (0 if self.tools_before_first_user else last):
                spans += _declare(conversation.tools)
            spans += self.user(user)
            spans += self._steps(steps, conversation.tools, numbers)
            if index < last:
                spans += self.answer(conversation.past[index].answer)
        return spans

    def _steps(self, steps: Sequence[Step], tools: Sequence[ToolSpec], numbers: Iterator[int]) -> Spans:
        spans: list[Span] = []
        for step in steps:
            numbered = [(answered, next(numbers)) for answered in step.calls]
            calls = [(answered.call.tool, _object(answered.call, tools), number) for answered, number in numbered]
            spans += [Text(step.said.rstrip(" ")), *self.calls(calls), END]
            spans += [span for answered, number in numbered for span in self.observation(answered.result, number)]
        return spans

    @abstractmethod
    def calls(self, calls: Sequence[tuple[str, str, int]]) -> Spans:
        """The calls of one turn: of each the tool, the JSON of its arguments, its number."""

    def call_opener(self) -> str:
        return CALL.text

    @abstractmethod
    def tool_start(self) -> Spans: ...

    @abstractmethod
    def tool_literal(self, name: str) -> str: ...

    @abstractmethod
    def tool_follow(self) -> Spans: ...

    @abstractmethod
    def arguments_start(self, number: int) -> Spans: ...

    @abstractmethod
    def call_end(self, number: int = 0) -> Spans: ...

    def key_literal(self, key: str, first: bool) -> str:
        return (self.space + "{" if first else ", ") + json.dumps(key, ensure_ascii=False) + ":"

    def value_start(self, parameter: Parameter) -> str:
        return ' "' if parameter.is_text else " "

    def close_literal(self, first: bool) -> str:
        return self.space + "{}" if first else "}"

    def free_value(self, parameter: Parameter) -> Until | JsonString:
        if not parameter.is_text:
            raise ValueError(f"{parameter.name} is no text: its JSON is written under its schema")
        return JsonString('"')

    def value_text(self, parameter: Parameter, value: str) -> str:
        if not parameter.is_text:
            return value
        body = json.dumps(value, ensure_ascii=False)[1:-1]
        # How a text ends tells whether its end is still to come, so none ends as that does.
        return body[:-2] + "\\u0022" if body.endswith('"') else body

    def value_from(self, parameter: Parameter, text: str) -> str:
        return json.loads('"' + text.removesuffix('"') + '"') if parameter.is_text else text

    def value_end(self, parameter: Parameter) -> str:
        return '"' if parameter.is_text else ""

    def value_follow(self, parameter: Parameter) -> Spans:
        if not parameter.is_text:
            return [Text(closer) for closer in self.closers]
        return [Text('"'), *(Text('"' + closer) for closer in self.closers)]

    def parse(self, text: str, tools: Sequence[ToolSpec]) -> Call | Malformed | None:
        """The first call in text that the dialect wrote, controls as their text. The first `[TOOL_CALLS]` decides: what
        looks like a call inside the values of a damaged one is none."""
        opening = text.find(CALL.text)
        if opening < 0:
            return None
        reader = CallText(text, opening + len(CALL.text))
        try:
            spec = reader.tool(self.read_name(reader), tools)
            self.read_arguments_start(reader)
            arguments = reader.arguments(spec)
            self.read_end(reader)
        except DamagedCall as damaged:
            return Malformed(text, str(damaged))
        return Call(spec.name, arguments)

    @abstractmethod
    def read_name(self, reader: CallText) -> str:
        """The tool's name, which comes next. Raises DamagedCall, as the next two do."""

    @abstractmethod
    def read_arguments_start(self, reader: CallText) -> None:
        """What stands between name and arguments."""

    @abstractmethod
    def read_end(self, reader: CallText) -> None:
        """What ends the call: the turn or the next call."""


def _declare(tools: Sequence[ToolSpec]) -> Spans:
    if not tools:
        return []
    return [_TOOLS, Text(json.dumps([tool.as_json() for tool in tools], ensure_ascii=False)), _TOOLS_END]


def _object(call: Call, tools: Sequence[ToolSpec]) -> str:
    return json.dumps(call_values(call, tools), ensure_ascii=False)
