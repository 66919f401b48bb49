"""One file over HTTP, resumed where it stopped and checked by its sha256 before anybody may use it.

Ranges and validators are those of RFC 9110 (13.1.5 If-Range, 14.2 Range, 15.3.7 206, 15.5.17 416). What a hub knows of
a file (`X-Linked-Etag`, its sha256; `X-Linked-Size`) stands in the headers of the redirect to where its bytes are.
"""

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from tinsmith import __version__
from tinsmith.errors import InputError, MachineError
from tinsmith.models.download_answer import Again, check_status, opened, shown
from tinsmith.models.download_retry import Patience, Retries, Say
from tinsmith.models.store_files import CHUNK, MAGIC, disk_errors, replace_file

if TYPE_CHECKING:
    import httpx

_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True)
class RemoteFile:
    """A file elsewhere: its URL, its size in bytes (-1: not known) and sha256 in hex (empty: not known).

    `token` goes to the origin of `url` as a bearer token and to no other.
    """

    url: str
    name: str
    size: int = -1
    sha256: str = ""
    token: str = ""

    def __repr__(self) -> str:
        return f"RemoteFile({shown(self.url)!r}, {self.name!r}, {self.size}, {self.sha256!r})"


@dataclass(frozen=True)
class Progress:
    """Bytes that are here, of how many, and the bytes per second of this attempt."""

    bytes: int
    total: int
    rate: float


def fetch(
    remote: RemoteFile,
    part: Path,
    notes: Path,
    *,
    check_space: Callable[[int], None] = lambda needed: None,
    patience: Patience | None = None,
    say: Say = lambda line: None,
    progress: Callable[[Progress], None] = lambda now: None,
) -> str:
    """Downloads `remote` to `part`, going on with what is there, and gives its sha256.

    `notes` is a small file that says of which version the bytes in `part` are. `check_space` is told how many bytes
    are still to come, before the first of them. Raises InputError `not_found`, `not_allowed`, `not_a_model`,
    `bad_address`; MachineError `checksum_mismatch`, `size_unknown`, `rate_limited`, `server_unavailable`,
    `network_unreachable`, `disk_full`. After `checksum_mismatch` and `not_a_model` there is no `part`, else it stays.
    """
    import httpx

    patience = patience or Patience()
    # What the environment says of proxies and certificates counts; redirects are followed by us.
    timeout = httpx.Timeout(15.0, read=patience.stall)
    headers = {"User-Agent": f"tinsmith/{__version__}", "Accept-Encoding": "identity"}
    with disk_errors(part.parent), httpx.Client(timeout=timeout, headers=headers) as client:
        part.touch()
        with part.open("r+b") as file:
            download = _Download(client, remote, file, notes, Retries(patience, say), say, progress, check_space)
            try:
                return download.run()
            except (InputError, MachineError) as error:
                if error.code in ("checksum_mismatch", "not_a_model"):
                    part.unlink()
                    notes.unlink(missing_ok=True)
                raise


