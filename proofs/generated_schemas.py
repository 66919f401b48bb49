"""Tools with generated JSON Schemas: everything that is enforced, in every combination that turns up.

What is not enforced, or what a validator with floats decides otherwise, is left out: multiples of 0.1, lists without
repetition of things that are not counted, `oneOf` of alternatives that overlap.
"""

import random
from collections.abc import Mapping
from typing import Any

from tinsmith.dialects import ToolSpec, tool_from_json
from tinsmith.errors import InputError

Schema = dict[str, Any]

NAMES = (
    "path",
    "query",
    "größe",
    "件数",
    "a",
    "ab",
    "a-b",
    "x.y",
    "with space",
    "𝛼",
    "é",
    "e\u0301",
    "id",
    "type",
    "n_1",
)
"""Of parameters."""
KEYS = (
    *NAMES,
    "",
    " ",
    'quo"te',
    "back\\slash",
    "line\nbreak",
    "tab\t",
    "</parameter>",
    "[ARGS]",
    "<|im_end|>",
    "\u2028",
    "😀",
)
"""Of members of objects."""
TEXTS = (
    *KEYS,
    "a\n</parameter>\nb",
    '"',
    '", "',
    "\\u0041",
    "null",
    "1",
    "aba",
    "</s>",
    "<tool_call>",
    "\x7f",
    "ﬁ",
    "\u202e",
)
_DEFINITIONS = ("one", "two/three", "~four", "%25five")


