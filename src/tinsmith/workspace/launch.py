"""Starting what confines a command, attending it, and learning how it ended: the part that all sandboxes share."""

import fcntl
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tinsmith.errors import MachineError
from tinsmith.workspace.attend import attend, drain
from tinsmith.workspace.control_group import ControlGroup
from tinsmith.workspace.limits import Limits
from tinsmith.workspace.process_tree import descendants
from tinsmith.workspace.resource_watch import KILL_WORDS, KillReason, ResourceWatch
from tinsmith.workspace.terminal_text import Capture, strip_escapes


@dataclass(frozen=True)
class Completed:
    """How a command ended.  A returncode above 128 is 128 + the number of the signal that ended it."""

    returncode: int
    output: bytes
    """Standard output and error in one, without escape sequences, about `Limits.output_kept` at most."""
    timed_out: bool
    truncated: bool
    seconds: float
    killed_for: KillReason | None = None
    """The limit for which it was killed, or over which it was found at its end; None where it ended by itself."""

    @property
    def killed_because(self) -> str:
        """`killed_for` in words, as a line; empty where it ended by itself."""
        return f"killed: {KILL_WORDS[self.killed_for]}" if self.killed_for else ""


def launch(
    command: Callable[[int, int], Sequence[str]],
    inherited: Sequence[int],
    limits: Limits,
    *,
    timeout: float,
    watch: ResourceWatch,
    group: ControlGroup | None,
    owner: int | None,
    has_supervisor: bool,
) -> Completed:
    """Run `command(STATUS, BLOCK)`, which ends with all that it started when its standard input ends.

    STATUS is the descriptor for JSON lines {"child-pid": N} and {"exit-code": N}; what is started must wait until a
    byte comes from BLOCK.  `inherited` are other descriptors, which this closes.  The child is put into a
    `group` of version 2; otherwise, and where there is a supervisor, the command joins by itself.
    `owner` is the user id that may open the output as /dev/stdout.  `has_supervisor`: it must not be killed but told to
    end, since it is what kills the rest.

    Raises MachineError `sandbox_failed` when the command never began.
    """
    status_read, status_write = os.pipe()
    block_read, block_write = os.pipe()
    life_read, life_write = os.pipe()
    status_write, block_read = moved_up(status_write), moved_up(block_read)
    life = os.fdopen(life_write, "wb", buffering=0)  # it ends when this process does, however it ends
    started = time.monotonic()
    passed = [*inherited, status_write, block_read]
    argv = command(status_write, block_read)
    status = _Status(status_read)
    try:
        process = subprocess.Popen(
            argv,
            stdin=life_read,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={},
            cwd="/",
            pass_fds=passed,
            process_group=0,  # Ctrl-C in the terminal is ours to handle
        )
    except OSError as error:
        os.close(block_write)
        status.close()
        life.close()
        raise setup_failed(f"{argv[0]}: {error.strerror}") from error
    finally:
        for fd in (*passed, life_read):
            os.close(fd)
    assert process.stdout is not None
    try:
        if owner is not None:
            os.fchown(process.stdout.fileno(), owner, owner)
        for joined in group.processes if group is not None and not has_supervisor else ():
            if (child := status.child(process.pid)) is not None:
                # The kernel lets a grace period pass, in which bwrap makes its mounts.
                with suppress(ProcessLookupError), open(joined, "w") as file:
                    file.write(str(child))
        os.write(block_write, b"1")
        kill = life.close if has_supervisor else process.kill
        capture, reason = attend(process, kill, limits, started + timeout, watch)
        life.close()
        _wait(process)
        returncode = status.final(process.returncode, capture)
        drain(process.stdout.fileno(), capture, rounds=16)
    finally:
        # Only an exception leaves it alive: everything inside ends with it.
        life.close()
        if not has_supervisor:
            process.kill()
        _wait(process)
        process.stdout.close()
        os.close(block_write)
        status.close()
    return Completed(
        128 + signal.SIGKILL if returncode is None else returncode,
        capture.text(),
        reason == "timeout",
        capture.truncated,
        time.monotonic() - started,
        # The kernel may have ended it for memory between two looks.
        reason or ("memory" if group is not None and group.met_memory_limit() else None),
    )


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        # A supervisor that was stopped by what it watches (where that can still send it signals).
        for pid in [*descendants(process.pid), process.pid]:
            os.kill(pid, signal.SIGKILL)
        process.wait()


class _Status:
    """What is told of a command: JSON objects, a line each (bwrap's --json-status-fd)."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._text = b""
        self._reports: dict[str, int] = {}

    def child(self, starter: int) -> int | None:
        """The process in which the command will be, as soon as it is told; None where process `starter` ends before."""
        ended = os.pidfd_open(starter)
        try:
            poll = select.poll()
            poll.register(ended, select.POLLIN)
            poll.register(self._fd, select.POLLIN)
            while "child-pid" not in self._reports:
                # The pipe has no end yet: the watcher of bwrap's shell has it open too.
                ready = dict(poll.poll())
                if self._fd not in ready or not self._read():
                    return None
        finally:
            os.close(ended)
        return self._reports["child-pid"]

    def final(self, ended: int, capture: Capture) -> int | None:
        """The command's exit status, None if we killed it, after the last process inside is gone.

        `ended` is how what confines it ended.  Of bwrap the child is the first process of the pid namespace: when it is
        reaped, the kernel has ended all others.  "exit-code" is only written if the command began.
        """
        # The write end is ours no more, what we started is dead and its child has it closed: this reads to the end.
        while self._read():
            pass
        if (first := self._reports.get("child-pid")) is not None:
            _wait_for_exit(first)
        if "exit-code" in self._reports:
            return self._reports["exit-code"]
        if ended < 0 or ended == 128 + signal.SIGKILL:
            return None
        words = strip_escapes(capture.text()).decode(errors="replace").strip() or f"exit status {ended}"
        raise setup_failed(words[-500:])

    def close(self) -> None:
        os.close(self._fd)

    def _read(self) -> bool:
        """Read what is there; False at the end."""
        data = os.read(self._fd, 1 << 12)
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            with suppress(ValueError):
                self._reports.update(json.loads(line))
        return bool(data)


def _wait_for_exit(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll(10_000)
    finally:
        os.close(fd)


def memory_file(content: bytes) -> int:
    """A descriptor with `content` to be read."""
    fd = os.memfd_create("tinsmith", os.MFD_CLOEXEC)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return moved_up(fd)


def moved_up(fd: int) -> int:
    """The same file under a number that a shell does not use for itself."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(fd)
    return moved


def setup_failed(words: str) -> MachineError:
    """`sandbox_failed`, for a sandbox that could not be set up for one command."""
    return MachineError(
        "sandbox_failed",
        f"the sandbox could not be set up: {words}",
        "`tinsmith doctor` shows what works here.",
    )
