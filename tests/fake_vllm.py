"""A loopback server that speaks vLLM's completions, tokenize, detokenize and models endpoints over a toy model.

The model is a hash: the logits of the next id follow from the last eight ids. Its tokenizer is byte-level with a few
words and control tokens, in the form of a `tokenizer.json`; like a real one it parses control tokens in any text.
Wire format: vLLM `vllm/entrypoints/openai/completion/protocol.py` and `serving.py`,
`vllm/entrypoints/serve/tokenize/protocol.py`. What a request may not hold is a 400, as pydantic would have it.
"""

import hashlib
import json
import math
import random
import re
import socket
import threading
import time
from collections.abc import Sequence
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import numpy

from tinsmith.engines import JsonString, Until, compile_grammar
from tinsmith.models import byte_characters

CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
DELIMITERS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>"]
WORDS = ["return", "self", "def", "value", "import", "</", "parameter", ">\n", "\n</parameter>\nx", "é", "😀"]
SAMPLING = {"temperature", "top_k", "top_p", "min_p", "seed", "logit_bias", "allowed_token_ids", "structured_outputs"}
PENALTIES = {"repetition_penalty", "presence_penalty", "frequency_penalty"}
TOLD = {"logprobs", "prompt_logprobs", "return_token_ids", "return_tokens_as_token_ids", "skip_special_tokens"}
ENDS = {"max_tokens", "stop_token_ids", "stop", "ignore_eos"}
KNOWN = {"model", "prompt", "stream", "stream_options"} | SAMPLING | PENALTIES | TOLD | ENDS

_BYTES = byte_characters()
_TEXTS = [bytes([byte]) for byte in range(256)] + [word.encode() for word in WORDS]
PIECES = [*_TEXTS, *(text.encode() for text in CONTROLS + DELIMITERS)]
EOS = PIECES.index(b"<|im_end|>")
EOT = PIECES.index(b"<|endoftext|>")


def write_tokenizer(directory: Path) -> None:
    """`tokenizer.json` and the two files beside it, as a model's directory has them."""
    vocab = {"".join(_BYTES[byte] for byte in text): token for token, text in enumerate(_TEXTS)}
    first = len(_TEXTS)
    added = [
        {"id": first + i, "content": text, "special": text in CONTROLS} for i, text in enumerate(CONTROLS + DELIMITERS)
    ]
    whole = {
        "added_tokens": added,
        "pre_tokenizer": {"type": "ByteLevel"},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    }
    (directory / "tokenizer.json").write_text(json.dumps(whole))
    (directory / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "<|im_end|>"}}))
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": [EOS, EOT]}))


def encode(text: str) -> list[int]:
    """Longest match; control tokens and delimiters count wherever they stand."""
    data = text.encode()
    ids: list[int] = []
    order = sorted(range(256, len(PIECES)), key=lambda token: -len(PIECES[token]))
    at = 0
    while at < len(data):
        token = next((t for t in order if data.startswith(PIECES[t], at)), data[at])
        ids.append(token)
        at += len(PIECES[token])
    return ids


def logits(ids: Sequence[int]) -> list[float]:
    return list(_logits(tuple(ids[-8:])))


@cache
def _logits(tail: tuple[int, ...]) -> tuple[float, ...]:
    drawn = numpy.random.default_rng(list(hashlib.sha256(repr(tail).encode()).digest()))
    return tuple(drawn.normal(0, 2, len(PIECES)).tolist())


def log_softmax(values: Sequence[float]) -> list[float]:
    most = max(values)
    total = most + math.log(sum(math.exp(value - most) for value in values))
    return [value - total for value in values]


