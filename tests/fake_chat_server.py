"""A chat endpoint on loopback that plays a well-behaved model with a script, and is faulty where a test says so.

Real HTTP and server-sent events. The script is a list of calls; each answer that was sent whole is one step further.
A `Fault` meets one request, by its number from 0, in the place of the next step.
"""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tinsmith.dialects import Call
from tinsmith.tools import TOOLS

Handler = BaseHTTPRequestHandler
Fault = Callable[["FakeChatServer", Handler, Call], None]
"""Answers a request in its own way; the step is not taken."""


class FakeChatServer:
    """Serves `script` as the model `name`. `window`: the served context in tokens (`bytes_a_token` bytes of JSON each).

    Where `tells_window` is false nothing says how long it is but the refusal of what is longer.
    """

    def __init__(
        self,
        script: Sequence[Call],
        faults: Mapping[int, Fault] | None = None,
        *,
        window: int = 131_072,
        bytes_a_token: float = 4.0,
        tells_window: bool = True,
        name: str = "fake-coder",
        port: int = 0,
    ) -> None:
        self.script = script
        self.faults = dict(faults or {})
        self.window, self.bytes_a_token, self.tells_window, self.name = window, bytes_a_token, tells_window, name
        self.step = 0
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.answered: list[int] = []
        self.refused = 0
        self.gone = threading.Event()
        """Set where a client went away while it was waiting for an answer."""
        self._lock = threading.Lock()
        server = self

        class Requests(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.get(self)

            def do_POST(self) -> None:
                server.post(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Requests)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def get(self, handler: Handler) -> None:
        if handler.path == "/v1/models":
            row: dict[str, Any] = {"id": self.name, "object": "model", "owned_by": "test"}
            if self.tells_window:
                row["max_model_len"] = self.window
            answer(handler, 200, {"object": "list", "data": [row]})
        else:
            answer(handler, 404, {"error": {"message": "not found"}})

    def post(self, handler: Handler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            number = len(self.requests)
            self.requests.append(body)
            self.headers.append(dict(handler.headers))
            step = self.step
        check_legal(body)
        prompt = self.tokens(body)
        if prompt > self.window:
            self.refused += 1
            error = {"type": "exceed_context_size_error", "code": 400, "n_prompt_tokens": prompt, "n_ctx": self.window}
            answer(handler, 400, {"error": error | {"message": "the request exceeds the available context size"}})
            return
        call = self.call_for(body, step)
        with contextlib.suppress(OSError):  # the client is gone
            if number in self.faults:
                self.faults[number](self, handler, call)
                return
            stream(handler, [*call_deltas(call), usage(prompt, 20)])
            with self._lock:
                self.step += 1
                self.answered.append(number)

    def call_for(self, body: Mapping[str, Any], step: int) -> Call:
        """What the model calls in its answer of that number, from 0."""
        return self.script[min(step, len(self.script) - 1)]

    def tokens(self, body: Mapping[str, Any]) -> int:
        """The prompt's length, as this server counts."""
        shown = json.dumps([body["messages"], body.get("tools")], ensure_ascii=False)
        return int(len(shown.encode()) / self.bytes_a_token)


def check_legal(body: Mapping[str, Any]) -> None:
    """What strict chat templates and servers take: roles that alternate, a result for each call, arguments that are
    objects. A request that is not so is an AssertionError in the server, and the client's connection breaks."""
    messages = body["messages"]
    assert messages[0]["role"] == "system"
    before, due = "system", list[str]()
    for message in messages[1:]:
        role = message["role"]
        follows = {
            "system": {"user"},
            "user": {"assistant"},
            "assistant": {"tool"} if due else {"user"},
            "tool": {"tool"} if due else {"assistant"},
        }
        assert role in follows[before], f"{role} after {before}"
        if role == "tool":
            assert message["tool_call_id"] == due.pop(0)
        elif role == "assistant":
            assert message["content"] or message.get("tool_calls"), "an empty answer"
            for call in message.get("tool_calls", ()):
                assert isinstance(json.loads(call["function"]["arguments"]), dict)
                assert len(call["id"]) == 9
                due.append(call["id"])
        before = role
    assert before in ("user", "tool") and not due, f"it ends with {before}"


def answer(handler: Handler, status: int, body: Any, headers: Mapping[str, str] | None = None) -> None:
    data = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)


def begin(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.close_connection = True


def send(handler: Handler, text: str) -> None:
    """A piece of a stream, as a chunk of its own."""
    data = text.encode()
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
    handler.wfile.flush()


def end(handler: Handler) -> None:
    handler.wfile.write(b"0\r\n\r\n")


def event(data: Any) -> str:
    return f"data: {json.dumps(data)}\n\n"


def chunk(delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def usage(prompt: int, completion: int, cached: int = 0) -> dict[str, Any]:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"choices": [], "usage": counts | {"prompt_tokens_details": {"cached_tokens": cached}}}


def stream(handler: Handler, events: Sequence[Any], done: bool = True) -> None:
    """A whole stream. What is text is sent as it is."""
    begin(handler)
    for each in events:
        send(handler, each if isinstance(each, str) else event(each))
    if done:
        send(handler, "data: [DONE]\n\n")
    end(handler)


def arguments_of(call: Call) -> dict[str, Any]:
    """The arguments as JSON values; an unknown tool's are strings."""
    spec = next((spec for spec in TOOLS if spec.name == call.tool), None)
    return dict(call.arguments) if spec is None else call.values(spec)


def call_deltas(call: Call, size: int = 7, said: str = "") -> list[Any]:
    """A call as OpenAI streams one, its arguments in pieces of `size` characters."""
    text = json.dumps(arguments_of(call))
    first = {"index": 0, "id": "call_1", "type": "function", "function": {"name": call.tool, "arguments": ""}}
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return [
        chunk({"role": "assistant", "content": said}),
        chunk({"tool_calls": [first]}),
        *(chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}) for piece in pieces),
        chunk({}, "tool_calls"),
    ]


