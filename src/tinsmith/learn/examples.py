"""Training examples in the agent's real protocol: a broken function in, the edit that mends it out.

One example is a whole transcript: system text, first user turn (issue, failing test, one to three suspicious
functions with line numbers), the `edit` call, and in some the observation and the `finish` call. Ids come
from the same spans and pieces that the agent uses. The loss is on what a model chooses (line, new text, tool,
path), and lightly on the code of the brief.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from tinsmith.dialects import Call, Encoder, QwenXml, call_pieces
from tinsmith.resolve.brief import Failure, first_turn
from tinsmith.tasks import Mutation
from tinsmith.tools.listing import Excerpt
from tinsmith.tools.specs import EDIT, FINISH

TESTS_PASS = "The reproduction passes. Call finish."
"""What the harness observes after an edit that flips the reproduction; the loop says the same words."""

MAX_SHOWN_LINES = 40


@dataclass(frozen=True)
class Function:
    """A function as it stands in its file. `first` is the 1-based line of its first line there."""

    path: str
    qualname: str
    first: int
    lines: tuple[str, ...]
    doc: str


class Kind(IntEnum):
    """What a token of an example is; training weighs the loss by it."""

    FIXED = 0
    BRIEF = 1
    SYNTAX = 2
    CHOICE = 3
    LINE = 4
    NEW = 5


@dataclass(frozen=True)
class Example:
    """Token ids and the kind of each (same length)."""

    ids: list[int]
    kinds: list[Kind]


def window(function: Function, line: int, rng: random.Random) -> Excerpt:
    """At most MAX_SHOWN_LINES lines of `function` that hold `line` (1-based in the file)."""
    count = len(function.lines)
    if count <= MAX_SHOWN_LINES:
        return Excerpt(function.path, function.first, function.lines)
    at = line - function.first
    low = max(0, at - MAX_SHOWN_LINES + 1)
    start = rng.randint(low, min(at, count - MAX_SHOWN_LINES)) if low <= min(at, count - MAX_SHOWN_LINES) else low
    return Excerpt(function.path, function.first + start, function.lines[start : start + MAX_SHOWN_LINES])


def broken(excerpt: Excerpt, mutation: Mutation) -> Excerpt:
    """`excerpt` with the bug in it."""
    lines = list(excerpt.lines)
    lines[mutation.line - excerpt.first] = mutation.after
    return Excerpt(excerpt.path, excerpt.first, tuple(lines))


def issue_text(function: Function, rng: random.Random) -> str:
    """A short report about `function`: what people write when they know the symptom and not the place."""
    name = function.qualname.rsplit(".", 1)[-1] if rng.random() < 0.5 else function.qualname
    said = rng.choice(
        [
            f"{name} returns the wrong result",
            f"`{name}` is broken",
            f"{name}() gives an unexpected value",
            f"Wrong behaviour of {name}",
            f"{name} fails",
            f"bug in {name}",
        ]
    )
    if function.doc and rng.random() < 0.5:
        said += f".\n{function.doc[:160]}"
    return said


def failure_of(function: Function, rng: random.Random) -> Failure:
    """A failing test of `function`, in the form the harness gives it."""
    stem = function.path.rsplit("/", 1)[-1].removesuffix(".py")
    name = function.qualname.rsplit(".", 1)[-1].strip("_")
    values = ["0", "1", "2", "None", "[]", "''", "True", "False", "'a'", "3", "[1, 2]", "-1", "{}"]
    message = rng.choice(
        [
            f"AssertionError: assert {rng.choice(values)} == {rng.choice(values)}",
            f"AssertionError: assert {rng.choice(values)} == {rng.choice(values)}",
            "AssertionError",
            f"TypeError: unsupported operand in {name}",
            "IndexError: list index out of range",
            f"KeyError: {rng.choice(values)}",
            f"AttributeError: object has no attribute '{name}'",
            "Failed: DID NOT RAISE ValueError",
        ]
    )
    return Failure(f"tests/test_{stem}.py::test_{name}", message)


def build(
    encoder: Encoder,
    system: str,
    function: Function,
    mutation: Mutation,
    others: Sequence[Function],
    rng: random.Random,
    finish_share: float = 0.15,
) -> Example:
    """The transcript that mends `mutation` of `function`; `others` are shown as further suspects."""
    dialect = QwenXml()
    suspects = [broken(window(function, mutation.line, rng), mutation)]
    for other in others:
        suspects.insert(rng.randint(0, len(suspects)), window(other, other.first, rng))
    text = first_turn(issue_text(function, rng), [failure_of(function, rng)], suspects)

    ids: list[int] = []
    kinds: list[Kind] = []

    def add(new_ids: Sequence[int], kind: Kind) -> None:
        ids.extend(new_ids)
        kinds.extend([kind] * len(new_ids))

    def add_call(call: Call) -> None:
        for piece in call_pieces(dialect, EDIT if call.tool == EDIT.name else FINISH, call):
            kind = Kind.SYNTAX
            if piece.kind == "value":
                kind = {"new": Kind.NEW, "start": Kind.LINE}.get(piece.key, Kind.CHOICE)
            elif piece.kind == "tool":
                kind = Kind.CHOICE
            add(encoder.encode([piece.span]), kind)

    add(encoder.encode(dialect.system(system, ())), Kind.FIXED)
    add(encoder.encode(dialect.user(text)), Kind.BRIEF)
    line = str(mutation.line)
    add_call(Call("edit", {"path": function.path, "start": line, "end": line, "new": mutation.before}))
    if rng.random() < finish_share:
        add(encoder.encode(dialect.observation(TESTS_PASS)), Kind.FIXED)
        add_call(Call("finish", {"summary": f"Fixed {function.qualname} in line {line} of {function.path}."}))
    return Example(ids, kinds)
