"""Strict reading of a call of Mistral's, piece by piece. What differs from what we write has a reason.

A call that a model wrote without grammar is for the tolerant parser.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from tinsmith.dialects.tool_call import ToolSpec

CALL_ID = re.compile(r"[a-zA-Z0-9]{9}")
"""What an id of a call must be for Mistral's models, and is (`dialects.call_id`)."""


class DamagedCall(ValueError):
    """The text is no call. Its message is for the model to read."""


class CallText:
    """A text and the place in it that is read next. All methods raise DamagedCall."""

    def __init__(self, text: str, position: int) -> None:
        self.text = text
        self.position = position

    def at_end(self) -> bool:
        return self.position == len(self.text)

    def skip(self, literal: str) -> bool:
        """Whether `literal` comes next; it is passed then."""
        found = self.text.startswith(literal, self.position)
        self.position += len(literal) * found
        return found

    def expect(self, literal: str) -> None:
        """Passes `literal`."""
        if not self.skip(literal):
            raise self._lacks(literal.strip())

    def until(self, literal: str) -> str:
        """What stands before the next `literal`, which is passed too."""
        end = self.text.find(literal, self.position)
        if end < 0:
            raise DamagedCall(f"{literal} is missing after {self.text[self.position :][:40]!r}")
        start, self.position = self.position, end + len(literal)
        return self.text[start:end]

    def pattern(self, pattern: re.Pattern[str], what: str) -> str:
        """What `pattern` matches here; `what` names it."""
        found = pattern.match(self.text, self.position)
        if found is None:
            raise self._lacks(what)
        self.position = found.end()
        return found.group()

    def _lacks(self, what: str) -> DamagedCall:
        return DamagedCall(f"{what} must follow {self.text[max(0, self.position - 40) : self.position]!r}")

    def tool(self, name: str, tools: Sequence[ToolSpec]) -> ToolSpec:
        """The tool of that name."""
        for spec in tools:
            if spec.name == name:
                return spec
        raise DamagedCall(f"there is no tool {name!r}")

    def arguments(self, spec: ToolSpec) -> dict[str, str]:
        """The object of a call of `spec`: texts as they are, all other values as the JSON that stands there."""
        found: dict[str, str] = {}
        if not self.skip("{}"):
            self.expect("{")
            while True:
                self._argument(spec, found)
                if self.skip("}"):
                    break
                self.expect(", ")
        if missing := [p.name for p in spec.parameters if p.required and p.name not in found]:
            raise DamagedCall(f"{spec.name} lacks {', '.join(missing)}")
        return found

    def _argument(self, spec: ToolSpec, found: dict[str, str]) -> None:
        key = self.string()
        if all(parameter.name != key for parameter in spec.parameters):
            raise DamagedCall(f"{spec.name} has no parameter {key!r}")
        if key in found:
            raise DamagedCall(f"{key!r} is given twice")
        self.expect(": ")
        found[key] = self.string() if spec.parameter(key).is_text else self._json()[1]

    def string(self) -> str:
        """The JSON string that comes next."""
        value, raw = self._json()
        if not isinstance(value, str):
            raise DamagedCall(f"{raw[:40]} must be a string")
        return value

    def _json(self) -> tuple[Any, str]:
        """The JSON value that comes next, and its text."""
        start = self.position
        try:
            value, self.position = _DECODER.raw_decode(self.text, start)
            json.dumps(value, ensure_ascii=False).encode()  # an escape may stand for half a surrogate pair
        except (ValueError, RecursionError) as error:  # numbers and nesting have bounds too
            raise DamagedCall(f"no JSON at {self.text[start : start + 40]!r}: {error}") from error
        return value, self.text[start : self.position]


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
