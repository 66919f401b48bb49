"""JSON Schemas as unions of simple kinds: what a value may be, a kind for each type, no references or combinators.

`JsonSchemas.kinds` resolves `$ref`, merges `allOf` and multiplies `anyOf`, `oneOf` and lists of types out. Keywords are
those of Draft 2020-12, with the tuples (`items` as a list), `definitions` and boolean exclusive bounds of older drafts.
What is not understood is left out: docs/tool-schemas.md lists it. A value of a kind is valid under the schema, for the
keywords that are enforced. `oneOf` is read as `anyOf`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd, lcm
from typing import Any, cast
from urllib.parse import unquote

from tinsmith.dialects.json_keywords import Schema, merged_keywords, own_keywords, same, types_of
from tinsmith.dialects.json_numbers import Numbers

MAX_KINDS = 256
"""Alternatives that one schema may multiply out to."""


@dataclass(frozen=True)
class Finite:
    """One of these values; no numbers."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Strings:
    """Strings of `least` to `most` characters."""

    least: int = 0
    most: int | None = None


@dataclass(frozen=True)
class Arrays:
    """Lists of `least` to `most` values: those of `prefix` in their places, all others under `items`.

    `unique`: no two alike, which is kept where an item has finitely many values.
    """

    prefix: tuple[Schema, ...] = ()
    items: Schema = True
    least: int = 0
    most: int | None = None
    unique: bool = False

    def item(self, place: int) -> Schema:
        """What the value at `place`, from 0, is under."""
        return self.prefix[place] if place < len(self.prefix) else self.items


@dataclass(frozen=True)
class Objects:
    """Mappings of `least` to `most` members; `needs`: the keys that a key asks for (`dependentRequired`).

    `open`: keys that are not declared are offered, with values under `others`.
    """

    properties: Mapping[str, Schema]
    required: tuple[str, ...] = ()
    others: Schema = True
    open: bool = True
    least: int = 0
    most: int | None = None
    needs: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])

    def member(self, key: str) -> Schema:
        """What the value of `key` is under."""
        return self.properties.get(key, self.others)


Kind = Finite | Numbers | Strings | Arrays | Objects


