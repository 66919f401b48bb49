"""Ctrl-C during a long command: asks once, then ends it cleanly; what ends it from outside asks nothing.

The question is asked beside the work, which goes on until it is answered: a person who thinks does not make a test
time out.  Lines of progress wait until then.
"""

import contextlib
import os
import signal
import threading
from types import FrameType
from typing import Any

import click

QUESTION = "Stop this run? It can be resumed. [Y/n] "
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruptible:
    """While entered, SIGINT, SIGTERM and SIGHUP end the work of the main thread with one KeyboardInterrupt.

    On a terminal SIGINT asks first; a second SIGINT, Enter or `y` is a yes, `n` a no.  Signals that were ignored
    before (`nohup`, a background job) stay ignored.  While the work ends further signals are ignored.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._lock = threading.RLock()
        self._held: list[str] | None = None
        """The lines that wait for the answer; None where nothing was asked."""
        self._stopping = False

    def __enter__(self) -> "Interruptible":
        for number in _SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *error: object) -> None:
        self._release()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def say(self, line: str) -> None:
        """One line of progress, to stderr; held back while a question is open.

        It may quote a repository, so what a terminal would obey rather than show is replaced.
        """
        with self._lock:
            if self._held is not None:
                self._held.append(line)
                return
        with contextlib.suppress(OSError):  # the terminal may be gone
            click.echo("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line), err=True)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            return
        asks = number == signal.SIGINT and self._held is None and os.isatty(0) and os.isatty(2)
        if not asks:
            self._stopping = True
            self._release()
            raise KeyboardInterrupt
        self._held = []
        threading.Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        # They are the main thread's: it must wake up from whatever it waits for.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            os.write(2, b"\n" + QUESTION.encode())
            # Not through sys.stdin, whose lock a thread that never returns would keep.
            answer = os.read(0, 1024)
        except OSError:
            answer = b""
        if answer.strip().lower() in (b"n", b"no"):
            self._release()
        elif self._held is not None:
            # The handler takes it for the second Ctrl-C.
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGINT)

    def _release(self) -> None:
        with self._lock:
            held, self._held = self._held or [], None
        for line in held:
            self.say(line)
