"""One run that is killed again and again until it has ended, and what is wrong with it afterwards."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from proofs import victims
from proofs.kill_tasks import Task

from tinsmith.agent import branches_in
from tinsmith.errors import InputError
from tinsmith.events import RunStore
from tinsmith.workspace import fingerprint

Mode = Literal["fake", "solder"]
Event = dict[str, Any]

MAX_KILLS = {"agent": 5, "engine": 3, "test": 3}
"""A run, so that it ends: an engine that dies three times in a row is an error, and so is a test run without end."""
MAX_SESSIONS = 12
HANG = 240.0
"""Seconds after which a process that is not killed must have ended by itself."""
GONE = 5.0
"""Seconds in which everything of a killed agent must be gone."""


@dataclass
class Row:
    """What one run came to. `kills`: (victim, seconds since its process started). `wrong`: empty where all holds."""

    mode: Mode
    task: str
    seed: int
    status: str = ""
    expected: str = ""
    kills: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    sessions: int = 0
    errors: list[str] = field(default_factory=list[str])
    turns: int = 0
    resumed: int = 0
    seconds: float = 0.0
    patch: str = ""
    wrong: list[str] = field(default_factory=list[str])

    def as_json(self) -> dict[str, Any]:
        """For the file of rows."""
        return asdict(self)


class Run:
    """A task's run in `place`. `model` is the file that the scripted model is said to be."""

    def __init__(self, mode: Mode, task: Task, place: Path, model: Path, seed: int) -> None:
        self.row = Row(mode, task.name, seed)
        self._task = task
        self._place = place
        self._model = model
        self._repo = task.make(place)
        self._before = fingerprint(self._repo)
        self._store = RunStore(place / "state")
        self._random = random.Random(f"{mode} {task.name} {seed}")
        self._known: list[Event] = []
        self._agents: set[int] = set()

    def undisturbed(self) -> Row:
        """Runs it without a kill."""
        return self._until_ended(lambda process: False)

    def disturbed(self, duration: float, expected: Row) -> Row:
        """Kills at random moments, uniform over `duration` seconds, until it has ended; holds it to `expected`."""
        row = self._until_ended(lambda process: self._disturb(process, duration))
        row.expected = expected.status
        if row.mode == "fake":
            self._wrong_if(row.status != expected.status, f"it ended {row.status} and not {expected.status}")
            self._wrong_if(row.patch != expected.patch, "its patch is another")
        return row

    def _until_ended(self, disturb: Callable[[subprocess.Popen[bytes]], bool]) -> Row:
        row, started = self.row, time.monotonic()
        while row.sessions < MAX_SESSIONS and not row.status:
            row.sessions += 1
            output, state = self._place / "stdout", str(self._store.state_dir)
            with output.open("wb") as stdout, (self._place / "stderr").open("ab") as stderr:
                process = subprocess.Popen(
                    self._command(),
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    env={**os.environ, victims.MARK: str(self._place), "TINSMITH_STATE_DIR": state},
                    start_new_session=True,
                )
            self._agents.add(process.pid)
            killed = False
            try:
                killed = disturb(process)
                process.wait(HANG)
            except subprocess.TimeoutExpired:
                self._wrong_if(True, f"session {row.sessions} did not end in {HANG:.0f} seconds")
            finally:
                process.kill()
                process.wait()
            self._check_after(killed)
            if not killed:
                self._take(_last_line(output))
        self._wrong_if(not row.status, f"it did not end in {row.sessions} sessions: {row.errors[-1:]}")
        self._wrong_if(bool(left := victims.groups_of(self._agents)), f"control groups are left: {left[:3]}")
        row.seconds = round(time.monotonic() - started, 2)
        return row

    def _command(self) -> Sequence[str]:
        """Starts the run, or goes on with it where there is one that has begun."""
        run = self._run()
        state = str(self._store.state_dir)
        if self.row.mode == "fake":
            driver = [sys.executable, "-m", "proofs.kills_driver", self._task.name, str(self._repo), state]
            return [*driver, str(self._model), *([run] if run else [])]
        cli = [sys.executable, "-m", "tinsmith.cli", "resolve", "--json"]
        return [*cli, "--resume", run] if run else [*cli, "--repo", str(self._repo), "--issue-text", self._task.issue]

    def _run(self) -> str | None:
        """The latest run, None while there is none that says what was asked for."""
        for each in reversed(self._store.list()):
            kinds = {event["type"] for event in self._store.open(each["run"]).events()}
            if {"request", "issue"} <= kinds:
                return each["run"]
        return None

    def _disturb(self, process: subprocess.Popen[bytes], duration: float) -> bool:
        """Kills each kind of victim once, at its own moment, up to the agent, whose end is told."""
        count = Counter(victim for victim, _ in self.row.kills)
        left = [victim for victim, most in MAX_KILLS.items() if count[victim] < most]
        started = time.monotonic()
        for moment, victim in sorted((self._random.uniform(0, duration), victim) for victim in left):
            if not _runs_until(process, started + moment):
                return False
            if self._kill(victim, process):
                self.row.kills.append((victim, round(time.monotonic() - started, 2)))
                if victim == "agent":
                    return True
        return False

    def _kill(self, victim: str, process: subprocess.Popen[bytes]) -> bool:
        """Whether there was such a process to kill before the run ended; a test is waited for."""
        while process.poll() is None:
            if victim == "agent":
                process.kill()
                return True
            if victim == "engine" and self.row.mode == "fake":
                if victims.catches(process.pid, signal.SIGUSR1):
                    process.send_signal(signal.SIGUSR1)
                    return True
            else:
                find = victims.engines if victim == "engine" else victims.sandboxed
                if find(process.pid):
                    time.sleep(self._random.uniform(0, 0.4) if victim == "test" else 0)
                    if (there := find(process.pid)) and _killed(self._random.choice(there)):
                        return True
            time.sleep(0.01)
        return False

    def _check_after(self, killed: bool) -> None:
        """What must hold after every session, however it ended."""
        left = victims.wait_until_none(self._place, GONE)
        self._wrong_if(bool(left), f"processes are left {'after a kill' if killed else 'at the end'}: {left[:3]}")
        self._wrong_if(bool(mounts := victims.mounts_of(self._place)), f"mounts are left: {mounts[:3]}")
        after = fingerprint(self._repo)
        for kind in ("work_tree", "index", "head"):
            self._wrong_if(getattr(after, kind) != getattr(self._before, kind), f"the checkout's {kind} has changed")
        try:
            corrupt = [row["run"] for row in self._store.list() if row["status"] == "corrupt"]
            self._wrong_if(bool(corrupt), f"corrupt: {corrupt}")
            run = self._run()
            events = list(self._store.open(run).events()) if run else []
        except InputError as error:
            self._wrong_if(True, f"the store is broken: {error.message}")
            return
        self._wrong_if(events[: len(self._known)] != self._known, "events that were in the log are not there any more")
        self._known = events
        for reason in wrong_with(events):
            self._wrong_if(True, reason)
        turns = [event["tool"] for event in events if event["type"] == "turn"]
        script = [call.tool for call in self._task.script()]
        self._wrong_if(
            self.row.mode == "fake" and turns != script[: len(turns)], "a turn of the script is missing or there twice"
        )
        self.row.turns = len(turns)
        self.row.resumed = sum(event["type"] == "run_resumed" for event in events)

    def _take(self, answer: Mapping[str, Any]) -> None:
        """The answer of a session that ended by itself. An error does not end a run: it can be resumed."""
        status, code = str(answer.get("status", "error")), str(answer.get("error", {}).get("code", ""))
        ended = [event["status"] for event in self._known if event["type"] == "run_ended"]
        if code == "run_ended" and ended:  # the kill came when all was done
            status = ended[-1]
        if status in ("error", "interrupted"):
            self.row.errors.append(code or status)
            self._wrong_if(code in ("internal", "no_answer"), f"a fault: {answer['error']}")
            return
        run = self._run()
        assert run is not None
        patch = self._store.open(run).directory / "patch.diff"
        self.row.status, self.row.patch = status, patch.read_text() if patch.is_file() else ""

    def _wrong_if(self, wrong: bool, reason: str) -> None:
        if wrong and reason not in self.row.wrong:
            self.row.wrong.append(reason)


