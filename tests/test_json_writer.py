"""JSON in stages: whatever a model without knowledge writes is valid under the schema, ends, and is read as written."""

import json
import random
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from proofs.call_identity import FAMILIES, check, foreign_tools
from proofs.foreign_schemas import DECLARATIONS
from proofs.generated_schemas import generated_tool
from proofs.hostile_text import encoder, prove
from tests.fake_log import FakeLog
from tests.grammar_sampler import FakeStages, sample_call

from tinsmith.agent import CallWriter, Transcript, WindowFull, write_json
from tinsmith.dialects import (
    Encoder,
    FreeText,
    JsonValue,
    Numbers,
    OneOfValues,
    QwenXml,
    Text,
    dialect_named,
    shortest,
    tool_from_json,
)
from tinsmith.engines import EmbeddedEngine, Sampling, open_engine
from tinsmith.errors import InputError
from tinsmith.models.random_weights import write_random
from tinsmith.tools import ForeignTools

DIALECTS = [(name, family) for family, names in FAMILIES.items() for name in names]
END = [Text("\n")]

MEMBERS = {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/maybe"}}
NODE = {"type": "object", "properties": MEMBERS, "required": ["v", "next"]}
LIST = {"$defs": {"node": NODE, "maybe": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}


def written(schema: Any, root: Mapping[str, Any], seed: int, limit: int = 200, window: int = 100_000) -> Any:
    """A value that was drawn, after what `write_json` returned was compared with what it wrote."""
    stages = FakeStages(random.Random(seed), window)
    text = write_json(stages, schema, root, limit, END, start="= ")
    assert stages.text == "= " + text
    assert stages.left >= 0, "more was written than the window holds"
    return json.loads(text)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (True, 0),
        ({"type": ["string", "null"]}, ""),
        ({"type": "string", "minLength": 3}, "xxx"),
        ({"type": "integer", "minimum": 5}, 5),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, 1),
        ({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1e-7}, 1e-8),
        ({"type": "integer", "multipleOf": 7, "minimum": 8, "maximum": 20}, 14),
        ({"enum": ["long", 5.5]}, 5.5),
        ({"const": {"a": [None, "é"]}}, {"a": [None, "é"]}),
        ({"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "uniqueItems": True}, ["a", "b"]),
        ({"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "null"}], "minItems": 2}, [True, None]),
        ({"items": [{"type": "null"}, True], "minItems": 1}, [None]),
        ({"type": "object", "minProperties": 2}, {"x0": 0, "x1": 0}),
        ({"properties": {"a": {"type": "null"}, "b": True}, "required": ["a"]}, {"a": None}),
        ({"type": "object", "propertyNames": {"enum": ["k", "l"]}, "minProperties": 1}, {"k": 0}),
        ({"properties": {"a": True}, "required": ["a"], "dependentRequired": {"a": ["b"]}}, {"a": 0, "b": 0}),
        ({"$ref": "#/$defs/node"}, {"v": 0, "next": None}),
        ({"allOf": [{"minimum": 3}, {"type": "integer", "maximum": 9}, {"not": {"const": 3}}]}, 3),
        ({"oneOf": [{"type": "string", "minLength": 4}, {"type": "array"}]}, []),
    ],
)
def test_the_shortest_value(schema: Any, value: Any) -> None:
    assert shortest(schema, LIST) == value
    assert written(schema, LIST, 0, limit=0) == value, "without a budget the shortest is written"


@pytest.mark.parametrize(
    "schema",
    [
        False,
        {"enum": []},
        {"type": "integer", "minimum": 5, "maximum": 4},
        {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "number", "multipleOf": 0.5, "exclusiveMinimum": 0, "exclusiveMaximum": 0.5},
        {"type": "string", "minLength": 2, "maxLength": 1},
        {"allOf": [{"type": "string"}, {"type": "null"}]},
        {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 3},
        {"type": "array", "prefixItems": [True], "items": False, "minItems": 2},
        {"type": "object", "additionalProperties": False, "required": ["a"]},
        {"type": "object", "properties": {"a": {"$ref": "#/a"}}, "required": ["a"]},
        {"type": "object", "minProperties": 3, "maxProperties": 2},
        {"$ref": "#/b"},
        {"$ref": "#/nowhere"},
        {"$ref": "https://example.org/schema"},
        {"type": "string", "minLength": 10**9},
        {"type": "any"},
    ],
)
def test_schemas_that_admit_nothing_finite(schema: Any) -> None:
    root = {"a": {"type": "object", "properties": {"a": {"$ref": "#/a"}}, "required": ["a"]}, "b": {"$ref": "#/b"}}
    with pytest.raises(ValueError):
        shortest(schema, root)


decimals = st.integers(-5_000, 5_000).map(lambda number: Fraction(number, 100)) | st.none()


@settings(max_examples=60, deadline=None)
@given(st.booleans(), decimals, decimals, *[st.booleans()] * 2, st.sampled_from(["", "0.25", "3", "0.1"]), st.data())
def test_numbers_digit_by_digit(
    whole: bool,
    low: Fraction | None,
    high: Fraction | None,
    over: bool,
    under: bool,
    step: str,
    data: st.DataObject,
) -> None:
    """Whatever digits are taken, the number can be ended, and what is written is in the range."""
    numbers = Numbers(whole, low, high, over, under, Fraction(step) if step else None)
    text = ""
    while following := numbers.next(text):
        rest = numbers.finish(text)
        assert rest is not None
        assert numbers.ends(text + rest)
        assert numbers.admits(json.loads(text + rest))
        ends = [""] if numbers.ends(text) else []
        character = data.draw(st.sampled_from([*ends, *following]))
        if not character:
            break
        text += character
    if text:
        value = json.loads(text)
        assert numbers.admits(value)
        assert low is None or value > float(low) or (value == float(low) and not over)
        assert high is None or value < float(high) or (value == float(high) and not under)
    else:
        hundredths = range(int(low * 100), int(high * 100) + 1) if low is not None and high is not None else range(0)
        assert low is not None
        assert high is not None
        assert not any(numbers.admits(number / 100) for number in hundredths)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 64))
def test_a_value_is_valid_and_ends(seed: int, limit: int) -> None:
    draw = random.Random(seed)
    spec = generated_tool(draw)
    validator = jsonschema.Draft202012Validator(dict(spec.schema or {}))
    for parameter in spec.parameters:
        value = written(parameter.as_schema(), spec.schema or {}, seed, limit)
        errors = list(validator.evolve(schema=parameter.as_schema()).iter_errors(value))
        assert not errors, (parameter.schema, value, errors[0].message)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**40), st.integers(1, 400))
