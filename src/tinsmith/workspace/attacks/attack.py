"""What an attack is.  There are two kinds: a program inside the sandbox, and a trap for our own code outside of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tinsmith.workspace.attacks.stage import Stage
    from tinsmith.workspace.sandbox import Completed


class Seen(NamedTuple):
    """How a command ended, and what it left in the copy."""

    completed: "Completed"
    bytes: int
    files: int


@dataclass(frozen=True)
class Inside:
    """A piece of Python that a hostile command runs inside.  `tinsmith.workspace.attacks.inside` gives it its names."""

    id: str
    what: str
    code: str
    refused_by: str = ""
    """The right reasons, separated by spaces: names of `errno`, signals, or words that the code passes to
    `refuse`.  Empty for a control, which holds when it comes to its end."""
    limits: Mapping[str, int] = field(default_factory=dict[str, int])
    """Fields of `Limits` that are tightened for it."""
    timeout: float = 20
    """Seconds of wall clock."""
    judge: "Callable[[Seen], str | None] | None" = None
    """Instead of `refused_by`, from what was seen outside: None where it holds, else what is wrong."""
    slow: bool = False
    """Slow or violent: only with `everything`."""
    alone: bool = False
    """Whether it must have the sandbox for itself; others share one, each in a process of its own."""
    armed: bool = True
    """Whether an ordinary user without any sandbox would succeed, which shows that the attack can."""

    @property
    def shares(self) -> bool:
        """Whether it can be run beside others."""
        return bool(self.refused_by) and not (self.alone or self.limits or self.judge or self.slow)


@dataclass(frozen=True)
class Outside:
    """A trap that a hostile command or repository lays for the code that runs on the host afterwards."""

    id: str
    what: str
    play: "Callable[[Stage], str]"
    """Lays the trap, walks into it with our own code and returns what was seen; raises `Escaped` where the canary was
    reached.  Any other exception means that nothing was shown."""
    naive: "Callable[[Stage], bool] | None" = None
    """The same walk with ordinary tools; whether it reached the canary.  None where there is nothing to compare."""
    slow: bool = False


Attack = Inside | Outside


class Escaped(Exception):
    """The canary was reached."""