class _Generator:
    def __init__(self, draw: random.Random) -> None:
        self._draw = draw

    def tool(self) -> Schema:
        """The declaration of a tool, whose required parameters may have no value."""
        draw = self._draw
        names = draw.sample(NAMES, draw.choice((0, 1, 1, 2, 2, 3, 5, 9)))
        properties = {name: self.schema(draw.randint(0, 3)) for name in names}
        parameters: Schema = {"type": "object", "properties": properties}
        parameters["required"] = [name for name in names if draw.random() < 0.5]
        # Those that refer to others are containers: a validator does not end on a schema that is nothing but itself.
        parameters["$defs"] = {
            name: draw.choice((self._array, self._tuple, self._object, self._map))(draw.randint(0, 1))
            for name in _DEFINITIONS[:-1]
        }
        parameters["$defs"][_DEFINITIONS[-1]] = self.schema(0)
        function = {"name": draw.choice(("tool", "検索", "a.b-c_d")), "parameters": parameters}
        return {"type": "function", "function": function | {"description": draw.choice(TEXTS)}}

    def schema(self, depth: int) -> Schema:
        """Any schema, at most `depth` deep but for its references."""
        draw = self._draw
        simple = (self._string, self._string, self._integer, self._number, self._boolean, self._null, self._enum)
        deep = (
            self._array,
            self._tuple,
            self._object,
            self._object,
            self._map,
            self._either,
            self._both,
            self._reference,
        )
        made = draw.choice((*simple, *deep) if depth else simple)(depth - 1)
        if draw.random() < 0.1:
            made["description"] = draw.choice(TEXTS)
        return made

    def _bounds(self, low: str, high: str, most: int) -> Schema:
        draw, bounds = self._draw, Schema()
        least = draw.randint(0, most)
        if draw.random() < 0.4:
            bounds[low] = least
        if draw.random() < 0.4:
            bounds[high] = least + draw.randint(0, most)
        return bounds

    def _string(self, _: int) -> Schema:
        bounds = self._bounds("minLength", "maxLength", 12) if self._draw.random() < 0.5 else {}
        return {"type": "string", **bounds}

    def _integer(self, _: int) -> Schema:
        draw = self._draw
        size = draw.choice((3, 30, 5_000, 10**9, 10**17))
        low = draw.randint(-size, size)
        return {"type": "integer", **self._between(low, low + draw.randint(0, size)), **self._step((2, 5, 7, 64))}

    def _number(self, _: int) -> Schema:
        draw = self._draw
        size = draw.choice((1, 10, 1_000))
        places = draw.choice((0, 1, 2, 3))
        low = round(draw.uniform(-size, size), places)
        high = low + round(draw.uniform(0, size), places) + (draw.random() < 0.7)
        return {"type": "number", **self._between(low, round(high, places)), **self._step((0.5, 0.25, 3))}

    def _between(self, low: float, high: float) -> Schema:
        draw, bounds = self._draw, Schema()
        if draw.random() < 0.6:
            bounds[draw.choice(("minimum", "exclusiveMinimum"))] = low
        if draw.random() < 0.6:
            bounds[draw.choice(("maximum", "exclusiveMaximum"))] = high
        return bounds

    def _step(self, steps: tuple[float, ...]) -> Schema:
        return {"multipleOf": self._draw.choice(steps)} if self._draw.random() < 0.2 else {}

    def _boolean(self, _: int) -> Schema:
        return {"type": "boolean"}

    def _null(self, _: int) -> Schema:
        return {"type": "null"}

    def _enum(self, _: int) -> Schema:
        draw = self._draw
        if draw.random() < 0.3:
            return {"const": self._value(1)}
        if draw.random() < 0.5:
            return {"type": "string", "enum": draw.sample(TEXTS, draw.randint(1, 5))}
        return {"enum": [self._value(1) for _ in range(draw.randint(1, 5))]}

    def _value(self, depth: int) -> Any:
        draw = self._draw
        values = [None, True, False, 0, 1, 10, 100, -7, 0.5, -2.25, 1e21, *draw.sample(TEXTS, 3)]
        if depth:
            values += [[], {}, [self._value(0)], {draw.choice(KEYS): self._value(0)}]
        return draw.choice(values)

    def _array(self, depth: int) -> Schema:
        made = {"type": "array", **self._bounds("minItems", "maxItems", 3)}
        if self._draw.random() < 0.9:
            made["items"] = self.schema(depth)
        if self._draw.random() < 0.2:
            made |= {"items": {"enum": self._draw.sample(TEXTS, 4)}, "uniqueItems": True}
        return made

    def _tuple(self, depth: int) -> Schema:
        draw = self._draw
        prefix = [self.schema(depth) for _ in range(draw.randint(1, 3))]
        made = {"type": "array", "prefixItems": prefix, **self._bounds("minItems", "maxItems", 3)}
        return made | draw.choice(({}, {"items": False}, {"items": self.schema(depth)}))

    def _object(self, depth: int) -> Schema:
        draw = self._draw
        names = draw.sample(KEYS, draw.randint(0, 4))
        made: Schema = {"type": "object", "properties": {name: self.schema(depth) for name in names}}
        made["required"] = [name for name in names if draw.random() < 0.4]
        if draw.random() < 0.5:
            made["additionalProperties"] = draw.choice((False, True, self.schema(0)))
        if draw.random() < 0.2:
            made |= self._bounds("minProperties", "maxProperties", 3)
        if len(names) > 1 and draw.random() < 0.1:
            made["dependentRequired"] = {names[0]: [names[1]]}
        return made

    def _map(self, depth: int) -> Schema:
        made = {"type": "object", **self._bounds("minProperties", "maxProperties", 2)}
        if self._draw.random() < 0.8:
            made["additionalProperties"] = self.schema(depth)
        if self._draw.random() < 0.2:
            made["propertyNames"] = {"enum": self._draw.sample(KEYS, 4)}
        return made

    def _either(self, depth: int) -> Schema:
        draw = self._draw
        if draw.random() < 0.3:
            types = draw.sample(
                ("string", "integer", "number", "boolean", "null", "array", "object"), draw.randint(1, 3)
            )
            return {"type": types}
        if draw.random() < 0.3:
            return {
                "oneOf": [
                    self._string(0),
                    self._integer(0),
                    {"type": "null"},
                    {"type": "array", "items": self.schema(depth)},
                ]
            }
        if draw.random() < 0.5:
            kinds = draw.sample(TEXTS, 3)
            return {"anyOf": [self._tagged(kind, depth) for kind in kinds]}
        return {"anyOf": [self.schema(depth) for _ in range(draw.randint(1, 3))]}

    def _tagged(self, kind: str, depth: int) -> Schema:
        made = self._object(depth)
        made["properties"] = {"kind": {"const": kind}, **made["properties"]}
        return made | {"required": ["kind", *made["required"]]}

    def _both(self, depth: int) -> Schema:
        draw = self._draw
        if draw.random() < 0.5:
            name = draw.choice(KEYS)
            return {**self._object(depth), "anyOf": [{"required": [name]}, {"minProperties": 1}]}
        one = draw.choice((self._string, self._integer, self._number, self._array, self._object))
        return {"allOf": [one(depth), one(depth)]}

    def _reference(self, depth: int) -> Schema:
        name = self._draw.choice(_DEFINITIONS).replace("~", "~0").replace("/", "~1").replace("%", "%25")
        made: Schema = {"$ref": f"#/$defs/{name}"}
        return made if self._draw.random() < 0.5 else {"anyOf": [made, self.schema(min(depth, 0))]}


def generated_declaration(draw: random.Random) -> Mapping[str, Any]:
    """A tool's declaration, whose schemas may admit nothing."""
    return _Generator(draw).tool()


def generated_tool(draw: random.Random) -> ToolSpec:
    """A tool that can be called."""
    while True:
        try:
            return tool_from_json(generated_declaration(draw))
        except InputError as error:
            if error.code != "schema_unsatisfiable":
                raise
