"""Qwen-XML: what is written, what is read back, and what text can never become."""

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinsmith.dialects import (
    Call,
    Control,
    Encoder,
    Malformed,
    Piece,
    QwenXml,
    Spans,
    Text,
    arguments_pieces,
    call_pieces,
    dialect_named,
    value_rest,
)
from tinsmith.engines import EmbeddedEngine, Sampling, Until, open_engine
from tinsmith.errors import InputError
from tinsmith.models.random_weights import write_random
from tinsmith.tools import EDIT, FINISH, SEARCH, TOOLS

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

QWEN = QwenXml()
END = "\n</parameter>\n"

# Text as it comes out of an engine: no NUL, no surrogates; fragments of the syntax are frequent.
FRAGMENTS = (
    *("\n", "</parameter>", "\n</parameter>\n", "</function>", "<parameter=new>\n", "<tool_call>", "é€😀"),
    *("<function=edit>\n", "</tool_call>", "<|im_end|>", "    return x", "\r", "\t", "<", ">", "\u2028", " "),
)
characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(characters, max_size=5)), max_size=8).map("".join)
values = texts.filter(lambda value: (value + END).index(END) == len(value))


@st.composite
def calls(draw: st.DrawFn) -> Call:
    spec = draw(st.sampled_from(TOOLS))
    given_ = [p for p in spec.parameters if p.required or draw(st.booleans())]
    return Call(spec.name, {p.name: draw(values) if p.is_text else str(draw(st.integers())) for p in given_})


def plain(spans: Spans) -> str:
    return "".join(span.text for span in spans)


def written(call: Call) -> str:
    spec = next(spec for spec in TOOLS if spec.name == call.tool)
    return plain([piece.span for piece in call_pieces(QWEN, spec, call)])


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    path: Path = write_random(tmp_path_factory.mktemp("model") / "random.gguf", scale=0.15)
    with open_engine(path, context=4096) as engine:
        yield engine


@pytest.fixture(scope="module")
def encoder(engine: EmbeddedEngine) -> Encoder:
    return Encoder(engine.tokenize, engine.vocabulary.reserved)


def test_turns_are_qwens() -> None:
    assert plain(QWEN.system("S", ())) == "<|im_start|>system\nS<|im_end|>\n"
    assert plain(QWEN.user("U")) == "<|im_start|>user\nU<|im_end|>\n"
    assert plain(QWEN.assistant_start()) == "<|im_start|>assistant\n"
    result = "<|im_start|>user\n<tool_response>\nR\n</tool_response><|im_end|>\n"
    assert plain(QWEN.observation("R")) == result
    system = plain(QWEN.system("S", TOOLS))
    assert system.startswith(
        "<|im_start|>system\nS\n\n# Tools\n\nYou have access to the following functions:\n\n<tools>"
    )
    assert (
        "\n<function>\n<name>edit</name>\n<description>" + EDIT.description + "</description>\n<parameters>"
        "\n<parameter>\n<name>path</name>\n<type>string</type>\n</parameter>"
    ) in system
    assert '\n<required>["path", "new"]</required>\n</parameters>\n</function>' in system


def test_what_the_loop_shows_and_where_it_is_cut() -> None:
    """Solder was trained on these ids, and transcripts in logs have them: neither a byte nor a cut may change."""
    spans = [*QWEN.system("S", TOOLS), *QWEN.user("U"), *QWEN.observation("R"), *QWEN.assistant_start()]
    spans += [piece.span for piece in call_pieces(QWEN, EDIT, Call("edit", {"path": "a", "start": "1", "new": "b\nc"}))]
    assert "".join(type(span).__name__[0] for span in spans) == "CTTCTCCTCTCTCTCTCCTCTCTCTTTTTTTTTTTCCT"
    shown = "\0".join(span.text for span in spans)
    assert (
        hashlib.sha256(shown.encode()).hexdigest() == "971f737f75f4bfb77fa9b9bd205c792d13b78e3c52397b35412f41504fa6614c"
    )


