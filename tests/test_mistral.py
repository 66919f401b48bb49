"""Mistral's dialects: the vendor's ids, what is written and read back, what text can never become."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.mistral_oracle import Oracle, control_tokens, oracle

from tinsmith.agent import CallWriter, Transcript, write_arguments
from tinsmith.dialects import (
    Answered,
    Call,
    Control,
    Conversation,
    Dialect,
    Encoder,
    Exchange,
    FreeText,
    FunctionText,
    Malformed,
    MistralV7,
    MistralV11,
    MistralV13,
    OneOfValues,
    Parameter,
    Spans,
    Step,
    Text,
    ToolSpec,
    arguments_pieces,
    call_id,
    call_pieces,
    dialect_named,
)
from tinsmith.engines import JsonString, Sampling, Until, can_end, open_engine
from tinsmith.models.random_weights import TokenList, small_vocabulary, write_random
from tinsmith.tools import EDIT, TOOLS, Choices

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

V7, V11, V13, WORDS = MistralV7(), MistralV11(), MistralV13(), FunctionText()
VERSIONS: list[tuple[Dialect, int]] = [(V7, 7), (V11, 11), (V13, 13)]
ALL: list[Dialect] = [V7, V11, V13, WORDS]
each_version = pytest.mark.parametrize(("dialect", "version"), VERSIONS, ids=lambda value: getattr(value, "name", ""))
each_dialect = pytest.mark.parametrize("dialect", ALL, ids=lambda dialect: dialect.name)

FOREIGN = ToolSpec(
    "mixed_bag",
    "Everything that JSON knows, Ünïcode too.",
    (
        Parameter("text", "string", "a text"),
        Parameter("count", "integer", required=False),
        Parameter("flag", "boolean", required=False),
        Parameter("nested", "object", required=False, schema={"type": "object", "additionalProperties": True}),
        Parameter("any", "", required=False, schema={"anyOf": [{"type": "string"}, {"type": "null"}]}),
    ),
)
SPECS = (*TOOLS, FOREIGN)

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
WORDS_OF_SYNTAX = (
    "\n",
    '"',
    "\\",
    '", "',
    '"}',
    "{",
    "}",
    "é€😀",
    "    return x",
    "\u2028",
    " ",
    "</parameter>",
    "</function>",
)
NAMES = tuple(name for name in control_tokens(13) if not name.startswith("<SPECIAL"))
harmless = st.lists(st.one_of(st.sampled_from(WORDS_OF_SYNTAX), st.text(characters, max_size=6)), max_size=6).map(
    "".join
)
hostile = st.lists(
    st.one_of(
        st.sampled_from(NAMES), st.sampled_from(("[INS", "T]", "[TOOL_", "CALLS]", "<function=edit>\n")), harmless
    ),
    max_size=6,
).map("".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | harmless,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(harmless, inner, max_size=3),
    max_leaves=6,
)
OF_TYPE: Mapping[str, st.SearchStrategy[Any]] = {
    "integer": st.integers(),
    "boolean": st.booleans(),
    "object": st.dictionaries(harmless, json_values, max_size=3),
    "": st.none() | harmless,
}


def calls(texts: st.SearchStrategy[str], specs: Sequence[ToolSpec] = SPECS) -> st.SearchStrategy[Call]:
    @st.composite
    def made(draw: st.DrawFn) -> Call:
        spec = draw(st.sampled_from(specs))
        chosen = [p for p in spec.parameters if p.required or draw(st.booleans())]
        return Call(
            spec.name,
            {
                p.name: draw(texts) if p.is_text else json.dumps(draw(OF_TYPE[p.type]), ensure_ascii=False)
                for p in chosen
            },
        )

    return made()


def conversations(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Conversation]:
    answered = st.builds(Answered, calls(texts), texts)
    steps = st.lists(st.builds(Step, st.lists(answered, min_size=1, max_size=2).map(tuple), texts), max_size=2).map(
        tuple
    )
    said = texts.map(lambda text: text + ".")  # an empty answer is none
    exchange = st.builds(Exchange, texts, said, steps)
    return st.builds(Conversation, texts, steps, st.lists(exchange, max_size=2).map(tuple), texts, st.just(SPECS))


def plain(spans: Spans) -> str:
    return "".join(span.text for span in spans)


def written(dialect: Dialect, call: Call, number: int = 0) -> str:
    spec = next(spec for spec in SPECS if spec.name == call.tool)
    return plain([piece.span for piece in call_pieces(dialect, spec, call, number)])


def controls_in(spans: Spans) -> list[str]:
    return [span.text for span in spans if isinstance(span, Control)]


F1 = ToolSpec("F1", "one", (Parameter("g", "string"),))
F2 = ToolSpec("F2", "two", ())
DECLARED = (
    '[AVAILABLE_TOOLS][{"type": "function", "function": {"name": "F1", "description": "one", "parameters": '
    '{"type": "object", "properties": {"g": {"type": "string"}}, "required": ["g"]}}}, '
    '{"type": "function", "function": {"name": "F2", "description": "two", "parameters": '
    '{"type": "object", "properties": {}, "required": []}}}][/AVAILABLE_TOOLS]'
)
TWO_CALLS = Conversation(
    "U2",
    past=(
        Exchange(
            "U1",
            "A2",
            (Step((Answered(Call("F1", {"g": "h"}), "R1"), Answered(Call("F2"), "R2")), "A1"),),
        ),
    ),
    system="S",
    tools=(F1, F2),
)


def test_v13_is_the_vendors() -> None:
    assert plain(V13.render(TWO_CALLS)) == (
        f"<s>[SYSTEM_PROMPT]S[/SYSTEM_PROMPT]{DECLARED}[INST]U1[/INST]"
        'A1[TOOL_CALLS]F1[ARGS]{"g": "h"}[TOOL_CALLS]F2[ARGS]{}</s>'
        "[TOOL_RESULTS]R1[/TOOL_RESULTS][TOOL_RESULTS]R2[/TOOL_RESULTS]A2</s>[INST]U2[/INST]"
    )


def test_v11_is_the_vendors() -> None:
    assert plain(V11.render(TWO_CALLS)) == (
        "<s>[SYSTEM_PROMPT]S[/SYSTEM_PROMPT][INST]U1[/INST]"
        'A1[TOOL_CALLS]F1[CALL_ID]000000000[ARGS]{"g": "h"}[TOOL_CALLS]F2[CALL_ID]000000001[ARGS]{}</s>'
        "[TOOL_RESULTS]000000000[TOOL_CONTENT]R1[/TOOL_RESULTS]"
        f"[TOOL_RESULTS]000000001[TOOL_CONTENT]R2[/TOOL_RESULTS]A2</s>{DECLARED}[INST]U2[/INST]"
    )


def test_v7_is_the_vendors() -> None:
    assert plain(V7.render(TWO_CALLS)) == (
        "<s>[SYSTEM_PROMPT]S[/SYSTEM_PROMPT][INST]U1[/INST]"
        'A1[TOOL_CALLS][{"name": "F1", "arguments": {"g": "h"}, "id": "000000000"}, '
        '{"name": "F2", "arguments": {}, "id": "000000001"}]</s>'
        "[TOOL_RESULTS]000000000[TOOL_CONTENT]R1[/TOOL_RESULTS]"
        f"[TOOL_RESULTS]000000001[TOOL_CONTENT]R2[/TOOL_RESULTS]A2</s>{DECLARED}[INST]U2[/INST]"
    )


def test_function_text_is_openhands() -> None:
    call = Call("edit", {"path": "a.py", "start": "3", "new": "if x:\n    return 1\n"})
    conversation = Conversation(
        "U", (Step((Answered(call, "done"), Answered(Call("run", {"command": "ls"}), "a.py"))),)
    )
    conversation = Conversation("U", conversation.steps, system="S", tools=TOOLS)
    text = plain(WORDS.render(conversation))
    assert text.startswith(
        "<s>[SYSTEM_PROMPT]S\nYou have access to the following functions:\n\n"
        "---- BEGIN FUNCTION #1: search ----\nDescription: Find a regular expression in the repository; answers files "
        "with the lines that match.\nParameters:\n  (1) pattern (string, required): No description provided\n"
        "  (2) path (string, optional): file or directory to search in\n---- END FUNCTION #1 ----\n\n"
        "---- BEGIN FUNCTION #2: read ----\n"
    )
    assert "---- END FUNCTION #5 ----\n\n\nIf you choose to call a function ONLY reply" in text
    assert text.endswith(
        "</IMPORTANT>\n[/SYSTEM_PROMPT][INST]U[/INST]"
        "<function=edit>\n<parameter=path>a.py</parameter>\n<parameter=start>3</parameter>\n"
        "<parameter=new>\nif x:\n    return 1\n\n</parameter>\n</function></s>"
        "[INST]EXECUTION RESULT of [edit]:\ndone[/INST]"
        "<function=run>\n<parameter=command>ls</parameter>\n</function></s>"
        "[INST]EXECUTION RESULT of [run]:\na.py[/INST]"
    )


def test_calls_in_stages_are_the_vendors() -> None:
    call = Call("edit", {"path": "a.py", "start": "3", "end": "4", "new": 'say "é"\n'})
    arguments = '{"path": "a.py", "start": 3, "end": 4, "new": "say \\"é\\"\\n"}'
    assert written(V13, call, 7) == f"[TOOL_CALLS]edit[ARGS]{arguments}</s>"
    assert written(V11, call, 7) == f"[TOOL_CALLS]edit[CALL_ID]000000007[ARGS]{arguments}</s>"
    assert written(V7, call, 62) == (
        f'[TOOL_CALLS][{{"name": "edit", "arguments": {arguments}, "id": "000000010"}}]</s>'
    )
    assert written(V13, Call("finish", {}), 0) == "[TOOL_CALLS]finish[ARGS]{}</s>"
    assert plain(V13.observation("R", 7)) == "[TOOL_RESULTS]R[/TOOL_RESULTS]"
    assert plain(V11.observation("R", 7)) == "[TOOL_RESULTS]000000007[TOOL_CONTENT]R[/TOOL_RESULTS]"
    assert plain(WORDS.observation("R", 7)) == "[INST]EXECUTION RESULT of [function]:\nR[/INST]"
    assert plain(WORDS.observation("R", 7, "edit")) == "[INST]EXECUTION RESULT of [edit]:\nR[/INST]"


@each_version
def test_a_session_is_the_vendors(dialect: Dialect, version: int) -> None:
    """What the loop writes turn by turn is what the vendor makes of the whole, since there is one user turn."""
    made = [Call("read", {"path": "a.py", "start": "1", "end": "2"}), Call("run", {"command": 'python -c "1"; ls'})]
    results = ["1\tx", "[INS\u0301T] 'quoted'\n"]
    spans = [*dialect.system("S", TOOLS), *dialect.user("U")]
    for number, (call, result) in enumerate(zip(made, results, strict=True)):
        spec = next(spec for spec in TOOLS if spec.name == call.tool)
        spans += [piece.span for piece in call_pieces(dialect, spec, call, number)]
        spans += dialect.observation(result, number)
    steps = tuple(Step((Answered(call, result),)) for call, result in zip(made, results, strict=True))
    conversation = Conversation("U", steps, system="S", tools=TOOLS)
    assert plain(spans) == plain(dialect.render(conversation))
    assert controls_in(spans) == controls_in(dialect.render(conversation))
    assert oracle(version).encoder.encode(dialect.render(conversation)) == oracle(version).encode(conversation)


@each_version
@settings(max_examples=70)
@given(conversation=conversations(harmless))
def test_rendering_is_the_vendors_token_by_token(dialect: Dialect, version: int, conversation: Conversation) -> None:
    assert oracle(version).encoder.encode(dialect.render(conversation)) == oracle(version).encode(conversation)


@each_version
@settings(max_examples=40)
@given(conversation=conversations(hostile))
def test_hostile_text_stays_text(dialect: Dialect, version: int, conversation: Conversation) -> None:
    """Text that holds a control token's name is cut there, so ids differ from the vendor's; what they say does not."""
    assert_rendered(dialect, oracle(version), conversation)
    reference = oracle(version).encode(conversation)
    ids = oracle(version).encoder.encode(dialect.render(conversation))
    assert [id_ for id_ in ids if id_ < 1000] == [id_ for id_ in reference if id_ < 1000]
    assert said(oracle(version), ids) == said(oracle(version), reference)


@settings(max_examples=40)
@given(conversations(hostile))
def test_hostile_text_stays_text_in_function_text(conversation: Conversation) -> None:
    try:
        WORDS.render(conversation)
    except ValueError:
        return  # a value that holds what ends it
    assert_rendered(WORDS, oracle(7), conversation)


def assert_rendered(dialect: Dialect, reference: Oracle, conversation: Conversation) -> None:
    spans = dialect.render(conversation)
    ids = reference.encoder.encode(spans)
    names = {id_: name for name, id_ in reference.controls.items()}
    assert [names[id_] for id_ in ids if id_ in names] == controls_in(spans)
    assert set(controls_in(spans)) <= set(dialect.controls)
    assert said(reference, ids) == plain(spans)


def said(reference: Oracle, ids: Sequence[int]) -> str:
    names = {id_: name for name, id_ in reference.controls.items()}
    parts = [names[i].encode() if i in names else reference.tekken.id_to_byte_piece(i) for i in ids]
    return b"".join(parts).decode()


@each_dialect
@settings(max_examples=100)
@given(call=calls(hostile), number=st.integers(0, 10**9))
def test_parse_is_the_inverse_of_writing(dialect: Dialect, call: Call, number: int) -> None:
    try:
        text = written(dialect, call, number)
    except ValueError:
        assert any("</parameter>" in value for value in call.arguments.values())
        return
    assert dialect.parse(text, SPECS) == call


@each_version
@given(call=calls(hostile), said=harmless)
def test_parse_reads_what_render_writes(dialect: Dialect, version: int, call: Call, said: str) -> None:
    conversation = Conversation("U", (Step((Answered(call, "R"), Answered(Call("run", {"command": "x"}), "R")), said),))
    conversation = Conversation("U", conversation.steps, tools=SPECS)
    text = plain(dialect.render(conversation)).split("[/INST]", 1)[1].rsplit("</s>", 1)[0] + "</s>"
    found = dialect.parse(text, SPECS)
    spec = next(spec for spec in SPECS if spec.name == call.tool)
    assert isinstance(found, Call)
    assert (found.tool, found.values(spec)) == (call.tool, call.values(spec))


@each_dialect
@given(value=hostile)
def test_value_text_and_back(dialect: Dialect, value: str) -> None:
    parameter = EDIT.parameter("new")
    try:
        text = dialect.value_text(parameter, value)
    except ValueError:
        assert dialect is WORDS
        return
    assert dialect.value_from(parameter, text) == value
    end = dialect.value_end(parameter)
    assert text.endswith(end) or dialect.value_from(parameter, text + end) == value
    assert [piece.span.text for piece in arguments_pieces(dialect, EDIT, Call("edit", {"new": value}))][-1] == (
        dialect.close_literal(False)
    )


@each_version
def test_follow_tells_where_a_value_ends(dialect: Dialect, version: int) -> None:
    """A model's next token after a value may hold its end and more; these are what Tekken makes of a whole call."""
    values = {"path": "src/a.py", "start": "12", "new": "x"}
    for length in range(1, len(values) + 1):
        call = Call("edit", dict(list(values.items())[:length]))
        last = EDIT.parameter(list(values)[length - 1])
        whole = written(dialect, call).removeprefix("[TOOL_CALLS]").removesuffix("</s>")
        ids = oracle(version).tokenize(whole[whole.index("{") :] if dialect is not V7 else whole)
        pieces = [oracle(version).tekken.id_to_byte_piece(id_).decode() for id_ in ids]
        value = dialect.value_text(last, values[last.name])
        before = whole[whole.index("{") if dialect is not V7 else 0 :].rindex(value) + len(value)
        at = next(i for i in range(len(pieces)) if len("".join(pieces[:i])) == before)
        assert pieces[at] in [span.text for span in dialect.value_follow(last)]


