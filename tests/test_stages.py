"""Finite choices by token ids: only branches are decoded, and what stands in the transcript is exact."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fake_log import FakeLog

from tinsmith.agent import CLOSING_RESERVE, CallWriter, ChoiceTries, EngineStages, Transcript, WindowFull
from tinsmith.dialects import Control, Encoder, QwenXml, Spans, Text, ToolSpec
from tinsmith.engines import EmbeddedEngine, JsonString, Sampling, TokenTrie, Until, open_engine, packed
from tinsmith.models.random_weights import Shape, write_random
from tinsmith.tools import Choices

QWEN = QwenXml()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    tiny = Shape(layers=1, d_model=32, heads=2, kv_heads=1, head_dim=16, ffn=32)
    with open_engine(write_random(tmp_path_factory.mktemp("model") / "r.gguf", shape=tiny, scale=0.15)) as engine:
        yield engine


@pytest.fixture
def encoder(engine: EmbeddedEngine) -> Encoder:
    return Encoder(engine.tokenize, engine.vocabulary.reserved, engine.tokenize_all)


class Place:
    """Stages after a few ids; every request for an id is counted."""

    def __init__(self, engine: EmbeddedEngine, encoder: Encoder, seed: int, tries: ChoiceTries | None = None) -> None:
        self.log = FakeLog()
        self.transcript = Transcript(encoder, self.log)
        self.transcript.write([Text("def f(x):\n")], "user")
        self.start = len(self.transcript)
        self.stages = EngineStages(engine, encoder, self.transcript, Sampling(1.5, seed=seed), None, tries)

    @property
    def written(self) -> list[int]:
        return list(self.transcript.ids[self.start :])

    def kinds(self) -> list[tuple[str, list[int]]]:
        """What was written, as the log tells it."""
        return [(data["kind"], data["ids"]) for data in self.log.of("tokens")[1:]]


def first(path: Sequence[int], allowed: Sequence[int]) -> int:
    return allowed[0]


ids = st.lists(st.integers(0, 3) | st.sampled_from([255, 256, 65_535, 65_536, 151_935]), max_size=5)


@given(texts=st.lists(ids, min_size=1, max_size=12), seed=st.integers(0, 99))
def test_every_text_can_be_reached_and_nothing_else(texts: list[list[int]], seed: int) -> None:
    end = [9]  # in no text
    trie = TokenTrie([packed(text) for text in texts], [packed(end)])
    draw = random.Random(seed)
    for wanted in texts:

        def pick(path: Sequence[int], allowed: Sequence[int], wanted: list[int] = wanted) -> int:
            assert len(set(allowed)) == len(allowed) > 1  # else it was no choice
            assert path == wanted[: len(path)]
            longer = {text[len(path)] for text in texts if text[: len(path)] == path and len(text) > len(path)}
            assert set(allowed) == longer | (set(end) if path in texts else set())
            return (wanted + end)[len(path)]

        chosen = trie.walk(pick)
        assert (texts[chosen.index], chosen.ids) == (wanted, wanted)
    chosen = trie.walk(lambda path, allowed: draw.choice(allowed))
    assert texts[chosen.index] == chosen.ids and len(chosen.decoded) == len(chosen.ids)


def test_what_is_common_and_what_is_left_is_not_decoded() -> None:
    asked: list[tuple[list[int], list[int]]] = []

    def pick(path: Sequence[int], allowed: Sequence[int]) -> int:
        asked.append((list(path), list(allowed)))
        return allowed[-1]

    chosen = TokenTrie([packed(t) for t in ([1, 2, 3, 4, 5], [1, 2, 6, 7], [1, 2, 6, 8, 9])]).walk(pick)
    assert asked == [([1, 2], [3, 6]), ([1, 2, 6], [7, 8])]
    assert chosen.ids == [1, 2, 6, 8, 9]
    assert chosen.decoded == [False, False, True, True, False]
    assert TokenTrie([packed([5, 6])]).walk(pick).decoded == [False, False] and len(asked) == 2


def test_the_end_of_a_text_is_told_by_what_follows() -> None:
    """However far into what follows a longer text goes on alike."""
    texts = [[1], [1, 7, 7, 2], [1, 3]]
    follow = [[7, 7, 8], [7, 7], [9]]
    with pytest.raises(ValueError, match="longer"):
        TokenTrie([packed(t) for t in texts], [packed(f) for f in follow])
    trie = TokenTrie([packed(t) for t in texts], [packed([7, 7, 8]), packed([9])])
    answers: dict[tuple[int, ...], dict[str, int]] = {(1,): {"long": 7, "short": 9, "end": 7}}
    answers[(1, 7, 7)] = {"long": 2, "end": 8}
    for way, index in (("long", 1), ("short", 0), ("end", 0)):
        chosen = trie.walk(lambda path, allowed, way=way: answers[tuple(path)][way])
        assert (chosen.index, chosen.ids) == (index, texts[index])
    with pytest.raises(ValueError, match="begins another"):
        TokenTrie([packed([1]), packed([1, 2])])
    with pytest.raises(ValueError, match="nothing"):
        TokenTrie([])
    # Where only the same text is left there is nothing to choose.
    assert TokenTrie([packed([1])], [packed([2]), packed([3])]).walk(first).ids == [1]


characters = st.sampled_from("ab/.\n é€😀<") | st.characters(exclude_categories=["Cs"], exclude_characters="\0")


@settings(max_examples=40, deadline=None)
@given(texts=st.lists(st.text(characters, max_size=8), min_size=1, max_size=8), seed=st.integers(0, 2**31))
def test_a_choice_has_the_texts_own_ids(engine: EmbeddedEngine, texts: list[str], seed: int) -> None:
    place = Place(engine, Encoder(engine.tokenize, engine.vocabulary.reserved), seed)
    text = place.stages.choose(texts, [Control("<|im_end|>"), Control("</tool_call>")])
    assert text in texts
    assert place.written == engine.tokenize(text)
    assert {kind for kind, _ in place.kinds()} <= {"sampled", "syntax"}


def test_choosing_is_sampling_among_the_next_ids(engine: EmbeddedEngine, encoder: Encoder) -> None:
    texts = ["a", "ab", "b", "path/a.py", "path/b.py", "zé", "zè"]
    follow = [Text("\n"), Control("<|im_end|>")]
    tries = ChoiceTries(encoder)
    seen: Counter[str] = Counter()
    for seed in range(120):
        place = Place(engine, encoder, seed, tries)
        before = engine.usage.requests
        text = place.stages.choose(texts, follow)
        seen[text] += 1
        kinds = place.kinds()
        sampled = [token for kind, ids in kinds if kind == "sampled" for token in ids]
        ends = text == "a"  # decoded, and not appended
        assert engine.usage.requests - before == len(sampled) + ends
        assert [kind for kind, _ in groupby(kinds, key=lambda entry: entry[0])] == [kind for kind, _ in kinds]
    assert set(seen) == set(texts)
    again = [Place(engine, encoder, seed, tries).stages.choose(texts, follow) for seed in range(20)]
    assert again == [Place(engine, encoder, seed).stages.choose(texts, follow) for seed in range(20)]


def test_one_text_is_not_asked_for(engine: EmbeddedEngine, encoder: Encoder) -> None:
    place = Place(engine, encoder, 1)
    before = engine.usage.requests
    assert place.stages.choose(["only"]) == "only"
    assert engine.usage.requests == before
    assert place.kinds() == [("syntax", engine.tokenize("only"))]


def test_a_choice_that_does_not_fit_is_a_full_window(engine: EmbeddedEngine, tmp_path: Path) -> None:
    with open_engine(write_random(tmp_path / "w.gguf", scale=0.15), context=512) as small:
        encoder = Encoder(small.tokenize, small.vocabulary.reserved)
        place = Place(small, encoder, 1)
        left = place.stages.room() - 5
        place.transcript.write([Text("x" * left)], "user")
        assert place.stages.room() == 5
        assert place.stages.choose(["pppp1", "pppp2"]) in ("pppp1", "pppp2")
        assert len(place.transcript) == small.context_window - CLOSING_RESERVE
        for texts in (["1qqqq", "2qqqq"], ["qqqqqq1", "qqqqqq2"]):
            place = Place(small, encoder, 1)
            place.transcript.write([Text("x" * (left + 1))], "user")
            before = len(place.transcript)
            with pytest.raises(WindowFull):
                place.stages.choose(texts)
            assert len(place.transcript) == before


def many_paths(count: int, seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    words = ["src", "tests", "core", "lib", "api", "views", "models", "common", "internal", "pkg", "é"]
    found = dict[str, None]()
    while len(found) < count:
        found["/".join(draw.choice(words) for _ in range(draw.randint(1, 5))) + f"/m_{draw.randrange(9999)}.py"] = None
    return list(found)


def test_a_long_list_is_tokenised_once_and_in_one_request(engine: EmbeddedEngine) -> None:
    requests: list[int] = []

    def tokenize_all(texts: Sequence[str]) -> list[list[int]]:
        requests.append(len(texts))
        return engine.tokenize_all(texts)

    def tokenize(text: str) -> list[int]:
        requests.append(1)
        return engine.tokenize(text)

    encoder = Encoder(tokenize, engine.vocabulary.reserved, tokenize_all)
    tries = ChoiceTries(encoder)
    paths = many_paths(5_000)
    trie = tries.trie([path + "\n" for path in paths], ())
    assert requests == [5_000]
    assert tries.trie([path + "\n" for path in paths], ()) is trie
    changed = [path + "\n" for path in [*paths[:100], *paths[101:], "new.py", "other/<|im_end|>.py"]]
    other = tries.trie(changed, ())
    assert requests == [5_000, 3]  # the file with the control token's text in pieces
    assert other is not trie and tries.trie([path + "\n" for path in paths], ()) is trie
    wanted = engine.tokenize("new.py\n")
    assert changed[other.walk(lambda path, allowed: wanted[len(path)]).index] == "new.py\n"
    for path in random.Random(1).sample(paths, 50):
        assert encoder.encode_text(path + "\n") == engine.tokenize(path + "\n")
    assert requests == [5_000, 3]


def test_fifty_thousand_paths_are_ready_at_once_after_the_first_time() -> None:
    """The engine's part left out: ids as a tokenizer of bytes gives them."""

    def tokenize_all(texts: Sequence[str]) -> list[list[int]]:
        return [list(text.encode()) for text in texts]

    tries = ChoiceTries(Encoder(lambda text: list(text.encode()), {}, tokenize_all))
    paths = many_paths(50_000)
    tries.trie([path + "\n" for path in paths], QWEN.user_end()[1:])
    seconds = [timed(tries, [path + "\n" for path in paths]) for _ in range(5)]
    assert min(seconds) < 0.05


