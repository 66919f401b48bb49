"""The diff on its way out of the sandbox: parsed by us and checked before any git of the person's sees it.

The format is that of `git diff-tree -p --no-renames --binary --full-index` (git's `diff-generate-patch`
page).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tinsmith.errors import InputError

MAX_BYTES = 4 << 20
MAX_FILES = 500
_FILE_MODES = {"100644", "100755"}
_SYMLINK = "120000"
_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_INDEX = re.compile(r"index [0-9a-f]{40}\.\.[0-9a-f]{40}(?: (\d{6}))?")
_BINARY = re.compile(r"(?:literal|delta) \d+")
# Characters that HFS+ ignores in names, so that ".g\u200cit" is ".git" there.
_IGNORABLE = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")


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


@dataclass(frozen=True)
class Patch:
    """A diff that passed every check."""

    files: tuple[PatchedFile, ...]
    text: str
    """As git wrote it; bytes that are not UTF-8 are surrogate escapes."""

    @property
    def content(self) -> bytes:
        """The bytes to write to a file or to give to `git apply`."""
        return self.text.encode("utf-8", "surrogateescape")

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(file.path for file in self.files)


def parse_patch(text: str, *, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> Patch:
    """Parse and check a diff; an empty one gives a Patch without files.

    Raises InputError `patch_rejected`, with the reason, for a path outside the tree or in a `.git` in any
    spelling, a mode other than 644, 755 or a symlink that stays in the tree, a submodule, too much of
    anything, and whatever is not in git's format.
    """
    size = len(text.encode("utf-8", "surrogateescape"))
    if size > max_bytes:
        raise _rejected(f"it is {size} bytes long, more than {max_bytes}")
    lines = text.split("\n")
    if lines.pop() != "":
        raise _rejected("it does not end with a newline")
    cursor = _Lines(lines)
    files: list[PatchedFile] = []
    links: set[str] = set()
    while not cursor.done:
        file, is_link = _parse_file(cursor)
        files.append(file)
        if is_link:
            links.add(file.path)
        if len(files) > max_files:
            raise _rejected(f"it touches more than {max_files} files")
    seen = [file.path for file in files]
    if len(set(seen)) != len(seen):
        raise _rejected("it names a file twice")
    for path in seen:
        parts = path.split("/")
        if any("/".join(parts[:end]) in links for end in range(1, len(parts))):
            raise _rejected(f"{path!r} lies behind a symlink")
    return Patch(tuple(files), text)


class _Lines:
    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._next = 0

    @property
    def done(self) -> bool:
        return self._next >= len(self._lines)

    def peek(self) -> str:
        return self._lines[self._next] if not self.done else ""

    def take(self) -> str:
        if self.done:
            raise _rejected("it ends in the middle of a file")
        self._next += 1
        return self._lines[self._next - 1]

    def accept(self, prefix: str) -> str | None:
        """The rest of the next line if that begins with `prefix`."""
        if self.done or not self.peek().startswith(prefix):
            return None
        return self.take()[len(prefix) :]


def _parse_file(lines: _Lines) -> tuple[PatchedFile, bool]:
    header = lines.accept("diff --git ")
    if header is None:
        raise _rejected(f"unexpected line {lines.peek()[:80]!r}")
    path = _header_path(header)
    _check_path(path)
    change = "modified"
    modes: list[str] = []
    if (mode := lines.accept("new file mode ")) is not None:
        change, modes = "added", [mode]
    elif (mode := lines.accept("deleted file mode ")) is not None:
        change, modes = "deleted", [mode]
    elif (mode := lines.accept("old mode ")) is not None:
        new = lines.accept("new mode ")
        if new is None:
            raise _rejected(f"{path!r} has an old mode and no new one")
        modes = [mode, new]
    if lines.peek().startswith("index "):
        index = _INDEX.fullmatch(lines.take())
        if index is None:
            raise _rejected(f"{path!r} has a malformed index line")
        if index[1]:
            modes.append(index[1])
    elif len(modes) < 2:
        raise _rejected(f"{path!r} has no index line")
    for mode in modes:
        if mode == "160000":
            raise _rejected(f"{path!r} is a submodule")
        if mode not in _FILE_MODES and mode != _SYMLINK:
            raise _rejected(f"{path!r} has the mode {mode}")
    is_link = _SYMLINK in modes
    added: list[str] = []
    removed = 0
    binary = lines.accept("GIT binary patch") is not None
    if binary:
        _parse_binary(lines, path)
    elif (old := lines.accept("--- ")) is not None:
        new = lines.accept("+++ ")
        _check_names(path, change, old, new)
        for sign, content in _parse_hunks(lines, path):
            if sign == "+":
                added.append(content)
            else:
                removed += 1
    if is_link and change != "deleted":
        if binary or len(added) != 1:
            raise _rejected(f"{path!r} is a symlink with a strange target")
        _check_target(path, added[0])
    return PatchedFile(path, change, len(added), removed, binary), is_link


def _parse_hunks(lines: _Lines, path: str) -> Iterator[tuple[str, str]]:
    """(sign, content) of each changed line.  Lines are counted, so content cannot pose as a header."""
    while (hunk := _HUNK.match(lines.peek())) is not None:
        lines.take()
        old, new = (int(count) if count is not None else 1 for count in hunk.groups())
        while old > 0 or new > 0:
            line = lines.take()
            sign = line[:1]
            if sign == "\\":
                continue
            if sign not in ("+", "-", " "):
                raise _rejected(f"{path!r} has a malformed hunk")
            old -= sign != "+"
            new -= sign != "-"
            if old < 0 or new < 0:
                raise _rejected(f"{path!r} has a hunk of another length than it says")
            if sign != " ":
                yield sign, line[1:]
        if lines.peek().startswith("\\"):
            lines.take()


def _parse_binary(lines: _Lines, path: str) -> None:
    blocks = 0
    while _BINARY.fullmatch(lines.peek()):
        lines.take()
        while lines.take() != "":
            pass
        blocks += 1
    if blocks != 2:
        raise _rejected(f"{path!r} has a malformed binary part")


def _header_path(header: str) -> str:
    """The path of `a/PATH b/PATH`, both the same since renames are off; either may be quoted as in C."""
    if header.startswith('"'):
        middle = header.find('" "', 1)
        old, new = _unquote(header[: middle + 1]), _unquote(header[middle + 2 :])
    else:
        middle = len(header) // 2
        old, new = header[:middle], header[middle + 1 :]
        if header[middle : middle + 1] != " ":
            raise _rejected(f"malformed header {header[:200]!r}")
    if not old.startswith("a/") or not new.startswith("b/") or old[2:] != new[2:]:
        raise _rejected(f"the header {header[:200]!r} names two files")
    return old[2:]


def _check_names(path: str, change: str, old: str, new: str | None) -> None:
    # git appends a tab to a name with a space in it.
    def name(value: str) -> str:
        plain = value.removesuffix("\t")
        return _unquote(plain) if plain.startswith('"') else plain

    expected = (
        "/dev/null" if change == "added" else f"a/{path}",
        "/dev/null" if change == "deleted" else f"b/{path}",
    )
    if new is None or (name(old), name(new)) != expected:
        raise _rejected(f"the header of {path!r} and its names differ")


_SIMPLE_ESCAPES = {"a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, '"': 34, "\\": 92}


def _unquote(quoted: str) -> str:
    """git's C-style quoting undone."""
    if len(quoted) < 2 or quoted[0] != '"' or quoted[-1] != '"':
        raise _rejected(f"malformed name {quoted[:200]!r}")
    inner = quoted[1:-1]
    result = bytearray()
    position = 0
    while position < len(inner):
        character = inner[position]
        if character != "\\":
            result += character.encode("utf-8", "surrogateescape")
            position += 1
        elif inner[position + 1 : position + 2] in _SIMPLE_ESCAPES and position + 1 < len(inner):
            result.append(_SIMPLE_ESCAPES[inner[position + 1]])
            position += 2
        elif re.fullmatch("[0-3][0-7]{2}", inner[position + 1 : position + 4]):
            result.append(int(inner[position + 1 : position + 4], 8))
            position += 4
        else:
            raise _rejected(f"malformed name {quoted[:200]!r}")
    return result.decode("utf-8", "surrogateescape")


