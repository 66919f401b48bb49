"""Calls of models that know nothing, with the true vocabularies, beside a server's own tool calling.

`make prove-calls` has models with random weights and the whole vocabularies of Qwen and Mistral write calls at
temperature 1.5, through the real engine, over our own tools and over those of others, and reads every call back from
its ids: none is lost, none invalid, none unfinished. The same requests go through the tool calling of the llama.cpp
server itself, and what it loses is counted beside.
"""

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
from proofs.foreign_schemas import DECLARATIONS
from proofs.kill_tasks import TASKS
from proofs.true_vocabularies import qwen_tokens, tekken_tokens

from tinsmith.agent import CallWriter, Tools, Transcript
from tinsmith.dialects import Call, Dialect, Encoder, Malformed, ToolSpec, dialect_named, tool_from_json
from tinsmith.engines import EmbeddedEngine, Sampling, open_engine
from tinsmith.engines.supervisor import Supervisor
from tinsmith.errors import EngineError
from tinsmith.models.random_weights import Shape, TokenList, write_random
from tinsmith.tools import TOOLS, Excerpt, Files, ForeignTools, ShellResult, Toolbox

SHAPE = Shape(layers=1, d_model=32, heads=2, kv_heads=1, head_dim=16, ffn=32, context=8192)
VALUE_TOKENS = 24
SAMPLING = Sampling(temperature=1.5)
DIALECTS = {
    "qwen-xml": 2000,
    "mistral-v13": 2000,
    "qwen-thinking": 500,
    "mistral-v11": 500,
    "mistral-v7": 500,
    "function-text": 500,
}
"""Calls of each."""
NATIVE = {"qwen-xml": (250, "qwen3-coder"), "mistral-v11": (250, "mistral-small-3.2")}
"""Requests through the server's own tool calling, and the chat template it is given."""
TOOLS_A_REQUEST = 5
OWN = [tool.as_json() for tool in TOOLS]
TEMPLATES = Path(__file__).parents[1] / "tests" / "data" / "templates"


@dataclass
class Found:
    """What a dialect's calls came to."""

    calls: int = 0
    sampled: int = 0
    tools: Counter[str] = field(default_factory=Counter[str])
    wrong: list[str] = field(default_factory=list[str])


class NoLog:
    """Takes a transcript's events and keeps none."""

    def append(self, type: str, /, **data: Any) -> None:
        """See `EventSink`."""


def tokens_of(dialect: str, template: str | None = None) -> TokenList:
    """The vocabulary of the models that speak `dialect`."""
    if dialect.startswith("qwen"):
        return qwen_tokens(template)
    return tekken_tokens(dialect if dialect.startswith("mistral") else "mistral-v7", template)


def toolbox_in(place: Path, engine: EmbeddedEngine) -> Toolbox:
    """Our own five tools over a small repository, some of whose lines have been shown."""
    root = TASKS[0].make(place)

    def shell(command: str) -> ShellResult:
        raise AssertionError("nothing is run here")

    toolbox = Toolbox(Files(root), shell, count=lambda text: len(engine.tokenize(text)), free_tokens=VALUE_TOKENS)
    lines = toolbox.files.lines("shop.py")
    toolbox.show(Excerpt("shop.py", 1, tuple(lines)))
    return toolbox


def prove(dialect: Dialect, calls: int, seed: int) -> Found:
    """Has `calls` calls written, half of them of our tools, half of others'."""
    found, draw = Found(), random.Random(seed)
    foreign = [tool_from_json(declaration) for declaration in DECLARATIONS]
    with tempfile.TemporaryDirectory(prefix="tinsmith-proof-") as name:
        place = Path(name)
        model = write_random(place / "random.gguf", tokens=tokens_of(dialect.name), shape=SHAPE, seed=seed, scale=0.1)
        with open_engine(model) as engine:
            encoder = Encoder(engine.tokenize, engine.vocabulary.reserved)
            own = toolbox_in(place, engine)
            while found.calls < calls:
                specs = tuple(draw.sample(foreign, TOOLS_A_REQUEST))
                tools: Tools = ForeignTools(specs, VALUE_TOKENS) if found.calls % 50 >= 25 else own
                session(engine, dialect, encoder, tools, min(25, calls - found.calls), draw, found)
                print(f"{dialect.name}: {found.calls}/{calls}, {len(found.wrong)} faults", file=sys.stderr, flush=True)
    return found


