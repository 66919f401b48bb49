"""The embedded engine on a real llama.cpp, with models of random weights."""

import contextlib
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pytest

from tinsmith.engines import (
    Cancelled,
    EmbeddedEngine,
    JsonString,
    OneOf,
    Sampling,
    Until,
    best_first,
    checks,
    open_engine,
    rank,
)
from tinsmith.errors import EngineError, InputError, MachineError
from tinsmith.models.random_weights import Shape, TokenList, small_vocabulary, write_random


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random(tmp_path_factory.mktemp("model") / "random.gguf", scale=0.15)


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[EmbeddedEngine]:
    with open_engine(model) as engine:
        yield engine


@pytest.fixture
def own_engine(model: Path) -> Iterator[EmbeddedEngine]:
    with open_engine(model, context=8192) as engine:
        yield engine


def gone(pid: int, seconds: float = 5.0) -> bool:
    """Whether the process ends (or is a zombie of nobody's) within that time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.02)
    return False


def test_window_is_asked_and_clamped(model: Path, engine: EmbeddedEngine) -> None:
    assert engine.context_window == 32768
    with open_engine(model, context=1000) as small:
        assert 1000 <= small.context_window < 1300  # llama.cpp rounds up
        with pytest.raises(EngineError) as caught:
            small.generate([65] * 2000, limit=1)
        assert caught.value.code == "context_exceeded"


def test_text_there_and_back(engine: EmbeddedEngine) -> None:
    text = "def é(€): return '😀\u2028\0\\'\t\r\n"
    ids = engine.tokenize(text)
    assert engine.detokenize(ids).decode() == text
    assert engine.vocabulary.reserved["<|im_end|>"] not in engine.tokenize("<|im_end|>")
    assert engine.detokenize(engine.tokenize("<|im_end|>")) == b"<|im_end|>"
    assert engine.detokenize(engine.tokenize("a\ud800b")).decode() == "a\ufffdb"


def test_many_texts_are_tokenised_as_each_alone(engine: EmbeddedEngine) -> None:
    texts = [
        "def f",
        "",
        " x",
        "é€😀",
        "\n",
        "<tool_call>",
        "<|im_end|>",
        "a\ud800b",
        *(f"src/m{i}.py\n" for i in range(500)),
    ]
    before = engine.usage.requests
    assert engine.tokenize_all(texts) == [engine.tokenize(text) for text in texts]
    assert engine.tokenize_all([]) == [] and engine.usage.requests == before


def test_ids_are_complete_inside_characters(engine: EmbeddedEngine) -> None:
    """Every id comes, also those of a character split over several; chunks give what single steps give."""
    ids = engine.tokenize("value = ")
    sampling = Sampling(temperature=2.0, seed=3)
    text = [t for t in range(engine.vocabulary.size) if t not in engine.vocabulary.reserved.values()]
    partial = [t for t in text if engine.vocabulary.pieces[t][0] >= 0x80]
    other = [t for t in range(engine.vocabulary.size) if t not in partial]
    free = engine.generate(ids, sampling=sampling, limit=100, banned=other)  # only bytes above 0x7F
    assert free.stop == "limit"
    assert len(free.tokens) == 100
    assert set(free.ids) <= set(partial)
    emoji = engine.generate(ids, grammar=OneOf(["€😀é"], "\n"), limit=30)
    assert emoji.stop == "grammar"
    assert engine.detokenize(emoji.ids) == "€😀é\n".encode()
    assert emoji.ids == engine.tokenize("€😀é\n")


def test_bans_and_stops(engine: EmbeddedEngine) -> None:
    ids = engine.tokenize("return ")
    plain = engine.generate(ids, limit=40, banned=engine.vocabulary.reserved.values())
    assert not set(plain.ids) & set(engine.vocabulary.reserved.values())
    first = engine.generate(ids, limit=40, banned={plain.ids[0]})
    assert plain.ids[0] not in first.ids
    stopped = engine.generate(ids, limit=40, stop={plain.ids[5]}, banned=engine.vocabulary.reserved.values())
    assert stopped.stop == "stop"
    assert stopped.ids == plain.ids[: plain.ids.index(plain.ids[5])]
    ended = engine.generate(
        ids, limit=4, banned=set(range(engine.vocabulary.size)) - {engine.vocabulary.reserved["<|im_end|>"]}
    )
    assert (ended.tokens, ended.stop) == ((), "eog")


def test_same_seed_same_ids(engine: EmbeddedEngine) -> None:
    ids = engine.tokenize("import ")
    hot = Sampling(temperature=1.0, top_k=50, top_p=0.95, seed=7)
    engine.generate(ids, sampling=hot, limit=1)
    runs = [engine.generate(ids, sampling=hot, limit=70).ids for _ in range(2)]
    assert runs[0] == runs[1]
    assert runs[0] != engine.generate(ids, sampling=Sampling(1.0, 50, 0.95, 8), limit=70).ids


def test_choosing_keeps_the_models_ratios(engine: EmbeddedEngine) -> None:
    """Parts of characters, control tokens and ends of a generation are ids like any other."""
    ids = engine.tokenize("for x in y")
    reserved = engine.vocabulary.reserved
    allowed = [65, 97, 0, 172, 221, reserved["<|im_end|>"], reserved["<|im_start|>"], reserved["<tool_call>"]]
    own = engine.next_log_probs(ids, engine.vocabulary.size)
    best = engine.choose(ids, allowed)
    assert best.id == max(allowed, key=own.__getitem__)
    assert best.logprob == pytest.approx(own[best.id], abs=1e-3)
    draws = 1500
    for temperature in (1.0, 3.0):
        found = [engine.choose(ids, allowed, Sampling(temperature, seed=seed)) for seed in range(draws)]
        weights = {token: math.exp(own[token] / temperature) for token in allowed}
        distance = 0.0
        for token in allowed:
            wanted = draws * weights[token] / sum(weights.values())
            distance += (sum(one.id == token for one in found) - wanted) ** 2 / wanted
        assert distance < 26.0  # chi-squared, 7 degrees of freedom: 1 in 2,000; the draws are always the same
    few = [engine.choose(ids, allowed, Sampling(1.0, top_k=2, seed=seed)).id for seed in range(100)]
    assert set(few) == set(sorted(allowed, key=lambda token: -own[token])[:2])
    assert {engine.choose(ids, allowed, Sampling(1.0, top_p=0.01, seed=seed)).id for seed in range(20)} == {best.id}


def test_choosing_among_one_and_among_nearly_all(own_engine: EmbeddedEngine) -> None:
    ids = own_engine.tokenize("for x in y")
    size = own_engine.vocabulary.size
    assert [own_engine.choose([*ids, token], [token]).id for token in range(size)] == list(range(size))
    likely = own_engine.generate(ids, limit=1).ids[0]
    rest = [token for token in range(size) if token != likely]
    assert all(own_engine.choose(ids, rest, Sampling(5.0, seed=seed)).id != likely for seed in range(20))
    for prompt, allowed in (([], [1]), (ids, [])):
        with pytest.raises(ValueError):
            own_engine.choose(prompt, allowed)
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        own_engine.choose(ids, [65, 66], cancel=cancel)
    own_engine.begin_turn()
    own_engine.choose([*ids, 70, 71, 72], [65, 66])
    usage = own_engine.end_turn()
    assert (usage.reused, usage.prefilled, usage.decoded, usage.requests) == (len(ids), 3, 1, 1)


def test_free_text_is_decoded_up_to_its_end_and_no_further(engine: EmbeddedEngine) -> None:
    """No id is decoded to learn that a grammar is complete, and none after a stop id."""
    ids = engine.tokenize("x = ")
    reserved = engine.vocabulary.reserved
    ends = 0
    for seed in range(20):
        for ask in (
            lambda hot: engine.generate(ids, grammar=Until("e"), sampling=hot, limit=40),
            lambda hot: engine.generate(
                ids,
                stop=[reserved["<tool_call>"], reserved["<|im_start|>"]],
                banned=engine.vocabulary.end_of_generation,
                sampling=hot,
                limit=200,
            ),
        ):
            engine.begin_turn()
            generation = ask(Sampling(1.5, seed=seed))
            if generation.stop != "limit":
                ends += 1
                assert engine.end_turn().decoded == len(generation.ids) + (generation.stop == "stop")
    assert ends > 20


def test_an_escaped_quote_does_not_end_a_json_string(engine: EmbeddedEngine) -> None:
    """Neither does a bound on its characters begin anew after one."""
    bans = [token for token, piece in enumerate(engine.vocabulary.pieces) if piece not in (b"\\", b'"', b"n", b"def")]
    bans.remove(engine.vocabulary.reserved["<|im_end|>"])
    ids = engine.tokenize("x = ")
    escaped = 0
    for grammar in (JsonString('"'), JsonString('"', 3, 5), JsonString('"', 0, 2)):
        for seed in range(25):
            hot = Sampling(3.0, seed=seed)
            generation = engine.generate(ids, grammar=grammar, sampling=hot, banned=bans, limit=60)
            text = engine.detokenize(generation.ids).decode()
            if generation.stop == "grammar":
                value = json.loads('"' + text)
                assert grammar.least <= len(value) and (grammar.most is None or len(value) <= grammar.most)
                escaped += '\\"' in text
    assert escaped > 20


def test_a_json_string_ends_in_a_token_that_goes_on(tmp_path: Path) -> None:
    """Of `",` and `def"}` what belongs to the string is kept, in ids of its own, and an escaped quote ends nothing."""
    small, ending = small_vocabulary(), ('",', 'def"}', '\\"', '\\",', '"],')
    tokens = TokenList([*ending, *small.texts], small.merges)
    ends = set[bytes]()
    with open_engine(write_random(tmp_path / "r.gguf", tokens=tokens, scale=0.15), context=512) as engine:
        pieces, ids = engine.vocabulary.pieces, engine.tokenize("x = ")
        written = [piece.encode() for piece in (*ending, "def", "return")]
        bans = [token for token, piece in enumerate(pieces) if piece not in written]
        bans.remove(engine.vocabulary.reserved["<|im_end|>"])
        for seed in range(40):
            hot = Sampling(2.0, seed=seed)
            found = engine.generate(ids, grammar=JsonString(), sampling=hot, banned=bans, limit=60)
            text = engine.detokenize(found.ids).decode()
            assert found.stop == "grammar" and isinstance(json.loads('"' + text), str), text
            ends.add(engine.detokenize(found.ids[-2:]))
            assert engine.tokenize('"') == found.ids[-1:], "no token but the quote's own"
    assert {b'def"', b'\\""'} <= ends


def test_log_prob_is_the_models_own(engine: EmbeddedEngine) -> None:
    ids = engine.tokenize("for x in y")
    probable = engine.next_log_probs(ids, engine.vocabulary.size)
    assert len(probable) == engine.vocabulary.size
    assert math.isclose(sum(map(math.exp, probable.values())), 1.0, abs_tol=1e-3)
    greedy = engine.generate(ids, limit=1).tokens[0]
    assert greedy.logprob == pytest.approx(max(probable.values()), abs=1e-3)
    for token in (65, 172, 221, 0):  # text, a lead byte, a continuation byte
        assert engine.log_probs(ids, [token]) == pytest.approx([probable[token]], abs=1e-3)


def test_each_turn_reuses_all_but_the_last_sampled_id(own_engine: EmbeddedEngine, engine: EmbeddedEngine) -> None:
    """Twenty turns in a window of 32K: prompt = all before, the model's own ids included, and new text."""
    draw = random.Random(5)
    ids: list[int] = []
    previous = 0
    for turn in range(20):
        ids += engine.tokenize("".join(draw.choice("abcdefé \n") for _ in range(150)))
        prompt = len(ids)
        engine.begin_turn()
        engine.warm(ids, threading.Event())
        ids += engine.generate(
            ids, sampling=Sampling(1.0, seed=turn), limit=50, banned=engine.vocabulary.reserved.values()
        ).ids
        ids += engine.generate(ids, grammar=Until("\n"), sampling=Sampling(1.0, seed=turn), limit=20).ids
        usage = engine.end_turn()
        if turn:
            # more where the grammar's end was read after the last id, or ids of a cut character were dropped
            assert previous - 1 <= usage.reused <= previous + 4
        first = usage.reused + usage.prefilled
        assert prompt <= first <= prompt + usage.requests  # each further request reads one id again
        previous = len(ids)
    assert len(ids) > 3000


