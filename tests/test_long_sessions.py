"""Whole runs of sixty turns through the real stages, loop, tools and sandbox: prefixes, windows, what is reused.

The engine replays a script and keeps the accounts of one KV slot; everything else is real.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.fake_engine import FakeEngines, write_free_model
from tests.shop import BUGGY, git, make_shop, request

from tinsmith.agent import Limits, branches_in
from tinsmith.dialects import Call
from tinsmith.events import RunStore
from tinsmith.resolve import Result, resolve, resume

LINE = next(n for n, line in enumerate(BUGGY.split("\n"), 1) if "count > 10" in line)


def call(tool: str, **arguments: str) -> Call:
    return Call(tool, arguments)


def block(number: int, output: str) -> list[Call]:
    """Twelve steps: look, run, an edit that the syntax check refuses, a wrong edit and its way back."""
    start = str(1 + 20 * number)
    module = f"lib/module_{number % 4}.py"
    end = str(int(start) + 99)
    return [
        call("search", pattern=f"step_{number}\\b"),
        call("read", path=module, start=start, end=end),
        call("run", command=f"{output} # {number}"),
        call("edit", path=module, start=start, end=start, new="def broken(:"),
        call("read", path="shop.py", start="1", end="13"),
        call("edit", path="shop.py", start=str(LINE), end=str(LINE), new=f"    if count > {20 + number}:"),
        call("run", command=f"{output} # again {number}"),
        call("edit", path="shop.py", start=str(LINE), end=str(LINE), new="    if count > 10:"),
        call("finish", summary=f"not yet {number}"),
        call("search", pattern=f"value_{number}", path=module),
        call("read", path=module, start="300", end="380"),
        call("run", command=f"python -c 'print({number})'"),
    ]


def script(output: str) -> list[Call]:
    steps = [step for number in range(5) for step in block(number, output)]
    fix = call("edit", path="shop.py", start=str(LINE), end=str(LINE), new="    if count >= 10:")
    look = call("read", path="shop.py", start="1", end="13")
    return [*steps[:57], look, fix, call("finish", summary="Ten counts too.")]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repo = make_shop(tmp_path)
    (repo / "lib").mkdir()
    for number in range(4):
        lines = [f"step_{n} = value_{number} = {n * 7919 % 1000}  # entry {n}" for n in range(400)]
        (repo / "lib" / f"module_{number}.py").write_text("\n".join(lines) + "\n")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "-m", "library")
    return repo


def run_whole(
    repo: Path, tmp_path: Path, sessions: FakeEngines, interrupts: Sequence[int] = ()
) -> tuple[Result, list[dict[str, Any]]]:
    """A run that is interrupted after each of the turns `interrupts` and resumed; its events."""
    model = write_free_model(tmp_path)
    asked = request(
        repo, tmp_path, model=str(model), limits=Limits(turns=80, test_runs=80, tokens=10_000_000), issue="discount"
    )
    pending = list(interrupts)

    def progress(line: str) -> None:
        if pending and line.startswith(f"turn {pending[0]}:"):
            pending.pop(0)
            raise KeyboardInterrupt

    result = resolve(asked, progress, open_engine=sessions)
    store = RunStore(tmp_path / "state")
    for _ in interrupts:
        assert result.status == "interrupted", result
        sessions.first_turn = sum(event["type"] == "turn" for event in store.open(result.run).events())
        result = resume(result.run, progress, state_dir=tmp_path / "state", open_engine=sessions)
    return result, list(store.open(result.run).events())


def check_prefixes(sessions: FakeEngines, events: list[dict[str, Any]]) -> int:
    """Every prompt begins with the one before it, but at a recorded forgetting; how many of these there were."""
    branches = branches_in(events)
    prompts = [prompt for engine in sessions.engines for prompt in engine.prompts]
    breaks = [(before, after) for before, after in pairwise(prompts) if after[: len(before)] != before]
    forgettings = [event for event in events if event["type"] == "forgot"]
    assert len(breaks) == len(forgettings)
    for (before, after), event in zip(breaks, forgettings, strict=True):
        # What is kept is the whole opening, and it is the recorded place where the prompts part.
        assert after[: event["at"]] == before[: event["at"]]
        assert tuple(branches[event["branch"]][: len(after)]) == after
    return len(forgettings)


def test_every_prompt_begins_with_the_one_before_it(repo: Path, tmp_path: Path) -> None:
    """Sixty turns in 16K with interrupts, refused calls, resumes, forgetting and engine restarts."""
    sessions = FakeEngines(script("seq 1 3000"), context_window=16_384, kill_at=lambda request: request in (7, 90))
    result, events = run_whole(repo, tmp_path, sessions, interrupts=(9, 10, 31, 58))
    assert result.status == "resolved", result
    turns = [event for event in events if event["type"] == "turn"]
    assert [turn["number"] for turn in turns] == list(range(1, 61))
    assert sum(turn["kind"] == "refused" and turn["tool"] == "edit" for turn in turns) == 5
    restarts = [event for event in events if event["type"] == "engine_restarted"]
    assert restarts and sum(event["type"] == "run_resumed" for event in events) == 4
    assert check_prefixes(sessions, events) >= 1
    # reused >= previous prompt + generated - 1: what was sent before a request, but for its last id, is never
    # read again, unless the engine is new, has been restarted or something was forgotten.
    afresh = {event["seq"] for event in events if event["type"] in ("engine_restarted", "forgot", "engine")}
    known = 0
    last = -1
    checked = 0
    for event in events:
        if event["type"] == "turn":
            # A request's last ids and the syntax after it are sent with the next one.
            if known and not any(last < seq < event["seq"] for seq in afresh):
                assert event["usage"]["reused"] >= known - 1
                checked += 1
            known, last = sampled_end(events, event), event["seq"]
    assert checked >= 45


def sampled_end(events: Sequence[dict[str, Any]], turn: dict[str, Any]) -> int:
    """Where the last sampled id of a turn's branch ends, at the turn's end."""
    ends = [
        event["at"] + len(event["ids"])
        for event in events
        if event["type"] == "tokens" and event["branch"] == turn["branch"] and event["kind"] == "sampled"
        if event["seq"] < turn["seq"]
    ]
    return ends[-1] if ends else 0


def test_half_a_million_tokens_of_output_fit_sixteen_thousand(repo: Path, tmp_path: Path) -> None:
    """Never more than the window is sent: the engine asserts it at every request."""
    noisy = "seq 100000 112000"
    sessions = FakeEngines(script(noisy), context_window=16_384)
    result, events = run_whole(repo, tmp_path, sessions)
    assert result.status == "resolved", result
    outputs = RunStore(tmp_path / "state").open(result.run).directory / "outputs"
    tokenize = sessions.engines[0].tokenize
    total = sum(len(tokenize(path.read_text())) for path in outputs.iterdir())
    assert total >= 500_000
    assert max(len(prompt) for prompt in sessions.engines[0].prompts) < 16_384
    assert check_prefixes(sessions, events) >= 1


def test_a_window_that_is_too_small_is_refused_with_the_figures(repo: Path, tmp_path: Path) -> None:
    sessions = FakeEngines(script("true"), context_window=1_500)
    result, _ = run_whole(repo, tmp_path, sessions)
    assert result.status == "error" and result.error is not None
    assert (result.error.code, result.error.exit_code) == ("window_too_small", 3)
    assert "1500" in result.error.message and "tokens" in result.error.remedy
    assert sessions.engines[0].prompts == []
