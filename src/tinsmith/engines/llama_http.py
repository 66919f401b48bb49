"""llama.cpp's HTTP interface, as much of it as token ids need. Wire format: llama.cpp
`tools/server/README.md`.
"""

import time
from collections.abc import Callable
from threading import Event
from typing import Any
from urllib.parse import quote

from tinsmith.engines.server_address import ServerAddress
from tinsmith.engines.server_http import ConnectionLostError, ServerHTTP, error_of
from tinsmith.errors import EngineError

_EVERY = 1.0  # seconds between two reports of progress


class LlamaHTTP(ServerHTTP):
    """Requests to a llama-server. `model` is the one that a router is asked for; a server of one model ignores it.

    `progress` is told how far a long prompt has been read, at most once a second. Raises what `ServerHTTP` does;
    a refusal is EngineError `context_exceeded`, `grammar_rejected` or `engine_refused`.
    """

    def __init__(
        self,
        address: ServerAddress,
        key: str,
        *,
        model: str | None = None,
        progress: Callable[[str], None] | None = None,
        patience: float | None = None,
    ) -> None:
        super().__init__(address, key, patience=patience)
        self._model = model
        self._progress = progress

    def get(self, path: str) -> Any:
        """The JSON answer to a GET."""
        return super().get(path if self._model is None else f"{path}?model={quote(self._model, safe='')}")

    def post(self, path: str, body: dict[str, Any], cancel: Event | None = None) -> Any:
        """The JSON answer to a POST. When cancelled a new llama-server stops within a second; older ones go on."""
        return super().post(path, self._named(body), cancel)

    def stream(self, path: str, body: dict[str, Any], cancel: Event | None = None) -> dict[str, Any]:
        """The last event of a streamed answer. When cancelled the server stops after the batch in hand."""
        last: dict[str, Any] = {}
        reported = time.monotonic()

        def each(event: dict[str, Any]) -> None:
            nonlocal last, reported
            last = event
            read = event.get("prompt_progress")
            if read and self._progress and time.monotonic() - reported >= _EVERY:
                reported = time.monotonic()
                self._progress(f"reading the prompt: {read['processed']:,} of {read['total']:,} tokens")

        # Pings, else a gone client is unnoticed until the prompt is read.
        streamed = {"stream": True, "sse_ping_interval": 1, "return_progress": True}
        self.events(path, self._named(body) | streamed, each, cancel)
        if not last.get("stop"):
            raise ConnectionLostError("the stream ended early")
        return last

    def refusal(self, status: int, body: bytes) -> EngineError:
        """See `ServerHTTP`."""
        error = error_of(body)
        message = str(error.get("message", ""))
        if error.get("type") == "exceed_context_size_error":
            return EngineError(
                "context_exceeded",
                f"a prompt of {error.get('n_prompt_tokens')} tokens does not fit into {error.get('n_ctx')}",
                "Use a larger context, or a smaller task.",
            )
        code = "grammar_rejected" if "grammar" in message else "engine_refused"
        return EngineError(
            code, f"the engine refused a request: {message}", "This is a fault of Tinsmith; please report it."
        )

    def _named(self, body: dict[str, Any]) -> dict[str, Any]:
        return body if self._model is None else body | {"model": self._model}
