"""Ctrl-C and its kin, on a real terminal and without one, against a real process."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tinsmith.cli.interrupt import QUESTION

# The work waits in a system call, as a run waits for its tests, and says a line now and then.
PROGRAM = """
import select, sys, time
from tinsmith.cli.interrupt import Interruptible
started = time.monotonic()
try:
    with Interruptible() as terminal:
        print("ready", flush=True)
        lines = 0
        while time.monotonic() - started < 20:
            select.select([], [], [], 0.2)
            lines += 1
            terminal.say(f"line {lines}")
            if len(sys.argv) > 1 and lines == int(sys.argv[1]):
                break
        print("done", flush=True)
except KeyboardInterrupt:
    print("stopped", flush=True)
    sys.exit(130)
"""


class Terminal:
    """A process that has a terminal of its own; Ctrl-C is the character that is typed there."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", PROGRAM, *arguments])
        self.seen = ""

    def type(self, keys: bytes) -> None:
        os.write(self._fd, keys)

    def wait_for(self, text: str, seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            self._read(0.1)

    def read_for(self, seconds: float) -> str:
        before, deadline = len(self.seen), time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._read(0.05)
        return self.seen[before:]

    def end(self) -> int:
        deadline = time.monotonic() + 10
        while True:
            self._read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._read(0)
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < deadline, self.seen

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)

    def hang_up(self) -> None:
        os.close(self._fd)
        self._fd = os.open(os.devnull, os.O_RDONLY)

    def _read(self, seconds: float) -> None:
        if select.select([self._fd], [], [], seconds)[0]:
            with contextlib.suppress(OSError):  # EIO: the other side is closed
                self.seen += os.read(self._fd, 4096).decode().replace("\r\n", "\n")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    terminal.wait_for("ready")
    yield terminal
    terminal.close()


@pytest.mark.parametrize("keys", [b"\n", b"y\n", b"Yes\n", b"\x03", b"\x04", b"what?\n"])
def test_on_a_terminal_it_asks_once_and_stops(terminal: Terminal, keys: bytes) -> None:
    terminal.type(b"\x03")
    terminal.wait_for(QUESTION)
    terminal.type(keys)
    started = time.monotonic()
    assert terminal.end() == 130
    assert time.monotonic() - started < 2
    assert "stopped" in terminal.seen and "done" not in terminal.seen and terminal.seen.count(QUESTION) == 1


def test_no_goes_on_and_a_later_one_asks_again(terminal: Terminal) -> None:
    terminal.wait_for("line 2")
    terminal.type(b"\x03")
    terminal.wait_for(QUESTION)
    # The work goes on meanwhile, and its lines wait.
    assert "line" not in terminal.read_for(0.7)
    terminal.type(b"n\n")
    terminal.wait_for("line 6")
    said = [int(line.split()[1]) for line in terminal.seen.splitlines() if line.startswith("line ")]
    assert said == list(range(1, len(said) + 1))
    terminal.type(b"\x03")
    deadline = time.monotonic() + 10
    while terminal.seen.count(QUESTION) < 2:
        assert time.monotonic() < deadline
        terminal.read_for(0.1)
    terminal.type(b"\x03")
    assert terminal.end() == 130


def test_work_that_ends_under_the_question_is_done() -> None:
    terminal = Terminal("4")
    try:
        terminal.wait_for("line 1")
        terminal.type(b"\x03")
        assert terminal.end() == 0
        assert "done" in terminal.seen and "line 4" in terminal.seen
    finally:
        terminal.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_ask_nothing_on_a_terminal(terminal: Terminal, number: int) -> None:
    os.kill(terminal.pid, number)
    assert terminal.end() == 130
    assert QUESTION not in terminal.seen


def test_a_closed_terminal_stops_it(terminal: Terminal) -> None:
    terminal.hang_up()
    deadline = time.monotonic() + 10
    while (found := os.waitpid(terminal.pid, os.WNOHANG))[0] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    terminal.pid = 0
    # It cannot say anything any more, which is no reason to hang or to crash.
    assert os.waitstatus_to_exitcode(found[1]) in (1, 120, 130)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_without_a_terminal_it_stops_at_once(number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, errors = process.communicate(timeout=10)
    assert (process.returncode, out) == (130, "stopped\n") and QUESTION not in errors


def test_what_was_ignored_stays_ignored() -> None:
    """As under nohup, or for a job in the background of a script."""
    command = f"trap '' HUP INT; exec {sys.executable} -c '{PROGRAM}' 5"
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for number in (signal.SIGHUP, signal.SIGINT):
        process.send_signal(number)
    out, _ = process.communicate(timeout=10)
    assert (process.returncode, out) == (0, "done\n")


def test_lines_cannot_drive_the_terminal() -> None:
    program = (
        "from tinsmith.cli.interrupt import Interruptible\n"
        "Interruptible().say('a\\x1b]0;title\\x07b\\ud800\\u202ec\\nd é 日')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.stderr.decode() == "a�]0;title�b��c�d é 日\n"


def test_a_question_does_not_reach_the_children() -> None:
    """Ctrl-C goes to everything in the terminal's foreground; a sandboxed test must not fail by it."""
    program = """
import sys
from tinsmith.cli.interrupt import Interruptible
from tinsmith.workspace import Sandbox
sandbox = Sandbox.find()
with Interruptible() as terminal:
    print("ready", flush=True)
    done = sandbox.run(["/bin/sh", "-c", "sleep 2; echo survived"], timeout=20)
    print(done.returncode, done.output.decode().strip(), flush=True)
"""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", program])
    seen = ""
    try:
        while "ready" not in seen:
            seen += os.read(fd, 4096).decode()
        while not Path(f"/proc/{pid}/task/{pid}/children").read_text():
            time.sleep(0.01)
        time.sleep(0.5)
        os.write(fd, b"\x03")
        while QUESTION not in seen:
            seen += os.read(fd, 4096).decode()
        os.write(fd, b"n\n")
        while "survived" not in seen:
            seen += os.read(fd, 4096).decode()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert "0 survived" in seen
    finally:
        os.close(fd)
