"""Reading the header of a GGUF forwards, in bounded memory: each length is held against the bytes there are before
anything of that length is read.
"""

import struct
from collections.abc import Iterator
from typing import Final

from tinsmith.models.byte_source import ByteSource

HEADER_BYTES: Final = 128 << 20
"""A header longer than this is not read; the largest vocabularies make about 20 MiB."""
STRINGS: Final = 2_000_000
"""More strings than this in one header are not walked over, nor more elements of an array read; the largest
vocabularies have under a million, merges included."""
_STRETCH = 256 << 10  # bytes held at a time

_U64 = struct.Struct("<Q")


class MalformedError(Exception):
    """The file breaks the format at byte `offset`."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset = offset
        self.reason = reason


class Cursor:
    """A place in the header of `source`. All methods raise MalformedError where the file ends too early."""

    def __init__(self, source: ByteSource, offset: int = 0) -> None:
        self._source = source
        self._end = min(source.size, HEADER_BYTES)
        self._start, self._held = offset, b""
        self._strings = 0
        self.offset = offset

    def number(self, layout: str, size: int, what: str) -> int:
        """An integer of `size` bytes in `struct`'s little-endian `layout`."""
        self.need(size, what)
        at = self._at(size)
        (value,) = struct.unpack_from("<" + layout, self._held, at)
        self.offset += size
        return int(value)

    def u32(self, what: str) -> int:
        """An unsigned integer of 4 bytes."""
        return self.number("I", 4, what)

    def u64(self, what: str) -> int:
        """An unsigned integer of 8 bytes."""
        return self.number("Q", 8, what)

    def length(self, what: str, most: int | None = None) -> int:
        """A length in bytes of what follows: it must lie in the file and be at most `most`."""
        start = self.offset
        length = self.u64(f"the length of {what}")
        if most is not None and length > most:
            raise MalformedError(start, f"{what} claims {length} bytes, more than {most}")
        if length > self._end - self.offset:
            raise MalformedError(start, f"{what} claims {length} bytes and {self._end - self.offset} follow")
        return length

    def text(self, what: str, most: int) -> str:
        """A string of at most `most` bytes."""
        length = self.length(what, most)
        start = self.offset
        raw = self.raw(length, what)
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise MalformedError(start + error.start, f"{what} is not UTF-8") from error

    def raw(self, length: int, what: str) -> bytes:
        """`length` bytes, however they are held."""
        self.need(length, what)
        if length > _STRETCH:
            data = self._source.read(self.offset, length)
        else:
            at = self._at(length)
            data = self._held[at : at + length]
        self.offset += length
        return data

    def need(self, length: int, what: str) -> None:
        """Checks that `length` more bytes are there."""
        if length > self._end - self.offset:
            if self._end < self._source.size:
                raise MalformedError(self.offset, f"{what} lies beyond the {HEADER_BYTES} bytes that a header may have")
            raise MalformedError(self.offset, f"the file ends inside {what}")

    def skip(self, length: int, what: str) -> None:
        """Goes `length` bytes on without reading them."""
        self.need(length, what)
        self.offset += length

    def skip_strings(self, count: int, what: str) -> None:
        """Goes past `count` strings, without copying one."""
        self._strings += count
        if self._strings > STRINGS:
            raise MalformedError(self.offset, f"{what} has {count} strings: more than {STRINGS} are not walked over")
        for _ in self._walk(count, what, None):
            pass

    def texts(self, count: int, what: str, most: int) -> list[str]:
        """`count` strings of at most `most` bytes each."""
        found: list[str] = []
        for at, length in self._walk(count, what, most):
            try:
                found.append(self._held[at : at + length].decode())
            except UnicodeDecodeError as error:
                raise MalformedError(self._start + at + error.start, f"a string of {what} is not UTF-8") from error
        return found

    def _walk(self, count: int, what: str, most: int | None) -> Iterator[tuple[int, int]]:
        """Where each of `count` strings begins in the held bytes, and its length; held whole where `most` is given."""
        unpack, offset, end = _U64.unpack_from, self.offset, self._end
        at, held = 0, b""
        for _ in range(count):
            if at + 8 > len(held):
                self.offset = offset
                self.need(8, what)
                at = self._at(8)
                held = self._held
            length = unpack(held, at)[0]
            if length > end - offset - 8:
                raise MalformedError(offset, f"a string of {what} claims {length} bytes and {end - offset - 8} follow")
            if most is not None and at + 8 + length > len(held):
                if length > most:
                    raise MalformedError(offset, f"a string of {what} claims {length} bytes, more than {most}")
                self.offset = offset
                at = self._at(8 + length)
                held = self._held
            yield at + 8, length
            offset += 8 + length
            at += 8 + length
        self.offset = offset

    def _at(self, length: int) -> int:
        """Where in the held bytes this place is, once `length` bytes from here are held."""
        at = self.offset - self._start
        if not 0 <= at <= len(self._held) - length:
            self._start = self.offset
            self._held = self._source.read(self.offset, min(max(length, _STRETCH), self._end - self.offset))
            at = 0
        return at
