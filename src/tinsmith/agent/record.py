"""What a run knows apart from its transcript: the small typed record that the prompt is rebuilt from.

When old observations are forgotten, nothing is summarised: what follows in the prompt is this record (what was
tried and what came of it, the edits, what fails, the lines in work), each part from what really happened and
each within a bound.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tinsmith.dialects import Call

MAX_STEPS = 24
"""Steps that are kept; the oldest go first."""
MAX_STEP = 160
"""Characters of a step's place and of its outcome."""
MAX_FAILING = 1_200
MAX_DIFF = 4_000


@dataclass(frozen=True)
class Step:
    """One call: `said` is what the model wrote before it, `outcome` the first line of what it led to."""

    tool: str
    place: str
    outcome: str
    said: str = ""


@dataclass
class Record:
    """`failing` is what the last verdict said, nothing where it accepted; `steps` oldest first."""

    turns: int = 0
    failing: str = ""
    steps: list[Step] = field(default_factory=list[Step])

    def note(self, call: Call, said: str, outcome: str, accepted: bool | None) -> None:
        """Takes in one turn. `accepted` is the verdict's, None where there was none."""
        self.turns += 1
        if accepted is not None:
            self.failing = "" if accepted else outcome[:MAX_FAILING]
        lines = outcome.strip().split("\n")
        self.steps.append(Step(call.tool, place_of(call)[:MAX_STEP], lines[0][:MAX_STEP], one_line(said)[:MAX_STEP]))
        del self.steps[:-MAX_STEPS]

    def as_json(self) -> dict[str, Any]:
        """For a run's log."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> "Record":
        """The record that `as_json` gave."""
        return cls(given["turns"], given["failing"], [Step(**step) for step in given["steps"]])

    def text(self, diff: str, excerpts: Sequence[str], budget: int, count: Callable[[str], int]) -> str:
        """The record in at most `budget` tokens as `count` counts them, what matters most first.

        `diff` is what the copy holds now against the base; `excerpts` are the lines in work, the latest last.
        """
        head = f"[Older turns are left out: {self.turns} turns so far. What is known:]"
        parts = [head, f"Changes so far:\n{_cut(diff.strip(), MAX_DIFF)}" if diff.strip() else "No change so far."]
        if self.failing:
            parts.append(f"The last edit was tested:\n{self.failing}")
        room = budget - count("\n\n".join(parts))
        steps: list[str] = []
        for step in reversed(self.steps):
            line = f"{step.tool} {step.place}: {step.outcome}" + (f" ({step.said})" if step.said else "")
            room -= count(line + "\n")
            if room < budget // 2:  # the other half is for the lines in work
                break
            steps.insert(0, line)
        if steps:
            parts.append("Last steps:\n" + "\n".join(steps))
        shown: list[str] = []
        for excerpt in reversed(excerpts):
            room -= count(excerpt + "\n\n")
            if room < 0:
                break
            shown.insert(0, excerpt)
        return within("\n\n".join([*parts, *shown]), budget, count)


def within(text: str, budget: int, count: Callable[[str], int]) -> str:
    """`text` in at most `budget` tokens as `count` counts them; where it has more, its middle is left out."""
    while text and (tokens := count(text)) > budget:
        text = _cut(text, min(len(text) - 1, len(text) * budget // tokens))
    return text


def place_of(call: Call) -> str:
    """Where a call points: path and line, or what was asked for."""
    given = call.arguments
    if call.tool in ("read", "edit"):
        lines = f":{given['start']}" if "start" in given else ""
        return given.get("path", "") + lines + (f"-{given['end']}" if "end" in given and lines else "")
    return one_line(" ".join(given[key] for key in ("pattern", "command", "path") if key in given))


def one_line(text: str) -> str:
    """`text` without line breaks and repeated blanks."""
    return " ".join(text.split())


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    mark = "\n[…]\n"
    room = max(0, limit - len(mark))
    return text[: room * 2 // 3] + mark[: limit - room] + text[len(text) - room // 3 :]
