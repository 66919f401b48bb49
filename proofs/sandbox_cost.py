"""What the sandbox costs: its start, and a test suite inside beside the same suite outside.

    python -m proofs.sandbox_cost [--starts 60] [--rounds 7] [--beside PYTHON] [--srt SRT]

Everything is measured in one run, the kinds in turn and in another order each time, so that what else the machine does
falls on all alike.  `--beside` names a Python that has mini-swe-agent, `--srt` the program of sandbox-runtime;
both need `bwrap` on PATH.  Goals: a start at most 20 ms above that of a process, a suite at least 0.95 as fast.
"""

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tinsmith.workspace import LandlockSandbox, Sandbox
from tinsmith.workspace.interpreter import inspect_python

START_GOAL = 20.0
SUITE_GOAL = 0.95
SUITE = """
import hashlib, os, sqlite3, pytest

@pytest.mark.parametrize("n", range(40))
def test_compute(n):
    total = 0
    for i in range(300_000):
        total = (total * 31 + i) % 1_000_003
    assert hashlib.sha256(str(total).encode()).hexdigest()

@pytest.mark.parametrize("n", range(20))
def test_many_small_files(n, tmp_path):
    for i in range(100):
        (tmp_path / f"f{i}").write_text("x" * 1000)
    assert sum(len(p.read_text()) for p in tmp_path.iterdir()) == 100_000

@pytest.mark.parametrize("n", range(10))
def test_database(n, tmp_path):
    with sqlite3.connect(tmp_path / "d") as base:
        base.execute("pragma synchronous = off")  # how fast the disk is, is not the question
        base.execute("create table t (a, b)")
        base.executemany("insert into t values (?, ?)", [(i, str(i)) for i in range(5000)])
    assert base.execute("select count(*) from t").fetchone() == (5000,)
    base.close()

@pytest.mark.parametrize("n", range(200))
def test_in_place(n):
    name = f"made-{n}"
    with open(name, "w") as file:
        file.write("y" * 4096)
    os.rename(name, name + ".done")
    os.unlink(name + ".done")
"""
MINI_SWE_AGENT = """
import sys, time
from minisweagent.environments.extra.bubblewrap import BubblewrapEnvironment
environment = BubblewrapEnvironment()
for line in sys.stdin:
    started = time.perf_counter()
    answer = environment.execute({"command": "/bin/true"})
    seconds = time.perf_counter() - started
    print(seconds if answer["returncode"] == 0 else "failed: " + answer["output"][:200], flush=True)
"""

Measured = Callable[[], float]
"""Does it once and says how many seconds it took."""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--starts", type=int, default=60)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--beside", metavar="PYTHON", help="a Python with mini-swe-agent")
    options.add_argument("--srt", help="sandbox-runtime's program")
    options.add_argument("--landlock", action="store_true", help="the second rung too")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="tinsmith-cost-") as name:
        place = Path(name)
        start = measure(starts(place, given.beside, given.srt, landlock=given.landlock), given.starts)
        plain = start["plain"]
        for kind, seconds in start.items():
            above = [each - least for each, least in zip(seconds, plain, strict=True)]
            print(
                f"start  {kind:<22} {1000 * statistics.median(seconds):7.1f} ms, "
                f"{1000 * statistics.median(above):+7.1f} above a process, least {1000 * min(seconds):.1f}",
                flush=True,
            )
        suite = measure(suites(place), given.rounds)
    above = 1000 * (statistics.median(start["tinsmith"]) - statistics.median(plain))
    ratio = statistics.median(out / ins for out, ins in zip(suite["outside"], suite["inside"], strict=True))
    outside, inside = (statistics.median(suite[kind]) for kind in ("outside", "inside"))
    print(f"suite  outside {outside:.2f} s, inside {inside:.2f} s, median of the ratios {ratio:.3f}")
    good = above <= START_GOAL and ratio >= SUITE_GOAL
    print(
        f"bench-sandbox: {'passed' if good else 'MISSED'}: {above:.1f} ms above a process (goal {START_GOAL:g}), "
        f"a suite at {ratio:.3f} of outside (goal {SUITE_GOAL:g}); medians of {given.starts} and {given.rounds}"
    )
    return 0 if good else 1


def measure(kinds: dict[str, Measured], times: int) -> dict[str, list[float]]:
    """Seconds of each kind, round by round."""
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    order = list(kinds)
    shuffle = random.Random(1).shuffle
    for kind in order:
        kinds[kind]()  # the first time warms the page cache
    for _ in range(times):
        shuffle(order)
        for kind in order:
            found[kind].append(kinds[kind]())
    return found


def starts(place: Path, beside: str | None, srt: str | None, *, landlock: bool) -> dict[str, Measured]:
    """How long /bin/true takes, by the way in which it is started."""
    sandbox = Sandbox.find()
    kinds: dict[str, Measured] = {
        "plain": lambda: timed(lambda: process(["/bin/true"], place)),
        "bwrap, nothing kept": lambda: timed(
            lambda: process([str(sandbox.bwrap), "--unshare-all", "--ro-bind", "/", "/", "/bin/true"], place)
        ),
        "tinsmith": lambda: timed(lambda: ran(sandbox.run(["/bin/true"], timeout=60).returncode)),
    }
    if landlock:
        second = LandlockSandbox.find()
        kinds["tinsmith, landlock"] = lambda: timed(lambda: ran(second.run(["/bin/true"], timeout=60).returncode))
    if beside:
        agent = subprocess.Popen(
            [beside, "-c", MINI_SWE_AGENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=place,
        )
        kinds["mini-swe-agent"] = lambda: asked(agent)
    if srt:
        program = shutil.which(srt) or srt
        kinds["sandbox-runtime"] = lambda: timed(lambda: process([program, "/bin/true"], place))
    return kinds


def suites(place: Path) -> dict[str, Measured]:
    """The same tests in the same directory, outside and inside."""
    work = place / "suite"
    work.mkdir()
    (work / "test_suite.py").write_text(SUITE)
    sandbox, python = Sandbox.find(), inspect_python(Path(sys.executable), work)
    command = [str(python.path), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # Both with temporary files on the same file system: what is compared is the sandbox, not tmpfs with a disk.
    command += ["--basetemp", str(work / "temporary")]

    def inside() -> None:
        done = sandbox.run(
            command,
            cwd=work,
            timeout=600,
            extra_ro_binds=[(mount, mount) for mount in python.mounts],
            extra_rw_binds=[(work, work)],
            symlinks=python.symlinks,
        )
        ran(done.returncode, done.output.decode(errors="replace"))

    return {"outside": lambda: timed(lambda: process(command, work)), "inside": lambda: timed(inside)}


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def process(argv: list[str], cwd: Path) -> None:
    done = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    ran(done.returncode, done.stdout.decode(errors="replace"))


def ran(returncode: int, output: str = "") -> None:
    if returncode != 0:
        raise SystemExit(f"bench-sandbox: a command failed with {returncode}: {output[-500:]}")


def asked(agent: subprocess.Popen[str]) -> float:
    """What the agent's own process measures, its start not counted."""
    assert agent.stdin is not None and agent.stdout is not None
    agent.stdin.write("\n")
    agent.stdin.flush()
    answer = agent.stdout.readline()
    while answer and not answer[0].isdigit():
        if answer.startswith("failed"):
            raise SystemExit(f"bench-sandbox: mini-swe-agent {answer.strip()}")
        answer = agent.stdout.readline()
    return float(answer)


if __name__ == "__main__":
    sys.exit(main())
