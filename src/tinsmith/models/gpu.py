"""Which GPUs there are, their memory and what is free of it.

Asked: `nvidia-smi`; for AMD and Intel the kernel's files under /sys/class/drm (amdgpu: `mem_info_vram_total`; xe:
`physical_vram_size_bytes`; i915: `lmem_total_bytes`); `llama-server --list-devices`, which knows what the binary can
use. A tool that is absent means no such GPU. Speeds by name are in `gpu_speeds.toml`.
"""

import re
import subprocess
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

Runner = Callable[[Sequence[str]], str | None]
"""Runs a program and gives its standard output; None where it is absent or fails."""

GPUKind = Literal["cuda", "rocm", "intel", "metal", "other"]

_ASSUMED_BANDWIDTH = 250e9
_ASSUMED_COMPUTE = 20e12
_INTEGRATED = 2 << 30
"""Bytes: an AMD device with less memory of its own is part of the processor and worth no plan."""


@dataclass(frozen=True)
class GPU:
    """One GPU. Memory in bytes, `bandwidth` in bytes/s, `compute` in half-precision FLOP/s of its matrix units;
    `source` says where the speeds are from."""

    name: str
    memory_total: int
    memory_free: int
    bandwidth: float
    compute: float
    kind: GPUKind
    source: str


def run_tool(arguments: Sequence[str]) -> str | None:
    """See `Runner`; a tool that hangs is given up after 10 s."""
    try:
        done = subprocess.run(arguments, capture_output=True, timeout=10, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace")


def gpus_of_system(root: Path, run: Runner, memory_total: int) -> tuple[GPU, ...]:
    """What the tools and /sys say. `memory_total`: the machine's, which a device without memory of its own shares."""
    return (*_nvidia(run, memory_total), *_drm(root, run))


def gpus_of_binary(listing: str) -> tuple[GPU, ...]:
    """From what `llama-server --list-devices` prints: lines `  CUDA0: NAME (24564 MiB, 23000 MiB free)`."""
    kinds: dict[str, GPUKind] = {"CUDA": "cuda", "ROCm": "rocm", "HIP": "rocm", "SYCL": "intel", "Metal": "metal"}
    pattern = re.compile(r"^\s+([A-Za-z]+)\d*: (.+) \((\d+) MiB, (\d+) MiB free\)\s*$", re.MULTILINE)
    return tuple(
        gpu(name, int(total) << 20, int(free) << 20, kinds.get(backend, "other"))
        for backend, name, total, free in pattern.findall(listing)
        if backend not in ("CPU", "BLAS", "RPC")
    )


def gpu(name: str, memory_total: int, memory_free: int, kind: GPUKind) -> GPU:
    """A GPU with the speeds that its name is known by, else with assumed ones."""
    # The longest name that is part of this one: "RTX 4070 Ti SUPER" is no "RTX 4070".
    known = [row for row in gpu_speeds() if row["name"].lower() in name.lower()]
    if not known:
        return GPU(name, memory_total, memory_free, _ASSUMED_BANDWIDTH, _ASSUMED_COMPUTE, kind, "assumed")
    row = max(known, key=lambda row: len(row["name"]))
    return GPU(name, memory_total, memory_free, row["gb_per_s"] * 1e9, row["tflops"] * 1e12, kind, "vendor's figures")


@cache
def gpu_speeds() -> tuple[dict[str, Any], ...]:
    """Rows {name, gb_per_s, tflops} of `gpu_speeds.toml`."""
    text = files("tinsmith.models").joinpath("gpu_speeds.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text)["gpu"])


def _nvidia(run: Runner, memory_total: int) -> list[GPU]:
    query = ("--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits")
    found: list[GPU] = []
    for line in (run(("nvidia-smi", *query)) or "").splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) != 3:
            continue
        name, total, free = fields
        if total.isdigit() and free.isdigit():
            found.append(gpu(name, int(total) << 20, int(free) << 20, "cuda"))
        elif "N/A" in total or "Not Supported" in total:  # shares the machine's memory
            found.append(gpu(name, memory_total, memory_total, "cuda"))
    return found


def _drm(root: Path, run: Runner) -> list[GPU]:
    found: list[GPU] = []
    try:
        cards = sorted((root / "sys/class/drm").glob("card[0-9]*"))
    except OSError:
        return found
    for card in cards:
        if not re.fullmatch(r"card\d+", card.name):
            continue  # a connector
        device = card / "device"
        vendor = _text(device / "vendor")
        if vendor == "0x1002":
            total, used = _bytes(device / "mem_info_vram_total"), _bytes(device / "mem_info_vram_used")
            if total >= _INTEGRATED:
                name = _text(device / "product_name") or _rocm_name(run, len(found)) or "AMD GPU"
                found.append(gpu(name, total, max(0, total - used), "rocm"))
        elif vendor == "0x8086":
            total = _bytes(device / "tile0/physical_vram_size_bytes") or _bytes(card / "lmem_total_bytes")
            free = _bytes(card / "lmem_avail_bytes") or total
            if total:
                found.append(gpu("Intel GPU", total, free, "intel"))
    return found


def _rocm_name(run: Runner, index: int) -> str:
    lines = (run(("rocm-smi", "--showproductname")) or "").splitlines()
    names = [line.rsplit(":", 1)[1].strip() for line in lines if "Card Series" in line or "Card series" in line]
    return names[index] if index < len(names) else ""


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _bytes(path: Path) -> int:
    text = _text(path)
    return int(text, 0) if re.fullmatch(r"\d+|0x[0-9a-fA-F]+", text) else 0