@each_dialect
def test_free_values_are_what_value_from_reads(dialect: Dialect) -> None:
    parameter = EDIT.parameter("new")
    grammar = dialect.free_value(parameter)
    assert grammar == (Until("</parameter>\n") if dialect is WORDS else JsonString('"'))
    assert grammar.end == dialect.value_end(parameter)
    if dialect is not WORDS:
        assert dialect.value_from(parameter, '\\u00e9\\/\\\\\\"\\n"') == 'é/\\"\n'
        with pytest.raises(ValueError, match="start is no text"):
            dialect.free_value(EDIT.parameter("start"))
        return
    assert dialect.value_from(parameter, "\n  a\nb\n\n</parameter>\n") == "  a\nb\n"
    with pytest.raises(ValueError, match="what ends it"):
        dialect.value_text(parameter, "a</parameter>\n")


class FakeStages:
    """Chooses so that the arguments become `wanted`."""

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self.text = ""
        self.asked: list[str] = []

    def literal(self, text: str) -> None:
        assert self._wanted.startswith(text, len(self.text))
        self.text += text

    def choose(self, texts: Sequence[str], follow: Spans = ()) -> str:
        fitting = [text for text in texts if self._wanted.startswith(text, len(self.text))]
        rests = {text: self._wanted[len(self.text) + len(text) :] for text in fitting}
        if follow:
            fitting = [text for text in fitting if any(rests[text].startswith(span.text) for span in follow)]
        (text,) = fitting
        self.text += text
        self.asked.append(text)
        return text

    def free(self, grammar: Until | JsonString, limit: int, abort: str) -> str:
        start = len(self.text)
        for end in range(start, len(self._wanted) + 1):
            text = self._wanted[start:end]
            if self._wanted.startswith(grammar.end, end) and can_end(grammar, text):
                self.text += text + grammar.end
                return text + grammar.end
        raise AssertionError("the value does not end")

    def room(self) -> int:
        return 1000


