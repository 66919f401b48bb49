"""Many files of the person's work tree replaced as one: all of them or none, also after a kill or a power cut.

    GIT_DIR/tinsmith-apply/lock        held while files are replaced
    GIT_DIR/tinsmith-apply/plan.json   every file, as it was and as it will be; there only while that is under way
    GIT_DIR/tinsmith-apply/contents    what the plan needs to write, one after the other

The contents are on the disk before the plan is, and the plan before the first file changes.  Who finds a plan carries
it out; where the person has changed one of its files since, what was done of it is taken back and their file is left
alone.  The plan lies in git's own directory, so the next apply or undo in this checkout finds it, of whatever run.
"""

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinsmith.errors import InputError
from tinsmith.workspace.beneath import Beneath
from tinsmith.workspace.path_rules import parents

_DIRECTORY = "tinsmith-apply"


@dataclass(frozen=True)
class FileState:
    """What stands at a path.  `mode`: permission bits; None for a new file, which gets what the umask leaves."""

    kind: str
    """`file`, `program` (its owner may run it), `link`, or `other`."""
    content: bytes
    mode: int | None = None


Change = tuple[FileState | None, FileState | None]
"""Before and after; None where there is no such file."""


class FileChanged(Exception):
    """A file is neither as it was nor as it should be; the argument is its path."""


def read_state(tree: Beneath, path: str) -> FileState | None:
    """What stands at `path`; None for nothing and for a directory.  Raises OSError, ELOOP behind a symlink."""
    status = tree.status(path)
    if status is None or stat.S_ISDIR(status.st_mode):
        return None
    if stat.S_ISLNK(status.st_mode):
        return FileState("link", tree.read_link(path))
    if not stat.S_ISREG(status.st_mode):
        return FileState("other", b"")
    kind = "program" if status.st_mode & 0o100 else "file"
    return FileState(kind, tree.read(path), stat.S_IMODE(status.st_mode) & 0o777)


def file_prints(top: Path, paths: Iterable[str]) -> dict[str, str | None]:
    """What stands at each path of the work tree, as `KIND:SHA-256`; None for nothing and for a directory."""
    with Beneath(top) as tree:
        return {path: _print(tree, path) for path in paths}


def _print(tree: Beneath, path: str) -> str | None:
    try:
        state = read_state(tree, path)
    except OSError:  # behind a symlink, or not to be read
        state = FileState("other", b"")
    return state and f"{state.kind}:{_hash(state.content)}"


@contextmanager
def locked(git_dir: Path) -> Generator[None]:
    """One at a time in a checkout.  Raises InputError `apply_in_progress`, OSError."""
    place = git_dir / _DIRECTORY
    place.mkdir(mode=0o700, exist_ok=True)
    with (place / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                "apply_in_progress", "another apply or undo is under way in this checkout", "Wait for it to end."
            ) from None
        yield


def replace_files(
    top: Path, git_dir: Path, changes: Mapping[str, Change], *, open_tree: Callable[[Path], Beneath] = Beneath
) -> None:
    """Carry out `changes` ({path: before and after}) in the work tree `top`: all of them, or none.

    The caller holds `locked`.  Raises FileChanged where a file is not as it was, OSError where one cannot be
    written; the tree is then as it was.
    """
    place = git_dir / _DIRECTORY
    with open_tree(top) as tree:
        for path, (before, _) in changes.items():
            if not _is(read_state(tree, path), _row(before, bytearray())):
                raise FileChanged(path)
        token = os.urandom(4).hex()
        contents = bytearray()
        rows = [
            {
                "path": path,
                "temporary": f".tinsmith-{token}-{number}",
                "before": _row(before, contents),
                "after": _row(after, contents),
            }
            for number, (path, (before, after)) in enumerate(changes.items())
        ]
        missing = {parent for path in changes for parent in parents(path) if tree.status(parent) is None}
        plan = {"top": str(top), "missing": sorted(missing, reverse=True), "rows": rows}
        _write(place / "contents", contents)
        _write(place / "plan.new", json.dumps(plan).encode())
        os.rename(place / "plan.new", place / "plan.json")
        _sync_directory(place)
        try:
            _carry_out(tree, place, rows, "after")
        except (FileChanged, OSError):
            _take_back(tree, place, plan)
            _end(place)
            raise
        _end(place)


