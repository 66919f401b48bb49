"""The keywords of JSON Schemas in one spelling, and two schemas that both hold as one.

What is not understood is left out; docs/tool-schemas.md lists it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

Schema = Mapping[str, Any] | bool

_TYPES = ("null", "boolean", "number", "string", "array", "object")
_OF_TYPE = {
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength", "pattern", "format"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    "object": ("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
}
"""What a schema without `type` is taken to mean by its other keywords."""


def as_json(value: Any) -> str:
    """`value` as JSON text, as it is written in calls."""
    return json.dumps(value, ensure_ascii=False)


def same(value: Any) -> str:
    """Text that is equal for values that JSON Schema takes to be equal: 1 and 1.0 are, 1 and true are not."""
    return json.dumps(_plain(value), sort_keys=True)


def any_of(schemas: Iterable[Schema]) -> Schema:
    """What is valid under one of `schemas`."""
    found = _distinct(schemas)
    return found[0] if len(found) == 1 else {"anyOf": found}


def types_of(keywords: Mapping[str, Any]) -> Sequence[str]:
    if "type" in keywords:
        types: Sequence[str] = keywords["type"]
        return [type_ for type_ in types if type_ != "integer" or "number" not in types]
    if "enum" in keywords:
        return _TYPES
    return [type_ for type_, words in _OF_TYPE.items() if any(word in keywords for word in words)] or _TYPES


def own_keywords(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords of `schema` itself that are understood, in one spelling."""
    own = {key: value for key, value in schema.items() if key in _MERGED}
    if isinstance(own.get("type"), str):
        own["type"] = [own["type"]]
    if "const" in schema:
        own["enum"] = [value for value in own.get("enum", [schema["const"]]) if same(value) == same(schema["const"])]
    if isinstance(own.get("items"), list):
        own["prefixItems"] = own["items"]
        own["items"] = schema.get("additionalItems", True)
    for bound in ("minimum", "maximum"):
        exclusive = "exclusive" + bound.capitalize()
        if isinstance(own.get(exclusive), bool) and own.pop(exclusive) and bound in own:  # Draft 4
            own[exclusive] = own.pop(bound)
    if "multipleOf" in own:
        own["multipleOf"] = [own["multipleOf"]]
    if patterns := list(cast("Mapping[str, Schema]", schema.get("patternProperties", {})).values()):
        # Keys of a map: which of them a pattern fits is not enforced, what their values are is.
        others = own.get("additionalProperties")
        own["additionalProperties"] = any_of(patterns + ([others] if isinstance(others, dict) else []))
    names: Mapping[str, Any] = schema.get("propertyNames") or {}
    if isinstance(names.get("enum"), list):
        others = own.get("additionalProperties", True)
        own["properties"] = dict.fromkeys(names["enum"], others) | dict(own.get("properties", {}))
        own["additionalProperties"] = False
    return own


def merged_keywords(a: Mapping[str, Any], b: Mapping[str, Any]) -> Mapping[str, Any]:
    """Keywords that admit what both admit."""
    if not a or not b:
        return a or b
    merged: dict[str, Any] = {}
    for key in dict.fromkeys([*a, *b]):
        if key in a and key in b:
            merged[key] = _MERGED[key](a[key], b[key])
        else:
            merged[key] = a[key] if key in a else b[key]
    names = dict.fromkeys([*a.get("properties", {}), *b.get("properties", {})])
    if names:
        merged["properties"] = {name: _both(_member(a, name), _member(b, name)) for name in names}
    places = max(len(a.get("prefixItems", ())), len(b.get("prefixItems", ())))
    if places:
        merged["prefixItems"] = [_both(_item(a, place), _item(b, place)) for place in range(places)]
    return merged


def _member(keywords: Mapping[str, Any], name: str) -> Schema:
    return keywords.get("properties", {}).get(name, keywords.get("additionalProperties", True))


def _item(keywords: Mapping[str, Any], place: int) -> Schema:
    prefix = keywords.get("prefixItems", ())
    return prefix[place] if place < len(prefix) else keywords.get("items", True)


def _both(a: Schema, b: Schema) -> Schema:
    found = _distinct(each for each in (a, b) if each is not True and each != {})
    if False in found:
        return False
    return {"allOf": found} if len(found) > 1 else found[0] if found else True


def _both_types(a: Sequence[str], b: Sequence[str]) -> list[str]:
    found = [type_ for type_ in a if type_ in b or (type_ == "integer" and "number" in b)]
    return found + [type_ for type_ in b if type_ == "integer" and "number" in a and type_ not in found]


def _both_values(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
    known = set(map(same, b))
    return [value for value in a if same(value) in known]


def _any(a: Any, b: Any) -> Any:
    return a or b


def _joined(a: Sequence[Any], b: Sequence[Any]) -> list[Any]:
    return list(dict.fromkeys([*a, *b]))


def _needs(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _joined(a.get(key, ()), b.get(key, ())) for key in dict.fromkeys([*a, *b])}


_MERGED: Mapping[str, Any] = {
    "type": _both_types,
    "enum": _both_values,
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
    **dict.fromkeys(("multipleOf", "required"), _joined),
    **dict.fromkeys(("uniqueItems", "properties", "prefixItems", "pattern", "format"), _any),
    **dict.fromkeys(("items", "additionalProperties"), _both),
    "dependentRequired": _needs,
}
"""The keywords that are understood, and how two schemas that both hold are one."""


def _distinct(schemas: Iterable[Schema]) -> list[Schema]:
    return list({json.dumps(schema): schema for schema in schemas}.values())


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(each) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in cast("dict[str, Any]", value).items()}
    return value
