"""What a constrained call costs beside the same ids decoded freely, and how soon 50,000 paths can be chosen from.

    python -m tinsmith.evals.call_cost --cache DIR [--rounds 7] [--json]

The model has random weights and a vocabulary of 151,936 ids: Solder's, which cut text as a tokenizer for code does,
and pairs of them that no text is cut into. Five tools are called in turn, after one prompt. Names, keys, paths and
numbers are asked of the engine; of these only the tool's name is then taken from the list, so that each comes as
often. A model without knowledge never ends a free value, so each is decoded up to its bound: 60 tokens, and once more
about as many as the calls of coding agents have. The syntax that then closes it is not counted as saved, since a model
would have written it. The same number of ids is decoded freely after the same prompt, as text before a call is.

Seconds are the engine's own, prompt and decoding together; CPU seconds are its process's, HTTP and JSON included. All
of it runs on one core: a batch of a few ids on two threads is on a busy machine mostly their waiting for each other.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any

from tinsmith.agent import ChoiceTries, EngineStages, Transcript, write_arguments
from tinsmith.dialects import Call, Encoder, FreeText, OneOfValues, QwenXml, ToolSpec
from tinsmith.engines import EmbeddedEngine, Sampling, Token
from tinsmith.models import GGUFHeader, find_model
from tinsmith.models.random_weights import Shape, TokenList, write_random
from tinsmith.tools import TOOLS, Choices

VOCABULARY = 151_936
SHAPE = Shape(layers=2, d_model=128, heads=2, kv_heads=1, head_dim=64, ffn=256, context=16_384)
"""Attention to the 2,000 ids of the prompt is about a tenth of a token's work, as it is in large models."""
PATHS = 50_000
HOT = Sampling(temperature=1.0, seed=1)
GOAL_RATIO = 0.8
GOAL_READY = 0.05
"""Seconds."""

BOUNDED = {"pattern": 60, "command": 60, "new": 60, "summary": 60}
REALISTIC = {"pattern": 6, "command": 15, "new": 120, "summary": 40}
"""Tokens; `new` is ten lines of code."""
LENGTHS = {"60 tokens": BOUNDED, "realistic": REALISTIC}

DIALECT = QwenXml()


class SteeredEngine(EmbeddedEngine):
    """Chooses as any engine does, but takes one of `wanted` where it may."""

    wanted: frozenset[int] = frozenset()

    def choose(
        self, ids: Sequence[int], allowed: Sequence[int], sampling: Sampling = HOT, cancel: Event | None = None
    ) -> Token:
        """See `TokenEngine`."""
        token = super().choose(ids, allowed, sampling, cancel)
        return next((Token(other, None) for other in allowed if other in self.wanted), token)


class BenchTools:
    """The five tools over made-up files; free values have the lengths given."""

    def __init__(self, paths: Sequence[str], lengths: Mapping[str, int]) -> None:
        self.specs: Sequence[ToolSpec] = TOOLS
        self._paths = tuple(paths)
        self._lengths = lengths

    def available(self) -> list[str]:
        """All five."""
        return [spec.name for spec in self.specs]

    def choices(self, tool: str, given: Mapping[str, str]) -> Choices:
        """As the toolbox offers them, with three files shown."""
        numbers = OneOfValues(tuple(map(str, range(1, 400))))
        paths = OneOfValues(self._paths[:3] if tool == "edit" else self._paths)
        order = {
            "search": ("pattern", "path"),
            "read": ("path", "start", "end"),
            "edit": ("path", "start", "end", "new"),
        }
        for name in order.get(tool, ("command" if tool == "run" else "summary",)):
            if name not in given:
                free = name in self._lengths
                domain = FreeText(self._lengths[name]) if free else paths if name == "path" else numbers
                return Choices({name: domain}, may_close=name == "path" and tool == "search")
        return Choices({}, may_close=True)


class Tally:
    """Takes a transcript's events, and counts the ids that were decoded."""

    def __init__(self) -> None:
        self.sampled = 0

    def append(self, type: str, /, **data: Any) -> None:
        """See `EventSink`."""
        if type == "tokens" and data["kind"] == "sampled":
            self.sampled += len(data["ids"])