class FakeTools:
    """Offers the arguments of `call` in order, each among others; the last text is free."""

    def __init__(self, spec: ToolSpec, call: Call) -> None:
        self.specs: Sequence[ToolSpec] = [spec]
        self._spec = spec
        self._call = call

    def available(self) -> list[str]:
        return [self._spec.name]

    def choices(self, tool: str, given: Mapping[str, str]) -> Choices:
        left = [key for key in self._call.arguments if key not in given]
        others = [p.name for p in self._spec.parameters if p.name not in self._call.arguments]
        options = {key: self._domain(key) for key in (*left[:1], *others)}
        return Choices(options, may_close=not left)

    def _domain(self, key: str) -> FreeText | OneOfValues:
        value = self._call.arguments.get(key, "1")
        if not self._spec.parameter(key).is_text:
            return OneOfValues((value, "7" + value, value + "7") if value.isdigit() else (value, "0"))
        if key == self._spec.parameters[-1].name:
            return FreeText()
        return OneOfValues(("other", value, value + "x", value + "/y"))


@each_dialect
@settings(max_examples=70)
@given(call=calls(harmless, TOOLS))
def test_stages_write_the_call(dialect: Dialect, call: Call) -> None:
    spec = next(spec for spec in TOOLS if spec.name == call.tool)
    try:
        pieces = arguments_pieces(dialect, spec, call)
    except ValueError:
        return
    stages = FakeStages(plain([piece.span for piece in pieces]))
    if dialect is not WORDS and any(value.endswith('"') for value in call.arguments.values()):
        return  # `value_text` escapes the last quote of a text, a model need not
    assert write_arguments(stages, dialect, FakeTools(spec, call), spec) == call
    assert stages.text == plain([piece.span for piece in pieces])


