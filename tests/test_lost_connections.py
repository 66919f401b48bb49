"""Whole runs on a chat endpoint whose server is slow, busy, too small or gone for a while: every run does the work."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.fake_chat_server import FakeChatServer, Fault, drops, silent, status
from tests.shop import git, make_shop, request
from tests.test_lost_calls import QUICK, SCRIPT, run, turns_of

from tinsmith.dialects import Call
from tinsmith.engines import Patience
from tinsmith.events import RunStore
from tinsmith.resolve import resolve, resume

LONG_FILE = (
    "\n".join(f"VALUE_{number} = {'x' * 30!r}  # {number:06} of the long table" for number in range(2_000)) + "\n"
)
READS = [
    Call("read", {"path": "table.py", "start": str(first), "end": str(first + 199)}) for first in range(1, 2_000, 200)
]


@pytest.mark.parametrize("tells_window", [True, False])
def test_a_window_of_32k_and_long_outputs(tells_window: bool, tmp_path: Path) -> None:
    """The server counts more tokens than we think there are, and where it is silent about its window, all that is known
    is what somebody believed: it refuses, says by how much, and the run goes on with what fits."""
    shop = make_shop(tmp_path)
    (shop / "table.py").write_text(LONG_FILE)
    git(shop, "add", "--all")
    git(shop, "commit", "--quiet", "-m", "a table")
    context = None if tells_window else 200_000
    with FakeChatServer([*READS, *SCRIPT], window=32_768, bytes_a_token=2.0, tells_window=tells_window) as server:
        asked = request(shop, tmp_path, model=server.url, test_command=QUICK, context=context)
        lines: list[str] = []
        result = resolve(asked, lines.append)
        largest = max(server.tokens(body) for body in server.requests)
    assert result.status == "resolved", result.reason
    assert turns_of(result, tmp_path) == ["read"] * len(READS) + ["read", "edit", "finish"]
    assert any(line.startswith("window:") for line in lines) or not tells_window
    assert any(event["type"] == "forgot" for event in RunStore(tmp_path / "state").open(result.run).events())
    assert server.refused == (0 if tells_window else 1)
    assert largest > 32_768 // 2  # what there is is used


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        pytest.param(
            {0: status(503, "Loading model"), 1: status(500, "out of luck")}, "asking again", id="500 and 503"
        ),
        pytest.param({0: status(429, "slow down", {"Retry-After": "0"})}, "asking again", id="429 with Retry-After"),
        pytest.param({0: drops, 2: drops}, "thrown away", id="dropped in the middle of the stream"),
    ],
)
def test_a_server_that_fails_first_is_asked_again(faults: dict[int, Fault], says: str, tmp_path: Path) -> None:
    with FakeChatServer(SCRIPT, faults) as server:
        result, lines = run(server, tmp_path)
    assert result.status == "resolved", result.reason
    assert turns_of(result, tmp_path) == ["read", "edit", "finish"]  # nothing was done twice
    assert len(server.requests) == len(SCRIPT) + len(faults)
    assert sum(says in line for line in lines) == len(faults)


def test_a_slow_prefill_is_waited_for(tmp_path: Path) -> None:
    """Ten minutes without a byte, here a few seconds: an answer may be silent for three times as long (the limit itself
    is tested in test_chat.py), and there is no limit on the whole of it."""
    assert Patience().silence >= 3 * 600
    with FakeChatServer(SCRIPT, {1: silent(4.0)}) as server:
        result, _ = run(server, tmp_path)
    assert result.status == "resolved", result.reason
    assert len(server.requests) == len(SCRIPT)


def test_interrupted_while_it_waits_and_resumed(tmp_path: Path) -> None:
    cancel = threading.Event()

    def interrupted(server: FakeChatServer, handler: Any, call: Call) -> None:
        cancel.set()
        silent(60.0)(server, handler, call)

    shop = make_shop(tmp_path)
    with FakeChatServer(SCRIPT, {1: interrupted}) as server:
        started = time.monotonic()
        first = resolve(request(shop, tmp_path, model=server.url, test_command=QUICK), cancel=cancel)
        assert first.status == "interrupted"
        assert server.gone.wait(5.0)  # the server knows, and need not go on
        assert time.monotonic() - started < 45.0
        store = RunStore(tmp_path / "state")
        before = list(store.open(first.run).events())
        second = resume(first.run, state_dir=tmp_path / "state")
        after = list(store.open(first.run).events())
    assert second.status == "resolved", second.reason
    assert after[: len(before) - 1] == before[:-1]  # the log only grew
    assert turns_of(second, tmp_path) == ["read", "edit", "finish"]
    # The request after the interrupt is the one before it, word for word.
    assert server.requests[2]["messages"] == server.requests[1]["messages"]
    assert second.usage["turns"] == 3
