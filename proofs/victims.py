"""The processes of a run, found in /proc, and what a run must not leave behind: processes, mounts, control groups."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

MARK = "TINSMITH_PROOF_PLACE"
"""An environment variable that every process of a run has, but for those in a sandbox, which see its directory."""


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, zombies left out."""
    children: dict[int, list[int]] = {}
    for each in _pids():
        try:
            state, parent = Path(f"/proc/{each}/stat").read_text().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue
        if state != "Z":
            children.setdefault(int(parent), []).append(each)
    found, waiting = list[int](), [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def engines(pid: int) -> list[int]:
    """The processes below `pid` that hold llama.cpp."""
    return [each for each in descendants(pid) if b"llama_child" in _read(each, "cmdline")]


def sandboxed(pid: int) -> list[int]:
    """bwrap below `pid` and everything inside of it: tests and the model's commands."""
    found: list[int] = []
    for each in descendants(pid):
        if os.path.basename(_read(each, "cmdline").split(b"\0")[0]) == b"bwrap":
            found += [each, *descendants(each)]
    return list(dict.fromkeys(found))


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether `pid` has a handler for the signal."""
    for line in _read(pid, "status").split(b"\n"):
        if line.startswith(b"SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def left_of(place: Path) -> list[str]:
    """Every process that belongs to a run in `place`: by its environment, its arguments or what it has mounted."""
    name = os.fsencode(place)
    ours = _read(os.getpid(), "mountinfo")
    found: list[str] = []
    for pid in _pids():
        if pid == os.getpid():
            continue
        mounts = _read(pid, "mountinfo")
        inside = name in mounts and mounts != ours
        if inside or name in _read(pid, "cmdline") or MARK.encode() + b"=" + name in _read(pid, "environ").split(b"\0"):
            words = _read(pid, "cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
            if words:  # a zombie has none
                found.append(f"{pid} {words[:120]}")
    return found


def wait_until_none(place: Path, seconds: float) -> list[str]:
    """What is still there of a run in `place` after at most that long."""
    until = time.monotonic() + seconds
    while (left := left_of(place)) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def mounts_of(place: Path) -> list[str]:
    """Mounts on this machine that have to do with `place`."""
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(place) in line]


def groups_of(pids: set[int]) -> list[str]:
    """The control groups that processes `pids` made for sandboxes, by the name that Tinsmith gives them."""
    found: list[str] = []
    for top, directories, _ in os.walk("/sys/fs/cgroup"):
        for name in directories:
            parts = name.split("-")
            if parts[0] == "tinsmith" and len(parts) == 3 and parts[1].isdigit() and int(parts[1]) in pids:
                found.append(f"{top}/{name}")
    return found


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
