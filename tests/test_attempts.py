"""Several attempts at one issue, the best evidence wins; and a run that first writes its reproduction."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.fake_engine import FakeEngines, write_free_model
from tests.shop import BUGGY, TESTS, git, make_shop, request

from tinsmith.agent import Limits, branches_in
from tinsmith.dialects import Call
from tinsmith.events import RunStore
from tinsmith.resolve import Result, resolve, resume
from tinsmith.resolve.attempts import Attempt, best_of, status_of

LINE = str(next(n for n, line in enumerate(BUGGY.split("\n"), 1) if "count > 10" in line))
SMALL = Call("edit", {"path": "shop.py", "start": LINE, "end": LINE, "new": "    if count >= 10:"})
LARGE = Call("edit", {"path": "shop.py", "start": LINE, "end": LINE, "new": "    enough = count >= 10\n    if enough:"})
WRONG = Call("edit", {"path": "shop.py", "start": LINE, "end": LINE, "new": "    if count > 12:"})
SUSPICIOUS = Call("edit", {"path": "shop.py", "start": LINE, "end": LINE, "new": "    if count >= 10 or eval('0'):"})


def done(summary: str) -> Call:
    return Call("finish", {"summary": summary})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_free_model(tmp_path)


def run(
    tmp_path: Path, model: Path, script: Sequence[Call], progress: Callable[[str], None] = print, **changes: Any
) -> tuple[Result, list[dict[str, Any]]]:
    asked = request(make_shop(tmp_path), tmp_path, model=str(model), **changes)
    result = resolve(asked, progress, open_engine=FakeEngines(script))
    return result, list(RunStore(tmp_path / "state").open(result.run).events())


def test_the_smallest_accepted_change_wins(tmp_path: Path, model: Path) -> None:
    script = [LARGE, done("large"), WRONG, SMALL, done("small"), LARGE, done("again")]
    result, events = run(tmp_path, model, script, attempts=3)
    assert result.status == "resolved", result
    attempts = [event for event in events if event["type"] == "attempt"]
    assert [(a["number"], a["accepted"], a["changed_lines"], a["turns"]) for a in attempts] == [
        (1, True, 3, 2),
        (2, True, 2, 3),
        (3, True, 3, 2),
    ]
    assert result.patch is not None and "+    if count >= 10:" in result.patch.read_text()
    assert "enough" not in git(tmp_path / "shop", "show", str(result.branch))
    # Each attempt begins with the opening and with nothing of the one before.
    opening = next(event for event in events if event["type"] == "opening")
    branches = branches_in(events)
    begins = branches[opening["branch"]][: opening["length"]]
    for turn in (event for event in events if event["type"] == "turn"):
        assert branches[turn["branch"]][: len(begins)] == begins
    firsts = [event for event in events if event["type"] == "turn" and event["number"] == 1]
    assert len({turn["branch"] for turn in firsts}) == 3
    assert all(turn["length"] - len(begins) < 200 for turn in firsts)


def test_a_change_without_a_finding_wins_over_a_smaller_one(tmp_path: Path, model: Path) -> None:
    result, events = run(tmp_path, model, [SUSPICIOUS, done("odd"), LARGE, done("plain")], attempts=2)
    attempts = [event for event in events if event["type"] == "attempt"]
    assert [attempt["findings"] > 0 for attempt in attempts] == [True, False]
    assert result.status == "resolved" and result.patch is not None and "enough" in result.patch.read_text()


def test_the_limits_are_shared(tmp_path: Path, model: Path) -> None:
    other = Call("edit", {**WRONG.arguments, "new": "    if count > 13:"})
    script = [WRONG, other, SMALL, done("small")]
    result, events = run(tmp_path, model, script, attempts=2, limits=Limits(turns=4))
    attempts = [event for event in events if event["type"] == "attempt"]
    assert [(a["turns"], a["accepted"], a["reason"]) for a in attempts] == [
        (2, False, "the limit of 2 turns"),
        (2, True, "the gate accepted"),
    ]
    assert result.status == "resolved" and result.usage["turns"] == 4


def test_an_interrupt_between_attempts_keeps_those_before(tmp_path: Path, model: Path) -> None:
    engines = FakeEngines([LARGE, done("large"), SMALL, done("small")])
    asked = request(make_shop(tmp_path), tmp_path, model=str(model), attempts=2)

    def stop(line: str) -> None:
        if line.startswith(stops[0]):
            raise KeyboardInterrupt

    for stop_at, first_turn in (("attempt 2", 2), ("turn 1: edit", 3)):
        stops = [stop_at]
        if stop_at == "attempt 2":
            result = resolve(asked, stop, open_engine=engines)
        else:
            result = resume(result.run, stop, state_dir=tmp_path / "state", open_engine=engines)
        assert result.status == "interrupted"
        engines.first_turn = first_turn
    result = resume(result.run, state_dir=tmp_path / "state", open_engine=engines)
    assert result.status == "resolved" and result.patch is not None
    assert "enough" not in result.patch.read_text()
    events = list(RunStore(tmp_path / "state").open(result.run).events())
    assert [event["number"] for event in events if event["type"] == "attempt"] == [1, 2]
    assert [event["number"] for event in events if event["type"] == "turn"] == [1, 2, 1, 2]


def test_without_a_failing_test_there_is_one_attempt(tmp_path: Path) -> None:
    shop = make_shop(tmp_path, tests=TESTS[: TESTS.index("def test_ten")] + TESTS[TESTS.index("def test_label") :])
    result = resolve(request(shop, tmp_path, attempts=3))  # Solder: it writes no test
    events = list(RunStore(tmp_path / "state").open(result.run).events())
    assert [event["number"] for event in events if event["type"] == "attempt"] == [1]
    assert result.status in ("unverified", "unresolved")


def test_the_next_attempt_of_a_ranking_model_tries_other_candidates(tmp_path: Path) -> None:
    few = TESTS[: TESTS.index("def test_nine")] + TESTS[TESTS.index("def test_label") :]
    result = resolve(request(make_shop(tmp_path, tests=few), tmp_path, attempts=2))
    events = list(RunStore(tmp_path / "state").open(result.run).events())
    tried = [event["tried"] for event in events if event["type"] == "attempt"]
    assert len(tried) == 2 and tried[0] and set(tried[0]) < set(tried[1])
    edits = [event["arguments"]["new"] for event in events if event["type"] == "call" and event["tool"] == "edit"]
    assert len(edits) == len(set(edits)) >= 2
    assert result.status == "resolved"


def test_a_run_writes_its_reproduction_first(tmp_path: Path, model: Path) -> None:
    shop = make_shop(
        tmp_path, tests="from shop import discount\n\n\ndef test_many():\n    assert discount(20, 10) == 180"
    )
    path = "tests/test_discount_gives_no_discount_for_exactly.py"
    good = "from shop import discount\n\n\ndef test_ten():\n    assert discount(10, 10) == 90"
    passes = Call("edit", {"path": path, "new": good.replace("90", "100")})
    engines = FakeEngines([passes, Call("edit", {"path": path, "new": good}), SMALL, done("Ten counts.")])
    result = resolve(request(shop, tmp_path, model=str(model)), open_engine=engines)
    assert result.status == "resolved", result
    assert result.evidence.before == {f"{path}::test_ten": "failed"}
    assert result.evidence.after == {f"{path}::test_ten": "passed"}
    assert "+def test_ten():" in git(shop, "show", str(result.branch))  # offered as a test
    # What was read and written is counted once, though two stages made the model work.
    usage = engines.engines[0].usage
    counted = {"prefilled_tokens": usage.prefilled, "reused_tokens": usage.reused, "decoded_tokens": usage.decoded}
    assert {name: result.usage[name] for name in counted} == counted
    events = list(RunStore(tmp_path / "state").open(result.run).events())
    assert [event["accepted"] for event in events if event["type"] == "reproduction_attempt"] == [False, True]


def attempt(number: int, **changes: Any) -> Attempt:
    plain: dict[str, Any] = {"accepted": True, "reason": "", "summary": "", "tree": "", "findings": 0}
    plain |= {"changed_lines": 2, "tried": [], "evidence": {"findings": [{"text": "It reads the clock."}]}}
    return Attempt(number, **{**plain, "turns": 1, "test_runs": 1, "tokens": 1, "time": 1.0, **changes})


def test_what_counts_is_the_evidence() -> None:
    odd, long, short = attempt(1, findings=1), attempt(2, changed_lines=9), attempt(3)
    failed = attempt(4, accepted=False, reason="the limit of 9 turns")
    assert best_of([odd, long, short, failed]) is short
    assert best_of([odd, failed]) is odd and best_of([failed, attempt(5, accepted=False)]).number == 5
    assert best_of([attempt(1), attempt(2)]).number == 1
    assert status_of(short, True)[0] == "resolved"
    assert status_of(short, False)[0] == "unverified"
    assert status_of(odd, True) == ("unverified", "the tests pass, but they prove little: It reads the clock.")
    assert status_of(failed, True) == ("unresolved", "stopped at the limit of 9 turns")
