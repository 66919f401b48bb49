"""vLLM as a token engine: ids in and ids out through `/v1/completions`.

A choice is `allowed_token_ids`; free text is decoded freely, ends at a stop string and is checked here; only what that
cannot hold, the body of a JSON string, is left to `structured_outputs`, and checked too. Bans are a bias of -100,
the least that vLLM takes, so what comes is looked at again.
vLLM says nothing while it reads a prompt.
"""

import json
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import Any, Self

from tinsmith.engines.attached_server import PATIENCE, AttachedServer
from tinsmith.engines.grammar import Grammar, JsonString, Literal, OneOf, Until, compile_grammar
from tinsmith.engines.json_string import write_string
from tinsmith.engines.protocol import GREEDY, Generation, Sampling, Token, TurnUsage, Usage
from tinsmith.engines.server_address import server_address
from tinsmith.engines.token_trie import TokenTrie, packed
from tinsmith.engines.utf8 import PieceBytes, whole_characters
from tinsmith.engines.vllm_http import VLLMHTTP, Completion, ServedModel, completion_body
from tinsmith.engines.vllm_vocabulary import vllm_vocabulary, without_controls
from tinsmith.errors import EngineError
from tinsmith.models import Vocabulary

_BAN = -100.0
_AT_ONCE = 8  # texts tokenised at the same time
_LONG = 2_048  # tokens of a prompt worth a word, as vLLM says nothing meanwhile
_REPORT = "This is a fault of Tinsmith or of the server; please report it."


def open_vllm(
    base_url: str,
    *,
    key: str = "",
    model: str | None = None,
    vocabulary: Path | None = None,
    progress: Callable[[str], None] | None = None,
    on_restart: Callable[[str], None] | None = None,
) -> "VLLMEngine":
    """The vLLM at `base_url`, serving `model` (None: the first that it lists).

    `vocabulary`: a directory with the model's `tokenizer.json`, or a GGUF file; None: the directory that the
    server says it serves, if it is on this machine. Raises InputError `bad_base_url`, `key_refused`,
    `model_unreadable` or `tokenizer_unreadable`, EngineError `server_lost`, `not_vllm` or `no_vocabulary`.
    """
    http = VLLMHTTP(server_address(base_url), key, patience=PATIENCE)
    server = AttachedServer(http, lambda http: str(http.model(model)), progress, on_restart)
    served = http.model(model)
    return VLLMEngine(server, served, vllm_vocabulary(http, served, vocabulary), f"vLLM at {http.address}", progress)