@each_dialect
@settings(max_examples=100)
@given(text=hostile, call=calls(hostile, TOOLS), data=st.data())
def test_parse_never_raises(dialect: Dialect, text: str, call: Call, data: st.DataObject) -> None:
    try:
        whole = written(dialect, call)
    except ValueError:
        return
    first, last = sorted((data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, len(whole)))))
    for broken in (text, whole[:first], whole[:first] + whole[last:], whole[:first] + text + whole[last:]):
        found = dialect.parse(broken, TOOLS)
        assert found is None or isinstance(found, Call) or (found.raw == broken and found.reason)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("", "{ must follow"),
        ("{", "no JSON at"),
        ('{"command": "ls"', ", must follow"),
        ('{"command": "ls}', "no JSON at"),
        ('{"command":"ls"}', ": must follow"),
        ('{"command": ls}', "no JSON at"),
        ('{"command": "l\ns"}', "no JSON at"),
        ('{"command": 3}', "3 must be a string"),
        ('{"command": "\\ud800"}', "no JSON at"),
        ('{"command": "a", "command": "b"}', "'command' is given twice"),
        ('{"cmd": "ls"}', "run has no parameter 'cmd'"),
        ("{}", "run lacks command"),
        ('{"command": "ls"} and more', "</s> must follow"),
        ('{"command": ' + "[" * 100_000, "no JSON at"),
    ],
)
def test_damaged_arguments_give_reasons(arguments: str, reason: str) -> None:
    found = V13.parse(f"[TOOL_CALLS]run[ARGS]{arguments}", TOOLS)
    assert isinstance(found, Malformed)
    assert reason in found.reason


