"""The proxy outside the sandbox: HTTP `CONNECT` and plain `http://` requests (RFC 9112, RFC 9110), on a UNIX socket.

The client is a stranger's program, so requests are read strictly and within bounds.  A plain request is one request:
its `Host` is written anew from its target, its body has a `Content-Length`, and the connection ends with the answer.
What goes through a tunnel is not looked at: whoever may reach a host may tell it anything.
"""

import asyncio
import os
import re
import socket
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from tinsmith.workspace.network.allowlist import Allowlist, Target, is_public, parse_target
from tinsmith.workspace.sandbox import Bind
from tinsmith.workspace.tree import remove

INSIDE = Path(__file__).with_name("inside") / "tinsmith_forwarder.py"
_PLACE = Path("/opt/tinsmith-network")
_CERTIFICATES = ("/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted")
_HEAD_LIMIT = 32 << 10
_CONNECTIONS = 64
_PATIENCE = 30.0
"""Seconds for a request to arrive, a name to be resolved, a host to answer the connection."""
_IDLE = 300.0
_MAX_BODY = 1 << 30
_HOP = {
    "connection",
    "proxy-connection",
    "proxy-authorization",
    "proxy-authenticate",
    "keep-alive",
    "te",
    "upgrade",
    "host",
}
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True)
class Attempt:
    """One request for a host, and what came of it: `allowed`, or why it was not."""

    target: str
    verdict: str


class _Refused(Exception):
    def __init__(self, status: str, verdict: str, target: str) -> None:
        super().__init__(verdict)
        self.status, self.verdict, self.target = status, verdict, target


