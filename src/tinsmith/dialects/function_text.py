"""OpenHands' text protocol inside Mistral's turns: what Devstral-Small-2505 was trained on.

Wire format (OpenHands' `openhands/llm/fn_call_converter.py` as of May 2025, MIT licence; the wording of the system text
is its): tools are described in the system text, a call is plain text that nothing follows,

    <function=NAME>\\n<parameter=K>VALUE</parameter>\\n...</function></s>

and its result a user turn that begins with `EXECUTION RESULT of [NAME]:`. A text of several lines stands on lines of
its own, so one newline at either end of a value belongs to the syntax. Other values than texts are JSON.

`<function=` is no control token. It ends free text all the same: what a model says before a call ends where these
characters first stand, and a parser takes them for the call's beginning. So a value ends at the first `</parameter>`
that a newline follows.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tinsmith.dialects.called import call_values
from tinsmith.dialects.conversation import Conversation, Step
from tinsmith.dialects.mistral import END, TURN_CONTROLS, MistralTurns
from tinsmith.dialects.spans import Span, Spans, Text
from tinsmith.dialects.tool_call import Call, Malformed, Parameter, ToolSpec
from tinsmith.dialects.writing import arguments_pieces
from tinsmith.engines import Until

_OPEN = "<function="
_CLOSE = "</function>"
_VALUE_END = "</parameter>\n"

_KEY_TAG = re.compile(r"<parameter=([^>\n]+)>")
_TOOL_TAG = re.compile(r"<function=([^>\n]+)>\n")

_TOOLS_HEAD = "\nYou have access to the following functions:\n\n"
_TOOLS_TAIL = """

If you choose to call a function ONLY reply in the following format with NO suffix:

<function=example_function_name>
<parameter=example_parameter_1>value_1</parameter>
<parameter=example_parameter_2>
This is the value for the second parameter
that can span
multiple lines
</parameter>
</function>

