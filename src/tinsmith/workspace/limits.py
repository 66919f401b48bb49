"""What a sandboxed command may use.  Sizes are in bytes."""

import os
from dataclasses import dataclass, field

MIB = 1 << 20


def _share_of_memory() -> int:
    """8 GiB, but at most three quarters of the machine's memory."""
    return min(8 << 30, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 3 // 4)


@dataclass(frozen=True)
class Limits:
    """Limits of one command; the defaults suit a test suite and stop a runaway."""

    address_space: int = 8 << 30
    """Per process.  Generous: threads and numeric libraries reserve far more than they touch."""
    memory: int = field(default_factory=_share_of_memory)
    """Of all processes of a command together."""
    file_size: int = 1 << 30
    disk: int = 4 << 30
    """What commands may add, all in all, to the places of the host that they can write (the copy)."""
    inodes: int = 250_000
    """As `disk`, in files, directories and links."""
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
