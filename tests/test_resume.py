"""An interrupted run goes on where it was: the same ids, the same patch, nothing done twice."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.shop import ISSUE, TESTS, git, make_shop, request

from tinsmith.agent import branches_in
from tinsmith.errors import InputError
from tinsmith.events import RunStore
from tinsmith.resolve import Result, resolve, resume
from tinsmith.workspace import fingerprint

FEWER = TESTS[: TESTS.index("def test_nine")] + TESTS[TESTS.index("def test_label") :]
"""With these the first candidate that flips the reproduction is accepted."""


class Interrupter:
    """A progress callback that interrupts at its `at`-th line."""

    def __init__(self, at: int) -> None:
        self.lines: list[str] = []
        self._at = at

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if len(self.lines) == self._at:
            raise KeyboardInterrupt


def events_of(run: str, tmp_path: Path) -> list[dict[str, Any]]:
    return list(RunStore(tmp_path / "state").open(run).events())


def outcome(result: Result) -> tuple[Any, ...]:
    assert result.patch is not None
    evidence = dataclasses.asdict(result.evidence)
    return result.status, result.reason, result.patch.read_text(), evidence


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, list[str], list[dict[str, Any]]]:
    place = tmp_path_factory.mktemp("undisturbed")
    lines: list[str] = []
    result = resolve(request(make_shop(place, tests=FEWER), place), lines.append)
    assert result.status == "resolved"
    return result, lines, events_of(result.run, place)


def turns_in(events: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What each completed turn was, apart from times and from what the cache held."""
    return [
        (e["number"], e["tool"], e["place"], e["observation"], e["accepted"], e["length"])
        for e in events
        if e["type"] == "turn"
    ]


def test_an_interrupt_at_any_line_of_progress_loses_nothing(
    undisturbed: tuple[Result, list[str], list[dict[str, Any]]], tmp_path: Path
) -> None:
    """Every place where a run says something, each interrupted once and resumed once."""
    straight, lines, straight_events = undisturbed
    shop = make_shop(tmp_path, tests=FEWER)
    before = fingerprint(shop)
    interrupted = 0
    for at in range(1, len(lines) + 1):
        first = resolve(request(shop, tmp_path), Interrupter(at))
        store = RunStore(tmp_path / "state")
        if first.status == "interrupted":
            assert store.open(first.run).status() == "interrupted"
            completed = turns_in(events_of(first.run, tmp_path))
            second = resume(first.run, state_dir=tmp_path / "state")
            assert second.run == first.run
            interrupted += 1
        else:  # in the very last line everything was done
            completed, second = [], first
        events = events_of(first.run, tmp_path)
        assert turns_in(events)[: len(completed)] == completed
        assert turns_in(events) == turns_in(straight_events)
        assert outcome(second) == outcome(straight)
        assert second.branch == "tinsmith/discount-gives-no-discount-for-exactly-ten"
        assert git(shop, "branch", "--list", "tinsmith/*").split() == [second.branch]  # never two
        git(shop, "branch", "-D", second.branch)
        assert fingerprint(shop).work_tree == before.work_tree
        assert not (store.open(first.run).directory / "workspace").exists()
    assert interrupted >= len(lines) - 1 >= 8


def test_the_restored_transcript_has_the_same_ids(tmp_path: Path) -> None:
    shop = make_shop(tmp_path)

    def stop(line: str) -> None:
        if line.startswith("turn 5"):  # rejected: the next candidate is due
            raise KeyboardInterrupt

    first = resolve(request(shop, tmp_path), stop)
    before = events_of(first.run, tmp_path)
    last = [event for event in before if event["type"] == "turn"][-1]
    resume(first.run, state_dir=tmp_path / "state")
    after = events_of(first.run, tmp_path)
    assert after[: len(before) - 1] == before[:-1]  # the log only grew
    branches = branches_in(after)
    resumed = next(i for i, event in enumerate(after) if event["type"] == "run_resumed")
    forks = [event for event in after[resumed:] if event["type"] == "fork"]
    assert any((fork["parent"], fork["at"]) == (last["branch"], last["length"]) for fork in forks)
    for fork in forks:
        assert branches[fork["branch"]][: fork["at"]] == branches[fork["parent"]][: fork["at"]]


def test_usage_counts_both_processes(tmp_path: Path) -> None:
    shop = make_shop(tmp_path)

    def stop(line: str) -> None:
        if line.startswith("turn 1"):
            raise KeyboardInterrupt

    first = resolve(request(shop, tmp_path), stop)
    second = resume(first.run, state_dir=tmp_path / "state")
    assert second.usage["turns"] > first.usage["turns"] == 1
    assert second.usage["test_runs"] > first.usage["test_runs"] >= 3
    assert second.usage["prefilled_tokens"] > first.usage["prefilled_tokens"] > 0
    assert second.usage["seconds"] > first.usage["seconds"] > 0


def resumes(run: str, tmp_path: Path) -> Callable[[], Result]:
    return lambda: resume(run, state_dir=tmp_path / "state")


def test_what_cannot_be_resumed_says_so(tmp_path: Path) -> None:
    shop = make_shop(tmp_path)
    result = resolve(request(shop, tmp_path))
    store = RunStore(tmp_path / "state")
    for run, code in ((result.run, "run_ended"), ("20260101-000000-0000", "unknown_run"), ("../x", "unknown_run")):
        with pytest.raises(InputError) as caught:
            resume(run, state_dir=tmp_path / "state")
        assert caught.value.code == code and caught.value.remedy
    with store.create(repo=shop, model="solder") as log:
        with pytest.raises(InputError) as caught:
            resume(log.run, state_dir=tmp_path / "state")
        assert caught.value.code == "run_in_use"
        log.append("note")
    with pytest.raises(InputError) as caught:
        resume(log.run, state_dir=tmp_path / "state")
    assert caught.value.code == "not_resumable"


def test_a_resumed_run_needs_neither_the_issue_nor_the_directory_it_was_started_in(tmp_path: Path) -> None:
    shop = make_shop(tmp_path)

    def stop(line: str) -> None:
        if line.startswith("turn 1"):
            raise KeyboardInterrupt

    first = resolve(request(shop, tmp_path), stop)
    # The person goes on working meanwhile; the run is about the checkout as it was.
    (shop / "shop.py").write_text("broken(\n")
    shutil.rmtree(shop / "tests")
    second = resume(first.run, state_dir=tmp_path / "state")
    assert second.status == "resolved" and second.branch is not None
    assert "count >= 10" in git(shop, "show", f"{second.branch}:shop.py")
    assert ISSUE.split("\n")[0] in git(shop, "log", "-1", "--format=%B", second.branch)
    assert (shop / "shop.py").read_text() == "broken(\n"


def test_the_patch_so_far_is_kept_whatever_happens(tmp_path: Path) -> None:
    shop = make_shop(tmp_path)

    def fail(line: str) -> None:
        if line.startswith("turn 1"):
            raise RuntimeError("the terminal is gone")

    result = resolve(request(shop, tmp_path), fail)
    assert result.status == "error" and result.error is not None and result.error.code == "internal"
    assert result.patch is not None and "shop.py" in result.patch.read_text()
    assert any(event["type"] == "crash" for event in events_of(result.run, tmp_path))
    assert resume(result.run, state_dir=tmp_path / "state").status == "resolved"