@dataclass(frozen=True)
class Cost:
    """Of one call: `ids` it has, `sampled` were decoded; seconds of the engine and of its process's CPU."""

    tool: str
    ids: int
    sampled: int
    seconds: float
    free_seconds: float
    cpu: float
    free_cpu: float

    @property
    def ratio(self) -> float:
        """The engine's seconds, constrained to free."""
        return self.seconds / self.free_seconds


def model_in(cache: Path) -> Path:
    """The model, made once."""
    path = cache / f"call-cost-{SHAPE.d_model}.gguf"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        made = path.with_suffix(".part")
        write_random(made, tokens=large_vocabulary(), shape=SHAPE, scale=0.15)
        made.rename(path)
    return path


def large_vocabulary() -> TokenList:
    """Solder's tokens and merges, and pairs of its ASCII tokens that no merge makes, up to VOCABULARY."""
    header = GGUFHeader(find_model("solder").path)
    texts: list[str] = header.value("tokenizer.ggml.tokens")
    kinds = header.vocabulary.kinds
    plain = [text for text, kind in zip(texts, kinds, strict=True) if kind == "normal" and text.isascii()]
    draw, found = random.Random(0), dict.fromkeys(texts)
    while len(found) < VOCABULARY:
        found[draw.choice(plain) + draw.choice(plain)] = None
    return TokenList(list(found), header.merges)


def paths_of(count: int) -> list[str]:
    """Made-up paths of a repository, in no order."""
    draw = random.Random(1)
    words = (
        "src",
        "tests",
        "core",
        "lib",
        "api",
        "views",
        "models",
        "handlers",
        "plugins",
        "common",
        "client",
        "server",
    )
    found = dict[str, None]()
    while len(found) < count:
        folders = [draw.choice(words) for _ in range(draw.randint(1, 5))]
        found["/".join([*folders, f"{draw.choice(words)}_{draw.choice(words)}_{draw.randrange(3000)}.py"])] = None
    return list(found)


class Bench:
    """Measures on one engine."""

    def __init__(self, engine: SteeredEngine) -> None:
        self._engine = engine
        self._encoder = Encoder(engine.tokenize, engine.vocabulary.reserved, engine.tokenize_all)
        self._tries = ChoiceTries(self._encoder)
        text = "".join(f"def f{i}(x):\n    return x + {i}\n" for i in range(100))
        self._prompt = [*DIALECT.system("You fix bugs.", TOOLS), *DIALECT.user(text), *DIALECT.assistant_start()]

    def call(self, tool: str, tools: BenchTools, seed: int) -> Cost:
        """One call of `tool`, and the same number of ids freely."""
        engine, log = self._engine, Tally()
        transcript = Transcript(self._encoder, log)
        transcript.write(self._prompt, "system")
        prompt = list(transcript.ids)
        engine.warm(prompt)
        before = self._spent()
        call = self._write(transcript, tool, tools, seed)
        engine.warm(transcript.ids)  # what closes the call is read too, though it would be with the result
        after = self._spent()
        ends = sum(name in BOUNDED for name in call.arguments) * len(self._encoder.encode_text(_end()))
        count = len(transcript) - len(prompt) - ends
        engine.generate(prompt, limit=1)
        begun = self._spent()
        freely = engine.generate(prompt, sampling=_seeded(seed), banned=self._encoder.reserved_ids, limit=count)
        assert len(freely.ids) == count
        done = self._spent()
        seconds, cpu = (b - a for a, b in zip(before, after, strict=True))
        free_seconds, free_cpu = (b - a for a, b in zip(begun, done, strict=True))
        return Cost(tool, count, log.sampled, seconds, free_seconds, cpu, free_cpu)

    def ready(self) -> dict[str, float]:
        """Seconds until one of 50,000 paths can be chosen: the first time, later, and when a few have changed."""
        paths = paths_of(PATHS)
        parameter = TOOLS[1].parameter("path")
        follow = DIALECT.value_follow(parameter)
        found: dict[str, float] = {}
        for name, listed in (("first", paths), ("later", paths), ("changed", [*paths[5:], "a.py", "src/new_1.py"])):
            texts = [DIALECT.value_text(parameter, path) for path in listed]  # new strings, as in every turn
            start = time.perf_counter()
            self._tries.trie(texts, follow)
            found[name] = time.perf_counter() - start
        return found

    def _write(self, transcript: Transcript, tool: str, tools: BenchTools, seed: int) -> Call:
        engine, encoder = self._engine, self._encoder
        stages = EngineStages(engine, encoder, transcript, _seeded(seed), None, self._tries)
        transcript.sampled([encoder.encode_control(DIALECT.call_opener())], "syntax")
        transcript.write(DIALECT.tool_start(), "syntax")
        engine.wanted = frozenset(encoder.encode_text(DIALECT.tool_literal(tool)))
        stages.choose([DIALECT.tool_literal(name) for name in tools.available()], DIALECT.tool_follow())
        engine.wanted = frozenset()
        spec = next(spec for spec in tools.specs if spec.name == tool)
        call = write_arguments(stages, DIALECT, tools, spec)
        transcript.write(DIALECT.call_end(), "syntax")
        return call

    def _spent(self) -> tuple[float, float]:
        usage = self._engine.usage
        return usage.prefill_seconds + usage.decode_seconds, cpu_seconds(self._engine.pid)


