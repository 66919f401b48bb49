"""Mistral v13: the dialect of Devstral-Small-2507, Devstral Small 2 and Devstral 2.

    text[TOOL_CALLS]NAME[ARGS]{"path": "a.py"}[TOOL_CALLS]NAME[ARGS]{}</s>[TOOL_RESULTS]R[/TOOL_RESULTS]

A result has no id: results stand in the order of the calls. See `tinsmith.dialects.mistral`.
"""

from collections.abc import Sequence

from tinsmith.dialects.mistral import CALL, END, JSON_CONTROLS, RESULT, RESULT_END, MistralJson
from tinsmith.dialects.mistral_parsing import CallText
from tinsmith.dialects.spans import Control, Span, Spans, Text

ARGUMENTS = Control("[ARGS]")


class MistralV13(MistralJson):
    """See the module's docstring and `tinsmith.dialects.protocol.Dialect`."""

    name = "mistral-v13"
    controls = (*JSON_CONTROLS, ARGUMENTS.text)
    tools_before_first_user = True

    def observation(self, text: str, number: int = 0, tool: str = "") -> Spans:
        return [RESULT, Text(text), RESULT_END]

    def calls(self, calls: Sequence[tuple[str, str, int]]) -> Spans:
        spans: list[Span] = []
        for tool, arguments, number in calls:
            spans += [CALL, Text(tool), *self.arguments_start(number), Text(arguments)]
        return spans

    def tool_start(self) -> Spans:
        return []

    def tool_literal(self, name: str) -> str:
        return name

    def tool_follow(self) -> Spans:
        return self.arguments_start(0)[:1]

    def arguments_start(self, number: int) -> Spans:
        return [ARGUMENTS]

    def call_end(self, number: int = 0) -> Spans:
        return [END]

    def read_name(self, reader: CallText) -> str:
        return reader.until(ARGUMENTS.text)

    def read_arguments_start(self, reader: CallText) -> None:
        """Nothing: the name ends at `[ARGS]`."""

    def read_end(self, reader: CallText) -> None:
        if not reader.skip(CALL.text) and not reader.at_end():
            reader.expect(END.text)
