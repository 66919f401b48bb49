"""Servers on loopback that speak the protocols of a Hugging Face-compatible hub and of Ollama's registry.

As with the real ones the bytes lie on another host (here: another port), to which a file's address redirects. Each can
be faulty where a test says so: `faults` are taken one by one, by the requests for bytes, in order.
"""

import hashlib
import json
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

BLOCK = 16384
"""Bytes that are sent at once."""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Seen:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Fault:
    """What one request for bytes meets.

    `drop`: the connection is closed after that many bytes. `status`: instead of bytes, with `headers`. `serves`: other
    content. `ignores_range`, `ignores_condition` (If-Range), `moves_range`, `shortens` (to that many bytes),
    `without_length`, `extra` bytes after the end.
    """

    drop: int = -1
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    serves: bytes | None = None
    ignores_range: bool = False
    ignores_condition: bool = False
    moves_range: bool = False
    shortens: int = 0
    without_length: bool = False
    extra: bytes = b""


def in_seconds(seconds: float) -> str:
    """An HTTP date."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


class FakeServer:
    """A server of `blobs` by their path, with ranges and validators; entered, it runs."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.faults: deque[Fault] = deque()
        self.seen: list[Seen] = []
        self.etags = "strong"
        """`strong`, `weak` or `none`."""
        self.pause = 0.0
        """Seconds between blocks of 16 KiB."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server.seen.append(Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
                try:
                    server.answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def do_HEAD(self) -> None:
                self.do_GET()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that was killed

        self._http = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        blob = self.blobs.get(unquote(urlsplit(to.path).path))
        if blob is None:
            self.send(to, 404, b"no such blob")
            return
        self.send_blob(to, blob)

    def send_blob(self, to: BaseHTTPRequestHandler, blob: bytes) -> None:
        fault = self.faults.popleft() if self.faults and to.command == "GET" else Fault()
        if fault.status:
            self.send(to, fault.status, b"not now", fault.headers)
            return
        blob = blob if fault.serves is None else fault.serves
        headers = dict(fault.headers)
        etag = '"' + hashlib.sha256(blob).hexdigest()[:16] + '"'
        if self.etags != "none":
            headers["ETag"] = etag if self.etags == "strong" else f"W/{etag}"
        asked = to.headers.get("Range", "")
        condition = to.headers.get("If-Range")
        body, status = blob, 200
        if asked and not fault.ignores_range and (fault.ignores_condition or condition in (None, etag)):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            if start >= len(blob):
                self.send(to, 416, b"", {"Content-Range": f"bytes */{len(blob)}"})
                return
            start = 0 if fault.moves_range else start
            end = min(len(blob), start + fault.shortens) if fault.shortens else len(blob)
            body, status = blob[start:end], 206
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(blob)}"
        if fault.without_length:
            headers["Connection"] = "close"
        self.send(to, status, body + fault.extra, headers, drop=fault.drop, has_length=not fault.without_length)

    def send(
        self,
        to: BaseHTTPRequestHandler,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        drop: int = -1,
        has_length: bool = True,
    ) -> None:
        to.send_response(status)
        for name, value in (headers or {}).items():
            to.send_header(name, value)
        if has_length:
            to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        if to.command == "HEAD":
            return
        for start in range(0, len(body[:drop] if drop >= 0 else body), BLOCK):
            end = min(start + BLOCK, len(body), drop if drop >= 0 else len(body))
            to.wfile.write(body[start:end])
            if self.pause:
                time.sleep(self.pause)
        if drop >= 0 or not has_length:
            to.close_connection = True

    def bytes_requests(self) -> list[Seen]:
        """The requests for bytes, of those seen."""
        return [seen for seen in self.seen if seen.method == "GET"]


class FakeHub(FakeServer):
    """A hub: `repositories` {OWNER/REPO: {file: content}}; the bytes are on `cdn`. `token`: who does not give it is
    sent away with 401. `lists_sums` False: as a mirror that does not know `blobs`."""

    def __init__(self) -> None:
        super().__init__()
        self.cdn = FakeServer()
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.token = ""
        self.lists_sums = True
        self.links = True
        """Whether the redirect says sha256 and size."""
        self.api_faults: deque[Fault] = deque()
        self.redirect_to = ""

    def __enter__(self) -> Self:
        self.cdn.__enter__()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self.cdn.__exit__(kind, error, trace)

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(to.path).path)
        if self.token and to.headers.get("Authorization") != f"Bearer {self.token}":
            self.send(to, 401, b"{}", {"X-Error-Code": "GatedRepo"})
        elif path.startswith("/api/models/"):
            if self.api_faults:
                fault = self.api_faults.popleft()
                self.send(to, fault.status, b"{}", fault.headers)
                return
            owner, repository, *rest = path.removeprefix("/api/models/").split("/")
            self._answer_api(to, f"{owner}/{repository}", rest)
        else:
            owner, repository, kind, revision, *file = path.strip("/").split("/")
            content = self.repositories.get(f"{owner}/{repository}", {}).get("/".join(file))
            if kind != "resolve" or content is None or revision not in ("main", COMMIT):
                self.send(to, 404, b"{}", {"X-Error-Code": "EntryNotFound"})
                return
            sha256 = hashlib.sha256(content).hexdigest()
            self.cdn.blobs[f"/blobs/{sha256}"] = content
            headers = {
                "X-Repo-Commit": COMMIT,
                "X-Linked-Etag": f'"{sha256}"',
                "X-Linked-Size": str(len(content)),
            }
            headers = headers if self.links else {}
            place = self.redirect_to or f"{self.cdn.url}/blobs/{sha256}?signature=secret-of-the-cdn"
            self.send(to, 302, b"", headers | {"Location": place, "ETag": f'"{sha256}"'})

    def _answer_api(self, to: BaseHTTPRequestHandler, repository: str, rest: list[str]) -> None:
        files = self.repositories.get(repository)
        if files is None:
            self.send(to, 404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        if rest and rest[0] in ("revision", "tree") and rest[1] not in ("main", COMMIT):
            self.send(to, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return
        rows: list[dict[str, Any]] = []
        is_tree = bool(rest) and rest[0] == "tree"
        for name, content in files.items():
            sha256 = hashlib.sha256(content).hexdigest()
            lfs = {"sha256": sha256, "size": len(content), "pointerSize": 134}
            row: dict[str, Any] = {"rfilename": name}
            if is_tree:
                row = {
                    "type": "file",
                    "path": name,
                    "oid": sha256[:40],
                    "size": len(content),
                    "lfs": {**lfs, "oid": sha256},
                }
            elif self.lists_sums:
                row |= {"size": len(content), "blobId": sha256[:40], "lfs": lfs}
            rows.append(row)
        answer: Any = rows if is_tree else {"id": repository, "sha": COMMIT, "siblings": rows}
        self.send(to, 200, json.dumps(answer).encode(), {"Content-Type": "application/json"})


class FakeOllama(FakeServer):
    """Ollama's registry: `models` {NAMESPACE/NAME:TAG: content}; the bytes are on `cdn`."""

    def __init__(self) -> None:
        super().__init__()
        self.cdn = FakeServer()
        self.models: dict[str, bytes] = {}
        self.layers: list[dict[str, Any]] = []
        """Further layers of every manifest."""

    def __enter__(self) -> Self:
        self.cdn.__enter__()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self.cdn.__exit__(kind, error, trace)

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(to.path).path.strip("/").split("/")
        if len(parts) == 5 and parts[0] == "v2" and parts[3] == "manifests":
            content = self.models.get(f"{parts[1]}/{parts[2]}:{parts[4]}")
            if content is not None:
                self.send(to, 200, ollama_manifest(content, self.layers), {"Content-Type": "application/json"})
                return
        elif len(parts) == 5 and parts[3] == "blobs":
            for content in self.models.values():
                sha256 = hashlib.sha256(content).hexdigest()
                if parts[4] == f"sha256:{sha256}":
                    self.cdn.blobs[f"/{sha256}"] = content
                    self.send(to, 307, b"", {"Location": f"{self.cdn.url}/{sha256}?signature=secret-of-the-cdn"})
                    return
        self.send(to, 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')


def ollama_manifest(content: bytes, more: list[dict[str, Any]] | None = None) -> bytes:
    """The manifest of a model, as the registry sends it and Ollama keeps it."""
    layer = {
        "mediaType": "application/vnd.ollama.image.model",
        "digest": f"sha256:{hashlib.sha256(content).hexdigest()}",
        "size": len(content),
    }
    template = {"mediaType": "application/vnd.ollama.image.template", "digest": f"sha256:{'0' * 64}", "size": 3}
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": "", "size": 0},
            "layers": [template, layer, *(more or [])],
        }
    ).encode()
