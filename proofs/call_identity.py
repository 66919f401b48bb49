"""What is written is what is read: sampled calls of generated tools, in every dialect, 100,000 a family.

Each call is drawn from what the stages say may be written (`tests.grammar_sampler`), of a generated tool or of one of
the fifty of `proofs.foreign_schemas`. Then

- its text parses to the call itself,
- its arguments are valid under the tool's schema, by another program's word (`jsonschema`, Draft 2020-12),
- in a conversation that is rendered anew it parses to the same values.

`make prove-identity` counts what fails: nothing may.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jsonschema
from proofs.foreign_schemas import DECLARATIONS
from proofs.generated_schemas import TEXTS, generated_tool
from tests.grammar_sampler import sample_call

from tinsmith.dialects import (
    Answered,
    Call,
    Control,
    Conversation,
    Dialect,
    Exchange,
    Spans,
    Step,
    ToolSpec,
    dialect_named,
    tool_from_json,
)
from tinsmith.tools import ForeignTools

FAMILIES = {
    "qwen": ("qwen-xml", "qwen-thinking"),
    "mistral": ("mistral-v13", "mistral-v11", "mistral-v7", "function-text"),
}
RAW_STRINGS = FAMILIES["qwen"]
"""Where a rendered conversation has a string raw though its schema admits other values too, as the vendor's template
does it. A model's own call has JSON there, which nothing can mistake."""
LIMITS = (*range(65), 128, 512)
"""Tokens of a value."""
CALLS_A_TOOL = 4
_CHUNK = 2_000


@dataclass
class Identity:
    """What came of the calls of one dialect."""

    calls: int = 0
    texts: int = 0
    """Characters of them."""
    values: Counter[str] = field(default_factory=Counter[str])
    """The JSON types in the arguments."""
    wrong: list[str] = field(default_factory=list[str])

    def add(self, other: "Identity") -> None:
        """Counts `other` too."""
        self.calls += other.calls
        self.texts += other.texts
        self.values += other.values
        self.wrong += other.wrong


@cache
def foreign_tools() -> tuple[ToolSpec, ...]:
    """The fifty."""
    return tuple(map(tool_from_json, DECLARATIONS))


def check(name: str, seed: int, calls: int) -> Identity:
    """Draws `calls` calls in the dialect of that name."""
    dialect, draw, found = dialect_named(name), random.Random(f"{name} {seed}"), Identity()
    while found.calls < calls:
        spec = draw.choice(foreign_tools()) if draw.random() < 0.3 else generated_tool(draw)
        validator = jsonschema.Draft202012Validator(dict(spec.schema or {}))
        for _ in range(CALLS_A_TOOL):
            check_call(draw, dialect, spec, validator, found)
    return found


def check_call(draw: random.Random, dialect: Dialect, spec: ToolSpec, validator: Any, found: Identity) -> None:
    """Draws one call of `spec` and adds what came of it to `found`."""
    sampled = sample_call(draw, dialect, ForeignTools([spec], draw.choice(LIMITS)))
    values = sampled.call.values(spec)
    found.calls += 1
    found.texts += len(sampled.text)
    count_types(values, found.values)
    if (parsed := dialect.parse(sampled.text, [spec])) != sampled.call:
        found.wrong.append(f"{dialect.name}: {sampled.text!r} is read as {parsed}")
    if error := next(validator.iter_errors(values), None):
        found.wrong.append(f"{dialect.name}: {sampled.text!r} is not valid: {error.message[:200]}")
    if dialect.name in RAW_STRINGS and any(
        isinstance(value, str) and not spec.parameter(name).is_text for name, value in values.items()
    ):
        return
    again = dialect.parse(rendered(draw, dialect, spec, sampled.call), [spec])
    if not isinstance(again, Call) or again.tool != sampled.call.tool or again.values(spec) != values:
        found.wrong.append(f"{dialect.name}: {sampled.text!r} is rendered and read as {again}")


def rendered(draw: random.Random, dialect: Dialect, spec: ToolSpec, call: Call) -> str:
    """The model's turn with `call` as it stands in a generated conversation, rendered anew."""
    user, answer, system, result = (draw.choice(TEXTS) for _ in range(4))
    past = (Exchange(user, answer),) * draw.randint(0, 1)
    step = Step((Answered(call, result),), draw.choice(("", "I look.")))
    before = Conversation(user, past=past, system=system, tools=(spec,))
    after = Conversation(user, (step,), past, system, (spec,))
    prefix, whole = dialect.render(before), dialect.render(after)
    common = next((at for at, (a, b) in enumerate(zip(prefix, whole, strict=False)) if a != b), len(prefix))
    end = [span for span in dialect.call_end() if isinstance(span, Control)][-1]
    return text_of(whole[common : whole.index(end, common) + 1])


def text_of(spans: Spans) -> str:
    """Everything as text, control tokens by their names."""
    return "".join(span.text for span in spans)


def count_types(value: Any, counts: Counter[str]) -> None:
    """Adds the types of `value` and of all that it holds to `counts`."""
    counts[type(value).__name__] += 1
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for member in members:
        count_types(member, counts)


def prove(calls: int, seed: int, workers: int) -> dict[str, Identity]:
    """Draws `calls` calls of every family, by the name of the dialect."""
    found: dict[str, Identity] = {}
    with ProcessPoolExecutor(workers) as pool:
        for names in FAMILIES.values():
            share = -(-calls // len(names))
            chunks = [(name, min(_CHUNK, share - start)) for name in names for start in range(0, share, _CHUNK)]
            seeds = range(seed, seed + len(chunks))
            for (name, _), part in zip(
                chunks, pool.map(check, [name for name, _ in chunks], seeds, [size for _, size in chunks]), strict=True
            ):
                found.setdefault(name, Identity()).add(part)
                print(
                    f"{name}: {found[name].calls} calls, {len(found[name].wrong)} faults", file=sys.stderr, flush=True
                )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where all holds, 1 where something is wrong."""
    parser = argparse.ArgumentParser(description="Shows that what is written is what is read.")
    parser.add_argument("--calls", type=int, default=100_000, help="of each family")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(arguments)
    began = time.monotonic()
    found = prove(given.calls, given.seed, given.workers)
    for family, names in FAMILIES.items():
        total = sum(found[name].calls for name in names)
        faults = sum(len(found[name].wrong) for name in names)
        print(f"{family}: {total} calls, {faults} faults")
        for name in names:
            each = found[name]
            types = ", ".join(f"{count} {type_}" for type_, count in each.values.most_common())
            print(f"  {name}: {each.calls} calls, {each.texts} characters, of values {types}")
    wrong = [fault for each in found.values() for fault in each.wrong]
    for fault in wrong[:20]:
        print(f"  wrong: {fault}")
    print(f"{time.monotonic() - began:.0f} s")
    print("identity: every call is read as it was written" if not wrong else "identity: FAULTS")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
