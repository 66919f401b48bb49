"""What an isolated copy of a pool costs: processor time of a fresh one, memory of many live at once. `make bench-pool`.

The tree is a checkout that `--source` names, or one made here in the shape of Django's (6,869 files in 1,100
directories, 72 MB). The figures are of processor time, since wall clock says more about what else the machine does.
With `--svg FILE` the memory of 1 to N copies is drawn.
"""

import argparse
import asyncio
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

from tinsmith.workspace import Pool, PooledCopy, TreeCache, Workspace, can_overlay
from tinsmith.workspace.tree_cache import CachedTree

MOST_CPU_MS = 6.0
_TICK = os.sysconf("SC_CLK_TCK")
_BATCH = 50


class Live(NamedTuple):
    """Memory with `copies` live, in MiB."""

    copies: int
    processes: float
    """Proportional set size of their first processes; not a number where it may not be read (only root may)."""
    kernel: float
    """What slab, page tables and kernel stacks of the machine grew by."""


def make_source(place: Path) -> Path:
    """A git checkout in the shape of Django's."""
    rng = random.Random(1)
    for number in range(6869):
        path = place / f"part{number % 11}" / f"package{number % 1100}" / f"file{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(8_000).hex().encode()[: rng.randrange(400, 16_000)])
    subprocess.run(["git", "init", "-q"], cwd=place, check=True)
    return place