def text_deltas(text: str, finish: str = "stop") -> list[Any]:
    return [chunk({"content": text[at : at + 9]}) for at in range(0, len(text), 9)] + [chunk({}, finish)]


# Faults.


def says(text: Callable[[Call], str]) -> Fault:
    """The model's call, or what it says in its place, comes as text."""

    def fault(server: FakeChatServer, handler: Handler, call: Call) -> None:
        stream(handler, [*text_deltas(text(call)), usage(100, 20)])

    return fault


def leaks(text: Callable[[Call], str]) -> Fault:
    """As `says`, and the step counts as taken: the call is all there, if only the client reads it."""

    def fault(server: FakeChatServer, handler: Handler, call: Call) -> None:
        says(text)(server, handler, call)
        server.step += 1

    return fault


def qwen_text(call: Call) -> str:
    """The call in Qwen's XML."""
    parameters = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in call.arguments.items())
    return f"I look.\n\n<tool_call>\n<function={call.tool}>\n{parameters}</function>\n</tool_call>"


def qwen_text_without_opener(call: Call) -> str:
    return qwen_text(call).replace("<tool_call>\n", "")


def devstral_text(call: Call) -> str:
    """The call as Devstral Small 2 writes it."""
    return f"I look.[TOOL_CALLS]{call.tool}[ARGS]{json.dumps(arguments_of(call))}"


def announcement(call: Call) -> str:
    return f"I will now call {call.tool} to look at the code."


def cuts_arguments(server: FakeChatServer, handler: Handler, call: Call) -> None:
    """A call whose JSON ends early, with the finish reason of a whole one."""
    text = json.dumps(arguments_of(call))[:-4]
    delta = {"index": 0, "id": "call_1", "function": {"name": call.tool, "arguments": text}}
    stream(handler, [chunk({"tool_calls": [delta]}), chunk({}, "tool_calls"), usage(100, 20)])


def unknown_tool(server: FakeChatServer, handler: Handler, call: Call) -> None:
    stream(handler, [*call_deltas(Call("write_file", {"path": "shop.py"})), usage(100, 20)])


def status(code: int, message: str = "try again", headers: Mapping[str, str] | None = None) -> Fault:
    def fault(server: FakeChatServer, handler: Handler, call: Call) -> None:
        answer(handler, code, {"error": {"message": message, "type": "server_error"}}, headers)

    return fault


def drops(server: FakeChatServer, handler: Handler, call: Call) -> None:
    """The connection breaks in the middle of the arguments."""
    begin(handler)
    for each in call_deltas(call)[:4]:
        send(handler, event(each))
    reset(handler)


def reset(handler: Handler) -> None:
    """Breaks the connection, as a server that dies does."""
    handler.close_connection = True
    with contextlib.suppress(OSError):
        handler.connection.shutdown(socket.SHUT_RDWR)


def silent(seconds: float) -> Fault:
    """Sends nothing for that long, then the answer."""

    def fault(server: FakeChatServer, handler: Handler, call: Call) -> None:
        until = time.monotonic() + seconds
        handler.connection.settimeout(0.02)
        while time.monotonic() < until:
            try:
                if handler.connection.recv(1) == b"":
                    server.gone.set()
                    return
            except TimeoutError:
                continue
        handler.connection.settimeout(None)
        stream(handler, [*call_deltas(call), usage(100, 20)])
        server.step += 1

    return fault