def recover(git_dir: Path) -> None:
    """Finish what a kill broke off, or take it back where the person has changed one of its files.

    The caller holds `locked`.  Raises OSError where the files cannot be written; the plan is kept then.
    """
    place = git_dir / _DIRECTORY
    try:
        plan = json.loads((place / "plan.json").read_bytes())
    except FileNotFoundError:
        _end(place)  # contents whose plan was never made
        return
    try:
        tree = Beneath(Path(plan["top"]))
    except FileNotFoundError:  # the work tree is gone, and what was to be done in it
        _end(place)
        return
    with tree:
        try:
            _carry_out(tree, place, plan["rows"], "after")
        except (FileChanged, OSError):
            _take_back(tree, place, plan)
    _end(place)


def _take_back(tree: Beneath, place: Path, plan: Mapping[str, Any]) -> None:
    _carry_out(tree, place, plan["rows"], "before", lenient=True)
    for directory in plan["missing"]:
        tree.remove_directory(directory)


def _carry_out(tree: Beneath, place: Path, rows: list[dict[str, Any]], side: str, *, lenient: bool = False) -> None:
    """Make every file what `side` says.  A file of neither side is left alone if `lenient`, else FileChanged."""
    other = "before" if side == "after" else "after"
    for row in rows:
        tree.discard("/".join([*row["path"].split("/")[:-1], row["temporary"]]))
    todo: list[dict[str, Any]] = []
    for row in rows:
        now = read_state(tree, row["path"])
        if _is(now, row[side]):
            continue
        if _is(now, row[other]):
            todo.append(row)
        elif not lenient:
            raise FileChanged(row["path"])
    needed = {parent for row in rows if row[side] is not None for parent in parents(row["path"])}
    # What goes makes room: a directory where a file comes, or the reverse.
    for row in sorted(todo, key=lambda row: row[side] is not None):
        path, wanted = row["path"], row[side]
        if wanted is not None:
            _put(tree, path, wanted, _content(place, wanted), row["temporary"])
            continue
        tree.remove(path)
        for parent in parents(path):
            if parent in needed or not tree.remove_directory(parent):
                break
    tree.sync()


def _put(tree: Beneath, path: str, wanted: Mapping[str, Any], content: bytes, temporary: str) -> None:
    tree.make_parents(path)
    if wanted["kind"] == "link":
        tree.write_link(path, content, temporary=temporary)
    else:
        mode, new = wanted["mode"], 0o777 if wanted["kind"] == "program" else 0o666
        tree.write(path, content, mode=new if mode is None else mode, umask=mode is None, temporary=temporary)


def _row(state: FileState | None, contents: bytearray) -> dict[str, Any] | None:
    if state is None:
        return None
    row = asdict(state)
    content = row.pop("content")
    row.update(sha256=_hash(content), start=len(contents), length=len(content))
    contents += content
    return row


def _content(place: Path, row: Mapping[str, Any]) -> bytes:
    with (place / "contents").open("rb") as stream:
        stream.seek(row["start"])
        return stream.read(row["length"])


def _is(state: FileState | None, row: Mapping[str, Any] | None) -> bool:
    if state is None or row is None:
        return state is None and row is None
    return state.kind == row["kind"] and _hash(state.content) == row["sha256"]


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(place: Path, content: bytes | bytearray) -> None:
    with place.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_directory(place: Path) -> None:
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _end(place: Path) -> None:
    """The plan goes first: contents without one mean nothing."""
    (place / "plan.json").unlink(missing_ok=True)
    _sync_directory(place)
    for entry in os.scandir(place):
        if entry.name != "lock":
            os.unlink(entry.path)
