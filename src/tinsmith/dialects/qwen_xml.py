"""Qwen-XML: the dialect of Qwen3-Coder, Qwen3-Coder-Next and Solder.

Wire format (Qwen's published chat template and its `qwen3coder_tool_parser`): ChatML turns; tools declared
as XML in the system turn; a call is

    <tool_call>\\n<function=NAME>\\n<parameter=K>\\nVALUE\\n</parameter>\\n...</function>\\n</tool_call>

with string values raw; one leading and one trailing newline of a value belong to the syntax. A value ends
where `</parameter>` first stands on a line of its own after that leading newline, so decoding and parsing
cut it at the same place whatever it holds. A result is a user turn that holds
<tool_response>\\n...\\n</tool_response>. `<tool_call>`, `<tool_response>` and their closers are single
tokens that the tokenizer makes out of plain text, hence reserved.

`render` gives what the published template gives, token by token, with one difference: true, false and null are
JSON in a call, as Qwen's later templates have them, and not Python's words. `observation` ends without the newline
that the template has before <|im_end|>; a transcript that the agent writes has always been so.
"""

import json
import re
from collections.abc import Iterable, Sequence

from tinsmith.dialects.called import call_values
from tinsmith.dialects.conversation import Answered, Conversation, Step
from tinsmith.dialects.qwen_tools import CALL, CALL_END, tools_as_xml
from tinsmith.dialects.spans import Control, Span, Spans, Text, joined
from tinsmith.dialects.tool_call import Call, Malformed, Parameter, ToolSpec
from tinsmith.engines import Until

START = Control("<|im_start|>")
END = Control("<|im_end|>")
_CALL = Control(CALL)
_CALL_END = Control(CALL_END)
RESULT = Control("<tool_response>")
RESULT_END = Control("</tool_response>")

_VALUE_END = "\n</parameter>\n"
_CLOSE = "</function>\n"

# Models forget the opener now and then; a tag in the middle of a sentence opens nothing.
_OPENING = re.compile(r"(?:<tool_call>\s*|^)(?=<function=)", re.MULTILINE)
_TOOL_TAG = re.compile(r"<function=([^>\n]+)>\n?")
_KEY_TAG = re.compile(r"<parameter=([^>\n]+)>\n")

_DEFAULT_SYSTEM = "You are Qwen, a helpful AI assistant that can interact with a computer to solve tasks."
"""The template's own where there are tools and no system text."""


