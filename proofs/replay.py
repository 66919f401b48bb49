"""What small open models really sent, through the tolerant parser: nothing raises, nothing is missed.

Reads `assistant_turns.jsonl`, one turn a line: {"model", "task", "turn", "content", "tool_calls": [{"name",
"arguments"}], "leaked_call"}, `leaked_call` where the text holds a call that the server did not see. The tools are
those that the turns name. Checked, by model:

- every turn is parsed without an exception, and every leaked call is recognised;
- every call that the server parsed is read clean where its arguments are an object, and recognised as damaged else;
- each of these calls is then leaked behind the turn's own text in every dialect, with and without what opens it, and
  must come out with the same values; and each of these texts is cut at five places, and must not come out clean.

`make prove-replay REPLAY=DIR`.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tinsmith.dialects import (
    Call,
    FunctionText,
    MistralV7,
    MistralV11,
    MistralV13,
    Parameter,
    QwenXml,
    ToolSpec,
    call_pieces,
)
from tinsmith.dialects.tolerant import ParsedCall, is_safe_to_run, native_calls, parse_text

FILE = "assistant_turns.jsonl"
DIALECTS = (QwenXml(), FunctionText(), MistralV7(), MistralV11(), MistralV13())
CONTROLS = ("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]", "</s>")
CUTS = 5
TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
COLUMNS = {
    "turns": "turns",
    "exceptions": "exceptions",
    "leaked": "leaked calls",
    "leaked found": "recognised",
    "false alarms": "calls in other text",
    "native": "native calls",
    "native read": "read clean",
    "damaged": "damaged",
    "damaged found": "recognised",
    "rewritten": "leaked by us",
    "rewritten read": "same values",
    "cut": "cut by us",
    "cut found": "recognised",
}
MUST_MATCH = (("leaked", "leaked found"), ("damaged", "damaged found"), ("rewritten", "rewritten read"))


def arguments_of(call: Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments where they are whole: by Python's own JSON, as the judge of ours."""
    arguments = call["arguments"]
    try:
        found = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def tools_of(turns: Sequence[Mapping[str, Any]]) -> list[ToolSpec]:
    """The tools that the turns name, with the types that were seen; required is what every call of a tool gives."""
    seen: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for turn in turns:
        for call in turn["tool_calls"] or ():
            arguments = arguments_of(call)
            seen[call["name"]] += [arguments] if arguments is not None else []
    return [ToolSpec(name, "", tuple(parameters(calls))) for name, calls in seen.items()]


def parameters(calls: Sequence[Mapping[str, Any]]) -> Iterator[Parameter]:
    """The parameters of one tool."""
    for key in dict.fromkeys(key for call in calls for key in call):
        types = {TYPES.get(type(call[key]), "null") for call in calls if key in call}
        required = all(key in call for call in calls)
        if len(types) == 1:
            yield Parameter(key, next(iter(types)), required=required)
        else:
            yield Parameter(key, "", required=required, schema={"type": sorted(types)})


def written(spec: ToolSpec, arguments: Mapping[str, Any]) -> Iterator[str]:
    """The call as each dialect leaves it in a text: whole, without its opener, without its control tokens."""
    values = {
        key: value if spec.parameter(key).is_text else json.dumps(value, ensure_ascii=False)
        for key, value in arguments.items()
    }
    for dialect in DIALECTS:
        try:
            pieces = call_pieces(dialect, spec, Call(spec.name, values))
        except ValueError:  # a value that holds what ends it
            continue
        start = "".join(span.text for span in dialect.assistant_start())
        text = "".join(piece.span.text for piece in pieces).removeprefix(start)
        yield text
        if isinstance(dialect, QwenXml):
            yield text.removeprefix("<tool_call>\n")
        elif not isinstance(dialect, FunctionText):
            for control in CONTROLS:
                text = text.replace(control, "")
            yield text
    in_json = json.dumps({"name": spec.name, "arguments": arguments}, ensure_ascii=False)
    yield f"<tool_call>\n{in_json}\n</tool_call>"
    yield f"{in_json}\n</tool_call>"


def is_clean(call: ParsedCall) -> bool:
    """Whether the call would run, whatever its tool changes."""
    return call.call is not None and is_safe_to_run(call, [call.call.tool])