def _seeded(seed: int) -> Sampling:
    return Sampling(HOT.temperature, seed=seed * 1000)


def _end() -> str:
    return DIALECT.value_end(TOOLS[0].parameter("pattern"))


def cpu_seconds(pid: int | None) -> float:
    """What all threads of the process have computed; 0 where the system does not tell (only Linux does)."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def table(costs: Mapping[str, Sequence[Cost]]) -> str:
    """Markdown: a line for each tool and length."""
    lines = [
        "| values | tool | ids | decoded | engine ms | freely | ratio | CPU ms | freely |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, all_costs in costs.items():
        for tool in dict.fromkeys(cost.tool for cost in all_costs):
            own = [cost for cost in all_costs if cost.tool == tool]
            counts = [f"{median(cost.ids for cost in own):g}", f"{median(cost.sampled for cost in own):g}"]
            times = [median(cost.seconds for cost in own), median(cost.free_seconds for cost in own)]
            times += [median(cost.cpu for cost in own), median(cost.free_cpu for cost in own)]
            milliseconds = [f"{1000 * seconds:.0f}" for seconds in times]
            ratio = median(cost.ratio for cost in own)
            cells = [name, tool, *counts, *milliseconds[:2], f"{ratio:.2f}", *milliseconds[2:]]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(costs: Mapping[str, Sequence[Cost]], ready: Mapping[str, float]) -> dict[str, Any]:
    """{ratio, cpu_ratio: by lengths; calls; paths_ready: seconds}; the CPU's is of all calls together."""
    return {
        "calls": {name: len(own) for name, own in costs.items()},
        "ratio": {name: round(median(cost.ratio for cost in own), 3) for name, own in costs.items()},
        "cpu_ratio": {
            name: round(sum(c.cpu for c in own) / max(1e-9, sum(c.free_cpu for c in own)), 3)
            for name, own in costs.items()
        },
        "paths_ready": {name: round(seconds, 4) for name, seconds in ready.items()},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command of the module's docstring; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="tinsmith.evals.call_cost", description="What a constrained call costs.")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=7, help="calls of each tool")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    costs: dict[str, list[Cost]] = {name: [] for name in LENGTHS}
    with SteeredEngine(model_in(given.cache), SHAPE.context) as engine:
        bench = Bench(engine)
        for name, lengths in LENGTHS.items():
            tools = BenchTools(paths_of(5000), lengths)
            bench.call("read", tools, 0)  # its paths are tokenised
            for seed in range(given.rounds):
                costs[name] += [bench.call(spec.name, tools, seed) for spec in TOOLS]
        ready = bench.ready()
    found = summary(costs, ready)
    met = max(found["ratio"].values()) <= GOAL_RATIO and found["paths_ready"]["later"] <= GOAL_READY
    if given.json:
        print(json.dumps(found | {"met": met}))
    else:
        ratios = ", ".join(
            f"{ratio:.2f} ({name}; CPU {found['cpu_ratio'][name]:.2f})" for name, ratio in found["ratio"].items()
        )
        times = ", ".join(f"{name} {1000 * seconds:.0f} ms" for name, seconds in found["paths_ready"].items())
        print(table(costs))
        print(f"\n{PATHS} paths are ready: {times}.")
        verdict = "as cheap as it should be" if met else "MISSED"
        print(f"call cost: {verdict}: a constrained call to the same ids decoded freely: {ratios}; goal {GOAL_RATIO}.")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
