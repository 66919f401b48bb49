"""Where the bytes of a model file come from: a file here, or a URL read by ranges.

Both give any stretch of bytes by offset, know their whole size, and find out that the file is not the same any more.
"""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TypeGuard
from urllib.parse import urlsplit

from tinsmith.errors import InputError

if TYPE_CHECKING:
    import httpx

_SECONDS = 30.0
_FIRST, _MOST = 1 << 20, 8 << 20  # bytes asked for at first, and at most, where nobody asked for more


class ByteSource(Protocol):
    """`name` is what a person calls it, `size` its bytes."""

    name: str
    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Exactly `length` bytes from `offset`, which must lie within `size`. Raises InputError where it cannot."""
        ...

    def close(self) -> None:
        """Lets go of the file or the connection."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


class FileSource:
    """A regular file. Raises InputError `model_unreadable` where it cannot be opened or shrinks under us."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe does not hold us up
        except (OSError, ValueError) as error:
            raise _unreadable(self.name, str(error)) from error
        status = os.fstat(self._file)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise _unreadable(self.name, "it is no regular file")
        self.size = status.st_size

    def read(self, offset: int, length: int) -> bytes:
        """See `ByteSource`."""
        parts: list[bytes] = []
        while length:
            try:
                part = os.pread(self._file, length, offset)
            except OSError as error:
                raise _unreadable(self.name, f"byte {offset}: {error}") from error
            if not part:
                raise _unreadable(self.name, f"it ends at byte {offset}: it was cut while it was being read")
            parts.append(part)
            offset, length = offset + len(part), length - len(part)
        return b"".join(parts)

    def close(self) -> None:
        """See `ByteSource`."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class HttpSource:
    """A file at an http(s) URL, read by Range requests (RFC 9110, section 14), a stretch ahead each time.

    `token` is sent as a bearer token to the host of `url` and to no other that it redirects to. Raises InputError
    `url_unreadable` for whatever keeps it from being read: no answer, a refusal, a server without ranges, a file that
    changed between two requests (its entity tag or size differs).
    """

    def __init__(self, url: str, *, token: str | None = None) -> None:
        import httpx

        self.name = _shown(url)
        self._url = url
        self._client = httpx.Client(
            follow_redirects=True,  # httpx drops the token where the host changes
            max_redirects=5,
            timeout=_SECONDS,
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {token}"} if token else {}),
        )
        self._start, self._window = 0, b""
        self._ahead = _FIRST
        self._tag: str | None = None
        self.size = 0
        try:
            self._fetch(0, 1)
        except BaseException:
            self.close()
            raise

    def read(self, offset: int, length: int) -> bytes:
        """See `ByteSource`."""
        if not (self._start <= offset and offset + length <= self._start + len(self._window)):
            self._fetch(offset, length)
        at = offset - self._start
        return self._window[at : at + length]

    def close(self) -> None:
        """See `ByteSource`."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _fetch(self, offset: int, length: int) -> None:
        """Makes the window begin at `offset` and hold `length` bytes and what is worth reading ahead."""
        import httpx

        end = offset + max(length, self._ahead)
        if self.size:
            end = min(end, self.size)
        headers = {"Range": f"bytes={offset}-{end - 1}"}
        if self._tag is not None and not self._tag.startswith("W/"):
            headers["If-Range"] = self._tag  # a changed file is answered whole, and so noticed
        try:
            with self._client.stream("GET", self._url, headers=headers) as response:
                end = self._checked(response, offset, end)
                self._window = self._body(response, end - offset)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, UnicodeError) as error:
            raise self._failed(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error
        self._start = offset
        self._ahead = min(2 * self._ahead, _MOST)

    def _checked(self, response: "httpx.Response", offset: int, end: int) -> int:
        """Where the stretch that is being answered ends; the size and the tag are learnt from the first answer."""
        if response.status_code == 200 and self.size:
            raise self._failed(
                f"the file changed between two requests (at byte {offset}), or the server stopped giving ranges"
            )
        if response.status_code == 200:
            raise self._failed("the server does not give ranges of a file, so its header cannot be read apart")
        if response.status_code != 206:
            raise self._failed(f"the server answers {response.status_code} {response.reason_phrase}".rstrip())
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise self._failed("the server compresses the file, so offsets mean nothing")
        told = re.fullmatch(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})", response.headers.get("Content-Range", ""))
        if told is None:
            raise self._failed("the server does not say which range it gives, or how large the file is")
        first, last, size = (int(number) for number in told.groups())
        if first != offset or not first <= last < min(end, size) or (last + 1 < min(end, size)):
            raise self._failed(f"the server gives bytes {first} to {last} where {offset} to {end - 1} were asked for")
        tag = _tag(response.headers)
        if self.size and (size != self.size or tag != self._tag):
            raise self._failed(f"the file changed between two requests (at byte {offset})")
        self.size, self._tag = size, tag
        return last + 1

    def _body(self, response: "httpx.Response", length: int) -> bytes:
        parts: list[bytes] = []
        got = 0
        for part in response.iter_raw():
            parts.append(part)
            got += len(part)
            if got > length:
                break
        if got != length:
            raise self._failed(f"the server gives {got} bytes where {length} were announced")
        return b"".join(parts)

    def _failed(self, reason: str) -> InputError:
        return InputError(
            "url_unreadable",
            f"{self.name} cannot be read: {reason}",
            "Check the address and the connection; a private repository needs a token, and a file that was "
            "replaced needs a new start.",
        )


def open_source(source: Path | str, *, token: str | None = None) -> ByteSource:
    """The bytes of a path or of an http(s) URL. Raises InputError as `FileSource` and `HttpSource` do."""
    return HttpSource(source, token=token) if is_url(source) else FileSource(Path(source))


def is_url(source: Path | str) -> TypeGuard[str]:
    """Whether `source` is an http(s) URL rather than a path."""
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def _tag(headers: Mapping[str, str]) -> str | None:
    return headers.get("ETag") or headers.get("Last-Modified")


def _shown(url: str) -> str:
    """The URL without what may be secret: a user, a password, a signed query."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    except ValueError:
        return "the URL"


def _unreadable(name: str, reason: str) -> InputError:
    return InputError("model_unreadable", f"{name} cannot be read: {reason}", "Check the path and its permissions.")
