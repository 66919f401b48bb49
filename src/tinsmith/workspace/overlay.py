"""One overlay: a cached tree below, what a copy changed above, and a view of both that the host can use.

    DIRECTORY/upper   what was changed (and the kernel's marks for what was removed)
    DIRECTORY/work    the kernel's
    DIRECTORY/tree    where the view is mounted, in a mount namespace of its own

A short-lived process makes a user and a mount namespace, mounts the overlay there and ends.  What stays are file
descriptors of this process: of the two namespaces, which keep them alive, and of DIRECTORY as seen there, through which
the host reads and writes the merged view.  So there is no process to kill and no mount to leave behind: however this
process ends, the kernel takes both away, and all that was written lies in `upper`.

The calls need unprivileged user namespaces and Linux 5.11 (`userxattr`), see overlayfs.rst of the kernel.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from functools import cache
from pathlib import Path

import tinsmith
from tinsmith.errors import MachineError

_SOURCE = str(Path(tinsmith.__file__).parent.parent)
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from tinsmith.workspace import overlay_child as child; child.main()"
)


class Overlay:
    """A mounted overlay.  It is gone with this object, its files are not."""

    def __init__(self, directory: Path, fds: tuple[int, int, int]) -> None:
        user, mounts, place = fds
        self.directory = directory
        self.upper = directory / "upper"
        """What takes room.  To be looked at only."""
        self.mount_point = directory / "tree"
        """The view's path inside of the namespaces."""
        self.tree = Path(f"/proc/{os.getpid()}/fd/{place}/tree")
        """The view's path for this process and its children.  It must not be resolved: a link in it leads to a path
        that means something else outside of the namespaces."""
        nsenter = shutil.which("nsenter") or "nsenter"
        spaces = (f"--user=/proc/{os.getpid()}/fd/{user}", f"--mount=/proc/{os.getpid()}/fd/{mounts}")
        self.enter = (nsenter, *spaces, "--preserve-credentials", "--")
        """Words before a command that has to run in the namespaces."""
        self.close = weakref.finalize(self, _close, fds)

    @classmethod
    def mount(cls, lower: Path, directory: Path) -> "Overlay":
        """Mount DIRECTORY/upper over `lower` at DIRECTORY/tree; the three directories are made where missing.

        Raises MachineError `no_overlay` where this kernel or user cannot.
        """
        if shutil.which("nsenter") is None:
            raise _refused("the program nsenter is missing")
        for name in ("upper", "work", "tree"):
            (directory / name).mkdir(exist_ok=True)
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START, _SOURCE, str(lower), str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={},
            cwd="/",
            process_group=0,
        )
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        try:
            answer = child.stdout.readline()
            if answer == b"namespaces\n":
                map_ids(child.pid)
                child.stdin.write(b"\n")
                child.stdin.flush()
                answer = child.stdout.readline()
            if answer != b"mounted\n":
                raise _refused(child.stderr.read().decode(errors="replace").strip() or "the mount failed")
            return cls(directory, _hold(child.pid, directory))
        except OSError as error:
            raise _refused(str(error)) from error
        finally:
            child.stdin.close()
            child.kill()
            child.wait()
            child.stdout.close()
            child.stderr.close()


@cache
def can_overlay() -> bool:
    """Whether this user can mount an overlay on this machine (over a temporary directory)."""
    with tempfile.TemporaryDirectory(prefix="tinsmith-overlay-") as place:
        lower = Path(place, "lower")
        lower.mkdir()
        try:
            Overlay.mount(lower, Path(place)).close()
        except MachineError:
            return False
        return True


def map_ids(pid: int) -> None:
    """Let the ids of a process in a new user namespace be what they are outside: all for root, else the one we have."""
    process = Path(f"/proc/{pid}")
    if os.geteuid() == 0:
        (process / "uid_map").write_text("0 0 4294967295")
        (process / "gid_map").write_text("0 0 4294967295")
        return
    (process / "setgroups").write_text("deny")
    (process / "uid_map").write_text(f"{os.geteuid()} {os.geteuid()} 1")
    (process / "gid_map").write_text(f"{os.getegid()} {os.getegid()} 1")


def _hold(pid: int, directory: Path) -> tuple[int, int, int]:
    fds: list[int] = []
    try:
        for place in ("ns/user", "ns/mnt"):
            fds.append(os.open(f"/proc/{pid}/{place}", os.O_RDONLY | os.O_CLOEXEC))
        fds.append(os.open(f"/proc/{pid}/root{directory}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:
        _close(tuple(fds))
        raise
    return fds[0], fds[1], fds[2]


def _close(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)


def _refused(words: str) -> MachineError:
    return MachineError(
        "no_overlay",
        f"no overlay can be mounted here: {words}",
        "It needs Linux 5.11, unprivileged user namespaces and nsenter; without it copies are whole copies.",
    )
