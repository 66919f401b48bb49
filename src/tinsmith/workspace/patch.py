"""The diff on its way out of the sandbox: parsed by us and checked before anything of the person's sees it.

The format is that of `git diff-tree -p --no-renames --binary --full-index` (git's `diff-generate-patch` page), and
only what that command writes is taken: no other program reads the patch before it is applied, and
`tinsmith.workspace.patched_file` applies what was parsed here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from tinsmith.errors import InputError
from tinsmith.workspace.binary_patch import BinaryBlock, BinaryPatchError, read_block
from tinsmith.workspace.patch_tree import tree_fault
from tinsmith.workspace.patched_file import EMPTY_BLOB, MAX_BINARY_BYTES, ZEROS, Hunk, PatchedFile, link_target
from tinsmith.workspace.path_rules import new_path_fault, path_fault, target_fault

MAX_BYTES = 4 << 20
"""Of a whole patch."""
MAX_FILES = 500
MAX_FILE_BYTES = 2 << 20
"""Of the part of a patch that changes one file."""
_NO_NEWLINE = "\\ No newline at end of file"
_FILE_MODES = {"100644", "100755"}
_SYMLINK = "120000"
_HUNK = re.compile(r"@@ -([0-9]{1,9})(?:,([0-9]{1,9}))? \+([0-9]{1,9})(?:,([0-9]{1,9}))? @@(?: .*)?", re.DOTALL)
_INDEX = re.compile(r"index ([0-9a-f]{40})\.\.([0-9a-f]{40})(?: ([0-9]{6}))?")
# What git reads itself must not be a symlink, or another file than the one that is checked has the say (git's fsck).
_NEVER_LINKS = {".gitmodules", ".gitattributes", ".gitignore", ".mailmap"}


@dataclass(frozen=True)
class Patch:
    """A diff that passed every check."""

    files: tuple[PatchedFile, ...]
    """In the patch's order.  Where a file becomes a symlink, or the reverse, its path comes twice: deleted, added."""
    text: str
    """As git wrote it; bytes that are not UTF-8 are surrogate escapes."""

    @property
    def content(self) -> bytes:
        """The bytes to write to a file or to give to `git apply`."""
        return self.text.encode("utf-8", "surrogateescape")

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(file.path for file in self.files))


