"""The whole pipeline with the real Solder, real git and the real sandbox."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.shop import ISSUE, TESTS, git, make_shop, request

from tinsmith.agent import Limits
from tinsmith.errors import InputError
from tinsmith.events import RunStore
from tinsmith.resolve import resolve
from tinsmith.workspace import fingerprint


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return make_shop(tmp_path)


def test_a_bug_becomes_a_tested_branch(shop: Path, tmp_path: Path) -> None:
    before = fingerprint(shop)
    result = resolve(request(shop, tmp_path))
    assert result.status == "resolved", result
    assert result.branch == "tinsmith/discount-gives-no-discount-for-exactly-ten"
    changed = git(shop, "diff", "--stat", "HEAD", result.branch)
    assert "shop.py" in changed and "1 file changed" in changed
    assert result.evidence.before == {"tests/test_shop.py::test_ten_get_the_discount": "failed"}
    assert result.evidence.after == {"tests/test_shop.py::test_ten_get_the_discount": "passed"}
    assert result.evidence.still_passing == 3 and not result.evidence.broken
    after = fingerprint(shop)
    assert (after.work_tree, after.index, after.head) == (before.work_tree, before.index, before.head)
    # The branch is what the gate saw: its tests pass in a checkout of it.
    git(shop, "worktree", "add", "--quiet", str(tmp_path / "out"), result.branch)
    done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=tmp_path / "out", capture_output=True)
    assert done.returncode == 0
    for path in (result.patch, result.pull_request, result.report):
        assert path is not None and path.read_text()
    assert "Root cause" in result.pull_request.read_text()  # type: ignore[union-attr]
    usage = result.usage
    assert usage["test_runs"] >= 4 and usage["prefilled_tokens"] > 0 and usage["decoded_tokens"] > 0


def test_the_log_tells_the_run(shop: Path, tmp_path: Path) -> None:
    result = resolve(request(shop, tmp_path))
    store = RunStore(tmp_path / "state")
    (row,) = store.list()
    assert (row["run"], row["status"], row["model"]) == (result.run, "resolved", "solder")
    assert row["repo"] == str(shop)
    events = list(store.open(result.run).events())
    # The end is told when report and branch are there, so that a run which is killed before can be resumed.
    assert [event["type"] for event in events[-2:]] == ["result", "run_ended"]
    kinds = {event["type"] for event in events}
    assert {"issue", "suspects", "engine", "tokens", "call", "turn", "test_run"} <= kinds
    # A branch's tokens are append-only, and a fork begins with a prefix of its parent.
    branches: dict[int, list[int]] = {0: []}
    for event in events:
        if event["type"] == "fork":
            branches[event["branch"]] = branches[event["parent"]][: event["at"]]
        elif event["type"] == "tokens":
            assert event["at"] == len(branches[event["branch"]])
            branches[event["branch"]] += event["ids"]


def test_the_persons_own_changes_are_not_in_the_patch(shop: Path, tmp_path: Path) -> None:
    text = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text(text + '\n\ndef mine():\n    return "unfinished"\n')
    (shop / "notes.txt").write_text("mine too\n")
    before = fingerprint(shop)
    result = resolve(request(shop, tmp_path))
    assert result.status == "resolved", result
    assert "mine" not in git(shop, "show", str(result.branch))
    after = fingerprint(shop)
    assert (after.work_tree, after.index, after.head) == (before.work_tree, before.index, before.head)


def test_without_a_failing_test_the_run_is_unverified(shop: Path, tmp_path: Path) -> None:
    lines = TESTS.split("\n\n\n")
    (shop / "tests" / "test_shop.py").write_text("\n\n\n".join(lines[:1] + lines[2:]))
    git(shop, "commit", "--quiet", "-am", "no reproduction")
    result = resolve(request(shop, tmp_path))
    assert result.status == "unverified"
    assert result.branch is not None
    assert result.report is not None and "unverified" in result.report.read_text()


def test_a_limit_ends_unresolved_and_adds_no_branch(shop: Path, tmp_path: Path) -> None:
    result = resolve(request(shop, tmp_path, order="shuffled", limits=Limits(test_runs=1)))
    assert result.status == "unresolved" and result.branch is None
    assert "limit of 1 test runs" in result.reason
    assert git(shop, "branch", "--list", "tinsmith/*") == ""


def test_random_order_is_tried_on_forks_within_the_limit(shop: Path, tmp_path: Path) -> None:
    result = resolve(request(shop, tmp_path, order="shuffled", limits=Limits(test_runs=4)))
    events = list(RunStore(tmp_path / "state").open(result.run).events())
    edits = [event["arguments"]["new"] for event in events if event["type"] == "call" and event["tool"] == "edit"]
    assert len(edits) == len(set(edits)) >= 4
    assert sum(event["type"] == "fork" for event in events) == len(edits) - 1
    assert sum(event["type"] == "test_run" for event in events) <= 4


def test_bad_input_has_a_code_and_leaves_no_run(shop: Path, tmp_path: Path) -> None:
    for changes, code in (
        ({"issue": " \n"}, "empty_issue"),
        ({"repo": tmp_path / "nowhere"}, "not_a_repository"),
        ({"repo": tmp_path}, "not_a_repository"),
    ):
        with pytest.raises(InputError) as caught:
            resolve(request(shop, tmp_path, **changes))
        assert caught.value.code == code and caught.value.remedy
    assert RunStore(tmp_path / "state").list() == ()


def test_a_test_command_that_does_not_start(shop: Path, tmp_path: Path) -> None:
    result = resolve(request(shop, tmp_path, test_command="no-such-program --all"))
    assert result.status == "error" and result.error is not None
    assert (result.error.code, result.error.exit_code) == ("test_command_failed_to_start", 2)


def children_of(process: int) -> list[int]:
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(stat[1]) == process:
                found += [int(entry.name), *children_of(int(entry.name))]
    return found


def start(shop: Path, tmp_path: Path, *more: str) -> subprocess.Popen[str]:
    arguments = ["resolve", "--repo", str(shop), "--issue-text", ISSUE, "--json", *more]
    environment = {**os.environ, "TINSMITH_STATE_DIR": str(tmp_path / "state")}
    return subprocess.Popen(
        [sys.executable, "-m", "tinsmith.cli", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    raise AssertionError(f"the run ended before it said {text!r}")


@pytest.mark.parametrize("moment", ["clean base", "is loaded"])
def test_the_agent_killed_leaves_nothing_running_and_nothing_changed(shop: Path, tmp_path: Path, moment: str) -> None:
    before = fingerprint(shop)
    process = start(shop, tmp_path)
    wait_for(process, moment)
    family = children_of(process.pid)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and any(Path(f"/proc/{pid}").exists() for pid in family):
        time.sleep(0.05)
    assert [pid for pid in family if Path(f"/proc/{pid}").exists()] == []
    assert fingerprint(shop) == before
    (row,) = RunStore(tmp_path / "state").list()
    assert row["status"] == "interrupted"


def test_the_engine_killed_is_restarted_and_the_run_goes_on(shop: Path, tmp_path: Path) -> None:
    before = fingerprint(shop)
    process = start(shop, tmp_path)
    wait_for(process, "is loaded")
    engines = [pid for pid in children_of(process.pid) if "llama_child" in Path(f"/proc/{pid}/cmdline").read_text()]
    assert len(engines) == 1
    os.kill(engines[0], signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    answer = json.loads(output.splitlines()[-1])
    assert process.returncode == 0 and answer["status"] == "resolved"
    after = fingerprint(shop)
    assert (after.work_tree, after.index, after.head) == (before.work_tree, before.index, before.head)
    events = list(RunStore(tmp_path / "state").open(answer["run"]).events())
    assert [event["type"] for event in events].count("engine_restarted") == 1
    assert children_of(process.pid) == []


def test_two_runs_at_once_do_not_disturb_each_other(shop: Path, tmp_path: Path) -> None:
    before = fingerprint(shop)
    processes = [start(shop, tmp_path) for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in processes]
    assert [answer["status"] for answer in answers] == ["resolved", "resolved"]
    name = "tinsmith/discount-gives-no-discount-for-exactly-ten"
    assert {answer["branch"] for answer in answers} == {name, f"{name}-2"}
    first, second = (git(shop, "rev-parse", f"{answer['branch']}^{{tree}}") for answer in answers)
    assert first == second
    after = fingerprint(shop)
    assert (after.work_tree, after.index, after.head) == (before.work_tree, before.index, before.head)
