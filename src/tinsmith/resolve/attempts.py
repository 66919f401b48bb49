"""Several candidate fixes from the same opening, and the choice among them by their evidence."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from tinsmith.agent import EventSink, Limits, Loop, Opening, Order, Speaker, State, Transcript
from tinsmith.dialects import Call
from tinsmith.engines import Sampling
from tinsmith.models import ModelCard
from tinsmith.resolve.gate import Gate
from tinsmith.tools import Toolbox
from tinsmith.workspace import Workspace


@dataclass(frozen=True)
class Attempt:
    """How one attempt ended and what it took. `tree` is the copy as it left it; `tried` its ranked candidates."""

    number: int
    accepted: bool
    reason: str
    summary: str
    tree: str
    findings: int
    changed_lines: int
    tried: list[str]
    evidence: Mapping[str, Any]
    turns: int
    test_runs: int
    tokens: int
    time: float

    @classmethod
    def of_event(cls, event: Mapping[str, Any]) -> "Attempt":
        """The attempt that an `attempt` event tells of."""
        names = {each.name: "took" if each.name == "time" else each.name for each in fields(cls)}  # time is the event's
        return cls(**{name: event[key] for name, key in names.items()})


def best_of(attempts: Sequence[Attempt]) -> Attempt:
    """The best evidence wins: accepted, without a finding, the fewest changed lines; the earlier among equals.

    Where none is accepted it is the last.
    """
    accepted = [attempt for attempt in attempts if attempt.accepted]
    if not accepted:
        return attempts[-1]
    return min(accepted, key=lambda attempt: (attempt.findings, attempt.changed_lines, attempt.number))


def status_of(best: Attempt, reproduces: bool) -> tuple[str, str]:
    """Status and reason of a run, from what the gate saw and from nothing else.

    `reproduces`: whether a test failed on the clean base.
    """
    if not best.accepted:
        return "unresolved", f"stopped at {best.reason}"
    if not reproduces:
        return "unverified", "no test failed on the clean base, so nothing proves the fix"
    if best.findings:
        return "unverified", f"the tests pass, but they prove little: {best.evidence['findings'][0]['text']}"
    return "resolved", "the reproduction flips and nothing that passed is broken"


@dataclass
class Attempts:
    """What every attempt needs. `start` is the copy that each begins with, `done` those that have ended."""

    speaker: Speaker
    card: ModelCard
    toolbox: Toolbox
    gate: Gate
    workspace: Workspace
    opening: Opening
    sink: EventSink
    candidates: Callable[[str], Sequence[Call]]
    order: Order | None
    seed: int
    limits: Limits
    reply_tokens: int
    start: str
    done: list[Attempt]
    progress: Callable[[str], None]

    def run(self, count: int, turn: Mapping[str, Any] | None, transcript: Transcript | None) -> None:
        """At most `count` attempts that share the limits. `turn`, `transcript`: the one in work, if any."""
        self.opening.restore_shown()
        fresh = self.toolbox.state()
        while len(self.done) < count:
            number = len(self.done) + 1
            if turn is not None and transcript is not None:
                state = State.from_json(turn["state"])
                self.toolbox.restore(turn["toolbox"])
            else:
                state = State(self.start)
                transcript = self.opening.transcript
                if number > 1:
                    transcript = transcript.fork(self.opening.length)
                    self.progress(f"attempt {number} of {count}")
                self.toolbox.restore(fresh)
            self.workspace.restore(state.tree)
            self.done.append(self._attempt(number, count, state, transcript))
            turn = transcript = None
            left = self._left(count)
            if min(left.turns, left.test_runs, left.tokens, left.seconds) <= 0:
                break

    def _attempt(self, number: int, count: int, state: State, transcript: Transcript) -> Attempt:
        limits = self._left(count)
        runs_before = sum(attempt.test_runs for attempt in self.done)
        self.gate.limit = runs_before + limits.test_runs
        sampling = self.card.sampling
        speaker = self.speaker
        writer = speaker.writer(
            self.toolbox,
            Sampling(sampling.temperature, sampling.top_k, sampling.top_p, self.seed + number - 1),
            self.reply_tokens,
            candidates=self.candidates,
            order=self.order,
            skip=[key for attempt in self.done for key in attempt.tried],
        )
        loop = Loop(
            speaker.engine,
            speaker.turns,
            speaker.encoder,
            writer,
            self.toolbox,
            self.gate,
            self.workspace,
            limits,
            self.sink,
            self.opening,
            state,
            reply_tokens=self.reply_tokens,
            attempt=number,
            progress=self.progress,
        )
        end = loop.run(transcript)
        tree = self.workspace.snapshot()  # a limit can end a turn after its edit
        diff = self.workspace.diff(self.workspace.base, tree)
        accepted = end.outcome == "finished"
        attempt = Attempt(
            number,
            accepted,
            end.reason,
            end.summary,
            tree,
            len(self.gate.evidence.findings) if accepted else 0,
            sum(line[:1] in "+-" and line[:3] not in ("+++", "---") for line in diff.split("\n") if line),
            loop.tried,
            asdict(self.gate.evidence),
            state.turns,
            self.gate.runs_after_edit - runs_before,
            state.tokens,
            state.seconds,
        )
        row = asdict(attempt)
        self.sink.append("attempt", took=row.pop("time"), **row)
        return attempt

    def _left(self, count: int) -> Limits:
        """The share of one attempt: what those before it left, divided by how many are to come."""
        coming = max(1, count - len(self.done))
        limits, done = self.limits, self.done
        return Limits(
            (limits.turns - sum(attempt.turns for attempt in done)) // coming,
            (limits.test_runs - sum(attempt.test_runs for attempt in done)) // coming,
            (limits.seconds - sum(attempt.time for attempt in done)) / coming,
            (limits.tokens - sum(attempt.tokens for attempt in done)) // coming,
        )
