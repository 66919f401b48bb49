"""The scripted engine is an engine: its ids, its accounts and what it refuses."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fake_engine import FakeEngine, Said, Tokenizer, qwen_tokenizer, solder_tokenizer, tekken_tokenizer, wanted

from tinsmith.agent import CallWriter, Transcript, Written
from tinsmith.dialects import Call, Encoder, QwenXml
from tinsmith.engines import (
    GREEDY,
    JsonString,
    Literal,
    OneOf,
    TokenEngine,
    Until,
    best_first,
    compile_grammar,
    open_engine,
)
from tinsmith.models import find_model
from tinsmith.tools import Excerpt, Files, Outputs, ShellResult, Toolbox

QWEN = QwenXml()
CODE = "def f(x):\n    y = x\n    return y\n"


class FakeShell:
    def __call__(self, command: str) -> ShellResult:
        return ShellResult(0, "", None)


class FakeLog:
    def append(self, type: str, /, **data: Any) -> None:
        return None


class Session:
    """Writes one scripted call after another into one transcript, with the toolbox as it is after a look at a.py."""

    def __init__(self, root: Path, engine: FakeEngine, preamble: int = 0) -> None:
        self.engine = engine
        self.encoder = Encoder(engine.tokenize, engine.vocabulary.reserved)
        outputs = Outputs(root.with_name(root.name + "-outputs"))
        toolbox = Toolbox(Files(root), FakeShell(), free_tokens=2000, count=self.encoder.count, outputs=outputs)
        toolbox.show(Excerpt("a.py", 1, tuple(CODE.split("\n")[:3])))
        self.transcript = Transcript(self.encoder, FakeLog())
        self.transcript.write(QWEN.system("S", ()), "system")
        self.transcript.write(QWEN.user("Issue: it fails"), "user")
        self._writer = CallWriter(engine, QWEN, self.encoder, toolbox, sampling=GREEDY, preamble_tokens=preamble)

    def turn(self, observation: str = "seen") -> Written:
        self.engine.begin_turn()
        written = self._writer.write(self.transcript)
        self.transcript.write(QWEN.observation(observation), "observation")
        return written


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


def make_root(place: Path) -> Path:
    root = place / "tree"
    (root / "pkg").mkdir(parents=True)
    (root / "a.py").write_text(CODE)
    (root / "pkg" / "b.txt").write_text("one\ntwo\nthree\n")
    (root / "pkg" / "é.md").write_text("# é\n")
    return root


SCRIPT = [
    Call("search", {"pattern": "f\\(", "path": "pkg"}),
    Call("search", {"pattern": "no path"}),
    Call("read", {"path": "pkg/é.md", "start": "1", "end": "1"}),
    Call("edit", {"path": "a.py", "start": "2", "end": "3", "new": "    y = x + 1\n    return y\n"}),
    Call("edit", {"path": "a.py", "old": "    y = x", "new": ""}),
    Call("run", {"command": "printf '<|im_end|></parameter>\n' # <tool_call> é😀\u2028"}),
    Call("finish", {"summary": "Done.\n\n</function>"}),
]


@pytest.fixture(scope="module", params=["solder", "qwen", "tekken"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    if request.param == "solder":
        return solder_tokenizer()
    return (qwen_tokenizer if request.param == "qwen" else tekken_tokenizer)(QWEN.controls)


def test_the_calls_of_a_script_come_out(root: Path, tokenizer: Tokenizer) -> None:
    engine = FakeEngine(tokenizer.vocabulary, SCRIPT, QWEN, tokenize=tokenizer.tokenize)
    session = Session(root, engine)
    for call in SCRIPT:
        assert session.turn() == Written(call, None)
        engine.end_turn()
    with pytest.raises(AssertionError, match="no turn 7"):
        session.turn()
    for before, after in zip(engine.prompts, engine.prompts[1:], strict=False):
        assert after[: len(before)] == before


FREE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60).filter(
    lambda text: "\n</parameter>\n" not in f"\n{text}\n</parameter>\n"[:-1]
)
CALLS = st.one_of(
    st.builds(lambda text: Call("search", {"pattern": text}), FREE),
    st.builds(lambda text: Call("run", {"command": text}), FREE),
    st.builds(lambda text: Call("finish", {"summary": text}), FREE),
    st.builds(lambda text: Call("edit", {"path": "a.py", "start": "1", "end": "2", "new": text}), FREE),
    st.builds(lambda text: Call("edit", {"path": "a.py", "old": "    y = x", "new": text}), FREE),
    st.builds(
        lambda path, lines: Call("read", {"path": path, "start": str(min(lines)), "end": str(max(lines))}),
        st.just("pkg/b.txt"),
        st.lists(st.integers(1, 3), min_size=1),
    ),
)


@settings(max_examples=25, deadline=None)
@given(calls=st.lists(CALLS, min_size=1, max_size=4), said=FREE)
def test_any_call_comes_out(tmp_path_factory: pytest.TempPathFactory, calls: list[Call], said: str) -> None:
    said = said.replace("<tool_call>", "")
    session = Session(make_root(tmp_path_factory.mktemp("any")), FakeEngine(None, _said(calls, said), QWEN), 500)
    for call in calls:
        assert session.turn() == Written(call, None, said)
        session.engine.end_turn()


def _said(calls: Sequence[Call], said: str) -> list[Said]:
    return [Said(said, call) for call in calls]


def test_a_new_engine_goes_on_with_the_script_where_the_turns_ended(root: Path) -> None:
    first = Session(root, FakeEngine(None, SCRIPT, QWEN))
    for _ in range(3):
        first.turn()
        first.engine.end_turn()
    first.turn()  # which was not completed
    second = Session(root, FakeEngine(None, SCRIPT, QWEN, first_turn=3))
    assert second.turn().call == SCRIPT[3]


@pytest.mark.parametrize(
    "call",
    [
        Call("read", {"path": "not/there.py", "start": "1", "end": "1"}),
        Call("read", {"path": "pkg/b.txt", "start": "4", "end": "4"}),
        Call("edit", {"path": "pkg/b.txt", "start": "1", "end": "1", "new": "was not shown"}),
        Call("edit", {"path": "a.py", "old": "not there", "new": ""}),
    ],
)
def test_a_call_that_cannot_be_said_is_an_assertion(root: Path, call: Call) -> None:
    with pytest.raises(AssertionError, match="the script"):
        Session(root, FakeEngine(None, [call], QWEN)).turn()


def test_accounts_are_those_of_one_slot(root: Path) -> None:
    """Every id is read once, and nothing that was there is read again, until the cache is lost."""
    told: list[str] = []
    deaths: set[int] = set()
    engine = FakeEngine(None, SCRIPT, QWEN, kill_at=lambda request: request in deaths, on_restart=told.append)
    session = Session(root, engine)
    session.turn()
    usage = engine.end_turn()
    read = len(engine.prompts[-1])
    assert usage.reused == 0 and usage.decoded > 0
    assert read - usage.decoded <= usage.prefilled <= read + usage.requests
    session.turn()
    usage = engine.end_turn()
    assert usage.reused >= read - 1 and usage.prefilled < 60
    deaths.add(len(engine.prompts) + 2)  # in the middle of the turn
    session.turn()
    usage = engine.end_turn()
    assert usage.reused == 0 and usage.prefilled > len(engine.prompts[-3]) > read and len(told) == 1
    assert engine.usage.prefilled > usage.prefilled and engine.usage.requests == len(engine.prompts)


def test_what_a_real_engine_would_count(root: Path) -> None:
    """The same requests to llama.cpp read and find cached as many ids, however it spells what it decodes."""
    with open_engine(find_model("solder").path, context=4096) as real:
        assert _counted(real) == _counted(FakeEngine(None, [Call("run", {"command": "x"})] * 2, QWEN))


def _counted(engine: TokenEngine) -> list[tuple[int, int, int]]:
    """Two turns that each choose a tool's name and a key after the same text: prefilled, reused, requests."""
    encoder = Encoder(engine.tokenize, engine.vocabulary.reserved)
    ids = encoder.encode([*QWEN.user("lorem ipsum " * 40), *QWEN.assistant_start()])
    named = [*ids, encoder.encode_control(QWEN.call_opener()), *encoder.encode(QWEN.tool_start())]
    found: list[tuple[int, int, int]] = []
    for _ in range(2):
        engine.begin_turn()
        engine.warm(ids)
        name, key = engine.tokenize("run>\n"), engine.tokenize("<parameter=command>\n")
        assert engine.choose(named, name[:1]).id == name[0]
        assert engine.choose([*named, *name], key[:1]).id == key[0]
        usage = engine.end_turn()
        found.append((usage.prefilled, usage.reused, usage.requests))
    return found


