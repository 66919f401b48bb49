"""Qwen-XML: the dialect of Qwen3-Coder, Qwen3-Coder-Next and Solder.

Wire format (Qwen's published chat template and its `qwen3coder_tool_parser`): ChatML turns; tools declared
as XML in the system turn; a call is

    <tool_call>\\n<function=NAME>\\n<parameter=K>\\nVALUE\\n</parameter>\\n...</function>\\n</tool_call>

with string values raw; one leading and one trailing newline of a value belong to the syntax. A value ends
where `</parameter>` first stands on a line of its own after that leading newline, so decoding and parsing
cut it at the same place whatever it holds. A result is a user turn that holds
<tool_response>\\n...\\n</tool_response>. `<tool_call>`, `<tool_response>` and their closers are single
tokens that the tokenizer makes out of plain text, hence reserved.
"""

import re
from collections.abc import Sequence

from tinsmith.dialects.protocol import Call, Domain, FreeText, Malformed, Parameter, ToolSpec
from tinsmith.dialects.spans import Control, Span, Spans, Text
from tinsmith.engines import Grammar, OneOf, Until

_START = Control("<|im_start|>")
_END = Control("<|im_end|>")
_CALL = Control("<tool_call>")
_CALL_END = Control("</tool_call>")
_RESULT = Control("<tool_response>")
_RESULT_END = Control("</tool_response>")

_VALUE_END = "\n</parameter>\n"
_CLOSE = "</function>\n"

# Models forget the opener now and then; a tag in the middle of a sentence opens nothing.
_OPENING = re.compile(r"(?:<tool_call>\s*|^)(?=<function=)", re.MULTILINE)
_TOOL_TAG = re.compile(r"<function=([^>\n]+)>\n?")
_KEY_TAG = re.compile(r"<parameter=([^>\n]+)>\n")

_TOOLS_HEAD = "\n\n# Tools\n\nYou have access to the following functions:\n\n<tools>"
_TOOLS_TAIL = "\n</tools>\n\nCall exactly one function a turn, in this format with no suffix:\n\n"


class QwenXml:
    """See the module's docstring and `tinsmith.dialects.protocol.Dialect`."""

    name = "qwen-xml"
    controls = tuple(span.text for span in (_START, _END, _CALL, _CALL_END, _RESULT, _RESULT_END))

    def system(self, text: str, tools: Sequence[ToolSpec]) -> Spans:
        spans: list[Span] = [_START, Text("system\n" + text)]
        if tools:
            spans += [
                Text(_TOOLS_HEAD + "".join(map(_declare, tools)) + _TOOLS_TAIL),
                _CALL,
                Text("\n<function=NAME>\n<parameter=KEY>\nVALUE\n</parameter>\n</function>\n"),
                _CALL_END,
            ]
        return [*spans, _END, Text("\n")]

    def user(self, text: str) -> Spans:
        return [_START, Text("user\n" + text), *self.user_end()]

    def user_end(self) -> Spans:
        return [_END, Text("\n")]

    def observation(self, text: str) -> Spans:
        return [_START, Text("user\n"), _RESULT, Text("\n" + text + "\n"), _RESULT_END, _END, Text("\n")]

    def assistant_start(self) -> Spans:
        return [_START, Text("assistant\n")]

    def call_opener(self) -> str:
        return _CALL.text

    def tool_start(self) -> Spans:
        return [Text("\n<function=")]

    def tool_choice(self, names: Sequence[str]) -> Grammar:
        return OneOf(tuple(names), end=">\n")

    def tool_literal(self, name: str) -> str:
        return name + ">\n"

    def tool_from(self, text: str) -> str:
        return text.removesuffix(">\n")

    def key_choice(self, tool: ToolSpec, keys: Sequence[str], may_close: bool, first: bool) -> Grammar:
        options = [self.key_literal(key, first) for key in keys]
        if may_close:
            options.append(self.close_literal(first))
        return OneOf(tuple(options))

    def key_literal(self, key: str, first: bool) -> str:
        return f"<parameter={key}>\n"

    def close_literal(self, first: bool) -> str:
        return _CLOSE

    def value(self, parameter: Parameter, domain: Domain) -> Grammar:
        if isinstance(domain, FreeText):
            return Until(_VALUE_END)
        # A newline cannot occur inside the values of a domain of one-line values, so it ends them.
        if any("\n" in value for value in domain.values):
            return OneOf(domain.values, end=_VALUE_END)
        return OneOf(domain.values, end="\n")

    def value_text(self, parameter: Parameter, value: str) -> str:
        if (value + _VALUE_END).index(_VALUE_END) != len(value):
            raise ValueError("a value cannot hold what ends it")
        return value + (_VALUE_END if "\n" in value else "\n")

    def value_from(self, parameter: Parameter, text: str) -> str:
        return text.removesuffix(_VALUE_END) if text.endswith(_VALUE_END) else text.removesuffix("\n")

    def value_close(self, parameter: Parameter, domain: Domain) -> str:
        if isinstance(domain, FreeText) or any("\n" in value for value in domain.values):
            return ""
        return _VALUE_END.removeprefix("\n")

    def value_abort(self, parameter: Parameter) -> str:
        return _VALUE_END

    def call_end(self) -> Spans:
        return [_CALL_END, _END, Text("\n")]

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
            position = end + len(_VALUE_END)
        if not text.startswith("</function>", position):
            return Malformed(text, f"</function> or <parameter=KEY> must follow {text[:position][-40:]!r}")
        missing = [p.name for p in spec.parameters if p.required and p.name not in arguments]
        if missing:
            return Malformed(text, f"{spec.name} lacks {', '.join(missing)}")
        return Call(spec.name, arguments)


def _declare(tool: ToolSpec) -> str:
    parameters = "".join(
        f"\n<parameter>\n<name>{p.name}</name>\n<type>{p.type}</type>"
        + (f"\n<description>{p.description}</description>" if p.description else "")
        + "\n</parameter>"
        for p in tool.parameters
    )
    required = ", ".join(f'"{p.name}"' for p in tool.parameters if p.required)
    return (
        f"\n<function>\n<name>{tool.name}</name>\n<description>{tool.description}</description>\n<parameters>"
        f"{parameters}\n<required>[{required}]</required>\n</parameters>\n</function>"
    )
