"""The supervised child that serves a model: start, find out why not, end.

A child is a must: a bad model file can crash the process that loads it, and a long request can only be
stopped by ending the process that computes it. It ends with its parent: its stdin closes with us however we
die.

Which program serves is a `Start`. Its script obeys one contract, told in `llama_child.py`: a line of orders on
stdin; on stdout lines `{"loading": SECONDS}`, then `{"port": N}` once the model is loaded; reasons on stderr;
it ends when stdin closes.
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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tinsmith.engines.memory_pressure import memory_kills, why_killed
from tinsmith.errors import EngineError, InputError, MachineError, TinsmithError
from tinsmith.models import EngineOptions, gguf_header, usable_cores

BATCH = 256
"""Tokens read at once: also how many are read before a cancelled prompt is noticed."""

_SMALL_MODEL = 64 << 20
"""Bytes below which threads wait longer for each other than a token takes, above all on a busy machine."""

_HOST_CACHE_MIB = 1024  # other conversations' KV caches, swapped in and out of the one slot


class KilledError(MachineError):
    """A child that was killed (SIGKILL) while it loaded the model, as the kernel does where memory is short."""


@dataclass(frozen=True)
class Start:
    """A script of this room that serves, and its own orders, which go before those that every script gets."""

    script: str
    orders: Mapping[str, object] = field(default_factory=dict[str, object])


EMBEDDED = Start("llama_child.py")
"""llama.cpp out of the wheel."""


def embedded_start(options: EngineOptions | None) -> Start:
    """llama.cpp out of the wheel, which has no GPU, as a plan says."""
    if options is None:
        return EMBEDDED
    orders = {"cache_key": options.key, "cache_value": options.value}
    return Start(EMBEDDED.script, orders | planned_orders(options))


def planned_orders(options: EngineOptions) -> dict[str, object]:
    """What every script takes of a plan, beside the window."""
    return {"threads": options.threads, "batch": options.batch, "cache_mib": options.host_cache_mib}


class ChildProcess:
    """One run of the script of `start`, ready to serve on loopback `port` with `key`.

    Raises InputError `model_unreadable` or `engine_arguments`, MachineError `memory` (KilledError where it was
    killed) or `engine_missing`, EngineError `engine_died`.
    """

    def __init__(
        self, model: Path, context: int, progress: Callable[[str], None] | None = None, start: Start = EMBEDDED
    ) -> None:
        self._model = model
        self._orders = start.orders
        self._progress = progress
        self._kills_before = memory_kills()
        self.key = secrets.token_urlsafe(24)
        if progress:
            progress(f"loading {model.name}")
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).with_name(start.script))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            process_group=0,  # Ctrl-C in the terminal is ours to handle
        )
        atexit.register(self.kill)
        try:
            self.port = self._serve(context)
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

    def _serve(self, context: int) -> int:
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
        } | dict(self._orders)
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(orders).encode() + b"\n")
            stdin.flush()
        for line in stdout:
            said = json.loads(line)
            if "port" in said:
                return int(said["port"])
            if self._progress:
                self._progress(f"loading {self._model.name}: {said['loading']} s")
        raise self.died()


_UNREADABLE = (
    "failed to open GGUF file",
    "failed to read magic",
    "invalid magic",
    "failed to read key-value pairs",
    "data is not within the file bounds",
    "unknown model architecture",
    "error loading model",
)
_LESS_MEMORY = "Close other programs, use a smaller model or context, or offload fewer layers to the GPU."
_MEMORY = (
    "failed to allocate",
    "unable to allocate",
    "out of memory",
    "Cannot allocate memory",
    "std::bad_alloc",
    "MemoryError",
)
_ARGUMENTS = ("error: invalid argument", "error while handling argument", "error: unknown value")
_MISSING = ("xllamacpp cannot be imported", "cannot be executed", "error while loading shared libraries")


def _explain(model: Path, status: int, stderr: str) -> TinsmithError:
    """From what llama.cpp writes when it fails. Memory first: it is also an "error loading model"."""
    errors = [line.split(" E ", 1)[1].strip() for line in stderr.splitlines() if " E " in line]
    last = errors[0] if errors else f"exit status {status}"
    for text in (*_MISSING, *_ARGUMENTS):
        said = next((line.strip() for line in stderr.splitlines() if text in line), None)
        if said is None:
            continue
        said = said.removeprefix("E ")
        if text in _ARGUMENTS:
            return InputError("engine_arguments", f"llama-server: {said}", "Correct the arguments for llama-server.")
        remedy = "Reinstall tinsmith: it needs the package xllamacpp."
        if "xllamacpp" not in said:
            remedy = "Install llama-server again, or set TINSMITH_LLAMA_SERVER to another one, or to `none`."
        return MachineError("engine_missing", said, remedy)
    if any(text in stderr for text in _MEMORY):
        return MachineError("memory", f"the engine ran out of memory ({last})", _LESS_MEMORY)
    if any(text in stderr for text in _UNREADABLE):
        return gguf_header.unreadable(model, last)
    return EngineError(
        "engine_died",
        f"the engine ended unexpectedly ({last})",
        "Run the command again with --resume; if it happens again, check the model file.",
    )
