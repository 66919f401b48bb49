"""What a patch does to one file, and doing it: the new content from the old.

Hunks are placed as `git apply` places them (apply.c, `find_pos` and `match_fragment`): at their line, else at the
nearest place where every line of theirs stands, and without fuzz.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tinsmith.workspace.binary_patch import BinaryBlock, BinaryPatchError

EMPTY_BLOB = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
ZEROS = "0" * 40
MAX_BINARY_BYTES = 8 << 20
"""Of a binary file before or after."""


class DoesNotApply(ValueError):
    """The old content is not what the patch was made for; its words end a sentence about the file."""


@dataclass(frozen=True)
class Hunk:
    """Lines with their ends, as bytes; a start counts from 1, or is the line before where there are no lines."""

    old_start: int
    old: tuple[bytes, ...]
    new_start: int
    new: tuple[bytes, ...]
    reaches_end: bool
    """No context follows its last change, so that its old lines must be the last of the file."""

    @property
    def is_last(self) -> bool:
        """Whether nothing can follow it in the file."""
        return self.reaches_end or any(line[-1:] != b"\n" for line in (*self.old[-1:], *self.new[-1:]))

    def reversed(self) -> "Hunk":
        return Hunk(self.new_start, self.new, self.old_start, self.old, self.reaches_end)


@dataclass(frozen=True)
class PatchedFile:
    """One file of a patch."""

    path: str
    change: str
    """`added`, `deleted` or `modified`."""
    added: int
    removed: int
    """Lines; 0 for binary files."""
    binary: bool
    is_link: bool = False
    old_mode: str | None = None
    new_mode: str | None = None
    """Octal, as git writes them; both None where the mode stays as it is, one where the file is new or gone."""
    hunks: tuple[Hunk, ...] = ()
    blocks: tuple[BinaryBlock, BinaryBlock] | None = None
    """Of a binary file: there and back."""
    old_blob: str = ""
    new_blob: str = ""
    """SHA-1 ids of the contents; empty where only the mode changes."""

    def reversed(self) -> "PatchedFile":
        """The change that takes this one back."""
        return replace(
            self,
            change={"added": "deleted", "deleted": "added"}.get(self.change, self.change),
            added=self.removed,
            removed=self.added,
            old_mode=self.new_mode,
            new_mode=self.old_mode,
            hunks=tuple(hunk.reversed() for hunk in self.hunks),
            blocks=(self.blocks[1], self.blocks[0]) if self.blocks else None,
            old_blob=self.new_blob,
            new_blob=self.old_blob,
        )

    def apply(self, old: bytes) -> bytes:
        """The content after the change; b"" before an added file and after a deleted one.  Raises DoesNotApply."""
        new = _apply_binary(self, old) if self.blocks else _apply_hunks(self.hunks, old)
        if self.change == "deleted" and new:
            raise DoesNotApply("is not the file that the patch deletes")
        return new


def link_target(file: PatchedFile) -> str | None:
    """Where a symlink that a patch writes leads; None where that is not one line."""
    if len(file.hunks) != 1 or len(file.hunks[0].new) != 1 or len(file.hunks[0].old) != (file.change == "modified"):
        return None
    (line,) = file.hunks[0].new
    return None if line.endswith(b"\n") else line.decode("utf-8", "surrogateescape")


def blob_id(content: bytes) -> str:
    """git's SHA-1 name of a file's content."""
    digest = hashlib.sha1(b"blob %d\0" % len(content), usedforsecurity=False)
    digest.update(content)
    return digest.hexdigest()


def _apply_binary(file: PatchedFile, old: bytes) -> bytes:
    assert file.blocks is not None
    if file.change != "added" and blob_id(old) != file.old_blob:
        raise DoesNotApply("is not the binary file that the patch was made for")
    try:
        new = file.blocks[0].apply(old, MAX_BINARY_BYTES)
    except BinaryPatchError as error:
        raise DoesNotApply(str(error)) from None
    if file.change != "deleted" and blob_id(new) != file.new_blob:
        raise DoesNotApply("does not become what its index line says")
    return new


def _apply_hunks(hunks: tuple[Hunk, ...], old: bytes) -> bytes:
    lines = old.split(b"\n")
    last = lines.pop()
    lines = [line + b"\n" for line in lines] + ([last] if last else [])
    patched = [False] * len(lines)
    for hunk in hunks:
        place = _place(hunk, lines, patched)
        lines[place : place + len(hunk.old)] = hunk.new
        patched[place : place + len(hunk.old)] = [True] * len(hunk.new)
    return b"".join(lines)


def _place(hunk: Hunk, lines: list[bytes], patched: list[bool]) -> int:
    """The index of the line where a hunk belongs.  Raises DoesNotApply."""
    size, total = len(hunk.old), len(lines)
    at_start = hunk.old_start <= 1
    expected = 0 if at_start else total - size if hunk.reaches_end else max(hunk.new_start - 1, 0)
    for place in _nearest(min(max(expected, 0), total), total):
        if place + size > total or (hunk.reaches_end and place + size != total) or (at_start and place):
            continue
        found = lines[place : place + size]
        if any(patched[place : place + size]) or tuple(found[:-1]) != hunk.old[:-1]:
            continue
        if tuple(found[-1:]) == hunk.old[-1:]:
            return place
        if not hunk.old[-1].endswith(b"\n") and found[-1].startswith(hunk.old[-1]) and not hunk.reaches_end:
            break  # git compares bytes and would take the beginning of a line for the line
    raise DoesNotApply(f"is not as the patch has it near line {max(hunk.old_start, 1)}")


def _nearest(start: int, total: int) -> Iterator[int]:
    """0 to `total` in the order of git's search: `start`, one after, one before, two after ..."""
    yield start
    for distance in range(1, max(start, total - start) + 1):
        if start + distance <= total:
            yield start + distance
        if distance <= start:
            yield start - distance
