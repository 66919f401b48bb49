"""Decoding a tool call in stages, so that every call is valid by construction.

Opener, tool, then argument by argument: each stage is one bounded request under the grammar of its domain,
and where only one continuation is legal its ids are appended without asking the model. A free value that
runs into its bound is cut at a whole character and closed: the tokens that close a call are never the
model's to spend.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Protocol

from tinsmith.agent.transcript import Transcript
from tinsmith.dialects import Call, Dialect, Encoder, FreeText, OneOfValues, Text, ToolSpec, arguments_pieces
from tinsmith.engines import Grammar, Sampling, TokenEngine, best_first
from tinsmith.tools import Choices

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


class Options:
    """The arguments of a call that are left to choose from, the most likely first; the last is free writing.

    `at` is the length of the transcript that they follow, `tried` the keys of those already taken.
    """

    FREE = "free"

    def __init__(
        self, tool: str, at: int, ranked: Iterator[tuple[str, Callable[[Transcript], Call]]], keys: Collection[str]
    ) -> None:
        self.tool = tool
        self.at = at
        self.tried: list[str] = []
        self._ranked = ranked
        self._left = set(keys) | {self.FREE}

    @property
    def left(self) -> int:
        """How many are left. Costs nothing: the next best is only searched for when it is wanted."""
        return len(self._left)

    def take(self, transcript: Transcript) -> Call:
        """Writes the next best into `transcript`, which must end where the options begin."""
        key, write = next(self._ranked)
        self._left.discard(key)
        self.tried.append(key)
        return write(transcript)

    def skip(self, tried: Collection[str]) -> None:
        """Leaves out those whose keys are in `tried`."""
        self.tried += [key for key in tried if key in self._left]
        self._left -= set(tried)
        self._ranked = ((key, write) for key, write in self._ranked if key not in tried)


def call_key(call: Call) -> str:
    """What tells a candidate call from the others, across processes."""
    return hashlib.sha256(json.dumps(dict(call.arguments), sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Written:
    """A call that is in the transcript, and the options it was chosen from where its arguments were ranked.

    `said` is the free text before it.
    """

    call: Call
    options: Options | None
    said: str = ""


class Tools(Protocol):
    """What can be called now: the toolbox, or a part of it."""

    specs: Sequence[ToolSpec]

    def available(self) -> list[str]:
        """The names of the tools that can be called now; at least one."""
        ...

    def choices(self, tool: str, given: Mapping[str, str]) -> Choices:
        """What may come next in a call of `tool` that has `given` so far."""
        ...


class CallWriter:
    """Writes the model's turns into a transcript.

    `candidates` lists complete arguments of a tool that the model ranks instead of writing them, as far as
    they fit the window; the last branch is always free writing. `skip` are the keys of those not to offer.
    """

    def __init__(
        self,
        engine: TokenEngine,
        dialect: Dialect,
        encoder: Encoder,
        toolbox: Tools,
        *,
        sampling: Sampling,
        preamble_tokens: int,
        candidates: Callable[[str], Sequence[Call]] = lambda tool: (),
        order: Order | None = None,
        skip: Collection[str] = (),
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
        self._skip = skip
        self._cancel = cancel
        self._opener = encoder.encode_control(dialect.call_opener())
        self._free_ban = encoder.reserved_ids

    def write(self, transcript: Transcript) -> Written:
        """Decodes the model's next turn. Raises WindowFull, EngineError, Cancelled."""
        dialect = self._dialect
        transcript.write(dialect.assistant_start(), "syntax")
        self._room(transcript)  # raises before an engine is given more than it can read
        self._engine.warm(transcript.ids, self._cancel)
        said = self._write_preamble(transcript)
        transcript.sampled([self._opener], "syntax")
        transcript.write(dialect.tool_start(), "syntax")
        names = self._toolbox.available()
        text = self._choose(transcript, dialect.tool_choice(names), [dialect.tool_literal(name) for name in names])
        spec = next(spec for spec in self._toolbox.specs if spec.name == dialect.tool_from(text))
        options = self.options(transcript, spec.name)
        if options is None:
            return Written(self._write_arguments(transcript, spec), None, said)
        return Written(options.take(transcript), options, said)

    def options(self, transcript: Transcript, tool: str, tried: Collection[str] = ()) -> Options | None:
        """The ranked arguments of a call of `tool` whose name is the last in `transcript`, without those `tried`.

        None where this model writes the tool's arguments, or none fits the window.
        """
        spec = next(spec for spec in self._toolbox.specs if spec.name == tool)
        room = self._room(transcript)
        calls = self._candidates(tool)
        encoded = zip(calls, as_options(self._dialect, self._encoder, spec, calls), strict=True)
        fitting = {call_key(call): (call, option) for call, option in encoded if len(option.ids) <= room}
        if not fitting:
            return None
        ranked = self._ranked(transcript.ids, spec, list(fitting.items()))
        options = Options(tool, len(transcript), ranked, fitting)
        options.skip([*tried, *self._skip])
        return options if options.left else None

    def _ranked(
        self, prefix: Sequence[int], spec: ToolSpec, options: Sequence[tuple[str, tuple[Call, Option]]]
    ) -> Iterator[tuple[str, Callable[[Transcript], Call]]]:
        for index in self._order(prefix, [option for _, (_, option) in options]):
            key, (call, option) = options[index]

            def append(branch: Transcript, call: Call = call, ids: Sequence[int] = option.ids) -> Call:
                branch.sampled(ids, "ranked")
                branch.write(self._dialect.call_end(), "syntax")
                return call

            yield key, append
        yield Options.FREE, lambda branch: self._write_arguments(branch, spec)

    def _likelihood(self, prefix: Sequence[int], options: Sequence[Option]) -> Iterator[int]:
        return by_likelihood(self._engine, prefix, options, self._cancel)

    def _write_preamble(self, transcript: Transcript) -> str:
        """Free text before the call, up to the opener or the card's bound."""
        if not self._preamble:
            return ""
        generation = self._engine.generate(
            transcript.ids,
            grammar=None,
            banned=self._free_ban - {self._opener},
            stop=[self._opener],
            sampling=self._sampling_at(transcript),
            limit=min(self._preamble, self._room(transcript)),
            cancel=self._cancel,
        )
        ids = [token.id for token in generation.tokens if token.id != self._opener]
        transcript.sampled(ids)
        return self._engine.detokenize(ids).decode(errors="replace")

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
            sampling=self._sampling_at(transcript),
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
            sampling=self._sampling_at(transcript),
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

    def _sampling_at(self, transcript: Transcript) -> Sampling:
        """Each stage has a seed of its own, from the run's and from where it stands, so that a run is exact to
        repeat and goes on after an interrupt as it would have without."""
        seed = (self._sampling.seed * 1_000_003 + 7_919 * len(transcript)) % 2**31
        return Sampling(self._sampling.temperature, self._sampling.top_k, self._sampling.top_p, seed)


def _is_closed_by(value: bytes, abort: str) -> bool:
    """Whether `value` is whole characters and the first place where the closing text occurs is after it."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return False
    return (text + abort).index(abort) == len(text)
