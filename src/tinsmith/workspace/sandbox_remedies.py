"""Why there is no sandbox on this machine, and what the person can do about it."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tinsmith.errors import MachineError


@dataclass(frozen=True)
class KernelFacts:
    """What decides whether an unprivileged sandbox can start here."""

    platform: str
    apparmor_restricts_user_namespaces: bool
    user_namespaces_disabled: bool
    container: bool
    seccomp: bool = False
    """Whether a filter lies on this very process, as container engines put one there."""

    @classmethod
    def read(cls) -> "KernelFacts":
        return cls(
            platform=sys.platform,
            apparmor_restricts_user_namespaces=_value("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1",
            user_namespaces_disabled=_value("/proc/sys/kernel/unprivileged_userns_clone") == "0"
            or _value("/proc/sys/user/max_user_namespaces") == "0",
            container=any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv"))
            or "container" in os.environ,
            seccomp="\nSeccomp:\t2\n" in _value("/proc/self/status"),
        )

    def described(self) -> str:
        """The settings that matter, as they stand, in one line."""
        names = (
            "user/max_user_namespaces",
            "kernel/unprivileged_userns_clone",
            "kernel/apparmor_restrict_unprivileged_userns",
        )
        found = [f"{name.replace('/', '.')}={value}" for name in names if (value := _value(f"/proc/sys/{name}"))]
        found += ["in a container"] if self.container else []
        found += ["under a seccomp filter"] if self.seccomp else []
        return ", ".join(found) or "no setting of this kernel concerns them"


def _value(path: str) -> str:
    try:
        return Path(path).read_text().rstrip(" \n") + ("\n" if path.endswith("status") else "")
    except OSError:
        return ""


_CONTAINER = (
    "Docker and Podman: start the container with --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
    "--security-opt systempaths=unconfined (their defaults refuse new namespaces and mounts of /proc); Kubernetes: "
    "procMount: Unmasked, seccompProfile: Unconfined and hostUsers: false; or run Tinsmith outside of it."
)
_NO_USERNS = (
    "As root: sysctl -w user.max_user_namespaces=15000, and where it exists, kernel.unprivileged_userns_clone=1; a "
    "file in /etc/sysctl.d keeps it."
)
_APPARMOR = (
    "Install the distribution's `bubblewrap` and, as root, write /etc/apparmor.d/bwrap with "
    "`abi <abi/4.0>, include <tunables/global> profile bwrap /usr/bin/bwrap flags=(unconfined) { userns, }` and run "
    "apparmor_parser -r on it; or: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0."
)


def no_sandbox(tried: list[tuple[str, str]], facts: KernelFacts) -> MachineError:
    """The error for a machine where no candidate of `tried` [(path of bwrap, what it said)] works."""
    said = "; ".join(f"{path}: {words}" for path, words in tried)
    if facts.platform != "linux":
        return _error(
            f"bubblewrap, which the sandbox is made of, exists for Linux only, not for {facts.platform}",
            "Run Tinsmith in a Linux virtual machine or container.",
        )
    if not tried:
        return _error(
            "there is no bubblewrap: none on PATH, and no wheel of it for this C library or processor",
            "Install the package `bubblewrap` of your distribution.",
        )
    if facts.user_namespaces_disabled:
        return _error(f"user namespaces are disabled ({said})", _NO_USERNS)
    # AppArmor lets the namespace be made and refuses what is done in it.
    if facts.apparmor_restricts_user_namespaces:
        return _error(
            "AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns=1, as Ubuntu has it "
            f"since 24.04; {said})",
            _APPARMOR,
        )
    if facts.container or facts.seccomp:
        return _error(f"this container does not allow a sandbox inside it ({said})", _CONTAINER)
    return _error(
        f"bubblewrap cannot start a sandbox: {said}",
        "Update the package `bubblewrap` (0.8 or later); `tinsmith doctor` repeats the probe.",
    )


def no_process_limit() -> MachineError:
    """The error for root where nothing bounds the processes of a command."""
    return MachineError(
        "no_process_limit",
        "nothing here would stop a fork bomb: the kernel exempts root from its process limit, no control group can be "
        "made, and no unprivileged user id can be taken",
        "Run Tinsmith as an ordinary user, give the container a delegated control group (pids), or install `setpriv` "
        "(the package util-linux).",
    )


def _error(message: str, remedy: str) -> MachineError:
    return MachineError("no_sandbox", message, remedy)