@pytest.mark.parametrize(
    ("dialect", "text", "reason"),
    [
        (V13, '[TOOL_CALLS]write[ARGS]{"x": "[TOOL_CALLS]run[ARGS]{}"}', "no tool 'write'"),
        (V13, "[TOOL_CALLS]run", "[ARGS] is missing"),
        (V13, '[TOOL_CALLS]read[ARGS]{"path": "a", "start": NaN, "end": 2}', "NaN is no JSON"),
        (V11, '[TOOL_CALLS]run[ARGS]{"command": "ls"}', "[CALL_ID] is missing"),
        (V11, '[TOOL_CALLS]run[CALL_ID]call_1[ARGS]{"command": "ls"}', "an id of nine letters"),
        (V7, '[TOOL_CALLS]{"name": "run"}', '[{"name": must follow'),
        (V7, '[TOOL_CALLS][{"name": "run", "arguments": "{}"', "{ must follow"),
        (V7, '[TOOL_CALLS][{"name": "run", "arguments": {"command": "ls"}}]', ', "id": " must follow'),
        (V7, '[TOOL_CALLS][{"name": "run", "arguments": {"command": "ls"}, "id": "123456789"}', "] must follow"),
        (WORDS, "<function=run", "not closed"),
        (WORDS, "<function=write>\n</function>", "no tool 'write'"),
        (WORDS, "<function=run>\n</function>", "lacks command"),
        (WORDS, "<function=run>\n<parameter=command>ls</parameter></function>", "'command' lacks </parameter>"),
        (WORDS, "<function=run>\n<parameter=cmd>ls</parameter>\n</function>", "no parameter 'cmd'"),
        (WORDS, "<function=run>\n<parameter=command>ls</parameter>\n", "must follow"),
        (WORDS, "<function=run>\n<parameter=command>ls</parameter>\n</function> done", "nothing may follow"),
    ],
)
def test_damaged_calls_give_reasons(dialect: Dialect, text: str, reason: str) -> None:
    found = dialect.parse("I will look.\n\n" + text, TOOLS)
    assert isinstance(found, Malformed)
    assert reason in found.reason


