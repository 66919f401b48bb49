"""vLLM's HTTP interface, as much of it as token ids need.

Wire format: vLLM `vllm/entrypoints/openai/completion/protocol.py`, `vllm/entrypoints/openai/models/serving.py` and
`vllm/entrypoints/serve/tokenize/protocol.py`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, NamedTuple

from tinsmith.engines.protocol import Sampling, Token
from tinsmith.engines.server_http import ConnectionLostError, ServerHTTP, error_of
from tinsmith.errors import EngineError

_REPORT = "This is a fault of Tinsmith or of the server; please report it."


class ServedModel(NamedTuple):
    """What `/v1/models` says of a model; `root` is its directory or its name on a hub."""

    id: str
    root: str
    window: int


@dataclass(frozen=True)
class Completion:
    """`reason` is `stop` or `length`; `reused` is 0 where the server does not tell; the seconds are of the clock, to
    the first token and from there."""

    tokens: tuple[Token, ...]
    reason: str
    reused: int
    prefill_seconds: float
    decode_seconds: float


class VLLMHTTP(ServerHTTP):
    """`ServerHTTP` with vLLM's refusals."""

    def refusal(self, status: int, body: bytes) -> EngineError:
        """See `ServerHTTP`. EngineError `context_exceeded`, `grammar_rejected` or `engine_refused`."""
        message = str(error_of(body).get("message", ""))
        if "context length" in message or "max_model_len" in message:
            return EngineError("context_exceeded", message, "Use a larger context, or a smaller task.")
        if "grammar" in message.lower():
            return EngineError("grammar_rejected", f"the server refused a grammar: {message}", _REPORT)
        remedy = "See the server's own log for the cause."
        if "logprobs" in message:
            remedy = "Start vLLM with a larger --max-logprobs."
        return EngineError("engine_refused", f"the server refused a request ({status}): {message}", remedy)

    def model(self, name: str | None) -> ServedModel:
        """The model called `name`, the first that is listed for None. Raises EngineError `not_vllm`."""
        listed: list[dict[str, Any]] = self.get("/v1/models").get("data", [])
        found = next((entry for entry in listed if name in (None, entry.get("id"))), None)
        if found is None or not found.get("max_model_len"):
            reason = "it lists no such model" if found is None else "it does not say how long its window is"
            raise EngineError(
                "not_vllm", f"{self.address} cannot be used as a vLLM: {reason}", "Name a model it serves."
            )
        return ServedModel(str(found["id"]), str(found.get("root") or ""), int(found["max_model_len"]))

    def complete(self, body: dict[str, Any], cancel: Event | None = None) -> Completion:
        """What comes of `body` (see `completion_body`), streamed, as closing a stream is what stops vLLM."""
        stream = _Stream()
        streamed = {"stream": True, "stream_options": {"include_usage": True}}
        self.events("/v1/completions", body | streamed, stream.take, cancel)
        return stream.completion()

    def tokenize(self, model: str, text: str) -> list[int]:
        """The ids of `text`; control tokens in it are parsed, no BOS is added."""
        return self.post("/tokenize", {"model": model, "prompt": text, "add_special_tokens": False})["tokens"]

    def detokenize(self, model: str, token: int) -> str:
        """The text of one id, U+FFFD for half a character."""
        return self.post("/detokenize", {"model": model, "tokens": [token]})["prompt"]


def completion_body(model: str, ids: Sequence[int], limit: int, sampling: Sampling) -> dict[str, Any]:
    """A request for `limit` ids after `ids`. Everything that the model's own generation config could set is said."""
    return {
        "model": model,
        "prompt": list(ids),
        "max_tokens": limit,
        "temperature": max(0.0, sampling.temperature),
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        # The seed goes on with the position, else every request would draw the same numbers.
        "seed": (sampling.seed + len(ids)) % 2**31,
        "logprobs": 0,
        "return_token_ids": True,
        "return_tokens_as_token_ids": True,
        "skip_special_tokens": False,
    }


class _Stream:
    """Puts the events of one streamed completion together."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._first: float | None = None
        self._ids: list[int] = []
        self._logprobs: list[float | None] = []
        self._reason: str | None = None
        self._usage: dict[str, Any] = {}

    def take(self, event: dict[str, Any]) -> None:
        self._first = self._first or time.monotonic()
        self._usage = event.get("usage") or self._usage
        for choice in event.get("choices", []):
            if choice.get("token_ids") is None:
                raise EngineError(
                    "no_token_ids",
                    "the server does not tell the ids of its tokens",
                    "Use a vLLM that knows return_token_ids (0.11 or later), or use it as a chat server.",
                )
            ids = [int(token) for token in choice["token_ids"]]
            told = (choice.get("logprobs") or {}).get("token_logprobs") or []
            self._ids += ids
            self._logprobs += told if len(told) == len(ids) else [None] * len(ids)
            self._reason = choice.get("finish_reason") or self._reason

    def completion(self) -> Completion:
        if self._reason not in ("stop", "length"):
            raise ConnectionLostError(f"the stream ended with {self._reason or 'no reason'}")
        now = time.monotonic()
        first = self._first or now
        tokens = tuple(map(Token, self._ids, self._logprobs))
        details = self._usage.get("prompt_tokens_details") or {}
        reused = int(details.get("cached_tokens") or 0)
        return Completion(tokens, self._reason, reused, first - self._started, now - first)
