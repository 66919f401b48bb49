"""The shortest way to end a JSON value: what is written when nothing may be spent any more.

A schema may refer to itself. The shortest value of each is found by going over all of them until none gets shorter, as
for the shortest words of a grammar; what has none then admits no finite value.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tinsmith.dialects.json_keywords import Schema, as_json, same
from tinsmith.dialects.json_numbers import Numbers
from tinsmith.dialects.json_schema import (
    Arrays,
    Finite,
    JsonSchemas,
    Kind,
    Objects,
    Strings,
)

MAX_LEAST = 2_000
"""The most characters, items or members that a schema may ask for."""
MAX_TEXT = 20_000
"""Characters of the shortest value."""
MAX_SCHEMAS = 5_000
"""Schemas within one."""
_FILLER = "x"
_FINITE = 64
"""Values of an item, up to which `uniqueItems` is kept."""


def shortest(schema: Schema, root: Mapping[str, Any]) -> Any:
    """A shortest JSON value valid under `schema`, whose references point into `root`.

    Raises ValueError where there is none, where every one of them is infinite, and for what is no schema.
    """
    found = Shortest(JsonSchemas(root)).value(schema)
    if found is None:
        raise ValueError("no finite value is valid under it")
    return json.loads(found)


class Shortest:
    """The shortest values of the schemas of one tool, as JSON text."""

    def __init__(self, schemas: JsonSchemas) -> None:
        self.schemas = schemas
        self._best: dict[str, str | None] = {}
        self._kinds: dict[str, list[Kind]] = {}
        self._most: dict[str, int] = {}
        self._open: dict[str, Schema] = {}
        self._settling = False

    def value(self, schema: Schema) -> str | None:
        """A shortest value valid under `schema`; None where no finite one is. Raises ValueError for what is no schema
        and for what is too large to be a tool's argument."""
        return self._need(schema)

    def kinds(self, schema: Schema) -> list[Kind]:
        """The kinds of `schema` that have a finite value."""
        key = self.schemas.key(schema)
        if key not in self._kinds:
            self.value(schema)
            self._kinds[key] = [kind for kind in self.schemas.kinds(schema) if self._of_kind(kind) is not None]
        return self._kinds[key]

    def most(self, schema: Schema) -> int:
        """The bytes it takes at most to end a value, once it is chosen how it begins."""
        key = self.schemas.key(schema)
        if key not in self._most:
            texts = [""]
            for kind in self.kinds(schema):
                if isinstance(kind, Finite):
                    texts += map(as_json, kind.values)
                elif isinstance(kind, Numbers):
                    texts += [first + (kind.finish(first) or "") for first in kind.next("")]
                else:
                    texts.append(self._of_kind(kind) or "")
            self._most[key] = max(len(text.encode()) for text in texts)
        return self._most[key]

    def item(self, kind: Arrays, written: Sequence[Any]) -> Schema:
        """What the item after `written` is under."""
        schema = kind.item(len(written))
        if not kind.unique or (values := self._all(schema)) is None:
            return schema
        known = set(map(same, written))
        return {"enum": [value for value in values if same(value) not in known]}

    def items(self, kind: Arrays, written: Sequence[Any], least: int = 0) -> list[str] | None:
        """The shortest items that complete a list that begins with `written`, at least `least`; None where none do."""
        rest: list[str] = []
        values = list(written)
        while len(values) < kind.least or len(rest) < least:
            item = self._need(self.item(kind, values)) if kind.most is None or len(values) < kind.most else None
            if item is None:
                return None
            rest.append(item)
            values.append(json.loads(item))
        return rest if kind.most is None or len(values) <= kind.most else None

    def members(self, kind: Objects, written: Collection[str]) -> dict[str, str] | None:
        """The shortest members that complete an object with the keys `written`; None where none do."""
        rest: dict[str, str] = {}
        wanted = [*kind.required, *(key for each in written for key in kind.needs.get(each, ()))]
        while wanted:
            key = wanted.pop()
            if key in written or key in rest:
                continue
            value = self._need(kind.member(key))
            if value is None:
                return None
            rest[key] = value
            wanted += kind.needs.get(key, ())
        missing = kind.least - len(set(written)) - len(rest)
        if missing > 0:
            added = self._added(kind, {*written, *rest})[:missing]
            if len(added) < missing:
                return None
            rest |= dict(added)
        if kind.most is not None and len({*written, *rest}) > kind.most:
            return None
        return {key: rest[key] for key in sorted(rest, key=[*kind.properties, *rest].index)}

    def _added(self, kind: Objects, known: set[str]) -> list[tuple[str, str]]:
        """Members that may be added to one with the keys `known`, the shortest first."""
        declared = [(key, self._need(kind.member(key))) for key in kind.properties if key not in {*known, *kind.needs}]
        found = [(key, value) for key, value in declared if value is not None]
        found.sort(key=lambda member: len(member[1]))
        other = self._need(kind.others)
        if other is not None:
            names = (f"{_FILLER}{number}" for number in range(kind.least + len(known)))
            found += [(name, other) for name in names if name not in known and name not in kind.properties]
        return found

    def _all(self, schema: Schema) -> list[Any] | None:
        """All values of `schema` where these are few, else None."""
        found: list[Any] = []
        for kind in self.schemas.kinds(schema):
            if isinstance(kind, Numbers):
                numbers = kind.all(_FINITE)
                if numbers is None and kind.low == kind.high and kind.low is not None:
                    numbers = [float(kind.low)]
                if numbers is None:
                    return None
                found += numbers
            elif isinstance(kind, Finite):
                found += kind.values
            else:
                return None
        return found

    def _need(self, schema: Schema) -> str | None:
        """The shortest value; while schemas are being settled, the shortest that is known by now."""
        key = self.schemas.key(schema)
        if key not in self._best:
            if len(self._best) >= MAX_SCHEMAS:
                raise ValueError(f"it has more than {MAX_SCHEMAS} parts")
            self._best[key] = None
            self._open[key] = schema
            if not self._settling:
                self._settle()
        return self._best[key]

    def _settle(self) -> None:
        """Finds the shortest values of all schemas that were asked for and of those that these need."""
        self._settling = changed = True
        while changed:
            changed = False
            known = len(self._open)
            for key, schema in list(self._open.items()):
                texts = [text for kind in self.schemas.kinds(schema) if (text := self._of_kind(kind)) is not None]
                best, before = min(texts, key=len, default=None), self._best[key]
                if best is not None and (before is None or len(best) < len(before)):
                    if len(best) > MAX_TEXT:
                        raise ValueError(f"its shortest value has more than {MAX_TEXT} characters")
                    self._best[key] = best
                    changed = True
            changed = changed or len(self._open) > known
        self._open = {}
        self._settling = False

    def _of_kind(self, kind: Kind) -> str | None:
        match kind:
            case Finite(values):
                return min(map(as_json, values), key=len, default=None)
            case Numbers():
                return kind.shortest()
            case Strings(least, most):
                _bounded(least)
                return as_json(_FILLER * least) if most is None or least <= most else None
            case Arrays():
                _bounded(kind.least)
                rest = self.items(kind, ())
                return None if rest is None else "[" + ", ".join(rest) + "]"
            case Objects():
                _bounded(kind.least)
                members = self.members(kind, ())
                if members is None:
                    return None
                return "{" + ", ".join(f"{as_json(key)}: {value}" for key, value in members.items()) + "}"


def _bounded(least: int) -> None:
    if least > MAX_LEAST:
        raise ValueError(f"it asks for {least} characters, items or members; {MAX_LEAST} are the most")
