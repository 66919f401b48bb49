"""How many cores inference should use: one thread a physical core, as decoding is bound by memory."""

import math
import os
from pathlib import Path

_ROOT = Path("/")


def usable_cores(root: Path = _ROOT) -> int:
    """Physical cores that this process may use, at least 1: affinity, siblings once, the cgroup's quota.

    `root` is where /sys is read from.
    """
    if not hasattr(os, "sched_getaffinity"):
        return max(1, (os.cpu_count() or 2) // 2)
    cores = {_siblings(root, cpu) for cpu in os.sched_getaffinity(0)}
    return max(1, min(len(cores), _quota(root)))


def _siblings(root: Path, cpu: int) -> str:
    try:
        return (root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def _quota(root: Path) -> int:
    """Whole cores of the cgroup's CPU quota (cgroup v2 `cpu.max`: quota and period in microseconds)."""
    try:
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return 1 << 16
    return 1 << 16 if quota == "max" else max(1, math.floor(int(quota) / int(period)))
