"""A patch of a work tree with CRLF line ends, for a commit that stores LF (`core.autocrlf`, `text` attributes).

The copy holds the bytes of the work tree, as the tests must see them.  Git stores such a file with LF, so its lines
in the patch lose their CR before they meet the commit; a file that is stored with CRLF keeps them.
"""

import re
from collections.abc import Callable

from tinsmith.workspace.patch import Patch

# No line of a hunk or of a binary part begins like this.
_FILE = re.compile(r"^(?=diff --git )", re.MULTILINE)
_OLD_CRLF = re.compile(r"^[ -].*\r$", re.MULTILINE)


def as_stored(patch: Patch, stored: Callable[[str], bytes | None]) -> bytes:
    """The patch's bytes, for a commit in which the file at a path is `stored(path)` (None: there is none)."""
    parts = [part for part in _FILE.split(patch.text) if part]
    converted = [
        part.replace("\r\n", "\n") if _OLD_CRLF.search(part) and _is_lf(stored(file.path)) else part
        for part, file in zip(parts, patch.files, strict=True)
    ]
    return "".join(converted).encode("utf-8", "surrogateescape")


def _is_lf(content: bytes | None) -> bool:
    return content is not None and b"\r\n" not in content