def test_a_value_fits_the_window_or_is_not_begun(seed: int, window: int) -> None:
    spec = generated_tool(random.Random(seed))
    for parameter in spec.parameters:
        stages = FakeStages(random.Random(seed), window)
        try:
            text = write_json(stages, parameter.as_schema(), spec.schema or {}, 200, END)
        except WindowFull:
            assert stages.text == ""
            least = json.dumps(shortest(parameter.as_schema(), spec.schema or {}), ensure_ascii=False)
            assert len(least.encode()) > window
        else:
            json.loads(text)
            assert stages.left >= 0


def reached(schema: Any, tries: int = 250, limit: int = 200) -> set[str]:
    return {json.dumps(written(schema, LIST, seed, limit), sort_keys=True) for seed in range(tries)}


def test_every_alternative_can_be_reached() -> None:
    scalars = {"anyOf": [{"const": "a"}, {"type": ["boolean", "null"]}, {"enum": [1, 10, 100, 2.5]}]}
    assert reached(scalars) == {'"a"', "true", "false", "null", "1", "10", "100", "2.5"}
    flags = {"type": "array", "items": {"type": "boolean"}, "maxItems": 2}
    pairs = {f"[{a}, {b}]" for a in ("true", "false") for b in ("true", "false")}
    assert reached(flags) == {"[]", "[true]", "[false]"} | pairs
    unique = {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True}
    assert reached(unique) == {"[]", "[1]", "[2]", "[1, 2]", "[2, 1]"}


