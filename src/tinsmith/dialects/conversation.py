"""A conversation as a type: what no chat template takes cannot be built.

Roles alternate because an exchange is one text of the person's, the model's steps and its answer; a result belongs to
its call, so none is missing, unasked or swapped; texts of the same side in a row are one text.
"""

from dataclasses import dataclass

from tinsmith.dialects.tool_call import Call, ToolSpec


@dataclass(frozen=True)
class Answered:
    """A call and what came of it."""

    call: Call
    result: str


@dataclass(frozen=True)
class Step:
    """One turn of the model's with calls: what it thought, what it said before them, the calls (at least one)."""

    calls: tuple[Answered, ...]
    said: str = ""
    thinking: str = ""

    def __post_init__(self) -> None:
        if not self.calls:
            raise ValueError("a step without a call is an answer")


@dataclass(frozen=True)
class Exchange:
    """What the person said, the model's steps, and the answer that ended them."""

    user: str
    answer: str
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Conversation:
    """Everything up to where the model writes: the exchanges that ended, and the one in work."""

    user: str
    steps: tuple[Step, ...] = ()
    past: tuple[Exchange, ...] = ()
    system: str = ""
    tools: tuple[ToolSpec, ...] = ()


CALL_ID_LENGTH = 9
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def call_id(number: int) -> str:
    """The id of the conversation's call of that number, from 0: nine letters and digits, as Mistral's models want."""
    digits = ""
    while len(digits) < CALL_ID_LENGTH:
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits
