"""The loop: ask, act, observe, until the gate says done or a limit is reached.

Each turn the model writes one call. An edit is verified at once by the judge; `finish` is the judge's to
grant. Where the model ranked its edit among candidates and the judge rejects it, the next candidate is tried
on a fork of the transcript and on the snapshot of the copy, as if the first had never been: failed attempts
do not fill the window.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from tinsmith.agent.transcript import EventSink, Transcript
from tinsmith.agent.writer import CallWriter, WindowFull
from tinsmith.dialects import Call, Dialect
from tinsmith.engines import TokenEngine
from tinsmith.tools import FINISH, Observation, ShownLines, Toolbox


@dataclass(frozen=True)
class Verdict:
    """What the judge found. `accepted`: an edit passes its narrow tests, or `finish` is granted."""

    accepted: bool
    text: str


class LimitReached(Exception):
    """A limit of the run; the text names it."""


class Judge(Protocol):
    """Runs tests; raises LimitReached when none are left."""

    def after_edit(self) -> Verdict:
        """The narrowest relevant tests, on the agent's copy."""
        ...

    def finish(self, summary: str) -> Verdict:
        """The gate, on a clean copy with the patch."""
        ...


class Copy(Protocol):
    """The private copy, as far as going back needs it."""

    def snapshot(self) -> str: ...

    def restore(self, tree: str) -> None: ...


@dataclass(frozen=True)
class Limits:
    """Where a run ends. `test_runs` counts the runs after an edit; `seconds` is wall clock."""

    turns: int = 60
    test_runs: int = 20
    seconds: float = 3600.0


@dataclass(frozen=True)
class End:
    """How the loop ended. `reason` is one sentence."""

    outcome: Literal["finished", "limit"]
    reason: str
    summary: str = ""


@dataclass
class _ChoicePoint:
    """Where the model chose among candidates: what to go back to, and the choices left."""

    length: int
    snapshot: str
    shown: ShownLines
    left: Iterator[Callable[[Transcript], Call]]


class Loop:
    """One run of the agent. `progress` is told one line a turn."""

    def __init__(
        self,
        engine: TokenEngine,
        dialect: Dialect,
        writer: CallWriter,
        toolbox: Toolbox,
        judge: Judge,
        copy: Copy,
        limits: Limits,
        sink: EventSink,
        progress: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._engine = engine
        self._dialect = dialect
        self._writer = writer
        self._toolbox = toolbox
        self._judge = judge
        self._copy = copy
        self._limits = limits
        self._sink = sink
        self._progress = progress
        self._choice: _ChoicePoint | None = None
        self.turns = 0

    def run(self, transcript: Transcript) -> End:
        """Runs to the end. Raises EngineError and Cancelled; what the copy holds then is what was done."""
        deadline = time.monotonic() + self._limits.seconds
        self._engine.begin_turn()
        try:
            while True:
                self._begin_turn(deadline)
                call = self._next_call(transcript)
                verdict, observation = self._act(call)
                self._end_turn(transcript, call, observation, verdict)
                while verdict and not verdict.accepted and (option := self._next_option()):
                    self._begin_turn(deadline)
                    transcript = self._go_back(transcript)
                    call = option(transcript)
                    verdict, observation = self._act(call)
                    self._end_turn(transcript, call, observation, verdict)
                if call.tool == FINISH.name and verdict and verdict.accepted:
                    return End("finished", "the gate accepted", call.arguments.get("summary", ""))
                transcript.write(self._dialect.observation(observation.text), "observation")
        except (LimitReached, WindowFull) as limit:
            return End("limit", str(limit))

    def _begin_turn(self, deadline: float) -> None:
        if self.turns >= self._limits.turns:
            raise LimitReached(f"the limit of {self._limits.turns} turns")
        if time.monotonic() > deadline:
            raise LimitReached(f"the limit of {self._limits.seconds:.0f} seconds")
        self.turns += 1

    def _next_call(self, transcript: Transcript) -> Call:
        written = self._writer.write(transcript)
        if written.alternatives is not None:
            before, shown = self._copy.snapshot(), self._toolbox.shown.copy()
            self._choice = _ChoicePoint(written.tool_at, before, shown, written.alternatives)
        return written.call

    def _next_option(self) -> Callable[[Transcript], Call] | None:
        """The next best candidate; None where nothing is left to choose."""
        option = next(self._choice.left, None) if self._choice else None
        if option is None:
            self._choice = None
        return option

    def _go_back(self, transcript: Transcript) -> Transcript:
        """A fork from where the model chose, with the copy and what is shown as they were then."""
        assert self._choice is not None
        self._copy.restore(self._choice.snapshot)
        self._toolbox.shown = self._choice.shown.copy()
        return transcript.fork(self._choice.length)

    def _act(self, call: Call) -> tuple[Verdict | None, Observation]:
        """Does the call; edits and `finish` come with a verdict."""
        self._sink.append("call", tool=call.tool, arguments=dict(call.arguments))
        if call.tool == FINISH.name:
            verdict = self._judge.finish(call.arguments.get("summary", ""))
            return verdict, Observation(verdict.text, "done" if verdict.accepted else "refused")
        observation = self._toolbox.execute(call)
        if observation.edited:
            verdict = self._judge.after_edit()
            text = verdict.text if verdict.accepted else f"{observation.text}\n{verdict.text}"
            return verdict, Observation(text, edited=True)
        if call.tool == "edit":  # refused: the next candidate may still be right
            return Verdict(False, observation.text), observation
        return None, observation

    def _end_turn(self, transcript: Transcript, call: Call, observation: Observation, verdict: Verdict | None) -> None:
        usage = self._engine.end_turn()
        self._engine.begin_turn()  # at once: what the search for a next candidate reads is the next turn's
        self._sink.append(
            "turn",
            number=self.turns,
            branch=transcript.branch,
            tool=call.tool,
            observation=observation.text,
            kind=observation.kind,
            missed=observation.missed,
            accepted=verdict.accepted if verdict else None,
            usage={"prefilled": usage.prefilled, "reused": usage.reused, "decoded": usage.decoded},
        )
        place = call.arguments.get("path", "") + (f":{call.arguments['start']}" if "start" in call.arguments else "")
        said = observation.text.strip().split("\n")
        self._progress(f"turn {self.turns}: {call.tool} {place}  {said[-1][:100]}")
