"""Why there is no sandbox on this machine, and what the person can do about it."""

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

    @classmethod
    def read(cls) -> "KernelFacts":
        def value(path: str) -> str:
            try:
                return Path(path).read_text().strip()
            except OSError:
                return ""

        return cls(
            platform=sys.platform,
            apparmor_restricts_user_namespaces=value("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1",
            user_namespaces_disabled=value("/proc/sys/kernel/unprivileged_userns_clone") == "0"
            or value("/proc/sys/user/max_user_namespaces") == "0",
            container=any(Path(mark).exists() for mark in ("/.dockerenv", "/run/.containerenv")),
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
        return _error(
            f"user namespaces are disabled ({said})",
            "As root: sysctl -w user.max_user_namespaces=15000, and where it exists, "
            "kernel.unprivileged_userns_clone=1.",
        )
    if facts.apparmor_restricts_user_namespaces:
        return _error(
            f"AppArmor restricts user namespaces (kernel.apparmor_restrict_unprivileged_userns=1; {said})",
            "Install the distribution's `bubblewrap` and an AppArmor profile for it with the rule "
            "`userns,`, or as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0.",
        )
    if facts.container:
        return _error(
            f"this container does not allow a sandbox inside it ({said})",
            "Start it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined "
            "--security-opt systempaths=unconfined (Docker), or run Tinsmith outside of it.",
        )
    return _error(
        f"bubblewrap cannot start a sandbox: {said}",
        "Update the package `bubblewrap` (0.8 or later); `tinsmith doctor` repeats the probe.",
    )


def _error(message: str, remedy: str) -> MachineError:
    return MachineError("no_sandbox", message, remedy)
