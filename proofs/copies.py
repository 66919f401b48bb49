"""Kills what makes and uses private copies at random moments and shows that nothing is lost. `make prove-copies`.

A process copies a repository in (every third time with an empty cache, so that this is filled), runs a command that
changes much and leaves processes behind, takes a snapshot, restores, makes a clean copy and a patch. It is killed by
SIGKILL at a random moment of a stage drawn by chance; in the stages with a sandbox sometimes the sandbox instead.
After each kill: the checkout is byte-identical, no process, mount or control group is left, git finds no fault in the
store, every cached tree is as its index says, a copy that was whole can be opened and put back to its base and to its
snapshot. Half in overlay mode, half with whole copies.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from proofs import victims
from proofs.copies_driver import STAGES

from tinsmith.workspace import Fingerprint, Limits, TreeCache, Workspace, can_overlay, fingerprint
from tinsmith.workspace.control_group import ControlGroup
from tinsmith.workspace.tree import remove
from tinsmith.workspace.tree_cache import CachedTree

GONE = 10.0
"""Seconds in which everything of a killed process must be gone."""


class Place:
    """A repository, a cache, and copies that are killed."""

    def __init__(self, place: Path, mode: str, seed: int) -> None:
        self._place, self._mode = place, mode
        self._random = random.Random(f"{mode} {seed}")
        self._repo, self._trees = place / "repo", place / "state" / "trees"
        _make_repository(self._repo)
        self._before: Fingerprint = fingerprint(self._repo)
        self._durations: dict[str, float] = {}
        self.kills: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.opened = 0

    def learn(self) -> None:
        """How long each stage takes undisturbed."""
        process, started = self._start("undisturbed"), time.monotonic()
        assert process.stdout is not None
        stage = ""
        for line in process.stdout:
            now = time.monotonic()
            if stage:
                self._durations[stage] = now - started
            stage, started = line.decode().strip(), now
        if process.wait() != 0 or stage != "end":
            self.wrong.append(f"{self._mode}: undisturbed it ended with {process.returncode} in {stage}")
        self._check("undisturbed", process.pid, "undisturbed")

    def kill_once(self, number: int) -> None:
        """One copy, one kill, all checks."""
        if number % 3 == 0:
            remove(self._trees)
        name, stage = f"copy{number}", self._random.choice(STAGES)
        process = self._start(name)
        assert process.stdout is not None
        for line in process.stdout:
            if line.decode().strip() == stage:
                break
        time.sleep(self._random.uniform(0, self._durations[stage]))
        inside = victims.sandboxed(process.pid) if stage == "run" and self._random.random() < 0.4 else []
        if inside:
            stage += " (sandbox)"
            with suppress(ProcessLookupError):
                os.kill(self._random.choice(inside), signal.SIGKILL)
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                self.wrong.append(f"{self._mode} {number}: it hangs after the sandbox was killed")
        process.kill()
        process.wait()
        process.stdout.close()
        self.kills[stage] += 1
        self._check(name, process.pid, f"{self._mode} {number} ({stage})")

    def _start(self, name: str) -> "subprocess.Popen[bytes]":
        arguments = [str(self._repo), str(self._place / name), str(self._trees), self._mode]
        return subprocess.Popen(
            [sys.executable, "-m", "proofs.copies_driver", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, victims.MARK: str(self._place)},
            start_new_session=True,
        )

    def _check(self, name: str, pid: int, where: str) -> None:
        def hold(condition: bool, words: str) -> None:
            if not condition:
                self.wrong.append(f"{where}: {words}")
                print(f"WRONG {self.wrong[-1]}", file=sys.stderr, flush=True)

        left = victims.wait_until_none(self._place, GONE)
        hold(not left, f"processes are left: {left[:3]}")
        hold(not victims.mounts_of(self._place), "mounts are left")
        hold(not _groups_left(pid), "control groups are left")
        hold(fingerprint(self._repo) == self._before, "the checkout has changed")
        if self._trees.exists():
            TreeCache(self._trees).collect()
        half_made = [place.name for place in self._trees.glob("new-*")] + [p.name for p in self._trees.glob("old-*")]
        hold(not half_made, f"half made trees are left: {half_made}")
        for place in self._trees.glob("*/index.json"):
            hold(_is_whole(CachedTree.open(place.parent)), "a cached tree is not as its index says")
            hold(_fsck(place.parent / "objects.git"), "git finds a fault in a cached store")
        copy = self._place / name
        if (copy / "workspace.json").exists():
            self.opened += 1
            workspace = Workspace.open(copy)
            hold(_fsck(copy / "objects.git"), "git finds a fault in the store")
            workspace.restore(workspace.base)
            hold(workspace.snapshot() == workspace.base, "the base cannot be restored")
            if (copy / "snapshot").exists() and (tree := (copy / "snapshot").read_text()):
                workspace.restore(tree)
                hold(workspace.snapshot() == tree, "the snapshot cannot be restored")
            workspace.discard()
        Workspace.remove(copy)
        hold(not copy.exists(), "the copy cannot be removed")


def _groups_left(pid: int) -> list[str]:
    """A group outlives the process that made it; the next that makes one takes it away, once the kernel lets it go."""
    until = time.monotonic() + GONE
    while True:
        if (group := ControlGroup.create(Limits())) is not None:
            group.remove()
        if not (left := victims.groups_of({pid})) or time.monotonic() > until:
            return left
        time.sleep(0.1)


def _make_repository(repo: Path) -> None:
    for number in range(200):
        path = repo / f"package{number % 20}" / f"module{number}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"VALUE = {number}\n" * (1 + number))
    (repo / "data.bin").write_bytes(random.Random(1).randbytes(9 << 20))
    (repo / "run.sh").write_text("#!/bin/sh\n")
    (repo / ".gitignore").write_text("*.so\n")
    (repo / "fast.so").write_bytes(b"\x7fELF")
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "start"]):
        subprocess.run(["git", *words], cwd=repo, check=True, capture_output=True)
    (repo / "package0" / "module0.py").write_text("not committed\n")
    time.sleep(0.2)


def _is_whole(tree: CachedTree) -> bool:
    """Whether every file of a cached tree has the content that its index names."""
    for path, file in tree.files.items():
        place = tree.tree / path
        content = os.fsencode(os.readlink(place)) if place.is_symlink() else place.read_bytes()
        if hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() != file.name:
            return False
    return len(tree.files) == sum(path.is_symlink() or path.is_file() for path in tree.tree.rglob("*"))


def _fsck(store: Path) -> bool:
    command = ["git", f"--git-dir={store}", "fsck", "--strict", "--no-dangling", "--no-progress"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        print(done.stderr[:500], file=sys.stderr, flush=True)
    return done.returncode == 0


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all holds, else 1."""
    parser = argparse.ArgumentParser(prog="python -m proofs.copies", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of both modes together")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    modes = ("overlay", "copy") if can_overlay() else ("copy",)
    if len(modes) == 1:
        print("no overlay can be mounted here; only whole copies are killed", file=sys.stderr)
    places: list[Place] = []
    for position, mode in enumerate(modes):
        share = given.kills // len(modes) + (position < given.kills % len(modes))
        with tempfile.TemporaryDirectory(prefix="prove-copies-") as name:
            place = Place(Path(name).resolve(), mode, given.seed)
            place.learn()
            places.append(place)
            for number in range(share):
                place.kill_once(number)
                if number % 10 == 9:
                    print(f"{mode} {number + 1}/{share}: {len(place.wrong)} faults", file=sys.stderr, flush=True)
        print(f"{mode}: {sum(place.kills.values())} kills", end=" ")
        print("(" + ", ".join(f"{count} in {stage}" for stage, count in sorted(place.kills.items())) + ")", end="; ")
        print(f"{place.opened} copies were whole, opened and restored")
    wrong = [fault for place in places for fault in place.wrong]
    for line in wrong[:20]:
        print(f"WRONG {line}")
    kills = sum(sum(place.kills.values()) for place in places)
    print(f"prove-copies: {'NOT proved' if wrong else 'proved'}: {kills} kills, {len(wrong)} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
