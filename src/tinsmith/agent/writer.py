"""Decoding a tool call in stages, so that every call is valid by construction.

Opener, tool, then argument by argument: each stage is one bounded request under the grammar of its domain,
and where only one continuation is legal its ids are appended without asking the model. A free value that
runs into its bound is cut at a whole character and closed: the tokens that close a call are never the
model's to spend.
"""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Protocol

from tinsmith.agent.arguments import Tools, write_arguments
from tinsmith.agent.stages import ChoiceTries, EngineStages, sampling_at
from tinsmith.agent.transcript import Transcript
from tinsmith.dialects import Call, Dialect, Encoder, ToolSpec, arguments_pieces
from tinsmith.engines import Sampling, TokenEngine, Until, best_first


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
    encoder.prime(list(values))
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

    `said` is the free text before it, `thinking` what a thinking model wrote before that.
    """

    call: Call
    options: Options | None
    said: str = ""
    thinking: str = ""


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
        self._tries = ChoiceTries(encoder)
        opener = dialect.call_opener()
        # None where the opener is plain text.
        self._opener = encoder.encode_control(opener) if opener in dialect.controls else None
        self._free_ban = encoder.reserved_ids

    def write(self, transcript: Transcript) -> Written:
        """Decodes the model's next turn. Raises WindowFull, EngineError, Cancelled."""
        dialect = self._dialect
        transcript.write(dialect.assistant_start(), "syntax")
        stages = self._stages(transcript)
        stages.room()  # raises before an engine is given more than it can read
        self._engine.warm(transcript.ids, self._cancel)
        thinking = self._write_thinking(transcript)
        said = self._write_opening(transcript)
        transcript.write(dialect.tool_start(), "syntax")
        names = self._toolbox.available()
        tools = {dialect.tool_literal(name): name for name in names}
        chosen = tools[stages.choose(list(tools), dialect.tool_follow())]
        spec = next(spec for spec in self._toolbox.specs if spec.name == chosen)
        number = self.number(transcript)
        transcript.write(dialect.arguments_start(number), "syntax")
        options = self.options(transcript, spec.name)
        if options is None:
            return Written(self._write_arguments(transcript, spec), None, said, thinking)
        return Written(options.take(transcript), options, said, thinking)

    def options(self, transcript: Transcript, tool: str, tried: Collection[str] = ()) -> Options | None:
        """The ranked arguments of a call of `tool` whose name is the last in `transcript`, without those `tried`.

        None where this model writes the tool's arguments, or none fits the window.
        """
        spec = next(spec for spec in self._toolbox.specs if spec.name == tool)
        room = self._stages(transcript).room()
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
                branch.write(self._dialect.call_end(self.number(branch)), "syntax")
                return call

            yield key, append
        yield Options.FREE, lambda branch: self._write_arguments(branch, spec)

    def _likelihood(self, prefix: Sequence[int], options: Sequence[Option]) -> Iterator[int]:
        return by_likelihood(self._engine, prefix, options, self._cancel)

    def _write_thinking(self, transcript: Transcript) -> str:
        """What a thinking model thinks before it speaks, and what ends that."""
        end = self._dialect.thinking_end()
        if not end:
            return ""
        thought = self._write_free(transcript, self._encoder.encode([end[0]])[0])
        transcript.write(end, "syntax")
        return thought

    def _write_opening(self, transcript: Transcript) -> str:
        """Free text before the call, up to the opener or the card's bound, and the opener. Gives the free text."""
        if self._opener is not None:
            said = self._write_free(transcript, self._opener)
            transcript.sampled([self._opener], "syntax")
            return said
        opener, stages = self._dialect.call_opener(), self._stages(transcript)
        if not self._preamble:
            stages.literal(opener)
            return ""
        return stages.free(Until(opener), min(self._preamble, stages.room()), opener).removesuffix(opener)

    def _write_free(self, transcript: Transcript, stop: int) -> str:
        """Free text without reserved ids, up to the id `stop`, which is not appended, or the card's bound."""
        if not self._preamble:
            return ""
        generation = self._engine.generate(
            transcript.ids,
            grammar=None,
            banned=self._free_ban - {stop},
            stop=[stop],
            sampling=sampling_at(self._sampling, len(transcript)),
            limit=min(self._preamble, self._stages(transcript).room()),
            cancel=self._cancel,
        )
        transcript.sampled(generation.ids)
        return self._engine.detokenize(generation.ids).decode(errors="replace")

    def number(self, transcript: Transcript) -> int:
        """The number of the last call in `transcript`, from 0. Only counted where the opener is a control token, as in
        all dialects that write it."""
        return transcript.ids.count(self._opener) - 1

    def _stages(self, transcript: Transcript) -> EngineStages:
        return EngineStages(self._engine, self._encoder, transcript, self._sampling, self._cancel, self._tries)

    def _write_arguments(self, transcript: Transcript, spec: ToolSpec) -> Call:
        call = write_arguments(self._stages(transcript), self._dialect, self._toolbox, spec)
        transcript.write(self._dialect.call_end(self.number(transcript)), "syntax")
        return call
