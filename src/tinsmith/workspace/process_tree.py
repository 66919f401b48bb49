"""The processes of a command, seen from the host: who they are, how much memory they hold, what they keep open."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_HAS_CHILDREN_FILE = Path("/proc/thread-self/children").exists()


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, as far as they could be read: processes come and go."""
    below = _children if _HAS_CHILDREN_FILE else _children_by_parent()
    found: list[int] = []
    waiting = [pid]
    while waiting:
        children = list(below(waiting.pop()))
        found += children
        waiting += children
    return found


def _children(pid: int) -> Iterator[int]:
    """By /proc/PID/task/*/children (proc(5), CONFIG_PROC_CHILDREN)."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                yield from map(int, file.read().split())
        except OSError:
            continue


def _children_by_parent() -> Callable[[int], list[int]]:
    """By the parent that every process of the machine names, for kernels without the file."""
    below: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path("/proc", name, "stat").read_bytes()
        except OSError:
            continue
        parent = int(line.rpartition(b")")[2].split()[1])
        below.setdefault(parent, []).append(int(name))
    return lambda pid: below.get(pid, [])


def resident_memory(pids: Iterable[int]) -> int:
    """Bytes of physical memory, with what processes share counted for each: cheap, and never too little."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", "rb") as file:
                total += int(file.read().split()[1])
        except (OSError, IndexError):
            continue
    return total * _PAGE


def proportional_memory(pids: Iterable[int]) -> int:
    """Bytes of physical memory with what is shared counted once (PSS): true, and dearer."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
                total += next((int(line.split()[1]) << 10 for line in file if line.startswith(b"Pss:")), 0)
        except OSError:
            continue
    return total


def held_open(pids: Iterable[int]) -> Iterator[tuple[int, int]]:
    """(device, bytes) of each file without a name that processes keep: deleted, `O_TMPFILE` or memfd."""
    seen: set[tuple[int, int]] = set()
    for pid in pids:
        try:
            names = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue
        for name in names:
            try:
                status = os.stat(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            key = (status.st_dev, status.st_ino)
            if status.st_nlink == 0 and stat.S_ISREG(status.st_mode) and key not in seen:
                seen.add(key)
                yield status.st_dev, status.st_blocks * 512