def test_alternatives_are_told_apart_by_what_is_written() -> None:
    def shape(kind: str, number: int, *required: str) -> dict[str, Any]:
        members = {"kind": {"const": kind}, "n": {"const": number}}
        return {"properties": members, "required": ["kind", *required], "additionalProperties": False}

    shapes = {"anyOf": [shape("a", 1, "n"), shape("b", 2)]}
    assert reached(shapes) == {'{"kind": "a", "n": 1}', '{"kind": "b", "n": 2}', '{"kind": "b"}'}
    either = {"properties": {"a": {"const": 1}, "b": {"const": 2}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    assert reached(either) == {'{"a": 1}', '{"b": 2}', '{"a": 1, "b": 2}'}
    tuples = {"anyOf": [{"prefixItems": [{"const": 1}], "items": False}, {"items": {"const": 2}, "maxItems": 2}]}
    assert reached(tuples) == {"[]", "[1]", "[2]", "[2, 2]"}


def test_recursion_goes_deep_and_ends() -> None:
    def depth(value: Any) -> int:
        return 0 if value is None else 1 + depth(value["next"])

    depths = {depth(written({"$ref": "#/$defs/node"}, LIST, seed, 500)) for seed in range(300)}
    assert {1, 2, 3, 4} <= depths
    anything = [written(True, {}, seed, 4_000) for seed in range(300)]
    assert {type(value).__name__ for value in anything} == {"NoneType", "bool", "int", "float", "str", "list", "dict"}


def test_keys_that_are_not_declared() -> None:
    values = [written({"type": "object", "additionalProperties": {"type": "boolean"}}, {}, seed) for seed in range(200)]
    assert max(map(len, values)) > 2
    assert len({key for value in values for key in value}) > 50
    assert all(written({"type": "object", "properties": {"a": True}}, {}, seed).keys() <= {"a"} for seed in range(50))


def test_a_window_that_is_too_small_is_told_before_anything_is_written() -> None:
    stages = FakeStages(random.Random(0), window=9)
    with pytest.raises(WindowFull):
        write_json(stages, {"type": "string", "minLength": 8}, {}, 50, END)
    assert stages.text == ""


def test_a_tool_from_its_declaration() -> None:
    defs = {"$defs": {"level": {"enum": ["low", "high"]}}}
    properties = {
        "path": {"type": "string", "description": "where"},
        "level": {"$ref": "#/$defs/level"},
        "name": {"type": "string", "maxLength": 5},
        "lines": {"type": "array", "items": {"type": "integer"}},
        "either": {"type": ["string", "null"]},
        "never": False,
    }
    schema = {"type": "object", "properties": properties, "required": ["path"], **defs}
    function = {"name": "read", "description": "Reads.", "parameters": schema}
    spec = tool_from_json({"type": "function", "function": function})
    assert tool_from_json(function) == spec
    assert spec.as_json() == {"type": "function", "function": function}
    assert [(p.name, p.type, p.required) for p in spec.parameters] == [
        ("path", "string", True),
        ("level", "string", False),
        ("name", "", False),
        ("lines", "array", False),
        ("either", "", False),
    ]
    assert spec.parameter("path").description == "where"
    tools = ForeignTools([spec], free_tokens=7)
    assert tools.available() == ["read"]
    first = tools.choices("read", {})
    assert first.options == {
        "path": FreeText(7),
        "level": OneOfValues(("low", "high")),
        **dict.fromkeys(("name", "lines", "either"), JsonValue(7)),
    }
    assert not first.may_close
    then = tools.choices("read", {"path": "a", "lines": "[]"})
    assert (list(then.options), then.may_close) == (["level", "name", "either"], True)


@pytest.mark.parametrize(
    "function",
    [
        {},
        {"name": "two words"},
        {"name": "a>b"},
        {"name": "f", "parameters": []},
        {"name": "f", "parameters": {"type": "string"}},
        {"name": "f", "parameters": {"anyOf": [{"type": "object"}, {"properties": {"a": True}}]}},
        {"name": "f", "parameters": {"type": "object", "properties": {"a<b": True}}},
        {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "file"}}}},
        {"name": "f", "parameters": {"type": "object", "properties": {"a": {"$ref": "#/b"}}, "required": ["a"]}},
        {"name": "f", "parameters": {"type": "object", "properties": {"a": {"enum": ["\ud800"]}}}},
        {"name": "f", "parameters": {"type": "object", "properties": {"a": {"anyOf": 3}}}},
        {"name": "f", "parameters": {"type": "object", "properties": {"a": {"minimum": "many"}}}},
    ],
)
def test_a_bad_declaration_has_a_remedy(function: dict[str, Any]) -> None:
    with pytest.raises(InputError) as raised:
        tool_from_json({"type": "function", "function": function})
    assert raised.value.code == "bad_tool"
    assert raised.value.remedy


