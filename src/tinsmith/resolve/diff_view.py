"""A patch as lines to show: the sign, both line numbers and the text, file by file.

Only for the eye: it reads any text without raising, where `parse_patch` checks.
"""

import re
from dataclasses import dataclass, field

MAX_LINES = 3_000
"""Lines of a patch that are shown."""
MAX_LINE = 2_000
"""Characters of a line that are shown."""
_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@(.*)")


@dataclass(frozen=True)
class DiffLine:
    """`sign`: `+`, `-`, a blank, or `@` for what stands between hunks; numbers count from 1."""

    sign: str
    old: int | None
    new: int | None
    text: str


@dataclass
class FileDiff:
    """One file. `change`: added, deleted, modified; `notes`: mode changes, a binary file."""

    path: str
    change: str = "modified"
    added: int = 0
    removed: int = 0
    notes: list[str] = field(default_factory=list[str])
    lines: list[DiffLine] = field(default_factory=list[DiffLine])

    def touches(self, first: int, last: int) -> bool:
        """Whether a line of the old file from `first` to `last` is changed, or something is put between them."""
        old = 0
        for line in self.lines:
            if line.old is not None:
                old = line.old
            if line.sign in "+-" and first <= max(old, 1) <= last:
                return True
        return False


def file_diffs(patch: str) -> list[FileDiff]:
    """The files of a patch in git's format, in order."""
    files: list[FileDiff] = []
    old = new = left_old = left_new = 0
    for line in patch.split("\n"):
        if line.startswith("diff --git ") and left_old <= 0 and left_new <= 0:
            files.append(FileDiff(_header_path(line)))
            continue
        if not files:
            continue
        file = files[-1]
        if left_old > 0 or left_new > 0:
            sign, text = line[:1] or " ", line[1 : MAX_LINE + 1]
            if sign == "+":
                file.lines.append(DiffLine("+", None, new, text))
                file.added, new, left_new = file.added + 1, new + 1, left_new - 1
            elif sign == "-":
                file.lines.append(DiffLine("-", old, None, text))
                file.removed, old, left_old = file.removed + 1, old + 1, left_old - 1
            elif sign == "\\":
                file.lines.append(DiffLine("@", None, None, line.strip("\\ ")))
            else:
                file.lines.append(DiffLine(" ", old, new, text))
                old, new, left_old, left_new = old + 1, new + 1, left_old - 1, left_new - 1
        elif hunk := _HUNK.match(line):
            old, new = int(hunk[1]), int(hunk[3])
            left_old, left_new = int(hunk[2] or 1), int(hunk[4] or 1)
            file.lines.append(DiffLine("@", None, None, hunk[5].strip() or f"line {max(new, 1)}"))
        elif line.startswith("\\"):
            file.lines.append(DiffLine("@", None, None, line.strip("\\ ")))
        else:
            _take_header(file, line)
    return files


def shortened(files: list[FileDiff]) -> int:
    """Cuts `files` to MAX_LINES in place; returns how many lines went."""
    room, cut = MAX_LINES, 0
    for file in files:
        cut += max(len(file.lines) - room, 0)
        del file.lines[max(room, 0) :]
        room -= len(file.lines)
    return cut


def _take_header(file: FileDiff, line: str) -> None:
    if line.startswith("new file mode "):
        file.change = "added"
        if line.endswith(("755", "120000")):
            file.notes.append("a program" if line.endswith("755") else "a symbolic link")
    elif line.startswith("deleted file mode "):
        file.change = "deleted"
    elif line.startswith("old mode "):
        file.notes.append(f"mode was {line[9:]}")
    elif line.startswith("new mode "):
        file.notes.append(f"mode is {line[9:]}")
    elif line.startswith("GIT binary patch"):
        file.notes.append("binary, not shown")
    elif line.startswith(("+++ b/", "--- a/")):
        file.path = line[6:].rstrip("\t")


def _header_path(line: str) -> str:
    """The path of `diff --git a/PATH b/PATH`, both the same."""
    names = line[len("diff --git ") :]
    return names[: len(names) // 2].removeprefix('"').removeprefix("a/").removesuffix('"')
