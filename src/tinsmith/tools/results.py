"""What comes of a call, and of a command in the sandbox."""

from dataclasses import dataclass
from typing import Literal, Protocol

from tinsmith.workspace import TestReport


@dataclass(frozen=True)
class Observation:
    """What a call led to.

    `refused`: nothing was done, and the text says why. `edited`: the copy changed by an edit. `missed`: the
    call named a place that is not there.
    """

    text: str
    kind: Literal["done", "refused"] = "done"
    edited: bool = False
    missed: bool = False


@dataclass(frozen=True)
class ShellResult:
    """What a command led to. `report`: what became of each test, where the command started pytest."""

    code: int
    output: str
    report: TestReport | None = None


class Shell(Protocol):
    """Runs a command of the model's in the sandbox."""

    def __call__(self, command: str) -> ShellResult: ...
