"""The log of a run: what was appended is there after any kind of death, in order, once."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tinsmith.errors import InputError, MachineError
from tinsmith.events import RunLog, RunStore, default_state_dir


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "state")


def test_a_run_is_read_back_as_it_was_written(store: RunStore, tmp_path: Path) -> None:
    log = store.create(repo=tmp_path, model="solder")
    seen: list[dict[str, object]] = []
    log.subscribe(seen.append)
    written = log.append("turn", ids=[1, 2], text="a\nb \udcff \u2028")
    log.end("resolved", branch="tinsmith/x")
    assert seen[0] == written
    events = list(store.open(log.run).events())
    assert [event["seq"] for event in events] == [0, 1, 2]
    assert [event["type"] for event in events] == ["run_started", "turn", "run_ended"]
    assert events[1] == written and events[1]["v"] == 1 and events[1]["text"] == "a\nb \udcff \u2028"
    assert events[0]["time"].endswith("Z") and events[0]["repo"] == str(tmp_path)
    assert [event["seq"] for event in log.events(after=0)] == [1, 2]
    assert len((log.directory / "events.jsonl").read_bytes().split(b"\n")) == 4


def test_listing_tells_running_ended_and_interrupted_runs_apart(store: RunStore, tmp_path: Path) -> None:
    assert store.list() == ()
    ended = store.create(repo=tmp_path, model="m")
    ended.end("unresolved")
    ended.close()
    gone = store.create(repo=tmp_path, model="m")
    gone.close()
    running = store.create(repo=tmp_path, model="solder")
    rows = {row["run"]: row for row in store.list()}
    assert rows[ended.run]["status"] == "unresolved"
    assert rows[gone.run]["status"] == "interrupted"
    assert rows[running.run] == {
        "run": running.run,
        "repo": str(tmp_path),
        "status": "running",
        "model": "solder",
        "started": next(running.events())["time"],
    }
    resumed = store.open(ended.run)
    resumed.append("run_resumed")
    resumed.close()
    assert store.open(ended.run).status() == "interrupted"


def test_one_owner_at_a_time(store: RunStore, tmp_path: Path) -> None:
    log = store.create(repo=tmp_path, model="m")
    with pytest.raises(InputError) as caught:
        store.open(log.run).append("turn")
    assert caught.value.code == "run_in_use"
    log.close()
    assert store.open(log.run).append("turn")["seq"] == 1


@pytest.mark.parametrize("tail", [b'{"v":1,"seq":2,"ty', b"\0\0\0\0", b'{"v":1,"seq"\n', b"\0\0\n\0"])
def test_a_torn_end_is_passed_over_and_repaired_by_the_next_append(
    store: RunStore, tmp_path: Path, tail: bytes
) -> None:
    log = store.create(repo=tmp_path, model="m")
    log.append("turn", n=1)
    log.close()
    path = log.directory / "events.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    again = store.open(log.run)
    assert [event["seq"] for event in again.events()] == [0, 1]
    assert again.append("turn", n=2)["seq"] == 2
    content = path.read_bytes()
    assert content.startswith(whole)
    assert [json.loads(line)["seq"] for line in content.splitlines()] == [0, 1, 2]


def test_damage_in_the_middle_is_an_error_and_nothing_is_cut(store: RunStore, tmp_path: Path) -> None:
    log = store.create(repo=tmp_path, model="m")
    log.append("turn")
    log.close()
    path = log.directory / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = b"garbage\n" + lines[1]
    path.write_bytes(damaged)
    for act in (lambda: list(store.open(log.run).events()), lambda: store.open(log.run).append("turn")):
        with pytest.raises(InputError) as caught:
            act()
        assert caught.value.code == "log_corrupt"
    assert path.read_bytes() == damaged
    assert store.list()[0]["status"] == "corrupt"


def test_kill_9_loses_no_acknowledged_event(store: RunStore, tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom tinsmith.events import RunStore\n"
        "log = RunStore(Path(sys.argv[1])).create(repo=Path('/r'), model='m')\n"
        "while True:\n    print(log.append('turn', filler='x' * 5000)['seq'], flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(store.state_dir)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(20)][-1]
    assert store.list()[0]["status"] == "running"
    os.kill(process.pid, signal.SIGKILL)
    acknowledged = max([acknowledged, *(int(line) for line in process.stdout if line.endswith("\n"))])
    process.stdout.close()
    process.wait()
    (row,) = store.list()
    assert row["status"] == "interrupted"
    log = store.open(row["run"])
    assert [event["seq"] for event in log.events()][: acknowledged + 1] == list(range(acknowledged + 1))
    assert log.append("run_resumed")["seq"] >= acknowledged + 1


@pytest.mark.parametrize("run", ["", "nope", "../../etc", "20260101-000000-ffff"])
def test_an_unknown_run_is_bad_input(store: RunStore, run: str) -> None:
    with pytest.raises(InputError) as caught:
        store.open(run)
    assert caught.value.code == "unknown_run" and caught.value.exit_code == 2


def test_a_state_directory_that_cannot_be_used_is_a_machine_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError) as caught:
        RunStore(tmp_path / "file").create(repo=tmp_path, model="m")
    assert caught.value.code == "state_dir_unusable"


def test_data_may_not_hide_the_envelope_or_be_anything_but_json(store: RunStore, tmp_path: Path) -> None:
    log = store.create(repo=tmp_path, model="m")
    with pytest.raises(ValueError, match="seq"):
        log.append("turn", seq=7)
    with pytest.raises(ValueError):
        log.append("turn", loss=float("nan"))
    with pytest.raises(TypeError):
        log.append("turn", path=tmp_path)
    assert log.append("turn")["seq"] == 1
    assert isinstance(log, RunLog)


def test_the_state_directory_follows_the_environment(tmp_path: Path) -> None:
    def answer(**environment: str) -> str:
        program = "from tinsmith.events import RunStore; print(RunStore().state_dir)"
        return subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    home = str(tmp_path)
    assert answer(HOME=home) == f"{home}/.local/state/tinsmith"
    assert answer(HOME=home, XDG_STATE_HOME="/x") == "/x/tinsmith"
    assert answer(HOME=home, XDG_STATE_HOME="relative") == f"{home}/.local/state/tinsmith"
    assert answer(HOME=home, XDG_STATE_HOME="/x", TINSMITH_STATE_DIR="/y") == "/y"
    assert default_state_dir().is_absolute()