def parse_patch(text: str, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> Patch:
    """Parse and check a diff; an empty one gives a Patch without files.

    Raises InputError `patch_rejected`, with the reason, for a path outside the tree or in a `.git` in any
    spelling, a new name that another file system reads differently, a mode other than 644, 755 or a symlink that
    stays in the tree, a submodule, files that could stand in each other's way, too much of anything, and whatever is
    not in git's format.  What can only be told beside the files that are there, `tree_fault` tells.
    """
    try:
        encoded = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise patch_rejected("it holds characters that no bytes stand for") from None
    if encoded.decode("utf-8", "surrogateescape") != text:
        raise patch_rejected("its bytes are not what its characters say")  # one name could be written in two ways
    if len(encoded) > max_bytes:
        raise patch_rejected(f"it is {len(encoded)} bytes long, more than {max_bytes}")
    lines = text.split("\n")
    if lines.pop() != "":
        raise patch_rejected("it does not end with a newline")
    cursor = _Lines(lines)
    files: list[PatchedFile] = []
    while not cursor.done:
        start = cursor.position
        files.append(_parse_file(cursor))
        if len(files) > max_files:
            raise patch_rejected(f"it touches more than {max_files} files")
        size = sum(len(line.encode("utf-8", "surrogateescape")) + 1 for line in lines[start : cursor.position])
        if size > MAX_FILE_BYTES:
            raise patch_rejected(f"its part for {files[-1].path!r} is {size} bytes long, more than {MAX_FILE_BYTES}")
    if fault := tree_fault(files, {}):
        raise patch_rejected(fault)
    return Patch(tuple(files), text)


class _Lines:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self.position = 0

    @property
    def done(self) -> bool:
        return self.position >= len(self._lines)

    def peek(self) -> str:
        return self._lines[self.position] if not self.done else ""

    def take(self) -> str:
        if self.done:
            raise patch_rejected("it ends in the middle of a file")
        self.position += 1
        return self._lines[self.position - 1]

    def accept(self, prefix: str) -> str | None:
        """The rest of the next line if that begins with `prefix`."""
        if self.done or not self.peek().startswith(prefix):
            return None
        return self.take()[len(prefix) :]


def _parse_file(lines: _Lines) -> PatchedFile:
    header = lines.accept("diff --git ")
    if header is None:
        raise patch_rejected(f"unexpected line {lines.peek()[:80]!r}")
    path = _header_path(header)
    if fault := path_fault(path):
        raise patch_rejected(f"{path!r} {fault}")
    file = _parse_modes(lines, path)
    if file.change == "added" and (fault := new_path_fault(path)):
        raise patch_rejected(f"{path!r} {fault}")
    file = _parse_index(lines, file)
    if lines.accept("GIT binary patch") is not None:
        file = replace(file, binary=True, blocks=(_parse_block(lines, path), _parse_block(lines, path)))
    elif (old := lines.accept("--- ")) is not None:
        _check_names(file, old, lines.accept("+++ "))
        file = _parse_hunks(lines, file)
    elif file.old_blob and {file.old_blob, file.new_blob} != {ZEROS, EMPTY_BLOB}:
        raise patch_rejected(f"{path!r} has no content")
    if file.is_link and file.change != "deleted":
        _check_link(file)
    return file


def _parse_modes(lines: _Lines, path: str) -> PatchedFile:
    change, old, new = "modified", None, None
    if (mode := lines.accept("new file mode ")) is not None:
        change, new = "added", mode
    elif (mode := lines.accept("deleted file mode ")) is not None:
        change, old = "deleted", mode
    elif (old := lines.accept("old mode ")) is not None and (new := lines.accept("new mode ")) is None:
        raise patch_rejected(f"{path!r} has an old mode and no new one")
    _check_modes(path, *(mode for mode in (old, new) if mode is not None))
    if old is not None and new is not None and (old == new or _SYMLINK in (old, new)):
        raise patch_rejected(f"{path!r} changes its mode from {old} to {new}")
    return PatchedFile(path, change, 0, 0, False, _SYMLINK in (old, new), old, new)


def _check_modes(path: str, *modes: str) -> None:
    for mode in modes:
        if mode == "160000":
            raise patch_rejected(f"{path!r} is a submodule")
        if mode not in _FILE_MODES and mode != _SYMLINK:
            raise patch_rejected(f"{path!r} has the mode {mode[:40]!r}")


def _parse_index(lines: _Lines, file: PatchedFile) -> PatchedFile:
    """The contents' ids.  Only a change of mode alone has none; the mode stands here where it stays the same."""
    path, mode_changes = file.path, file.old_mode is not None and file.new_mode is not None
    if not lines.peek().startswith("index "):
        if not mode_changes:
            raise patch_rejected(f"{path!r} has no index line")
        if lines.peek().startswith(("--- ", "GIT binary patch")):
            raise patch_rejected(f"{path!r} has content without an index line")
        return file
    index = _INDEX.fullmatch(lines.take())
    if index is None:
        raise patch_rejected(f"{path!r} has a malformed index line")
    old, new, mode = index.groups()
    if (old == ZEROS) != (file.change == "added") or (new == ZEROS) != (file.change == "deleted") or old == new:
        raise patch_rejected(f"{path!r} is {file.change} and its index line says otherwise")
    if (mode is not None) != (file.change == "modified" and not mode_changes):
        raise patch_rejected(f"{path!r} has its mode in the wrong place")
    if mode is not None:
        _check_modes(path, mode)
    return replace(file, is_link=file.is_link or mode == _SYMLINK, old_blob=old, new_blob=new)


def _parse_block(lines: _Lines, path: str) -> BinaryBlock:
    block: list[str] = []
    while (line := lines.take()) != "":
        block.append(line)
    try:
        return read_block(block, MAX_BINARY_BYTES)
    except BinaryPatchError as error:
        raise patch_rejected(f"{path!r} {error}") from None


def _parse_hunks(lines: _Lines, file: PatchedFile) -> PatchedFile:
    hunks: list[Hunk] = []
    added = removed = end = shift = 0
    while (header := _HUNK.fullmatch(lines.peek())) is not None:
        lines.take()
        old_start, old_count, new_start, new_count = (int(n) if n is not None else 1 for n in header.groups())
        signs, hunk = _parse_hunk(lines, file.path, old_start, old_count, new_start, new_count)
        added, removed = added + signs.count("+"), removed + signs.count("-")
        # As git numbers them: each hunk after the one before, and the new numbers are the old ones and what came in.
        first = old_start - (old_count > 0)
        if first < end or new_start - (new_count > 0) - first != shift or (hunks and hunks[-1].is_last):
            raise patch_rejected(f"{file.path!r} has a hunk in the wrong place")
        end, shift = first + old_count, shift + new_count - old_count
        hunks.append(hunk)
    if not hunks:
        raise patch_rejected(f"{file.path!r} has names and no hunk")
    if any(len(hunk.old) for hunk in hunks if file.change == "added") or (file.change == "added" and len(hunks) > 1):
        raise patch_rejected(f"{file.path!r} is new and has old lines")
    if any(len(hunk.new) for hunk in hunks if file.change == "deleted") or (
        file.change == "deleted" and len(hunks) > 1
    ):
        raise patch_rejected(f"{file.path!r} is deleted and has new lines")
    return replace(file, hunks=tuple(hunks), added=added, removed=removed)


def _parse_hunk(
    lines: _Lines, path: str, old_start: int, old_count: int, new_start: int, new_count: int
) -> tuple[str, Hunk]:
    """The sign of each line, and the hunk.  Lines are counted, so content cannot pose as a header."""
    sides: dict[str, list[bytes]] = {"-": [], "+": []}
    ended: set[str] = set()
    signs = ""
    while len(sides["-"]) < old_count or len(sides["+"]) < new_count:
        line = lines.take()
        sign = line[:1]
        touched = {" ": "-+", "-": "-", "+": "+"}.get(sign)
        if touched is None or not ended.isdisjoint(touched):
            raise patch_rejected(f"{path!r} has a malformed hunk")
        signs += sign
        content = line[1:].encode("utf-8", "surrogateescape")
        if lines.peek() == _NO_NEWLINE and not lines.done:
            lines.take()
            ended.update(touched)
        else:
            content += b"\n"
        for side in touched:
            sides[side].append(content)
    if len(sides["-"]) != old_count or len(sides["+"]) != new_count:
        raise patch_rejected(f"{path!r} has a hunk of another length than it says")
    if not signs.strip():
        raise patch_rejected(f"{path!r} has a hunk that changes nothing")
    # git takes a hunk without context at its end for one at the end of the file.
    return signs, Hunk(old_start, tuple(sides["-"]), new_start, tuple(sides["+"]), not signs.endswith(" "))


def _header_path(header: str) -> str:
    """The path of `a/PATH b/PATH`, both the same since renames are off; either may be quoted as in C."""
    if header.startswith('"'):
        middle = header.find('" "', 1)
        old, new = _unquote(header[: middle + 1]), _unquote(header[middle + 2 :])
    else:
        middle = len(header) // 2
        old, new = header[:middle], header[middle + 1 :]
        if header[middle : middle + 1] != " " or '"' in header or "\\" in header:
            raise patch_rejected(f"malformed header {header[:200]!r}")
    if not old.startswith("a/") or not new.startswith("b/") or old[2:] != new[2:]:
        raise patch_rejected(f"the header {header[:200]!r} names two files")
    return old[2:]


def _check_names(file: PatchedFile, old: str, new: str | None) -> None:
    def name(value: str) -> str:
        # git appends a tab to a name with a space in it.
        plain = value.removesuffix("\t") if " " in value else value
        return _unquote(plain) if plain.startswith('"') else plain

    expected = (
        "/dev/null" if file.change == "added" else f"a/{file.path}",
        "/dev/null" if file.change == "deleted" else f"b/{file.path}",
    )
    if new is None or (name(old), name(new)) != expected:
        raise patch_rejected(f"the header of {file.path!r} and its names differ")


def _check_link(file: PatchedFile) -> None:
    """A symlink's content is its target, one line without an end; it is written whole."""
    path = file.path
    if path.rpartition("/")[2].casefold() in _NEVER_LINKS:
        raise patch_rejected(f"{path!r} must not be a symlink")
    if (target := link_target(file)) is None:
        raise patch_rejected(f"{path!r} is a symlink with a strange target")
    if fault := target_fault(path, target):
        raise patch_rejected(f"the symlink {path!r} {fault}: {target[:200]!r}")


_SIMPLE_ESCAPES = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}


