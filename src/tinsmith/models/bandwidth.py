"""What this machine really does in two seconds: how fast all cores read memory, and how fast they multiply.

The result is kept in the state directory with what identifies the machine, so it is measured once; unless other
programs use the machine meanwhile. Best of several passes, since they can only slow a pass down.
"""

import contextlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

SECONDS = 2.0
"""What a measurement takes at most, of wall clock, beside the import of numpy."""
_FILE = "machine.json"
_VERSION = 1
_BUFFER = 256 << 20
_SIDE, _PRODUCTS = 64, 32


class Measured(NamedTuple):
    """`bandwidth`: bytes/s read by all cores together; `compute`: FLOP/s of 32-bit matrix products on all cores."""

    bandwidth: float
    compute: float


def measure(cores: int, memory_available: int, seconds: float = SECONDS) -> Measured:
    """Reads memory for three fifths of `seconds`, multiplies matrices for the rest."""
    import numpy

    size = min(_BUFFER, memory_available // 8) // (8 * cores) * cores
    data = numpy.ones(max(size, cores), dtype=numpy.uint64)  # written, so that every page is there
    parts = numpy.array_split(data, cores)
    best = 0.0
    until = time.perf_counter() + 0.6 * seconds
    while time.perf_counter() < until:
        best = max(best, data.nbytes / _together(parts))
    del data, parts
    # BLAS takes products this small on one thread, whose own time other programs do not lengthen.
    a = numpy.ones((_PRODUCTS, _SIDE, _SIDE), dtype=numpy.float32)
    product = numpy.empty_like(a)
    flops = 0.0
    until = time.perf_counter() + 0.35 * seconds
    while time.perf_counter() < until:
        begun = time.thread_time()
        numpy.matmul(a, a, out=product)
        flops = max(flops, cores * 2 * _PRODUCTS * _SIDE**3 / max(1e-6, time.thread_time() - begun))
    return Measured(best, flops)


def _together(parts: list[Any]) -> float:
    """Seconds in which each thread reads its part; numpy lets go of the interpreter's lock meanwhile."""
    threads = [threading.Thread(target=part.max) for part in parts[1:]]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    parts[0].max()
    for thread in threads:
        thread.join()
    return time.perf_counter() - begun


def is_busy(cores: int) -> bool:
    """Whether other programs use much of the machine, so that a measurement is not worth keeping."""
    try:
        return os.getloadavg()[0] > cores / 2
    except OSError:
        return False


def remembered(state_dir: Path, identity: str) -> Measured | None:
    """What was measured on this very machine before; None where nothing was, or on another one."""
    try:
        kept = json.loads((state_dir / _FILE).read_text(encoding="utf-8"))
        if kept["v"] != _VERSION or kept["identity"] != identity:
            return None
        found = Measured(float(kept["bandwidth"]), float(kept["compute"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.bandwidth > 0 and found.compute > 0 else None


def remember(state_dir: Path, identity: str, measured: Measured) -> None:
    """Keeps it, in one step; where the state directory cannot be written, it is measured again next time."""
    row = {"v": _VERSION, "identity": identity, **measured._asdict()}
    place = state_dir / f"{_FILE}.{os.getpid()}"
    with contextlib.suppress(OSError):
        state_dir.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(row) + "\n", encoding="utf-8")
        place.replace(state_dir / _FILE)
