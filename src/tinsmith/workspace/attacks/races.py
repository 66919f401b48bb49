"""Races: a command goes on while our code collects, restores or deletes.

`Sandbox.run` returns only after everything inside is dead, so there should be none; these hold even if one
outlived its command.  The racer swaps a directory or a file with a symlink as fast as it can (renameat2 with
RENAME_EXCHANGE), and is the worst that could be on the other side.
"""

import os
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from tinsmith.errors import TinsmithError
from tinsmith.workspace.attacks.attack import Escaped, Outside
from tinsmith.workspace.attacks.stage import Stage

_SECONDS = 1.5
_RACER = """
import ctypes, os, sys, time
one, other, stop = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
end = time.monotonic() + 30
while not os.path.exists(stop) and time.monotonic() < end:
    for _ in range(500):
        libc.renameat2(-100, one.encode(), -100, other.encode(), 2)
"""


@contextmanager
def _racing(stage: Stage, one: str, other: str) -> Generator[None]:
    """In the copy, what `one` and `other` name is exchanged without pause, by a command in the sandbox."""
    stop = stage.workspace.tree / ".stop"
    stop.unlink(missing_ok=True)
    thread = threading.Thread(
        target=lambda: stage.workspace.run(
            stage.sandbox, [str(stage.workspace.python), "-c", _RACER, one, other, ".stop"], timeout=60
        )
    )
    thread.start()
    try:
        time.sleep(0.3)
        yield
    finally:
        stop.touch()
        thread.join()


def _repeat(attempt: Callable[[], None], *, seconds: float = _SECONDS) -> int:
    """As often as there is time; a refusal is an answer too."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        with suppress(OSError, TinsmithError):
            attempt()
        count += 1
    return count


def _collecting(link: str, one: str, other: str) -> tuple[Callable[[Stage], str], Callable[[Stage], bool]]:
    def play(stage: Stage) -> str:
        stage.inside(link)

        def once() -> None:
            tree = stage.workspace.snapshot()
            if stage.secret in stage.workspace.diff(stage.workspace.base, tree):
                raise Escaped("a file from outside was collected")

        with _racing(stage, one, other):
            count = _repeat(once)
        return f"{count} collections"

    def naive(stage: Stage) -> bool:
        """Looks first and opens then, as is usual."""
        caught: list[bool] = []

        def once() -> None:
            place = stage.workspace.tree / one
            for path in sorted(place.rglob("*")) if place.is_dir() and not place.is_symlink() else [place]:
                if not path.is_symlink() and path.is_file() and stage.secret in path.read_text():
                    caught.append(True)

        with _racing(stage, one, other):
            _repeat(once, seconds=4)
        return bool(caught)

    return play, naive


_DIRECTORY = 'mkdir -p d; for n in $(seq 40); do echo x > d/f$n; done; echo x > d/secret.txt; ln -s "$OUTSIDE" e'
_FILE = 'echo x > d; ln -s "$OUTSIDE/secret.txt" e'


def _restoring(stage: Stage) -> str:
    """Files are put back into a directory that becomes a link to another."""
    stage.inside('ln -s "$OUTSIDE" e')

    def once() -> None:
        with suppress(OSError):
            (stage.workspace.tree / "pkg" / "m.py").unlink(missing_ok=True)
        stage.workspace.restore(stage.workspace.base)
        _link(stage)

    with _racing(stage, "pkg", "e"):
        count = _repeat(once)
    return f"{count} times"


def _link(stage: Stage) -> None:
    with suppress(OSError):
        os.symlink(stage.outside, stage.workspace.tree / "e")


def _deleting(stage: Stage) -> str:
    """A directory is deleted that becomes a link to another."""

    def once() -> None:
        place = stage.workspace.tree
        with suppress(OSError):
            if not os.path.lexists(place / "d"):
                _make(place / "new")  # by a name that nobody turns aside
                os.rename(place / "new", place / "d")
            if not os.path.lexists(place / "e"):
                _link(stage)
        stage.workspace.restore(stage.workspace.base)

    with _racing(stage, "d", "e"):
        count = _repeat(once)
    return f"{count} times"


def _make(place: Path) -> None:
    place.mkdir()
    for number in range(20):
        (place / f"f{number}").write_text("x")
    (place / "secret.txt").write_text("x")


def _writing(stage: Stage) -> str:
    """A tool call writes into a directory that becomes a link to another."""
    stage.inside('mkdir d; ln -s "$OUTSIDE" e')
    with _racing(stage, "d", "e"):
        count = _repeat(lambda: stage.workspace.write_file("d/new", b"x"))
    return f"{count} times"


def _reading(stage: Stage) -> str:
    """A tool call reads from a directory that becomes a link to another."""
    stage.inside('mkdir d; echo x > d/secret.txt; ln -s "$OUTSIDE" e')

    def once() -> None:
        if stage.secret.encode() in stage.workspace.read_file("d/secret.txt"):
            raise Escaped("a file from outside was read")

    with _racing(stage, "d", "e"):
        count = _repeat(once)
    return f"{count} times"


RACES = (
    Outside(
        "D80", "a directory becomes a link while files are collected", *_collecting(_DIRECTORY, "d", "e"), slow=True
    ),
    Outside("D81", "a file becomes a link while files are collected", *_collecting(_FILE, "d", "e"), slow=True),
    Outside("D82", "a directory becomes a link while files are put back", _restoring, slow=True),
    Outside("D83", "a directory becomes a link while it is deleted", _deleting, slow=True),
    Outside("D84", "a directory becomes a link while a file is written", _writing, slow=True),
    Outside("D85", "a directory becomes a link while a file is read", _reading, slow=True),
)
