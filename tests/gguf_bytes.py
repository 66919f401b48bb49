"""GGUF files written byte by byte, so that any of them can be wrong; and a server that gives ranges of one."""

import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def entry(key: str | bytes, kind: int, value: bytes) -> bytes:
    """An entry of the metadata: key, type, value as it stands in the file."""
    return text(key) + u32(kind) + value


def array(element: int, count: int, elements: bytes) -> bytes:
    return u32(element) + u64(count) + elements


def tensor(name: str | bytes, shape: Sequence[int], kind: int, offset: int) -> bytes:
    return text(name) + u32(len(shape)) + b"".join(u64(size) for size in shape) + u32(kind) + u64(offset)


ARCHITECTURE = entry("general.architecture", 8, text("llama"))
METADATA = (
    ARCHITECTURE,
    entry("llama.block_count", 4, u32(1)),
    entry("llama.embedding_length", 4, u32(4)),
    entry("llama.feed_forward_length", 4, u32(8)),
    entry("llama.attention.head_count", 4, u32(1)),
    entry("llama.attention.head_count_kv", 9, array(5, 1, u32(1))),
    entry("llama.rope.freq_base", 6, struct.pack("<f", 1e4)),
    entry("tokenizer.ggml.add_bos_token", 7, b"\1"),
    entry("tokenizer.ggml.tokens", 9, array(8, 3, text("a") + text("é") + text(""))),
)
TENSORS = (
    (tensor("token_embd.weight", (4, 3), 0, 0), bytes(48)),
    (tensor("blk.0.attn_q.weight", (4, 4), 1, 64), bytes(32)),
)


def gguf_bytes(
    metadata: Sequence[bytes] = METADATA,
    tensors: Sequence[tuple[bytes, bytes]] = TENSORS,
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    tensor_count: int | None = None,
    key_count: int | None = None,
    alignment: int = 32,
) -> bytes:
    """A whole file; the counts are those of what is given unless said otherwise."""
    head = magic + u32(version)
    head += u64(len(tensors) if tensor_count is None else tensor_count)
    head += u64(len(metadata) if key_count is None else key_count)
    head += b"".join(metadata) + b"".join(info for info, _ in tensors)
    whole = head + bytes(-len(head) % alignment)
    for i, (_, data) in enumerate(tensors):
        whole += data + (bytes(-len(data) % alignment) if i < len(tensors) - 1 else b"")
    return whole


class FakeHub:
    """Serves `files` by path, honouring ranges, and remembers each request's path and headers.

    `ranges` False: always the whole file. `moved`: path -> another URL. `after`: from the request of this number on
    (counted from 0) `files` are `changed`. `cut`: answers end this many bytes early. `tag`: the ETag, None for none.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.changed: dict[str, bytes] = {}
        self.after = 1 << 30
        self.moved: dict[str, str] = {}
        self.ranges = True
        self.cut = 0
        self.tag: str | None = '"one"'
        self.told: str | None = None
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.url = ""

    def answer(self, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        number = len(self.requests)
        self.requests.append((path, headers))
        path = path.split("?")[0]
        if path in self.moved:
            return 302, {"Location": self.moved[path]}, b""
        changed = number >= self.after
        files = self.changed if changed else self.files
        if path not in files:
            return 404, {}, b"not here"
        whole = files[path]
        tag = self.tag if not changed or self.tag is None else '"two"'
        answer = {"ETag": tag} if tag else {}
        told = headers.get("range", "")
        matches = headers.get("if-range") in (None, tag)
        if not (self.ranges and told and matches):
            return 200, answer, whole
        first, last = (int(n) for n in told.removeprefix("bytes=").split("-"))
        if first >= len(whole):
            return 416, answer | {"Content-Range": f"bytes */{len(whole)}"}, b""
        last = min(last, len(whole) - 1)
        answer["Content-Range"] = self.told or f"bytes {first}-{last}/{len(whole)}"
        return 206, answer, whole[first : last + 1]


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[FakeHub]:
    """A `FakeHub` on loopback; its `url` has no slash at the end."""
    hub = FakeHub(files)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = hub.answer(self.path, {k.lower(): v for k, v in self.headers.items()})
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) - hub.cut] if status == 206 else body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