def wrong_with(events: Sequence[Event]) -> list[str]:
    """What is wrong with a run's log: ids that do not join, turns out of order, a resume that began elsewhere."""
    wrong: list[str] = []
    try:
        branches = branches_in(events)
    except (ValueError, KeyError) as error:
        return [f"the transcript's ids do not join: {error!r}"]
    numbers: dict[int, int] = {}
    last: Event | None = None
    for at, event in enumerate(events):
        if event["type"] == "turn":
            expected = numbers.get(event["attempt"], 0) + 1
            numbers[event["attempt"]] = event["number"]
            if event["number"] != expected:
                wrong.append(f"turn {event['number']} of attempt {event['attempt']} follows turn {expected - 1}")
            if len(branches[event["branch"]]) < event["length"]:
                wrong.append(f"ids of turn {event['number']} are lost")
            last = event
        elif event["type"] == "attempt":
            last = None
        elif event["type"] == "run_resumed" and last is not None and not _goes_on_from(events[at + 1 :], last):
            wrong.append("a resumed run did not go on with the ids of its last turn")
    return wrong


def _goes_on_from(after: Sequence[Event], turn: Event) -> bool:
    """Whether the next thing a resumed run wrote into its transcript follows the ids of its last turn."""
    for event in after:
        if event["type"] == "fork" and (event["parent"], event["at"]) == (turn["branch"], turn["length"]):
            return True
        if event["type"] in ("tokens", "turn"):
            return False
        if event["type"] == "run_resumed":  # killed again before it came so far
            return True
    return True


def _killed(pid: int) -> bool:
    """Whether it was still there to be killed."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _runs_until(process: subprocess.Popen[bytes], moment: float) -> bool:
    """Whether the process still runs at that moment."""
    try:
        process.wait(max(0.0, moment - time.monotonic()))
    except subprocess.TimeoutExpired:
        return True
    return False


def _last_line(path: Path) -> dict[str, Any]:
    lines = path.read_text(errors="replace").strip().split("\n")
    try:
        return json.loads(lines[-1])
    except ValueError:
        return {"status": "error", "error": {"code": "no_answer", "message": lines[-1]}}
