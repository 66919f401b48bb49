"""Where in a copy something else is mounted: the parts of an interpreter that lies in the checkout."""

from pathlib import Path

from tinsmith.workspace.interpreter import Interpreter
from tinsmith.workspace.tree import remove


def make_mount_point(place: Path, *, is_directory: bool) -> None:
    """Put right what a command may have replaced: a symlink here would lead the mount elsewhere."""
    if place.is_symlink() or (place.exists() and place.is_dir() != is_directory):
        remove(place)
    if is_directory:
        place.mkdir(exist_ok=True)
    else:
        place.touch()


def mount_points(interpreter: Interpreter, top: Path) -> frozenset[str]:
    """The parts of the interpreter that lie in the checkout, relative to its top."""
    inside = [mount for mount in interpreter.mounts if mount.is_relative_to(top) and mount != top]
    return frozenset(str(mount.relative_to(top)) for mount in inside)
