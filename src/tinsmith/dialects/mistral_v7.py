"""Mistral v7: the dialect of Mistral Small 3.1. The calls of a turn are one JSON list, results name their call's id.

    text[TOOL_CALLS][{"name": "NAME", "arguments": {"path": "a.py"}, "id": "ID"}]</s>[TOOL_RESULTS]ID[TOOL_CONTENT]R...

See `tinsmith.dialects.mistral`.
"""

import json
from collections.abc import Sequence

from tinsmith.dialects.conversation import call_id
from tinsmith.dialects.mistral import CALL, END, JSON_CONTROLS, RESULT, RESULT_END, MistralJson
from tinsmith.dialects.mistral_parsing import CALL_ID, CallText
from tinsmith.dialects.mistral_v11 import CONTENT
from tinsmith.dialects.spans import Spans, Text

_OPEN = '[{"name": "'
_ARGUMENTS = ' "arguments":'


class MistralV7(MistralJson):
    """See the module's docstring and `tinsmith.dialects.protocol.Dialect`."""

    name = "mistral-v7"
    controls = (*JSON_CONTROLS, CONTENT.text)
    space = " "
    closers = (",", "}", "},")

    def observation(self, text: str, number: int = 0, tool: str = "") -> Spans:
        return [RESULT, Text(call_id(number)), CONTENT, Text(text), RESULT_END]

    def calls(self, calls: Sequence[tuple[str, str, int]]) -> Spans:
        listed = ", ".join(
            f'{{"name": {json.dumps(tool, ensure_ascii=False)}, "arguments": {arguments}, "id": "{call_id(number)}"}}'
            for tool, arguments, number in calls
        )
        return [CALL, Text(f"[{listed}]")]

    def tool_start(self) -> Spans:
        return [Text(_OPEN)]

    def tool_literal(self, name: str) -> str:
        return json.dumps(name, ensure_ascii=False)[1:] + ","

    def tool_follow(self) -> Spans:
        return []

    def arguments_start(self, number: int) -> Spans:
        return [Text(_ARGUMENTS)]

    def call_end(self, number: int = 0) -> Spans:
        return [Text(f', "id": "{call_id(number)}"}}]'), END]

    def read_name(self, reader: CallText) -> str:
        reader.expect(_OPEN[:-1])
        return reader.string()

    def read_arguments_start(self, reader: CallText) -> None:
        reader.expect("," + _ARGUMENTS + self.space)

    def read_end(self, reader: CallText) -> None:
        reader.expect(', "id": "')
        reader.pattern(CALL_ID, "an id of nine letters and digits")
        reader.expect('"}')
        if not reader.skip(", {"):
            reader.expect("]")
            if not reader.at_end():
                reader.expect(END.text)
