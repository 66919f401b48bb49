"""What a sandboxed command may use.  Sizes are in bytes, times in seconds."""

import os
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Limits of one command; the defaults suit a test suite and stop a runaway."""

    address_space: int = 8 << 30
    """Per process.  Generous: threads and numeric libraries reserve far more than they touch."""
    file_size: int = 1 << 30
    open_files: int = 4096
    processes: int = 512
    tmp: int = 1 << 30
    home: int = 256 * MIB
    shared_memory: int = 256 * MIB
    output_kept: int = MIB
    """Of more output than this, the first and the last half are kept."""
    output_runaway: int = 256 * MIB
    """A command that has written more than this is killed."""

    def shell_prologue(self) -> str:
        """`ulimit` lines for the shell that becomes the command, inside the sandbox.

        They are set inside because a process limit set outside would count all the person's own processes;
        the kernel counts per user namespace since 5.14.  dash spells the process limit -p, bash and busybox
        -u.  File sizes are in units of 512 bytes in dash and busybox and of 1024 in bash, so bash allows
        twice as much.
        """
        return (
            f"ulimit -c 0; ulimit -n {self.open_files}; ulimit -f {self.file_size // 512}; "
            f"ulimit -v {self.address_space // 1024}; "
            f"ulimit -u {self.processes} 2>/dev/null || ulimit -p {self.processes} 2>/dev/null; "
        )


class ProcessGroupLimit:
    """A control group that bounds the number of processes of one command, where this user may make one.

    RLIMIT_NPROC does not bind root (the kernel exempts the initial user), so for Tinsmith started as root
    this is what stops a fork bomb.  Without it only the wall clock does.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.joins = directory / "cgroup.procs"

    @classmethod
    def create(cls, processes: int) -> "ProcessGroupLimit | None":
        """None where no `pids` controller can be had (a container without a delegated control group)."""
        for parent in _pids_parents():
            _remove_stale(parent)
            directory = parent / f"tinsmith-{os.getpid()}-{os.urandom(4).hex()}"
            try:
                directory.mkdir()
            except OSError:
                continue
            try:
                (directory / "pids.max").write_text(str(processes))
            except OSError:
                directory.rmdir()
                continue
            return cls(directory)
        return None

    def remove(self) -> None:
        """Remove the empty group; a group with processes in it cannot be removed and is left."""
        try:
            self.directory.rmdir()
        except OSError:
            return


def _remove_stale(parent: Path) -> None:
    """Groups left by a Tinsmith that was killed; the kernel refuses to remove one with processes in it."""
    for group in parent.glob("tinsmith-*-*"):
        if not Path("/proc", group.name.split("-")[1]).exists():
            ProcessGroupLimit(group).remove()


def _pids_parents() -> list[Path]:
    """Where a group with the `pids` controller could be made: below our own group, and at the root."""
    found: list[Path] = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    root = Path("/sys/fs/cgroup")
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if "pids" in controllers.split(","):
            for mount in (root / "pids", root / controllers):
                found += [mount / path.lstrip("/"), mount]
        elif number == "0":
            found += [root / path.lstrip("/"), root]
    return [parent for parent in found if parent.is_dir()]
