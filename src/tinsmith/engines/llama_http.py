"""llama.cpp's HTTP interface, as much of it as token ids need. Wire format: llama.cpp
`tools/server/README.md`.

A connection serves one request: after a streamed answer the server closes its side, and a kept connection
then fails.
"""

import contextlib
import http.client
import json
import socket
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, TypeVar

from tinsmith.engines.protocol import Cancelled
from tinsmith.errors import EngineError

_T = TypeVar("_T")


class ConnectionLostError(Exception):
    """The server is gone, or left in the middle of an answer."""


class LlamaHTTP:
    """Requests to the server on loopback `port`. Raises ConnectionLostError, Cancelled, EngineError."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Connection": "close",
            "Content-Type": "application/json",
        }

    def get(self, path: str) -> dict[str, Any]:
        """The JSON answer to a GET."""
        return self._exchange("GET", path, None, None, lambda response: json.loads(response.read()))

    def post(self, path: str, body: dict[str, Any], cancel: Event | None = None) -> dict[str, Any]:
        """The JSON answer to a POST. A cancelled server does not notice: it goes on until it is done."""
        return self._exchange("POST", path, body, cancel, lambda response: json.loads(response.read()))

    def stream(self, path: str, body: dict[str, Any], cancel: Event | None = None) -> dict[str, Any]:
        """The last event of a streamed answer. When cancelled the server stops after the batch in hand."""
        ping = {
            "stream": True,
            "sse_ping_interval": 1,
        }  # else a gone client is unnoticed until the prompt is read
        return self._exchange("POST", path, body | ping, cancel, _last_event)

    def _exchange(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        cancel: Event | None,
        read: Callable[[http.client.HTTPResponse], _T],
    ) -> _T:
        if cancel is not None and cancel.is_set():
            raise Cancelled
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        try:
            connection.connect()
            sock: socket.socket = connection.sock  # kept: the connection forgets it once the answer begins

            def ask() -> _T:
                connection.request(method, path, None if body is None else json.dumps(body), self._headers)
                with connection.getresponse() as response:
                    if response.status != 200:
                        raise _refusal(response.read())
                    return read(response)

            if cancel is None:
                return ask()
            return _while_not(cancel, ask, sock)
        except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
            raise ConnectionLostError(str(error)) from error
        finally:
            connection.close()


def _while_not(cancel: Event, ask: Callable[[], _T], sock: socket.socket) -> _T:
    """`ask()` on a thread of its own, its socket shut down when `cancel` is set."""
    answers: list[_T] = []
    failures: list[Exception] = []
    done = Event()

    def work() -> None:
        try:
            answers.append(ask())
        except Exception as error:
            failures.append(error)
        finally:
            done.set()

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        while not done.wait(0.02):
            if cancel.is_set():
                raise Cancelled
    finally:
        if not done.is_set():
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        thread.join()
    if failures:
        raise failures[0]
    return answers[0]


def _last_event(response: http.client.HTTPResponse) -> dict[str, Any]:
    last: dict[str, Any] | None = None
    for line in response:
        if line.startswith(b"data: "):
            last = json.loads(line[6:])
        elif line.startswith(b"error: "):
            raise _refusal(b'{"error":' + line[7:] + b"}")
    if last is None or not last.get("stop"):
        raise ConnectionLostError("the stream ended early")
    return last


def _refusal(body: bytes) -> EngineError:
    error: dict[str, Any] = json.loads(body)["error"]
    message = str(error.get("message", ""))
    if error.get("type") == "exceed_context_size_error":
        return EngineError(
            "context_exceeded",
            f"a prompt of {error.get('n_prompt_tokens')} tokens does not fit into {error.get('n_ctx')}",
            "Use a larger context, or a smaller task.",
        )
    code = "grammar_rejected" if "grammar" in message else "engine_refused"
    return EngineError(
        code, f"the engine refused a request: {message}", "This is a fault of Tinsmith; please report it."
    )
