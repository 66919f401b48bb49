"""An unprivileged user id for the commands of a Tinsmith that root has started, where no control group can be had.

The kernel exempts root from RLIMIT_NPROC, also in a user namespace that root made.  So root makes the mounts and the
command then takes a user id of the host that belongs to nobody; the copy is given to that id.
"""

import os
import pwd
import shutil
from collections.abc import Iterable
from pathlib import Path

_FIRST, _LAST = 61_184, 65_519  # what systemd sets aside for dynamic users


def free_uid() -> int | None:
    """A user id without an account, the same for all commands of this process; None where none is mapped here."""
    count = _LAST - _FIRST + 1
    for offset in range(count):
        uid = _FIRST + (os.getpid() + offset) % count
        if not _has_account(uid):
            return uid if _is_mapped(uid) else None
    return None


def has_setpriv() -> bool:
    """Whether the program that takes the id inside is there (util-linux)."""
    return shutil.which("setpriv", path="/usr/local/bin:/usr/bin:/bin") is not None


def hand_over(places: Iterable[Path], uid: int) -> None:
    """Make `uid` the owner of `places` and all below them, links not followed.  No command may be running in them."""
    for place in places:
        _give(str(place), uid, None)
        for _, directories, files, fd in os.fwalk(place, follow_symlinks=False):
            for name in (*directories, *files):
                _give(name, uid, fd)


def _give(name: str, uid: int, directory: int | None) -> None:
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if status.st_uid != uid:
        os.chown(name, uid, uid, dir_fd=directory, follow_symlinks=False)
        # Owner changes clear set-id bits, which a copy has no use for.


def _has_account(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _is_mapped(uid: int) -> bool:
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= uid < first + count:
            return True
    return False
