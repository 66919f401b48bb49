"""Cached trees: filled once, shared by every later copy, never changed, and gone when nobody needs them."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinsmith.errors import InputError
from tinsmith.workspace import Sandbox, TreeCache, Workspace, can_overlay, fingerprint

MODES = [False, pytest.param(True, marks=pytest.mark.skipif(not can_overlay(), reason="no overlays here"))]
PYTHON = Path(sys.executable)


def git(repo: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=repo, check=True, capture_output=True)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repo = tmp_path / "app"
    for number in range(40):
        place = repo / f"package{number % 5}" / f"module{number}.py"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"VALUE = {number}\n")
    (repo / "run.sh").write_text("#!/bin/sh\n")
    (repo / "run.sh").chmod(0o755)
    (repo / "private.txt").write_text("p")
    (repo / "private.txt").chmod(0o600)
    (repo / "link").symlink_to("run.sh")
    (repo / ".gitignore").write_text("*.so\n")
    (repo / "fast.so").write_bytes(b"\x7fELF")
    os.utime(repo / "run.sh", (1_000_000_000, 1_000_000_000))
    git(repo, "init", "-q", "-b", "main")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "start")
    time.sleep(0.12)  # so that every file is known by its status
    return repo


@pytest.fixture
def trees(tmp_path: Path) -> TreeCache:
    return TreeCache(tmp_path / "state" / "trees")


def cached(trees: TreeCache) -> list[Path]:
    """The trees there are."""
    return sorted(index.parent for index in trees.directory.glob("*/index.json"))


def content(top: Path) -> dict[str, tuple[int, int, bytes]]:
    """{path: (mode, modification time, bytes)} of everything below."""
    found: dict[str, tuple[int, int, bytes]] = {}
    for directory, _, names in os.walk(top):
        for name in names:
            path = Path(directory, name)
            status = path.lstat()
            data = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
            when = 0 if path.is_symlink() else status.st_mtime_ns
            found[str(path.relative_to(top))] = status.st_mode, when, data
    return found


def used(place: Path) -> int:
    """Bytes on the disk."""
    return sum(path.lstat().st_blocks * 512 for path in place.rglob("*"))


@pytest.mark.parametrize("overlay", MODES)
def test_every_copy_is_faithful_and_the_tree_below_stays_as_it_is(
    repo: Path, tmp_path: Path, trees: TreeCache, overlay: bool
) -> None:
    expected = content(repo)
    expected = {path: what for path, what in expected.items() if not path.startswith(".git/")}
    before = fingerprint(repo)
    first = Workspace.create(repo, tmp_path / "one", python=PYTHON, trees=trees, overlay=overlay)
    second = Workspace.create(repo, tmp_path / "two", python=PYTHON, trees=trees, overlay=overlay)
    assert len(cached(trees)) == 1 and first.is_overlay is second.is_overlay is overlay
    kept = content(cached(trees)[0])
    assert content(first.tree) == content(second.tree) == expected
    assert first.base == second.base == second.snapshot()
    sandbox = Sandbox.find()
    done = first.run(
        sandbox,
        ["sh", "-c", "echo 'VALUE = -1' > package0/module0.py; rm -r package1; mkdir package1; ln -sf /etc link; ls"],
        timeout=30,
    )
    assert done.returncode == 0, done.output
    (first.tree / "package2" / "module2.py").unlink()
    first.write_file("new/file.py", b"new\n")
    changed = first.snapshot()
    paths = set(first.paths(changed))
    assert "package2/module2.py" not in paths and "new/file.py" in paths
    assert not any(path.startswith("package1/") for path in paths)
    assert first.read_file("package0/module0.py") == b"VALUE = -1\n"
    # Neither the other copy, nor what lies below, nor the checkout has seen any of it.
    assert content(second.tree) == expected and second.snapshot() == second.base
    assert content(cached(trees)[0]) == kept and fingerprint(repo) == before
    clean = first.clean_copy(changed)
    assert clean.snapshot() == changed and clean.diff(clean.base, changed) == first.diff(first.base, changed)
    assert (clean.tree / "fast.so").read_bytes() == b"\x7fELF"
    again = Workspace.open(tmp_path / "one")
    assert again.snapshot() == changed and again.is_overlay is overlay
    again.restore(again.base)
    expected_names = set(expected)
    assert set(content(again.tree)) == expected_names and again.snapshot() == again.base


@pytest.mark.skipif(not can_overlay(), reason="no overlays here")
def test_a_second_copy_holds_next_to_nothing_and_reads_nothing(repo: Path, tmp_path: Path, trees: TreeCache) -> None:
    (repo / "large.bin").write_bytes(os.urandom(20 << 20))  # larger than what is read whole
    time.sleep(0.12)
    Workspace.create(repo, tmp_path / "one", python=PYTHON, trees=trees)
    second = Workspace.create(repo, tmp_path / "two", python=PYTHON, trees=trees)
    assert second.is_overlay and used(tmp_path / "two") < 1 << 20
    assert second.snapshot() == second.base
    assert not any((tmp_path / "two" / "upper").iterdir())
    # The first look after the mount knows every file by its status: what it stored is not stored again.
    kept = list((tmp_path / "two" / "objects.git" / "objects").glob("??/*"))
    assert kept == []
    assert (second.tree / "large.bin").read_bytes() == (repo / "large.bin").read_bytes()


@pytest.mark.parametrize("overlay", MODES)
def test_a_checkout_that_changed_a_little_begins_with_the_tree_it_had(
    repo: Path, tmp_path: Path, trees: TreeCache, overlay: bool
) -> None:
    first = Workspace.create(repo, tmp_path / "one", python=PYTHON, trees=trees, overlay=overlay)
    (repo / "package0" / "module0.py").write_text("VALUE = 7\n")
    (repo / "package0" / "module5.py").unlink()
    (repo / "untracked.txt").write_text("u")
    (repo / "run.sh").chmod(0o644)
    second = Workspace.create(repo, tmp_path / "two", python=PYTHON, trees=trees, overlay=overlay)
    expected = {path: what for path, what in content(repo).items() if not path.startswith(".git/")}
    assert len(cached(trees)) == 1 and content(second.tree) == expected
    assert second.base != first.base and second.snapshot() == second.base
    clean = second.clean_copy(second.base)
    assert set(content(clean.tree)) == set(expected) and clean.snapshot() == second.base
    assert "VALUE = 7" in first.diff(first.base, first.base) + second.diff(first.base, second.base)
    for path in repo.glob("package*/*.py"):
        path.write_text("everything = 1\n")
    third = Workspace.create(repo, tmp_path / "three", python=PYTHON, trees=trees, overlay=overlay)
    assert len(cached(trees)) == 2 and third.snapshot() == third.base
    assert third.read_file("package1/module1.py") == b"everything = 1\n"


def test_a_change_in_the_same_tick_is_seen(repo: Path, tmp_path: Path, trees: TreeCache) -> None:
    place = repo / "package0" / "module0.py"
    place.write_text("VALUE = 1\n")
    Workspace.create(repo, tmp_path / "one", python=PYTHON, trees=trees)
    place.write_text("VALUE = 2\n")
    assert (
        Workspace.create(repo, tmp_path / "two", python=PYTHON, trees=trees).read_file("package0/module0.py")
        == b"VALUE = 2\n"
    )


def test_trees_go_when_nobody_uses_them_and_room_is_needed(repo: Path, tmp_path: Path, trees: TreeCache) -> None:
    small = TreeCache(trees.directory, limit=1)
    workspace = Workspace.create(repo, tmp_path / "one", python=PYTHON, trees=small)
    small.collect()
    assert len(cached(trees)) == 1 and workspace.snapshot() == workspace.base  # in use
    workspace.discard()
    trees.collect()
    assert len(cached(trees)) == 1  # there is room
    small.collect()
    assert cached(trees) == [] and not list(trees.directory.glob("old-*"))
    again = Workspace.create(repo, tmp_path / "two", python=PYTHON, trees=small)
    shutil.rmtree(cached(trees)[0])
    del again
    with pytest.raises(InputError) as caught:
        Workspace.open(tmp_path / "two")
    assert caught.value.code == "no_tree"


def test_what_a_kill_left_is_collected_and_what_another_process_makes_is_not(trees: TreeCache) -> None:
    trees.directory.mkdir(parents=True)
    left, busy = trees.directory / "new-left", trees.directory / "new-busy"
    for place in (left, busy):
        (place / "tree" / "d").mkdir(parents=True)
        (place / "tree" / "d").chmod(0o500)
    fd = os.open(busy, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    trees.collect()
    assert not left.exists() and busy.exists() and not list(trees.directory.glob("old-*"))
    os.close(fd)
    trees.collect()
    assert not busy.exists()


def test_many_processes_fill_at_once_and_some_are_killed(repo: Path, tmp_path: Path, trees: TreeCache) -> None:
    code = (
        "import sys; from pathlib import Path; from tinsmith.workspace import TreeCache, Workspace\n"
        "w = Workspace.create(Path(sys.argv[1]), Path(sys.argv[2]), trees=TreeCache(Path(sys.argv[3])))\n"
        "assert w.snapshot() == w.base; print(w.base)"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(repo), str(tmp_path / f"w{number}"), str(trees.directory)],
            stdout=subprocess.PIPE,
        )
        for number in range(6)
    ]
    time.sleep(0.4)
    for process in running[:2]:
        process.send_signal(signal.SIGKILL)
    said = {process.communicate(timeout=50)[0] for process in running[2:]}
    for process in running[:2]:
        process.communicate()
    assert len(said) == 1 and len(said.pop()) == 41
    assert all(process.returncode == 0 for process in running[2:])
    trees.collect()
    assert len(cached(trees)) == 1 and not list(trees.directory.glob("new-*"))
