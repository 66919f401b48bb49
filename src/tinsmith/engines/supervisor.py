"""Keeps a child that serves: where it dies another is started and the request is asked again.

A request holds everything that its answer depends on: the prompt is the complete list of ids, the seed is
given. So it is repeated exactly, and the cache is warm again by the repetition itself. The answer is that of an
engine that had nothing cached: llama.cpp rounds otherwise where it reads a prompt in one piece than where it
goes on with a cache, so a choice between nearly equal ids can fall otherwise than it would have.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinsmith.engines.child_process import EMBEDDED, ChildProcess, KilledError, Start
from tinsmith.engines.llama_http import LlamaHTTP
from tinsmith.engines.server_address import ServerAddress
from tinsmith.engines.server_http import ConnectionLostError
from tinsmith.errors import EngineError, TinsmithError
from tinsmith.models import gguf_header

MAX_DEATHS = 3
"""Unexpected ends of the child with no answer in between; the last of them is an error."""

_DYING = 1.0
"""Seconds that a child whose connection closed is given to be seen dead."""

Answer = dict[str, Any]


class Supervisor:
    """Asks one child after another. Starts the first at once.

    `start` says which program serves. `on_restart` is told why, each time that a lost child has been replaced. A
    child that is silent is never given up while it lives: it may be computing. A connection that closes while the
    child lives is tried once more, then the child is replaced. Raises what `ChildProcess` does; so may every `call`.
    """

    def __init__(
        self,
        model: Path,
        context: int,
        progress: Callable[[str], None] | None = None,
        on_restart: Callable[[str], None] | None = None,
        start: Start = EMBEDDED,
    ) -> None:
        self._start = start
        self._model = model
        self._context = context
        self._progress = progress
        self._on_restart = on_restart
        self._identity = _identity(model)
        self._child: ChildProcess | None = None
        self._deaths = 0
        self._reasons: list[str] = []
        self._ready()

    @property
    def pid(self) -> int | None:
        """The child's process id, None when it has been ended and not yet started again."""
        return self._child.pid if self._child else None

    def call(self, ask: Callable[[LlamaHTTP], Answer]) -> Answer:
        """The answer of `ask`, which is asked again as often as needed and must mean the same each time."""
        retried: ChildProcess | None = None
        while True:
            child = self._ready()
            try:
                address = ServerAddress(False, "127.0.0.1", child.port)
                answer = ask(LlamaHTTP(address, child.key, progress=self._progress))
            except ConnectionLostError as error:
                if child.ended_within(_DYING):
                    self._lost(child.died().message, error)
                elif retried is child:
                    self._lost(f"it gave no answer ({error})", error)
                else:
                    retried = child
            else:
                self._deaths = 0
                return answer

    def end(self) -> None:
        """Ends the child; the next call starts another, which counts as no death."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()

    def _ready(self) -> ChildProcess:
        """The child, started where there is none."""
        while self._child is None:
            if _identity(self._model) != self._identity:
                raise gguf_header.unreadable(self._model, "it is not the file that was loaded before")
            try:
                self._child = ChildProcess(self._model, self._context, self._progress, self._start)
            except KilledError as error:
                self._lost(error.message, error)
        reasons, self._reasons = self._reasons, []
        if self._on_restart is not None:
            for reason in reasons:
                self._on_restart(reason)
        return self._child

    def _lost(self, reason: str, error: Exception) -> None:
        """Counts a death. Raises what ended it where there were too many."""
        self.end()
        self._deaths += 1
        self._reasons.append(reason)
        if self._deaths < MAX_DEATHS:
            return
        self._reasons.clear()
        if isinstance(error, TinsmithError):
            raise error
        raise EngineError(
            "engine_died",
            f"the engine was lost {self._deaths} times in a row: {reason}",
            "Run the command again; where memory is short, use a smaller context or model.",
        ) from error


def _identity(model: Path) -> tuple[int, ...] | None:
    """What changes when another file takes the place of `model`; None where there is none."""
    try:
        found = model.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