@each_dialect
def test_no_call_is_none(dialect: Dialect) -> None:
    assert dialect.parse('I am done. </function> {"path": "a"} [ARGS]', TOOLS) is None


@each_dialect
def test_dialects_by_name(dialect: Dialect) -> None:
    assert type(dialect_named(dialect.name)) is type(dialect)
    assert len(call_id(62**9 - 1)) == 9


class FakeSink:
    def append(self, type: str, /, **data: Any) -> Any:
        return None


@each_dialect
def test_a_model_without_knowledge_writes_calls(dialect: Dialect, tmp_path: Path) -> None:
    """Random weights through the real engine: free text before the call, its opener, the call."""
    small = small_vocabulary()
    plain_texts = [text for text in small.texts if text not in (*small.control, *small.delimiters)]
    texts = [*plain_texts, "<pad>", *dialect.controls]
    tokens = TokenList(texts, small.merges, ["<pad>", *dialect.controls], (), "</s>", "<pad>", "<s>", "tekken")
    path = write_random(tmp_path / "random.gguf", tokens=tokens, scale=0.15)
    spec = ToolSpec(
        "note", "", (Parameter("where", "string"), Parameter("line", "integer"), Parameter("what", "string"))
    )
    wanted = Call("note", {"where": "a", "line": "1", "what": ""})
    with open_engine(path, context=2048) as engine:
        encoder = Encoder(engine.tokenize, engine.vocabulary.reserved)
        for preamble in (0, 24):
            transcript = Transcript(encoder, FakeSink())
            transcript.write([*dialect.system("S", [spec]), *dialect.user("U")], "system")
            start = len(transcript)
            writer = CallWriter(
                engine,
                dialect,
                encoder,
                FakeTools(spec, wanted),
                sampling=Sampling(1.5, seed=preamble),
                preamble_tokens=preamble,
            )
            made = writer.write(transcript)
            ids = transcript.ids[start:]
            names = {id_: name for name, id_ in engine.vocabulary.reserved.items()}
            parts = [names[id_].encode() if id_ in names else engine.detokenize([id_]) for id_ in ids]
            text = b"".join(parts).decode(errors="replace")
            assert ids[-1] == encoder.encode_control("</s>")
            assert made.call.arguments.keys() == {"where", "line", "what"}
            assert text.startswith(made.said + dialect.call_opener())
            assert bool(made.said) == bool(preamble)
            assert dialect.parse(text, [spec]) == made.call
            transcript.write(dialect.observation("R", writer.number(transcript)), "observation")


def test_text_is_never_a_control_token() -> None:
    """Every control token's name, alone, doubled and split at its seams, in every version's vocabulary."""
    for _, version in VERSIONS:
        encoder = oracle(version).encoder
        for name in NAMES:
            for text in (name, name + name, name[:1] + name + name[1:], name[:-1] + name, f"\n{name}\n"):
                ids = encoder.encode([Text(text)])
                assert min(ids) >= 1000
                assert said(oracle(version), ids) == text
