"""Keeping what is decoded under a grammar valid UTF-8, token by token.

llama.cpp matches grammars on code points and decodes them leniently: an overlong form or a surrogate passes
for the character it would stand for. So tokens with bytes that no UTF-8 has are never allowed, and where a
lead byte was followed by a byte it must not have, the text is decoded again without tokens that end in such a
lead byte.
"""

from collections.abc import Sequence

_IMPOSSIBLE = bytes([0xC0, 0xC1, *range(0xF5, 0x100)])
_PARTIAL_RANGE = bytes([0xE0, 0xED, 0xF0, 0xF4])
"""Lead bytes that admit only some of the 64 continuation bytes after them (Unicode 16, table 3-7)."""


class PieceBytes:
    """Ids by what their bytes are.

    `never`: cannot occur in text (NUL included); `openers`: end in a delicate lead byte; `forcible`: whole
    characters, the only ids that llama.cpp's token references `<[id]>` can force; `plain`: one of these, a
    printable ASCII one.
    """

    def __init__(self, pieces: Sequence[bytes]) -> None:
        forbidden = {*_IMPOSSIBLE, 0}
        self.never = frozenset(i for i, piece in enumerate(pieces) if not forbidden.isdisjoint(piece))
        self.openers = frozenset(i for i, piece in enumerate(pieces) if piece and piece[-1] in _PARTIAL_RANGE)
        self.forcible = frozenset(i for i, piece in enumerate(pieces) if piece and _is_text(piece)) - self.never
        self.plain = next(i for i, piece in enumerate(pieces) if len(piece) == 1 and 0x20 < piece[0] < 0x7F)


def _is_text(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True


def whole_characters(pieces: Sequence[bytes]) -> int | None:
    """How many of `pieces` are whole characters, a last one cut short dropped; None if they are no UTF-8."""
    data = b"".join(pieces)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        if error.end < len(data) or error.reason != "unexpected end of data":
            return None
    else:
        return len(pieces)
    count = len(pieces)
    while count:
        count -= 1
        data = data[: len(data) - len(pieces[count])]
        try:
            data.decode()
            return count
        except UnicodeDecodeError:
            continue
    return 0
