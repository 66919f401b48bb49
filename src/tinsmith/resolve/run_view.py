"""What the events of a run say, in the order in which a person asks.

Everything here is a projection of the log: nothing else is read. Logs of older versions lack events and fields;
what is not known stays empty. Every string is redacted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tinsmith.events import Event, RunLog, redact, redact_event
from tinsmith.resolve.diff_view import FileDiff, file_diffs, shortened
from tinsmith.resolve.report import readable, title

MAX_SUSPECTS = 5
MAX_TESTS = 50
_MAX_TEXT = 20_000
SPANS = ("prefill", "decode", "tool", "test")

_Row = Mapping[str, Any]


@dataclass(frozen=True)
class Suspect:
    """`changed`: the patch changes it."""

    path: str
    name: str
    first: int
    last: int
    reasons: Sequence[str]
    changed: bool


@dataclass(frozen=True)
class Test:
    """One reproduction test. `before` and `after` are outcomes, `message` is what it said on the clean base."""

    __test__ = False

    nodeid: str
    before: str
    message: str
    after: str


@dataclass(frozen=True)
class Turn:
    """`seconds` by span; `written` is what an edit put there, `result` what came of the call, both in a few words."""

    number: int
    attempt: int
    tool: str
    place: str
    written: str
    result: str
    seconds: Mapping[str, float]
    prefilled: int
    reused: int
    decoded: int

    @property
    def total(self) -> float:
        """Seconds, all spans."""
        return sum(self.seconds.values())


@dataclass(frozen=True)
class Incident:
    """What happened between turns: forgetting, a restart of the engine, a resume, a fork."""

    text: str


@dataclass
class RunView:
    """See the sections of the report."""

    run: str
    status: str = "interrupted"
    reason: str = ""
    repo: str = ""
    model: str = ""
    window: int = 0
    started: str = ""
    branch: str = ""
    summary: str = ""
    issue: str = ""
    suspects: list[Suspect] = field(default_factory=list[Suspect])
    files: list[FileDiff] = field(default_factory=list[FileDiff])
    lines_cut: int = 0
    written_test: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tests: list[Test] = field(default_factory=list[Test])
    more_tests: int = 0
    still_passing: int | None = None
    broken: list[str] = field(default_factory=list[str])
    flaky: list[str] = field(default_factory=list[str])
    control: bool | None = None
    findings: list[_Row] = field(default_factory=list[_Row])
    attempts: list[_Row] = field(default_factory=list[_Row])
    chosen: int = 0
    timeline: list[Turn | Incident] = field(default_factory=list[Turn | Incident])
    usage: dict[str, float] = field(default_factory=dict[str, float])
    incidents: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def title(self) -> str:
        """The first line of the issue."""
        return title(self.issue)

    @property
    def cause(self) -> Suspect | None:
        """The most suspicious place that the patch changes."""
        return next((suspect for suspect in self.suspects if suspect.changed), None)

    @property
    def turns(self) -> list[Turn]:
        return [entry for entry in self.timeline if isinstance(entry, Turn)]

    @property
    def timed(self) -> bool:
        """Whether the log says how long the turns took."""
        return any(turn.total for turn in self.turns)

    @property
    def reused_share(self) -> float | None:
        """Of the tokens in prompts, those that were not read again."""
        prompts = self.usage.get("prefilled_tokens", 0) + self.usage.get("reused_tokens", 0)
        return self.usage.get("reused_tokens", 0) / prompts if prompts else None


def view_of(log: RunLog, patch: str) -> RunView:
    """The run that `log` tells of, with its patch in git's format ("" where there is none).

    Raises InputError `log_corrupt`.
    """
    view = RunView(log.run)
    view.files = file_diffs(redact(patch))
    events = [redact_event(event) for event in log.events()]
    collector = _Collector(view)
    for event in events:
        collector.take(event)
    collector.conclude()
    view.lines_cut = shortened(view.files)
    return view


class _Collector:
    """Takes the events in order; what can only be said at the end is said by `conclude`."""

    def __init__(self, view: RunView) -> None:
        self.view = view
        self._base: _Row = {}
        self._evidence: _Row = {}
        self._suspects: list[_Row] = []
        self._narrow: list[str] = []
        self._full: Mapping[str, str] = {}
        self._call: _Row = {}
        self._test_runs = 0
        self._times: list[tuple[datetime, str]] = []

    def take(self, event: Event) -> None:
        view = self.view
        if (moment := _moment(event)) is not None:
            self._times.append((moment, event["type"]))
        match event["type"]:
            case "run_started":
                view.repo, view.model = str(event.get("repo", "")), str(event.get("model", ""))
                view.started = str(event.get("time", ""))
            case "issue":
                view.issue = str(event.get("text", ""))[:_MAX_TEXT]
            case "base":
                self._base = event
            case "suspects":
                self._suspects = _rows(event.get("rows"))
            case "engine":
                view.window = _whole(event.get("context_window"))
            case "reproduction_written":
                view.written_test = event
            case "reproduction_stage" if isinstance(event.get("written"), dict):
                view.written_test = event["written"]
            case "call":
                self._call = event
            case "turn":
                view.timeline.append(_turn(event, self._call))
                self._call = {}
            case "test_run":
                self._take_test_run(event)
            case "evidence":
                self._evidence = _row(event.get("evidence"))
            case "findings":
                view.findings = _rows(event.get("rows"))
            case "attempt":
                view.attempts.append(event)
            case "branch":
                view.branch = str(event.get("branch") or "")
            case "result":
                view.status, view.reason = str(event.get("status", "error")), str(event.get("reason", ""))
                view.branch, view.summary = str(event.get("branch") or ""), str(event.get("summary") or "")
                view.usage = {key: _number(value) for key, value in _row(event.get("usage")).items()}
            case _:
                self._take_incident(event)

    def _take_test_run(self, event: Event) -> None:
        self._test_runs += 1
        if event.get("selected") is None:
            self._full = _row(event.get("outcomes"))
        else:
            self._narrow = _texts(event["selected"])

    def _take_incident(self, event: Event) -> None:
        view = self.view
        match event["type"]:
            case "run_resumed":
                view.status, view.reason = "interrupted", ""
                turns = _whole(event.get("turns"))
                kind = "resumes"
                text = f"The run was resumed after turn {turns}." if turns else "The run was resumed."
            case "engine_restarted":
                kind, text = "engine restarts", f"The engine was restarted: {event.get('reason', 'it had ended')}."
            case "forgot":
                dropped = _whole(event.get("dropped"))
                kind, text = "forgettings", f"Old observations were forgotten: {dropped:,} tokens left the window."
            case "fork" if view.timeline and isinstance(view.timeline[-1], Turn):
                kind, text = "forks", ""
            case "crash":
                kind, text = "crashes", "A fault of Tinsmith ended this part; the log has the traceback."
            case _:
                return
        view.incidents[kind] = view.incidents.get(kind, 0) + 1
        if text:
            view.timeline.append(Incident(text))

    def conclude(self) -> None:
        view = self.view
        changed = {file.path: file for file in view.files}
        for row in self._suspects:
            path, first, last = str(row.get("path", "")), _whole(row.get("first")), _whole(row.get("last"))
            touched = path in changed and changed[path].touches(first, last)
            reasons = _texts(row.get("reasons"))
            view.suspects.append(Suspect(path, str(row.get("name", "")), first, last, reasons, touched))
        view.suspects = [s for at, s in enumerate(view.suspects) if at < MAX_SUSPECTS or s.changed]
        if view.attempts:
            accepted = [row for row in view.attempts if row.get("accepted")] or view.attempts[-1:]
            key = ("findings", "changed_lines", "number")
            view.chosen = _whole(min(accepted, key=lambda row: [_whole(row.get(k)) for k in key]).get("number"))
            best = next((row for row in view.attempts if row.get("number") == view.chosen), {})
            self._evidence = self._evidence or _row(best.get("evidence"))
            view.summary = view.summary or str(best.get("summary") or "")
        view.summary = readable(view.summary)
        self._conclude_evidence()
        self._conclude_usage()

    def _conclude_evidence(self) -> None:
        view, evidence = self.view, self._evidence
        failing = {str(row.get("nodeid", "")): row for row in _rows(self._base.get("reproduction"))}
        nodeids = _texts(evidence.get("reproduction")) or list(failing) or self._narrow
        before, after = _row(evidence.get("before")), _row(evidence.get("after")) or self._full
        for nodeid in nodeids[:MAX_TESTS]:
            row = failing.get(nodeid, {})
            outcome = str(row.get("outcome") or before.get(nodeid) or "failed")
            view.tests.append(Test(nodeid, outcome, _message(row), str(after.get(nodeid, "not run"))))
        view.more_tests = len(nodeids) - len(view.tests)
        view.findings = view.findings or _rows(evidence.get("findings"))
        view.flaky, control = _texts(evidence.get("flaky")), evidence.get("control")
        view.control = control if isinstance(control, bool) else None
        if evidence.get("after"):
            view.still_passing = _whole(evidence.get("still_passing"))
            view.broken = _texts(evidence.get("broken"))
        elif self._full:
            passing = _texts(self._base.get("passing")) or [
                t for t, o in self._full.items() if o == "passed" and t not in nodeids
            ]
            view.broken = [t for t in passing if self._full.get(t) not in ("passed", "skipped", "xfailed")]
            view.still_passing = len(passing) - len(view.broken)

    def _conclude_usage(self) -> None:
        view = self.view
        turns = view.turns
        view.usage = {
            "turns": len(turns),
            "test_runs": self._test_runs,
            "seconds": self._seconds(),
            "prefilled_tokens": sum(turn.prefilled for turn in turns),
            "reused_tokens": sum(turn.reused for turn in turns),
            "decoded_tokens": sum(turn.decoded for turn in turns),
            **view.usage,
        }

    def _seconds(self) -> float:
        """The time at work: from each start or resume to the last event before the next."""
        total = 0.0
        for (before, _), (moment, kind) in zip(self._times, self._times[1:], strict=False):
            total += 0.0 if kind == "run_resumed" else max((moment - before).total_seconds(), 0.0)
        return total


def _turn(event: Event, call: _Row) -> Turn:
    arguments, usage = _row(call.get("arguments")), _row(event.get("usage"))
    place = event.get("place")
    if place is None:
        line = f":{arguments['start']}" if "start" in arguments else ""
        place = f"{arguments.get('path') or arguments.get('command') or arguments.get('pattern') or ''}{line}"
    accepted = event.get("accepted")
    lines = [line for line in str(event.get("observation", "")).split("\n") if line.strip()]
    said = lines[1] if accepted is False and len(lines) > 1 else lines[0] if lines else ""  # an edit, then its test
    if event.get("kind") == "refused":
        said = f"refused: {said}"
    elif accepted is not None:
        said = f"{'accepted' if accepted else 'rejected'}: {said}"
    return Turn(
        _whole(event.get("number")),
        _whole(event.get("attempt")) or 1,
        str(event.get("tool", "")),
        _short(str(place), 80),
        _short(str(arguments.get("new") or ""), 120),
        _short(said, 140),
        {span: max(_number(_row(event.get("seconds")).get(span)), 0.0) for span in SPANS},
        *(_whole(usage.get(kind)) for kind in ("prefilled", "reused", "decoded")),
    )


def _message(outcome: _Row) -> str:
    message = " ".join(str(outcome.get("message") or "").split())
    exception = str(outcome.get("exception") or "")
    if exception and not message.startswith(exception):
        message = f"{exception}: {message}" if message else exception
    return _short(message, 400)


def _short(text: str, limit: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _row(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _rows(value: Any) -> list[_Row]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _texts(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and abs(value) < 1e15 else 0.0


def _whole(value: Any) -> int:
    return int(_number(value))


def _moment(event: Event) -> datetime | None:
    try:
        return datetime.fromisoformat(str(event.get("time", "")))
    except ValueError:
        return None
