"""The second rung, for machines without user namespaces: Landlock, seccomp and limits around a process of the host.

It is taken only where the person asks for it.  It holds less than bubblewrap: `waived` says what,
`docs/attacks.md` in full.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinsmith.errors import MachineError
from tinsmith.workspace.bubblewrap_policy import Bind
from tinsmith.workspace.host_process import HostCommand, run_on_host
from tinsmith.workspace.landlock_start import abi
from tinsmith.workspace.launch import Completed
from tinsmith.workspace.limits import Limits
from tinsmith.workspace.resource_watch import Baselines, Usage
from tinsmith.workspace.seccomp import build_filter
from tinsmith.workspace.unprivileged_uid import free_uid

_LEAST_ABI = 3
"""The first that can refuse `truncate` (Linux 6.2)."""
_SIGNAL_ABI = 6
"""The first that refuses signals to processes outside (Linux 6.12)."""


@dataclass(frozen=True)
class LandlockSandbox:
    """Landlock as this kernel has it."""

    abi: int
    limits: Limits = field(default_factory=Limits)
    host_uid: int | None = None
    """Started by root, commands take this user id."""
    baselines: Baselines = field(default_factory=dict[tuple[str, int, int], Usage], compare=False, repr=False)

    @classmethod
    def find(cls, limits: Limits | None = None) -> "LandlockSandbox":
        """Raises MachineError `no_landlock` where the kernel is too old or has it switched off."""
        version = abi()
        if version < _LEAST_ABI or build_filter() is None:
            found = f"version {version} of its interface" if version else "none"
            raise MachineError(
                "no_landlock",
                f"the second rung needs Landlock with version {_LEAST_ABI} of its interface, on x86-64 or arm64; "
                f"here is {found}",
                "It needs Linux 6.2 with `landlock` in the kernel's lsm= list; a container may have to allow the "
                "system calls 444 to 446.",
            )
        uid = None
        if os.geteuid() == 0 and (uid := free_uid()) is None:
            raise MachineError(
                "no_landlock",
                "started by root, the second rung needs an unprivileged user id, and none is mapped here",
                "Run Tinsmith as an ordinary user.",
            )
        return cls(version, limits or Limits(), uid)

    @property
    def waived(self) -> str:
        """What it does not hold of the default sandbox."""
        signals = "" if self.abi >= _SIGNAL_ABI else "signals to your other processes, "
        return (
            f"Landlock instead of bubblewrap: {signals}names and sizes of your files, modes and times of files you own "
            "and the list of your processes are not kept from commands; the copy is not at the checkout's path; "
            "tests that need sockets, /dev/shm or /tmp by name fail"
        )

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | str = "/tmp",
        timeout: float,
        extra_ro_binds: Sequence[Bind] = (),
        extra_rw_binds: Sequence[Bind] = (),
        symlinks: Sequence[tuple[str, Path]] = (),
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """As `Sandbox.run`.  `symlinks` are there already: they are the host's own."""
        command = HostCommand(argv, str(cwd), timeout, extra_ro_binds, extra_rw_binds, env or {})
        return run_on_host(command, self.limits, self.baselines, confined=True, uid=self.host_uid)
