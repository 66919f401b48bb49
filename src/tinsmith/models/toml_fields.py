"""Typed fields out of a TOML table: what a data file of this room must and may hold."""

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


class CardError(ValueError):
    """A data file that does not keep to its schema: a fault of the package, found by its tests."""


class Fields:
    """Takes typed fields out of `table`; `done` complains of what nobody took.

    Every method raises CardError with the field's name, `prefix` before it.
    """

    def __init__(self, table: dict[str, Any], prefix: str = "") -> None:
        self._left = dict(table)
        self._prefix = prefix

    def __contains__(self, key: str) -> bool:
        return key in self._left

    def _take(self, key: str, types: type | tuple[type, ...]) -> Any:
        value = self._left.pop(key, None)
        if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
            raise CardError(f"{self._prefix}{key}: missing or of the wrong type")
        return value

    def table(self, key: str) -> "Fields":
        """The table `key`."""
        return Fields(self._take(key, dict), f"{self._prefix}{key}.")

    def tables(self, key: str, read: Callable[["Fields"], T]) -> tuple[T, ...]:
        """What `read` makes of each table of the array `key`, none where it is absent. Complains of unknown fields."""
        rows = self._take(key, list) if key in self._left else []
        found: list[T] = []
        for index, row in enumerate(rows):
            if not isinstance(row, dict):
                raise CardError(f"{self._prefix}{key}[{index}]: no table")
            fields = Fields(row, f"{self._prefix}{key}[{index}].")
            found.append(read(fields))
            fields.done()
        return tuple(found)

    def text(self, key: str, default: str | None = None) -> str:
        """A text that is not empty."""
        if default is not None and key not in self._left:
            return default
        value = self._take(key, str)
        if not value.strip():
            raise CardError(f"{self._prefix}{key}: empty")
        return value

    def optional_text(self, key: str) -> str | None:
        """A text, None where it is absent."""
        return self.text(key) if key in self._left else None

    def texts(self, key: str) -> tuple[str, ...]:
        """An array of texts, empty where it is absent."""
        value = self._take(key, list) if key in self._left else []
        if not all(isinstance(text, str) and text for text in value):
            raise CardError(f"{self._prefix}{key}: no array of texts")
        return tuple(value)

    def choice(self, key: str, options: Sequence[Any], default: Any = None) -> Any:
        """One of `options`."""
        if default is not None and key not in self._left:
            return default
        value = self._take(key, str)
        if value not in options:
            raise CardError(f"{self._prefix}{key}: {value!r} is none of {', '.join(options)}")
        return value

    def matching(self, key: str, pattern: str, default: str | None = None) -> str:
        """A text that is wholly `pattern`."""
        value = self.text(key, default)
        if value != default and not re.fullmatch(pattern, value):
            raise CardError(f"{self._prefix}{key}: {value!r} is not of the form {pattern}")
        return value

    def integer(self, key: str, least: int, default: int | None = None) -> int:
        """A whole number of at least `least`."""
        if default is not None and key not in self._left:
            return default
        value = self._take(key, int)
        if value < least:
            raise CardError(f"{self._prefix}{key}: less than {least}")
        return value

    def number(self, key: str, least: float, most: float) -> float:
        """A number from `least` to `most`."""
        value = float(self._take(key, (int, float)))
        if not least <= value <= most:
            raise CardError(f"{self._prefix}{key}: not between {least} and {most}")
        return value

    def flag(self, key: str) -> bool:
        """True or false; false where it is absent."""
        return self._take(key, bool) if key in self._left else False

    def done(self) -> None:
        """Raises CardError where a field is left that nobody took."""
        if self._left:
            raise CardError(f"unknown field {self._prefix}{min(self._left)}")
