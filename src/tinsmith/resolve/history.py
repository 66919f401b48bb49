"""What the log of a run says that has been done: where an interrupted run goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tinsmith.agent import branches_in
from tinsmith.errors import InputError
from tinsmith.events import Event, RunLog
from tinsmith.resolve.analysis import Analysis
from tinsmith.resolve.request import Request

Turn = Mapping[str, Any]


@dataclass
class History:
    """A run so far. `turn` is the last completed turn of the attempt in work, `attempts` those that have ended.

    `usage` sums the completed turns; `seconds` is the time that the run was at work.
    """

    events: list[Event]
    analysis: Analysis | None = None
    opening: Mapping[str, Any] | None = None
    turn: Turn | None = None
    attempts: list[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])
    evidence: Mapping[str, Any] | None = None
    reproduction_stage: Mapping[str, Any] | None = None
    runs_after_edit: int = 0
    runs: int = 0
    turns: int = 0
    usage: dict[str, int] = field(default_factory=dict[str, int])
    seconds: float = 0.0
    branch: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, log: RunLog) -> "History":
        """Reads the log of a run. Raises InputError `log_corrupt`."""
        history = cls(list(log.events()))
        history.analysis = Analysis.of_events(history.events)
        for event in history.events:
            history._take(event)
        history.seconds = _seconds(history.events)
        return history

    def request(self, state_dir: Path | None) -> Request:
        """What the person asked for. Raises InputError `not_resumable` where the log does not say."""
        asked = next((event for event in self.events if event["type"] == "request"), None)
        issue = next((event for event in self.events if event["type"] == "issue"), None)
        if asked is None or issue is None:
            raise InputError("not_resumable", "the run was interrupted before anything was done", "Start it again.")
        given = {key: value for key, value in asked.items() if key not in ("v", "seq", "time", "type")}
        return Request.from_json(given, issue["text"], state_dir)

    def branches(self) -> dict[int, list[int]]:
        """The ids of every branch of the transcript."""
        return branches_in(self.events)

    def _add(self, usage: Mapping[str, int]) -> None:
        for kind, count in usage.items():
            self.usage[kind] = self.usage.get(kind, 0) + count

    def _take(self, event: Event) -> None:
        match event["type"]:
            case "opening":
                self.opening, self.turn = event, None
            case "turn":
                self.turn = event
                self.turns += 1
                self._add(event["usage"])
            case "reproduction_attempt":
                self._add(event["usage"])
            case "attempt":
                self.attempts.append(event)
                self.turn = None
            case "evidence":
                self.evidence = event["evidence"]
            case "reproduction_stage":
                self.reproduction_stage = event
            case "test_run":
                self.runs += event.get("starts", 1)
                self.runs_after_edit += event.get("counted", True)
            case "branch":
                self.branch = event
            case _:
                pass


def _seconds(events: list[Event]) -> float:
    """The time between the first and the last event of each process that worked on the run."""
    total = 0.0
    started = previous = None
    for event in events:
        moment = datetime.fromisoformat(event["time"])
        if event["type"] in ("run_started", "run_resumed"):
            if started is not None and previous is not None:
                total += (previous - started).total_seconds()
            started = moment
        previous = moment
    if started is not None and previous is not None:
        total += (previous - started).total_seconds()
    return total