def test_a_prompt_token_is_read_once(own_engine: EmbeddedEngine) -> None:
    ids = own_engine.tokenize("lorem ipsum " * 100)
    own_engine.begin_turn()
    own_engine.warm(ids)
    own_engine.generate(ids, limit=5)
    usage = own_engine.end_turn()
    assert (usage.reused, usage.prefilled, usage.decoded) == (0, len(ids), 5)


def test_rank_is_the_brute_force_order(engine: EmbeddedEngine) -> None:
    draw = random.Random(2)
    words = ["return", "self", " x", "+", "1", "é", "(", ")", "None", "\n", "😀"]
    texts = list(
        dict.fromkeys("x = " + "".join(draw.choice(words) for _ in range(draw.randint(1, 5))) for _ in range(60))
    )
    prefix = engine.tokenize("def f(self, x):\n    ")
    lines = [engine.tokenize(text) for text in texts]
    head = next(i for i, ids in enumerate(zip(*lines, strict=False)) if len(set(ids)) > 1)
    assert head > 0
    scores = engine.score([*prefix, *lines[0][:head]], [line[head:] for line in lines])
    ranked = rank(engine, prefix, lines)
    assert [index for index, _ in ranked] == sorted(range(len(lines)), key=lambda i: -scores[i])
    assert [score for _, score in ranked] == pytest.approx([scores[i] for i, _ in ranked], abs=5e-3)
    before = engine.usage.requests
    assert rank(engine, prefix, lines, keep=3) == [(i, pytest.approx(s, abs=5e-3)) for i, s in ranked[:3]]
    some = engine.usage.requests - before
    rank(engine, prefix, lines)
    assert some < engine.usage.requests - before - some
    assert next(best_first(engine, prefix, lines))[0] == ranked[0][0]


