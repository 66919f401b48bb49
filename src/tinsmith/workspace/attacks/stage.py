"""A checkout, its private copy and a trap beside them, for attacks on the code that runs on the host."""

import contextlib
import hashlib
import os
import pty
import secrets
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tinsmith.errors import InputError
from tinsmith.workspace.attacks.attack import Escaped
from tinsmith.workspace.copy import Workspace
from tinsmith.workspace.deliver import apply_patch, commit_branch
from tinsmith.workspace.git import run_git
from tinsmith.workspace.patch import Patch, parse_patch
from tinsmith.workspace.sandbox import Completed

# What a delivery may add to a checkout's `.git`.
_OURS = ("objects/", "refs/heads/tinsmith/", "logs/refs/heads/tinsmith/", "tinsmith-apply/")
IDENTITY = {f"GIT_{role}_{part}": "audit" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}


class Stage:
    """Where one trap is laid and walked into."""

    def __init__(self, place: Path, sandbox: Any) -> None:
        self.place = place
        self.sandbox = sandbox  # whatever runs a command as `Sandbox.run` does
        self.repo = place / "repo"
        """The person's checkout: `a.txt`, `app.py` and `pkg/m.py`, committed."""
        self.fired = place / "fired"
        """There once the trap has caught somebody."""
        self.trap = place / "trap"
        """A program that leaves `fired` and then does what `cat` does."""
        self.outside = place / "outside"
        """A directory beside the checkout that nothing may be read from or written to."""
        self.secret = "canary-" + secrets.token_hex(8)
        self._workspace: Workspace | None = None

    @classmethod
    @contextmanager
    def set(cls, parent: Path, sandbox: Any) -> Generator["Stage"]:
        """A fresh stage, gone afterwards."""
        parent.mkdir(exist_ok=True)
        template = parent / "template"
        if not template.exists():
            _make_template(template)
        place = parent / secrets.token_hex(4)
        place.mkdir()
        try:
            stage = cls(place, sandbox)
            shutil.copytree(template, stage.repo, symlinks=True)
            stage.outside.mkdir()
            (stage.outside / "secret.txt").write_text(stage.secret)
            stage.trap.write_text(f"#!/bin/sh\n: > {stage.fired}\nexec cat\n")
            stage.trap.chmod(0o755)
            yield stage
        finally:
            # Traps may be deeper than a path can be long, or closed; the tool of the system knows how.
            subprocess.run(["chmod", "-R", "u+rwX", str(place)], capture_output=True)
            subprocess.run(["rm", "-rf", str(place)], check=True)

    @property
    def workspace(self) -> Workspace:
        """The private copy, made when it is first asked for."""
        if self._workspace is None:
            self._workspace = Workspace.create(self.repo, self.place / "copy", python=Path(sys.executable))
            self._git_before = self._git_state()
        return self._workspace

    def inside(self, script: str, *, timeout: float = 20, may_be_killed: bool = False) -> Completed:
        """A hostile command in the copy.  A script that fails shows nothing, so that is an error."""
        done = self.workspace.run(
            self.sandbox, ["/bin/sh", "-euc", script], timeout=timeout, env={**self._names, **IDENTITY}
        )
        if done.returncode != 0 and not (may_be_killed and done.returncode == 128 + signal.SIGKILL):
            raise RuntimeError(f"the trap could not be laid: {done.output.decode(errors='replace').strip()[-200:]}")
        return done

    @property
    def _names(self) -> dict[str, str]:
        return {
            "TRAP": str(self.trap),
            "FIRED": str(self.fired),
            "OUTSIDE": str(self.outside),
            "REPO": str(self.repo),
            "PYTHON": sys.executable,
        }

    def collect(self) -> Patch:
        """What a run would take out of the copy.  Raises InputError `patch_rejected`."""
        tree = self.workspace.snapshot()
        text = self.workspace.diff(self.workspace.base, tree)
        if self.secret in text:
            raise Escaped("a file from outside is in the patch")
        return parse_patch(text)

    def walk_in(self) -> str:
        """The whole way out: snapshot, diff, check, clean copy, branch, work tree, and back to the base."""
        if stat.S_ISREG(os.lstat(self.workspace.tree / "a.txt").st_mode):
            self.workspace.write_file("a.txt", b"changed\n")
        try:
            patch = self.collect()
        except InputError as error:
            if error.code != "patch_rejected":
                raise
            self.workspace.restore(self.workspace.base)
            return error.message.removeprefix("the patch was not let out: ")
        self.workspace.clean_copy(self.workspace.snapshot()).discard()
        asked = self.deliver(patch)
        self.workspace.restore(self.workspace.base)
        Workspace.open(self.workspace.directory)
        return asked or f"let out: {', '.join(patch.paths)}"

    def deliver(self, patch: Patch) -> str:
        """As a branch and into the work tree; what needs a person's approval is asked for, and then given.

        Returns why it was asked for, or "".
        """
        asked = ""
        head = self.workspace.checkout.head
        try:
            commit_branch(self.repo, patch, "audit", "Audit", head)
        except InputError as error:
            if error.code != "sensitive_paths":
                raise
            asked = error.message
            if run_git(["for-each-ref", "refs/heads/tinsmith"], cwd=self.repo).stdout:
                raise Escaped("it was committed without approval") from error
            commit_branch(self.repo, patch, "audit", "Audit", head, approve_sensitive=True)
        apply_patch(self.repo, patch, approve_sensitive=bool(asked))
        return asked

    def refused(self, *words: str) -> str:
        """The way out must end with a rejection that gives one of these reasons."""
        said = self.walk_in()
        if said.startswith(("let out", "the patch needs")):
            raise Escaped(said)
        if not any(word in said for word in words):
            raise RuntimeError(f"refused for another reason: {said}")
        return said

    def ordinary(
        self, *argv: str, cwd: Path | None = None, terminal: bool = False, env: dict[str, str] | None = None
    ) -> bool:
        """The same walk with a program as a person starts it; whether the trap caught it."""
        main, other = pty.openpty() if terminal else (-1, -1)
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd or self.workspace.tree,
                stdin=subprocess.DEVNULL,
                stdout=other if terminal else subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.place),
                    "GIT_CONFIG_NOSYSTEM": "1",
                    **IDENTITY,
                    **(env or {}),
                },
            )
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(4)
            # A trap that was caught may wait for an answer for ever, in a child of the program.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        finally:
            if terminal:
                os.close(main)
                os.close(other)
        return self.fired.exists()

    def reached(self) -> list[str]:
        """What must not have happened and did."""
        found: list[str] = []
        if self.fired.exists():
            found.append("the trap ran on the host")
        if os.listdir(self.outside) != ["secret.txt"] or (self.outside / "secret.txt").read_text() != self.secret:
            found.append("a directory outside was changed")
        if self._workspace is not None and self._git_state() != self._git_before:
            found.append("the checkout's own .git was changed")
        return found

    def _git_state(self) -> str:
        """Everything in the checkout's `.git` but what a new branch adds."""
        top, state = self.repo / ".git", hashlib.sha256()
        for path in sorted(top.rglob("*")):
            name = str(path.relative_to(top))
            if path.is_file() and not name.startswith(_OURS):
                state.update(f"{name}\0".encode() + path.read_bytes())
        return state.hexdigest()


def _make_template(place: Path) -> None:
    (place / "pkg").mkdir(parents=True)
    (place / "a.txt").write_text("a\n")
    (place / "app.py").write_text("def f(x):\n    return x + 1\n")
    (place / "pkg" / "m.py").write_text("M = 1\n")
    steps: tuple[Sequence[str], ...] = (
        ["init", "--quiet", "--template=", "."],
        ["add", "-A"],
        ["commit", "--quiet", "-m", "start"],
    )
    for step in steps:
        done = run_git(step, cwd=place, env=IDENTITY)
        if done.returncode != 0:
            raise RuntimeError(done.stderr.decode(errors="replace"))
