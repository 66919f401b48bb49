"""What the loop needs of any dialect: how turns are written. How a model writes its calls is `Dialect`'s."""

from collections.abc import Sequence
from typing import Protocol

from tinsmith.dialects.spans import Spans
from tinsmith.dialects.tool_call import ToolSpec


class Turns(Protocol):
    """The turns that are not the model's; every `Dialect` writes them, and so does `ChatTranscript`."""

    name: str

    def system(self, text: str, tools: Sequence[ToolSpec]) -> Spans:
        """The fixed part: system text and the declaration of the tools, where there are any."""
        ...

    def user(self, text: str) -> Spans:
        """A turn of the person (or of the harness)."""
        ...

    def user_end(self) -> Spans:
        """What `user` ends with: more text can stand before it, in the same turn."""
        ...

    def observation(self, text: str, number: int = 0, tool: str = "") -> Spans:
        """The result of the call just made: the transcript's call of that number, a call of `tool`."""
        ...
