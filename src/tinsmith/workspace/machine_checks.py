"""What `tinsmith doctor` says about this room."""

import os
import shutil
from typing import TypedDict

from tinsmith.errors import MachineError
from tinsmith.workspace.limits import ProcessGroupLimit
from tinsmith.workspace.sandbox import Sandbox


class Check(TypedDict):
    """One row of `tinsmith doctor`."""

    check: str
    ok: bool
    detail: str
    remedy: str
    """What to do; empty where nothing is."""


def checks() -> list[Check]:
    """git, the sandbox, and what bounds the processes of a sandboxed command."""
    git = shutil.which("git")
    rows: list[Check] = [
        {
            "check": "git",
            "ok": git is not None,
            "detail": git or "not found",
            "remedy": "" if git else "Install the package `git`.",
        }
    ]
    try:
        sandbox = Sandbox.find()
    except MachineError as error:
        rows.append({"check": "sandbox", "ok": False, "detail": error.message, "remedy": error.remedy})
        return rows
    nested = "" if sandbox.disable_userns else ", without --disable-userns (seccomp refuses user namespaces instead)"
    rows.append({"check": "sandbox", "ok": True, "detail": f"{sandbox.bwrap}{nested}", "remedy": ""})
    rows.append(_process_limit())
    return rows


def _process_limit() -> Check:
    if os.geteuid() != 0:
        return {
            "check": "process limit",
            "ok": True,
            "detail": "RLIMIT_NPROC in a user namespace",
            "remedy": "",
        }
    group = ProcessGroupLimit.create(16)
    if group is None:
        return {
            "check": "process limit",
            "ok": False,
            "detail": "as root without a pids control group only the time limit stops a fork bomb",
            "remedy": "Run Tinsmith as a user, or give the container a delegated control group.",
        }
    group.remove()
    return {
        "check": "process limit",
        "ok": True,
        "detail": f"control group below {group.directory.parent}",
        "remedy": "",
    }
