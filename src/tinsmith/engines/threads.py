"""How many threads inference should use: one a physical core, as decoding is bound by memory."""

import math
import os
from pathlib import Path


def usable_cores() -> int:
    """Physical cores that this process may use, at least 1: affinity, siblings once, the cgroup's quota."""
    if not hasattr(os, "sched_getaffinity"):
        return max(1, (os.cpu_count() or 2) // 2)
    cores = {_siblings(cpu) for cpu in os.sched_getaffinity(0)}
    return max(1, min(len(cores), _quota()))


def _siblings(cpu: int) -> str:
    try:
        return Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)


def _quota() -> int:
    """Whole cores of the cgroup's CPU quota (cgroup v2 `cpu.max`: quota and period in microseconds)."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return 1 << 16
    return 1 << 16 if quota == "max" else max(1, math.floor(int(quota) / int(period)))