class FakeVLLM:
    """The server; a context manager. `requests` are the bodies of all completions.

    `delay`: seconds before the first token, `token_seconds` before each further one. `drop_after`: how many tokens of
    the next streams are sent before their connection is cut, one number a stream.
    `aborted` counts streams that the client closed. `ignores_bans` makes a server that does not do as it is told.
    """

    def __init__(self, root: str = "some/model", window: int = 4096, *, key: str = "") -> None:
        self.root, self.window, self.key = root, window, key
        self.requests: list[dict[str, Any]] = []
        self.delay = self.token_seconds = 0.0
        self.drop_after: list[int] = []
        self.aborted = 0
        self.ignores_bans = False
        self.token_ids = True
        self._cached: list[int] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake._get(self)

            def do_POST(self) -> None:
                fake._post(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/health":
            _answer(handler, 200, {})
        elif self.key and handler.headers.get("Authorization") != f"Bearer {self.key}":
            _answer(handler, 401, {"error": "Unauthorized"})
        elif handler.path == "/v1/models":
            card = {"id": "m", "object": "model", "owned_by": "vllm", "root": self.root, "max_model_len": self.window}
            _answer(handler, 200, {"object": "list", "data": [card]})
        else:
            _answer(handler, 404, {"detail": "Not Found"})

    def _post(self, handler: BaseHTTPRequestHandler) -> None:
        body: dict[str, Any] = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        if self.key and handler.headers.get("Authorization") != f"Bearer {self.key}":
            _answer(handler, 401, {"error": "Unauthorized"})
        elif body.get("model") != "m":
            _answer(handler, 404, {"error": {"message": f"The model `{body.get('model')}` does not exist."}})
        elif handler.path == "/tokenize":
            ids = encode(body["prompt"])
            _answer(handler, 200, {"count": len(ids), "max_model_len": self.window, "tokens": ids})
        elif handler.path == "/detokenize":
            _answer(handler, 200, {"prompt": b"".join(PIECES[t] for t in body["tokens"]).decode(errors="replace")})
        elif handler.path == "/v1/completions":
            self.requests.append(body)
            if refused := self._refusal(body):
                _answer(handler, 400, {"error": {"message": refused, "type": "BadRequestError", "code": 400}})
            elif body.get("stream"):
                self._stream(handler, body)
            else:
                self._whole(handler, body)
        else:
            _answer(handler, 404, {"detail": "Not Found"})

    def _refusal(self, body: dict[str, Any]) -> str:
        if unknown := set(body) - KNOWN:
            return f"unknown fields {unknown}"
        if (body.get("logprobs") or 0) > 20:
            return "Requested sample logprobs of 256, which is greater than max allowed: 20"
        prompt = body["prompt"]
        if not prompt or not all(isinstance(token, int) and 0 <= token < len(PIECES) for token in prompt):
            return "Either prompt or prompt_embeds must be provided and non-empty."
        if len(prompt) + body["max_tokens"] > self.window:
            return f"This model's maximum context length is {self.window} tokens."
        if not all(-100 <= bias <= 100 for bias in body.get("logit_bias", {}).values()):
            return "logit_bias out of range"
        return ""

    def _next(self, body: dict[str, Any], ids: Sequence[int], written: Sequence[int]) -> int:
        """One id, as vLLM's sampler would: biases, the allowed ids, temperature, top-k, top-p, the grammar."""
        values = logits(ids)
        if not self.ignores_bans:
            for token, bias in body.get("logit_bias", {}).items():
                values[int(token)] += bias
        ranked = sorted(body.get("allowed_token_ids") or range(len(PIECES)), key=lambda token: -values[token])
        if heat := body["temperature"]:
            weights = [math.exp((values[token] - values[ranked[0]]) / heat) for token in ranked]
            within = [sum(weights[:at]) < body["top_p"] * sum(weights) for at in range(len(ranked))]
            ranked = [token for token, is_kept in zip(ranked, within, strict=True) if is_kept][: body["top_k"] or None]
            # The largest of perturbed logits is a draw from their softmax (Gumbel), also among those that are admitted.
            drawn = random.Random(f"{body['seed']} {len(written)}")
            perturbed = {token: values[token] / heat - math.log(-math.log(drawn.random())) for token in ranked}
            ranked.sort(key=lambda token: -perturbed[token])
        grammar = (body.get("structured_outputs") or {}).get("grammar")
        if grammar is None:
            return ranked[0]
        text = b"".join(PIECES[token] for token in written)
        return next(token for token in ranked if _admits(grammar, text, token))

    def _generated(self, body: dict[str, Any]) -> Any:
        """(id, its own log-probability, finish reason or None) one after the other."""
        ids, written = list(body["prompt"]), list[int]()
        stops = set(body.get("stop_token_ids") or []) | (set() if body.get("ignore_eos") else {EOS, EOT})
        while True:
            token = self._next(body, ids, written)
            logprob = log_softmax(logits(ids))[token]
            ids.append(token)
            written.append(token)
            text = b"".join(PIECES[t] for t in written).decode(errors="replace")
            is_over = token in stops or any(stop in text for stop in body.get("stop") or [])
            reason = "stop" if is_over else "length" if len(written) == body["max_tokens"] else None
            yield token, logprob, reason
            if reason:
                return

    def _stream(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.end_headers()
        drop = self.drop_after.pop(0) if self.drop_after else None
        try:
            if _client_is_gone(handler, self.delay):
                raise BrokenPipeError
            sent = 0
            for token, logprob, reason in self._generated(body):
                if sent == drop:
                    handler.connection.shutdown(socket.SHUT_RDWR)
                    return
                sent += 1
                told = {"tokens": [f"token_id:{token}"], "token_logprobs": [logprob], "top_logprobs": [{}]}
                choice: dict[str, Any] = {
                    "index": 0,
                    "text": PIECES[token].decode(errors="replace"),
                    "logprobs": told if body.get("logprobs") is not None else None,
                    "finish_reason": reason,
                    "stop_reason": None,
                }
                if body.get("return_token_ids") and self.token_ids:
                    choice["token_ids"] = [token]
                _event(handler, {"id": "cmpl-1", "model": "m", "choices": [choice]})
                if _client_is_gone(handler, self.token_seconds):
                    raise BrokenPipeError
            if (body.get("stream_options") or {}).get("include_usage"):
                _event(handler, {"id": "cmpl-1", "model": "m", "choices": [], "usage": self._usage(body, sent)})
            handler.wfile.write(b"data: [DONE]\n\n")
        except (BrokenPipeError, ConnectionResetError):
            self.aborted += 1

    def _whole(self, handler: BaseHTTPRequestHandler, body: dict[str, Any]) -> None:
        token, logprob, reason = next(self._generated(body))
        choice: dict[str, Any] = {"index": 0, "text": "", "finish_reason": reason, "token_ids": [token]}
        if body.get("logprobs") is not None:
            row = log_softmax(logits(body["prompt"]))
            ranked = sorted(range(len(row)), key=lambda t: -row[t])[: body["logprobs"]]
            top = {f"token_id:{t}": row[t] for t in [token, *ranked]}
            choice["logprobs"] = {"token_logprobs": [logprob], "top_logprobs": [top]}
        if body.get("prompt_logprobs") is not None:
            prompt = body["prompt"]
            rows = [log_softmax(logits(prompt[:at])) for at in range(1, len(prompt))]
            told = [{str(t): {"logprob": row[t], "rank": 1}} for row, t in zip(rows, prompt[1:], strict=True)]
            choice["prompt_logprobs"] = [None, *told]
        _answer(handler, 200, {"id": "cmpl-1", "choices": [choice], "usage": self._usage(body, 1)})

    def _usage(self, body: dict[str, Any], sent: int) -> dict[str, Any]:
        prompt = body["prompt"]
        pairs = zip(prompt, self._cached, strict=False)
        shared = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(prompt), len(self._cached)))
        self._cached = list(prompt)
        cached = min(shared, len(prompt) - 1) // 16 * 16  # whole blocks
        return {
            "prompt_tokens": len(prompt),
            "completion_tokens": sent,
            "total_tokens": len(prompt) + sent,
            "prompt_tokens_details": {"cached_tokens": cached},
        }


