"""The proof by kills, in short, and that it would see what it looks for."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from proofs import victims
from proofs.disturbed_run import Row, wrong_with
from proofs.kills import Rows, main, report, wilson


def test_a_few_kills_lose_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole of it is `make prove-kills`."""
    rows = tmp_path / "rows.jsonl"
    assert main(["--kills", "4", "--seed", "2", "--mode", "fake", "--rows", str(rows)]) == 0, capsys.readouterr()
    before = rows.read_text()
    assert main(["--kills", "4", "--seed", "2", "--mode", "fake", "--rows", str(rows)]) == 0
    assert rows.read_text() == before  # it was done
    assert "proved" in capsys.readouterr().out


def turn(number: int, length: int, branch: int = 0) -> dict[str, Any]:
    return {"type": "turn", "attempt": 1, "number": number, "branch": branch, "length": length}


def tokens(at: int, *ids: int, branch: int = 0) -> dict[str, Any]:
    return {"type": "tokens", "branch": branch, "at": at, "ids": list(ids)}


RESUMED = {"type": "run_resumed"}
FORK = {"type": "fork", "parent": 0, "at": 2, "branch": 1}


def test_a_whole_log_has_nothing_wrong() -> None:
    first = [tokens(0, 1, 2), turn(1, 2), tokens(2, 9), RESUMED]
    assert wrong_with([*first, FORK, tokens(2, 3, branch=1), turn(2, 3, branch=1)]) == []
    assert wrong_with([*first, RESUMED, FORK]) == []
    assert wrong_with([*first]) == []


@pytest.mark.parametrize(
    "events",
    [
        [tokens(0, 1, 2), tokens(3, 4)],
        [tokens(0, 1, 2), turn(1, 2), turn(3, 2)],
        [tokens(0, 1, 2), turn(1, 2), turn(1, 2)],
        [tokens(0, 1), turn(1, 2)],
        [tokens(0, 1, 2, 3), turn(1, 3), RESUMED, FORK, tokens(2, 3, branch=1)],
        [tokens(0, 1, 2, 3), turn(1, 3), RESUMED, FORK, turn(2, 2, branch=1)],
    ],
    ids=["ids missing", "turn missing", "turn twice", "ids of a turn missing", "went on earlier", "did another turn"],
)
def test_what_is_wrong_with_a_log_is_seen(events: list[dict[str, Any]]) -> None:
    assert wrong_with(events)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"], env={**os.environ, victims.MARK: str(tmp_path)})
    yield process
    process.kill()
    process.wait()


def test_a_process_that_is_left_is_seen(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 5
    while not victims.left_of(tmp_path) and time.monotonic() < until:
        time.sleep(0.02)
    assert [line.split()[0] for line in victims.left_of(tmp_path)] == [str(sleeper.pid)]
    assert victims.left_of(tmp_path / "other") == []
    sleeper.kill()
    sleeper.wait()
    assert victims.wait_until_none(tmp_path, 5) == []


def test_a_sandbox_that_is_left_is_seen_inside_and_outside(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tinsmith.workspace import Sandbox; place = Path(sys.argv[1])\n"
        "Sandbox.find().run(['/bin/sleep', '60'], timeout=60, extra_ro_binds=[(place, Path('/opt/place'))])"
    )
    (tmp_path / "mounted").mkdir()
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "mounted")])
    try:
        until = time.monotonic() + 20
        while not any("sleep 60" in line for line in victims.left_of(tmp_path)) and time.monotonic() < until:
            time.sleep(0.05)
        left = victims.left_of(tmp_path)
        assert any(line.endswith("/bin/sleep 60") for line in left) and any("bwrap" in line for line in left)
        assert len(victims.sandboxed(process.pid)) >= 2
        assert victims.mounts_of(tmp_path) == []
    finally:
        process.kill()
        process.wait()
    assert victims.wait_until_none(tmp_path, 5) == []


def test_a_handler_is_seen() -> None:
    assert victims.catches(os.getpid(), signal.SIGINT)
    assert not victims.catches(os.getpid(), signal.SIGUSR2)


def test_rows_that_were_cut_are_written_again(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = Rows(path)
    rows.add(Row("fake", "shop", 0, status="resolved"))
    path.write_text(path.read_text() + '{"mode": "fa')
    again = Rows(path)
    assert again.rows == rows.rows and again.undisturbed("fake").keys() == {"shop"} and not again.disturbed("fake")
    again.add(Row("fake", "shop", 1, status="resolved", expected="resolved"))
    assert Rows(path).rows == again.rows


def test_a_fault_or_another_rate_is_no_proof() -> None:
    rows = Rows(None)
    rows.add(Row("solder", "shop", 0, status="resolved"))
    for number in range(40):
        rows.add(Row("solder", "shop", number, status="resolved", expected="resolved"))
    assert report("solder", rows)
    for number in range(40):
        rows.add(Row("solder", "shop", number, status="unresolved", expected="resolved"))
    assert not report("solder", rows)
    rows = Rows(None)
    rows.add(Row("fake", "shop", 0, status="resolved"))
    rows.add(Row("fake", "shop", 1, status="resolved", expected="resolved", wrong=["a process is left"]))
    assert not report("fake", rows)


def test_wilson() -> None:
    low, rate, high = wilson(8, 10)
    assert (round(low, 3), rate, round(high, 3)) == (0.490, 0.8, 0.943)  # Brown, Cai and DasGupta (2001)
    assert wilson(0, 5)[0] == pytest.approx(0)