def session(
    engine: EmbeddedEngine,
    dialect: Dialect,
    encoder: Encoder,
    tools: Tools,
    count: int,
    draw: random.Random,
    found: Found,
) -> None:
    """`count` calls, each on a fork from the same opening."""
    opening = Transcript(encoder, NoLog())
    opening.write(dialect.system("Do what is asked.", tools.specs), "system")
    opening.write(dialect.user("Go on. <tool_call> [TOOL_CALLS] </s>"), "user")
    for _ in range(count):
        sampling = Sampling(SAMPLING.temperature, seed=draw.randrange(1 << 30))
        writer = CallWriter(engine, dialect, encoder, tools, sampling=sampling, preamble_tokens=VALUE_TOKENS)
        transcript = opening.fork(len(opening))
        found.calls += 1
        before = engine.usage.decoded
        try:
            written = writer.write(transcript).call
        except Exception as error:  # counted: none may come
            found.wrong.append(f"no call: {type(error).__name__}: {error}")
            continue
        found.sampled += engine.usage.decoded - before
        found.tools[written.tool] += 1
        text = engine.detokenize(transcript.ids[len(opening) :]).decode(errors="replace")
        if fault := fault_of(written, dialect.parse(text, tools.specs), tools.specs):
            found.wrong.append(f"{fault}: {text[-400:]!r}")


def fault_of(written: Call, read: Call | Malformed | None, specs: Sequence[ToolSpec]) -> str:
    """What is wrong with a call as it is read back; nothing where it is right."""
    if read != written:
        return f"read back as {read}"
    spec = next(spec for spec in specs if spec.name == written.tool)
    try:
        jsonschema.validate(written.values(spec), spec.as_json()["function"]["parameters"])
    except (ValueError, jsonschema.ValidationError) as error:
        return f"invalid: {str(error)[:200]}"
    return ""


def native(dialect: str, count: int, seed: int, template: str) -> Counter[str]:
    """What becomes of `count` such requests in the server's own tool calling."""
    found, draw = Counter[str](), random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="tinsmith-proof-") as name:
        tokens = tokens_of(dialect, template)
        model = write_random(Path(name) / "random.gguf", tokens=tokens, shape=SHAPE, seed=seed, scale=0.1)
        server = Supervisor(model, SHAPE.context)
        try:
            for number in range(count):
                declarations = draw.sample(DECLARATIONS, TOOLS_A_REQUEST) if number % 50 >= 25 else OWN
                body = {
                    "messages": [{"role": "user", "content": "Go on."}],
                    "tools": declarations,
                    "tool_choice": "required",
                    "temperature": SAMPLING.temperature,
                    "top_k": 0,
                    "top_p": 1.0,
                    "min_p": 0.0,
                    "max_tokens": 400,
                    "seed": draw.randrange(1 << 30),
                }
                found[outcome(server, body, declarations)] += 1
                if number % 25 == 24:
                    print(f"{dialect}, the server's own: {number + 1}/{count}: {dict(found)}", file=sys.stderr)
        finally:
            server.end()
    return found


def outcome(server: Supervisor, body: dict[str, Any], declarations: Sequence[dict[str, Any]]) -> str:
    """`valid`, or how the call was lost."""
    try:
        answer = server.call(lambda http: http.post("/v1/chat/completions", body))
    except EngineError as error:
        return f"refused ({error.code})"
    choice = answer["choices"][0]
    calls = choice["message"].get("tool_calls") or []
    if not calls:
        return f"no call ({'cut at the limit' if choice['finish_reason'] == 'length' else 'left in the text'})"
    schemas = {each["function"]["name"]: each["function"]["parameters"] for each in declarations}
    try:
        arguments = json.loads(calls[0]["function"]["arguments"])
        jsonschema.validate(arguments, schemas[calls[0]["function"]["name"]])
    except (KeyError, ValueError):
        return "broken JSON or name"
    except jsonschema.ValidationError:
        return "invalid"
    return "valid"


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where all holds, 1 where something is wrong."""
    parser = argparse.ArgumentParser(description="Shows that no call is lost, whatever the weights.")
    parser.add_argument("--share", type=float, default=1.0, help="of the calls, for a quick look")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", choices=list(DIALECTS))
    given = parser.parse_args(arguments)
    wrong = 0
    for name in given.only or DIALECTS:
        found = prove(dialect_named(name), round(DIALECTS[name] * given.share), given.seed)
        wrong += len(found.wrong)
        tools = f"{found.calls} calls of {len(found.tools)} tools, {found.sampled} tokens decoded"
        print(f"{name}: {tools}, {len(found.wrong)} faults", flush=True)
        for fault in found.wrong[:20]:
            print(f"  wrong: {fault}")
        if name in NATIVE:
            count, template = NATIVE[name]
            written = (TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8")
            counted = dict(native(name, round(count * given.share), given.seed, written))
            print(f"{name}, the server's own tool calling: {counted}", flush=True)
    print(f"calls: {'FAULTS' if wrong else 'none lost, none invalid, none unfinished'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
