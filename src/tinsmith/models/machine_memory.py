"""How much memory there is for a model: the machine's, and what a control group leaves of it.

Formats: proc_meminfo(5), cgroups(7), the kernel's `admin-guide/cgroup-v2.rst` and `cgroup-v1/memory.rst`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_NO_LIMIT_V1 = 1 << 62
"""cgroup v1 writes no limit as the highest page-aligned number."""


class MemoryFound(NamedTuple):
    """Bytes. `available` is what can be had without swapping, within the limit too; `limit` 0: no control group limits
    us. Swap is told and never counted: weights that are swapped are read at the speed of a disk, each token."""

    total: int
    available: int
    limit: int
    swap: int
    source: str


def linux_memory(root: Path) -> MemoryFound | None:
    """From /proc/meminfo and the control groups that this process is in; None where there is no /proc/meminfo."""
    try:
        rows = [line.split() for line in (root / "proc/meminfo").read_text().splitlines()]
    except OSError:
        return None
    fields = {row[0].rstrip(":"): int(row[1]) << 10 for row in rows if len(row) > 1 and row[1].isdigit()}
    total = fields.get("MemTotal", 0)
    if total <= 0:
        return None
    available = fields.get("MemAvailable", fields.get("MemFree", 0) + fields.get("Cached", 0))
    limit, source = 0, "/proc/meminfo"
    for place, bound, used in _groups(root):
        if bound < total and (not limit or bound < limit):
            limit, source = bound, f"/proc/meminfo, {place}"
        available = min(available, max(0, bound - used))
    return MemoryFound(total, available, limit, fields.get("SwapTotal", 0), source)


def _groups(root: Path) -> Iterator[tuple[str, int, int]]:
    """(file, limit, bytes in use that cannot be given back) of each control group from ours up that has a limit."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            yield from _limits(root / "sys/fs/cgroup", path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _limits(root / "sys/fs/cgroup/memory", path, *names)


def _limits(top: Path, path: str, limit: str, usage: str, reclaimable: str) -> Iterator[tuple[str, int, int]]:
    # In a container the path can be one of the host's, of which only the top is to be seen here.
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    for depth in range(len(parts), -1, -1):
        place = top.joinpath(*parts[:depth])
        bound = _number(place / limit)
        if bound is None or bound >= _NO_LIMIT_V1:
            continue
        used = (_number(place / usage) or 0) - _stat(place / "memory.stat", reclaimable)
        yield "/" + str(place.relative_to(top.anchor)), bound, max(0, used)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _stat(path: Path, name: str) -> int:
    try:
        rows = (line.split() for line in path.read_text().splitlines())
    except OSError:
        return 0
    return next((int(row[1]) for row in rows if len(row) > 1 and row[0] == name), 0)