class QwenXml:
    """See the module's docstring and `tinsmith.dialects.protocol.Dialect`."""

    name = "qwen-xml"
    controls = tuple(span.text for span in (START, END, _CALL, _CALL_END, RESULT, RESULT_END))

    def system(self, text: str, tools: Sequence[ToolSpec]) -> Spans:
        declared = joined([Text("\n\n"), *tools_as_xml(tools)]) if tools else []
        return [START, Text("system\n" + text), *declared, END, Text("\n")]

    def user(self, text: str) -> Spans:
        return [START, Text("user\n" + text), *self.user_end()]

    def user_end(self) -> Spans:
        return [END, Text("\n")]

    def observation(self, text: str, number: int = 0, tool: str = "") -> Spans:
        return [START, Text("user\n"), RESULT, Text("\n" + text + "\n"), RESULT_END, END, Text("\n")]

    def assistant_start(self) -> Spans:
        return [START, Text("assistant\n")]

    def thinking_end(self) -> Spans:
        return []

    def render(self, conversation: Conversation) -> Spans:
        tools = conversation.tools
        spans = [*self.opening(conversation.system, tools)]
        for exchange in conversation.past:
            spans += [*self.asked(exchange.user), *self._steps(exchange.steps, tools), *self.answer(exchange.answer)]
        spans += [*self.asked(conversation.user), *self._steps(conversation.steps, tools)]
        return joined([*spans, *self.assistant_start()])

    def opening(self, system: str, tools: Sequence[ToolSpec]) -> Spans:
        """How a conversation begins that somebody else had: nothing where there is nothing to say."""
        system = system or (_DEFAULT_SYSTEM if tools else "")
        return self.system(system, tools) if system else []

    def asked(self, text: str) -> Spans:
        """A turn of the person's in a conversation that somebody else had."""
        return self.user(text)

    def answer(self, text: str) -> Spans:
        """A turn of the model's without a call."""
        return [START, Text("assistant\n" + text), END, Text("\n")]

    def called(self, step: Step, tools: Sequence[ToolSpec]) -> Spans:
        """A turn of the model's with calls."""
        said = step.said.strip()
        spans: list[Span] = [START, Text("assistant" + (f"\n{said}\n" if said else ""))]
        for answered in step.calls:
            spans += [Text("\n"), *written(answered.call, tools)]
        return [*spans, END, Text("\n")]

    def results(self, calls: Iterable[Answered]) -> Spans:
        """What came of the calls of one turn."""
        spans: list[Span] = [START, Text("user\n")]
        for answered in calls:
            spans += [RESULT, Text("\n" + answered.result + "\n"), RESULT_END, Text("\n")]
        return [*spans, END, Text("\n")]

    def _steps(self, steps: Iterable[Step], tools: Sequence[ToolSpec]) -> Spans:
        return [span for step in steps for span in (*self.called(step, tools), *self.results(step.calls))]

    def call_opener(self) -> str:
        return _CALL.text

    def tool_start(self) -> Spans:
        return [Text("\n<function=")]

    def tool_literal(self, name: str) -> str:
        return name + ">\n"

    def tool_follow(self) -> Spans:
        return []

    def arguments_start(self, number: int) -> Spans:
        return []

    def key_literal(self, key: str, first: bool) -> str:
        return f"<parameter={key}>\n"

    def value_start(self, parameter: Parameter) -> str:
        return ""

    def close_literal(self, first: bool) -> str:
        return _CLOSE

    def free_value(self, parameter: Parameter) -> Until:
        return Until(_VALUE_END)

    def value_text(self, parameter: Parameter, value: str) -> str:
        if (value + _VALUE_END).index(_VALUE_END) != len(value):
            raise ValueError("a value cannot hold what ends it")
        # A newline cannot occur inside a value of one line, so it ends one.
        return value + (_VALUE_END if "\n" in value else "\n")

    def value_from(self, parameter: Parameter, text: str) -> str:
        return text.removesuffix(_VALUE_END) if text.endswith(_VALUE_END) else text.removesuffix("\n")

    def value_end(self, parameter: Parameter) -> str:
        return _VALUE_END

    def value_follow(self, parameter: Parameter) -> Spans:
        return [Text(_VALUE_END.removeprefix("\n"))]

    def call_end(self, number: int = 0) -> Spans:
        return [_CALL_END, END, Text("\n")]

    def parse(self, text: str, tools: Sequence[ToolSpec]) -> Call | Malformed | None:
        opening = _OPENING.search(text)
        if opening is None:
            opens = _CALL.text in text or "<function=" in text
            return Malformed(text, "the call has no <function=NAME> on a line of its own") if opens else None
        named = _TOOL_TAG.match(text, opening.end())
        if named is None:
            return Malformed(text, "the function tag is not closed")
        spec = next((tool for tool in tools if tool.name == named.group(1)), None)
        if spec is None:
            return Malformed(text, f"there is no tool {named.group(1)!r}")
        arguments: dict[str, str] = {}
        position = named.end()
        while tag := _KEY_TAG.match(text, position):
            key = tag.group(1)
            end = text.find(_VALUE_END, tag.end())
            if end < 0:
                return Malformed(text, f"the value of {key!r} lacks </parameter> on a line of its own")
            if key in arguments:
                return Malformed(text, f"{key!r} is given twice")
            if all(parameter.name != key for parameter in spec.parameters):
                return Malformed(text, f"{spec.name} has no parameter {key!r}")
            arguments[key] = text[tag.end() : end]
            if not spec.parameter(key).is_text and not _is_json(arguments[key]):
                return Malformed(text, f"the value of {key!r} is no JSON")
            position = end + len(_VALUE_END)
        if not text.startswith("</function>", position):
            return Malformed(text, f"</function> or <parameter=KEY> must follow {text[:position][-40:]!r}")
        missing = [p.name for p in spec.parameters if p.required and p.name not in arguments]
        if missing:
            return Malformed(text, f"{spec.name} lacks {', '.join(missing)}")
        return Call(spec.name, arguments)


def written(call: Call, tools: Sequence[ToolSpec]) -> Spans:
    """A call in a history: strings raw, all other values as JSON."""
    lines = [f"\n<function={call.tool}>\n"]
    for name, value in call_values(call, tools).items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        lines.append(f"<parameter={name}>\n{text}{_VALUE_END}")
    return [_CALL, Text("".join(lines) + _CLOSE), _CALL_END]


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=lambda name: json.loads(""))  # NaN and Infinity are none
    except (ValueError, RecursionError):
        return False
    return True
