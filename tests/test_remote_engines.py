"""Engines elsewhere: one contract for all of them, and what each does when its server does not do its part.

The binary is real llama.cpp: the one that TINSMITH_LLAMA_SERVER or PATH names, where there is one, and always the
wheel behind the binary's command line. vLLM is a fake that speaks its wire format; no real one was asked.
"""

import math
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fake_vllm import EOS, PIECES, FakeVLLM, encode, logits, write_tokenizer
from tests.test_engine import gone
from tests.wheel_as_server import write_binary

from tinsmith.engines import (
    Cancelled,
    EngineChoice,
    JsonString,
    Literal,
    OneOf,
    Sampling,
    TokenEngine,
    Until,
    attach_llama_server,
    describe,
    open_any_engine,
    open_llama_server,
    open_served_engine,
    open_vllm,
)
from tinsmith.engines.child_process import ChildProcess
from tinsmith.engines.vllm import VLLMEngine
from tinsmith.errors import EngineError, InputError, MachineError
from tinsmith.models import GGUFHeader, find_model
from tinsmith.models.random_weights import Shape, write_random

REAL = os.environ.get("TINSMITH_LLAMA_SERVER") or shutil.which("llama-server") or ""
WINDOW = 4096


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random(tmp_path_factory.mktemp("model") / "random.gguf", scale=0.15)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as a binary."""
    return write_binary(tmp_path_factory.mktemp("bin"))


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[ChildProcess]:
    """A llama-server that somebody else started: only its address and key are known."""
    child = ChildProcess(model, WINDOW)
    yield child
    child.kill()


def url_of(server: ChildProcess) -> str:
    return f"http://127.0.0.1:{server.port}/v1"


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeVLLM]:
    place = tmp_path_factory.mktemp("hub")
    write_tokenizer(place)
    with FakeVLLM(str(place), WINDOW) as fake:
        yield fake


@pytest.fixture(scope="module", params=["attached", "binary", "real-binary", "vllm"])
def engine(
    request: pytest.FixtureRequest, model: Path, wheel: Path, server: ChildProcess, vllm: FakeVLLM
) -> Iterator[TokenEngine]:
    match request.param:
        case "attached":
            found: TokenEngine = attach_llama_server(url_of(server), key=server.key)
        case "binary":
            found = open_llama_server(model, binary=str(wheel), context=WINDOW)
        case "real-binary":
            if not REAL or REAL == "none":
                pytest.skip("no llama-server binary: neither TINSMITH_LLAMA_SERVER nor PATH names one")
            found = open_llama_server(model, binary=REAL, context=WINDOW)
        case _:
            found = open_vllm(vllm.url)
    yield found
    found.close()
    with pytest.raises(EngineError, match="closed"):
        found.tokenize("a")


# One contract.


def test_the_window_is_asked(engine: TokenEngine) -> None:
    assert engine.context_window == WINDOW
    with pytest.raises(EngineError) as caught:
        engine.generate([65] * (WINDOW + 10), limit=1)
    assert (caught.value.code, caught.value.exit_code) == ("context_exceeded", 5)


def test_text_there_and_back(engine: TokenEngine) -> None:
    text = "def é(€): return '😀\u2028\\'\t\r\n"
    assert engine.detokenize(engine.tokenize(text)).decode() == text
    control = engine.vocabulary.reserved["<|im_end|>"]
    for hostile in ("<|im_end|>", "a<|im_end|><|im_start|>b", "<|im_<|im_end|>end|>"):
        ids = engine.tokenize(hostile)
        assert control not in ids and engine.detokenize(ids).decode() == hostile
    assert engine.tokenize("<tool_call>") == [engine.vocabulary.reserved["<tool_call>"]]
    assert engine.tokenize("") == []
    assert engine.detokenize(engine.tokenize("a\ud800b")).decode() == "a\ufffdb"
    texts = ["src/a.py", "", "é😀", "<|im_end|>"]
    assert engine.tokenize_all(texts) == [engine.tokenize(text) for text in texts]


def test_bans_and_stops(engine: TokenEngine) -> None:
    ids = engine.tokenize("return ")
    reserved = set(engine.vocabulary.reserved.values())
    plain = engine.generate(ids, limit=40, banned=reserved)
    assert len(plain.ids) == 40 and plain.stop == "limit" and not set(plain.ids) & reserved
    assert all(token.logprob is None or token.logprob <= 0 for token in plain.tokens)
    assert plain.ids[0] not in engine.generate(ids, limit=40, banned={plain.ids[0]}).ids
    stopped = engine.generate(ids, limit=40, stop={plain.ids[5]}, banned=reserved)
    assert (stopped.stop, stopped.ids) == ("stop", plain.ids[: plain.ids.index(plain.ids[5])])
    only_end = set(range(engine.vocabulary.size)) - {engine.vocabulary.reserved["<|im_end|>"]}
    ended = engine.generate(ids, limit=4, banned=only_end)
    assert (ended.tokens, ended.stop) == ((), "eog")
    assert engine.generate(ids, limit=0).stop == "limit"


def test_same_seed_same_ids(engine: TokenEngine) -> None:
    ids = engine.tokenize("import ")
    hot = Sampling(temperature=1.0, top_k=50, top_p=0.95, seed=7)
    engine.generate(ids, sampling=hot, limit=1)
    runs = [engine.generate(ids, sampling=hot, limit=60).ids for _ in range(2)]
    assert runs[0] == runs[1] != engine.generate(ids, sampling=Sampling(1.0, 50, 0.95, 8), limit=60).ids


def test_every_grammar_is_kept(engine: TokenEngine) -> None:
    ids = engine.tokenize("value = ")
    banned = set(engine.vocabulary.reserved.values())
    for seed in range(4):
        hot = Sampling(1.5, seed=seed)
        one = engine.generate(ids, grammar=OneOf(["€😀é", "€", "src/a"], "\n"), sampling=hot, limit=30)
        assert one.stop == "grammar" and engine.detokenize(one.ids).decode() in ("€😀é\n", "€\n", "src/a\n")
        bare = engine.generate(ids, grammar=OneOf(["a", "ab", "abc"]), sampling=hot, limit=30)
        assert bare.stop == "grammar" and engine.detokenize(bare.ids).decode() in ("a", "ab", "abc")
        for grammar, end in ((Until("\n"), "\n"), (Until("\n</parameter>\n"), "\n</parameter>\n")):
            free = engine.generate(ids, grammar=grammar, sampling=hot, limit=120, banned=banned)
            text = engine.detokenize(free.ids).decode()  # whole characters
            assert "\0" not in text and not banned & set(free.ids) and len(free.ids) <= 120
            assert (end in text, free.stop) in ((True, "grammar"), (False, "limit"))
            assert text.find(end) in (-1, len(text) - len(end))
        quoted = engine.generate(ids, grammar=JsonString(), sampling=hot, limit=60, banned=banned)
        assert engine.detokenize(quoted.ids).decode().endswith('"') is (quoted.stop == "grammar")
    literal = engine.generate(ids, grammar=Literal("=é\n"), limit=20)
    assert (engine.detokenize(literal.ids).decode(), literal.stop) == ("=é\n", "grammar")


def test_a_choice_is_among_those_allowed(engine: TokenEngine) -> None:
    ids = engine.tokenize("def f(")
    reserved = engine.vocabulary.reserved
    allowed = [65, 172, reserved["<|im_end|>"], reserved["<tool_call>"]]
    drawn = [engine.choose(ids, allowed, Sampling(3.0, seed=seed)) for seed in range(12)]
    assert {token.id for token in drawn} <= set(allowed) and len({token.id for token in drawn}) > 1
    assert engine.choose(ids, [172]).id == 172
    assert engine.choose(ids, allowed).id == engine.choose(ids, allowed).id
    with pytest.raises(ValueError):
        engine.choose(ids, [])


def test_log_probs_add_up(engine: TokenEngine) -> None:
    ids = engine.tokenize("for x in y")
    probable = engine.next_log_probs(ids, 20)
    assert len(probable) == 20 and list(probable.values()) == sorted(probable.values(), reverse=True)
    best = next(iter(probable))
    assert engine.generate(ids, limit=1).tokens[0].id == best
    forced = [best, 65, 66]
    found = engine.log_probs(ids, forced)
    assert found[0] == pytest.approx(probable[best], abs=1e-2) and all(value < 0 for value in found)
    assert engine.score(ids, [forced]) == [pytest.approx(sum(found), abs=1e-2)]


def test_a_turn_is_accounted_for(engine: TokenEngine) -> None:
    ids = engine.tokenize("lorem ipsum " * 40)
    engine.warm(ids)
    engine.begin_turn()
    engine.warm(ids)
    engine.generate(ids, limit=5)
    usage = engine.end_turn()
    assert usage.decoded == 5 and usage.reused + usage.prefilled >= len(ids)
    assert usage.reused >= len(ids) - 17  # vLLM caches whole blocks of 16


def test_cancelled_before_it_is_asked(engine: TokenEngine) -> None:
    cancel = threading.Event()
    cancel.set()
    for ask in (
        lambda: engine.warm([65] * 50, cancel),
        lambda: engine.generate([65], limit=5, cancel=cancel),
        lambda: engine.choose([65], [66, 67], cancel=cancel),
    ):
        with pytest.raises(Cancelled):
            ask()
    assert engine.generate([65], limit=1)


# A llama-server that runs already.


def test_its_vocabulary_is_that_of_the_file(server: ChildProcess, model: Path, tmp_path: Path) -> None:
    """Whether it is read from the file or, where that cannot be had, asked of the server."""
    header = GGUFHeader(model).vocabulary
    with attach_llama_server(url_of(server), key=server.key) as engine:
        assert engine.vocabulary == header
    with pytest.raises(EngineError) as caught:
        attach_llama_server(url_of(server), key=server.key, gguf=find_model("solder").path)
    assert caught.value.code == "no_vocabulary" and caught.value.remedy
    hidden = write_random(tmp_path / "hidden.gguf", scale=0.15)
    child = ChildProcess(hidden, 1024)
    try:
        hidden.rename(tmp_path / "elsewhere.gguf")
        with attach_llama_server(url_of(child), key=child.key) as engine:
            assert engine.vocabulary == header
            assert engine.generate(engine.tokenize("x = "), grammar=OneOf(["é", "e"], "\n"), limit=9).stop == "grammar"
    finally:
        child.kill()


def test_a_wrong_key_is_bad_input(server: ChildProcess) -> None:
    with pytest.raises(InputError) as caught:
        attach_llama_server(url_of(server), key="wrong")
    assert (caught.value.code, caught.value.exit_code) == ("key_refused", 2)


def test_a_server_that_goes_away_for_good(model: Path) -> None:
    child = ChildProcess(model, 1024)
    told: list[str] = []
    with attach_llama_server(url_of(child), key=child.key, on_restart=told.append) as engine:
        assert engine.generate([65], limit=1) and engine.pid is None
        child.kill()
        cancel = threading.Event()
        threading.Timer(1, cancel.set).start()
        with pytest.raises(Cancelled):  # it is waited for, and waiting can be cancelled
            engine.generate([65], limit=1, cancel=cancel)
    with pytest.raises(EngineError) as caught:
        attach_llama_server(url_of(child), key=child.key)
    assert caught.value.code == "server_lost" and told == []


def test_a_cancelled_request_stops_on_the_server(tmp_path: Path) -> None:
    """The server answers the next question at once, though the one given up would have taken it long."""
    shape = Shape(layers=8, d_model=256, heads=8, head_dim=32, ffn=512, context=32768)
    child = ChildProcess(write_random(tmp_path / "slow.gguf", shape=shape), 20_000)
    said: list[str] = []
    try:
        with attach_llama_server(url_of(child), key=child.key, progress=said.append) as engine:
            cancel = threading.Event()
            threading.Timer(3, cancel.set).start()
            with pytest.raises(Cancelled):
                engine.generate([65, 66] * 9000, limit=5, cancel=cancel)
            start = time.monotonic()
            assert len(engine.generate([65, 66], limit=5).tokens) == 5
            assert time.monotonic() - start < 5
            threading.Timer(0.5, cancel.set).start()
            cancel.clear()
            with pytest.raises(Cancelled):
                engine.generate([65, 66], grammar=Until("\n</parameter>\n\n\n"), limit=15_000, cancel=cancel)
            start = time.monotonic()
            assert engine.generate([65, 66], limit=1)
            assert time.monotonic() - start < 5  # it looks once a second whether anyone still waits
            assert any("of 17,999 tokens" in text for text in said)  # progress, at most once a second
            assert sum("reading" in text for text in said) <= 4
    finally:
        child.kill()


# A binary that we run.


def test_no_orphan_and_no_key_in_sight(model: Path, wheel: Path) -> None:
    with open_llama_server(model, binary=str(wheel), context=1024) as engine:
        pid = engine.pid
        assert pid is not None
        (server,) = children(pid)
        for process in (pid, server):
            assert "api-key-file" not in command(pid) and engine_key(engine) not in command(process)
            assert engine_key(engine) not in Path(f"/proc/{process}/environ").read_text()
        os.kill(pid, signal.SIGKILL)  # the one that holds it
        assert gone(server)
        assert engine.generate([65], limit=1) and engine.pid != pid
        (server,) = children(engine.pid or 0)
        os.kill(server, signal.SIGKILL)
        assert engine.generate([65], limit=1)
        (server,) = children(engine.pid or 0)
    assert gone(server, 1)


def engine_key(engine: TokenEngine) -> str:
    return engine._child._child.key  # type: ignore[attr-defined]


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize("thread", ["main", "other"])
def test_a_binary_dies_with_us(model: Path, wheel: Path, thread: str) -> None:
    import subprocess
    import sys

    code = (
        "import sys, time, threading; from pathlib import Path; from tinsmith.engines import open_llama_server\n"
        "def work():\n    global engine\n"
        "    engine = open_llama_server(Path(sys.argv[1]), binary=sys.argv[2], context=1024)\n"
        + ("work()\n" if thread == "main" else "t = threading.Thread(target=work); t.start(); t.join()\n")
        + "assert engine.generate([65], limit=1)\nprint(engine.pid, flush=True); time.sleep(60)"
    )
    arguments = [sys.executable, "-c", code, str(model), str(wheel)]
    parent = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    (server,) = children(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(server) and gone(pid)


def test_a_restarted_binary_gives_what_an_undisturbed_one_gives(model: Path, wheel: Path) -> None:
    told: list[str] = []
    with open_llama_server(model, binary=str(wheel), context=WINDOW, on_restart=told.append) as engine:
        expected = engine.generate([65, 66], grammar=Until("\n\n\n\n"), limit=800).ids
        for delay in (0.0, 0.2):
            pid = engine.pid
            assert pid is not None
            threading.Timer(delay, os.kill, (children(pid)[0], signal.SIGKILL)).start()
            time.sleep(0.1 if not delay else 0)
            assert engine.generate([65, 66], grammar=Until("\n\n\n\n"), limit=800).ids == expected
        assert len(told) == 2 and all("killed" in reason for reason in told)


@pytest.mark.parametrize(
    ("says", "code", "exit_code"),
    [
        ("ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory", "memory", 3),
        ("llama-server: error while loading shared libraries: libcuda.so.1: no such file", "engine_missing", 3),
        ("0.00.1 E llama_model_load: error loading model: unknown model architecture", "model_unreadable", 2),
        ("something else", "engine_died", 5),
    ],
)
def test_why_a_binary_does_not_start(model: Path, tmp_path: Path, says: str, code: str, exit_code: int) -> None:
    with pytest.raises((EngineError, MachineError, InputError)) as caught:
        open_llama_server(model, binary=str(write_binary(tmp_path, says)))
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code) and caught.value.remedy


def test_arguments_of_the_person(model: Path, wheel: Path) -> None:
    with open_llama_server(model, binary=str(wheel), arguments=["--n-gpu-layers", "0"], context=1024) as engine:
        assert "--n-gpu-layers\x000" in command(children(engine.pid or 0)[0])
    for arguments in (["--port", "80"], ["--api-key=x"], ["--no-such-option", "1"]):
        with pytest.raises(InputError) as caught:
            open_llama_server(model, binary=str(wheel), arguments=arguments)
        assert caught.value.code == "engine_arguments"
    with pytest.raises(MachineError) as missing:
        open_llama_server(model, binary="/no/such/llama-server")
    assert missing.value.code == "engine_missing"


# vLLM.


def test_nothing_is_left_to_vllms_defaults(vllm: FakeVLLM) -> None:
    with open_vllm(vllm.url) as engine:
        engine.generate([65], limit=2)
    sent = vllm.requests[-1]
    assert (sent["repetition_penalty"], sent["min_p"], sent["return_token_ids"]) == (1.0, 0.0, True)
    assert sent["prompt"] == [65] and sent["stream"] and sent["skip_special_tokens"] is False
    # Greedy is the model's own best, step by step.
    ids = [65]
    for token in open_vllm(vllm.url).generate([65], limit=10, banned={EOS}).ids:
        best = max((t for t in range(len(PIECES)) if t != EOS), key=logits(ids).__getitem__)
        assert token == best
        ids.append(token)


def test_a_token_that_goes_on_after_the_end_is_cut(tmp_path: Path) -> None:
    """`\\n</parameter>\\nx` is one id of this vocabulary; the value ends before its x."""
    write_tokenizer(tmp_path)
    long = PIECES.index(b"\n</parameter>\nx")
    with FakeVLLM(str(tmp_path)) as fake, open_vllm(fake.url) as engine:
        others = [token for token in range(len(PIECES)) if token not in (long, 65)]
        for seed in range(20):
            found = engine.generate(
                [65], grammar=Until("\n</parameter>\n"), banned=others, sampling=Sampling(2.0, seed=seed), limit=40
            )
            if found.stop == "grammar":
                break
        text = engine.detokenize(found.ids).decode()
        assert text == "A" * (len(text) - 14) + "\n</parameter>\n"
        assert long not in found.ids and [t.logprob for t in found.tokens[-2:]] == [None, None]


def test_a_dropped_stream_is_asked_again(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    told: list[str] = []
    with FakeVLLM(str(tmp_path)) as fake, open_vllm(fake.url, on_restart=told.append) as engine:
        expected = engine.generate([65], limit=10, banned={EOS}).ids
        fake.drop_after = [3, 0]
        assert engine.generate([65], limit=10, banned={EOS}).ids == expected
        assert len(told) == 1
        fake.drop_after = [1, 1, 1]
        with pytest.raises(EngineError) as caught:
            engine.generate([65], limit=10, banned={EOS})
        assert (caught.value.code, caught.value.exit_code) == ("server_lost", 5)


def test_a_cancelled_stream_is_closed(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    with FakeVLLM(str(tmp_path)) as fake, open_vllm(fake.url) as engine:
        for fake.delay, fake.token_seconds in ((30.0, 0.0), (0.0, 1.0)):
            cancel = threading.Event()
            threading.Timer(0.3, cancel.set).start()
            start = time.monotonic()
            with pytest.raises(Cancelled):
                engine.generate([65], limit=100, banned={EOS}, cancel=cancel)
            assert time.monotonic() - start < 3
        assert within(3, lambda: fake.aborted == 2)


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.02)
    return holds()


def test_what_a_vllm_may_not_do(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    with FakeVLLM(str(tmp_path)) as fake, open_vllm(fake.url) as engine:
        fake.ignores_bans = True
        first = engine.generate([65], limit=1).ids[0]
        for ask in (
            lambda: engine.generate([65], limit=1, banned={first}),
            lambda: engine.generate([65], limit=1, grammar=Until("\n"), banned={first}),
        ):
            with pytest.raises(EngineError) as caught:
                ask()
            assert caught.value.code == "ban_ignored"
        fake.token_ids = False
        with pytest.raises(EngineError) as old:
            engine.generate([65], limit=1)
        assert old.value.code == "no_token_ids"
        with pytest.raises(EngineError) as many:
            engine.next_log_probs([65], 256)
        assert "--max-logprobs" in many.value.remedy


def test_a_vllm_whose_vocabulary_is_not_here(tmp_path: Path) -> None:
    with FakeVLLM() as fake:
        with pytest.raises(EngineError) as caught:
            open_vllm(fake.url)
        assert caught.value.code == "no_vocabulary"
        with pytest.raises(EngineError) as other:
            open_vllm(fake.url, vocabulary=find_model("solder").path)
        assert other.value.code == "no_vocabulary"
        write_tokenizer(tmp_path)
        with open_vllm(fake.url, vocabulary=tmp_path) as engine:
            assert isinstance(engine, VLLMEngine) and engine.tokenize("self") == encode("self")
            assert math.isclose(sum(map(math.exp, engine.next_log_probs([65], 20).values())), 1, abs_tol=0.5)
        (tmp_path / "tokenizer.json").write_text("{}")
        with pytest.raises(InputError) as broken:
            open_vllm(fake.url, vocabulary=tmp_path)
        assert broken.value.code == "tokenizer_unreadable"
        with FakeVLLM(key="k") as locked, pytest.raises(InputError) as key:
            open_vllm(locked.url)
        assert key.value.code == "key_refused"


# Which one.


def test_which_engine(model: Path, wheel: Path, server: ChildProcess, vllm: FakeVLLM, tmp_path: Path) -> None:
    said: list[str] = []
    for choice, words in (
        (EngineChoice("none"), "built-in llama.cpp"),
        (EngineChoice(str(wheel)), f"llama-server {wheel}"),
    ):
        engine = open_any_engine(model, choice=choice, context=1024)
        assert words in describe(engine)
        engine.close()
    before = os.environ["PATH"]
    try:
        os.environ["PATH"] = f"{wheel.parent}{os.pathsep}{before}"
        engine = open_any_engine(model, choice=EngineChoice(), context=1024)
        assert "llama-server" in describe(engine)
        engine.close()
        # One that was only found and cannot run is left for the wheel; one that was named is an error.
        broken = write_binary(tmp_path, "llama-server: error while loading shared libraries: libcuda.so.1")
        os.environ["PATH"] = f"{broken.parent}{os.pathsep}{before}"
        engine = open_any_engine(model, choice=EngineChoice(), context=1024, progress=said.append)
        assert "built-in" in describe(engine) and any("cannot be used" in text for text in said)
        engine.close()
    finally:
        os.environ["PATH"] = before
    with pytest.raises(MachineError):
        open_any_engine(model, choice=EngineChoice(str(broken)))
    for url, key, words in ((url_of(server), server.key, "llama-server at"), (vllm.url, "", "vLLM at")):
        served = open_served_engine(url, choice=EngineChoice(key=key))
        assert words in describe(served.engine)
        served.engine.close()
    with pytest.raises(InputError) as caught:
        open_served_engine(url_of(server), choice=EngineChoice(key=server.key), model="another")
    assert caught.value.code == "model_unknown" and "random.gguf" in caught.value.remedy
