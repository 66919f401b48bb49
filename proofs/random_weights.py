"""Sessions of models with random weights through everything: stages, loop, tools, sandbox and gate.

Such a model tries what no trained one would. `make prove-random` runs 1,000 turns over small repositories
with a planted bug and shows that every call is read back from the ids as it was done, that none misses a path, a
range or a match, that every tool is used, and that no run ends as *resolved*.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from proofs.kill_tasks import TASKS, Task

from tinsmith.agent import Limits, branches_in
from tinsmith.dialects import Call, Malformed, QwenXml
from tinsmith.events import RunStore
from tinsmith.models import GGUFHeader, byte_characters
from tinsmith.models.random_weights import CONTROL, DELIMITERS, Shape, write_random
from tinsmith.resolve import Request, resolve
from tinsmith.tools import TOOLS
from tinsmith.workspace import fingerprint

SHAPE = Shape(layers=1, d_model=32, heads=2, kv_heads=1, head_dim=16, ffn=32)
TURNS_A_RUN = 40
MERGES = ["\u0120 \u0120"]
BYTES = [*byte_characters().values(), "\u0120\u0120", *CONTROL, *DELIMITERS]
"""A vocabulary in which no tool's name has more beginnings than another's, so that each is drawn often enough."""
LEAST_SHARE = 0.1
"""Of every tool among the calls."""


@dataclass
class Found:
    """What the sessions came to; `wrong` is empty where all holds."""

    tools: Counter[str] = field(default_factory=Counter[str])
    done: Counter[str] = field(default_factory=Counter[str])
    refused: Counter[str] = field(default_factory=Counter[str])
    statuses: Counter[str] = field(default_factory=Counter[str])
    forgot: int = 0
    wrong: list[str] = field(default_factory=list[str])

    @property
    def turns(self) -> int:
        """All calls."""
        return sum(self.tools.values())


def session(task: Task, place: Path, model: Path, seed: int, turns: int, found: Found) -> None:
    """One run of `task` with `turns` turns at most."""
    repo = task.make(place)
    before = fingerprint(repo)
    limits = Limits(turns=turns, test_runs=100_000)
    asked = Request(
        repo,
        task.issue,
        model=str(model),
        python=Path(sys.executable),
        seed=seed,
        limits=limits,
        test_timeout=20,
        state_dir=place / "state",
    )
    result = resolve(asked)
    found.statuses[result.status] += 1
    name = f"{task.name}, seed {seed}"
    if result.status != "unresolved" or "limit" not in result.reason:
        found.wrong.append(f"{name}: ended {result.status}, {result.reason}")
    if fingerprint(repo) != before:
        found.wrong.append(f"{name}: the checkout changed")
    events = list(RunStore(place / "state").open(result.run).events())
    pieces = GGUFHeader(model).vocabulary.pieces
    branches = branches_in(events)
    calls = [Call(event["tool"], event["arguments"]) for event in events if event["type"] == "call"]
    ended = [event for event in events if event["type"] == "turn"]
    found.forgot += sum(event["type"] == "forgot" for event in events)
    if len(calls) != len(ended):
        found.wrong.append(f"{name}: {len(calls)} calls in {len(ended)} turns")
    for call, turn in zip(calls, ended, strict=False):
        found.tools[call.tool] += 1
        (found.done if turn["kind"] == "done" else found.refused)[call.tool] += 1
        ids = branches[turn["branch"]][: turn["length"]]
        text = b"".join(pieces[token] for token in ids).decode(errors="replace")
        if parsed(text) != call:
            found.wrong.append(f"{name}: turn {turn['number']} is not read back as it was done")
        if turn["missed"]:
            found.wrong.append(f"{name}: turn {turn['number']} missed: {turn['observation'][:100]}")


def parsed(text: str) -> Call | Malformed | None:
    """The last call of a transcript, from its text alone."""
    said = text[text.rindex("<|im_start|>assistant\n") :]
    opener, end = said.find("<tool_call>\n<function="), said.find("<|im_end|>")
    return QwenXml().parse(said[opener:end].rstrip(), TOOLS) if 0 <= opener < end else None


def prove(turns: int, seed: int, context: int) -> Found:
    """Runs sessions until there are `turns` turns."""
    found, shape = Found(), replace(SHAPE, context=context)
    while found.turns < turns and not found.wrong:
        number = seed + sum(found.statuses.values())
        with tempfile.TemporaryDirectory(prefix="tinsmith-proof-") as name:
            place = Path(name)
            place.chmod(0o755)
            model = write_random(place / "random.gguf", vocabulary=BYTES, merges=MERGES, shape=shape, seed=number)
            left = min(TURNS_A_RUN, turns - found.turns)
            session(TASKS[number % len(TASKS)], place, model, number, left, found)
        print(f"{found.turns}/{turns} turns, {len(found.wrong)} faults", file=sys.stderr, flush=True)
    for tool in (spec.name for spec in TOOLS):
        if found.tools[tool] < LEAST_SHARE * found.turns:
            found.wrong.append(f"{tool}: only {found.tools[tool]} of {found.turns} calls")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where all holds, 1 where something is wrong."""
    parser = argparse.ArgumentParser(description="Shows that random weights lose no call and never resolve.")
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--context", type=int, default=8192, help="tokens of the window")
    given = parser.parse_args(arguments)
    found = prove(given.turns, given.seed, given.context)
    print(f"{found.turns} turns in {sum(found.statuses.values())} runs: {dict(found.statuses)}")
    for tool, count in found.tools.most_common():
        print(
            f"  {tool:8} {count:5}, {count / found.turns:.0%}; done {found.done[tool]}, refused {found.refused[tool]}"
        )
    print(f"forgot {found.forgot} times")
    for fault in found.wrong:
        print(f"  wrong: {fault}")
    print(
        "random weights: nothing lost, nothing missed, never resolved" if not found.wrong else "random weights: FAULTS"
    )
    return 1 if found.wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
