"""What an overlay's upper layer says was changed, without looking at what lies below.

In the upper layer a whole file or symlink stands for one that was written, a character device 0:0 for one that was
removed, and a directory with the extended attribute `user.overlay.opaque` hides what is below it (overlayfs.rst of the
kernel, with `userxattr`).  Only the kernel writes there: what runs in a sandbox sees the merged view alone.
"""

import errno
import os
import stat
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple


class LayerChange(NamedTuple):
    """What differs from the lower layer."""

    written: dict[str, os.stat_result]
    """Everything in the upper layer that is not a directory, its own status."""
    removed: set[str]
    """Of the paths that were asked for, those that are there no more, or as something else."""


def changes_in(upper: Path, view: Path, lower: Collection[str]) -> LayerChange:
    """`view` is where the overlay is mounted, `lower` the paths of files in its lower layer.

    Nothing may be running in the overlay meanwhile.
    """
    written: dict[str, os.stat_result] = {}
    hidden: set[str] = set()
    waiting = [""]
    _open_up(str(view), os.lstat(upper))
    while waiting:
        prefix = waiting.pop()
        for child in os.scandir(f"{upper}/{prefix}"):
            path, status = prefix + child.name, child.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                _open_up(f"{view}/{path}", status)
                if _is_opaque(child.path):
                    hidden.add(path)
                waiting.append(path + "/")
                continue
            hidden.add(path)
            if not (stat.S_ISCHR(status.st_mode) and status.st_rdev == 0):
                written[path] = status
    if not hidden:
        return LayerChange(written, set())
    return LayerChange(written, {path for path in lower if _is_hidden(path, hidden)} - written.keys())


def _open_up(directory: str, status: os.stat_result) -> None:
    """Let its owner look into a directory that a command has closed; else its mark cannot be read either."""
    if status.st_mode & 0o700 != 0o700:
        os.chmod(directory, 0o755)


def _is_opaque(directory: str) -> bool:
    try:
        return os.getxattr(directory, "user.overlay.opaque", follow_symlinks=False) == b"y"
    except OSError as error:
        if error.errno != errno.ENODATA:
            raise
        return False


def _is_hidden(path: str, hidden: set[str]) -> bool:
    while path:
        if path in hidden:
            return True
        path = path.rpartition("/")[0]
    return False
