"""How many tokens a running server's window really has, as each kind of server says it.

llama-server: `/props` (what one slot has), also for one model of a router; and `meta.n_ctx` in `/v1/models`. vLLM:
`max_model_len` there. LM Studio: `loaded_context_length` in `/api/v0/models`. Ollama: `context_length` in
`/api/ps`, of a model that is loaded. What a model was trained for is never taken for it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

from tinsmith.engines.server_address import server_address
from tinsmith.engines.server_http import ConnectionLostError, NotReachedError, NotReadyError, ServerHTTP
from tinsmith.errors import EngineError


class Window(NamedTuple):
    """`tokens` that fit, and the endpoint and field that said so."""

    tokens: int
    source: str


def served_window(base_url: str, key: str = "", model: str | None = None) -> Window:
    """The window of `model` (None: the only or first one) at `base_url`.

    Raises InputError `bad_base_url` or `key_refused`, EngineError `server_lost` or `window_unknown`.
    """
    http = ServerHTTP(server_address(base_url), key, patience=30)
    query = f"?model={quote(model, safe='')}" if model else ""
    rungs: list[tuple[str, Callable[[Any], tuple[object, str]]]] = [
        (f"/props{query}", lambda found: (found["default_generation_settings"]["n_ctx"], "n_ctx")),
        ("/v1/models", lambda found: _listed(found["data"], model)),
        ("/api/v0/models", lambda found: _loaded(found["data"], model)),
        ("/api/ps", lambda found: (_of(found["models"], model, "name")["context_length"], "context_length")),
    ]
    for path, read in rungs:
        try:
            tokens, name = read(http.get(path))
        except NotReachedError as error:
            raise EngineError(
                "server_lost", f"{http.address} cannot be reached: {error}", "Start the server."
            ) from error
        except (EngineError, ConnectionLostError, NotReadyError, KeyError, TypeError, IndexError, StopIteration):
            continue  # another kind of server, or one that does not say
        if isinstance(tokens, int) and tokens > 0:
            return Window(tokens, f"{path} {name}")
    raise EngineError(
        "window_unknown",
        f"{http.address} does not say how long its context window is" + (f" for {model}" if model else ""),
        "Load the model there first (Ollama: `ollama run MODEL`), or give --context with the window it is run with.",
    )


def _of(entries: list[dict[str, Any]], model: str | None, key: str) -> dict[str, Any]:
    """The entry of `model`; Ollama calls a model without a tag `NAME:latest`. Raises StopIteration."""
    names = (None, model, f"{model}:latest")
    return next(entry for entry in entries if model is None or entry.get(key) in names)


def _listed(entries: list[dict[str, Any]], model: str | None) -> tuple[object, str]:
    entry = _of(entries, model, "id")
    meta = entry.get("meta") or {}
    return (meta["n_ctx"], "meta.n_ctx") if "n_ctx" in meta else (entry["max_model_len"], "max_model_len")


def _loaded(entries: list[dict[str, Any]], model: str | None) -> tuple[object, str]:
    loaded = [entry for entry in entries if "loaded_context_length" in entry]
    return _of(loaded, model, "id")["loaded_context_length"], "loaded_context_length"