def _check_path(path: str) -> None:
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        raise _rejected(f"{path!r} has control characters in its name")
    if path.startswith(("/", "\\")) or re.match("[A-Za-z]:", path):
        raise _rejected(f"{path!r} is an absolute path")
    # A backslash separates directories where the patch may be applied one day.
    for part in re.split(r"[/\\]", path):
        if part in ("", ".", ".."):
            raise _rejected(f"{path!r} is not a plain relative path")
        if _is_git_directory(part):
            raise _rejected(f"{path!r} is inside a .git directory")


def _is_git_directory(part: str) -> bool:
    """`.git` as any file system may spell it: in other case, with trailing dots, a stream, a short name."""
    plain = _IGNORABLE.sub("", part).casefold().split(":", 1)[0].rstrip(". ")
    return plain == ".git" or re.fullmatch(r"git~\d+", plain) is not None


def _check_target(path: str, target: str) -> None:
    if target.startswith(("/", "\\")) or re.match("[A-Za-z]:", target) or not target:
        raise _rejected(f"the symlink {path!r} has the absolute target {target[:200]!r}")
    place = path.split("/")[:-1]
    for part in re.split(r"[/\\]", target):
        if part == "..":
            if not place:
                raise _rejected(f"the symlink {path!r} leaves the repository: {target[:200]!r}")
            place.pop()
        elif _is_git_directory(part):
            raise _rejected(f"the symlink {path!r} leads into a .git directory")
        elif part not in ("", "."):
            place.append(part)


def _rejected(reason: str) -> InputError:
    return InputError(
        "patch_rejected",
        f"the patch was not let out: {reason}",
        "Look at the run's log; start the run again.",
    )