def same(call: ParsedCall, spec: ToolSpec, arguments: Mapping[str, Any]) -> bool:
    """Whether the call was read as what was written; an optional null is left out."""
    if call.call is None or call.call.tool != spec.name:
        return False
    return call.call.values(spec) == {key: value for key, value in arguments.items() if value is not None}


def replay(turn: Mapping[str, Any], tools: Sequence[ToolSpec], random_: random.Random, counts: Counter[str]) -> None:
    """Parses the turn and everything made of it."""
    content = turn["content"] or ""
    calls = parse_text(content, tools).calls
    if turn["leaked_call"]:
        counts.update({"leaked": 1, "leaked found": bool(calls)})
    else:
        counts["false alarms"] += bool(calls)
    sent = turn["tool_calls"] or []
    for raw, parsed in zip(sent, native_calls(sent, tools), strict=True):
        arguments = arguments_of(raw)
        counts["native"] += 1
        if arguments is None:
            counts.update({"damaged": 1, "damaged found": not is_clean(parsed)})
            continue
        spec = next(spec for spec in tools if spec.name == raw["name"])
        counts["native read"] += is_clean(parsed) and same(parsed, spec, arguments)
        for text in written(spec, arguments):
            found = parse_text(f"{content}\n\n{text}".lstrip(), tools).calls
            counts.update({"rewritten": 1, "rewritten read": len(found) == 1 and same(found[0], spec, arguments)})
            cut(text, spec, arguments, tools, random_, counts)
        text = json.dumps(arguments, ensure_ascii=False)
        for _ in range(CUTS):
            damaged = {"name": raw["name"], "arguments": text[: random_.randint(1, len(text) - 1)]}
            counts.update({"cut": 1, "cut found": not any(map(is_clean, native_calls([damaged], tools)))})


def cut(
    text: str,
    spec: ToolSpec,
    arguments: Mapping[str, Any],
    tools: Sequence[ToolSpec],
    random_: random.Random,
    counts: Counter[str],
) -> None:
    """Cuts a leaked call inside its arguments: something is found, and it is not clean unless it is all there."""
    named = text.find(spec.name) + len(spec.name)
    least = min((at + len(key) + 2 for key in arguments if (at := text.find(key, named)) > 0), default=len(text))
    for _ in range(CUTS if least < len(text) else 0):
        found = parse_text(text[: random_.randint(least, len(text) - 1)], tools).calls
        whole = len(found) == 1 and same(found[0], spec, arguments)
        counts.update({"cut": 1, "cut found": bool(found) and (whole or not any(map(is_clean, found)))})


def table(found: Mapping[str, Counter[str]]) -> str:
    """The counts as a table of Markdown."""
    rows = [["model", *COLUMNS.values()], ["---", *["---:"] * len(COLUMNS)]]
    rows += [[model, *(str(counts[column]) for column in COLUMNS)] for model, counts in found.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table; 1 where anything was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path, help=f"where {FILE} lies")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    path = given.directory / FILE
    if not path.is_file():
        print(f"prove-replay: there is no {path}. Say where the turns are: make prove-replay REPLAY=DIR")
        return 2
    turns = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    tools = tools_of(turns)
    started = time.monotonic()
    found: dict[str, Counter[str]] = defaultdict(Counter)
    random_ = random.Random(given.seed)
    for turn in turns:
        counts = found[turn["model"]]
        counts["turns"] += 1
        try:
            replay(turn, tools, random_, counts)
        except Exception as error:
            counts["exceptions"] += 1
            print(
                f"{turn['model']} {turn['task']} turn {turn['turn']}: {type(error).__name__}: {error}", file=sys.stderr
            )
    total = sum(found.values(), Counter[str]())
    found["all"] = total
    print(table(found))
    missed = [
        *(f"{total[a] - total[b]} of {a}" for a, b in (*MUST_MATCH, ("cut", "cut found")) if total[a] != total[b]),
        *([f"{total['exceptions']} exceptions"] if total["exceptions"] else []),
    ]
    if (unread := total["native"] - total["damaged"] - total["native read"]) > 0:
        missed.append(f"{unread} native")
    if not total["turns"]:
        missed.append("everything: there are no turns")
    seconds = time.monotonic() - started
    print(f"prove-replay: {'missed ' + ', '.join(missed) if missed else 'nothing missed'} ({seconds:.0f} s)")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
