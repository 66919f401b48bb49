"""The first user turn: the issue, the failing tests, the suspicious places with their code.

Everything here may come from strangers; it is ordinary text to the encoder. The form is the same for every model and
for Solder's training data, so a change here asks for a new Solder.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tinsmith.tools.listing import Excerpt, shown


@dataclass(frozen=True)
class Failure:
    """A failing test: its id and the first lines of what it said."""

    test: str
    message: str


def first_turn(issue: str, failures: Sequence[Failure], suspects: Sequence[Excerpt], notes: str = "") -> str:
    """The text of the first user turn. `notes` (directory, date, the person's AGENTS.md) comes last."""
    parts = [f"Issue: {issue.strip()}"]
    parts += [f"Failing test: {failure.test}\n{failure.message.strip()}" for failure in failures]
    parts += [shown(excerpt) for excerpt in suspects]
    if notes.strip():
        parts.append(notes.strip())
    return "\n\n".join(parts)
