"""Where runs lie on disk: STATE/runs/RUN/{events.jsonl, lock, patch, report, ...}."""

import os
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

from tinsmith.errors import InputError, MachineError
from tinsmith.events.log import RunLog

_RUN_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")


class RunRow(TypedDict):
    """One line of `tinsmith log list`."""

    run: str
    repo: str
    """Absolute path."""
    status: str
    model: str
    started: str
    """ISO 8601, UTC."""


def default_state_dir() -> Path:
    """TINSMITH_STATE_DIR, else $XDG_STATE_HOME/tinsmith, else ~/.local/state/tinsmith."""
    if named := os.environ.get("TINSMITH_STATE_DIR"):
        return Path(named).absolute()
    xdg = os.environ.get("XDG_STATE_HOME")
    # The XDG specification says to ignore a relative value.
    return (Path(xdg) if xdg and os.path.isabs(xdg) else Path.home() / ".local" / "state") / "tinsmith"


class RunStore:
    """The runs kept in one state directory."""

    def __init__(self, state_dir: Path | None = None) -> None:
        self.state_dir = state_dir.absolute() if state_dir is not None else default_state_dir()
        self.runs = self.state_dir / "runs"

    def create(self, *, repo: Path, model: str) -> RunLog:
        """A new run, owned by this process, whose first event is `run_started` {repo, model}.

        Raises MachineError `state_dir_unusable`.
        """
        try:
            self.runs.mkdir(parents=True, exist_ok=True, mode=0o700)
            while True:
                run = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
                try:
                    (self.runs / run).mkdir(mode=0o700)
                    break
                except FileExistsError:
                    continue
            log = RunLog(self.runs / run)
            log.append("run_started", repo=str(repo.absolute()), model=model)
            _sync_directory(log.directory)
            _sync_directory(self.runs)
        except OSError as error:
            raise MachineError(
                "state_dir_unusable",
                f"cannot keep runs in {self.state_dir}: {error.strerror}",
                "Free some space or name another directory in TINSMITH_STATE_DIR.",
            ) from error
        return log

    def open(self, run_id: str) -> RunLog:
        """An existing run, to read or to continue.  Raises InputError `unknown_run`."""
        if not _RUN_ID.fullmatch(run_id) or not (self.runs / run_id).is_dir():
            raise InputError(
                "unknown_run", f"there is no run {run_id!r}", "`tinsmith log list` shows the runs there are."
            )
        return RunLog(self.runs / run_id)

    def list(self) -> tuple[RunRow, ...]:
        """Every run, oldest first.  A run whose log is damaged is listed with the status `corrupt`."""
        try:
            names = sorted(name for name in os.listdir(self.runs) if _RUN_ID.fullmatch(name))
        except FileNotFoundError:
            return ()
        return tuple(_row(RunLog(self.runs / name)) for name in names)


def _row(log: RunLog) -> RunRow:
    try:
        status = log.status()
        first = next(log.events(), None) or {}
    except InputError:
        status, first = "corrupt", {}
    return {
        "run": log.run,
        "repo": str(first.get("repo", "")),
        "status": status,
        "model": str(first.get("model", "")),
        "started": str(first.get("time", "")),
    }


def _sync_directory(directory: Path) -> None:
    """Make new names in `directory` survive a power cut."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