def processor_seconds(zygote: int) -> float:
    """Of this process, and of the zygote with all copies that it has buried."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    fields = Path(f"/proc/{zygote}/stat").read_text().rsplit(")", 1)[1].split()
    return used.ru_utime + used.ru_stime + sum(map(int, fields[11:15])) / _TICK


async def fresh(trees: TreeCache, tree: CachedTree, batches: int) -> list[float]:
    """Processor ms of a fresh copy, made and ended, the mean of each batch."""
    found: list[float] = []
    async with Pool(trees) as pool:
        for batch in range(batches + 1):
            assert pool.zygote_pid is not None
            before = processor_seconds(pool.zygote_pid)
            for _ in range(_BATCH):
                async with pool.lease(tree, Path("/srv/app")):
                    pass
            await asyncio.sleep(1.2)  # until the last is buried
            if batch:  # the first warms up
                found.append((processor_seconds(pool.zygote_pid) - before) / _BATCH * 1000)
    return found


async def live(trees: TreeCache, tree: CachedTree, counts: Sequence[int]) -> list[Live]:
    """Memory of as many copies as `counts` says, all live, each having run a command."""
    found: list[Live] = []
    async with Pool(trees, most=max(counts)) as pool, AsyncExitStack() as stack:
        copies: list[PooledCopy] = []
        at_start = _kernel()
        for count in counts:
            while len(copies) < count:
                copy = await stack.enter_async_context(pool.lease(tree, Path("/srv/app")))
                done = await copy.run(["sh", "-c", "echo changed > changed.txt; test -e ."], timeout=60)
                assert done.returncode == 0, done.output
                copies.append(copy)
            found.append(Live(count, sum(_proportional(copy.pid) for copy in copies), _kernel() - at_start))
            print(f"{count} live", file=sys.stderr, flush=True)
    return found


def _proportional(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return float("nan")
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def _kernel() -> float:
    words = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return sum(int(words[name].split()[0]) for name in ("Slab", "PageTables", "KernelStack")) / 1024


def draw(rows: Sequence[Live], place: Path) -> None:
    """Memory over number of copies."""
    width, height, left, bottom = 640, 360, 60, 40
    most = max(row.processes + row.kernel for row in rows) * 1.1
    last = rows[-1].copies

    def at(copies: float, memory: float) -> str:
        x = left + copies / last * (width - left - 20)
        return f"{x:.1f},{height - bottom - memory / most * (height - bottom - 20):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<polyline fill="none" stroke="#999" points="{at(0, most)} {at(0, 0)} {at(last, 0)}"/>',
    ]
    for share in (0.25, 0.5, 0.75, 1.0):
        x, y = at(last * share, 0).split(",")
        parts.append(f'<text x="{x}" y="{float(y) + 16}" text-anchor="middle">{last * share:.0f}</text>')
        x, y = at(0, most * share).split(",")
        parts.append(f'<text x="{float(x) - 6}" y="{y}" text-anchor="end">{most * share:.0f}</text>')
    for name, colour, values in (
        ("processes (PSS)", "#1f77b4", [row.processes for row in rows]),
        ("with the kernel's part", "#d62728", [row.processes + row.kernel for row in rows]),
    ):
        points = " ".join(at(row.copies, value) for row, value in zip(rows, values, strict=True))
        parts.append(f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{points}"/>')
        parts.append(f'<text x="{left + 12}" y="{30 if colour == "#1f77b4" else 46}" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{width // 2}" y="{height - 6}" text-anchor="middle">live copies</text>')
    parts.append('<text x="4" y="14">MiB</text></svg>')
    place.write_text("\n".join(parts) + "\n")


def second_copy(source: Path, trees: TreeCache, place: Path) -> tuple[float, float, int]:
    """(processor seconds of another Workspace, of a clean copy in it, bytes on the disk of both).

    The first is the median of five.
    """

    def used() -> float:
        both = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
        return sum(each.ru_utime + each.ru_stime for each in both)

    Workspace.create(source, place / "first", trees=trees)
    costs: list[float] = []
    for number in range(5):
        before = used()
        second = Workspace.create(source, place / f"second{number}", trees=trees)
        costs.append(used() - before)
    created = used()
    second.clean_copy(second.base)
    cloned = used()
    size = sum(path.lstat().st_blocks * 512 for path in second.directory.rglob("*"))
    return statistics.median(costs), cloned - created, size


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when the figures are met, else 1; 0 too where there are no overlays, which is said."""
    parser = argparse.ArgumentParser(prog="python -m proofs.pool_cost", description=__doc__)
    parser.add_argument("--source", type=Path, help="a git checkout")
    parser.add_argument("--live", type=int, default=1000)
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--svg", type=Path)
    given = parser.parse_args(arguments)
    if not can_overlay():
        print("bench-pool: not measured: this machine has no overlays for this user")
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-pool-") as name:
        place = Path(name)
        source = given.source or make_source(place / "source")
        time.sleep(0.2)
        trees = TreeCache(place / "trees")
        created, cloned, size = second_copy(source, trees, place)
        tree, _ = trees.take(source, place)
        whole = sum(file.identity[2] for file in tree.files.values())
        print(f"{len(tree.files)} files, {whole / 1e6:.0f} MB")
        print(
            f"second Workspace of the checkout: {created:.3f} CPU-s, with a clean copy {size / whole:.2%} of its size"
        )
        print(f"clean copy of a known tree: {cloned:.3f} CPU-s")
        costs = asyncio.run(fresh(trees, tree, given.batches))
        cost = statistics.median(costs)
        print(f"fresh copy of a pool: median {cost:.2f} CPU-ms, least {min(costs):.2f}, most {max(costs):.2f}")
        steps = [max(1, given.live * part // 10) for part in (0, 1, 2, 4, 6, 8, 10)]
        rows = asyncio.run(live(trees, tree, steps))
    print("\n| live | processes, MiB (PSS) | kernel, MiB | MiB each |\n|---|---|---|---|")
    for row in rows:
        each = (row.processes + row.kernel) / row.copies
        print(f"| {row.copies} | {row.processes:.0f} | {row.kernel:.0f} | {each:.2f} |")
    if given.svg is not None:
        draw(rows, given.svg)
    held = cost <= MOST_CPU_MS and created <= 0.1 and size <= 0.05 * whole and rows[-1].copies == given.live
    print(f"\nbench-pool: {'held' if held else 'MISSED'}: {cost:.2f} CPU-ms a copy, {rows[-1].copies} live")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
