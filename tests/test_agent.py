"""The loop on a real engine whose model knows nothing: calls are valid by construction or not at all."""

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.fake_log import FakeLog

from tinsmith.agent import (
    CallWriter,
    LimitReached,
    Limits,
    Loop,
    Opening,
    State,
    Transcript,
    Verdict,
    WindowFull,
)
from tinsmith.dialects import Call, Encoder, QwenXml, Text
from tinsmith.engines import EmbeddedEngine, Sampling, open_engine
from tinsmith.models.random_weights import Shape, write_random
from tinsmith.tools import TOOLS, Excerpt, Files, Outputs, ShellResult, Toolbox

QWEN = QwenXml()
CODE = "def f(x):\n    y = x\n    return y\n"
HOT = Sampling(temperature=1.5, seed=7)


class FakeShell:
    def __call__(self, command: str) -> ShellResult:
        return ShellResult(0, "", None)


class FakeJudge:
    """Accepts an edit when `good` holds of the copy, and never lets the run finish unless told to."""

    def __init__(self, root: Path, good: str = "", finish: bool = False, test_runs: int = 10_000) -> None:
        self._root, self._good, self._finish, self._left = root, good, finish, test_runs

    def after_edit(self) -> Verdict:
        if self._left == 0:
            raise LimitReached("the limit of test runs")
        self._left -= 1
        accepted = self._good in (self._root / "a.py").read_text()
        return Verdict(accepted, "passes" if accepted else "fails")

    def finish(self, summary: str) -> Verdict:
        return Verdict(self._finish, "granted" if self._finish else "not yet")


class FakeCopy:
    """Snapshots of a plain directory."""

    base = "base"

    def __init__(self, root: Path) -> None:
        self._root, self._count = root, 0

    def diff(self, base: str, tree: str) -> str:
        return ""

    def snapshot(self) -> str:
        while (place := self._root.with_name(f"{self._root.name}-snapshot-{self._count}")).exists():
            self._count += 1
        shutil.copytree(self._root, place)
        return place.name

    def restore(self, tree: str) -> None:
        shutil.rmtree(self._root)
        shutil.copytree(self._root.with_name(tree), self._root)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedEngine]:
    tiny = Shape(layers=1, d_model=32, heads=2, kv_heads=1, head_dim=16, ffn=32)
    with open_engine(write_random(tmp_path_factory.mktemp("model") / "r.gguf", shape=tiny, scale=0.15)) as engine:
        assert engine.context_window == 32768
        yield engine


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "pkg").mkdir(parents=True)
    (root / "a.py").write_text(CODE)
    (root / "pkg" / "b.txt").write_bytes(b"one\r\ntwo\r\nthree")
    (root / "pkg" / "é.md").write_text("# é\n\n</parameter>\n<tool_call>\n")
    return root


class Session:
    """A loop over `root` with everything it needs."""

    def __init__(
        self,
        engine: EmbeddedEngine,
        root: Path,
        judge: FakeJudge,
        *,
        limits: Limits | None = None,
        candidates: Sequence[Call] = (),
        preamble: int = 0,
        brief: str = "Issue: it fails",
        sampling: Sampling = HOT,
    ) -> None:
        self.log = FakeLog()
        encoder = Encoder(engine.tokenize, engine.vocabulary.reserved)
        self.toolbox = Toolbox(
            Files(root),
            FakeShell(),
            free_tokens=24,
            count=encoder.count,
            outputs=Outputs(root.with_name(root.name + "-outputs")),
        )

        def show() -> None:
            self.toolbox.show(Excerpt("a.py", 1, tuple(CODE.split("\n")[:3])))

        show()
        self.transcript = Transcript(encoder, self.log)
        self.transcript.write(QWEN.system("S", ()), "system")
        self.transcript.write(QWEN.user(brief)[: -len(QWEN.user_end())], "user")
        at = len(self.transcript)
        self.transcript.write(QWEN.user_end(), "user")
        opening = Opening(self.transcript, at, len(self.transcript), show)
        self.writer = CallWriter(
            engine,
            QWEN,
            encoder,
            self.toolbox,
            sampling=sampling,
            preamble_tokens=preamble,
            candidates=lambda tool: candidates if tool == "edit" else (),
        )
        self.lines: list[str] = []
        copy = FakeCopy(root)
        self.loop = Loop(
            engine,
            QWEN,
            encoder,
            self.writer,
            self.toolbox,
            judge,
            copy,
            limits or Limits(),
            self.log,
            opening,
            State(copy.snapshot()),
            reply_tokens=preamble + 64,
            progress=self.lines.append,
        )


