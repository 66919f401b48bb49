"""Whole runs on a chat endpoint where the call dies between the model and us: every run does the work."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.fake_chat_server import (
    FakeChatServer,
    Fault,
    announcement,
    cuts_arguments,
    devstral_text,
    leaks,
    qwen_text,
    qwen_text_without_opener,
    says,
    unknown_tool,
)
from tests.fake_engine import write_free_model
from tests.shop import ISSUE, make_shop, request
from tests.solder_chat_server import SolderChatServer

from tinsmith.agent import MAX_LOST
from tinsmith.dialects import Call
from tinsmith.engines import open_engine
from tinsmith.engines.child_process import ChildProcess
from tinsmith.events import RunStore
from tinsmith.models import find_model
from tinsmith.resolve import Result, resolve

READ = Call("read", {"path": "shop.py", "start": "1", "end": "11"})
EDIT = Call("edit", {"path": "shop.py", "start": "7", "end": "7", "new": "    if count >= 10:"})
FINISH = Call("finish", {"summary": "ten and more are cheaper"})
SCRIPT = [READ, EDIT, FINISH]
QUICK = f"env PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {sys.executable} -m pytest"
"""A run starts its tests half a dozen times, and loading the plugins of the environment takes most of that."""


def run(server: FakeChatServer, place: Path, **options: Any) -> tuple[Result, list[str]]:
    lines: list[str] = []
    asked = request(make_shop(place), place, model=server.url, test_command=QUICK, **options)
    result = resolve(asked, lines.append)
    return result, lines


def turns_of(result: Result, place: Path) -> list[str]:
    events = RunStore(place / "state").open(result.run).events()
    return [event["tool"] for event in events if event["type"] == "turn"]


@pytest.mark.parametrize(
    ("faults", "asked"),
    [
        pytest.param({0: leaks(qwen_text), 1: leaks(qwen_text)}, 0, id="a Qwen call as text"),
        pytest.param({0: leaks(devstral_text), 1: leaks(devstral_text)}, 0, id="a Devstral call as text"),
        # Nothing that had to be repaired changes a file: the edit is asked for once more.
        pytest.param({1: says(qwen_text_without_opener)}, 1, id="a Qwen call as text, its opener missing"),
        pytest.param({0: says(announcement), 2: says(announcement)}, 2, id="an announcement"),
        pytest.param({1: cuts_arguments}, 1, id="cut JSON arguments"),
        pytest.param({0: unknown_tool}, 1, id="an unknown tool"),
    ],
)
def test_a_call_that_is_lost_on_its_way_is_found_or_asked_for_again(
    faults: dict[int, Fault], asked: int, tmp_path: Path
) -> None:
    with FakeChatServer(SCRIPT, faults) as server:
        result, lines = run(server, tmp_path)
    assert result.status == "resolved", result.reason
    assert turns_of(result, tmp_path) == ["read", "edit", "finish"]
    assert len(server.requests) == len(SCRIPT) + asked
    assert sum(line.startswith("asked again") for line in lines) == asked
    assert result.patch is not None and "+    if count >= 10:" in result.patch.read_text()


def test_a_real_model_behind_messages_resolves(tmp_path: Path) -> None:
    """Solder's own ranking, which this server turns into calls; the loop sees messages alone."""
    shop = make_shop(tmp_path)
    with open_engine(find_model("solder").path) as engine:
        with SolderChatServer(engine, shop / "shop.py", "shop.py", range(4, 10)) as server:
            result = resolve(request(shop, tmp_path, model=server.url, test_command=QUICK))
        assert engine.usage.decoded, "it was really asked"
    assert result.status == "resolved", result.reason
    assert result.patch is not None and "+    if count >= 10:" in result.patch.read_text()
    assert turns_of(result, tmp_path)[-1] == "finish"


def test_a_model_that_never_calls_ends_the_run_with_the_reason(tmp_path: Path) -> None:
    with FakeChatServer(SCRIPT, dict.fromkeys(range(99), says(announcement))) as server:
        result, _ = run(server, tmp_path)
    assert result.status == "unresolved"
    assert result.reason == (
        "stopped at 3 answers in a row without a call that can be run: Your answer holds no call. "
        "Every turn is one call of search, read, edit, run, finish: make it now."
    )
    assert len(server.requests) == MAX_LOST
    # What it was told stands in the transcript, and the log has every id of it.
    last = server.requests[-1]["messages"]
    assert [message["role"] for message in last[2:]] == ["assistant", "user", "assistant", "user"]


def test_random_weights_behind_a_real_llama_server_end_within_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedded child serves chat completions too, by llama.cpp's own template and tool parser. The model's own
    template is of no dialect of ours, so it is asked with messages although it takes ids."""
    child = ChildProcess(write_free_model(tmp_path), 8_192)
    try:
        monkeypatch.setenv("TINSMITH_API_KEY", child.key)
        lines: list[str] = []
        asked = request(make_shop(tmp_path), tmp_path, model=f"http://127.0.0.1:{child.port}/v1", test_command=QUICK)
        result = resolve(asked, lines.append)
    finally:
        child.kill()
    assert result.status == "unresolved", (result.reason, result.error)
    assert any("is used as a chat server: no dialect of ours" in line for line in lines)
    assert "without a call that can be run" in result.reason
    assert sum(line.startswith("asked again") for line in lines) >= MAX_LOST
    assert result.usage["prefilled_tokens"] > 0 and result.usage["decoded_tokens"] > 0


def test_what_is_waived_is_said_once_and_the_key_is_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINSMITH_API_KEY", "sk-loopback-31415926535")
    with FakeChatServer(SCRIPT) as server:
        result, lines = run(server, tmp_path)
    assert result.status == "resolved"
    assert sum("are waived" in line for line in lines) == 1
    assert not any("leaves this machine" in line for line in lines)  # it is this machine
    assert {headers["Authorization"] for headers in server.headers} == {"Bearer sk-loopback-31415926535"}
    for file in (tmp_path / "state").rglob("*"):
        assert not file.is_file() or b"31415926535" not in file.read_bytes()
    # What a request before it had, the next one has too, word for word.
    for before, after in zip(server.requests, server.requests[1:], strict=False):
        assert after["messages"][: len(before["messages"])] == before["messages"]
        assert json.dumps(after["tools"]) == json.dumps(before["tools"])


def test_the_command_line_takes_a_url_and_a_window(tmp_path: Path) -> None:
    shop = make_shop(tmp_path)
    with FakeChatServer(SCRIPT, tells_window=False) as server:
        command = [
            sys.executable,
            "-m",
            "tinsmith.cli",
            "resolve",
            "--repo",
            str(shop),
            "--issue-text",
            ISSUE,
            "--json",
        ]
        command += ["--model", f"{server.url}#fake-coder", "--test-command", QUICK, "--python", sys.executable]
        environment = {**os.environ, "TINSMITH_STATE_DIR": str(tmp_path / "state")}
        refused = subprocess.run(command, capture_output=True, text=True, env=environment)
        done = subprocess.run([*command, "--context", "20000"], capture_output=True, text=True, env=environment)
    answer = json.loads(refused.stdout.splitlines()[-1])
    assert refused.returncode == 5 and "--context" in answer["error"]["remedy"]
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["status"] == "resolved"
