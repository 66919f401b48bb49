"""What a command printed, made safe to show and to read: no escape sequences, bounded length."""

import re

# The second form of each is a single C1 character in UTF-8.  A string that is never closed ends with its line: a
# terminal would swallow all that follows, which would hide it.
_ESCAPES = re.compile(
    rb"(?:\x1b\[|\xc2\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    rb"|(?:\x1b[\]PX^_]|\xc2[\x90\x98\x9d\x9e\x9f])"  # OSC, DCS, SOS, PM, APC: titles, links, clipboard
    rb"(?:[^\x07\x1b\n\xc2]|\x1b(?!\\)|\xc2(?!\x9c))*(?:\x07|\x1b\\|\xc2\x9c|(?=\n)|\Z)"
    rb"|\x1b[ -/]*[0-~]?"  # any other escape
)
_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
# What is left of C1, which the removals above may have put together, and the characters that turn the order of
# letters (U+061C, U+200E, U+200F, U+202A to U+202E, U+2066 to U+2069): marked, since removing them could make new ones.
_MISLEADING = re.compile(rb"\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8e\x8f\xaa-\xae]|\xe2\x81[\xa6-\xa9]")
_MARK = "\ufffd".encode()


def strip_escapes(output: bytes) -> bytes:
    """`output` without terminal escape sequences and control characters; only newline and tab remain."""
    plain = _ESCAPES.sub(b"", output)
    plain = _CONTROLS.sub(b"", plain.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
    return _MISLEADING.sub(_MARK, plain)


class Capture:
    """The head and the tail of a stream of any length, in bounded memory."""

    def __init__(self, limit: int) -> None:
        self._half = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self._half - len(self._head)
        self._head += data[: max(room, 0)]
        self._tail += data[max(room, 0) :]
        if len(self._tail) > 4 * self._half:
            del self._tail[: -self._half]

    @property
    def truncated(self) -> bool:
        return self.total > 2 * self._half

    def text(self) -> bytes:
        """What was kept, with a line that says how much is missing."""
        tail = bytes(self._tail[-self._half :]) if self.truncated else bytes(self._tail)
        missing = self.total - len(self._head) - len(tail)
        gap = b"\n[... %d bytes left out ...]\n" % missing if missing else b""
        return strip_escapes(bytes(self._head)) + gap + strip_escapes(tail)