def timed(tries: ChoiceTries, texts: Sequence[str]) -> float:
    start = time.perf_counter()
    tries.trie(texts, QWEN.user_end()[1:]).walk(first)
    return time.perf_counter() - start


@pytest.mark.parametrize("grammar", [Until("\n"), JsonString('"')])
def test_free_text_ends_with_its_end_or_is_cut_and_closed(
    engine: EmbeddedEngine, encoder: Encoder, grammar: Until | JsonString
) -> None:
    ways: Counter[bool] = Counter()
    for seed in range(30):
        place = Place(engine, encoder, seed)
        text = place.stages.free(grammar, 12, grammar.end)
        assert text.endswith(grammar.end)
        assert engine.detokenize(place.written).decode() == text
        ways[[kind for kind, _ in place.kinds()] == ["sampled"]] += 1
    assert set(ways) == {True, False}


class FakeThinker(QwenXml):
    """Qwen-XML of a model that thinks first."""

    name = "fake-thinker"

    def assistant_start(self) -> Spans:
        return [*super().assistant_start(), Text("<think>\n")]

    def thinking_end(self) -> Spans:
        return [Control("</tool_response>"), Text("\n\n")]


class FakeTools:
    """One tool without arguments, and another."""

    specs = (ToolSpec("one", "", ()), ToolSpec("other", "", ()))

    def available(self) -> list[str]:
        return ["one", "other"]

    def choices(self, tool: str, given: Any) -> Choices:
        return Choices({}, may_close=True)


