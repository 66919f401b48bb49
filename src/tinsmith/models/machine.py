"""What this machine has for a model: memory, cores, GPUs, and how fast they are; each with where it was found.

Linux is read from /proc and /sys, macOS from `sysctl`. Readers take the root of the file system and the runner of
tools, so that any machine can be laid out in a directory.
"""

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tinsmith.errors import MachineError
from tinsmith.models.bandwidth import Measured, is_busy, measure, remember, remembered
from tinsmith.models.cores import usable_cores
from tinsmith.models.gpu import GPU, Runner, gpu, gpus_of_system, run_tool
from tinsmith.models.machine_memory import MemoryFound, linux_memory

_INSTRUCTIONS = (
    *("avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "sve", "sve2", "bf16"),
)
"""Those that llama.cpp's kernels ask for, by the names of /proc/cpuinfo."""

_ASSUMED = {"Raspberry Pi 5": Measured(12e9, 44e9), "Raspberry Pi 4": Measured(4e9, 15e9)}
_ASSUMED_PER_CORE = Measured(10e9, 30e9)
_ASSUMED_MOST = 40e9
"""Bytes/s: what two channels of usual memory give, however many cores read."""


@dataclass(frozen=True)
class Machine:
    """Sizes in bytes, `bandwidth` in bytes/s, `compute` in 32-bit FLOP/s of all cores.

    `memory_limit` is the control group's, 0 where there is none. `unified`: GPU and cores share the memory. `board` is
    the board's name where it is a single-board computer. `sources`: field -> where its value is from; a speed's says
    `measured` or `assumed`.
    """

    name: str
    memory_total: int
    memory_available: int
    cores: int
    bandwidth: float
    compute: float
    memory_limit: int = 0
    swap: int = 0
    instructions: tuple[str, ...] = ()
    gpus: tuple[GPU, ...] = ()
    unified: bool = False
    board: str = ""
    sources: Mapping[str, str] = field(default_factory=dict[str, str])

    def with_gpus(self, gpus: tuple[GPU, ...]) -> "Machine":
        """This machine as a program sees it that can use these GPUs alone."""
        return replace(self, gpus=gpus, unified=self.unified and bool(gpus))

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        row = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return row | {"gpus": [dict(vars(device)) for device in self.gpus], "sources": dict(self.sources)}

    def described(self) -> str:
        """In one line."""
        parts = [self.board] if self.board else []
        parts.append(f"{_gib(self.memory_total)} memory, {_gib(self.memory_available)} of it available")
        if self.memory_limit:
            parts.append(f"limited to {_gib(self.memory_limit)} by its control group")
        if self.swap:
            parts.append(f"{_gib(self.swap)} swap, not counted")
        parts.append(f"{self.cores} cores, {self.bandwidth / 1e9:.0f} GB/s ({self.sources.get('bandwidth', 'given')})")
        if not self.gpus:
            parts.append("no GPU")
        for device in self.gpus:
            shared = "shares the memory" if self.unified else f"{_gib(device.memory_free)} free"
            parts.append(f"{device.name} {_gib(device.memory_total)}, {shared}")
        return "; ".join(parts)


def this_machine(
    *,
    state_dir: Path | None = None,
    may_measure: bool = False,
    root: Path = Path("/"),
    run: Runner = run_tool,
    system: str = sys.platform,
) -> Machine:
    """What is here. With `may_measure` a machine whose speed is not remembered in `state_dir` is measured, for 2 s.

    Raises MachineError `machine_unknown` where the system does not say how much memory it has.
    """
    found, processor, board, instructions = (_macos if system == "darwin" else _linux)(root, run)
    if found is None:
        raise MachineError(
            "machine_unknown",
            "this system does not say how much memory it has",
            "Describe the machine in a file and give it with --machine; docs/fit.md shows how.",
        )
    cores = usable_cores(root) if system != "darwin" else _sysctl_number(run, "hw.perflevel0.physicalcpu")
    cores = max(1, cores or usable_cores(root))
    if system == "darwin":
        gpus, unified = _apple_gpus(run, processor, found.total), "Apple" in processor
        gpu_source = "sysctl"
    else:
        gpus, gpu_source = gpus_of_system(root, run, found.total), "nvidia-smi, /sys/class/drm"
        unified = bool(gpus) and all(device.memory_total == found.total for device in gpus)
    identity = f"{processor}|{board}|{cores}|{found.total}"
    speed, source = _speed(identity, board, gpus if unified else (), cores, found, state_dir, may_measure)
    return Machine(
        name="this machine",
        memory_total=found.total,
        memory_available=found.available,
        cores=cores,
        bandwidth=speed.bandwidth,
        compute=speed.compute,
        memory_limit=found.limit,
        swap=found.swap,
        instructions=instructions,
        gpus=gpus,
        unified=unified,
        board=board,
        sources={
            "memory_total": found.source,
            "memory_available": found.source,
            "memory_limit": found.source,
            "cores": "affinity, topology and quota" if system != "darwin" else "sysctl",
            "instructions": "/proc/cpuinfo" if system != "darwin" else "sysctl",
            "gpus": gpu_source,
            "bandwidth": source,
            "compute": source,
        },
    )


def _speed(
    identity: str,
    board: str,
    shared: tuple[GPU, ...],
    cores: int,
    found: MemoryFound,
    state_dir: Path | None,
    may_measure: bool,
) -> tuple[Measured, str]:
    if state_dir is not None and (known := remembered(state_dir, identity)):
        return known, "measured"
    if may_measure:
        if is_busy(cores):
            return measure(cores, found.available), "measured beside other programs, not kept"
        known = measure(cores, found.available)
        if state_dir is not None:
            remember(state_dir, identity, known)
        return known, "measured"
    for name, speed in _ASSUMED.items():
        if board.startswith(name):
            return speed, "assumed for the board"
    each = _ASSUMED_PER_CORE
    bandwidth = max((device.bandwidth for device in shared), default=min(_ASSUMED_MOST, cores * each.bandwidth))
    return Measured(bandwidth, cores * each.compute), "assumed"


def _linux(root: Path, run: Runner) -> tuple[MemoryFound | None, str, str, tuple[str, ...]]:
    fields: dict[str, str] = {}
    for line in _text(root / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), value.strip())
    flags = frozenset((fields.get("flags") or fields.get("features") or "").split())
    processor = fields.get("model name") or fields.get("cpu part") or platform.machine()
    board = _text(root / "proc/device-tree/model").strip("\0\n ")
    return linux_memory(root), processor, board, tuple(name for name in _INSTRUCTIONS if name in flags)


