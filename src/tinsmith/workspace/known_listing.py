"""What git lists of a checkout, known again without asking git while nothing in it came, went or moved.

A listing depends on git's index, the ignore rules and the names in each directory.  Names cannot come or go without
the directory's change time telling, as git's own untracked cache holds too.  That is so on the usual local file
systems; on others, and where there are repositories in the repository, git is asked each time.
"""

import json
import os
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from tinsmith.workspace.checkout import list_files
from tinsmith.workspace.copy_in import Selection, is_environment, is_never_source, select_files
from tinsmith.workspace.git import person_setting
from tinsmith.workspace.tree import Identity, identity, is_settled

_LOCAL = {"ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "zfs", "f2fs", "bcachefs", "overlay"}
_MOST = 50_000


def known_selection(top: Path, leave_out: Collection[str], record: Path) -> Selection:
    """As `select_files`; `record` is the file in which it is kept from one time to the next.

    Raises InputError as `list_files` does.
    """
    excludes = os.path.expanduser(person_setting("core.excludesFile", top))
    asked = {"leave_out": sorted(leave_out), "excludes": excludes}
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(record.read_bytes())
        if known["asked"] == asked and all(_is_same(path, was, known["when"]) for path, was in known["watched"]):
            return Selection(tuple(known["base"]), tuple(known["extras"]), (), excludes)
    began = time.time_ns()
    listing = list_files(top, excludes)
    selection = select_files(top, leave_out, listing)
    with suppress(OSError):  # it only saves time
        record.unlink(missing_ok=True)
        if not selection.inner and (top / ".git").is_dir() and _is_local(top):
            paths = [excludes, *(f"{top}/{path}" for path in _watched(top, listing.ignored, leave_out))]
            if len(paths) < _MOST:
                watched = [(path, _identity(path)) for path in paths]
                files = {"base": selection.base, "extras": selection.extras}
                _write(record, {"asked": asked, "when": began, "watched": watched, **files})
    return selection


def _write(record: Path, content: object) -> None:
    record.parent.mkdir(parents=True, exist_ok=True)
    temporary = record.with_name(f".{record.name}.{os.urandom(4).hex()}")
    temporary.write_text(json.dumps(content, separators=(",", ":")))
    temporary.rename(record)


def _watched(top: Path, ignored: Collection[str], leave_out: Collection[str]) -> Iterator[str]:
    """Every directory whose names count, relative to the top, and every file of rules."""
    yield from (".git/index", ".git/config", ".git/config.worktree", ".git/info/exclude")
    names = frozenset(ignored)
    below = [("", False)]
    while below:
        directory, is_ignored = below.pop()
        yield directory
        if is_environment(top / directory):
            continue
        for entry in os.scandir(top / directory):
            path = f"{directory}/{entry.name}" if directory else entry.name
            if entry.name == ".gitignore":
                yield path
            elif entry.is_dir(follow_symlinks=False) and entry.name != ".git" and path not in leave_out:
                inside = is_ignored or f"{path}/" in names
                if not (inside and is_never_source(entry.name)):
                    below.append((path, inside))


def _identity(path: str) -> Identity | None:
    try:
        return identity(os.lstat(path))
    except OSError:
        return None


def _is_same(path: str, was: list[int] | None, when: int) -> bool:
    now = _identity(path)
    if now is None or was is None:
        return now is was
    return now == tuple(was) and is_settled(now, when)


def _is_local(top: Path) -> bool:
    """Whether all of `top` is of a file system whose directories tell when names come and go."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    except OSError:
        return False
    kinds = {os.fsdecode(row[4].encode().decode("unicode_escape")): row[row.index("-") + 1] for row in mounts}
    if any(Path(place).is_relative_to(top) for place in kinds):
        return False
    return next((kinds[str(place)] in _LOCAL for place in (top, *top.parents) if str(place) in kinds), False)
