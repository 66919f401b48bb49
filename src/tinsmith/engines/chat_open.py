"""Finding out what a chat endpoint serves: which model, and how long its window is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from tinsmith.engines.chat import OpenAIChatEngine, Patience
from tinsmith.engines.chat_errors import refused
from tinsmith.engines.chat_http import ChatHTTP, Refusal, Unreachable
from tinsmith.engines.served_window import served_window
from tinsmith.engines.server_address import server_address
from tinsmith.errors import EngineError, InputError


def open_chat_engine(
    url: str,
    *,
    served: str | None = None,
    key: str = "",
    context: int | None = None,
    patience: Patience | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> OpenAIChatEngine:
    """The OpenAI-compatible endpoint at `url`, asked for the model `served` (None: the first that it lists).

    `context` bounds the window, and is it where the server tells none. Raises InputError `bad_base_url`,
    `model_unknown`, `key_refused`; EngineError `engine_unreachable`, `engine_refused`, `window_unknown`.
    """
    server_address(url)  # refuses what is none
    base = url if urlsplit(url).path.strip("/") else url.rstrip("/") + "/v1"
    http = ChatHTTP(base, key)
    try:
        listed = _listed(http, base)
        model = _chosen(base, listed, served)
    finally:
        http.close()
    try:
        window = served_window(base, key, model).tokens
    except EngineError as error:
        if error.code != "window_unknown" or context is None:
            raise
        window = context
    return OpenAIChatEngine(base, model, min(window, context or window), key=key, patience=patience, progress=progress)


def _listed(http: ChatHTTP, base: str) -> list[Mapping[str, Any]]:
    """The rows of `/models`; none where the server does not list them."""
    try:
        answer = http.get(f"{base}/models")
    except Unreachable as error:
        words = f"{base} cannot be reached: {error}"
        raise EngineError("engine_unreachable", words, "Start the server, or see whether the URL is right.") from error
    except Refusal as refusal:
        if refusal.status in (404, 405, 501):
            return []
        meaning = refused(refusal.status, "", refusal.body, base, "", ())
        if isinstance(meaning, InputError | EngineError):
            raise meaning from refusal
        raise EngineError("engine_refused", str(meaning), "See what the server logs about it.") from refusal
    rows = answer.get("data") if isinstance(answer, dict) else None
    return [row for row in rows if isinstance(row, dict) and row.get("id")] if isinstance(rows, list) else []


def _chosen(base: str, listed: Sequence[Mapping[str, Any]], served: str | None) -> str:
    names = [str(row["id"]) for row in listed]
    if served is None and not names:
        words = f"{base} does not list what it serves"
        raise InputError("model_unknown", words, "Name the model behind #: URL#MODEL. The URL ends in /v1 as a rule.")
    if served is not None and names and served not in names:
        some = ", ".join(names[:10]) + (", …" if len(names) > 10 else "")
        raise InputError("model_unknown", f"{base} does not serve {served!r}", f"It serves: {some}.")
    return served or names[0]
