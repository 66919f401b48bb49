"""The loop: ask, act, observe, until the gate says done or a limit is reached.

Each turn the model writes one call. An edit is verified at once by the judge; `finish` is the judge's to
grant. Where the model ranked its edit among candidates and the judge rejects it, the next candidate is tried
on a fork of the transcript and on the snapshot of the copy, as if the first had never been: failed attempts
do not fill the window.

A turn ends with one event, `turn`, that holds all the loop needs to go on after it: it is on the disk before
the next turn begins. What an interrupted turn did is undone and done again.
"""

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from tinsmith.agent.limits import LimitReached, Limits, Repetition
from tinsmith.agent.record import Record, place_of, within
from tinsmith.agent.speaker import Writer
from tinsmith.agent.stages import CLOSING_RESERVE, WindowFull
from tinsmith.agent.transcript import EventSink, Transcript
from tinsmith.agent.writer import Options
from tinsmith.dialects import Call, Encoder, Text, Turns
from tinsmith.engines import Engine
from tinsmith.events import redact
from tinsmith.tools import FINISH, Observation, Toolbox, shown

MIN_OBSERVATION = 256
"""Tokens that an observation is always given."""


@dataclass(frozen=True)
class Verdict:
    """What the judge found. `accepted`: an edit passes its narrow tests, or `finish` is granted."""

    accepted: bool
    text: str


class Judge(Protocol):
    """Runs tests; raises LimitReached when none are left."""

    def after_edit(self) -> Verdict:
        """The narrowest relevant tests, on the agent's copy."""
        ...

    def finish(self, summary: str) -> Verdict:
        """The gate, on a clean copy with the patch."""
        ...


class Copy(Protocol):
    """The private copy, as far as going back and telling what changed need it."""

    base: str

    def snapshot(self) -> str: ...

    def restore(self, tree: str) -> None: ...

    def diff(self, base: str, tree: str) -> str: ...


@dataclass(frozen=True)
class End:
    """How the loop ended. `reason` is one sentence."""

    outcome: Literal["finished", "limit"]
    reason: str
    summary: str = ""


@dataclass(frozen=True)
class Opening:
    """What every attempt begins with: system text and brief.

    `length` is how much of `transcript` it is, `at` the length before the syntax that ends the brief: the record
    goes there when observations are forgotten. `restore_shown` counts the lines that the brief shows as shown.
    """

    transcript: Transcript
    at: int
    length: int
    restore_shown: Callable[[], None]


@dataclass
class Choice:
    """Where the model chose among candidates: what to go back to."""

    tool: str
    at: int
    tree: str
    toolbox: dict[str, Any]
    tried: list[str]
    left: int


@dataclass
class State:
    """All the loop knows after a turn, as JSON. `tree` is the copy as it was then."""

    tree: str
    turns: int = 0
    tokens: int = 0
    seconds: float = 0.0
    retry: bool = False
    choice: Choice | None = None
    record: Record = field(default_factory=Record)
    recent: list[str] = field(default_factory=list[str])
    finished: str | None = None
    """The summary of the `finish` that the gate granted."""

    def as_json(self) -> dict[str, Any]:
        """For the `turn` event."""
        return {
            "tree": self.tree,
            "turns": self.turns,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 3),
            "retry": self.retry,
            "choice": vars(self.choice) if self.choice else None,
            "record": self.record.as_json(),
            "recent": self.recent,
            "finished": self.finished,
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "State":
        """The state that `as_json` gave."""
        choice = given["choice"]
        return cls(
            given["tree"],
            given["turns"],
            given["tokens"],
            given["seconds"],
            given["retry"],
            Choice(**choice) if choice else None,
            Record.from_json(given["record"]),
            list(given["recent"]),
            given["finished"],
        )