class VLLMEngine:
    """A `TokenEngine`; also a context manager. See `open_vllm`."""

    def __init__(
        self,
        server: AttachedServer[VLLMHTTP],
        model: ServedModel,
        vocabulary: Vocabulary,
        described: str,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self.described = described
        self._server = server
        self._model = model.id
        self.context_window = model.window
        self.vocabulary = vocabulary
        self._bytes = PieceBytes(vocabulary.pieces)
        self._ends = frozenset(vocabulary.end_of_generation)
        self._controls = [t for t, i in vocabulary.reserved.items() if vocabulary.kinds[i] == "control"]
        self._progress = progress
        self.usage = Usage()
        self._turn = Usage()
        self._turn_begins = True
        self._closed = False

    def tokenize(self, text: str) -> list[int]:
        """See `TokenEngine`. The server would parse control tokens, so their texts are cut and sent in parts."""
        whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return [token for part in without_controls(whole, self._controls) for token in self._ids(part)]

    def tokenize_all(self, texts: Sequence[str]) -> list[list[int]]:
        """See `TokenEngine`. A request each, some at the same time: vLLM takes one text at once."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(self.tokenize, texts))

    def detokenize(self, ids: Sequence[int]) -> bytes:
        """See `TokenEngine`."""
        return self.vocabulary.detokenize(ids)

    def warm(self, ids: Sequence[int], cancel: Event | None = None) -> None:
        """See `TokenEngine`."""
        if len(ids) > 1:
            self._complete(ids[:-1], 1, GREEDY, {}, cancel, is_for_cache=True)

    def generate(
        self,
        ids: Sequence[int],
        *,
        grammar: Grammar | None = None,
        banned: Collection[int] = (),
        stop: Collection[int] = (),
        sampling: Sampling = GREEDY,
        limit: int,
        cancel: Event | None = None,
    ) -> Generation:
        """See `TokenEngine`. Raises ValueError for an empty prompt."""
        if not ids:
            raise ValueError("an empty prompt")
        limit = min(limit, self.context_window - len(ids))
        if limit < 1:
            if len(ids) < self.context_window:
                return Generation((), "limit")
            raise EngineError(
                "context_exceeded",
                f"a prompt of {len(ids)} tokens does not fit into {self.context_window}",
                "Use a larger context, or a smaller task.",
            )
        match grammar:
            case None:
                return self._free(ids, set(banned), set(stop), sampling, limit, cancel)
            case Literal(text):
                return self._forced(text, limit)
            case OneOf(values, end):
                return self._one_of(ids, [value + end for value in dict.fromkeys(values)], sampling, limit, cancel)
            case Until():
                found = self._until(ids, grammar.end, set(banned), sampling, limit, cancel)
                return found or self._structured(ids, grammar, set(banned), sampling, limit, cancel)
            case JsonString():
                found = self._string(ids, grammar, set(banned), sampling, limit, cancel)
                return found or self._structured(ids, grammar, set(banned), sampling, limit, cancel)

    def choose(
        self, ids: Sequence[int], allowed: Sequence[int], sampling: Sampling = GREEDY, cancel: Event | None = None
    ) -> Token:
        """See `TokenEngine`."""
        if not ids or not allowed:
            raise ValueError("an empty prompt, or a choice of nothing")
        body = {"allowed_token_ids": sorted(set(allowed)), "ignore_eos": True}
        tokens, _ = self._complete(ids, 1, sampling, body, cancel)
        if len(tokens) != 1 or tokens[0].id not in allowed:
            raise EngineError("ids_lost", "the server did not choose among the ids it was given", _REPORT)
        return tokens[0]

    def log_probs(self, ids: Sequence[int], forced: Sequence[int], cancel: Event | None = None) -> list[float]:
        """See `TokenEngine`. One request; vLLM reads all of the prompt for it."""
        prompt = [*ids, *forced]
        body = completion_body(self._model, prompt, 1, GREEDY) | {"prompt_logprobs": 1}
        answer = self._call(lambda http: http.post("/v1/completions", body, cancel))
        told: list[dict[str, Any] | None] = answer["choices"][0]["prompt_logprobs"]
        rows = told[len(ids) : len(prompt)]
        return [float((row or {})[str(token)]["logprob"]) for row, token in zip(rows, forced, strict=True)]

    def next_log_probs(self, ids: Sequence[int], count: int, cancel: Event | None = None) -> dict[int, float]:
        """See `TokenEngine`. vLLM lists 20 unless it was started with a larger `--max-logprobs`."""
        body = completion_body(self._model, ids, 1, GREEDY) | {"logprobs": count}
        answer = self._call(lambda http: http.post("/v1/completions", body, cancel))
        listed: dict[str, float] = answer["choices"][0]["logprobs"]["top_logprobs"][0]
        found = {int(name.removeprefix("token_id:")): value for name, value in listed.items()}
        return dict(sorted(found.items(), key=lambda item: -item[1])[:count])

    def score(self, ids: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[float]:
        """See `TokenEngine`."""
        return [sum(self.log_probs(ids, continuation)) for continuation in continuations]

    def begin_turn(self) -> None:
        """See `TokenEngine`."""
        self._turn = Usage()
        self._turn_begins = True

    def end_turn(self) -> TurnUsage:
        """See `TokenEngine`. What was cached is known only of a vLLM with `--enable-prompt-tokens-details`."""
        turn = self._turn
        return TurnUsage(
            turn.prefilled, turn.reused, turn.decoded, turn.requests, turn.prefill_seconds, turn.decode_seconds
        )

    def close(self) -> None:
        """See `TokenEngine`."""
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _free(
        self,
        ids: Sequence[int],
        banned: set[int],
        stop: set[int],
        sampling: Sampling,
        limit: int,
        cancel: Event | None,
    ) -> Generation:
        body = self._bans(banned) | {"stop_token_ids": sorted(stop)}
        tokens, reason = self._complete(ids, limit, sampling, body, cancel)
        self._check_bans(tokens, banned)
        at = next((i for i, token in enumerate(tokens) if token.id in stop), None)
        if at is not None:
            return Generation(tuple(tokens[:at]), "stop")
        if reason == "stop":
            return Generation(tuple(tokens[:-1] if tokens and tokens[-1].id in self._ends else tokens), "eog")
        return Generation(tuple(tokens), "limit")

    def _forced(self, text: str, limit: int) -> Generation:
        tokens = [Token(token, None) for token in self.tokenize(text)]
        return self._cut_at(tokens, limit) or Generation(tuple(tokens), "grammar")

    def _one_of(
        self, ids: Sequence[int], texts: Sequence[str], sampling: Sampling, limit: int, cancel: Event | None
    ) -> Generation:
        """A walk down the trie of the texts' own ids: each branch is a choice. One that begins another has to be told
        from it by the end of generation, the only thing that can come after a whole text here."""
        known = [packed(encoded) for encoded in self.tokenize_all(texts)]
        probabilities: dict[int, float | None] = {}

        def pick(path: Sequence[int], allowed: Sequence[int]) -> int:
            token = self.choose([*ids, *path], allowed, sampling, cancel)
            probabilities[len(path)] = token.logprob
            return token.id

        chosen = TokenTrie(known, [packed([end]) for end in sorted(self._ends)]).walk(pick)
        tokens = [Token(token, probabilities.get(at)) for at, token in enumerate(chosen.ids)]
        return self._cut_at(tokens, limit) or Generation(tuple(tokens), "grammar")

    def _until(
        self, ids: Sequence[int], end: str, banned: set[int], sampling: Sampling, limit: int, cancel: Event | None
    ) -> Generation | None:
        """Text that ends with `end`, decoded freely; None where bytes came that are no text.

        A token that goes on after `end` is put aside, and the rest of `end` is written in its own ids.
        """
        refused = self._refused(banned)
        body = self._bans(refused) | {"stop": [end], "ignore_eos": True}
        tokens, _ = self._complete(ids, limit, sampling, body, cancel)
        self._check_bans(tokens, refused)
        pieces = [self.vocabulary.pieces[token.id] for token in tokens]
        text = b""
        for count, piece in enumerate(pieces):
            at = (text + piece).find(end.encode())
            if at < 0:
                text += piece
                continue
            whole = (text + piece)[: at + len(end.encode())]
            try:
                whole.decode()
                rest = "" if whole == text + piece else whole.removeprefix(text).decode()
            except UnicodeDecodeError:
                return None
            ended = tokens[: count + (not rest)] + [Token(token, None) for token in (self._ids(rest) if rest else [])]
            return self._cut_at(ended, limit) or Generation(tuple(ended), "grammar")
        return self._cut_at(tokens, min(limit, len(tokens)), is_whole=False)

    def _string(
        self,
        ids: Sequence[int],
        grammar: JsonString,
        banned: set[int],
        sampling: Sampling,
        limit: int,
        cancel: Event | None,
    ) -> Generation | None:
        """A JSON string, see `write_string`; None also where bytes came that are no text."""
        refused = self._refused(banned)

        def ask(so_far: Sequence[int], limit: int, under: dict[str, Any]) -> tuple[list[Token], bool]:
            body = {"structured_outputs": {"grammar": under["grammar"]}, "stop": under["stop"], "ignore_eos": True}
            tokens, reason = self._complete(so_far, limit, sampling, self._bans(refused) | body, cancel)
            self._check_bans(tokens, refused)
            return tokens, reason == "stop"

        try:
            found = write_string(grammar, ids, limit, ask, self)
        except ValueError as error:
            raise self._ignored() from error
        if found is None:
            return None
        tokens, is_whole = found
        if is_whole and not _is_complete(grammar, self.vocabulary.detokenize(token.id for token in tokens)):
            raise self._ignored()
        return Generation(tuple(tokens), "grammar") if is_whole else self._cut_at(tokens, len(tokens), is_whole=False)

    def _ignored(self) -> EngineError:
        return EngineError("grammar_ignored", "the server wrote text that the grammar does not admit", _REPORT)

    def _structured(
        self,
        ids: Sequence[int],
        grammar: Until | JsonString,
        banned: set[int],
        sampling: Sampling,
        limit: int,
        cancel: Event | None,
    ) -> Generation:
        refused = self._refused(banned)
        # The end of generation must stay possible: it is how a complete grammar is shown.
        body = self._bans(refused - self._ends) | {"structured_outputs": {"grammar": compile_grammar(grammar)}}
        tokens, reason = self._complete(ids, limit, sampling, body, cancel)
        if tokens and tokens[-1].id in self._ends:
            tokens.pop()
        self._check_bans(tokens, refused)
        text = self.vocabulary.detokenize(token.id for token in tokens)
        if reason == "stop":
            if not _is_complete(grammar, text):
                raise self._ignored()
            return Generation(tuple(tokens), "grammar")
        cut = self._cut_at(tokens, len(tokens), is_whole=False)
        if cut is None:
            raise EngineError("not_utf8", "the server wrote bytes that are no text", _REPORT)
        return cut

    def _cut_at(self, tokens: Sequence[Token], limit: int, *, is_whole: bool = True) -> Generation | None:
        """The first `limit` tokens without a character cut short; None where they are no text, or need no cut because
        they are whole."""
        if is_whole and len(tokens) <= limit:
            return None
        count = whole_characters([self.vocabulary.pieces[token.id] for token in tokens[:limit]])
        if count is None:
            return None
        return Generation(tuple(tokens[:count]), "limit")

    def _refused(self, banned: set[int]) -> set[int]:
        controls = set(self.vocabulary.ids_of_kind("control", "unused"))
        return banned | self._ends | controls | self._bytes.never

    def _bans(self, banned: Collection[int]) -> dict[str, Any]:
        return {"logit_bias": {str(token): _BAN for token in sorted(banned)}} if banned else {}

    def _check_bans(self, tokens: Sequence[Token], banned: set[int]) -> None:
        if any(token.id in banned for token in tokens):
            raise EngineError("ban_ignored", "the server wrote an id that it was told not to write", _REPORT)

    def _complete(
        self,
        ids: Sequence[int],
        limit: int,
        sampling: Sampling,
        extra: dict[str, Any],
        cancel: Event | None,
        *,
        is_for_cache: bool = False,
    ) -> tuple[list[Token], str]:
        """The tokens of one request and its finish reason, `stop` or `length`."""
        body = completion_body(self._model, ids, limit, sampling) | extra
        if self._progress and len(ids) >= _LONG and self._turn_begins:
            self._progress(f"a prompt of {len(ids):,} tokens is being read")
        found: list[Completion] = []

        def ask(http: VLLMHTTP) -> dict[str, Any]:
            found.append(http.complete(body, cancel))
            return {}

        self._call(ask)
        done = found[0]
        self._account(len(ids), done, 0 if is_for_cache else len(done.tokens))
        return list(done.tokens), done.reason

    def _account(self, prompt: int, done: Completion, decoded: int) -> None:
        for account in (self.usage, self._turn):
            account.prefilled += prompt - done.reused
            account.decoded += decoded
            account.requests += 1
            account.prefill_seconds += done.prefill_seconds
            account.decode_seconds += done.decode_seconds
        self.usage.reused += done.reused
        if self._turn_begins:
            self._turn.reused = done.reused
            self._turn_begins = False

    def _ids(self, text: str) -> list[int]:
        if not text:
            return []
        return self._call(lambda http: {"tokens": http.tokenize(self._model, text)})["tokens"]

    def _call(self, ask: Callable[[VLLMHTTP], dict[str, Any]]) -> dict[str, Any]:
        if self._closed:
            raise EngineError("engine_closed", "the engine is closed", _REPORT)
        return self._server.call(ask)


def _is_complete(grammar: Until | JsonString, written: bytes) -> bool:
    try:
        text = written.decode()
    except UnicodeDecodeError:
        return False
    if isinstance(grammar, Until):
        return text.find(grammar.end) == len(text) - len(grammar.end)
    body = text.removesuffix(grammar.end)
    try:
        value: object = json.loads(f'"{body}"')
    except ValueError:
        return False
    return text.endswith(grammar.end) and isinstance(value, str) and "\0" not in value
