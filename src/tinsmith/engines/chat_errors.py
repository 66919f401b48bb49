"""What a chat endpoint's refusal means: too long a prompt, a wrong key or name, a parameter it does not know, or wait.

The forms are those of OpenAI, llama.cpp's server, vLLM, SGLang, Ollama, LM Studio, DashScope and Mistral, which agree
in little: an `error` object or `detail` or a bare text, codes as words or numbers, figures in the middle of a sentence.
"""

import json
import re
from collections.abc import Collection
from typing import Any

from tinsmith.errors import EngineError, InputError, TinsmithError

_N = r"(?P<{}>[\d,]{{2,}})"
_WINDOW = _N.format("window")
_PROMPT = _N.format("prompt")
_TOO_LONG = [
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        # OpenAI and vLLM, old and new
        rf"maximum context length is {_WINDOW} tokens.*?\({_PROMPT} in the messages",
        rf"maximum context length is {_WINDOW} tokens.*?(?:resulted in|request has|requested) {_PROMPT}",
        rf"maximum context length is {_WINDOW}",
        rf"\(length {_PROMPT}\) is longer than the maximum model length of {_WINDOW}",
        # SGLang
        rf"input(?: length)? \({_PROMPT} tokens\) (?:exceeds|is longer than).*?\({_WINDOW} tokens\)",
        # Mistral
        rf"prompt contains {_PROMPT} tokens.*?{_WINDOW} maximum context length",
        # Anthropic-like gateways
        rf"prompt is too long: {_PROMPT} tokens > {_WINDOW}",
        # LM Studio
        rf"keep the first {_PROMPT} tokens.*?context length of only {_WINDOW}",
        # DashScope
        rf"range of input length should be \[\d+, {_WINDOW}\]",
        # llama.cpp, in words
        rf"request \({_PROMPT} tokens\) exceeds the available context size \({_WINDOW} tokens\)",
        r"exceeds? the available context size",
        # Ollama
        r"exceeded max context length|input length exceeds the context length|prompt too long",
        r"context[ _]length[ _]exceeded|greater than the context length",
    )
]
_WAIT = {408, 409, 425, 429, 500, 502, 503, 504, 529}
# What the model wrote was no text to llama.cpp's server, which says that the request was bad.
_MISWRITTEN = ("json.exception.type_error", "invalid UTF-8")


class ContextExceededError(EngineError):
    """A prompt that does not fit. `prompt_tokens` and `window` are the server's figures, None where it tells none."""

    def __init__(self, prompt_tokens: int | None, window: int | None) -> None:
        super().__init__(
            "context_exceeded",
            f"a prompt of {prompt_tokens or 'unknown length'} tokens does not fit into the served window"
            + (f" of {window}" if window else ""),
            "Serve the model with a larger context, or give a smaller task.",
        )
        self.args = (prompt_tokens, window)  # what a copy is made from
        self.prompt_tokens, self.window = prompt_tokens, window


class Busy(Exception):
    """The server cannot answer now; `wait` are the seconds that it asks for, None where it does not."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class UnknownParameter(Exception):
    """The server does not take a parameter that it can be asked without."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class NoToolParser(Exception):
    """vLLM started without a tool parser: it shows the tools to the model and leaves its calls in the text."""


def refused(
    status: int, retry_after: str, body: bytes, url: str, model: str, optional: Collection[str]
) -> TinsmithError | Busy | UnknownParameter | NoToolParser:
    """What a refusal of a chat completion means. `optional` are the parameters that can be left out."""
    error = _error_of(body)
    message = _message_of(error, body)
    if status in (400, 413, 422, 500) and (too_long := _context_exceeded(error, message)):
        return too_long
    if status in (401, 403):
        remedy = "Set TINSMITH_API_KEY to a key of that server; a server on your own machine mostly needs none."
        return InputError("key_refused", f"{url} refuses the key: {message}", remedy)
    if status == 404:
        remedy = "Name the base URL with its /v1, and behind # one of the models that it serves: URL#MODEL."
        return InputError("model_unknown", f"{url} does not serve {model!r}: {message}", remedy)
    if status in (400, 422):
        if "tool choice requires" in message:
            return NoToolParser(message)
        if unknown := next((name for name in optional if re.search(rf"\b{name}\b", message)), None):
            return UnknownParameter(unknown)
    if status in _WAIT or any(words in message for words in _MISWRITTEN):
        return Busy(f"the server answers {status}: {message}", _seconds(retry_after))
    if 300 <= status < 400:
        return InputError("moved", f"{url} redirects elsewhere ({status})", "Name the address it redirects to.")
    remedy = "See what the server logs about it; then go on with --resume."
    return EngineError("engine_refused", f"{url} refuses a request ({status}): {message}", remedy)


def _context_exceeded(error: dict[str, Any], message: str) -> ContextExceededError | None:
    if error.get("type") == "exceed_context_size_error":  # llama.cpp
        return ContextExceededError(_number(error.get("n_prompt_tokens")), _number(error.get("n_ctx")))
    found = next((match for pattern in _TOO_LONG if (match := pattern.search(message))), None)
    if found is None:
        return ContextExceededError(None, None) if error.get("code") == "context_length_exceeded" else None
    given = found.groupdict()
    return ContextExceededError(_number(given.get("prompt")), _number(given.get("window")))


def _error_of(body: bytes) -> dict[str, Any]:
    """The object that tells the error; empty where there is none."""
    try:
        told = json.loads(body)
    except ValueError:
        return {}
    if isinstance(told, list) and told:  # some gateways put it in a list
        told = told[0]
    if not isinstance(told, dict):
        return {}
    inner = told.get("error")
    return inner if isinstance(inner, dict) else told


def _message_of(error: dict[str, Any], body: bytes) -> str:
    for key in ("message", "error", "detail", "msg"):
        if told := error.get(key):
            return (told if isinstance(told, str) else json.dumps(told))[:500]
    return body.decode(errors="replace").strip()[:200] or "no reason given"


def _number(value: Any) -> int | None:
    try:
        return int(str(value).replace(",", ""))
    except ValueError:
        return None


def _seconds(retry_after: str) -> float | None:
    """`Retry-After` in seconds; a date in it is not worth reading."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        return None