<IMPORTANT>
Reminder:
- Function calls MUST follow the specified format, start with <function= and end with </function>
- Required parameters MUST be specified
- Only call one function at a time
- You may provide optional reasoning for your function call in natural language BEFORE the function call, but NOT after.
- If there is no function call available, answer the question like normal with your current knowledge and do not tell \
the user about function calls
</IMPORTANT>
"""


class FunctionText(MistralTurns):
    """See the module's docstring and `tinsmith.dialects.protocol.Dialect`."""

    name = "function-text"
    controls = TURN_CONTROLS

    def system(self, text: str, tools: Sequence[ToolSpec]) -> Spans:
        if tools:
            text += _TOOLS_HEAD + "\n".join(map(_describe, range(1, len(tools) + 1), tools)) + _TOOLS_TAIL
        return self.beginning(text)

    def observation(self, text: str, number: int = 0, tool: str = "") -> Spans:
        # OpenHands' own word where the tool is not known.
        return self._result(tool or "function", text)

    def _result(self, tool: str, text: str) -> Spans:
        return self.user(f"EXECUTION RESULT of [{tool}]:\n{text}")

    def render(self, conversation: Conversation) -> Spans:
        spans = [*self.system(conversation.system, conversation.tools)]
        for exchange in conversation.past:
            spans += [*self.user(exchange.user), *self._steps(conversation, exchange.steps)]
            spans += self.answer(exchange.answer)
        return [*spans, *self.user(conversation.user), *self._steps(conversation, conversation.steps)]

    def _steps(self, conversation: Conversation, steps: Sequence[Step]) -> Spans:
        """The protocol has one call a turn: further ones of a step are turns of their own."""
        spans: list[Span] = []
        for step in steps:
            said = step.said
            for answered in step.calls:
                call = answered.call
                pieces = arguments_pieces(self, *_declared(call, conversation.tools))
                arguments = "".join(piece.span.text for piece in pieces)
                written = _OPEN + self.tool_literal(call.tool) + arguments
                spans += [Text(f"{said}\n\n{written}".lstrip()), *self.call_end()]
                spans += self._result(call.tool, answered.result)
                said = ""
        return spans

    def call_opener(self) -> str:
        return _OPEN

    def tool_start(self) -> Spans:
        return []

    def tool_literal(self, name: str) -> str:
        return name + ">\n"

    def tool_follow(self) -> Spans:
        return []

    def arguments_start(self, number: int) -> Spans:
        return []

    def key_literal(self, key: str, first: bool) -> str:
        return f"<parameter={key}>"

    def value_start(self, parameter: Parameter) -> str:
        return ""

    def close_literal(self, first: bool) -> str:
        return _CLOSE

    def free_value(self, parameter: Parameter) -> Until:
        return Until(_VALUE_END)

    def value_text(self, parameter: Parameter, value: str) -> str:
        body = f"\n{value}\n" if parameter.is_text and "\n" in value else value
        if value.endswith(_VALUE_END[:-1]):  # a newline after it would make it the end
            body = body.removesuffix("\n")
        if (body + _VALUE_END).index(_VALUE_END) != len(body):
            raise ValueError("a value cannot hold what ends it")
        return body + _VALUE_END

    def value_from(self, parameter: Parameter, text: str) -> str:
        body = text.removesuffix(_VALUE_END)
        return body.removeprefix("\n").removesuffix("\n") if parameter.is_text else body

    def value_end(self, parameter: Parameter) -> str:
        return _VALUE_END

    def value_follow(self, parameter: Parameter) -> Spans:
        return []

    def call_end(self, number: int = 0) -> Spans:
        return [END]

    def parse(self, text: str, tools: Sequence[ToolSpec]) -> Call | Malformed | None:
        """The first call in text that the dialect wrote; the first `<function=` decides."""
        opening = text.find(_OPEN)
        if opening < 0:
            return None
        named = _TOOL_TAG.match(text, opening)
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
                return Malformed(text, f"the value of {key!r} lacks </parameter> at the end of a line")
            if key in arguments:
                return Malformed(text, f"{key!r} is given twice")
            if all(parameter.name != key for parameter in spec.parameters):
                return Malformed(text, f"{spec.name} has no parameter {key!r}")
            arguments[key] = self.value_from(spec.parameter(key), text[tag.end() : end])
            position = end + len(_VALUE_END)
        if not text.startswith(_CLOSE, position):
            return Malformed(text, f"</function> or <parameter=KEY> must follow {text[:position][-40:]!r}")
        if text[position + len(_CLOSE) :] not in ("", END.text):
            return Malformed(text, "nothing may follow </function>")
        if missing := [p.name for p in spec.parameters if p.required and p.name not in arguments]:
            return Malformed(text, f"{spec.name} lacks {', '.join(missing)}")
        return Call(spec.name, arguments)


def _declared(call: Call, tools: Sequence[ToolSpec]) -> tuple[ToolSpec, Call]:
    """`call` and its tool; what nobody declared is as if it had been, texts as texts."""
    spec = next((tool for tool in tools if tool.name == call.tool), ToolSpec(call.tool, "", ()))
    known = {parameter.name for parameter in spec.parameters}
    others = {name: value for name, value in call_values(call, tools).items() if name not in known}
    texts = {name: value for name, value in others.items() if isinstance(value, str)}
    parameters = (Parameter(name, "string" if name in texts else "object") for name in others)
    return replace(spec, parameters=(*spec.parameters, *parameters)), Call(call.tool, {**call.arguments, **texts})


def _describe(number: int, tool: ToolSpec) -> str:
    schema = tool.as_json()["function"]["parameters"]
    required = schema.get("required", [])
    lines = [f"---- BEGIN FUNCTION #{number}: {tool.name} ----", f"Description: {tool.description}", "Parameters:"]
    for place, (name, said) in enumerate(schema.get("properties", {}).items(), 1):
        parameter: Mapping[str, Any] = said if isinstance(said, Mapping) else {}  # a schema may be `true`
        description = parameter.get("description", "No description provided")
        if "enum" in parameter:
            description += f"\nAllowed values: [{', '.join(f'`{value}`' for value in parameter['enum'])}]"
        status = "required" if name in required else "optional"
        lines.append(f"  ({place}) {name} ({parameter.get('type', 'string')}, {status}): {description}")
    return "\n".join([*lines, f"---- END FUNCTION #{number} ----\n"])