def _unquote(quoted: str) -> str:
    """git's C-style quoting undone."""
    if len(quoted) < 2 or quoted[0] != '"' or quoted[-1] != '"':
        raise patch_rejected(f"malformed name {quoted[:200]!r}")
    result = bytearray()
    for plain, simple, octal, wrong in _pieces(quoted[1:-1]):
        if wrong:
            raise patch_rejected(f"malformed name {quoted[:200]!r}")
        if octal:
            result.append(int(octal, 8))
        elif simple:
            result.append(_SIMPLE_ESCAPES[simple])
        else:
            result += plain.encode("utf-8", "surrogateescape")
    return result.decode("utf-8", "surrogateescape")


_PIECE = re.compile(r'([^"\\]+)|\\([abtnvfr"\\])|\\([0-3][0-7]{2})|(.)', re.DOTALL)


def _pieces(inner: str) -> Iterator[tuple[str, str, str, str]]:
    for found in _PIECE.finditer(inner):
        plain, simple, octal, wrong = found.groups("")
        yield plain, simple, octal, wrong


def patch_rejected(reason: str) -> InputError:
    """The error that every refusal of a patch is."""
    return InputError(
        "patch_rejected",
        f"the patch was not let out: {reason}",
        "Look at the run's log; start the run again.",
    )
