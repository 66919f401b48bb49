"""The body of a `GIT binary patch`: base85 lines around a zlib stream, which holds a whole file or a delta.

Formats: git's `diff-format` and `gitformat-pack` ("Deltified representation").  What comes out is bounded by the
size that the block declares, and that by the caller, so a small patch cannot become a large file.
"""

import base64
import binascii
import re
import zlib
from dataclasses import dataclass

_HEADER = re.compile(r"(literal|delta) ([0-9]{1,9})")

_MIN_DELTA = 4  # bytes: two sizes and one command, as git has it (delta.h)


class BinaryPatchError(ValueError):
    """A block that is not in git's format; its words end a sentence about the file."""


@dataclass(frozen=True)
class BinaryBlock:
    """One direction of a binary change."""

    is_delta: bool
    data: bytes
    """The whole new file, or the delta that makes it."""

    def apply(self, old: bytes, max_bytes: int) -> bytes:
        """The new content.  Raises BinaryPatchError where a delta does not fit `old` or makes too much."""
        return _undelta(old, self.data, max_bytes) if self.is_delta else self.data


def read_block(lines: list[str], max_bytes: int) -> BinaryBlock:
    """A block from its header to its last line, without the empty line that ends it.  Raises BinaryPatchError."""
    header = _HEADER.fullmatch(lines[0]) if lines else None
    if header is None:
        raise BinaryPatchError("has a malformed binary part")
    size = int(header[2])
    if size > max_bytes:
        raise BinaryPatchError(f"has a binary part of {size} bytes, more than {max_bytes}")
    packed = b"".join(_unpack_line(line) for line in lines[1:])
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(packed, size + 1)
    except zlib.error:
        raise BinaryPatchError("has a damaged binary part") from None
    if len(data) != size or not stream.eof or stream.unused_data:
        raise BinaryPatchError("has a binary part of another length than it says")
    return BinaryBlock(header[1] == "delta", data)


def _unpack_line(line: str) -> bytes:
    """A line's first letter is its length in bytes, A to Z for 1 to 26 and a to z for 27 to 52."""
    first = line[:1]
    if "A" <= first <= "Z":
        length = ord(first) - ord("A") + 1
    elif "a" <= first <= "z":
        length = ord(first) - ord("a") + 27
    else:
        raise BinaryPatchError("has a malformed binary part")
    if len(line) - 1 != (length + 3) // 4 * 5:
        raise BinaryPatchError("has a malformed binary part")
    try:
        return base64.b85decode(line[1:])[:length]
    except (ValueError, binascii.Error):
        raise BinaryPatchError("has a malformed binary part") from None


def _undelta(old: bytes, delta: bytes, max_bytes: int) -> bytes:
    if len(delta) < _MIN_DELTA:
        raise BinaryPatchError("has a damaged delta")
    position, old_size = _varint(delta, 0)
    position, new_size = _varint(delta, position)
    if old_size != len(old):
        raise BinaryPatchError("does not fit the file that is there")
    if new_size > max_bytes:
        raise BinaryPatchError(f"makes a file of {new_size} bytes, more than {max_bytes}")
    result = bytearray()
    while position < len(delta):
        command = delta[position]
        position += 1
        if command & 0x80:
            values: list[int] = []
            for shift in range(7):
                values.append(0)
                if command & 1 << shift:
                    if position >= len(delta):
                        raise BinaryPatchError("has a damaged delta")
                    values[-1] = delta[position]
                    position += 1
            start = int.from_bytes(values[:4], "little")
            length = int.from_bytes(values[4:], "little") or 0x10000
            if start + length > len(old):
                raise BinaryPatchError("has a damaged delta")
            result += old[start : start + length]
        elif command:
            if position + command > len(delta):
                raise BinaryPatchError("has a damaged delta")
            result += delta[position : position + command]
            position += command
        else:
            raise BinaryPatchError("has a damaged delta")
        if len(result) > new_size:
            raise BinaryPatchError("has a damaged delta")
    if len(result) != new_size:
        raise BinaryPatchError("has a damaged delta")
    return bytes(result)


def _varint(delta: bytes, position: int) -> tuple[int, int]:
    """(position after it, value) of a little-endian number of seven bits a byte."""
    value = shift = 0
    while True:
        if position >= len(delta) or shift > 35:
            raise BinaryPatchError("has a damaged delta")
        byte = delta[position]
        position += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return position, value