def test_a_required_parameter_without_a_value_is_told() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 2, "maximum": 1}}, "required": ["a"]}
    with pytest.raises(InputError, match="asks for a") as raised:
        tool_from_json({"name": "f", "parameters": schema})
    assert raised.value.code == "schema_unsatisfiable"


def test_the_fifty_foreign_tools() -> None:
    assert len(DECLARATIONS) == len({spec.name for spec in foreign_tools()}) == 50
    for declaration, spec in zip(DECLARATIONS, foreign_tools(), strict=True):
        schema = declaration["function"]["parameters"]
        jsonschema.Draft202012Validator.check_schema(schema)
        jsonschema.validate(shortest(schema, schema), schema)
        assert len(spec.parameters) == len(schema["properties"])


@pytest.mark.parametrize("name", [name for name, _ in DIALECTS])
def test_what_is_written_is_what_is_read(name: str) -> None:
    """A part of `make prove-identity`: text to call, arguments to schema, conversation to call."""
    found = check(name, 7, 300)
    assert found.calls >= 300
    assert found.values.keys() == {"dict", "list", "str", "int", "float", "bool", "NoneType"}
    assert found.wrong == []


@pytest.mark.parametrize(("name", "family"), DIALECTS)
def test_hostile_text_gives_no_reserved_id(name: str, family: str) -> None:
    """A part of `make prove-hostile`."""
    encode, careless = encoder(family)
    trap = next(iter(encode.reserved_ids))
    assert careless.encode(careless.decode([trap]), allowed_special="all") == [trap], "the tokenizer is to be fooled"
    assert prove(name, family, 400, seed=3) == (400, [])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    path: Path = write_random(tmp_path_factory.mktemp("model") / "random.gguf", scale=0.15)
    with open_engine(path, context=4096) as engine:
        yield engine


def test_a_model_without_knowledge_calls_foreign_tools(engine: EmbeddedEngine) -> None:
    """Through the real engine: the ids are read back as the call that was made, and its arguments are valid."""
    encode, dialect = Encoder(engine.tokenize, engine.vocabulary.reserved), QwenXml()
    for seed, spec in enumerate(foreign_tools()[4::9]):
        tools = ForeignTools([spec], free_tokens=16)
        writer = CallWriter(engine, dialect, encode, tools, sampling=Sampling(1.5, seed=seed), preamble_tokens=0)
        transcript = Transcript(encode, FakeLog())
        transcript.write(dialect.user("Go on."), "user")
        start = len(transcript)
        call = writer.write(transcript).call
        text = engine.detokenize(transcript.ids[start:]).decode()
        assert dialect.parse(text.removeprefix("<|im_start|>assistant\n"), [spec]) == call
        jsonschema.validate(call.values(spec), dict(spec.schema or {}))


def test_sampling_a_named_tool() -> None:
    sampled = sample_call(random.Random(1), dialect_named("mistral-v13"), ForeignTools(foreign_tools(), 20), "ping")
    assert sampled.text == "[TOOL_CALLS]ping[ARGS]{}</s>"
