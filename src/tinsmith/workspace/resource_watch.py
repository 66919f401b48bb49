"""Watching what a command uses where the kernel has no limit for it: the copy's disk and inodes, all processes' memory.

The copy is a part of the host's file system, where only quotas that a machine must be set up for would bound it.
So while a command runs we look, cheaply and often, at a figure of the whole machine (free blocks, resident memory), and
where that moves, at what is ours: a walk over the copy, the memory that is really used.  A command that is over
its limit is killed a moment after it was, not before; what it wrote lies there until the copy is restored.
"""

import errno
import os
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tinsmith.workspace.control_group import ControlGroup
from tinsmith.workspace.limits import MIB, Limits
from tinsmith.workspace.process_tree import descendants, held_open, proportional_memory, resident_memory

KillReason = Literal["timeout", "output", "memory", "disk", "inodes"]
"""Why we ended a command: its wall clock, endless output, or one of its `Limits`."""
KILL_WORDS: Mapping[KillReason, str] = {
    "timeout": "its time is over",
    "output": "it printed without end",
    "memory": "it took too much memory",
    "disk": "it wrote too much",
    "inodes": "it made too many files",
}
"""The same for a person or a model."""

INTERVAL = 0.05
"""Seconds between two looks, more where a look is dear."""
_NOTICED = 16 * MIB
"""What a command must have written before the copy is walked again; of inodes, a thousand."""
_BASELINES = 4096
"""Copies remembered."""
_ROUND = 2.0
"""Seconds after which it is walked in any case: others on the machine may give back as much as is written."""


class Usage(NamedTuple):
    """Of a directory and all below it."""

    bytes: int
    inodes: int
    whole: bool = True
    """Whether every directory could be read."""


Baselines = dict[tuple[str, int, int], Usage]
"""{(path, device, inode): usage before the first command}."""


def measure(place: Path, most_bytes: int | None = None, most_inodes: int | None = None) -> Usage:
    """Space and inodes of `place`, which a command may be changing; it stops beyond what is given.

    Hard links count once, what is mounted below does not count.  A directory too deep to have a path counts as more
    inodes than any limit: there is no other way to hold it.
    """
    total = inodes = 0
    whole = True
    linked: set[int] = set()
    try:
        device = os.lstat(place).st_dev
    except OSError:
        return Usage(0, 0)
    waiting = [str(place)]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except NotADirectoryError:
            return Usage(os.lstat(place).st_blocks * 512, 1)
        except FileNotFoundError:
            continue
        except PermissionError:
            whole = False
            continue
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            return Usage(total, sys.maxsize)
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    return Usage(total, sys.maxsize)
                continue
            if status.st_dev != device:
                continue
            is_directory = stat.S_ISDIR(status.st_mode)
            if status.st_nlink > 1 and not is_directory:
                if status.st_ino in linked:
                    continue
                linked.add(status.st_ino)
            total += status.st_blocks * 512
            inodes += 1
            if is_directory:
                waiting.append(entry.path)
        if (most_bytes is not None and total > most_bytes) or (most_inodes is not None and inodes > most_inodes):
            break
    return Usage(total, inodes, whole)


