"""JSON and server-sent events over HTTP, to a server that may compute for a long time before it says a word.

There is no limit on a whole answer. Connecting has one; where nothing is heard for a while the server's
`/health` is asked, and only one that does not answer that either is given up. A connection serves one request:
some servers close their side after a streamed answer, and a kept connection then fails.
"""

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Any, TypeVar

from tinsmith.engines.protocol import Cancelled
from tinsmith.engines.server_address import CONNECT_SECONDS, ServerAddress
from tinsmith.errors import EngineError, InputError, TinsmithError

_T = TypeVar("_T")

_STEP = 0.02  # seconds between two looks at `cancel`


class ConnectionLostError(Exception):
    """The server is gone, or left in the middle of an answer."""


class NotReachedError(ConnectionLostError):
    """No connection could be made: nothing was asked."""


class NotReadyError(Exception):
    """The server is there and still loads its model."""


class _Activity:
    """When something was last heard of a server."""

    def __init__(self) -> None:
        self.heard = time.monotonic()

    def note(self) -> None:
        self.heard = time.monotonic()


class ServerHTTP:
    """Requests to the server at `address`, with `key` where it wants one.

    `patience`: seconds of silence after which the server's health is asked; None: never, as for a child whose
    process is watched. Every request may raise ConnectionLostError, NotReadyError (503), Cancelled,
    InputError `key_refused`, or what `refusal` makes of an error answer.
    """

    def __init__(self, address: ServerAddress, key: str = "", *, patience: float | None = None) -> None:
        self.address = address
        self._patience = patience
        self._headers = {"Connection": "close", "Content-Type": "application/json"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"

    def get(self, path: str) -> Any:
        """The JSON answer to a GET."""
        return self._exchange("GET", path, None, None, lambda response, _: json.loads(response.read()))

    def post(self, path: str, body: dict[str, Any], cancel: Event | None = None) -> Any:
        """The JSON answer to a POST. When cancelled the connection is closed, which not every server notices."""
        return self._exchange("POST", path, body, cancel, lambda response, _: json.loads(response.read()))

    def events(
        self, path: str, body: dict[str, Any], each: Callable[[dict[str, Any]], None], cancel: Event | None = None
    ) -> None:
        """Hands every event of a streamed answer to `each`, as it comes. Comments, such as pings, are activity only."""

        def read(response: http.client.HTTPResponse, activity: _Activity) -> None:
            for line in response:
                activity.note()
                name, _, data = line.strip().partition(b":")
                if name == b"error":
                    raise self.refusal(500, b'{"error":' + data + b"}")
                if name == b"data" and data.strip() != b"[DONE]":
                    event: dict[str, Any] = json.loads(data)
                    if "error" in event:
                        raise self.refusal(500, data)
                    each(event)

        self._exchange("POST", path, body, cancel, read)

    def refusal(self, status: int, body: bytes) -> TinsmithError:
        """The error for an answer that is not 200."""
        message = error_of(body).get("message", "")
        return EngineError(
            "engine_refused",
            f"{self.address} refused a request ({status}): {message}",
            "See the server's own log for the cause.",
        )

    def answers(self) -> bool:
        """Whether anything at all is answered to `GET /health`."""
        connection = self.address.connection()
        connection.timeout = min(CONNECT_SECONDS, self._patience or CONNECT_SECONDS)
        try:
            connection.request("GET", self.address.prefix + "/health", headers=self._headers)
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
        return True

    def _exchange(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        cancel: Event | None,
        read: Callable[[http.client.HTTPResponse, _Activity], _T],
    ) -> _T:
        if cancel is not None and cancel.is_set():
            raise Cancelled
        connection = self.address.connection()
        try:
            connection.connect()
        except OSError as error:
            connection.close()
            raise NotReachedError(str(error)) from error
        try:
            sock: socket.socket = connection.sock  # kept: the connection forgets it once the answer begins
            sock.settimeout(None)
            _keep_alive(sock)
            activity = _Activity()

            def ask() -> _T:
                data = None if body is None else json.dumps(body)
                connection.request(method, self.address.prefix + path, data, self._headers)
                with connection.getresponse() as response:
                    activity.note()
                    if response.status != 200:
                        raise self._error(response.status, response.read())
                    return read(response, activity)

            if cancel is None and self._patience is None:
                return ask()
            return self._watched(ask, sock, activity, cancel)
        except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
            raise ConnectionLostError(str(error)) from error
        finally:
            connection.close()

    def _error(self, status: int, body: bytes) -> Exception:
        if status in (401, 403):
            return InputError(
                "key_refused",
                f"{self.address} does not accept the key ({status})",
                "Give the server's key in TINSMITH_API_KEY.",
            )
        if status == 503:
            return NotReadyError(error_of(body).get("message", "not ready"))
        return self.refusal(status, body)

    def _watched(self, ask: Callable[[], _T], sock: socket.socket, activity: _Activity, cancel: Event | None) -> _T:
        """`ask()` on a thread of its own, its socket shut down when `cancel` is set or the server is gone."""
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
            while not done.wait(_STEP):
                if cancel is not None and cancel.is_set():
                    raise Cancelled
                if self._patience is not None and time.monotonic() - activity.heard > self._patience:
                    if not self.answers() and not done.is_set() and not self.answers():
                        raise ConnectionLostError(f"it has been silent for {self._patience:.0f} seconds")
                    activity.note()
        finally:
            if not done.is_set():
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            thread.join()
        if failures:
            raise failures[0]
        return answers[0]


def error_of(body: bytes) -> dict[str, Any]:
    """The error object of an answer; one whose `message` is the text itself where the answer is no such object."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        found = body.decode(errors="replace").strip()[:300]
    if isinstance(found, dict):
        found = found.get("error", found.get("detail", found))  # pyright: ignore[reportUnknownMemberType]
    return found if isinstance(found, dict) else {"message": str(found)}


def _keep_alive(sock: socket.socket) -> None:
    """Has the kernel find out within a minute that the other machine is gone."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", CONNECT_SECONDS), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):  # not everywhere
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), int(seconds))