def test_rank_of_few(engine: EmbeddedEngine) -> None:
    assert rank(engine, [65], []) == []
    assert rank(engine, [65], [[66, 67]]) == [(0, 0.0)]
    assert sorted(i for i, _ in rank(engine, [65], [[66], [66, 67], [66]])) == [0, 1, 2]
    with pytest.raises(ValueError):
        rank(engine, [65], [[66], []])


def test_cancel_while_a_long_prompt_is_read(own_engine: EmbeddedEngine, tmp_path: Path) -> None:
    path = write_random(tmp_path / "slow.gguf", shape=Shape(layers=8, d_model=256, heads=8, head_dim=32, ffn=512))
    with open_engine(path) as slow:
        pid = slow.pid
        cancel = threading.Event()
        threading.Timer(0.5, cancel.set).start()
        start = time.monotonic()
        with pytest.raises(Cancelled):
            slow.generate([65, 66] * 8000, limit=5, cancel=cancel)
        assert time.monotonic() - start < 5
        assert len(slow.generate([65, 66], limit=5).tokens) == 5
        assert slow.pid == pid  # reading can be stopped without ending the child
        assert time.monotonic() - start < 10


def test_cancel_while_decoding_ends_the_child_and_it_comes_back(own_engine: EmbeddedEngine) -> None:
    pid = own_engine.pid
    assert pid is not None
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    with pytest.raises(Cancelled):
        own_engine.generate([65, 66], grammar=Until("\n</parameter>\n"), limit=8000, cancel=cancel)
    assert gone(pid)
    assert len(own_engine.generate([65, 66], limit=5).tokens) == 5
    assert own_engine.pid != pid