def texts_of_turns(engine: EmbeddedEngine, ids: Sequence[int]) -> list[str]:
    """What stands between the opening and the end of each of the model's turns."""
    start = [engine.vocabulary.reserved["<|im_start|>"], *engine.tokenize("assistant\n")]
    end = engine.vocabulary.reserved["<|im_end|>"]
    found: list[str] = []
    for at in range(len(ids)):
        if list(ids[at : at + len(start)]) == start and end in ids[at:]:
            stop = list(ids).index(end, at)
            found.append(engine.detokenize(ids[at + len(start) : stop]).decode(errors="replace"))
    return found


def test_two_hundred_turns_without_knowledge(engine: EmbeddedEngine, root: Path) -> None:
    """No call fails to parse, none is unfinished, none misses its place: five sessions of forty turns."""
    used: Counter[str] = Counter()
    edited = 0
    for seed in range(5):
        tree = root.with_name(f"tree-{seed}")
        shutil.copytree(root, tree)
        hot = Sampling(temperature=1.5, seed=seed)
        session = Session(engine, tree, FakeJudge(tree), limits=Limits(turns=40), preamble=4, sampling=hot)
        end = session.loop.run(session.transcript)
        assert (end.outcome, end.reason) == ("limit", "the limit of 40 turns")
        calls = [Call(data["tool"], data["arguments"]) for data in session.log.of("call")]
        turns = texts_of_turns(engine, session.transcript.ids)
        assert len(calls) == len(turns) == 40
        for call, text in zip(calls, turns, strict=True):
            opener = text.index("<tool_call>\n<function=")
            assert QWEN.parse(text[opener:], TOOLS) == call
            assert text.endswith("</function>\n</tool_call>")
        assert [turn["number"] for turn in session.log.of("turn")] == list(range(1, 41))
        assert not any(turn["missed"] for turn in session.log.of("turn"))
        assert session.log.branches() == {0: list(session.transcript.ids)}
        used.update(call.tool for call in calls)
        edited += sum(turn["tool"] == "edit" and turn["kind"] == "done" for turn in session.log.of("turn"))
    assert sum(used.values()) == 200
    assert set(used) == {spec.name for spec in TOOLS}
    assert edited


def test_each_prompt_begins_with_all_ids_before_it(engine: EmbeddedEngine, root: Path) -> None:
    """Twenty turns of a 32K window: only the last sampled id is ever read again."""
    session = Session(engine, root, FakeJudge(root))
    before: tuple[int, ...] = ()
    known = 0
    for turn in range(20):
        prompt = session.transcript.ids
        assert prompt[: len(before)] == before
        engine.begin_turn()
        session.writer.write(session.transcript)
        usage = engine.end_turn()
        if turn:
            # What was sent and decoded in the turn before ends with its last sampled id: the syntax that
            # closes a call is not sent before the next turn.
            assert usage.reused >= known - 1
        before = session.transcript.ids
        known = last_sampled(session.log)
        session.transcript.write(QWEN.observation("line\n" * 30), "observation")


def last_sampled(log: FakeLog) -> int:
    """The length of the transcript up to the last id that the model gave."""
    sampled = [data for data in log.of("tokens") if data["kind"] == "sampled"]
    return sampled[-1]["at"] + len(sampled[-1]["ids"])


def edit(new: str) -> Call:
    return Call("edit", {"path": "a.py", "start": "2", "end": "2", "new": new})


CANDIDATES = [edit("    y = 1"), edit("    y = 2"), edit("    y = 3"), edit("    y = (")]


def test_rejected_candidates_are_forks(engine: EmbeddedEngine, root: Path) -> None:
    session = Session(engine, root, FakeJudge(root, good="y = 3"), limits=Limits(turns=60), candidates=CANDIDATES)
    session.loop.run(session.transcript)
    branches, forks = session.log.branches(), session.log.of("fork")
    edits = [t for t in session.log.of("turn") if t["tool"] == "edit" and t["accepted"] is not None]
    rejected = [turn for turn in edits if not turn["accepted"]]
    assert rejected and forks
    assert branches[0] == list(session.transcript.ids)  # what was written stays as it was
    for fork in forks:
        assert branches[fork["branch"]][: fork["at"]] == branches[fork["parent"]][: fork["at"]]
    accepted = next(turn for turn in edits if turn["accepted"])
    calls = session.log.of("call")[: accepted["number"]]  # one a turn
    tried = {call["arguments"]["new"] for call in calls if call["tool"] == "edit"}
    assert tried <= {call.arguments["new"] for call in CANDIDATES}
    # None of the rejected ones is in the copy or in the branch where the good one stands.
    text = engine.detokenize(branches[accepted["branch"]]).decode(errors="replace")
    first_edit = text.index("<function=edit>")
    assert "y = 3" in text[first_edit:]
    assert "y = 1\n" not in text[first_edit : text.index("y = 3")]