class JsonSchemas:
    """Schemas whose references point into `root`. Raises ValueError for what is no schema, all methods."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._kinds: dict[str, tuple[Kind, ...]] = {}
        self._keys: dict[int, tuple[Schema, str]] = {}

    def kinds(self, schema: Schema) -> tuple[Kind, ...]:
        """The kinds of value that `schema` admits. That there are some does not say that any value is finite."""
        key = self.key(schema)
        if key not in self._kinds:
            alternatives = self._alternatives(schema, frozenset())
            found = [kind for each in alternatives for kind in self._of_types(each)]
            self._kinds[key] = tuple(found)
        return self._kinds[key]

    def key(self, schema: Schema) -> str:
        """Text that is the same for schemas that say the same in the same words."""
        known = self._keys.get(id(schema))
        if known is None:  # it is kept, so that no other object gets its id
            known = self._keys[id(schema)] = (schema, json.dumps(schema))
        return known[1]

    def admits(self, schema: Schema, value: Any) -> bool:
        """Whether `value` is valid under `schema`, for the keywords that are enforced."""
        return any(self._admitted(kind, value) for kind in self.kinds(schema))

    def resolve(self, reference: str) -> Schema:
        """What a `$ref` points to. Raises ValueError where that is not in the root."""
        if reference != "#" and not reference.startswith("#/"):
            raise ValueError(f"$ref {reference!r} is no path within the schema")
        place: Any = self._root
        for step in unquote(reference).split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            if isinstance(place, Mapping):
                place = cast("Mapping[str, Any]", place).get(step)
            elif isinstance(place, list) and step.isdecimal():
                place = dict(enumerate(cast("list[Any]", place))).get(int(step))
            else:
                place = None
        return _schema(place, f"$ref {reference!r}")

    def _alternatives(self, schema: Schema, seen: frozenset[str]) -> list[Mapping[str, Any]]:
        """The alternatives of `schema` as keywords without combinators. A reference to itself adds none."""
        if isinstance(schema, bool):
            return [{}] if schema else []
        found: list[Mapping[str, Any]] = [own_keywords(schema)]
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference in seen:
                return []
            found = _product(found, self._alternatives(self.resolve(reference), seen | {reference}))
        for each in _list(schema, "allOf"):
            found = _product(found, self._alternatives(each, seen))
        for combinator in ("anyOf", "oneOf"):
            if combinator in schema:
                either = [one for each in _list(schema, combinator) for one in self._alternatives(each, seen)]
                found = _product(found, either)
        return found

    def _of_types(self, keywords: Mapping[str, Any]) -> list[Kind]:
        kinds = [_kind(type_, keywords) for type_ in types_of(keywords)]
        if "enum" not in keywords:
            return kinds
        values = [value for value in keywords["enum"] if any(self._admitted(kind, value) for kind in kinds)]
        numbers = [value for value in values if _is_number(value)]
        others = tuple(value for value in values if not _is_number(value))
        exact = [Fraction(str(number)) for number in numbers]
        single = [Numbers(number.denominator == 1, number, number) for number in exact]
        return [*single, Finite(others)] if others else [*single]

    def _admitted(self, kind: Kind, value: Any) -> bool:
        match kind:
            case Finite(values):
                return any(same(value) == same(each) for each in values)
            case Numbers():
                return _is_number(value) and kind.admits(value)
            case Strings(least, most):
                return isinstance(value, str) and least <= len(value) and (most is None or len(value) <= most)
            case Arrays():
                return isinstance(value, list) and self._is_array(kind, cast("list[Any]", value))
            case Objects():
                return isinstance(value, dict) and self._is_object(kind, cast("dict[str, Any]", value))

    def _is_array(self, kind: Arrays, value: list[Any]) -> bool:
        if len(value) < kind.least or (kind.most is not None and len(value) > kind.most):
            return False
        if kind.unique and len(set(map(same, value))) < len(value):
            return False
        return all(self.admits(kind.item(place), item) for place, item in enumerate(value))

    def _is_object(self, kind: Objects, value: dict[str, Any]) -> bool:
        if len(value) < kind.least or (kind.most is not None and len(value) > kind.most):
            return False
        needed = [*kind.required, *(other for key in value for other in kind.needs.get(key, ()))]
        if any(key not in value for key in needed):
            return False
        return all(self.admits(kind.member(key), member) for key, member in value.items())


def _kind(type_: str, keywords: Mapping[str, Any]) -> Kind:
    """What `keywords` admit of that type. Raises ValueError for a type that there is not."""
    get = keywords.get
    match type_:
        case "null":
            return Finite((None,))
        case "boolean":
            return Finite((False, True))
        case "integer" | "number":
            return _numbers(type_ == "integer", keywords)
        case "string":
            return Strings(int(get("minLength", 0)), _whole(get("maxLength")))
        case "array":
            prefix, items, most = tuple(get("prefixItems", ())), get("items", True), _whole(get("maxItems"))
            if items is False:
                most = len(prefix) if most is None else min(most, len(prefix))
            return Arrays(prefix, items, int(get("minItems", 0)), most, bool(get("uniqueItems")))
        case "object":
            properties, others = get("properties", {}), get("additionalProperties", True)
            return Objects(
                properties,
                tuple(get("required", ())),
                others,
                others is not False and (not properties or isinstance(others, Mapping)),
                int(get("minProperties", 0)),
                _whole(get("maxProperties")),
                get("dependentRequired", {}),
            )
        case _:
            raise ValueError(f"there is no type {type_!r}")


def _numbers(integer: bool, keywords: Mapping[str, Any]) -> Numbers:
    bounds = {
        key: Fraction(str(keywords[key]))
        for key in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
        if key in keywords
    }
    low, over = max(
        ((bound, key != "minimum") for key, bound in bounds.items() if "inimum" in key), default=(None, False)
    )
    high, to = min(
        ((bound, key == "maximum") for key, bound in bounds.items() if "aximum" in key), default=(None, True)
    )
    step = None
    for each in (Fraction(str(each)) for each in keywords.get("multipleOf", ())):
        if each <= 0:
            raise ValueError("multipleOf is greater than 0")
        if step is not None:
            each = Fraction(lcm(step.numerator, each.numerator), gcd(step.denominator, each.denominator))
        step = each
    return Numbers(integer, low, high, over, not to, step)


def _schema(value: Any, name: str) -> Schema:
    if isinstance(value, bool | Mapping):
        return cast("Schema", value)
    raise ValueError(f"{name} is no schema")


def _list(schema: Mapping[str, Any], keyword: str) -> Sequence[Schema]:
    value = schema.get(keyword, [])
    if not isinstance(value, list):
        raise ValueError(f"{keyword} is a list of schemas")
    return [_schema(each, keyword) for each in cast("list[Any]", value)]


def _whole(bound: Any) -> int | None:
    return None if bound is None else int(bound)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _product(left: Sequence[Mapping[str, Any]], right: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if len(left) * len(right) > MAX_KINDS:
        raise ValueError(f"more than {MAX_KINDS} alternatives")
    return [merged_keywords(a, b) for a in left for b in right]
