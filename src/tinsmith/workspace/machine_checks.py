"""What `tinsmith doctor` says about this room."""

import shutil
from typing import TypedDict

from tinsmith.errors import MachineError
from tinsmith.workspace.control_group import ControlGroup
from tinsmith.workspace.landlock import LandlockSandbox
from tinsmith.workspace.resource_watch import INTERVAL
from tinsmith.workspace.sandbox import Sandbox
from tinsmith.workspace.sandbox_remedies import KernelFacts


class Check(TypedDict):
    """One row of `tinsmith doctor`."""

    check: str
    ok: bool
    detail: str
    remedy: str
    """What to do; empty where nothing is."""


def checks() -> list[Check]:
    """git, which sandbox commands run in, what decides over it, and what bounds a sandboxed command."""
    git = shutil.which("git")
    rows: list[Check] = [
        {
            "check": "git",
            "ok": git is not None,
            "detail": git or "not found",
            "remedy": "" if git else "Install the package `git`.",
        }
    ]
    facts = KernelFacts.read()
    namespaces: Check = {"check": "user namespaces", "ok": True, "detail": facts.described(), "remedy": ""}
    try:
        sandbox = Sandbox.find()
    except MachineError as error:
        rows.append({"check": "sandbox", "ok": False, "detail": error.message, "remedy": error.remedy})
        return [*rows, namespaces, _second_rung()]
    nested = "" if sandbox.disable_userns else ", without --disable-userns (seccomp refuses user namespaces instead)"
    rows.append({"check": "sandbox", "ok": True, "detail": f"{sandbox.bwrap}{nested}; nothing is waived", "remedy": ""})
    return [*rows, namespaces, *_limits(sandbox), _second_rung()]


def _limits(sandbox: Sandbox) -> list[Check]:
    group = ControlGroup.create(sandbox.limits)
    place = f"control group below {group.parent}" if group is not None else ""
    try:
        if group is not None and group.bounds("pids"):
            processes = place
        elif sandbox.host_uid is not None:
            processes = f"RLIMIT_NPROC of user id {sandbox.host_uid}, which commands take"
        else:
            processes = "RLIMIT_NPROC in a user namespace"
        memory = place if group is not None and group.bounds("memory") else f"looked at every {INTERVAL:g} s"
    finally:
        if group is not None:
            group.remove()
    disk = f"looked at every {INTERVAL:g} s: what is over the limit is killed a moment later"
    details = {"process limit": processes, "memory limit": memory, "disk limit": disk}
    return [{"check": name, "ok": True, "detail": detail, "remedy": ""} for name, detail in details.items()]


def _second_rung() -> Check:
    """Never taken by itself, so it is no fault where it cannot be."""
    try:
        detail = (
            f"Landlock {LandlockSandbox.find().abi}, only with --sandbox landlock; waived then: "
            + (LandlockSandbox.find().waived.partition(": ")[2])
        )
    except MachineError as error:
        detail = f"not here: {error.message}"
    return {"check": "second rung", "ok": True, "detail": detail, "remedy": ""}
