"""Attending a sandboxed command: read what it prints, look at what it uses, end it where it is over a limit."""

import os
import select
import subprocess
import time
from collections.abc import Callable

from tinsmith.workspace.limits import Limits
from tinsmith.workspace.resource_watch import KillReason, ResourceWatch
from tinsmith.workspace.terminal_text import Capture


def attend(
    process: subprocess.Popen[bytes],
    kill: Callable[[], object],
    limits: Limits,
    deadline: float,
    watch: ResourceWatch,
) -> tuple[Capture, KillReason | None]:
    """Until the command ends by itself or `kill` was called, and why it was.

    `deadline` is a time of `time.monotonic`.  What is below `process` is looked at, and once more after its end.
    """
    assert process.stdout is not None
    out = process.stdout.fileno()
    os.set_blocking(out, False)
    capture = Capture(limits.output_kept)
    ended = os.pidfd_open(process.pid)
    poll = select.poll()
    poll.register(out, select.POLLIN)
    poll.register(ended, select.POLLIN)
    next_look = time.monotonic() + watch.interval
    try:
        while True:
            now = time.monotonic()
            reason: KillReason | None = None
            if now >= deadline:
                reason = "timeout"
            elif capture.total > limits.output_runaway:
                reason = "output"
            elif now >= next_look:
                reason = watch.excess(process.pid)
                next_look = time.monotonic() + watch.interval
            if reason is not None:
                kill()
                return capture, reason
            ready = dict(poll.poll(max(min(deadline, next_look) - time.monotonic(), 0) * 1000 + 1))
            if out in ready and not drain(out, capture, rounds=16):
                poll.unregister(out)
            elif ended in ready:
                drain(out, capture, rounds=1 << 12)
                return capture, watch.excess(process.pid)
    finally:
        os.close(ended)


def drain(fd: int, capture: Capture, rounds: int) -> bool:
    """Read what is there, at most `rounds` reads; False at the end of the stream."""
    for _ in range(rounds):
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return True
        if not data:
            return False
        capture.add(data)
    return True
