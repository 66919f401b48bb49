"""The embedded engine on a real llama.cpp, with models of random weights."""

import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinsmith.engines import (
    Cancelled,
    EmbeddedEngine,
    OneOf,
    Sampling,
    Until,
    best_first,
    checks,
    open_engine,
    rank,
)
from tinsmith.errors import EngineError, InputError, MachineError
from tinsmith.models.random_weights import Shape, write_random


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


def test_a_killed_child_is_an_engine_error(own_engine: EmbeddedEngine) -> None:
    assert own_engine.pid is not None
    os.kill(own_engine.pid, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(EngineError) as caught:
            own_engine.generate([65], limit=1)
        assert (caught.value.code, caught.value.exit_code) == ("engine_died", 5)


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