def engine_children() -> list[int]:
    """Every engine process below this one, zombies included."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if parent == os.getpid() and "llama_child" in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.fixture
def new_children() -> Callable[[], list[int]]:
    """The engine processes that were not there when the test began (a module's engine lives on)."""
    before = engine_children()
    return lambda: [pid for pid in engine_children() if pid not in before]


class Killer:
    """Kills engine processes from a thread while it is entered: `victim` says which one next, None for none yet."""

    def __init__(self, victim: Callable[[], int | None], most: int) -> None:
        self._victim = victim
        self._most = most
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.killed: list[int] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while len(self.killed) < self._most and not self._over.wait(0.002):
            pid = self._victim()
            if pid is not None and pid not in self.killed:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.killed.append(pid)


def after(seconds: float, engine: EmbeddedEngine) -> Callable[[], int | None]:
    """The engine's process, from `seconds` from now on."""
    start = time.monotonic()
    return lambda: engine.pid if time.monotonic() - start >= seconds else None


def test_killed_at_any_moment_the_answer_is_that_of_an_undisturbed_run(
    model: Path, new_children: Callable[[], list[int]]
) -> None:
    """Whatever is asked: killed before it, while text is tokenised, a prompt is read, ids are decoded, and after.

    Every request begins with an empty cache, as the repeated one does: llama.cpp rounds otherwise where it reads a
    prompt in one piece than where it goes on with a cache.
    """
    text = "".join(random.Random(9).choice("abcdef \n") for _ in range(6000))
    told: list[str] = []
    with open_engine(model, context=16384, on_restart=told.append) as engine:
        ids, hot = engine.tokenize(text), Sampling(1.0, seed=3)
        bans = {token for token, piece in enumerate(engine.vocabulary.pieces) if not piece.isascii()}
        jobs: list[Callable[[], object]] = [
            lambda: engine.tokenize(text * 10),
            lambda: engine.generate(ids, sampling=hot, limit=32, banned=bans).tokens,
            lambda: engine.generate(ids, grammar=Until("\n\n"), sampling=hot, limit=200, banned=bans).tokens,
            lambda: engine.log_probs(ids, [65, 66, 67] * 30),
            lambda: engine.next_log_probs(ids, 100),
        ]
        killed: set[int] = set()
        for job in jobs:
            killed.add(kill_and_wait(engine))
            start = time.monotonic()
            expected = job()
            duration = time.monotonic() - start
            for moment in range(5):
                killed.add(kill_and_wait(engine))
                with Killer(after(duration * moment / 5, engine), most=1) as killer:
                    assert job() == expected
                killed.update(killer.killed)
                assert engine.tokenize("a") and new_children() == [engine.pid]  # no zombie of those before
        assert len(told) == len(killed) >= 40
        assert all("killed" in reason for reason in told)
    assert new_children() == []


def kill_and_wait(engine: EmbeddedEngine) -> int:
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert gone(pid)
    return pid


def test_killed_twice_in_a_row_it_still_answers(model: Path, new_children: Callable[[], list[int]]) -> None:
    """The second time while it loads, or before the repeated request is done."""
    for victims in (lambda: next(iter(new_children()), None), lambda: engine.pid):
        told: list[str] = []
        with open_engine(model, context=16384, on_restart=told.append) as engine:
            expected = engine.generate([65, 66], grammar=Until("\n\n\n\n"), limit=1500)
            with Killer(victims, most=2) as killer:
                assert engine.generate([65, 66], grammar=Until("\n\n\n\n"), limit=1500).ids == expected.ids
            assert len(killer.killed) == len(told) == 2
            assert new_children() == [engine.pid]


def test_killed_while_it_loads_the_first_time(model: Path, new_children: Callable[[], list[int]]) -> None:
    told: list[str] = []
    with Killer(lambda: next(iter(new_children()), None), most=1) as killer:
        engine = open_engine(model, on_restart=told.append)
    with engine:
        assert len(killer.killed) == len(told) == 1
        assert engine.tokenize("a")


def test_three_deaths_in_a_row_are_an_error(model: Path, new_children: Callable[[], list[int]]) -> None:
    with open_engine(model, context=16384) as engine:
        with Killer(lambda: engine.pid, most=100) as killer:
            for _ in range(2):
                with pytest.raises(EngineError) as caught:
                    engine.generate([65, 66], grammar=Until("\n\n\n\n"), limit=8000)
                assert (caught.value.code, caught.value.exit_code) == ("engine_died", 5)
                assert "3 times" in caught.value.message or "4 times" in caught.value.message
        assert 3 <= len(killer.killed) <= 4  # after the error each new death is one too many
        assert new_children() == []
        assert len(engine.generate([65], limit=1).tokens) == 1  # whatever it was has passed
        assert engine.pid is not None
    with pytest.raises(MachineError) as short, Killer(lambda: next(iter(new_children()), None), most=100):
        open_engine(model)
    assert short.value.code == "memory"
    assert new_children() == []


def test_a_turns_account_after_a_restart(own_engine: EmbeddedEngine) -> None:
    ids = own_engine.tokenize("lorem ipsum " * 100)
    own_engine.begin_turn()
    own_engine.warm(ids)
    own_engine.begin_turn()
    ids += own_engine.generate(ids, limit=5).ids
    assert own_engine.pid is not None
    os.kill(own_engine.pid, signal.SIGKILL)
    ids += own_engine.generate(ids, limit=5).ids
    ids += own_engine.generate(ids, limit=5).ids
    usage = own_engine.end_turn()
    prompt = len(ids) - 5
    # Read at first: the last id of the prompt. After the restart: everything, and the last id before each request.
    assert (usage.reused, usage.prefilled, usage.decoded) == (0, 1 + prompt - 5 + 1, 15)
    assert usage.prefill_seconds > 0 and usage.decode_seconds > 0
    own_engine.begin_turn()
    own_engine.generate(ids, limit=1)
    assert own_engine.end_turn().reused == len(ids) - 1


def test_seconds_are_the_engines_own(own_engine: EmbeddedEngine) -> None:
    ids = own_engine.tokenize("lorem ipsum " * 300)
    own_engine.begin_turn()
    start = time.monotonic()
    own_engine.generate(ids, limit=100)
    wall = time.monotonic() - start
    usage = own_engine.end_turn()
    assert 0.1 * wall < usage.prefill_seconds + usage.decode_seconds <= wall
    assert min(usage.prefill_seconds, usage.decode_seconds) > 0
    assert own_engine.usage.prefill_seconds >= usage.prefill_seconds


def test_a_connection_that_closes_is_tried_again_on_the_same_child(model: Path) -> None:
    """Once; where it closes again, the child is replaced. Neither changes what comes."""
    told: list[str] = []
    with open_engine(model, context=16384, on_restart=told.append) as engine:
        expected = engine.generate([65, 66], grammar=Until("\n\n\n\n"), limit=800)
        pid = engine.pid
        for cuts, same in ((1, True), (2, False)):
            cutter = threading.Thread(target=cut_connections, args=(cuts,))
            cutter.start()
            assert engine.generate([65, 66], grammar=Until("\n\n\n\n"), limit=800).ids == expected.ids
            cutter.join()
            assert (engine.pid == pid) is same
        assert len(told) == 1 and "no answer" in told[0]
        assert pid is not None and gone(pid)


def cut_connections(count: int) -> None:
    """Shuts down this process's next `count` connections to loopback, each once it is waiting for an answer."""
    seen: set[str] = set()
    while len(seen) < count:
        time.sleep(0.02)
        for entry in Path("/proc/self/fd").iterdir():
            try:
                name = os.readlink(entry)
                if not name.startswith("socket:") or name in seen:
                    continue
                with socket.socket(fileno=os.dup(int(entry.name))) as found:
                    if found.family == socket.AF_INET and found.getpeername()[0] == "127.0.0.1":
                        time.sleep(0.05)
                        found.shutdown(socket.SHUT_RDWR)
                        seen.add(name)
            except OSError:
                continue


def test_a_model_file_that_is_gone_cannot_be_started_again(
    model: Path, tmp_path: Path, new_children: Callable[[], list[int]]
) -> None:
    path = tmp_path / "m.gguf"
    for place in (None, model.read_bytes()[:-1] + b"x"):
        path.write_bytes(model.read_bytes())
        with open_engine(path) as engine:
            path.unlink()
            assert engine.generate([65], limit=1)
            if place is not None:
                path.write_bytes(place)
            assert engine.pid is not None
            os.kill(engine.pid, signal.SIGKILL)
            with pytest.raises(InputError) as caught:
                engine.generate([65], limit=1)
            assert caught.value.code == "model_unreadable" and caught.value.remedy
            assert new_children() == []


@pytest.mark.parametrize("thread", ["main", "other"])
def test_no_orphan_when_the_parent_is_killed(model: Path, thread: str) -> None:
    code = (
        "import sys, time, threading; from pathlib import Path; from tinsmith.engines import open_engine\n"
        "def work():\n    global engine\n    engine = open_engine(Path(sys.argv[1]))\n"
        + (
            "work()\n"
            if thread == "main"
            else "t = threading.Thread(target=work); t.start(); t.join(); time.sleep(0.2)\n"
        )
        + "assert engine.generate([65], limit=1)\nprint(engine.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(model)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(child)


def test_close_leaves_nothing(model: Path) -> None:
    engine = open_engine(model)
    pid = engine.pid
    assert pid is not None
    assert not any("key" in part for part in Path(f"/proc/{pid}/cmdline").read_text().split("\0"))
    engine.close()
    engine.close()
    assert gone(pid, 0.5)
    with pytest.raises(EngineError):
        engine.tokenize("x")


def test_a_cut_model_is_bad_input(model: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(model.read_bytes()[:-5000])
    with pytest.raises(InputError) as caught:
        open_engine(cut)
    assert (caught.value.code, caught.value.exit_code) == ("model_unreadable", 2)


def test_too_little_memory_is_the_machines(tmp_path: Path) -> None:
    huge = write_random(tmp_path / "huge.gguf", shape=Shape(heads=64, kv_heads=64, head_dim=512, context=1 << 22))
    with pytest.raises(MachineError) as caught:
        open_engine(huge)
    assert (caught.value.code, caught.value.exit_code) == ("memory", 3)


def test_checks_name_the_wheel() -> None:
    assert all(check.ok for check in checks())
