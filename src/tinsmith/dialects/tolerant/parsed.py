"""What a tolerant parser gives: events while text arrives, calls at the end, and which of them may run."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from tinsmith.dialects.tool_call import Call


class Repair(StrEnum):
    """What was put right to read a call; its text completes "the call was repaired: …"."""

    OPENER = "what opens a call was missing"
    CLOSER = "what closes a call or a value was missing"
    DOUBLED_CLOSER = "a closing tag was there twice"
    TAG = "a tag was malformed"
    NAME_VALUE = "a parameter was written as name=value inside its tag"
    INDENTED = "tags were indented"
    ONE_LINE = "tags followed each other on one line"
    CLOSER_IN_LINE = "</parameter> was not on a line of its own"
    SEPARATORS = "commas, quotes or names of keys were not JSON's"
    PYTHON_LITERAL = "Python's literals stood in JSON"
    RAW_CONTROL = "a JSON string held a raw newline or tab"
    TYPE = "a value had the wrong JSON type"
    SWAPPED = "the tool's name and its arguments were in each other's place"
    JUNK = "something stood between the tool's name and its arguments"
    IN_THINKING = "the call stood inside the thinking"
    AFTER_DAMAGE = "a call before it in the same turn was damaged"
    BAD_ESCAPE = "a JSON string held an escape that JSON does not know"
    OPEN_VALUE = "a value lacked </parameter> and was taken to end at the next tag"
    EMPTY_TAG = "the value stood after its closed tag"
    LEFT_OVER = "closing tags were left over, so a value may end too early"
    AMBIGUOUS = "tags inside a value allow two readings"
    VALUE_CUT = "the text ended inside the call"


_VALUE_IN_DOUBT = frozenset(
    {
        *(Repair.BAD_ESCAPE, Repair.EMPTY_TAG, Repair.OPEN_VALUE, Repair.CLOSER_IN_LINE),
        *(Repair.ONE_LINE, Repair.LEFT_OVER, Repair.AMBIGUOUS, Repair.VALUE_CUT),
    }
)
"""All other repairs concern the form: every value is whole."""


@dataclass(frozen=True)
class ParsedCall:
    """A call found in what a model wrote.

    `call` is set where it could be read; `raw` is its text as it came; `repairs` (of `Repair`) names what was put
    right, empty for a clean call; `problem` is set where it could not be read and is written for the model to act on.
    """

    call: Call | None
    raw: str
    repairs: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Parsed:
    """A whole turn of the model's: `said` and `thinking` without the calls, white space around them removed; `raw` is
    everything as it came."""

    said: str
    thinking: str
    calls: tuple[ParsedCall, ...]
    raw: str


@dataclass(frozen=True)
class TextDelta:
    """Text that is no part of a call and can be shown at once."""

    text: str


@dataclass(frozen=True)
class ThinkingDelta:
    """The next part of the thinking."""

    text: str


@dataclass(frozen=True)
class CallStarted:
    """The turn's first call began; the tool is the one the model named, known or not."""

    name: str


@dataclass(frozen=True)
class ArgumentDelta:
    """More of the call's own text, for showing that something happens; it is not parsed."""

    text: str


Event = TextDelta | ThinkingDelta | CallStarted | ArgumentDelta


def is_safe_to_run(parsed: ParsedCall, mutating: Collection[str]) -> bool:
    """Whether the call may be executed. `mutating`: the tools that change something.

    A clean call may. A repaired one may only where its tool changes nothing and only the form was repaired, never
    where a value was cut or guessed; any other is to be shown back with `complaint`.
    """
    if parsed.call is None or parsed.problem is not None:
        return False
    if not parsed.repairs:
        return True
    return parsed.call.tool not in mutating and _VALUE_IN_DOUBT.isdisjoint(parsed.repairs)


def is_damaged(parsed: ParsedCall) -> bool:
    """Whether the call could not be read, or a value of it is in doubt."""
    return parsed.problem is not None or not _VALUE_IN_DOUBT.isdisjoint(parsed.repairs)
