"""A control group for one command, where this user may make one: it bounds processes and memory in the kernel.

RLIMIT_NPROC does not bind root (the kernel exempts the initial user), and RLIMIT_AS is per process; a control group
holds for the whole tree.  Where none can be had, `tinsmith.workspace.resource_watch`
and an unprivileged user id stand in.

Files: Documentation/admin-guide/cgroup-v1/{pids,memory}.rst and cgroup-v2.rst of the kernel.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from tinsmith.workspace.limits import Limits

_ROOT = Path("/sys/fs/cgroup")


class ControlGroup:
    """One directory for each of pids and memory (version 1), or one for both (version 2)."""

    def __init__(self, directories: dict[str, Path]) -> None:
        """`directories` is {controller: the group that has it}."""
        self._directories = directories

    @classmethod
    def create(cls, limits: Limits) -> "ControlGroup | None":
        """None where no controller can be had (a container without a delegated control group)."""
        name = f"tinsmith-{os.getpid()}-{os.urandom(4).hex()}"
        found: dict[str, Path] = {}
        for controller, settings in _settings(limits).items():
            for parent in _parents(controller):
                if (parent / name) in found.values() and _set(parent / name, settings):
                    found[controller] = parent / name
                    break
                if (parent / name) not in found.values() and _make(parent, name, settings):
                    found[controller] = parent / name
                    break
        return cls(found) if found else None

    @property
    def tasks(self) -> list[str]:
        """Files of version 1: a process of one thread that writes 0 to them is in the group, and what it starts.

        That costs nothing, where any other way makes the kernel wait a grace period, ten milliseconds or so.
        """
        places = (directory / "tasks" for directory in dict.fromkeys(self._directories.values()))
        return [str(place) for place in places if place.exists()]

    @property
    def processes(self) -> list[str]:
        """Files of version 2 that take the number of a process, or 0 for the writer."""
        places = dict.fromkeys(self._directories.values())
        return [str(place / "cgroup.procs") for place in places if not (place / "tasks").exists()]

    def bounds(self, controller: str) -> bool:
        """Whether the group has `pids` or `memory`."""
        return controller in self._directories

    @property
    def parent(self) -> Path:
        """Where it was made."""
        return next(iter(self._directories.values())).parent

    def met_memory_limit(self) -> bool:
        """Whether the kernel has killed a process of the group for want of memory."""
        directory = self._directories.get("memory")
        if directory is None:
            return False
        for name in ("memory.events", "memory.oom_control"):
            try:
                words = (directory / name).read_text().split()
            except OSError:
                continue
            return "oom_kill" in words and words[words.index("oom_kill") + 1] != "0"
        return False

    def remove(self) -> None:
        """Remove the empty group; a group with processes in it cannot be removed and is left."""
        for directory in dict.fromkeys(self._directories.values()):
            _remove(directory)


def _settings(limits: Limits) -> dict[str, list[tuple[str, str, bool]]]:
    """{controller: [(file, value, required)]}; of files with several names one must take the value."""
    memory = str(limits.memory)
    return {
        "pids": [("pids.max", str(limits.processes), True)],
        "memory": [
            ("memory.max", memory, True),
            ("memory.limit_in_bytes", memory, True),
            ("memory.memsw.limit_in_bytes", memory, False),
            ("memory.swap.max", "0", False),
            ("memory.oom.group", "1", False),
        ],
    }


def _make(parent: Path, name: str, settings: list[tuple[str, str, bool]]) -> bool:
    _remove_stale(parent)
    try:
        (parent / name).mkdir()
    except OSError:
        return False
    if _set(parent / name, settings):
        return True
    _remove(parent / name)
    return False


def _set(directory: Path, settings: list[tuple[str, str, bool]]) -> bool:
    """Whether a required file of `settings` is there and took its value."""
    bound = False
    for name, value, required in settings:
        try:
            fd = os.open(directory / name, os.O_WRONLY | os.O_CLOEXEC)  # never made where it is none of the kernel's
        except OSError:
            continue
        try:
            os.write(fd, value.encode())
            bound = bound or required
        except OSError:
            continue
        finally:
            os.close(fd)
    return bound


def _remove(directory: Path) -> None:
    try:
        directory.rmdir()
    except OSError:
        return


def _remove_stale(parent: Path) -> None:
    """Groups left by a Tinsmith that was killed; the kernel refuses to remove one with processes in it."""
    for group in parent.glob("tinsmith-*-*"):
        if not Path("/proc", group.name.split("-")[1]).exists():
            _remove(group)


def _parents(controller: str) -> Iterator[Path]:
    """Where a group with the controller could be made.

    Below our own group, beside it (in a user's session the one above is the user's too), at the root.
    """
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            for mount in (_ROOT / controller, _ROOT / controllers):
                yield from (parent for parent in (mount / path.lstrip("/"), mount) if parent.is_dir())
        elif number == "0":
            for mount in (_ROOT, _ROOT / "unified"):
                own = mount / path.lstrip("/")
                for parent in dict.fromkeys((own, own.parent, mount)):
                    if parent.is_relative_to(mount) and _has(parent, controller):
                        yield parent


def _has(parent: Path, controller: str) -> bool:
    """Whether groups below `parent` have the controller (version 2)."""
    try:
        return controller in (parent / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False
