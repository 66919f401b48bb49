"""Whether a process that was killed was killed for want of memory, as far as the kernel tells."""

from pathlib import Path


def memory_kills() -> int | None:
    """How many processes the kernel has killed for want of memory since it started, those of control groups included.

    `oom_kill` of /proc/vmstat, which counts for the whole machine. None where the kernel does not say.
    """
    return _field(Path("/proc/vmstat"), "oom_kill")


def why_killed(kills_before: int | None) -> str:
    """What is known of a SIGKILL: `kills_before` is `memory_kills()` from when the process still ran."""
    now = memory_kills()
    if kills_before is not None and now is not None and now > kills_before:
        return "killed, and meanwhile the kernel killed for want of memory"
    free = _field(Path("/proc/meminfo"), "MemAvailable:")  # in KiB
    return "killed" if free is None else f"killed; {free // 1024} MiB of memory are available now"


def _field(path: Path, name: str) -> int | None:
    try:
        rows = (line.split() for line in path.read_text().splitlines())
    except OSError:
        return None
    return next((int(row[1]) for row in rows if len(row) > 1 and row[0] == name), None)