def test_call_is_qwens() -> None:
    call = Call("edit", {"path": "a.py", "old": "    if x:\n        return 1\n", "new": ""})
    golden = (
        "<|im_start|>assistant\n<tool_call>\n<function=edit>\n<parameter=path>\na.py\n</parameter>\n"
        "<parameter=old>\n    if x:\n        return 1\n\n</parameter>\n"
        "<parameter=new>\n\n</parameter>\n</function>\n</tool_call><|im_end|>\n"
    )
    assert written(call) == golden
    assert QWEN.parse(golden, TOOLS) == call
    without_opener = golden.replace("<tool_call>\n", "")  # the models' own bug
    assert QWEN.parse(without_opener, TOOLS) == call


def test_controls_are_controls_and_text_is_text() -> None:
    pieces = call_pieces(QWEN, FINISH, Call("finish", {"summary": "<tool_call></tool_call>"}))
    controls = [piece.span.text for piece in pieces if isinstance(piece.span, Control)]
    assert controls == ["<|im_start|>", "<tool_call>", "</tool_call>", "<|im_end|>"]
    assert {piece.kind for piece in pieces if isinstance(piece.span, Control)} == {"syntax"}
    assert [piece.kind for piece in arguments_pieces(QWEN, FINISH, Call("finish", {"summary": "x"}))] == [
        *("key", "value", "syntax", "key")
    ]


@given(calls())
def test_parse_is_the_inverse_of_writing(call: Call) -> None:
    assert QWEN.parse(written(call), TOOLS) == call


@given(calls(), st.sampled_from(["", "I will.\n", "See <function=x> and\n\n", "a < b: ", "<parameter=old>\n"]))
def test_prose_before_a_call_is_not_a_call(call: Call, prose: str) -> None:
    assert QWEN.parse(prose + plain([p.span for p in _turn(call)]), TOOLS) == call


def _turn(call: Call) -> list[Piece]:
    spec = next(spec for spec in TOOLS if spec.name == call.tool)
    return [p for p in call_pieces(QWEN, spec, call) if p.span.text not in ("<|im_start|>", "assistant\n")]


@given(texts)
def test_a_value_is_cut_where_the_grammar_cuts_it(text: str) -> None:
    """`Until` admits exactly what ends at the first terminator; so does the parser."""
    end = (text + END).index(END)
    whole = f"<tool_call>\n<function=run>\n<parameter=command>\n{text[:end]}{END}</function>\n</tool_call>"
    assert QWEN.free_value(SEARCH.parameter("pattern")) == Until(END)
    assert QWEN.parse(whole, TOOLS) == Call("run", {"command": text[:end]})


@given(values)
def test_value_text_and_back(value: str) -> None:
    parameter = EDIT.parameter("old")
    assert QWEN.value_from(parameter, QWEN.value_text(parameter, value)) == value
    assert QWEN.value_from(parameter, value + END) == value


@pytest.mark.parametrize("value", ["a\n</parameter>\nb", "a\n</parameter>", "\n</parameter>\n", "\n</parameter>"])
def test_a_value_that_cannot_be_written_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="what ends it"):
        written(Call("run", {"command": value}))


@given(texts)
def test_parse_never_raises(text: str) -> None:
    found = QWEN.parse(text, TOOLS)
    assert found is None or isinstance(found, Call) or (found.raw == text and found.reason)


@given(calls(), st.data())
def test_parse_of_a_cut_or_broken_call_never_raises(call: Call, data: st.DataObject) -> None:
    text = written(call)
    first, last = sorted((data.draw(st.integers(0, len(text))), data.draw(st.integers(0, len(text)))))
    for broken in (text[:first], text[first:last], text[:first] + text[last:]):
        found = QWEN.parse(broken, TOOLS)
        assert found is None or isinstance(found, Call | Malformed)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("<tool_call>\n", "no <function=NAME>"),
        ("<tool_call>\n<function=edit", "not closed"),
        ("<tool_call>\n<function=write>\n</function>", "no tool 'write'"),
        ("<tool_call>\n<function=run>\n</function>", "lacks command"),
        ("<tool_call>\n<function=run>\n<parameter=command>\nls", "'command' lacks </parameter>"),
        ("<function=run>\n<parameter=command>\nls\n</parameter>\n", "must follow"),
        ("<function=run>\n<parameter=cmd>\nls\n</parameter>\n</function>", "no parameter 'cmd'"),
        (
            "<function=run>\n<parameter=command>\na\n</parameter>\n<parameter=command>\nb\n</parameter>\n</function>",
            "given twice",
        ),
        ("<function=run>\n<parameter=command>ls</parameter>\n</function>", "must follow"),
        ("<function=read>\n<parameter=start>\none\n</parameter>\n</function>", "'start' is no JSON"),
        ("<function=read>\n<parameter=start>\nNaN\n</parameter>\n</function>", "'start' is no JSON"),
    ],
)
def test_malformed_calls_give_reasons(text: str, reason: str) -> None:
    found = QWEN.parse(text, TOOLS)
    assert isinstance(found, Malformed)
    assert reason in found.reason