class Loop:
    """One attempt of the agent. `progress` is told one line a turn, `reply_tokens` is the longest call."""

    def __init__(
        self,
        engine: Engine,
        dialect: Turns,
        encoder: Encoder,
        writer: Writer,
        toolbox: Toolbox,
        judge: Judge,
        copy: Copy,
        limits: Limits,
        sink: EventSink,
        opening: Opening,
        state: State,
        *,
        reply_tokens: int,
        attempt: int = 1,
        progress: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._engine = engine
        self._dialect = dialect
        self._encoder = encoder
        self._writer = writer
        self._toolbox = toolbox
        self._judge = judge
        self._copy = copy
        self._limits = limits
        self._sink = sink
        self._opening = opening
        self._reply = reply_tokens + CLOSING_RESERVE
        self._attempt = attempt
        self._progress = progress
        self._repetition = Repetition(state.recent)
        self._options: Options | None = None
        self._said = ""
        self._started = time.monotonic()
        self._seconds_before = state.seconds
        self.state = state

    @property
    def tried(self) -> list[str]:
        """The keys of the candidates that the last choice has tried."""
        return list(self.state.choice.tried) if self.state.choice else []

    def run(self, transcript: Transcript) -> End:
        """Runs to the end, from a fresh start or from where `state` stands.

        Raises EngineError and Cancelled; the log then holds every completed turn, and the copy what was done.
        """
        self._engine.begin_turn()
        try:
            while self.state.finished is None:
                transcript = self._turn(transcript)
        except (LimitReached, WindowFull) as limit:
            return End("limit", str(limit))
        return End("finished", "the gate accepted", self.state.finished)

    def _turn(self, transcript: Transcript) -> Transcript:
        self._check_limits()
        if self.state.retry:
            transcript, call = self._next_option(transcript)
        else:
            transcript = self._with_room(transcript)
            try:
                call = self._write(transcript)
            except WindowFull:  # a server may count otherwise than was thought: once more, with all the room there is
                transcript = self._forget(transcript)
                call = self._write(transcript)
        self._sink.append("call", tool=call.tool, arguments=dict(call.arguments))
        spent = {"tool": 0.0, "test": 0.0}
        verdict, observation = self._act(call, transcript, spent)
        self._complete(transcript, call, verdict, observation, spent)
        return transcript

    def _check_limits(self) -> None:
        limits, state = self._limits, self.state
        state.seconds = self._seconds_before + time.monotonic() - self._started
        if state.turns >= limits.turns:
            raise LimitReached(f"the limit of {limits.turns} turns")
        if state.seconds > limits.seconds:
            raise LimitReached(f"the limit of {limits.seconds:.0f} seconds")
        if state.tokens >= limits.tokens:
            raise LimitReached(f"the limit of {limits.tokens} tokens")
        state.turns += 1

    def _write(self, transcript: Transcript) -> Call:
        written = self._writer.write(transcript)
        self._said = written.said
        if (options := written.options) is not None:
            self._options = options
            toolbox = self._toolbox.state()
            self.state.choice = Choice(options.tool, options.at, self.state.tree, toolbox, options.tried, options.left)
        return written.call

    def _next_option(self, transcript: Transcript) -> tuple[Transcript, Call]:
        """The next best candidate, on a fork from where the model chose, with the copy as it was then."""
        choice = self.state.choice
        assert choice is not None
        self._copy.restore(choice.tree)
        self._toolbox.restore(choice.toolbox)
        transcript = transcript.fork(choice.at)
        if self._options is None:  # chosen in a process that is gone: the ranking is made again
            self._options = self._writer.options(transcript, choice.tool, choice.tried)
            assert self._options is not None
        self.state.tree, self._said = choice.tree, ""
        call = self._options.take(transcript)
        choice.tried, choice.left = self._options.tried, self._options.left
        return transcript, call

    def _with_room(self, transcript: Transcript) -> Transcript:
        """The transcript with room for a call and an observation: where there is none, old turns are forgotten."""
        if self._left(transcript) >= max(MIN_OBSERVATION, self._engine.context_window // 16):
            return transcript
        return self._forget(transcript)

    def _forget(self, transcript: Transcript) -> Transcript:
        """A fork after the brief, with the record in the place of all turns. Raises WindowFull where it is no help."""
        opening = self._opening
        window = self._engine.context_window
        room = window - opening.at - self._reply - MIN_OBSERVATION
        # At most half of the room, so that the turns after it are many before the next forgetting.
        record = self._record_text(room // 2)
        shorter = transcript.fork(opening.at)
        shorter.write([Text("\n\n" + record), *self._dialect.user_end()], "record")
        if self._left(shorter) < MIN_OBSERVATION:
            raise WindowFull(f"the context window of {window} tokens is full")
        self.state.choice = self._options = None  # it was made in a prompt that is gone
        self._sink.append(
            "forgot",
            branch=shorter.branch,
            at=opening.at,
            dropped=len(transcript) - opening.at,
            record=self.state.record.as_json(),
        )
        self._progress(f"window: {len(transcript)} of {window} tokens used, {len(shorter)} kept")
        return shorter

    def _record_text(self, budget: int) -> str:
        diff = redact(self._copy.diff(self._copy.base, self.state.tree))
        excerpts = self._toolbox.recent_excerpts()
        text = self.state.record.text(diff, [shown(excerpt) for excerpt in excerpts], budget, self._encoder.count)
        self._toolbox.forget()
        self._opening.restore_shown()
        for excerpt in excerpts:
            if shown(excerpt) in text:  # there may be no room for all
                self._toolbox.show(excerpt)
        return text

    def _left(self, transcript: Transcript) -> int:
        """Tokens for observations: what the window has beside the next call."""
        return self._engine.context_window - len(transcript) - self._reply

    def _budget(self, transcript: Transcript) -> int:
        """Tokens for one observation: half of what is left, so that the window never fills with one output."""
        return max(MIN_OBSERVATION, self._left(transcript) // 2)

    def _act(self, call: Call, transcript: Transcript, spent: dict[str, float]) -> tuple[Verdict | None, Observation]:
        """Does the call; edits and `finish` come with a verdict. `spent` are the seconds of tools and tests."""
        started = time.monotonic()
        if call.tool == FINISH.name:
            verdict = self._judge.finish(call.arguments.get("summary", ""))
            spent["test"] = time.monotonic() - started
            return verdict, Observation(verdict.text, "done" if verdict.accepted else "refused")
        observation = self._toolbox.execute(call, self._budget(transcript))
        spent["tool"] = time.monotonic() - started
        if observation.edited:
            started = time.monotonic()
            verdict = self._judge.after_edit()
            spent["test"] = time.monotonic() - started
            text = verdict.text if verdict.accepted else f"{observation.text}\n{verdict.text}"
            return verdict, Observation(text, edited=True)
        if call.tool == "edit":  # refused: the next candidate may still be right
            return Verdict(False, observation.text), observation
        return None, observation

    def _complete(
        self,
        transcript: Transcript,
        call: Call,
        verdict: Verdict | None,
        observation: Observation,
        spent: Mapping[str, float],
    ) -> None:
        """Makes the turn durable: after the `turn` event it will never be done again."""
        state = self.state
        text = within(redact(observation.text), self._budget(transcript), self._encoder.count)
        accepted = verdict.accepted if verdict else None
        state.record.note(call, self._said, text, accepted)
        state.retry = accepted is False and state.choice is not None and state.choice.left > 0
        if accepted is False and not state.retry:
            state.choice = self._options = None
        if accepted and call.tool == FINISH.name:
            state.finished = call.arguments.get("summary", "")
        elif not state.retry:
            text += self._repetition.note(_key(call, text))
            number = self._writer.number(transcript)
            transcript.write(self._dialect.observation(text, number, call.tool), "observation")
        if call.tool in ("edit", "run"):
            state.tree = self._copy.snapshot()
        usage = self._engine.end_turn()
        self._engine.begin_turn()  # at once: what the search for a next candidate reads is the next turn's
        state.tokens += usage.prefilled + usage.decoded
        state.seconds = self._seconds_before + time.monotonic() - self._started
        self._sink.append(
            "turn",
            number=state.turns,
            attempt=self._attempt,
            branch=transcript.branch,
            length=len(transcript),
            tool=call.tool,
            place=place_of(call),
            observation=text,
            kind=observation.kind,
            missed=observation.missed,
            accepted=accepted,
            usage={"prefilled": usage.prefilled, "reused": usage.reused, "decoded": usage.decoded},
            seconds={
                "prefill": round(usage.prefill_seconds, 3),
                "decode": round(usage.decode_seconds, 3),
                **{kind: round(seconds, 3) for kind, seconds in spent.items()},
            },
            toolbox=self._toolbox.state(),
            state=state.as_json(),
        )
        said = text.strip().split("\n")
        place = call.arguments.get("path", "") + (f":{call.arguments['start']}" if "start" in call.arguments else "")
        self._progress(f"turn {state.turns}: {call.tool} {place}  {said[-1][:100]}")
        self._repetition.check()


def _key(call: Call, result: str) -> str:
    """What a repetition is told by: the call and its result."""
    result = re.sub(r"output:\d+", "output", result)  # each long output has a handle of its own
    text = repr((call.tool, sorted(call.arguments.items()), result))
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]