class Proxy:
    """A proxy in a thread of its own, for as long as its `with` block runs."""

    def __init__(self, allow: Allowlist, directory: Path, *, resolve: Resolve | None = None) -> None:
        """The socket lies in `directory`, which is made (only its owner can enter it) and removed again.

        `resolve` gives the addresses of a name; None: this machine's resolver.
        """
        self.attempts: list[Attempt] = []
        """In their order; the last thousand."""
        self._allow = allow
        self._directory = directory
        self._resolve = resolve or _resolve
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="tinsmith-proxy", daemon=True)
        self._started = threading.Event()
        self._failed: OSError | None = None
        self._stop = asyncio.Event()
        self._open = 0

    def __enter__(self) -> "Proxy":
        remove(self._directory)
        self._directory.mkdir(mode=0o700, parents=True)
        # Mounted alone: inside, another user may be the one who connects.
        (self._directory / "socket").mkdir()
        (self._directory / "socket").chmod(0o755)
        self._thread.start()
        self._started.wait()
        if self._failed is not None:
            self._thread.join()
            raise self._failed
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        remove(self._directory)

    def wrap(self, argv: Sequence[str], python: Path) -> list[str]:
        """`argv`, started by the forwarder inside."""
        return [str(python), "-I", "-S", str(_PLACE / "forwarder.py"), str(_PLACE / "socket" / "proxy"), *argv]

    def mounts(self) -> list[Bind]:
        """To be mounted read-only: the forwarder, the socket, the certificates of authorities."""
        certificates = [Path(place) for place in _CERTIFICATES if os.path.exists(place)]
        return [
            (INSIDE, _PLACE / "forwarder.py"),
            (self._directory / "socket", _PLACE / "socket"),
            *((place, place) for place in certificates),
        ]

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._run())
        finally:
            self._started.set()
            self._loop.close()

    async def _run(self) -> None:
        try:
            # A path of a socket has at most 107 bytes; one through a descriptor is always short enough.
            fd = os.open(self._directory / "socket", os.O_RDONLY | os.O_DIRECTORY)
            try:
                path = f"/proc/self/fd/{fd}/proxy"
                server = await asyncio.start_unix_server(self._attend, path, limit=_HEAD_LIMIT)
                os.chmod(path, 0o666)
            finally:
                os.close(fd)
        except OSError as error:
            self._failed = error
            return
        self._started.set()
        await self._stop.wait()
        server.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open > _CONNECTIONS:
                raise _Refused("503 Service Unavailable", "too many connections", "")
            await self._answer(reader, writer)
        except _Refused as refused:
            self._note(refused.target, refused.verdict)
            words = f"tinsmith: {refused.verdict}\n".encode()
            head = f"HTTP/1.1 {refused.status}\r\nContent-Type: text/plain\r\nContent-Length: {len(words)}\r\n"
            writer.write(head.encode() + b"Connection: close\r\n\r\n" + words)
            with suppress(OSError):
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open -= 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise _Refused("431 Request Header Fields Too Large", "the request is too large", "") from error
        method, uri, fields = _parse_head(head)
        if method == "CONNECT":
            target, request, length = parse_target(uri), b"", None
            if target is None or not re.search(r":[0-9]+$", uri):
                raise _Refused("400 Bad Request", "CONNECT takes host:port", repr(uri[:200]))
        else:
            target, path = _parse_uri(uri)
            length = _length(fields, str(target))
            request = _rewrite(method, path, target, fields)
        to_reader, to_writer = await self._connect(target)
        try:
            if length is None:
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                to_writer.write(request)
            await asyncio.gather(_pipe(reader, to_writer, length), _pipe(to_reader, writer, None))
        finally:
            to_writer.close()
            with suppress(OSError):
                await to_writer.wait_closed()

    async def _connect(self, target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to an address that was looked at; the name is not resolved a second time."""
        if not self._allow.allows(target):
            raise _Refused("403 Forbidden", "the host is not allowed", str(target))
        if (named := self._allow.pinned(target) or (target.host if target.address else None)) is not None:
            addresses: Sequence[str] = [named]
        else:
            try:
                async with asyncio.timeout(_PATIENCE):
                    found = await self._resolve(target.host, target.port)
            except (OSError, TimeoutError) as error:
                raise _Refused("502 Bad Gateway", "the name cannot be resolved", str(target)) from error
            addresses = [address for address in found if is_public(address)]
            if not addresses:
                raise _Refused("403 Forbidden", "the name leads to no public address", str(target))
        for address in addresses[:4]:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    streams = await asyncio.open_connection(address, target.port)
                self._note(str(target), "allowed")
                return streams
        raise _Refused("502 Bad Gateway", "the host does not answer", str(target))

    def _note(self, target: str, verdict: str) -> None:
        self.attempts.append(Attempt(target, verdict))
        del self.attempts[:-1000]


async def _resolve(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def _parse_head(head: bytes) -> tuple[str, str, list[tuple[str, str]]]:
    """Method, target and fields; no folding, no bare CR or LF, no NUL, ASCII in what matters."""
    lines = head[:-4].split(b"\r\n")
    words = lines[0].decode("latin-1").split(" ")
    if len(words) != 3 or not re.fullmatch("[A-Z]{1,20}", words[0]) or words[2] not in ("HTTP/1.1", "HTTP/1.0"):
        raise _Refused("400 Bad Request", "the request line is malformed", "")
    if not re.fullmatch(r"[!-~]{1,8000}", words[1]):
        raise _Refused("400 Bad Request", "the target holds what no target may", repr(words[1][:200]))
    fields: list[tuple[str, str]] = []
    for line in lines[1:]:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not _TOKEN.fullmatch(name) or re.search(r"[\0\r\n]", value):
            raise _Refused("400 Bad Request", "a header field is malformed", "")
        fields.append((name, value.strip(" \t")))
    return words[0], words[1], fields


def _parse_uri(uri: str) -> tuple[Target, str]:
    """`http://host[:port]/path?query`, without a user and without anything to be decoded in the host."""
    found = re.fullmatch(r"http://([^/?#@\\%]+)(/[^#\\]*)?(\?[^#]*)?", uri)
    target = parse_target(found[1], 80) if found else None
    # Another reader of the same text must see the same host.
    if found is None or target is None or urlsplit(uri).hostname != target.host:
        raise _Refused("400 Bad Request", "the proxy takes http://host/path or CONNECT host:port", repr(uri[:200]))
    return target, (found[2] or "/") + (found[3] or "")


def _length(fields: Sequence[tuple[str, str]], target: str) -> int:
    names = [name.lower() for name, _ in fields]
    if "transfer-encoding" in names:
        raise _Refused("411 Length Required", "a body needs a Content-Length", target)
    lengths = {value for name, value in fields if name.lower() == "content-length"}
    if not lengths:
        return 0
    value = lengths.pop()
    if lengths or not re.fullmatch("[0-9]{1,10}", value) or int(value) > _MAX_BODY:
        raise _Refused("400 Bad Request", "the Content-Length is not one number", target)
    return int(value)


def _rewrite(method: str, path: str, target: Target, fields: Sequence[tuple[str, str]]) -> bytes:
    named = {v.strip().lower() for name, value in fields if name.lower() == "connection" for v in value.split(",")}
    kept = [(name, value) for name, value in fields if name.lower() not in _HOP | named]
    host = str(target).removesuffix(":80")
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *(f"{n}: {v}" for n, v in kept), "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, length: int | None) -> None:
    """Copy to the end, or `length` bytes; what the client sends beyond them is not read."""
    left = length
    with suppress(OSError, TimeoutError):
        while left is None or left > 0:
            async with asyncio.timeout(_IDLE):
                data = await reader.read(1 << 16 if left is None else min(left, 1 << 16))
            if not data:
                break
            left = None if left is None else left - len(data)
            writer.write(data)
            await writer.drain()
    if length is None and writer.can_write_eof():
        with suppress(OSError):
            writer.write_eof()