def test_the_last_branch_is_free_writing(engine: EmbeddedEngine, root: Path) -> None:
    session = Session(engine, root, FakeJudge(root, good="never"), candidates=CANDIDATES)
    while True:
        before = len(session.transcript)
        written = session.writer.write(session.transcript)
        if written.options is not None:
            break
        session.transcript.write([Text("\n")], "observation")
    options = written.options
    assert before < options.at < len(session.transcript)
    assert options.left == 4
    branches = [session.transcript.fork(options.at) for _ in range(4)]
    calls = [written.call] + [options.take(branch) for branch in branches]
    assert options.left == 0 and options.tried[-1] == options.FREE
    assert sorted(call.arguments["new"] for call in calls[:4]) == sorted(c.arguments["new"] for c in CANDIDATES)
    assert calls[4].tool == "edit"
    for call, branch in zip(calls, [session.transcript, *branches], strict=True):
        assert branch.ids[: options.at] == session.transcript.ids[: options.at]
        assert QWEN.parse(texts_of_turns(engine, branch.ids)[-1], TOOLS) == call
    kinds = [data["kind"] for data in session.log.of("tokens") if data["branch"] == branches[3].branch]
    assert "ranked" not in kinds and "sampled" in kinds


def test_the_copy_is_restored_for_the_next_candidate(engine: EmbeddedEngine, root: Path) -> None:
    """Whatever is judged holds one candidate and nothing of those before it."""
    seen: list[str] = []

    class FakeWatcher(FakeJudge):
        def after_edit(self) -> Verdict:
            seen.append((root / "a.py").read_text())
            return Verdict(False, "fails")

    session = Session(engine, root, FakeWatcher(root), candidates=CANDIDATES, limits=Limits(turns=25), sampling=HOT)
    session.loop.run(session.transcript)
    ranked = [text for text in seen if "    y = " in text and "y = x" not in text][:3]
    assert {CODE.replace("y = x", f"y = {n}") for n in (1, 2, 3)} >= set(ranked)
    assert ranked


def test_the_gate_grants_the_end(engine: EmbeddedEngine, root: Path) -> None:
    session = Session(engine, root, FakeJudge(root, finish=True), limits=Limits(turns=100))
    end = session.loop.run(session.transcript)
    assert end.outcome == "finished"
    last = session.log.of("call")[-1]
    assert (last["tool"], last["arguments"]["summary"]) == ("finish", end.summary)
    assert session.log.of("turn")[-1]["accepted"] is True


def test_limits_end_a_run(engine: EmbeddedEngine, root: Path) -> None:
    for limits, reason in (
        (Limits(turns=3), "the limit of 3 turns"),
        (Limits(seconds=-1), "the limit of -1 seconds"),
    ):
        session = Session(engine, root, FakeJudge(root), limits=limits)
        end = session.loop.run(session.transcript)
        assert (end.outcome, end.reason) == ("limit", reason)
    session = Session(engine, root, FakeJudge(root, test_runs=0), limits=Limits(turns=200))
    assert session.loop.run(session.transcript).reason == "the limit of test runs"


def test_a_full_window_is_emptied_and_the_run_goes_on(tmp_path_factory: pytest.TempPathFactory, root: Path) -> None:
    path = write_random(tmp_path_factory.mktemp("model") / "small.gguf", scale=0.15)
    with open_engine(path, context=2048) as small:
        session = Session(small, root, FakeJudge(root), limits=Limits(turns=60))
        end = session.loop.run(session.transcript)
        assert end.outcome == "limit" and ("60 turns" in end.reason or "same call" in end.reason)
        assert session.log.of("forgot")
        branches = session.log.branches()
        assert len(branches) > 1 and all(len(ids) <= small.context_window for ids in branches.values())
        for fork in session.log.of("fork"):
            assert branches[fork["branch"]][: fork["at"]] == branches[0][: fork["at"]]
        assert (root / "a.py").exists()
        brief = Session(small, root, FakeJudge(root), brief="x" * 3000)  # full from the start
        assert brief.loop.run(brief.transcript).outcome == "limit"
        with pytest.raises(WindowFull):
            brief.writer.write(brief.transcript)


def test_transcript_only_grows_and_forks_are_apart(engine: EmbeddedEngine) -> None:
    log = FakeLog()
    first = Transcript(Encoder(engine.tokenize, engine.vocabulary.reserved), log)
    first.write(QWEN.user("abc"), "user")
    first.sampled([])
    before = first.ids
    second, third = first.fork(4), first.fork(0)
    second.sampled([1, 2])
    fourth = second.fork(5)
    first.sampled([3])
    assert first.ids == (*before, 3)
    assert second.ids == (*before[:4], 1, 2)
    assert (third.ids, fourth.ids) == ((), (*before[:4], 1))
    assert [t.branch for t in (first, second, third, fourth)] == [0, 1, 2, 3]
    assert log.branches() == {t.branch: list(t.ids) for t in (first, second, third, fourth)}
    assert len(log.of("tokens")) == 3
    for length in (-1, len(first) + 1):
        with pytest.raises(ValueError, match="cannot fork"):
            first.fork(length)
