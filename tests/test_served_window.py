"""What servers elsewhere say and leave unsaid: their window, their kind, their silence, their way of going away."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.fake_vllm import FakeVLLM

from tinsmith.engines import Cancelled, EngineChoice, served_window
from tinsmith.engines.attached_server import AttachedServer
from tinsmith.engines.llama_http import LlamaHTTP
from tinsmith.engines.opening import kind_of_server, open_served_engine
from tinsmith.engines.server_address import ServerAddress, server_address
from tinsmith.engines.server_http import ConnectionLostError, NotReachedError, ServerHTTP
from tinsmith.errors import EngineError, InputError

Answers = dict[str, Any]


class FakeServer:
    """Answers GETs from a table by path (with its query) and POSTs with `answer`, which writes what it likes.

    A path that the table lacks is a 404, or what `otherwise` says. `/health` is answered unless `hangs`.
    """

    def __init__(self, table: Answers, *, otherwise: tuple[int, Any] = (404, {"error": "not found"})) -> None:
        self.table, self.otherwise = table, otherwise
        self.hangs = threading.Event()
        self.loading = 0
        self.over = threading.Event()
        self.posts = 0
        self.answer: Callable[[BaseHTTPRequestHandler], None] = lambda handler: say(handler, 404, {})
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if fake.hangs.is_set():
                    fake.over.wait(20)
                    return
                if fake.loading:
                    fake.loading -= 1
                    say(self, 503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}})
                    return
                found = {"/health": {"status": "ok"}} | fake.table
                say(self, 200, found[self.path]) if self.path in found else say(self, *fake.otherwise)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                fake.posts += 1
                fake.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"


def say(handler: BaseHTTPRequestHandler, status: int, body: Any) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


@contextmanager
def serving(table: Answers | None = None, **options: Any) -> Iterator[FakeServer]:
    fake = FakeServer(table or {}, **options)
    thread = threading.Thread(target=fake.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield fake
    finally:
        fake.over.set()
        fake.server.shutdown()
        thread.join()
        fake.server.server_close()


def props(n_ctx: int) -> Answers:
    return {"default_generation_settings": {"n_ctx": n_ctx}, "model_path": "m.gguf"}


OLLAMA = {
    "/v1/models": {"data": [{"id": "qwen3-coder:30b", "owned_by": "library"}]},
    "/api/ps": {
        "models": [{"name": "other:7b", "context_length": 1}, {"name": "qwen3-coder:30b", "context_length": 8192}]
    },
}
LM_STUDIO = {
    "/v1/models": {"data": [{"id": "a", "object": "model"}, {"id": "b", "object": "model"}]},
    "/api/v0/models": {
        "data": [
            {"id": "a", "state": "not-loaded", "max_context_length": 262144},
            {"id": "b", "state": "loaded", "max_context_length": 262144, "loaded_context_length": 16384},
        ]
    },
}
ROUTER = {
    "/props": {"role": "router"},
    "/props?model=org%2Fb%3AQ4": props(24576),
    "/v1/models": {"data": [{"id": "org/b:Q4", "status": {"value": "loaded"}}]},
}
NOT_THERE = (200, {"error": "Unexpected endpoint or method. (GET)"})  # as LM Studio answers


@pytest.mark.parametrize(
    ("table", "otherwise", "model", "tokens", "source"),
    [
        ({"/props": props(32768)}, None, None, 32768, "/props n_ctx"),
        ({"/props?model=m": props(32768)}, None, "m", 32768, "/props?model=m n_ctx"),
        (ROUTER, None, "org/b:Q4", 24576, "/props?model=org%2Fb%3AQ4 n_ctx"),
        ({"/v1/models": {"data": [{"id": "m", "meta": {"n_ctx": 4096, "n_ctx_train": 9}}]}}, None, "m", 4096,
         "/v1/models meta.n_ctx"),
        ({"/v1/models": {"data": [{"id": "x", "max_model_len": 1}, {"id": "m", "max_model_len": 65536}]}}, None, "m",
         65536, "/v1/models max_model_len"),
        (LM_STUDIO, NOT_THERE, "b", 16384, "/api/v0/models loaded_context_length"),
        (LM_STUDIO, NOT_THERE, None, 16384, "/api/v0/models loaded_context_length"),
        (OLLAMA, None, "qwen3-coder:30b", 8192, "/api/ps context_length"),
        ({"/api/ps": {"models": [{"name": "tiny:latest", "context_length": 4096}]}}, None, "tiny", 4096,
         "/api/ps context_length"),
        ({"/props": b"<html>", "/v1/models": [], "/api/ps": OLLAMA["/api/ps"]}, (500, b"oops"), "other:7b", 1,
         "/api/ps context_length"),
    ],
)  # fmt: skip
def test_each_server_says_it_in_its_way(
    table: Answers, otherwise: tuple[int, Any] | None, model: str | None, tokens: int, source: str
) -> None:
    with serving(table, **({"otherwise": otherwise} if otherwise else {})) as fake:
        assert served_window(fake.url + "/v1", model=model) == (tokens, source)


def test_a_real_vllm_wire_and_its_key() -> None:
    with FakeVLLM(window=40960, key="k") as fake:
        assert served_window(fake.url, "k").tokens == 40960
        with pytest.raises(InputError) as caught:
            served_window(fake.url, "wrong")
        assert caught.value.code == "key_refused"


@pytest.mark.parametrize("model", [None, "a", "none-such"])
def test_what_a_model_was_trained_for_is_not_its_window(model: str | None) -> None:
    table = {"/api/v0/models": {"data": [LM_STUDIO["/api/v0/models"]["data"][0]]}, "/props": props(0)}
    with serving(table) as fake, pytest.raises(EngineError) as caught:
        served_window(fake.url, model=model)
    assert (caught.value.code, caught.value.exit_code) == ("window_unknown", 5)
    assert "--context" in caught.value.remedy


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        for ask in (lambda: served_window(url), lambda: kind_of_server(url)):
            with pytest.raises(EngineError) as caught:
                ask()
            assert caught.value.code == "server_lost"


def test_the_kind_of_a_server() -> None:
    for table, otherwise, kind in (
        ({"/props": props(1)}, None, "llama-server"),
        (OLLAMA, None, ""),
        (LM_STUDIO, NOT_THERE, ""),
        ({"/v1/models": {"data": [{"id": "m", "owned_by": "vllm"}]}}, None, "vllm"),
        ({}, (500, b"oops"), ""),
    ):
        with serving(table, **({"otherwise": otherwise} if otherwise else {})) as fake:
            assert kind_of_server(fake.url + "/v1") == kind
            if not kind:
                with pytest.raises(EngineError) as caught:
                    open_served_engine(fake.url, choice=EngineChoice())
                assert caught.value.code == "not_token_level"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8080/v1", ServerAddress(False, "127.0.0.1", 8080)),
        ("http://box.lan/", ServerAddress(False, "box.lan", 80)),
        ("https://host/llm/v1/", ServerAddress(True, "host", 443, "/llm")),
        ("http://[::1]:9", ServerAddress(False, "::1", 9)),
    ],
)
def test_addresses(url: str, address: ServerAddress) -> None:
    assert server_address(url) == address
    assert server_address(str(address)) == address


@pytest.mark.parametrize(
    "url", ["", "localhost:8080", "ftp://x", "http://", "http://x:port", "http://k@x", "http://x?a=b"]
)
def test_no_address(url: str) -> None:
    with pytest.raises(InputError) as caught:
        server_address(url)
    assert caught.value.code == "bad_base_url"


# Silence, and going away.

LAST = {"stop": True, "tokens": [1]}


def streamed(handler: BaseHTTPRequestHandler, *parts: bytes | float) -> None:
    """Writes bytes, sleeps for numbers."""
    handler.send_response(200)
    handler.end_headers()
    for part in parts:
        if isinstance(part, bytes):
            handler.wfile.write(part)
        else:
            time.sleep(part)


def event(body: Answers) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def test_a_slow_prompt_is_waited_for_and_told_of() -> None:
    """Longer than any patience, with pings and without: only a server that does not answer at all is given up."""
    said: list[str] = []
    parts: list[bytes | float] = []
    for read in (512, 1024, 1536):
        parts += [event({"prompt_progress": {"total": 2048, "cache": 0, "processed": read, "time_ms": 1}}), 1.1]
    with serving() as fake:
        http = LlamaHTTP(server_address(fake.url), "", progress=said.append, patience=0.3)
        fake.answer = lambda handler: streamed(handler, *parts, event(LAST))
        assert http.stream("/completion", {}) == LAST
        assert said == [f"reading the prompt: {read:,} of 2,048 tokens" for read in (1024, 1536)]
        fake.answer = lambda handler: streamed(handler, b":\n\n", 1.0, b":\n\n", 1.0, event(LAST))
        assert http.stream("/completion", {}) == LAST

        def late(handler: BaseHTTPRequestHandler) -> None:
            time.sleep(1.5)
            say(handler, 200, LAST)

        fake.answer = late
        assert http.post("/completion", {}) == LAST

        fake.answer = lambda handler: fake.over.wait(20) and None
        fake.hangs.set()
        start = time.monotonic()
        with pytest.raises(ConnectionLostError, match="silent"):
            http.post("/completion", {})
        assert time.monotonic() - start < 5


def test_silence_can_be_cancelled() -> None:
    with serving() as fake:
        fake.answer = lambda handler: fake.over.wait(20) and None
        for patience in (None, 0.1):
            http = ServerHTTP(server_address(fake.url), patience=patience)
            cancel = threading.Event()
            threading.Timer(0.4, cancel.set).start()
            start = time.monotonic()
            with pytest.raises(Cancelled):
                http.post("/completion", {}, cancel)
            assert time.monotonic() - start < 2


def test_a_lost_answer_is_asked_again_and_a_refused_one_is_not() -> None:
    told: list[str] = []
    with serving({"/props": props(1)}) as fake:
        http = LlamaHTTP(server_address(fake.url), "", patience=5)
        server = AttachedServer(http, lambda http: str(http.get("/props")["model_path"]), None, told.append)
        cut = iter([True, True, False])
        fake.answer = lambda handler: streamed(handler, event({"stop": False}), *([] if next(cut) else [event(LAST)]))
        assert server.call(lambda http: http.stream("/completion", {})) == LAST
        assert fake.posts == 3 and len(told) == 1 and "ended early" in told[0]
        for status, body, code in (
            (400, {"error": {"message": "failed to parse grammar", "type": "x"}}, "grammar_rejected"),
            (
                400,
                {"error": {"type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8}},
                "context_exceeded",
            ),
            (500, b"oops", "engine_refused"),
        ):
            fake.posts = 0
            fake.answer = lambda handler, status=status, body=body: say(handler, status, body)
            with pytest.raises(EngineError) as caught:
                server.call(lambda http: http.post("/completion", {}))
            assert (caught.value.code, fake.posts) == (code, 1)


def test_a_server_that_comes_back_must_serve_the_same_model() -> None:
    told: list[str] = []
    with serving({"/props": props(1)}) as fake:
        http = LlamaHTTP(server_address(fake.url), "", patience=5)
        server = AttachedServer(http, lambda http: str(http.get("/props")["model_path"]), None, told.append)
        fake.loading = 2
        assert server.call(lambda http: http.get("/props"))  # it still loads: waited for
        cut = iter([True, False])
        fake.answer = lambda handler: streamed(handler, *([] if next(cut) else [event(LAST)]))
        fake.table["/props"] = props(1) | {"model_path": "other.gguf"}
        with pytest.raises(EngineError) as caught:
            server.call(lambda http: http.stream("/completion", {}))
        assert caught.value.code == "server_lost" and "another model" in caught.value.message and not told


def test_a_server_that_stays_away_is_given_up() -> None:
    said: list[str] = []
    with serving({"/props": props(1)}) as fake:
        http = LlamaHTTP(server_address(fake.url), "", patience=5)
        server = AttachedServer(
            http, lambda http: str(http.get("/props")["model_path"]), said.append, return_seconds=1.0
        )
    start = time.monotonic()
    with pytest.raises(EngineError) as caught:
        server.call(lambda http: http.get("/props"))
    assert caught.value.code == "server_lost" and 1 <= time.monotonic() - start < 5
    assert isinstance(caught.value.__cause__, NotReachedError) and len(said) == 1
