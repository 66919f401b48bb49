"""Where a run ends, and how it tells that it goes round in circles."""

from dataclasses import asdict, dataclass
from typing import Any

REPEATS_SAID = 3
"""The same call with the same result this often is told to the model."""
REPEATS_END = 6
"""And this often ends the run."""
_WINDOW = 40  # calls that a repetition is looked for in


class LimitReached(Exception):
    """A limit of the run; the text names it."""


@dataclass(frozen=True)
class Limits:
    """`test_runs` counts the runs after an edit, `seconds` is wall clock, `tokens` are those read and decoded."""

    turns: int = 60
    test_runs: int = 20
    seconds: float = 3600.0
    tokens: int = 2_000_000

    def as_json(self) -> dict[str, Any]:
        """For a run's log."""
        return asdict(self)


class Repetition:
    """Counts calls that were made before with the same result. `recent`: their keys, the last one last."""

    def __init__(self, recent: list[str]) -> None:
        self.recent = recent

    def note(self, key: str) -> str:
        """What to tell the model, nothing where it does not repeat itself."""
        self.recent.append(key)
        del self.recent[:-_WINDOW]
        count = self.recent.count(key)
        if count < REPEATS_SAID:
            return ""
        return f"\nThis call was made {count} times with this very result. Do something else."

    def check(self) -> None:
        """Raises LimitReached where the last call was made too often."""
        if self.recent and (count := self.recent.count(self.recent[-1])) >= REPEATS_END:
            raise LimitReached(f"the same call with the same result, {count} times")
