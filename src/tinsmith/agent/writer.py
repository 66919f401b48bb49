"""Decoding a tool call in stages, so that every call is valid by construction.

Opener, tool, then argument by argument: each stage is one bounded request under the grammar of its domain,
and where only one continuation is legal its ids are appended without asking the model. A free value that
runs into its bound is cut at a whole character and closed: the tokens that close a call are never the
model's to spend.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Protocol

from tinsmith.agent.transcript import Transcript
from tinsmith.dialects import Call, Dialect, Encoder, FreeText, OneOfValues, Text, ToolSpec, arguments_pieces
from tinsmith.engines import Grammar, Sampling, TokenEngine, best_first
from tinsmith.tools import Choices, Toolbox

CLOSING_RESERVE = 96
"""Tokens kept back for the syntax that ends a call."""


class WindowFull(Exception):
    """The next stage does not fit the context window."""


@dataclass(frozen=True)
class Option:
    """Complete arguments of a call as ids; `chosen` says which of them are values."""

    ids: Sequence[int]
    chosen: Sequence[bool]


class Order(Protocol):
    """In which order options are tried, as indices; `prefix` are the ids before them."""

    def __call__(self, prefix: Sequence[int], options: Sequence[Option], /) -> Iterable[int]: ...


def as_options(dialect: Dialect, encoder: Encoder, spec: ToolSpec, calls: Sequence[Call]) -> list[Option]:
    """The arguments of `calls`, all of the tool `spec`, as ids."""
    pieces = [arguments_pieces(dialect, spec, call) for call in calls]
    values = (piece.span.text for each in pieces for piece in each if piece.kind == "value")
    encoder.prime([value for value in values if value.endswith("\n")])
    options: list[Option] = []
    for each in pieces:
        parts = [(encoder.encode([piece.span]), piece.kind == "value") for piece in each]
        ids = [token for part, _ in parts for token in part]
        options.append(Option(ids, [chosen for part, chosen in parts for _ in part]))
    return options


def by_likelihood(
    engine: TokenEngine, prefix: Sequence[int], options: Sequence[Option], cancel: Event | None = None
) -> Iterator[int]:
    """Indices of `options`, the most likely first; the next one is only searched for when it is wanted."""
    ids, counted = [option.ids for option in options], [option.chosen for option in options]
    return (index for index, _ in best_first(engine, prefix, ids, counted=counted, cancel=cancel))


@dataclass(frozen=True)
class Written:
    """A call that is in the transcript, and, where its arguments were ranked, the next best ones.

    `tool_at` is the transcript's length before the arguments: where the alternatives fork from.
    """

    call: Call
    tool_at: int
    alternatives: Iterator[Callable[[Transcript], Call]] | None


class CallWriter:
    """Writes the model's turns into a transcript.

    `candidates` lists complete arguments of a tool that the model ranks instead of writing them, as far as
    they fit the window; the last branch is always free writing.
    """

    def __init__(
        self,
        engine: TokenEngine,
        dialect: Dialect,
        encoder: Encoder,
        toolbox: Toolbox,
        *,
        sampling: Sampling,
        preamble_tokens: int,
        candidates: Callable[[str], Sequence[Call]] = lambda tool: (),
        order: Order | None = None,
        cancel: Event | None = None,
    ) -> None:
        self._engine = engine
        self._dialect = dialect
        self._encoder = encoder
        self._toolbox = toolbox
        self._sampling = sampling
        self._preamble = preamble_tokens
        self._candidates = candidates
        self._order = order or self._likelihood
        self._cancel = cancel
        self._stage = 0
        self._opener = encoder.encode_control(dialect.call_opener())
        self._free_ban = encoder.reserved_ids

    def write(self, transcript: Transcript) -> Written:
        """Decodes the model's next turn. Raises WindowFull, EngineError, Cancelled."""
        dialect = self._dialect
        transcript.write(dialect.assistant_start(), "syntax")
        self._room(transcript)  # raises before an engine is given more than it can read
        self._engine.warm(transcript.ids, self._cancel)
        self._write_preamble(transcript)
        transcript.sampled([self._opener], "syntax")
        transcript.write(dialect.tool_start(), "syntax")
        names = self._toolbox.available()
        text = self._choose(transcript, dialect.tool_choice(names), [dialect.tool_literal(name) for name in names])
        spec = next(spec for spec in self._toolbox.specs if spec.name == dialect.tool_from(text))
        at = len(transcript)
        options = self._ranked(transcript, spec)
        if (best := next(options, None)) is None:
            return Written(self._write_arguments(transcript, spec), at, None)
        return Written(best(transcript), at, options)

    def _ranked(self, transcript: Transcript, spec: ToolSpec) -> Iterator[Callable[[Transcript], Call]]:
        room = self._room(transcript)
        calls = self._candidates(spec.name)
        all_options = zip(calls, as_options(self._dialect, self._encoder, spec, calls), strict=True)
        options = [(call, option) for call, option in all_options if len(option.ids) <= room]
        if not options:
            return
        prefix = transcript.ids  # the transcript goes on while later ones are searched for
        for index in self._order(prefix, [option for _, option in options]):
            call, ids = options[index][0], options[index][1].ids

            def append(branch: Transcript, call: Call = call, ids: Sequence[int] = ids) -> Call:
                branch.sampled(ids, "ranked")
                branch.write(self._dialect.call_end(), "syntax")
                return call

            yield append
        yield lambda branch: self._write_arguments(branch, spec)

    def _likelihood(self, prefix: Sequence[int], options: Sequence[Option]) -> Iterator[int]:
        return by_likelihood(self._engine, prefix, options, self._cancel)

    def _write_preamble(self, transcript: Transcript) -> None:
        """Free text before the call, up to the opener or the card's bound."""
        if not self._preamble:
            return
        generation = self._engine.generate(
            transcript.ids,
            grammar=None,
            banned=self._free_ban - {self._opener},
            stop=[self._opener],
            sampling=self._next_sampling(),
            limit=min(self._preamble, self._room(transcript)),
            cancel=self._cancel,
        )
        transcript.sampled([token.id for token in generation.tokens if token.id != self._opener])

    def _write_arguments(self, transcript: Transcript, spec: ToolSpec) -> Call:
        dialect, given = self._dialect, dict[str, str]()
        while True:
            choices = self._toolbox.choices(spec.name, given)
            key = self._write_key(transcript, spec, choices, first=not given)
            if key is None:
                break
            given[key] = self._write_value(transcript, spec, key, choices)
        transcript.write(dialect.call_end(), "syntax")
        return Call(spec.name, given)

    def _write_key(self, transcript: Transcript, spec: ToolSpec, choices: Choices, first: bool) -> str | None:
        dialect = self._dialect
        literals: dict[str, str | None] = {dialect.key_literal(key, first): key for key in choices.options}
        if choices.may_close:
            literals[dialect.close_literal(first)] = None
        grammar = dialect.key_choice(spec, list(choices.options), choices.may_close, first)
        return literals[self._choose(transcript, grammar, list(literals))]

    def _write_value(self, transcript: Transcript, spec: ToolSpec, key: str, choices: Choices) -> str:
        dialect, parameter, domain = self._dialect, spec.parameter(key), choices.options[key]
        grammar = dialect.value(parameter, domain)
        if isinstance(domain, OneOfValues):
            if len(domain.values) == 1:
                text = dialect.value_text(parameter, domain.values[0])
                transcript.write([Text(text)], "syntax")
            else:
                text = self._constrained(transcript, grammar, self._room(transcript))
        else:
            text = self._free(transcript, grammar, domain, dialect.value_abort(parameter))
        transcript.write([Text(dialect.value_close(parameter, domain))], "syntax")
        return dialect.value_from(parameter, text)

    def _choose(self, transcript: Transcript, grammar: Grammar, literals: Sequence[str]) -> str:
        """One of `literals`; where there is but one it is appended without decoding."""
        if len(literals) == 1:
            transcript.write([Text(literals[0])], "syntax")
            return literals[0]
        return self._constrained(transcript, grammar, self._room(transcript))

    def _constrained(self, transcript: Transcript, grammar: Grammar, limit: int) -> str:
        """A value of a finite domain: always complete unless the window ends."""
        generation = self._engine.generate(
            transcript.ids,
            grammar=grammar,
            banned=self._free_ban,
            sampling=self._next_sampling(),
            limit=limit,
            cancel=self._cancel,
        )
        if generation.stop != "grammar":
            raise WindowFull(f"a value did not end within {limit} tokens")
        ids = [token.id for token in generation.tokens]
        transcript.sampled(ids)
        return self._engine.detokenize(ids).decode()

    def _free(self, transcript: Transcript, grammar: Grammar, domain: FreeText, abort: str) -> str:
        """A free value and its end; where the bound comes first, its whole characters and then its end."""
        limit = min(domain.max_tokens, self._room(transcript))
        generation = self._engine.generate(
            transcript.ids,
            grammar=grammar,
            banned=self._free_ban,
            sampling=self._next_sampling(),
            limit=limit,
            cancel=self._cancel,
        )
        ids = [token.id for token in generation.tokens]
        if generation.stop == "grammar":
            transcript.sampled(ids)
            return self._engine.detokenize(ids).decode()
        while ids and not _is_closed_by(self._engine.detokenize(ids), abort):
            ids.pop()
        transcript.sampled(ids)
        transcript.write([Text(abort)], "syntax")
        return self._engine.detokenize(ids).decode() + abort

    def _room(self, transcript: Transcript) -> int:
        room = self._engine.context_window - len(transcript) - CLOSING_RESERVE
        if room < 1:
            raise WindowFull(f"the context window of {self._engine.context_window} tokens is full")
        return room

    def _next_sampling(self) -> Sampling:
        """Each stage has a seed of its own, drawn from the run's, so that a run is exact to repeat."""
        self._stage += 1
        seed = (self._sampling.seed * 1_000_003 + self._stage) % 2**31
        return Sampling(self._sampling.temperature, self._sampling.top_k, self._sampling.top_p, seed)


def _is_closed_by(value: bytes, abort: str) -> bool:
    """Whether `value` is whole characters and the first place where the closing text occurs is after it."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return False
    return (text + abort).index(abort) == len(text)
