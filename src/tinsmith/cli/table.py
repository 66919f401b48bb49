"""Tables in plain text that stay within the terminal's width: cells are wrapped."""

import shutil
import textwrap
from collections.abc import Iterator, Sequence


def width() -> int:
    """Columns to write in: the terminal's, 80 where there is none, never less than 60 or more than 120."""
    return max(60, min(120, shutil.get_terminal_size((80, 24)).columns))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    """The lines of a table with a head; the columns are `widths` wide, two spaces between them."""
    for row in (head, ["-" * size for size in widths], *rows):
        cells = [_wrapped(cell, size) for cell, size in zip(row, widths, strict=True)]
        for line in range(max(len(cell) for cell in cells)):
            parts = [
                (cell[line] if line < len(cell) else "").ljust(size) for cell, size in zip(cells, widths, strict=True)
            ]
            yield "  ".join(parts).rstrip()


def paragraph(text: str, indent: str = "", first: str | None = None) -> str:
    """`text` wrapped to the width, `first` before its first line and `indent` before the others."""
    lead = indent if first is None else first
    return textwrap.fill(
        text, width(), initial_indent=lead, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _wrapped(text: str, size: int) -> list[str]:
    too_long = any(len(word) > size for word in text.split())
    return textwrap.wrap(text, size, break_on_hyphens=too_long) or [""]
