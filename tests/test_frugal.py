"""What a scripted task of 20 steps costs in tokens, beside a client that sends nothing but raw outputs."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from tests.fake_engine import FakeEngines, tekken_tokenizer, write_free_model
from tests.frugal_task import ISSUE, make_repository, steps
from tests.vocabularies import qwen, tekken

from tinsmith.dialects import Call, Control, QwenXml, Spans, Text
from tinsmith.events import RunStore
from tinsmith.resolve import Request, resolve, resume
from tinsmith.resolve.brief import Failure, first_turn
from tinsmith.resolve.opening import DEFAULT_SYSTEM
from tinsmith.tools import TOOLS, Excerpt, Files, Outputs, ShellResult, Toolbox, describe, failure_text
from tinsmith.workspace import Sandbox, Workspace, run_reported

BUDGET = 14_000
RAW = 16_900
"""Tokens of raw outputs, task and replies in the study (Tekken)."""
SUSPECTS = [("shop/discounts.py", "def discount_of", 7), ("shop/orders.py", "def shipping_of", 8)]
SUSPECTS += [("shop/invoices.py", "def paid_so_far", 6)]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    top = tmp_path / "shop"
    make_repository(top)
    return top


class Agent:
    """The real tools on a real copy; every edit is tested as the judge of a run would."""

    def __init__(self, checkout: Path, directory: Path, count: Callable[[str], int]) -> None:
        self.workspace = Workspace.create(checkout, directory / "workspace")
        self.sandbox = Sandbox.find()
        self.toolbox = Toolbox(
            Files(self.workspace.tree), self.shell, count=count, outputs=Outputs(directory / "outputs")
        )

    def shell(self, command: str) -> ShellResult:
        done, report = run_reported(self.workspace, self.sandbox, ["/bin/sh", "-c", command], timeout=60)
        return ShellResult(done.returncode, done.output.decode(), report)

    def brief(self) -> str:
        """Issue, two failing tests and the code of three suspects, as a run begins."""
        report = self.shell("python -m pytest -q").report
        assert report is not None
        failures = [Failure(each.nodeid, failure_text(each)) for each in report.failing()[:2]]
        excerpts: list[Excerpt] = []
        for path, begin, length in SUSPECTS:
            lines = self.toolbox.files.lines(path)
            first = next(number for number, line in enumerate(lines, 1) if line.startswith(begin))
            excerpts.append(Excerpt(path, first, tuple(lines[first - 1 : first - 1 + length])))
        for excerpt in excerpts:
            self.toolbox.show(excerpt)
        return first_turn(ISSUE, failures, excerpts)

    def answer(self, call: Call, budget: int) -> str:
        if call.tool == "finish":
            return "The gate accepts: what was broken passes, what passed still does."
        observation = self.toolbox.execute(call, budget)
        assert observation.kind == "done", (call, observation.text)
        if not observation.edited:
            return observation.text
        report = self.shell("python -m pytest -q").report
        assert report is not None
        failing = [describe(outcome) for outcome in report.failing()[:3]]
        return "\n".join([observation.text, *failing]) if failing else "The reproduction passes. Call finish."


def call_spans(call: Call) -> Spans:
    """A call as the model writes it."""
    dialect = QwenXml()
    spans = [*dialect.assistant_start(), Control(dialect.call_opener()), *dialect.tool_start()]
    spans.append(Text(dialect.tool_literal(call.tool)))
    for key, value in call.arguments.items():
        spans.append(Text(f"{dialect.key_literal(key, False)}{value}\n</parameter>\n"))
    return [*spans, Text(dialect.close_literal(False)), *dialect.call_end()]


def raw_outputs(checkout: Path) -> list[str]:
    """What the commands of a client without tools of its own print, step by step."""
    outputs: list[str] = []
    path_of_python = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for step in steps():
        command = ["/bin/sh", "-c", step.raw or "true"]
        done = subprocess.run(command, cwd=checkout, env=path_of_python, capture_output=True, text=True, check=False)
        outputs.append(done.stdout)
        if step.call.tool == "edit":
            given = step.call.arguments
            path, at = checkout / given["path"], int(given["start"])
            lines = path.read_text().split("\n")
            lines[at - 1] = given["new"]
            path.write_text("\n".join(lines))
    return outputs


def test_the_task_is_like_the_one_of_the_study(checkout: Path) -> None:
    lines = {tool: [0] * 0 for tool in ("search", "read", "run", "edit", "finish")}
    for step, output in zip(steps(), raw_outputs(checkout), strict=True):
        lines[step.call.tool].append(output.count("\n"))
    assert {tool: len(each) for tool, each in lines.items()} == {
        "search": 3,
        "read": 8,
        "run": 5,
        "edit": 3,
        "finish": 1,
    }
    assert all(115 <= count <= 156 for count in lines["read"]), lines
    assert all(59 <= count <= 77 for count in lines["run"]), lines


@pytest.mark.parametrize("name", ["tekken", "qwen"])
def test_twenty_steps_are_frugal(checkout: Path, tmp_path: Path, name: str) -> None:
    encode = (tekken() if name == "tekken" else qwen()).encode_ordinary

    def count(text: str) -> int:
        return len(encode(text))

    def cost(spans: Spans) -> int:
        return sum(1 if isinstance(span, Control) else count(span.text) for span in spans)

    dialect = QwenXml()
    agent = Agent(checkout, tmp_path / "run", count)
    fixed = cost(dialect.system(DEFAULT_SYSTEM, TOOLS))
    brief = cost(dialect.user(agent.brief()))
    ours, calls, wrapped = Counter[str](), 0, 0
    total = fixed + brief
    for step in steps():
        answer = agent.answer(step.call, max(256, (32_768 - total - 1_000) // 2))
        ours[step.call.tool] += count(answer)
        calls += cost(call_spans(step.call))
        wrapped += cost(dialect.observation(answer)) - count(answer)
        total = fixed + brief + sum(ours.values()) + calls + wrapped
    raw = Counter[str]()
    for step, output in zip(steps(), raw_outputs(checkout), strict=True):
        raw[step.call.tool] += count(output)
    floor = sum(raw.values()) + calls + wrapped + count(ISSUE)
    print(f"\n{name}: fixed part {fixed}, brief {brief}, calls {calls}, syntax of results {wrapped}")
    for tool in ("search", "read", "run", "edit"):
        print(f"{name}: {tool}: raw {raw[tool]}, ours {ours[tool]}")
    print(f"{name}: raw outputs, task and calls {floor}, ours {total}")
    if name == "tekken":
        assert abs(floor - RAW) < 300
        assert total <= BUDGET
    assert total < floor * 0.85
    assert ours["run"] < raw["run"] / 3 and ours["search"] < raw["search"]
    assert ours["read"] < raw["read"]  # numbers and all, since nothing is shown twice


@pytest.mark.parametrize("interrupts", [(), (12,)])
def test_the_whole_run_is_frugal(checkout: Path, tmp_path: Path, interrupts: tuple[int, ...]) -> None:
    """The same task through the stages, the loop and the gate; interrupted, every id is still there."""
    tokenizer = tekken_tokenizer(QwenXml.controls)
    engines = FakeEngines([step.call for step in steps()], vocabulary=tokenizer.vocabulary, tokenize=tokenizer.tokenize)

    def progress(line: str) -> None:
        if any(line.startswith(f"turn {number}:") for number in interrupts):
            raise KeyboardInterrupt

    model = write_free_model(tmp_path)
    asked = Request(checkout, ISSUE, model=str(model), python=Path(sys.executable), state_dir=tmp_path / "state")
    result = resolve(asked, progress, open_engine=engines)
    for number in interrupts:
        assert result.status == "interrupted"
        engines.first_turn = number
        result = resume(result.run, state_dir=tmp_path / "state", open_engine=engines)
    assert result.status in ("resolved", "unverified"), result  # what the patch audit says is not the point here
    prompts = [prompt for engine in engines.engines for prompt in engine.prompts]
    assert all(after[: len(before)] == before for before, after in pairwise(prompts))
    events = list(RunStore(tmp_path / "state").open(result.run).events())
    turns = [event for event in events if event["type"] == "turn"]
    assert [turn["tool"] for turn in turns] == [step.call.tool for step in steps()]
    if not interrupts:
        prefilled = sum(turn["usage"]["prefilled"] for turn in turns)
        print(f"\ntekken: {prefilled} tokens prefilled in the whole run")
        assert prefilled <= BUDGET
        assert prefilled == result.usage["prefilled_tokens"]
