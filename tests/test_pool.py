"""Pools: fresh isolated copies by the hundred, each under the sandbox's policy, and nothing left when anything dies."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tinsmith.errors import MachineError
from tinsmith.workspace import Limits, Pool, PooledCopy, TreeCache, Workspace, can_overlay, parse_patch
from tinsmith.workspace.attacks.attack import Inside
from tinsmith.workspace.attacks.audit import TABLE, run_attacks
from tinsmith.workspace.interpreter import inspect_python
from tinsmith.workspace.sandbox import Bind, Completed
from tinsmith.workspace.tree_cache import CachedTree

pytestmark = pytest.mark.skipif(not can_overlay(), reason="this machine has no overlays")

INSIDE = Path("/srv/app")
PYTHON = inspect_python(Path(sys.executable), Path("/nonexistent"))


@pytest.fixture
def trees(tmp_path: Path) -> TreeCache:
    return TreeCache(tmp_path / "trees")


@pytest.fixture
def tree(trees: TreeCache, tmp_path: Path) -> CachedTree:
    repo = tmp_path / "app"
    for name, text in {"app.py": "X = 1\n", "gone/a.py": "A = 1\n", "kept/b.py": "B = 1\n", "c.py": "C = 1\n"}.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(text)
    (repo / ".gitignore").write_text("*.so\n")
    (repo / "fast.so").write_bytes(b"\x7fELF")
    subprocess.run(["git", "init", "-q"], cwd=repo, check=True)
    return trees.take(repo, tmp_path)[0]


def test_a_copy_is_fresh_and_what_it_changed_comes_out_as_a_patch(
    trees: TreeCache, tree: CachedTree, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in tree.tree.rglob("*.*") if path.is_file()}
    code = (
        "echo 'X = 2' > app.py; rm -r gone; mkdir gone; echo n > gone/new.py; rm c.py; mkdir c.py; echo d > c.py/d\n"
        "chmod +x kept/b.py; ln -s app.py link; touch a.pyc b.so; mkdir .git; echo > .git/config; chmod 0 gone; echo ok"
    )

    async def story() -> None:
        async with Pool(trees, python=PYTHON) as pool:
            async with pool.lease(tree, INSIDE) as first, pool.lease(tree, INSIDE) as second:
                done = await first.run(["sh", "-c", code], timeout=30)
                assert (done.returncode, done.output) == (0, b"ok\n")
                first.write_file("made/by/us.py", b"Y = 1\n")
                snapshot = first.snapshot()
                patch = parse_patch(first.diff(first.base, snapshot))
                changed = {file.path for file in patch.files}
                assert changed == {
                    *("app.py", "gone/a.py", "gone/new.py", "c.py", "c.py/d", "kept/b.py", "link", "made/by/us.py")
                }
                assert second.snapshot() == second.base == first.base and second.read_file("app.py") == b"X = 1\n"
                # What the kernel's marks say is what a walk over the merged view finds.
                whole = Workspace.create(tmp_path / "app", tmp_path / "whole", python=Path(sys.executable))
                subprocess.run(["sh", "-c", code], cwd=whole.tree, check=True, capture_output=True)
                whole.write_file("made/by/us.py", b"Y = 1\n")
                assert whole.snapshot() == snapshot
            async with pool.lease(tree, INSIDE) as third:
                assert (await third.run(["cat", "app.py"], timeout=30)).output == b"X = 1\n"

    asyncio.run(story())
    assert {path.name: path.read_bytes() for path in tree.tree.rglob("*.*") if path.is_file()} == before
    assert not list(trees.directory.glob("new-*"))


def test_commands_are_bounded_and_nothing_survives_one(trees: TreeCache, tree: CachedTree) -> None:
    async def story() -> None:
        limits = Limits(disk=8 << 20, output_runaway=4 << 20, output_kept=1 << 20)
        async with Pool(trees, python=PYTHON, limits=limits) as pool, pool.lease(tree, INSIDE) as copy:
            done = await copy.run(["sh", "-c", "(setsid sleep 60 &); sleep 60"], timeout=0.5)
            assert done.timed_out and done.returncode == 137 and done.seconds < 5
            assert b"sleep" not in (await copy.run(["sh", "-c", "cat /proc/[0-9]*/comm"], timeout=9)).output.split()
            done = await copy.run(["yes"], timeout=30)
            assert done.killed_for == "output" and done.truncated and done.returncode == 137
            done = await copy.run(["sh", "-c", "head -c 20000000 /dev/zero > big || echo full; rm big"], timeout=30)
            assert b"full" in done.output
            assert (await copy.run(["no-such-program"], timeout=9)).returncode == 127
            assert (await copy.run(["./app.py"], timeout=9)).returncode == 126
            assert (await copy.run(["sh", "-c", "kill -TERM $$"], timeout=9)).returncode == 128 + signal.SIGTERM
            done = await copy.run(["python", "-c", "import pytest, os; print(os.getcwd())"], timeout=30, cwd="kept")
            assert done.output == b"/srv/app/kept\n", done.output
            done = await copy.run(["sh", "-c", "echo 1 > /tmp/x; echo $TMPDIR"], timeout=9, env={"TMPDIR": "/t"})
            assert done.output == b"/t\n"

    asyncio.run(story())


def test_places_are_limited_and_leases_end(trees: TreeCache, tree: CachedTree) -> None:
    async def story() -> None:
        async with Pool(trees, most=1) as pool:
            async with pool.lease(tree, INSIDE, seconds=0.5) as copy:
                with pytest.raises(MachineError) as caught:
                    async with pool.lease(tree, INSIDE, wait=0.1):
                        pass
                assert caught.value.code == "pool_full"
                with pytest.raises(MachineError) as caught:
                    await copy.run(["sleep", "30"], timeout=30)
                assert caught.value.code == "lease_over"
            with pytest.raises(ZeroDivisionError):
                async with pool.lease(tree, INSIDE, wait=5) as copy:
                    raise ZeroDivisionError
            assert not Path(f"/proc/{copy.pid}").exists() or is_zombie(copy.pid)
            async with pool.lease(tree, INSIDE, wait=5) as copy:
                assert (await copy.run(["true"], timeout=9)).returncode == 0

    asyncio.run(story())


def test_a_copy_or_the_zygote_that_is_killed_takes_nothing_else_along(trees: TreeCache, tree: CachedTree) -> None:
    async def lost(copy: PooledCopy, pid: int) -> None:
        running = asyncio.ensure_future(copy.run(["sleep", "30"], timeout=30))
        await asyncio.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(MachineError) as caught:
            await running
        assert caught.value.code == "copy_lost"

    async def story() -> None:
        async with Pool(trees) as pool:
            async with pool.lease(tree, INSIDE) as copy, pool.lease(tree, INSIDE) as other:
                await lost(copy, copy.pid)
                assert (await other.run(["true"], timeout=9)).returncode == 0
            zygote = pool.zygote_pid
            assert zygote is not None
            async with pool.lease(tree, INSIDE) as copy:
                await lost(copy, zygote)
            async with pool.lease(tree, INSIDE) as copy:
                assert (await copy.run(["true"], timeout=9)).returncode == 0
                assert pool.zygote_pid != zygote

    asyncio.run(story())


def is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def test_when_the_user_of_a_pool_is_killed_nothing_is_left(trees: TreeCache, tree: CachedTree) -> None:
    code = textwrap.dedent("""
        import asyncio, sys
        from pathlib import Path
        from tinsmith.workspace import Pool, TreeCache
        from tinsmith.workspace.tree_cache import CachedTree

        async def story():
            async with Pool(TreeCache(Path(sys.argv[1]))) as pool:
                tree = CachedTree.open(Path(sys.argv[2]))
                async with pool.lease(tree, Path("/w/a")) as a, pool.lease(tree, Path("/w/b")) as b:
                    task = asyncio.ensure_future(a.run(["sh", "-c", "setsid sleep 60 & sleep 60"], timeout=60))
                    await asyncio.sleep(0.3)
                    print(pool.zygote_pid, a.pid, b.pid, flush=True)
                    await task

        asyncio.run(story())
    """)
    arguments = [sys.executable, "-c", code, str(trees.directory), str(tree.directory)]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE)
    assert process.stdout is not None
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 3 and not any(map(is_zombie, pids))
    process.kill()
    process.communicate()
    until = time.monotonic() + 10
    while not all(map(is_zombie, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    assert all(map(is_zombie, pids))
    assert str(trees.directory) not in Path("/proc/self/mountinfo").read_text()
    trees.collect()
    assert not list(trees.directory.glob("new-*"))


@dataclass(frozen=True)
class LeasedSandbox:
    """A leased copy that stands where `Sandbox.run` would mount the writable place."""

    trees: TreeCache
    tree: CachedTree
    limits: Limits = field(default_factory=lambda: Limits(disk=512 << 20))

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | str = "/tmp",
        timeout: float,
        extra_ro_binds: Sequence[Bind] = (),
        extra_rw_binds: Sequence[Bind] = (),
        symlinks: Sequence[tuple[str, Path]] = (),
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        async def once() -> Completed:
            pool = Pool(self.trees, python=PYTHON, limits=self.limits)
            async with pool, pool.lease(self.tree, Path(cwd)) as copy:
                return await copy.run(argv, timeout=timeout, env=env)

        return asyncio.run(once())


@pytest.mark.parametrize("group", ["files", "network", "processes", "resources", "output", "controls"])
def test_the_attacks_are_refused_in_a_leased_copy_too(trees: TreeCache, tmp_path: Path, group: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    subprocess.run(["git", "init", "-q"], cwd=empty, check=True)
    sandbox = LeasedSandbox(trees, trees.take(empty, tmp_path)[0])
    attacks = [attack for attack in TABLE[group] if isinstance(attack, Inside) and not attack.slow]
    rows = run_attacks(sandbox, {group: attacks})
    assert [f"{row['id']} {row['attack']}: {row['saw']}" for row in rows if not row["holds"]] == []
    assert rows or group == "output"