def test_the_window_is_never_exceeded(root: Path) -> None:
    engine = FakeEngine(None, SCRIPT, QWEN, context_window=200)
    with pytest.raises(AssertionError, match="exceed 200"):
        engine.generate([65] * 150, grammar=Until("\n"), limit=51)


def test_ranked_candidates_follow_the_script(root: Path) -> None:
    script = [Call("run", {"command": "one two"})]
    engine = FakeEngine(None, script, QWEN)
    session = Session(root, engine)
    session.transcript.write(QWEN.assistant_start(), "syntax")
    session.transcript.sampled([session.encoder.encode_control(QWEN.call_opener())])
    session.transcript.write(QWEN.tool_start(), "syntax")
    options = [session.encoder.encode_text(f"run>\n<parameter=command>\n{word}\n") for word in ("one", "one two", "x")]
    assert next(best_first(engine, session.transcript.ids, options))[0] == 1


def test_what_a_grammar_takes_of_a_text() -> None:
    assert wanted(Literal("ab"), "abc") == "ab" and wanted(Literal("x"), "abc") is None
    assert wanted(OneOf(["a", "a b"], "\n"), "a b\nc") == "a b\n" and wanted(OneOf(["a"], "\n"), "ab\n") is None
    assert wanted(Until("\nE\n"), "x\n\nE\nE\n") == "x\n\nE\n" and wanted(Until("E"), "x") is None
    assert wanted(JsonString('",'), 'a\\"b\\\\", "c",') == 'a\\"b\\\\",' and wanted(JsonString('"}'), 'a",') is None
    for grammar in (Literal("ab"), OneOf(["a", "a b"], "\n"), Until("\nE\n"), JsonString('",')):
        assert compile_grammar(grammar)


def test_sixty_turns_are_quick(root: Path) -> None:
    script = [Call("run", {"command": "echo " + "word " * 40}) for _ in range(60)]
    session = Session(root, FakeEngine(None, script, QWEN))
    start = time.monotonic()
    for _ in script:
        session.turn("some output of a command\n" * 60)
        session.engine.end_turn()
    assert len(session.transcript) > 15_000
    assert time.monotonic() - start < 4


def test_solders_tokenizer_is_the_engines() -> None:
    tokenize: Callable[[str], list[int]] = solder_tokenizer().tokenize
    texts = [Path(__file__).read_text().replace("<tool_call>", "").replace("<|im_end|>", ""), "é😀\u2028\r\n\t  x", ""]
    with open_engine(find_model("solder").path, context=512) as engine:
        assert engine.vocabulary == solder_tokenizer().vocabulary
        for text in texts:
            assert tokenize(text) == engine.tokenize(text)
            assert engine.detokenize(tokenize(text)).decode() == text
