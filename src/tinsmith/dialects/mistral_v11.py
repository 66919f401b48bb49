"""Mistral v11: the dialect of Mistral Small 3.2. Calls have ids of nine letters and digits, and results name them.

    text[TOOL_CALLS]NAME[CALL_ID]ID[ARGS]{"path": "a.py"}</s>[TOOL_RESULTS]ID[TOOL_CONTENT]R[/TOOL_RESULTS]

See `tinsmith.dialects.mistral`.
"""

from tinsmith.dialects.conversation import call_id
from tinsmith.dialects.mistral import JSON_CONTROLS, RESULT, RESULT_END
from tinsmith.dialects.mistral_parsing import CALL_ID, CallText
from tinsmith.dialects.mistral_v13 import ARGUMENTS, MistralV13
from tinsmith.dialects.spans import Control, Spans, Text

_ID = Control("[CALL_ID]")
CONTENT = Control("[TOOL_CONTENT]")


class MistralV11(MistralV13):
    """See the module's docstring and `tinsmith.dialects.protocol.Dialect`."""

    name = "mistral-v11"
    controls = (*JSON_CONTROLS, ARGUMENTS.text, _ID.text, CONTENT.text)
    tools_before_first_user = False

    def observation(self, text: str, number: int = 0, tool: str = "") -> Spans:
        return [RESULT, Text(call_id(number)), CONTENT, Text(text), RESULT_END]

    def arguments_start(self, number: int) -> Spans:
        return [_ID, Text(call_id(number)), ARGUMENTS]

    def read_name(self, reader: CallText) -> str:
        return reader.until(_ID.text)

    def read_arguments_start(self, reader: CallText) -> None:
        reader.pattern(CALL_ID, "an id of nine letters and digits")
        reader.expect(ARGUMENTS.text)
