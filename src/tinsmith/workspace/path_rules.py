"""Which names may come out of the sandbox, on whatever file system they land one day.

Some names are dangerous wherever they stand; they are never let out.  Others only harm where a file is new: a
name that another system reads differently must not be brought in, but one that the repository has already may be
changed.  `fold` is the name as the most forgiving file system reads it: two paths with one fold may be one file.

Sources: git's `verify_path`, `is_ntfs_dotgit` and `is_hfs_dotgit` (read-cache.c, path.c, utf8.c), and Microsoft's
"Naming Files, Paths, and Namespaces".
"""

import re
import unicodedata
from collections.abc import Iterator

MAX_NAME = 255
"""Bytes of one part of a path: what ext4, APFS and NTFS take."""
MAX_PATH = 1024
"""Bytes of a whole path relative to the top: the lowest PATH_MAX (macOS)."""

# Characters that HFS+, and ext4 where it ignores case, leave out of names: ".g\u200cit" is ".git" there.  They are
# Unicode's Default_Ignorable_Code_Point.
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
# Nothing prints them, and the Unicode ones among them turn the order of what is read.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])(?=$|[ .:])", re.IGNORECASE)
_SHORT_NAME = re.compile(r"[^.~/]{1,6}~[0-9]{1,6}(\.[^.~/]{0,3})?")


def path_fault(path: str) -> str | None:
    """Why no patch may name `path`, as the end of a sentence; None where it may."""
    if "\0" in path or _CONTROL.search(path):
        return "has control characters in its name"
    if path.startswith(("/", "\\")) or re.match("[A-Za-z]:", path):
        return "is an absolute path"
    # A backslash separates directories where the patch may be applied one day.
    for part in re.split(r"[/\\]", path):
        if part in ("", ".", ".."):
            return "is not a plain relative path"
        if is_git_directory(part):
            return "is inside a .git directory"
    return None


def new_path_fault(path: str) -> str | None:
    """Why no patch may bring in a file named `path`, beyond what `path_fault` says."""
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "is not UTF-8"
    if len(encoded) > MAX_PATH or any(len(part.encode()) > MAX_NAME for part in path.split("/")):
        return "is too long a name"
    if "\\" in path or ":" in path:
        return "has a backslash or a colon in its name, which mean something else on Windows"
    for part in path.split("/"):
        if part != part.rstrip(". "):
            return "has a part that ends in a dot or a space, which Windows drops"
        if _DEVICE.match(part):
            return "is the name of a device on Windows"
        if _SHORT_NAME.fullmatch(part):
            return "looks like the short name of another file on Windows"
    return None


def is_git_directory(part: str) -> bool:
    """`.git` as any file system may spell it: in other case, with trailing dots, a stream, a short name."""
    plain = _fold_part(part).split(":", 1)[0].rstrip(". ")
    return plain == ".git" or re.fullmatch(r"git~\d+", plain) is not None


def target_fault(path: str, target: str) -> str | None:
    """Why a symlink at `path` may not lead to `target`, by their words alone; None where it stays in the tree."""
    if "\0" in target or _CONTROL.search(target):
        return "has control characters in its target"
    if target.startswith(("/", "\\")) or re.match("[A-Za-z]:", target) or not target:
        return "has an absolute target or none"
    if len(target.encode("utf-8", "surrogateescape")) > MAX_PATH:
        return "has too long a target"
    depth = path.count("/")
    for part in re.split(r"[/\\]", target):
        if part == "..":
            depth -= 1
            if depth < 0:
                return "leaves the repository"
        elif is_git_directory(part):
            return "leads into a .git directory"
        elif part not in ("", "."):
            depth += 1
    return None


def steps(path: str, target: str) -> Iterator[str]:
    """Every place that following a symlink at `path` with a relative `target` comes by, the last included."""
    place = path.split("/")[:-1]
    for part in re.split(r"[/\\]", target):
        if part == "..":
            if place:
                place.pop()
        elif part not in ("", "."):
            place.append(part)
            yield "/".join(place)


def fold(path: str) -> str:
    """The path as a file system reads it that ignores case, Unicode form, and dots and spaces at an end."""
    return "/".join(_fold_part(part).rstrip(". ") for part in path.split("/"))


def parents(path: str) -> Iterator[str]:
    """Every directory above `path`, the nearest first, the top left out."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _fold_part(part: str) -> str:
    # Twice, as the Unicode standard's canonical caseless matching has it (section 3.13, D145).
    once = unicodedata.normalize("NFD", _IGNORABLE.sub("", part)).casefold()
    return unicodedata.normalize("NFD", once).casefold()