class _Download:
    def __init__(
        self,
        client: "httpx.Client",
        remote: RemoteFile,
        file: BinaryIO,
        notes: Path,
        retries: Retries,
        say: Say,
        progress: Callable[[Progress], None],
        check_space: Callable[[int], None],
    ) -> None:
        self._client, self._remote, self._file, self._notes = client, remote, file, notes
        self._retries, self._say, self._progress, self._check_space = retries, say, progress, check_space
        self._sha256, self._total, self._etag = remote.sha256, remote.size, ""
        self._linked = ("", -1)
        """The sha256 and size that the hub said last."""
        self._offset, self._sum, self._is_resumed = 0, hashlib.sha256(), False
        self._began, self._received, self._told = time.monotonic(), 0, 0.0

    def run(self) -> str:
        self._take_up()
        while True:
            self._bring()
            found = self._sum.hexdigest()
            if found == (self._sha256 or found):
                break
            if not self._is_resumed:
                raise self._mismatch(f"has the sha256 {found}, but it should have {self._sha256}")
            # The part was of another version, or the disk lost some of it.
            self._start_over("what was here before was not the beginning of it")
        if self._offset < len(MAGIC):
            raise _not_a_model(self._remote.url)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._tell(always=True)
        return found

    def _take_up(self) -> None:
        """Goes on with the bytes of an earlier attempt, if something can vouch for them in the end."""
        size = os.fstat(self._file.fileno()).st_size
        if not size:
            return
        noted = _read_notes(self._notes)
        if not self._sha256:
            self._sha256, self._etag, self._total = noted.sha256, noted.etag, max(self._total, noted.total)
        if not self._can_resume() or 0 <= self._total < size:
            self._start_over("nothing says of which version the bytes are that are here")
            return
        while block := self._file.read(CHUNK):
            self._sum.update(block)
        self._offset, self._is_resumed = size, True
        self._say(f"{self._remote.name}: {size:,} bytes are here already")

    def _can_resume(self) -> bool:
        return bool(self._sha256 or self._etag)

    def _bring(self) -> None:
        import httpx

        host = httpx.URL(self._remote.url).host
        while self._offset < self._total or self._total < 0:
            before = self._received
            failure = Again(f"{host} ended the connection early")
            try:
                self._ask()
            except Again as again:
                failure = again
            except httpx.TransportError as error:
                failure = Again(f"{host}: {str(error) or type(error).__name__}")
            if self._offset == self._total:
                break
            if self._offset and not self._can_resume():
                self._start_over(f"{failure.what}, and nothing says whether the file stays the same")
            if self._received == before:
                self._retries.wait(failure.what, retry_after=failure.retry_after, status=failure.status)
            else:
                self._retries.progressed()
                self._say(f"{failure.what}; going on at {self._offset:,} of {self._total:,} bytes")

    def _ask(self) -> None:
        """One request for what is missing, and what of it comes."""
        headers: dict[str, str] = {}
        if self._offset:
            headers["Range"] = f"bytes={self._offset}-"
            if not self._sha256:
                headers["If-Range"] = self._etag
        remote = self._remote
        with opened(self._client, remote.url, headers, remote.token, self._learn_of_hub) as response:
            check_status(response, remote.url, has_token=bool(remote.token))
            if response.headers.get("Content-Encoding", "identity") != "identity":
                raise InputError("bad_address", f"{shown(remote.url)} is sent compressed", "Name another mirror.")
            if response.status_code == 206:
                self._continue(response.headers)
            elif response.status_code == 416:
                self._start_over("the file there is shorter than what is here")
                raise Again(f"{shown(remote.url)} has changed")
            else:
                self._begin(response.headers)
            self._check_space(self._total - self._offset)
            for block in response.iter_raw():
                self._take(block)

    def _learn_of_hub(self, headers: "httpx.Headers") -> None:
        linked, size = headers.get("X-Linked-Etag", "").strip('"').lower(), headers.get("X-Linked-Size", "")
        if not _SHA256.fullmatch(linked):
            return
        self._linked = (linked, int(size) if size.isdigit() else -1)
        if self._remote.sha256 and linked != self._remote.sha256:
            raise self._mismatch(f"has the sha256 {linked}, but it should have {self._remote.sha256}")
        if self._offset and self._sha256 not in ("", linked):
            self._start_over("the file there has changed")
            raise Again(f"{shown(self._remote.url)} has changed")
        self._sha256, self._total = linked, self._total if self._total >= 0 else self._linked[1]

    def _begin(self, headers: "httpx.Headers") -> None:
        """A 200: the whole file, from its beginning."""
        if self._offset:
            self._start_over("the server sends it from the beginning: it has changed there, or cannot be resumed")
        length = headers.get("Content-Length", "")
        if length.isdigit():
            self._expect(int(length))
        if self._total < 0:
            remedy = "Download it by other means, then `tinsmith models import` it."
            raise MachineError("size_unknown", f"{shown(self._remote.url)} does not say how long it is", remedy)
        etag = headers.get("ETag", "")
        # A weak one says that two versions mean the same, not that their bytes are the same.
        self._etag = etag if etag.startswith('"') else ""
        replace_file(self._notes, json.dumps({"etag": self._etag, "total": self._total, "sha256": self._sha256}))

    def _continue(self, headers: "httpx.Headers") -> None:
        """A 206: what was asked for, or the beginning of it."""
        found = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", "").strip())
        is_other = not self._sha256 and headers.get("ETag", self._etag) != self._etag
        if not self._offset or not found or int(found[1]) != self._offset or is_other:
            self._start_over("the file there has changed" if is_other else "the server sent another range")
            raise Again(f"{shown(self._remote.url)} was not sent as asked")
        if found[3] != "*" and int(found[3]) != self._total:
            had = self._total
            self._expect(int(found[3]))
            if had >= 0:
                self._start_over("the file there has another size now")
                raise Again(f"{shown(self._remote.url)} has changed")

    def _expect(self, total: int) -> None:
        if self._remote.size >= 0 and total != self._remote.size:
            raise self._mismatch(f"has {total:,} bytes, but it should have {self._remote.size:,}")
        self._total = total

    def _take(self, block: bytes) -> None:
        if self._offset + len(block) > self._total:
            raise self._mismatch(f"goes on after its {self._total:,} bytes")
        self._file.write(block)
        self._sum.update(block)
        before, self._offset = self._offset, self._offset + len(block)
        if before < len(MAGIC) <= self._offset:
            self._file.seek(0)
            if self._file.read(len(MAGIC)) != MAGIC:
                raise _not_a_model(self._remote.url)
            self._file.seek(0, os.SEEK_END)
        self._received += len(block)
        self._tell()

    def _start_over(self, why: str) -> None:
        self._say(f"{self._remote.name}: {why}; starting over")
        self._file.seek(0)
        self._file.truncate()
        self._offset, self._sum, self._is_resumed = 0, hashlib.sha256(), False
        self._sha256, self._etag = self._remote.sha256 or self._linked[0], ""
        self._total = self._remote.size if self._remote.size >= 0 else self._linked[1]

    def _tell(self, *, always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self._told >= 0.2:
            self._told = now
            rate = self._received / max(now - self._began, 1e-3)
            self._progress(Progress(self._offset, self._total, rate))

    def _mismatch(self, words: str) -> MachineError:
        return MachineError(
            "checksum_mismatch",
            f"{shown(self._remote.url)} {words}",
            "What came was deleted. Try again or another mirror; if it stays so, the file was changed there.",
        )


@dataclass(frozen=True)
class _Notes:
    etag: str = ""
    total: int = -1
    sha256: str = ""


def _read_notes(path: Path) -> _Notes:
    try:
        raw = json.loads(path.read_bytes())
        return _Notes(str(raw["etag"]), int(raw["total"]), str(raw["sha256"]))
    except (OSError, ValueError, KeyError, TypeError):
        return _Notes()


def _not_a_model(url: str) -> InputError:
    return InputError(
        "not_a_model",
        f"{shown(url)} is no GGUF file",
        "Name the .gguf file itself; a page about it, or a login page, is another address.",
    )
