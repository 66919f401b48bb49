"""Qwen with thinking: the dialect of Qwen3.5, Qwen3.6 and Qwen3.8.

Calls are those of Qwen-XML. The tools are declared as lines of JSON before the system text, and each turn of the
model's begins with its thinking:

    <|im_start|>assistant\\n<think>\\nTHINKING\\n</think>\\n\\nTEXT\\n\\n<tool_call>...</tool_call><|im_end|>

The model is asked with the opened `<think>\\n`. Source: Qwen's published chat templates. `render` gives what they give,
token by token, where they keep all thinking: Qwen3.8's as it is, Qwen3.6's with `preserve_thinking`. Qwen3.5's drops
the thinking before the last question; ours is kept, so that what was written stays a prefix of what comes. Qwen3.8's
sentence about the effort of reasoning is left out, as its template does for `medium`. The templates strip the white
space around every text, and so does `render`; a transcript that the agent writes has texts as they are.
"""

from collections.abc import Iterable, Sequence

from tinsmith.dialects.conversation import Answered, Step
from tinsmith.dialects.qwen_tools import tools_as_json
from tinsmith.dialects.qwen_xml import END, RESULT, RESULT_END, START, QwenXml, written
from tinsmith.dialects.spans import Control, Span, Spans, Text
from tinsmith.dialects.tool_call import Call, Malformed, ToolSpec

_THINK = Control("<think>")
_THINK_END = Control("</think>")


class QwenThinking(QwenXml):
    """See the module's docstring and `tinsmith.dialects.protocol.Dialect`."""

    name = "qwen-thinking"
    controls = (*QwenXml.controls, _THINK.text, _THINK_END.text)

    def system(self, text: str, tools: Sequence[ToolSpec]) -> Spans:
        if not tools:
            return super().system(text, tools)
        after = [Text("\n\n" + text)] if text else []
        return [START, Text("system\n"), *tools_as_json(tools), *after, END, Text("\n")]

    def assistant_start(self) -> Spans:
        return [START, Text("assistant\n"), _THINK, Text("\n")]

    def thinking_end(self) -> Spans:
        return [_THINK_END, Text("\n\n")]

    def opening(self, system: str, tools: Sequence[ToolSpec]) -> Spans:
        system = system.strip()
        return self.system(system, tools) if system or tools else []

    def asked(self, text: str) -> Spans:
        return self.user(text.strip())

    def answer(self, text: str) -> Spans:
        return [*_thought("", text), END, Text("\n")]

    def called(self, step: Step, tools: Sequence[ToolSpec]) -> Spans:
        spans = _thought(step.thinking, step.said)
        for number, answered in enumerate(step.calls):
            if number or step.said.strip():
                spans.append(Text("\n" if number else "\n\n"))
            spans += written(answered.call, tools)
        return [*spans, END, Text("\n")]

    def results(self, calls: Iterable[Answered]) -> Spans:
        spans: list[Span] = [START, Text("user")]
        for answered in calls:
            spans += [Text("\n"), RESULT, Text("\n" + answered.result.strip() + "\n"), RESULT_END]
        return [*spans, END, Text("\n")]

    def parse(self, text: str, tools: Sequence[ToolSpec]) -> Call | Malformed | None:
        """The first call after the thinking, which the first `</think>` ends: a call that was only thought of is none.

        Where the model never ended its thinking, or `</think>` stands inside a value, all of the text is read.
        """
        end = text.find(_THINK_END.text)
        found = super().parse(text[end + len(_THINK_END.text) :], tools) if end >= 0 else None
        if isinstance(found, Call):
            return found
        whole = super().parse(text, tools)
        if end < 0 or (isinstance(whole, Call) and any(_THINK_END.text in value for value in whole.arguments.values())):
            return whole
        return Malformed(text, found.reason) if isinstance(found, Malformed) else None


def _thought(thinking: str, said: str) -> list[Span]:
    """The beginning of a turn of the model's: thinking, which may be empty, and text."""
    start = [START, Text("assistant\n"), _THINK]
    return [*start, Text(f"\n{thinking.strip()}\n"), _THINK_END, Text("\n\n" + said.strip())]
