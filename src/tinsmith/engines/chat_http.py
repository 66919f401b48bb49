"""HTTP to a chat endpoint: an answer line by line, however long it takes, and let go of at once.

There is no limit on the whole of an answer, only on silence, since a long prompt is read for minutes without a byte.
Each request has a connection of its own, whose socket is shut down when the caller is interrupted or cancels: the
server notices, and stops. Lines are cut at newlines alone: a JSON text may hold the other characters that Unicode
calls line ends.
"""

import contextlib
import ipaddress
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tinsmith.engines.protocol import Cancelled

if TYPE_CHECKING:
    import httpx

CONNECT = 10.0
"""Seconds for a connection to be made."""
SILENCE = 1800.0
"""Seconds without a byte after which an answer is given up; a prompt of 10 minutes without one is real."""

Waiting = Callable[[float], None]
"""Called again and again in a silence, with its seconds so far; what it raises ends the request."""


class Unreachable(Exception):
    """No connection was made."""


class ConnectionLost(Exception):
    """The connection broke in the middle."""


class Silent(Exception):
    """Nothing came for longer than the limit."""


class Refusal(Exception):
    """An answer that is not 200: its status, its `Retry-After`, and its body."""

    def __init__(self, status: int, retry_after: str, body: bytes) -> None:
        super().__init__(status)
        self.status, self.retry_after, self.body = status, retry_after, body


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class ChatHTTP:
    """Requests to the server of `base_url`. Raises Unreachable, ConnectionLost, Silent, Refusal, Cancelled."""

    def __init__(self, base_url: str, key: str, silence: float = SILENCE) -> None:
        import httpx  # a tenth of a second

        self._client = httpx.Client(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(silence, connect=CONNECT),
            limits=httpx.Limits(max_keepalive_connections=0),
            # What is on this machine is not reached through a proxy.
            trust_env=not is_loopback(base_url),
            verify=not base_url.startswith("http:"),
        )

    def get(self, url: str) -> Any:
        """The JSON answer to a GET; None where it is none."""
        import httpx

        try:
            answer = self._client.get(url, timeout=CONNECT)
        except httpx.TransportError as error:
            raise Unreachable(_words(error)) from error
        if answer.status_code != 200:
            raise Refusal(answer.status_code, "", answer.content)
        try:
            return answer.json()
        except ValueError:
            return None

    def stream(
        self, url: str, body: dict[str, Any], cancel: threading.Event | None, waiting: Waiting
    ) -> Generator[bytes, None, None]:
        """The lines of the answer to a POST, without what ends them. Closing the iterator closes the connection."""
        reader = _Reader(self._client, url, json.dumps(body).encode())
        try:
            yield from reader.lines(cancel, waiting)
        finally:
            reader.close()

    def close(self) -> None:
        """Lets go of everything; may be called twice."""
        self._client.close()


class _Reader:
    """One request, read on a thread of its own, so that the caller can be interrupted while nothing comes."""

    def __init__(self, client: "httpx.Client", url: str, body: bytes) -> None:
        self._client, self._url, self._body = client, url, body
        self._found: queue.Queue[bytes | Exception | None] = queue.Queue()
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def lines(self, cancel: threading.Event | None, waiting: Waiting) -> Iterator[bytes]:
        since = time.monotonic()
        while True:
            if cancel is not None and cancel.is_set():
                raise Cancelled
            try:
                found = self._found.get(timeout=0.05)
            except queue.Empty:
                waiting(time.monotonic() - since)
                continue
            if found is None:
                return
            if isinstance(found, Exception):
                raise found
            yield found
            since = time.monotonic()

    def close(self) -> None:
        """Ends the request at once."""
        with self._lock:
            self._closed = True
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
        # Before there is a socket it waits for the name or the connection, for ten seconds at most: not for us.
        self._thread.join(1.0)

    def _work(self) -> None:
        import httpx

        try:
            self._read()
        except Refusal as refusal:
            self._found.put(refusal)
        except httpx.ConnectError as error:
            self._found.put(Unreachable(_words(error)))
        except (httpx.ConnectTimeout, httpx.PoolTimeout):
            self._found.put(Unreachable(f"no connection within {CONNECT:.0f} seconds"))
        except httpx.TimeoutException:
            self._found.put(Silent())
        except httpx.TransportError as error:
            self._found.put(ConnectionLost(_words(error)))
        except Exception as error:  # one that nobody foresaw is the caller's to see
            self._found.put(error)
        finally:
            with self._lock:
                if self._socket is not None:
                    self._socket.close()
                    self._socket = None

    def _read(self) -> None:
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
        with self._client.stream(
            "POST", self._url, content=self._body, headers=headers, extensions={"trace": self._trace}
        ) as answer:
            if answer.status_code != 200:
                raise Refusal(answer.status_code, answer.headers.get("Retry-After", ""), answer.read())
            rest = b""
            for data in answer.iter_bytes():
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._found.put(line.removesuffix(b"\r"))
            if rest:
                self._found.put(rest)
        self._found.put(None)

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Keeps the socket, before TLS wraps it: shutting this one down ends both."""
        if event != "connection.connect_tcp.complete":
            return
        with self._lock:
            made: socket.socket = info["return_value"].get_extra_info("socket").dup()
            self._socket = made
            if self._closed:  # while it was connecting
                made.shutdown(socket.SHUT_RDWR)


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
