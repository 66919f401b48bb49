"""JSON as models write it: read in linear time, with the name of everything that is not JSON.

What is accepted beyond JSON are the damages that were seen: Python's literals, quotes and tuples, backtick strings,
raw newlines in strings, escapes that JSON lacks, a comma too many, and text that ends before the value does. Anything
that would have to be guessed (an unescaped quote, a bracket in the wrong place) is a problem, not a repair.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from tinsmith.dialects.tolerant.parsed import Repair

MAX_DEPTH = 64
_MAX_NUMBER = 64

_SPACE = re.compile(r"[ \t\r\n\u00a0\ufeff]*+")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*+)(?:\.\d++)?(?:[eE][+-]?\d++)?(?![\w.])", re.ASCII)
_WORD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*+")
_BODY = {quote: re.compile(rf"[^{quote}\\]*+(?:\\.[^{quote}\\]*+)*+", re.DOTALL) for quote in ('"', "'", "`")}
_CONTROL = re.compile(r"[\x00-\x1f]")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U000[0-9a-fA-F]{5}|U0010[0-9a-fA-F]{4}|.)", re.DOTALL)
_JSON_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LITERALS = {"true": True, "false": False, "null": None}
_PYTHON_LITERALS = {"True": True, "False": False, "None": None}


@dataclass(frozen=True)
class JsonReading:
    """`value` is what was read from `start` to `end`; where `problem` is set there is none, and `end` is where the
    reading gave up."""

    value: Any
    end: int
    repairs: frozenset[Repair]
    problem: str | None = None


class _Unreadable(Exception):
    pass


def read_json(text: str, start: int = 0) -> JsonReading:
    """The JSON value that begins at `start`, after white space. Never raises."""
    reader = _Reader(text, start)
    try:
        value = reader.value(0)
    except _Unreadable as error:
        return JsonReading(None, reader.position, frozenset(reader.repairs), str(error))
    return JsonReading(value, reader.position, frozenset(reader.repairs))


def skip_space(text: str, position: int) -> int:
    """Where the white space after `position` ends."""
    match = _SPACE.match(text, position)
    return match.end() if match else position


class _Reader:
    def __init__(self, text: str, position: int) -> None:
        self.text = text
        self.position = position
        self.repairs = set[Repair]()

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise self._unreadable(f"JSON is nested deeper than {MAX_DEPTH} levels")
        first = self._next()
        if first == "{":
            return self._object(depth)
        if first in ("[", "("):
            return self._array(depth, "]" if first == "[" else ")")
        if first in _BODY:
            return self._string(first)
        if first == "":
            self.repairs.add(Repair.VALUE_CUT)
            return None
        if word := _WORD.match(self.text, self.position):
            return self._word(word.group(), word.end())
        return self._number(depth)

    def _next(self) -> str:
        """The next character that is not white space; empty at the end of the text."""
        self.position = skip_space(self.text, self.position)
        return self.text[self.position : self.position + 1]

    def _unreadable(self, why: str) -> _Unreadable:
        near = self.text[max(0, self.position - 20) : self.position + 20]
        return _Unreadable(f"{why} (near {near!r})" if near else why)

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self.position += 1
        after_comma = False
        while True:
            first = self._next()
            if first == "}":
                self.position += 1
                if after_comma:
                    self.repairs.add(Repair.SEPARATORS)
                return found
            if first == "":
                self.repairs.add(Repair.VALUE_CUT if after_comma or not found else Repair.CLOSER)
                return found
            key = self._key(first)
            if self._next() == "":
                self.repairs.add(Repair.VALUE_CUT)
                return found
            if self._next() != ":":
                raise self._unreadable(f"a colon must follow the key {key[:40]!r}")
            self.position += 1
            value = self.value(depth + 1)
            if key in found:
                raise self._unreadable(f"the key {key[:40]!r} is given twice")
            found[key] = value
            after_comma = self._comma("}")

    def _key(self, first: str) -> str:
        if first in _BODY:
            return self._string(first)
        word = _WORD.match(self.text, self.position)
        if word is None:
            raise self._unreadable("a key in quotes is missing")
        self.repairs.add(Repair.SEPARATORS)
        self.position = word.end()
        return word.group()

    def _array(self, depth: int, closer: str) -> list[Any]:
        if closer == ")":
            self.repairs.add(Repair.PYTHON_LITERAL)
        found: list[Any] = []
        self.position += 1
        after_comma = False
        while True:
            first = self._next()
            if first == closer:
                self.position += 1
                if after_comma:
                    self.repairs.add(Repair.SEPARATORS)
                return found
            if first == "":
                self.repairs.add(Repair.VALUE_CUT if after_comma or not found else Repair.CLOSER)
                return found
            found.append(self.value(depth + 1))
            after_comma = self._comma(closer)

    def _comma(self, closer: str) -> bool:
        """Whether a comma follows a member; else the container or the text ends."""
        first = self._next()
        if first == ",":
            self.position += 1
            return True
        if first not in ("", closer):
            raise self._unreadable(f"a comma or {closer} is missing; quotes inside a string must be escaped")
        return False

    def _string(self, quote: str) -> str:
        body = _BODY[quote].match(self.text, self.position + 1)
        assert body is not None  # it may be empty
        self.position = body.end()
        found = body.group()
        if not self.text.startswith(quote, self.position):
            self.repairs.add(Repair.VALUE_CUT)
            self.position = len(self.text)
        else:
            self.position += 1
        if quote != '"':
            self.repairs.add(Repair.SEPARATORS)
        return self._unescaped(found, quote)

    def _unescaped(self, body: str, quote: str) -> str:
        if quote != "`" and _CONTROL.search(body):
            self.repairs.add(Repair.RAW_CONTROL)
        if "\\" not in body:
            return body
        if quote == '"':
            try:
                return json.loads(f'"{body}"', strict=False)
            except ValueError:
                self.repairs.add(Repair.BAD_ESCAPE)
        plain = _ESCAPE.sub(lambda match: self._escape(match.group(1), quote), body)
        return _PAIR.sub(lambda pair: pair.group().encode("utf-16", "surrogatepass").decode("utf-16"), plain)

    def _escape(self, escape: str, quote: str) -> str:
        if len(escape) > 1:
            return chr(int(escape[1:], 16))
        if escape in _JSON_ESCAPES:
            return _JSON_ESCAPES[escape]
        if escape in ("'", "`"):
            return escape
        self.repairs.add(Repair.BAD_ESCAPE)
        return "\\" + escape

    def _word(self, word: str, end: int) -> Any:
        if word in _LITERALS:
            self.position = end
            return _LITERALS[word]
        if word in _PYTHON_LITERALS:
            self.repairs.add(Repair.PYTHON_LITERAL)
            self.position = end
            return _PYTHON_LITERALS[word]
        if end == len(self.text) and any(known.startswith(word) for known in (*_LITERALS, *_PYTHON_LITERALS)):
            self.repairs.add(Repair.VALUE_CUT)
            self.position = end
            return None
        raise self._unreadable(f"{word[:40]!r} is no JSON value; text needs double quotes")

    def _number(self, depth: int) -> int | float:
        match = _NUMBER.match(self.text, self.position)
        if match is None or match.end() - match.start() > _MAX_NUMBER:
            raise self._unreadable("a JSON value is missing")
        number = json.loads(match.group())
        if number in (float("inf"), float("-inf")):
            raise self._unreadable("a number is too large")
        self.position = match.end()
        if depth and self.position == len(self.text):
            self.repairs.add(Repair.VALUE_CUT)
        return number