class DiskWatch:
    """Space and inodes that commands have added to the places they can write."""

    def __init__(self, places: Sequence[Path], limits: Limits, baselines: Baselines) -> None:
        """`baselines` is kept by the caller from command to command, so that what each adds counts together."""
        self._limits = limits
        self._places: list[tuple[Path, Usage]] = []
        devices: dict[int, Path] = {}
        for place in dict.fromkeys(places):
            try:
                status = place.stat()
            except OSError:
                continue  # the mount will say so
            devices.setdefault(status.st_dev, place)
            key = (str(place), status.st_dev, status.st_ino)
            if key not in baselines:
                while len(baselines) >= _BASELINES:
                    del baselines[next(iter(baselines))]
                baselines[key] = measure(place)
            self._places.append((place, baselines[key]))
        self._file_systems = list(devices.values())
        self.devices = frozenset(devices)
        self._at_start = self._seen = self._free()
        self._next_round = time.monotonic() + _ROUND
        self._not_before = 0.0

    def excess(self, root: int) -> KillReason | None:
        """Which limit what is below process `root` is over, if any."""
        if not self._places:
            return None
        limits, free, now = self._limits, self._free(), time.monotonic()
        written, made = (before - after for before, after in zip(self._seen, free, strict=True))
        moved = written >= min(_NOTICED, limits.disk // 16) or made >= min(1000, limits.inodes // 16)
        all_written, all_made = (before - after for before, after in zip(self._at_start, free, strict=True))
        suspect = all_written >= limits.disk or all_made >= limits.inodes
        if not (now >= self._next_round or suspect or (moved and now >= self._not_before)):
            return None
        self._seen = free
        reason = self._over(root, all_written, all_made, suspect)
        cost = time.monotonic() - now
        self._not_before, self._next_round = now + 10 * cost, now + max(_ROUND, 50 * cost)
        return reason

    def _over(self, root: int, all_written: int, all_made: int, suspect: bool) -> KillReason | None:
        limits = self._limits
        total = inodes = 0
        whole = True
        for place, before in self._places:
            usage = measure(place, before.bytes + limits.disk, before.inodes + limits.inodes)
            total += usage.bytes - before.bytes
            inodes += usage.inodes - before.inodes
            whole = whole and usage.whole
        if suspect:
            # Files without a name and directories that were closed to us are where the rest may be.
            total += sum(size for device, size in held_open(descendants(root)) if device in self.devices)
            if not whole:
                total, inodes = max(total, all_written), max(inodes, all_made)
        return "disk" if total > limits.disk else "inodes" if inodes > limits.inodes else None

    def _free(self) -> tuple[int, int]:
        space = inodes = 0
        for place in self._file_systems:
            try:
                answer = os.statvfs(place)
            except OSError:
                continue
            space += answer.f_bfree * answer.f_frsize
            inodes += answer.f_ffree
        return space, inodes


class MemoryWatch:
    """Memory of all processes of a command; the kernel's own count where there is a control group."""

    def __init__(self, limits: Limits, group: ControlGroup | None, devices: frozenset[int]) -> None:
        """`devices` are those of files that a command can write, which are no memory."""
        self._limit = limits.memory
        self._group = group if group is not None and group.bounds("memory") else None
        self._devices = devices
        self._available = _available_memory()

    def excess(self, root: int) -> KillReason | None:
        """`memory` where what is below process `root` is over the limit."""
        if self._group is not None:
            return "memory" if self._group.met_memory_limit() else None
        pids = descendants(root)
        if resident_memory(pids) > self._limit and proportional_memory(pids) > self._limit:
            return "memory"
        if self._available - _available_memory() > self._limit // 2:
            # memfds that nobody has mapped are in no process's account.
            hidden = sum(size for device, size in held_open(pids) if device not in self._devices)
            if hidden + proportional_memory(pids) > self._limit:
                return "memory"
        return None


class ResourceWatch:
    """Both, looked at in turn, never with more than a twentieth of one processor."""

    def __init__(
        self, places: Sequence[Path], limits: Limits, baselines: Baselines, group: ControlGroup | None = None
    ) -> None:
        self._disk = DiskWatch(places, limits, baselines)
        self._memory = MemoryWatch(limits, group, self._disk.devices)
        self.interval = INTERVAL
        """Seconds until the next look."""

    def excess(self, root: int) -> KillReason | None:
        """Look once."""
        started = time.monotonic()
        reason = self._memory.excess(root) or self._disk.excess(root)
        self.interval = max(INTERVAL, 20 * (time.monotonic() - started))
        return reason


def _available_memory() -> int:
    """Bytes that could be had without swapping (`MemAvailable` of proc(5))."""
    with open("/proc/meminfo", "rb") as file:
        for line in file:
            if line.startswith(b"MemAvailable:"):
                return int(line.split()[1]) << 10
    return 0