def test_no_call_is_none() -> None:
    assert QWEN.parse("I am done. </function> x < 3", TOOLS) is None


def test_hostile_text_gives_no_reserved_id(engine: EmbeddedEngine, encoder: Encoder) -> None:
    """Every reserved token's text: alone, side by side, nested, split and doubled at the seams."""
    names = list(engine.vocabulary.reserved)
    assert len(names) == 7
    hostile = [*names, "".join(names)]
    hostile += [a + b for a, b in itertools.permutations(names, 2)]
    hostile += [a[:cut] + b + a[cut:] for a in names for b in names for cut in (1, len(a) // 2, len(a) - 1)]
    hostile += [a[:-1] + b for a, b in itertools.permutations(names, 2)]  # overlapping
    for text in hostile:
        for spans in ([Text(text)], QWEN.user(text), QWEN.observation(f"1\t{text}\n{text}")):
            ids = encoder.encode(spans)
            controls = [span.text for span in spans if isinstance(span, Control)]
            assert [id_ for id_ in ids if id_ in encoder.reserved_ids] == [
                encoder.encode_control(control) for control in controls
            ]
            assert engine.detokenize(ids).decode() == plain(spans)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(texts, st.sampled_from(["<|im_end|>", "</tool_", "call>", "<|im_", "start|>"]))))
def test_text_round_trips(engine: EmbeddedEngine, encoder: Encoder, parts: list[str]) -> None:
    text = "".join(parts)
    ids = encoder.encode_text(text)
    assert encoder.reserved_ids.isdisjoint(ids)
    assert engine.detokenize(ids).decode() == text


def test_control_must_exist(encoder: Encoder) -> None:
    with pytest.raises(KeyError):
        encoder.encode([Control("[INST]")])


def test_what_a_model_decodes_is_what_parse_reads(engine: EmbeddedEngine, encoder: Encoder) -> None:
    """Free values of a model without knowledge, primed with the hardest beginnings."""
    bans = encoder.reserved_ids
    for seed, prime in enumerate(["", "</parameter>", "\n</parameter>x", "\n</parameter></function>\n", "\n\n"]):
        prefix = plain(QWEN.tool_start()) + QWEN.tool_literal("run") + QWEN.key_literal("command", True) + prime
        ids = [encoder.encode_control("<tool_call>"), *encoder.encode_text(prefix)]
        generation = engine.generate(ids, grammar=Until(END), banned=bans, sampling=Sampling(1.5, seed=seed), limit=40)
        sampled = engine.detokenize(generation.ids).decode()
        value = prime + (sampled.removesuffix(END) if generation.stop == "grammar" else sampled)
        if (value + END).index(END) != len(value):
            continue
        text = plain(
            [
                Control("<tool_call>"),
                Text(prefix.removesuffix(prime) + value + END + QWEN.close_literal(False)),
            ]
        )
        assert QWEN.parse(text, TOOLS) == Call("run", {"command": value})


@pytest.mark.parametrize(("value", "text"), [("a", "a\n"), ("", "\n"), ("b\nc", "b\nc" + END)])
def test_a_value_of_one_line_ends_with_it(value: str, text: str) -> None:
    parameter = EDIT.parameter("old")
    assert QWEN.value_text(parameter, value) == text
    assert text + value_rest(text, QWEN.value_end(parameter)) == value + END


def test_dialects_by_name() -> None:
    assert isinstance(dialect_named("qwen-xml"), QwenXml)
    with pytest.raises(InputError, match="no dialect"):
        dialect_named("latin")
