"""Asking a server that is not ours to start: it may still load, go away and come back."""

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from tinsmith.engines.server_http import ConnectionLostError, NotReachedError, NotReadyError, ServerHTTP
from tinsmith.errors import EngineError

PATIENCE = 30.0
"""Seconds of silence after which a server elsewhere is asked whether it is still there."""

RETURN_SECONDS = 60.0
"""How long a server that cannot be reached is waited for, once it has answered."""

MAX_LOSSES = 3
"""Requests in a row that are lost on the way; the last of them is an error."""

_WAIT = 0.5  # seconds between two tries
_SAY_AGAIN = 5.0  # seconds between two words about waiting

Answer = dict[str, Any]
H = TypeVar("H", bound=ServerHTTP)


class AttachedServer(Generic[H]):
    """Asks the server of `http`. It stands in the place of `Supervisor`, with no process to end.

    A request that was lost on the way is asked again whole: nothing of its answer was used, and it holds all that
    its answer depends on. `identity` asks which model is served, so that no other one answers after a loss;
    `on_restart` is told of each loss. `call` raises EngineError `server_lost`, and what its `ask` raises.
    """

    def __init__(
        self,
        http: H,
        identity: Callable[[H], str],
        progress: Callable[[str], None] | None = None,
        on_restart: Callable[[str], None] | None = None,
        *,
        return_seconds: float = RETURN_SECONDS,
    ) -> None:
        self._http = http
        self._identity = identity
        self._progress = progress
        self._on_restart = on_restart
        self._return_seconds = return_seconds
        self._said = -_SAY_AGAIN
        self.pid = 0
        """No process: it changes with each loss, after which nothing is known of what the server has cached."""
        self._model: str | None = None
        self._model = self.call(lambda http: {"model": identity(http)})["model"]

    def call(self, ask: Callable[[H], Answer]) -> Answer:
        """The answer of `ask`, which is asked again as often as needed and must mean the same each time."""
        losses = 0
        reason = ""
        away_since: float | None = None
        while True:
            try:
                answer = ask(self._http)
                if reason and self._model is not None and self._identity(self._http) != self._model:
                    raise self._lost("it now serves another model", "Start it with the same model, then use --resume.")
            except NotReadyError:
                self._wait("is still loading its model")
            except NotReachedError as error:
                away_since = away_since or time.monotonic()
                if self._model is None or time.monotonic() - away_since > self._return_seconds:
                    raise self._lost(f"it cannot be reached ({error})", "Start it, then try again.") from error
                reason = reason or f"it cannot be reached: {error}"
                self._wait("cannot be reached")
            except ConnectionLostError as error:
                losses += 1
                reason = str(error)
                away_since = None
                if losses >= MAX_LOSSES:
                    remedy = "See the server's own log, then use --resume."
                    raise self._lost(f"it was lost {losses} times in a row ({error})", remedy) from error
            else:
                self.pid += bool(reason)
                if reason and self._on_restart:
                    self._on_restart(f"the server at {self._http.address} was lost ({reason})")
                return answer

    def end(self) -> None:
        """Nothing: a closed connection is all that tells a server elsewhere to stop."""

    def _wait(self, what: str) -> None:
        if self._progress and time.monotonic() - self._said >= _SAY_AGAIN:
            self._said = time.monotonic()
            self._progress(f"the server at {self._http.address} {what}; waiting for it")
        time.sleep(_WAIT)

    def _lost(self, reason: str, remedy: str) -> EngineError:
        return EngineError("server_lost", f"the server at {self._http.address}: {reason}", remedy)
