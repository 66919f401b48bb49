"""Which sandbox a command runs in: bubblewrap, unless the person asked for less."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tinsmith.workspace.bubblewrap_policy import Bind
from tinsmith.workspace.host_process import HostCommand, run_on_host
from tinsmith.workspace.landlock import LandlockSandbox
from tinsmith.workspace.launch import Completed
from tinsmith.workspace.limits import Limits
from tinsmith.workspace.resource_watch import Baselines, Usage
from tinsmith.workspace.sandbox import CommandSandbox, Sandbox

Rung = Literal["bubblewrap", "landlock", "none"]


def find_sandbox(rung: Rung = "bubblewrap", limits: Limits | None = None) -> CommandSandbox:
    """The sandbox of that name on this machine.  No rung stands in for another.

    Raises MachineError `no_sandbox`, `no_process_limit`, `no_landlock`, whose remedy names the cause.
    """
    if rung == "none":
        return UnsafeNoSandbox(limits or Limits())
    return LandlockSandbox.find(limits) if rung == "landlock" else Sandbox.find(limits=limits)


@dataclass(frozen=True)
class UnsafeNoSandbox:
    """No sandbox at all: limits, and an environment without secrets."""

    limits: Limits = field(default_factory=Limits)
    baselines: Baselines = field(default_factory=dict[tuple[str, int, int], Usage], compare=False, repr=False)

    @property
    def waived(self) -> str:
        """Everything."""
        return "NO SANDBOX: code of the repository and of the model runs as you, with your files and your network"

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
        """As `Sandbox.run`, with nothing kept from the command."""
        command = HostCommand(argv, str(cwd), timeout, extra_ro_binds, extra_rw_binds, env or {})
        return run_on_host(command, self.limits, self.baselines, confined=False, uid=None)
