"""A `TokenEngine` that replays a script of calls: real ids through the real dialect, grammars and loop.

It stands where a run must do exactly what the test says. It keeps the accounts of an engine with one KV slot, so
what a loop makes an engine read again is seen.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import tiktoken
from tests import vocabularies
from tests.vocabularies import QWEN_PATTERN

from tinsmith.dialects import Call, Dialect, Encoder, QwenXml, Span, Text, call_pieces
from tinsmith.engines import (
    GREEDY,
    Cancelled,
    Generation,
    Grammar,
    JsonString,
    Literal,
    OneOf,
    Sampling,
    Token,
    TurnUsage,
    Until,
    Usage,
)
from tinsmith.models import GGUFHeader, Vocabulary, find_model
from tinsmith.models.random_weights import Shape, write_random
from tinsmith.tools import TOOLS

LIKELY, UNLIKELY = -0.01, -30.0


class Tokenizer(NamedTuple):
    """A vocabulary and what cuts text into its ids, as `TokenEngine.tokenize` does."""

    vocabulary: Vocabulary
    tokenize: Callable[[str], list[int]]


@dataclass(frozen=True)
class Said:
    """A scripted call with free text before it."""

    text: str
    call: Call


class FakeEngine:
    """Says the calls of `script`, one a turn; the first turn of this engine is number `first_turn` of the script.

    A turn is over at `end_turn`, so an engine of a new process, told how many turns are in the log, goes on where
    the one before it was. Each stage of a call gets the ids of exactly the part that its grammar asks for; a call
    that the grammar does not admit, or a transcript that has departed from the script, is an AssertionError. Among
    ranked candidates the scripted one is the most likely.

    `kill_at` is asked before each request, by its number from 0; where it says so the cache is lost, as when an
    engine is restarted, and `on_restart` is told. No prompt with what may follow it exceeds `context_window`.
    """

    def __init__(
        self,
        vocabulary: Vocabulary | None,
        script: Sequence[Call | Said],
        dialect: Dialect,
        *,
        context_window: int = 32768,
        tokenize: Callable[[str], list[int]] | None = None,
        first_turn: int = 0,
        kill_at: Callable[[int], bool] = lambda request: False,
        on_restart: Callable[[str], None] | None = None,
    ) -> None:
        """`vocabulary` None is Solder's; `tokenize` belongs to the vocabulary and is needed with it."""
        if vocabulary is None or tokenize is None:
            assert vocabulary is None and tokenize is None
            vocabulary, tokenize = solder_tokenizer()
        self.vocabulary = vocabulary
        self.context_window = context_window
        self.usage = Usage()
        self.prompts: list[tuple[int, ...]] = []
        """Every prompt, that of `warm` included."""
        self._tokenize = tokenize
        self._script = script
        self._dialect = dialect
        self._encoder = Encoder(tokenize, vocabulary.reserved)
        # Where the model's turn begins without a tag, it begins where a turn of the person's or a result ends.
        begins = [dialect.assistant_start()]
        if not begins[0]:
            begins = [dialect.user_end(), dialect.observation("")[-1:]]
        self._starts = {tuple(self._encoder.encode(spans)) for spans in begins}
        self._next_turn = first_turn
        self._kill_at = kill_at
        self._on_restart = on_restart
        self._cached: tuple[int, ...] = ()
        self._turn = Usage()
        self._turn_begins = True

    def tokenize(self, text: str) -> list[int]:
        return self._tokenize(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))

    def tokenize_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.tokenize(text) for text in texts]

    def detokenize(self, ids: Sequence[int]) -> bytes:
        return self.vocabulary.detokenize(ids)

    def warm(self, ids: Sequence[int], cancel: Event | None = None) -> None:
        known = tuple(ids[:-1])
        if known and _shared(known, self._cached) < len(known):
            self._read(known, 1, cancel)
            self._account(known, 0)

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
        if not ids:
            raise ValueError("an empty prompt")
        if limit < 1:
            return Generation((), "limit")
        prompt = tuple(ids)
        self._read(prompt, limit, cancel)
        rest = self._rest(prompt)
        part = self._said(rest) if grammar is None else wanted(grammar, rest)
        if part is None:
            raise AssertionError(f"the script goes on with {rest!r}, which is not in {grammar}")
        found = self._encoder.encode_text(part)
        assert set(banned).isdisjoint(found), f"{part!r} has a banned id"
        whole = len(found) <= limit
        found = found[:limit]
        # One more id is decoded where it is what shows the end: a stop id, or the one that ends a grammar.
        shown = whole and not isinstance(grammar, Until | JsonString)
        self._account(prompt + tuple(found if shown else found[:-1]), len(found) + shown)
        end = ("stop" if grammar is None else "grammar") if whole else "limit"
        return Generation(tuple(Token(token, LIKELY) for token in found), end)

    def choose(
        self, ids: Sequence[int], allowed: Sequence[int], sampling: Sampling = GREEDY, cancel: Event | None = None
    ) -> Token:
        if not ids or not allowed:
            raise ValueError("an empty prompt, or a choice of nothing")
        prompt = tuple(ids)
        self._read(prompt, 1, cancel)
        self._account(prompt, 1)
        found = self._next(prompt, allowed)
        if found is None:
            pieces = [self.vocabulary.pieces[token] for token in allowed[:20]]
            raise AssertionError(f"the script does not go on with one of {pieces}")
        return Token(found, LIKELY)

    def log_probs(self, ids: Sequence[int], forced: Sequence[int], cancel: Event | None = None) -> list[float]:
        prompt = tuple(ids)
        self._read(prompt, len(forced), cancel)
        rest, text = self._full().encode(), self._text(prompt)
        self._account(prompt + tuple(forced[:-1]), len(forced))
        found: list[float] = []
        for token in forced:
            text += self.vocabulary.pieces[token]
            found.append(LIKELY if rest.startswith(text) else UNLIKELY)
        return found

    def next_log_probs(self, ids: Sequence[int], count: int, cancel: Event | None = None) -> dict[int, float]:
        prompt = tuple(ids)
        self._read(prompt, 1, cancel)
        self._account(prompt, 1)
        rest = self._full().encode().removeprefix(self._text(prompt))
        likely = {token for token, piece in enumerate(self.vocabulary.pieces) if piece and rest.startswith(piece)}
        order = sorted(range(self.vocabulary.size), key=lambda token: token not in likely)
        return {token: LIKELY if token in likely else UNLIKELY for token in order[:count]}

    def score(self, ids: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[float]:
        return [sum(self.log_probs(ids, continuation)) for continuation in continuations]

    def begin_turn(self) -> None:
        self._turn = Usage()
        self._turn_begins = True

    def end_turn(self) -> TurnUsage:
        self._next_turn += 1
        turn = self._turn
        return TurnUsage(turn.prefilled, turn.reused, turn.decoded, turn.requests, 0.0, 0.0)

    def close(self) -> None:
        self._cached = ()

    def _read(self, prompt: tuple[int, ...], limit: int, cancel: Event | None) -> None:
        """One request's prompt: what of it is cached, and what is read."""
        if cancel is not None and cancel.is_set():
            raise Cancelled
        assert len(prompt) + limit <= self.context_window, f"{len(prompt)} and {limit} exceed {self.context_window}"
        if self._kill_at(len(self.prompts)):
            self._cached, self._turn_begins = (), True
            if self._on_restart is not None:
                self._on_restart("the test ended it")
        self.prompts.append(prompt)
        reused = min(_shared(prompt, self._cached), len(prompt) - 1)  # the last id is always read
        self.usage.reused += reused
        if self._turn_begins:
            self._turn.reused, self._turn_begins = reused, False
        for account in (self.usage, self._turn):
            account.prefilled += len(prompt) - reused

    def _account(self, cached: tuple[int, ...], decoded: int) -> None:
        self._cached = cached
        for account in (self.usage, self._turn):
            account.decoded += decoded
            account.requests += 1

    def _scripted(self) -> Said:
        assert self._next_turn < len(self._script), f"the script has no turn {self._next_turn}"
        entry = self._script[self._next_turn]
        return entry if isinstance(entry, Said) else Said("", entry)

    def _spans(self) -> list[Span]:
        """All that the model says in this turn, cut as it is written in stages."""
        entry = self._scripted()
        spec = next(tool for tool in TOOLS if tool.name == entry.call.tool)
        spans = [piece.span for piece in call_pieces(self._dialect, spec, entry.call, self._next_turn)]
        return [Text(entry.text), *spans[len(self._dialect.assistant_start()) :]]

    def _full(self) -> str:
        return "".join(span.text for span in self._spans())

    def _next(self, prompt: tuple[int, ...], allowed: Sequence[int]) -> int | None:
        """The id among `allowed` that the scripted turn goes on with: that of the span in work, or where the stages are
        cut otherwise (inside JSON) the longest that its bytes begin with."""
        said, full, at = self._text(prompt), self._full().encode(), 0
        assert full.startswith(said), f"the script says {full!r}, the transcript has {said!r}"
        for token in (token for span in self._spans() for token in self._encoder.encode([span])):
            if at == len(said) and token in allowed:
                return token
            at += len(self.vocabulary.pieces[token])
        pieces, rest = self.vocabulary.pieces, full[len(said) :]
        return max((t for t in allowed if rest.startswith(pieces[t])), key=lambda t: len(pieces[t]), default=None)

    def _text(self, prompt: tuple[int, ...]) -> bytes:
        """What the model has said of its turn so far."""
        for at in range(len(prompt), -1, -1):
            if any(prompt[at - len(start) : at] == start for start in self._starts):
                return self.detokenize(prompt[at:])
        raise AssertionError("the model's turn has not begun")

    def _rest(self, prompt: tuple[int, ...]) -> str:
        """What of this turn's scripted text is still to come."""
        said, full = self._text(prompt).decode(), self._full()
        assert full.startswith(said), f"the script says {full!r}, the transcript has {said!r}"
        return full[len(said) :]

    def _said(self, rest: str) -> str | None:
        """The free text before the call, which the opener ends."""
        return rest.split(self._dialect.call_opener())[0]


class FakeEngines:
    """Opens engines that go on with one script, one in each process of a run that is interrupted.

    `first_turn` is the next one's; `options` are FakeEngine's, whose dialect is Qwen's where none is given.
    """

    def __init__(self, script: Sequence[Call | Said], **options: Any) -> None:
        self.engines: list[FakeEngine] = []
        self.first_turn = 0
        self._script, self._options = script, options

    def __call__(
        self,
        model_path: Path,
        *,
        context: int | None,
        progress: Callable[[str], None] | None,
        on_restart: Callable[[str], None] | None,
    ) -> FakeEngine:
        given: dict[str, Any] = {"vocabulary": None, "dialect": QwenXml(), **self._options}
        vocabulary, dialect = given.pop("vocabulary"), given.pop("dialect")
        engine = FakeEngine(
            vocabulary, self._script, dialect, first_turn=self.first_turn, on_restart=on_restart, **given
        )
        self.engines.append(engine)
        return engine


def write_free_model(directory: Path) -> Path:
    """A small file of a model that writes its edits freely: what a FakeEngine is said to run."""
    tiny = Shape(layers=1, d_model=32, heads=2, kv_heads=1, head_dim=16, ffn=32)
    return write_random(directory / "free.gguf", shape=tiny)


def wanted(grammar: Grammar, text: str) -> str | None:
    """The beginning of `text` that a stage under `grammar` writes; None where the grammar does not admit it."""
    match grammar:
        case Literal(literal):
            return literal if text.startswith(literal) else None
        case OneOf(values, end):
            found = [value + end for value in values if text.startswith(value + end)]
            return max(found, key=len, default=None)
        case Until(end):
            return text[: text.index(end) + len(end)] if end in text else None
        case JsonString(end):
            at = 0
            while at < len(text) and text[at] != '"':
                at += 2 if text[at] == "\\" else 1
            return text[: at + len(end)] if text.startswith(end, at) else None


@cache
def gguf_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in the header of a GGUF file with byte-level BPE and Qwen's pre-tokenizer."""
    header = GGUFHeader(path)
    vocabulary = header.vocabulary
    texts: list[str] = header.value("tokenizer.ggml.tokens")
    id_of = {text: token for token, text in enumerate(texts)}
    bytes_first = [token for token in vocabulary.ids_of_kind("normal") if len(vocabulary.pieces[token]) == 1]
    merged = [id_of[left + right] for left, right in (merge.split(" ") for merge in header.merges)]
    order = list(dict.fromkeys([*bytes_first, *merged]))  # tiktoken merges what has the lowest rank
    ranks = {vocabulary.pieces[token]: rank for rank, token in enumerate(order)}
    encoding = tiktoken.Encoding("gguf", pat_str=QWEN_PATTERN, mergeable_ranks=ranks, special_tokens={})

    def tokenize(text: str) -> list[int]:
        return [order[rank] for rank in encoding.encode_ordinary(text)]

    return Tokenizer(vocabulary, tokenize)


def solder_tokenizer() -> Tokenizer:
    """Solder's."""
    return gguf_tokenizer(find_model("solder").path)


@cache
def qwen_tokenizer(controls: tuple[str, ...]) -> Tokenizer:
    """Qwen's vocabulary, `controls` after it."""
    return _with_controls(vocabularies.qwen(), controls)


@cache
def tekken_tokenizer(controls: tuple[str, ...]) -> Tokenizer:
    """Mistral's vocabulary (Tekken), `controls` after it."""
    return _with_controls(vocabularies.tekken(), controls)


def _with_controls(encoding: tiktoken.Encoding, controls: Sequence[str]) -> Tokenizer:
    pieces = tuple(encoding.decode_single_token_bytes(token) for token in range(encoding.n_vocab))
    reserved = {text: len(pieces) + i for i, text in enumerate(controls)}
    vocabulary = Vocabulary(
        pieces=(*pieces, *(text.encode() for text in controls)),
        kinds=("normal",) * len(pieces) + ("control",) * len(controls),
        end_of_generation=(reserved[controls[-1]],),
        reserved=reserved,
        bos=None,
        add_bos=False,
    )
    return Tokenizer(vocabulary, encoding.encode_ordinary)


def _shared(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Length of the common prefix."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # by halves, as comparing slices is quick
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