_JSON = r'(?:[^"\\\x00-\x1f\ufffd]|\\["\\/bfnrt])*'
_JSON_JOINED = re.compile(_JSON + r'(?:\\|"[,:{}\[\]" \t\n]*)?')
_JSON_WHOLE, _JSON_PREFIX = re.compile(_JSON + '"'), re.compile(_JSON + r'(?:\\|")?')


def _admits(grammar: str, written: bytes, token: int) -> bool:
    """Whether `token` may come after `written` under one of the three grammars that the tests send."""
    if grammar == compile_grammar(JsonString(), ends_in_token=True):
        text = (written + PIECES[token]).decode(errors="replace")
        return token < len(_TEXTS) and _JSON_JOINED.fullmatch(text) is not None
    if grammar == compile_grammar(JsonString()):
        if _JSON_WHOLE.fullmatch(written.decode()):
            return token == EOS
        text = (written + PIECES[token]).decode(errors="replace")
        return token < len(_TEXTS) and _JSON_PREFIX.fullmatch(text) is not None
    end = next(end for end in ("\n", "\n</parameter>\n") if grammar == compile_grammar(Until(end))).encode()
    is_over = written.endswith(end)
    if is_over or token in (EOS, EOT):
        return is_over and token == EOS
    text = written[-40:].decode(errors="ignore").encode() + PIECES[token]
    is_text = "\ufffd" not in text.decode(errors="replace") and b"\0" not in text
    return token < len(_TEXTS) and is_text and (end not in text or text.index(end) == len(text) - len(end))


def _answer(handler: BaseHTTPRequestHandler, status: int, body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def _event(handler: BaseHTTPRequestHandler, event: dict[str, Any]) -> None:
    handler.wfile.write(f"data: {json.dumps(event)}\n\n".encode())


def _client_is_gone(handler: BaseHTTPRequestHandler, seconds: float) -> bool:
    """Whether the client has closed its side, within so many seconds."""
    if not seconds:
        return False
    until = time.monotonic() + seconds
    handler.connection.settimeout(0.01)
    try:
        while True:
            try:
                if handler.connection.recv(1, socket.MSG_PEEK) == b"":
                    return True
            except TimeoutError:
                pass
            except OSError:
                return True
            if time.monotonic() >= until:
                return False
    finally:
        handler.connection.settimeout(None)
