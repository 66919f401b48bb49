"""Running a command in the host's own file system: what the rungs below bubblewrap share.

There are no mounts, so what would be mounted elsewhere is named by its place on the host: the command's arguments and
environment are rewritten.  /tmp and the home directory are private directories, by TMPDIR and HOME alone.
"""

import base64
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinsmith.workspace.bubblewrap_policy import ENVIRONMENT, Bind
from tinsmith.workspace.control_group import ControlGroup
from tinsmith.workspace.launch import Completed, launch, memory_file
from tinsmith.workspace.limits import Limits
from tinsmith.workspace.resource_watch import Baselines, ResourceWatch
from tinsmith.workspace.seccomp import build_filter
from tinsmith.workspace.unprivileged_uid import hand_over

_STARTER = Path(__file__).with_name("landlock_start.py")
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/proc")
_ETC = ("ld.so.cache", "alternatives", "localtime", "passwd", "group", "nsswitch.conf", "hosts")
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


@dataclass(frozen=True)
class HostCommand:
    """One command and what it may touch; see `Sandbox.run` for the fields of the same name."""

    argv: Sequence[str]
    cwd: str
    timeout: float
    ro_binds: Sequence[Bind]
    rw_binds: Sequence[Bind]
    env: Mapping[str, str]


def run_on_host(
    command: HostCommand, limits: Limits, baselines: Baselines, *, confined: bool, uid: int | None
) -> Completed:
    """Run it, with Landlock and seccomp where `confined`, as `uid` where given.  Raises as `Sandbox.run` does."""
    scratch = Path(tempfile.mkdtemp(prefix="tinsmith-host-"))
    group: ControlGroup | None = None
    try:
        for name in ("home", "tmp", "binds"):
            (scratch / name).mkdir()
        scratch.chmod(0o755)
        renamed = _Renaming(command, scratch)
        written = [source for source, _ in command.rw_binds] + [scratch / "home", scratch / "tmp"]
        if uid is not None:
            hand_over(written, uid)
        group = ControlGroup.create(limits)
        env = {**ENVIRONMENT, "HOME": str(scratch / "home"), "TMPDIR": str(scratch / "tmp")}
        filter_ = build_filter(shared_namespaces=True) if confined else None
        policy = {
            "argv": [renamed.text(word) for word in command.argv],
            "cwd": str(scratch / "tmp") if command.cwd == "/tmp" else renamed.text(command.cwd),
            "env": {name: renamed.text(value) for name, value in {**env, **command.env}.items()},
            "groups": [*group.tasks, *group.processes] if group is not None else [],
            "limits": _rlimits(limits, uid),
            "uid": uid,
            "confined": confined,
            "seccomp": base64.b64encode(filter_).decode() if filter_ else "",
            "readable": _present(*_SYSTEM, *(f"/etc/{name}" for name in _ETC), *renamed.readable, scratch / "binds"),
            "writable": [str(place) for place in written],
            "devices": _present(*_DEVICES),
        }
        policy_fd = memory_file(json.dumps(policy).encode())
        return launch(
            lambda status, block: [sys.executable, "-I", "-S", str(_STARTER), *map(str, (policy_fd, status, block))],
            [policy_fd],
            limits,
            timeout=command.timeout,
            watch=ResourceWatch(written, limits, baselines, group),
            group=group,
            owner=uid,
            has_supervisor=True,
        )
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if group is not None:
            group.remove()


class _Renaming:
    """Paths inside, as mounts would make them, to paths of the host."""

    def __init__(self, command: HostCommand, scratch: Path) -> None:
        places: dict[str, str] = {}
        for source, target in (*command.ro_binds, *command.rw_binds):
            if source != target and source.is_file() and not target.parent.exists():
                # A file under another name: a link in a directory that stands for the one it would be mounted in.
                stand_in = Path(f"{scratch}/binds{target}")
                stand_in.parent.mkdir(parents=True, exist_ok=True)
                stand_in.symlink_to(source)
                places[str(target.parent)] = str(stand_in.parent)
            else:
                places[str(target)] = str(source)
        self.readable = [source for source, _ in command.ro_binds]
        self._places = places
        # The longest first: an environment in the checkout stays where it is, the checkout itself is the copy.
        words = "|".join(re.escape(place) for place in sorted(places, key=len, reverse=True))
        self._pattern = re.compile(rf"(?<![\w./-])(?:{words})(?![\w.-])") if words else None

    def text(self, text: str) -> str:
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._places[match[0]], text)


def _present(*paths: str | Path) -> list[str]:
    return [str(path) for path in paths if os.path.exists(path)]


def _rlimits(limits: Limits, uid: int | None) -> dict[str, int]:
    """The kernel counts the processes of a user, so what the person runs already is added."""
    return {
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_FSIZE": limits.file_size,
        "RLIMIT_AS": limits.address_space,
        "RLIMIT_NPROC": limits.processes + _tasks_of(os.geteuid() if uid is None else uid),
    }


def _tasks_of(uid: int) -> int:
    count = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{name}").st_uid == uid:
                count += len(os.listdir(f"/proc/{name}/task"))
        except OSError:
            continue
    return count