@pytest.mark.parametrize("bound", [0, 1, 40])
def test_a_thinking_model_thinks_up_to_its_end_or_a_bound(engine: EmbeddedEngine, encoder: Encoder, bound: int) -> None:
    """Then it speaks, then it calls; neither text holds a reserved id."""
    ended = 0
    for seed in range(12):
        log = FakeLog()
        transcript = Transcript(encoder, log)
        transcript.write(QWEN.user("Issue"), "user")
        writer = CallWriter(
            engine, FakeThinker(), encoder, FakeTools(), sampling=Sampling(1.5, seed=seed), preamble_tokens=bound
        )
        before = len(transcript) + len(encoder.encode(FakeThinker().assistant_start()))
        written = writer.write(transcript)
        ids = list(transcript.ids[before:])
        end = encoder.encode(FakeThinker().thinking_end())
        at, opener = ids.index(end[0]), ids.index(encoder.encode_control("<tool_call>"))
        said = at + len(end)
        assert ids[at:said] == end and at <= bound and opener - said <= bound
        assert encoder.reserved_ids.isdisjoint(ids[:at]) and encoder.reserved_ids.isdisjoint(ids[said:opener])
        assert written.thinking == engine.detokenize(ids[:at]).decode(errors="replace")
        assert written.said == engine.detokenize(ids[said:opener]).decode(errors="replace")
        assert written.call.tool in ("one", "other")
        ended += at < bound
    assert bool(ended) is (bound == 40)


def test_a_dialect_without_thinking_thinks_nothing(engine: EmbeddedEngine, encoder: Encoder) -> None:
    write: Callable[[Transcript], Any] = CallWriter(
        engine, QWEN, encoder, FakeTools(), sampling=Sampling(1.5), preamble_tokens=3
    ).write
    transcript = Transcript(encoder, FakeLog())
    transcript.write(QWEN.user("Issue"), "user")
    assert write(transcript).thinking == ""
