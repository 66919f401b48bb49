"""Grammars: whatever a model with random weights samples under one is what the grammar says, byte by byte."""

import json
import random
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.engines import (
    EmbeddedEngine,
    Grammar,
    JsonString,
    Literal,
    OneOf,
    Sampling,
    Until,
    can_end,
    compile_grammar,
    open_engine,
)
from tinsmith.engines.grammar import MAX_COUNTED, end_of
from tinsmith.models.random_weights import write_random


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    path = write_random(tmp_path_factory.mktemp("model") / "random.gguf", scale=0.1)
    with open_engine(path, context=4096) as engine:
        yield engine


def sample(engine: EmbeddedEngine, grammar: Grammar, seed: int, limit: int = 80) -> tuple[str, str]:
    reserved = engine.vocabulary.reserved
    generation = engine.generate(
        engine.tokenize("def f(x):\n"),
        grammar=grammar,
        banned=reserved.values(),
        sampling=Sampling(temperature=1.5, seed=seed),
        limit=limit,
    )
    assert len(generation.tokens) <= limit
    assert not set(generation.ids) & set(reserved.values())
    return engine.detokenize(generation.ids).decode(), generation.stop


# Anything a path or a test id may hold, NUL and surrogates apart; what GBNF must escape is made likely.
characters = st.one_of(
    st.sampled_from("\\\"'[]^-|()*+?{}<>\n\r\t #:/.é€😀\x7f\x80\u2028\U0010ffff"),
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
)
values = st.lists(st.text(characters, max_size=12), min_size=1, max_size=8, unique=True)


@settings(max_examples=40, deadline=None)
@given(values=values, end=st.sampled_from(["", ">\n", "\n</parameter>\n", '"']), seed=st.integers(0, 2**31))
def test_one_of(engine: EmbeddedEngine, values: list[str], end: str, seed: int) -> None:
    if values == [""] and not end:
        return
    text, stop = sample(engine, OneOf(values, end), seed, limit=200)
    assert stop == "grammar"
    assert text in {value + end for value in values}


@settings(max_examples=20, deadline=None)
@given(text=st.text(characters, min_size=1, max_size=20), seed=st.integers(0, 2**31))
def test_literal(engine: EmbeddedEngine, text: str, seed: int) -> None:
    assert sample(engine, Literal(text), seed) == (text, "grammar")


def test_every_value_can_be_reached(engine: EmbeddedEngine) -> None:
    paths = ["a.py", "a", "a/b.py", "ab.py", "b"]
    assert {sample(engine, OneOf(paths, "\n"), seed)[0] for seed in range(50)} == {path + "\n" for path in paths}


@pytest.mark.parametrize("end", ["a", "\n", "aab", "é<", "^-]"])
def test_free_text_stops_at_its_first_terminator(engine: EmbeddedEngine, end: str) -> None:
    for seed in range(3):
        text, stop = sample(engine, Until(end), seed, limit=100)
        if stop == "grammar":
            assert text.index(end) == len(text) - len(end)
        else:
            assert end not in text
        assert "\0" not in text


def accepts(gbnf: str, text: str) -> bool:
    """Whether the rules of `Until` (a character, then a state) lead from root through `text` to an end."""
    rules = dict(line.split(" ::= ", 1) for line in gbnf.splitlines())
    state = rules["root"]
    for position, character in enumerate(text):
        branches = re.findall(r"\[(.*?)\](?: (s\d+))?(?: \| |$)", rules[state])
        target = next(target for members, target in branches if admits(members, character))
        if not target:
            return position == len(text) - 1
        state = target
    return False


def admits(members: str, character: str) -> bool:
    """Whether a GBNF class of single characters, or of escaped ranges, holds `character`."""
    ranges = re.findall(r"\\U(.{8})-\\U(.{8})", members)
    if ranges:
        return any(int(first, 16) <= ord(character) <= int(last, 16) for first, last in ranges)
    return character in re.sub(r"\\x(..)", lambda escape: chr(int(escape[1], 16)), members)


@given(st.text("ab", min_size=1, max_size=7), st.text("abc", max_size=40))
def test_the_automaton_is_exact(end: str, body: str) -> None:
    """The language of `Until` is: the first occurrence of the terminator is the text's end."""
    text = body + end
    assert accepts(compile_grammar(Until(end)), text) == (text.index(end) == len(body))


def test_a_terminator_of_many_characters_is_found(engine: EmbeddedEngine) -> None:
    """The empty text is the terminator alone, and what only begins like it does not end the text."""
    end = "\n</parameter>\n"
    gbnf = compile_grammar(Until(end))
    assert accepts(gbnf, end)
    assert accepts(gbnf, "x\n</parameter> " + end)
    assert accepts(gbnf, "\n</param\n" + end)
    assert not accepts(gbnf, end + end)
    assert sample(engine, Until(end), 1)[1] == "limit"


def test_json_string(engine: EmbeddedEngine) -> None:
    complete = 0
    for seed in range(8):
        text, stop = sample(engine, JsonString('"}'), seed, limit=120)
        if stop == "grammar":
            complete += 1
            value = json.loads('"' + text.removesuffix("}"))
            value.encode()
            assert "\0" not in value
    assert complete


def test_a_json_string_counts_its_characters(engine: EmbeddedEngine) -> None:
    for seed in range(6):
        text, stop = sample(engine, JsonString('"', 4, 6), seed)
        assert stop == "grammar"
        assert 4 <= len(json.loads('"' + text)) <= 6, "characters, not bytes or tokens"
    assert sample(engine, JsonString('"', most=0), 0) == ('"', "grammar")
    assert sample(engine, JsonString('"', 70), 0, limit=60)[1] == "limit"


def test_where_a_json_string_ends() -> None:
    written = (b'a", "', b'\\"', b'\\""', b'"', b"a\\")
    assert [end_of(JsonString(), text) for text in written] == [2, None, 3, 1, None]
    assert end_of(JsonString('":'), b'a": 1') == 3


def test_where_a_json_string_may_be_cut() -> None:
    for written in ("", "a", "é\\n", "\\\\", "\\u00e9"):
        assert can_end(JsonString(), written)
    for written in ("\\", "a\\u", "\\u00e", "\\\\\\", 'a"'):
        assert not can_end(JsonString(), written)


@pytest.mark.parametrize(
    "grammar",
    [
        OneOf([]),
        Until(""),
        JsonString("x"),
        JsonString('"', 2, 1),
        JsonString('"', MAX_COUNTED + 1),
        Literal("a\0"),
        OneOf(["\ud800"]),
    ],
)
def test_what_cannot_be_written_is_refused(grammar: Grammar) -> None:
    with pytest.raises(ValueError):
        compile_grammar(grammar)


def test_thousands_of_paths_compile_small() -> None:
    draw = random.Random(0)
    paths = {
        "/".join(draw.choice(["src", "tests", "lib", "core", f"m{draw.randrange(500)}.py"]) for _ in range(5))
        for _ in range(3000)
    }
    gbnf = compile_grammar(OneOf(sorted(paths), "\n"))
    assert len(gbnf) < 40 * len(paths)
