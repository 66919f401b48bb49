"""The embedded engine: llama.cpp in a child process, asked for token ids over loopback.

Ids come from requests that are not streamed, as a stream loses ids inside multi-byte characters: without a
grammar in short chunks, each of whose prompts is all ids so far (the KV cache makes that cheap), under a
grammar in one bounded request. A long prompt is read first by a stream, the only request that can be stopped.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tinsmith.engines.child_process import BATCH, embedded_start
from tinsmith.engines.completion import biases, force, probabilities, sampler, seeded_at, with_log_probs
from tinsmith.engines.grammar import Grammar, JsonString, Until, compile_grammar
from tinsmith.engines.json_string import write_string
from tinsmith.engines.llama_http import LlamaHTTP
from tinsmith.engines.protocol import GREEDY, Cancelled, Generation, Sampling, Token, TurnUsage, Usage
from tinsmith.engines.supervisor import Answer, Supervisor
from tinsmith.engines.utf8 import PieceBytes, whole_characters
from tinsmith.errors import EngineError
from tinsmith.models import EngineOptions, GGUFHeader

_CHUNK = 32
_CUT = -1
"""No token has this id."""
_LIFT = 1000.0
"""Logits: far more than any two differ, and small enough for their ratios to stay exact to four digits in float32."""
_SLOT: dict[str, Any] = {"id_slot": 0, "cache_prompt": True, "return_tokens": True}


_REPORT = "This is a fault of Tinsmith or of the model file; please report it."


def open_engine(
    model_path: Path,
    *,
    context: int | None = None,
    progress: Callable[[str], None] | None = None,
    on_restart: Callable[[str], None] | None = None,
    options: EngineOptions | None = None,
) -> "EmbeddedEngine":
    """Loads the GGUF at `model_path` with a window of `context` tokens (None: that of `options`, else the model's own;
    never more than it). `options` are a plan's.

    Where the process that computes is lost, by a kill or for want of memory, another takes its place and the
    request is repeated; `on_restart` is told why each time. The third loss in a row is an error.

    Raises InputError `model_unreadable`, MachineError `memory` or `engine_missing`, EngineError
    `engine_died`.
    """
    return EmbeddedEngine(model_path, context, progress, on_restart, options)


class EmbeddedEngine:
    """A `TokenEngine`; also a context manager. See `open_engine`."""

    def __init__(
        self,
        model_path: Path,
        context: int | None,
        progress: Callable[[str], None] | None = None,
        on_restart: Callable[[str], None] | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        header = GGUFHeader(model_path)
        trained = header.context_length
        wanted = context or (options.context if options else 0) or trained or 4096
        window = min(wanted, trained) if trained else wanted
        self.vocabulary = header.vocabulary
        self._bytes = PieceBytes(self.vocabulary.pieces)
        self._control = self.vocabulary.ids_of_kind("control")
        self._ends = frozenset(self.vocabulary.end_of_generation)
        self.usage = Usage()
        self._turn = Usage()
        self._turn_begins = True  # until its first answer, and again after a restart
        self._cached: Sequence[int] = ()
        self._closed = False
        self._child = Supervisor(model_path, window, progress, on_restart, embedded_start(options))
        self._pid = self._child.pid  # whose cache we know
        properties = self._call(lambda http: http.get("/props"))
        self.context_window = int(properties["default_generation_settings"]["n_ctx"])

    @property
    def pid(self) -> int | None:
        """The child's process id, None when it has been ended and not yet started again."""
        return self._child.pid

    def tokenize(self, text: str) -> list[int]:
        """See `TokenEngine`."""
        return self._tokenized(_whole(text))

    def tokenize_all(self, texts: Sequence[str]) -> list[list[int]]:
        """See `TokenEngine`. One request: the server takes texts and ids mixed, and hands the ids back as they are."""
        mixed = [part for text in texts for part in (_whole(text), _CUT)]
        found: list[list[int]] = []
        rest: list[int] = []
        for token in self._tokenized(mixed):
            if token == _CUT:
                found.append(rest)
                rest = []
            else:
                rest.append(token)
        if len(found) != len(texts):
            raise EngineError("ids_lost", "the engine lost the borders between texts", _REPORT)
        return found

    def detokenize(self, ids: Sequence[int]) -> bytes:
        """See `TokenEngine`."""
        return self.vocabulary.detokenize(ids)

    def warm(self, ids: Sequence[int], cancel: threading.Event | None = None) -> None:
        """See `TokenEngine`."""
        # Without its last id, which the request that follows reads: so each id is read once and counted once.
        known = ids[:-1]
        if not known or self._shared(known) == len(known):
            return
        body = _SLOT | sampler(GREEDY) | {"prompt": list(known), "n_predict": 1}
        answer = self._call(lambda http: http.stream("/completion", body, cancel))
        self._account(known, answer, decoded=0)

    def generate(
        self,
        ids: Sequence[int],
        *,
        grammar: Grammar | None = None,
        banned: Collection[int] = (),
        stop: Collection[int] = (),
        sampling: Sampling = GREEDY,
        limit: int,
        cancel: threading.Event | None = None,
    ) -> Generation:
        """See `TokenEngine`. Raises ValueError for an empty prompt."""
        if not ids:
            raise ValueError("an empty prompt")
        if limit < 1:
            return Generation((), "limit")
        self._warm_if_long(ids, cancel)
        if grammar is not None:
            return self._constrained(ids, grammar, set(banned), sampling, limit, cancel)
        return self._free(ids, set(banned), set(stop), sampling, limit, cancel)

    def choose(
        self,
        ids: Sequence[int],
        allowed: Sequence[int],
        sampling: Sampling = GREEDY,
        cancel: threading.Event | None = None,
    ) -> Token:
        """See `TokenEngine`. A bias lifts those allowed out of reach of all others and leaves their ratios as they are:
        no grammar, which would be matched against the whole vocabulary.
        """
        if not ids or not allowed:
            raise ValueError("an empty prompt, or a choice of nothing")
        self._warm_if_long(ids, cancel)
        lift = _LIFT * max(1.0, sampling.temperature)
        body = {"n_probs": 1, "logit_bias": [[token, lift] for token in allowed]}
        answer = self._request(ids, 1, sampler(seeded_at(sampling, len(ids))) | body, cancel)
        tokens = with_log_probs(answer["tokens"], probabilities(answer))
        if len(tokens) != 1 or tokens[0].id not in allowed:
            raise EngineError("ids_lost", "the engine did not choose among the ids it was given", _REPORT)
        return tokens[0]

    def log_probs(
        self, ids: Sequence[int], forced: Sequence[int], cancel: threading.Event | None = None
    ) -> list[float]:
        """See `TokenEngine`. One request for each run of whole characters, one for each other id."""
        self._warm_if_long(ids, cancel)
        found: list[float] = []
        for whole, group in groupby(forced, key=lambda token: token in self._bytes.forcible):
            run = list(group)
            so_far = [*ids, *forced[: len(found)]]
            if whole:
                found += self._forced(so_far, run, cancel)
                continue
            for i, token in enumerate(run):
                found.append(self.next_log_probs([*so_far, *run[:i]], self.vocabulary.size, cancel)[token])
        return found

    def next_log_probs(self, ids: Sequence[int], count: int, cancel: threading.Event | None = None) -> dict[int, float]:
        """See `TokenEngine`."""
        self._warm_if_long(ids, cancel)
        # The server tells nothing of an id that begins a character, so it is made to sample one that does
        # not.
        body = sampler(GREEDY) | force([self._bytes.plain]) | {"n_probs": count}
        answer = self._request(ids, 1, body, cancel)
        return {int(entry["id"]): float(entry["logprob"]) for entry in probabilities(answer)[0]["top_logprobs"]}

    def score(self, ids: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[float]:
        """See `TokenEngine`."""
        return [sum(self.log_probs(ids, continuation)) for continuation in continuations]

    def begin_turn(self) -> None:
        """See `TokenEngine`."""
        self._turn = Usage()
        self._turn_begins = True

    def end_turn(self) -> TurnUsage:
        """See `TokenEngine`."""
        turn = self._turn
        return TurnUsage(
            turn.prefilled, turn.reused, turn.decoded, turn.requests, turn.prefill_seconds, turn.decode_seconds
        )

    def close(self) -> None:
        """See `TokenEngine`."""
        self._closed = True
        self._child.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _forced(self, ids: Sequence[int], forced: Sequence[int], cancel: threading.Event | None) -> list[float]:
        tokens, _ = self._complete(ids, len(forced), GREEDY, force(forced), cancel)
        found = [token.logprob for token in tokens if token.logprob is not None]
        if [token.id for token in tokens] != list(forced) or len(found) != len(forced):
            raise EngineError("ids_lost", "the engine did not follow the ids it was given", _REPORT)
        return found

    def _free(
        self,
        ids: Sequence[int],
        banned: set[int],
        stop: set[int],
        sampling: Sampling,
        limit: int,
        cancel: threading.Event | None,
    ) -> Generation:
        body = biases(banned) | self._stop_texts(stop)
        found: list[Token] = []
        while len(found) < limit:
            so_far = [*ids, *(token.id for token in found)]
            size = min(_CHUNK, limit - len(found))
            tokens, reason = self._complete(so_far, size, sampling, body, cancel)
            at = next((i for i, token in enumerate(tokens) if token.id in stop), None)
            if at is not None:
                return Generation((*found, *tokens[:at]), "stop")
            found += tokens
            if reason == "eos":
                return Generation(tuple(found), "eog")
            if len(tokens) < size and reason != "word":  # the window is full
                break
        return Generation(tuple(found), "limit")

    def _stop_texts(self, stop: set[int]) -> dict[str, Any]:
        """Has a chunk end at the text of a reserved stop id, so that nothing is decoded after it for nobody. The same
        text in ordinary ids ends the chunk too, and the next one goes on."""
        texts = [text for text, token in self.vocabulary.reserved.items() if token in stop]
        return {"stop": texts, "preserved_tokens": texts} if texts else {}

    def _constrained(
        self,
        ids: Sequence[int],
        grammar: Grammar,
        banned: set[int],
        sampling: Sampling,
        limit: int,
        cancel: threading.Event | None,
    ) -> Generation:
        # A complete grammar is shown by an end-of-generation id, so one must be allowed, and only one is of
        # use.
        end = next((token for token in self.vocabulary.end_of_generation if token not in banned), None)
        end = self.vocabulary.end_of_generation[0] if end is None else end
        banned = (banned | self._ends | set(self._control) | self._bytes.never) - {end}
        for bans in (banned, banned | self._bytes.openers):
            tokens, is_complete = self._under_grammar(ids, grammar, biases(bans), sampling, limit, cancel)
            whole = whole_characters([self.vocabulary.pieces[token.id] for token in tokens])
            if whole is not None:
                return Generation(tuple(tokens[:whole]), "grammar" if is_complete else "limit")
        raise EngineError("not_utf8", "the engine wrote bytes that are no text", _REPORT)

    def _under_grammar(
        self,
        ids: Sequence[int],
        grammar: Grammar,
        bans: dict[str, Any],
        sampling: Sampling,
        limit: int,
        cancel: threading.Event | None,
    ) -> tuple[list[Token], bool]:
        """The tokens, and whether the grammar is complete.

        llama.cpp samples first and looks at the whole vocabulary only where the grammar refuses the id, so free text
        costs what it costs without a grammar. The id that ends a grammar is always refused at first: where the text
        shows its end, it is told by a stop string, and that id is not decoded.
        """
        if isinstance(grammar, Until):
            under = {"grammar": compile_grammar(grammar), "stop": [grammar.end]}
            tokens, _ = self._complete(ids, limit, sampling, bans | under, cancel)
            written = self.vocabulary.detokenize(token.id for token in tokens)
            return tokens, written.endswith(grammar.end.encode())
        if isinstance(grammar, JsonString):

            def ask(so_far: Sequence[int], limit: int, under: dict[str, Any]) -> tuple[list[Token], bool]:
                tokens, reason = self._complete(so_far, limit, sampling, bans | under, cancel)
                return tokens, reason == "word"

            if found := write_string(grammar, ids, limit, ask, self):
                return found
        under = {"grammar": compile_grammar(grammar)}
        more, reason = self._complete(ids, limit + 1, sampling, bans | under, cancel)  # one for the id that ends it
        return more[:limit], reason == "eos"

    def _complete(
        self,
        ids: Sequence[int],
        limit: int,
        sampling: Sampling,
        extra: dict[str, Any],
        cancel: threading.Event | None,
    ) -> tuple[list[Token], str]:
        """The tokens of one request without the end-of-generation id, and llama.cpp's `stop_type`."""
        answer = self._request(ids, limit, sampler(seeded_at(sampling, len(ids))) | {"n_probs": 1} | extra, cancel)
        tokens = with_log_probs(answer["tokens"], probabilities(answer))
        if len(tokens) != answer["timings"]["predicted_n"]:
            raise EngineError("ids_lost", "the engine lost token ids", _REPORT)
        if answer["stop_type"] == "eos" and tokens and tokens[-1].id in self._ends:
            tokens.pop()
        return tokens, answer["stop_type"]

    def _request(
        self, ids: Sequence[int], limit: int, extra: dict[str, Any], cancel: threading.Event | None
    ) -> dict[str, Any]:
        if cancel is not None and cancel.is_set():
            raise Cancelled
        body = _SLOT | {"prompt": list(ids), "n_predict": limit} | extra
        try:
            answer = self._call(lambda http: http.post("/completion", body, cancel))
        except Cancelled:
            self._child.end()  # it computes on, for nobody: ending it is the only way to stop it
            raise
        self._account([*ids, *answer["tokens"][:-1]], answer, decoded=int(answer["timings"]["predicted_n"]))
        return answer

    def _tokenized(self, content: str | list[str | int]) -> list[int]:
        body = {"content": content, "add_special": False, "parse_special": False}
        return self._call(lambda http: http.post("/tokenize", body))["tokens"]

    def _warm_if_long(self, ids: Sequence[int], cancel: threading.Event | None) -> None:
        if cancel is not None and len(ids) - self._shared(ids) > BATCH:
            self.warm(ids, cancel)

    def _shared(self, ids: Sequence[int]) -> int:
        """How many ids of `ids` the slot's KV cache begins with, as far as we know."""
        if self._child.pid != self._pid:
            return 0
        pairs = zip(ids, self._cached, strict=False)
        return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ids), len(self._cached)))

    def _account(self, cached: Sequence[int], answer: dict[str, Any], decoded: int) -> None:
        self._cached = cached
        timings = answer["timings"]
        for account in (self.usage, self._turn):
            account.prefilled += int(timings["prompt_n"])
            account.decoded += decoded
            account.requests += 1
            account.prefill_seconds += float(timings["prompt_ms"]) / 1000
            account.decode_seconds += float(timings["predicted_ms"]) / 1000
        self.usage.reused += int(timings["cache_n"])
        if self._turn_begins:
            self._turn.reused = int(timings["cache_n"])
            self._turn_begins = False

    def _call(self, ask: Callable[[LlamaHTTP], Answer]) -> Answer:
        if self._closed:
            raise EngineError("engine_closed", "the engine is closed", _REPORT)
        answer = self._child.call(ask)
        if self._child.pid != self._pid:  # what was cached is gone, whoever ended the child
            self._pid = self._child.pid
            self._cached = ()
            self._turn_begins = True
        return answer


def _whole(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
