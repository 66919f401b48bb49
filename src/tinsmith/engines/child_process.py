"""The supervised child that holds llama.cpp: start, find out why not, end.

A child is a must: a bad model file can crash the process that loads it, and a long request can only be
stopped by ending the process that computes it. It ends with its parent: its stdin closes with us however we
die.
"""

import atexit
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from tinsmith.engines.memory_pressure import memory_kills, why_killed
from tinsmith.engines.threads import usable_cores
from tinsmith.errors import EngineError, MachineError, TinsmithError
from tinsmith.models import gguf_header

BATCH = 256
"""Tokens read at once: also how many are read before a cancelled prompt is noticed."""

_SMALL_MODEL = 64 << 20
"""Bytes below which threads wait longer for each other than a token takes, above all on a busy machine."""

_HOST_CACHE_MIB = 1024  # other conversations' KV caches, swapped in and out of the one slot


class KilledError(MachineError):
    """A child that was killed (SIGKILL) while it loaded the model, as the kernel does where memory is short."""


class ChildProcess:
    """One run of `llama_child.py`, ready to serve on `port` with `key`.

    Raises InputError `model_unreadable`, MachineError `memory` (KilledError where it was killed) or
    `engine_missing`, EngineError `engine_died`.
    """

    def __init__(self, model: Path, context: int, progress: Callable[[str], None] | None = None) -> None:
        self._model = model
        self._kills_before = memory_kills()
        self.key = secrets.token_urlsafe(24)
        if progress:
            progress(f"loading {model.name}")
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name("llama_child.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            process_group=0,  # Ctrl-C in the terminal is ours to handle
        )
        atexit.register(self.kill)
        try:
            self.port = self._start(context)
            if progress:
                progress(f"{model.name} is loaded")
        except BaseException:  # an interrupt too
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child runs."""
        return self._process.poll() is None

    def ended_within(self, seconds: float) -> bool:
        """Waits at most that long for the child to end by itself."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Ends the child: SIGTERM, then SIGKILL; nothing it holds needs saving. May be called twice."""
        atexit.unregister(self.kill)
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._stderr.close()

    def died(self) -> TinsmithError:
        """Why the child is gone, from its exit status and the last it wrote to stderr."""
        status = self._process.wait()
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - 20_000))
        stderr = self._stderr.read().decode(errors="replace")
        if status == -signal.SIGKILL:
            return KilledError("memory", f"the engine was {why_killed(self._kills_before)}", _LESS_MEMORY)
        return _explain(self._model, status, stderr)

    def _start(self, context: int) -> int:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        cores = usable_cores()
        orders = {
            "model": str(self._model),
            "context": context,
            "threads": cores,
            "decode_threads": 1 if self._model.stat().st_size < _SMALL_MODEL else cores,
            "key": self.key,
            "batch": BATCH,
            "cache_mib": _HOST_CACHE_MIB,
            # The kernel's parent-death signal fires when the *thread* that started the child ends.
            "parent_death": threading.current_thread() is threading.main_thread(),
        }
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(orders).encode() + b"\n")
            stdin.flush()
        ready = stdout.readline()
        if not ready:
            raise self.died()
        return int(json.loads(ready)["port"])


_UNREADABLE = (
    "failed to open GGUF file",
    "failed to read magic",
    "invalid magic",
    "failed to read key-value pairs",
    "data is not within the file bounds",
    "unknown model architecture",
    "error loading model",
)
_LESS_MEMORY = "Close other programs, use a smaller model, or ask for a smaller context."
_MEMORY = ("failed to allocate", "Cannot allocate memory", "std::bad_alloc", "MemoryError")


def _explain(model: Path, status: int, stderr: str) -> TinsmithError:
    """From what llama.cpp writes when it fails. Memory first: it is also an "error loading model"."""
    errors = [line.split(" E ", 1)[1].strip() for line in stderr.splitlines() if " E " in line]
    last = errors[0] if errors else f"exit status {status}"
    if "xllamacpp cannot be imported" in stderr:
        return MachineError("engine_missing", last, "Reinstall tinsmith: it needs the package xllamacpp.")
    if any(text in stderr for text in _MEMORY):
        return MachineError("memory", f"the engine ran out of memory ({last})", _LESS_MEMORY)
    if any(text in stderr for text in _UNREADABLE):
        return gguf_header.unreadable(model, last)
    return EngineError(
        "engine_died",
        f"the engine ended unexpectedly ({last})",
        "Run the command again with --resume; if it happens again, check the model file.",
    )