def _macos(root: Path, run: Runner) -> tuple[MemoryFound | None, str, str, tuple[str, ...]]:
    total = _sysctl_number(run, "hw.memsize")
    page = _sysctl_number(run, "hw.pagesize") or 4096
    counts: dict[str, int] = {}
    for line in (run(("vm_stat",)) or "").splitlines():
        name, _, value = line.partition(":")
        if (digits := value.strip().rstrip(".")).isdigit():
            counts[name.strip()] = int(digits)
    free = ("Pages free", "Pages inactive", "Pages speculative", "Pages purgeable")
    available = page * sum(counts.get(name, 0) for name in free) or total
    memory = MemoryFound(total, min(total, available), 0, 0, "sysctl, vm_stat") if total else None
    processor = (run(("sysctl", "-n", "machdep.cpu.brand_string")) or "").strip()
    names = {"asimd": "AdvSIMD", "asimddp": "arm.FEAT_DotProd", "i8mm": "arm.FEAT_I8MM", "bf16": "arm.FEAT_BF16"}
    found = tuple(name for name, key in names.items() if _sysctl_number(run, f"hw.optional.{key}"))
    return memory, processor, "", found


def _apple_gpus(run: Runner, processor: str, total: int) -> tuple[GPU, ...]:
    """The GPU of Apple silicon may keep a part of the memory: what `iogpu.wired_limit_mb` says, else two thirds, and
    three quarters above 36 GiB (Metal's `recommendedMaxWorkingSetSize`)."""
    if "Apple" not in processor:
        return ()
    wired = _sysctl_number(run, "iogpu.wired_limit_mb") << 20
    most = wired or (total * 3 // 4 if total > 36 << 30 else total * 2 // 3)
    return (gpu(processor, most, most, "metal"),)


def _sysctl_number(run: Runner, name: str) -> int:
    text = (run(("sysctl", "-n", name)) or "").strip()
    return int(text) if text.isdigit() else 0


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _gib(count: int) -> str:
    return f"{count / (1 << 30):.1f} GiB"
