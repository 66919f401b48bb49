"""Conversations for property tests: several exchanges, steps with several calls, foreign tools with whole schemas."""

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from tinsmith.dialects import Answered, Call, Conversation, Exchange, Parameter, Step, ToolSpec

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
FRAGMENTS = (
    "\n",
    "\n\n",
    " ",
    "    return x",
    "é€😀",
    '"',
    "\\",
    "</parameter>",
    "<function=f>",
    "{",
    "a: b",
    "\u2028",
    "'",
)
texts = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(characters, max_size=5)), max_size=6).map("".join)

_POINT = {"type": "object", "properties": {"x": {"type": "number"}, "label": {"type": "string"}}, "required": ["x"]}
_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "$defs": {"point": _POINT},
    "properties": {
        "text": {"type": "string", "description": " a text \n", "minLength": 1, "default": "é"},
        "mode": {"type": "string", "enum": ["fast", "slow"], "description": ""},
        "count": {"type": "integer", "minimum": 0, "maximum": 10, "exclusiveMaximum": 9.5},
        "points": {"type": "array", "items": {"$ref": "#/$defs/point"}, "uniqueItems": True, "minItems": 1},
        "either": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None, "title": "Either"},
        "many": {"type": ["object", "null"], "additionalProperties": {"type": "integer"}},
        "any": True,
    },
    "required": ["text", "points"],
    "additionalProperties": False,
}
FOREIGN = ToolSpec(
    "mixed_bag",
    " All that JSON Schema knows, Ünïcode too.\n",
    (
        Parameter("text", "string", " a text \n"),
        Parameter("mode", "string", required=False),
        Parameter("count", "integer", required=False),
        Parameter("points", "array", schema=_SCHEMA["properties"]["points"]),
        Parameter("either", "", required=False, schema=_SCHEMA["properties"]["either"]),
        Parameter("many", "", required=False, schema=_SCHEMA["properties"]["many"]),
        Parameter("any", "", required=False, schema={}),
    ),
    _SCHEMA,
)
BARE = ToolSpec("now", "", (), {"type": "object", "properties": {}})
SPECS = (FOREIGN, BARE)
"""Tools of other programs."""


def json_values(strings: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Any JSON."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | strings
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
        max_leaves=5,
    )


def calls(strings: st.SearchStrategy[str]) -> st.SearchStrategy[Call]:
    """Calls of SPECS and of a tool that nobody declared; keys in any order, and one that nobody declared."""
    anything = json_values(strings)
    values: Mapping[str, st.SearchStrategy[Any]] = {
        "text": strings,
        "mode": st.sampled_from(["fast", "slow"]),
        "count": st.integers(),
        "points": st.lists(st.fixed_dictionaries({"x": st.floats(0, 1), "label": strings}), max_size=2),
        "either": st.none() | strings,
        "many": st.dictionaries(strings, st.integers(), max_size=2) | st.none(),
        "any": anything,
        "undeclared": anything,
    }

    @st.composite
    def made(draw: st.DrawFn) -> Call:
        tool = draw(st.sampled_from([FOREIGN.name, FOREIGN.name, BARE.name, "unknown"]))
        keys = draw(st.lists(st.sampled_from(sorted(values)), unique=True)) if tool != BARE.name else []
        texts_ = ("text", "mode") if tool == FOREIGN.name else ()
        drawn = {key: draw(values[key]) for key in keys}
        return Call(tool, {k: v if k in texts_ else json.dumps(v, ensure_ascii=False) for k, v in drawn.items()})

    return made()


def conversations(
    strings: st.SearchStrategy[str], tools: st.SearchStrategy[tuple[ToolSpec, ...]] | None = None
) -> st.SearchStrategy[Conversation]:
    """Conversations whose every text is one of `strings`."""
    answered = st.builds(Answered, calls(strings), strings)
    step = st.builds(Step, st.lists(answered, min_size=1, max_size=3).map(tuple), strings, strings)
    steps = st.lists(step, max_size=2).map(tuple)
    past = st.lists(st.builds(Exchange, strings, strings, steps), max_size=2).map(tuple)
    declared = st.sampled_from([SPECS, SPECS[:1]]) if tools is None else tools
    return st.builds(Conversation, strings, steps, past, strings, declared)
