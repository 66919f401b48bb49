"""What every attempt begins with: the system text and the brief, within the window."""

from collections.abc import Mapping, Sequence

from tinsmith.agent import CLOSING_RESERVE, MIN_OBSERVATION, EventSink, Opening, Transcript
from tinsmith.codebase import Suspect
from tinsmith.dialects import Encoder, Turns
from tinsmith.errors import MachineError
from tinsmith.events import redact
from tinsmith.models import ModelCard
from tinsmith.resolve.brief import Failure, first_turn
from tinsmith.resolve.candidates import excerpts_of
from tinsmith.tools import TOOLS, Excerpt, Files, Toolbox, shorten

DEFAULT_SYSTEM = (
    "You fix an issue in the repository you are in. Find the cause, change as little as you can, then call finish. "
    "After each edit the failing tests run by themselves. You see only what tools show you; edit only lines shown."
)
MAX_SUSPECTS = 3
MAX_SHOWN_LINES = 80
MAX_ISSUE_CHARACTERS = {"candidates": 400, "free": 8_000}


def brief_of(
    card: ModelCard,
    issue: str,
    failures: Mapping[str, str],
    excerpts: Sequence[Excerpt],
    notes: str,
) -> str:
    """The first user turn, free of secrets."""
    short = shorten(issue, MAX_ISSUE_CHARACTERS[card.edit_domain])
    said = [Failure(test, message) for test, message in list(failures.items())[:2]]
    return redact(first_turn(short, said, excerpts, notes))


def fitting_excerpts(
    card: ModelCard,
    dialect: Turns,
    encoder: Encoder,
    files: Files,
    suspects: Sequence[Suspect],
    brief: Mapping[str, str],
    issue: str,
    notes: str,
    window: int,
    reply_tokens: int,
) -> list[Excerpt]:
    """The suspects' code, as much of it as leaves room for a call and its observation.

    Raises MachineError `window_too_small` where not even the issue alone does.
    """
    excerpts = excerpts_of(files, suspects, MAX_SHOWN_LINES)
    system = dialect.system(card.system or DEFAULT_SYSTEM, TOOLS if card.tools == "full" else ())
    beside = reply_tokens + CLOSING_RESERVE + MIN_OBSERVATION
    while True:
        text = brief_of(card, issue, brief, excerpts, notes)
        used = len(encoder.encode([*system, *dialect.user(text)]))
        if used + beside <= window:
            return excerpts
        if not excerpts:
            raise MachineError(
                "window_too_small",
                f"a context window of {window} tokens is too small: system text and issue take {used}, "
                f"a call and one result {beside}",
                f"Serve the model with a context of at least {used + beside} tokens (16,384 is comfortable).",
            )
        excerpts.pop()


def write_opening(
    card: ModelCard,
    dialect: Turns,
    transcript: Transcript,
    brief: str,
    excerpts: Sequence[Excerpt],
    toolbox: Toolbox,
    sink: EventSink,
) -> Opening:
    """Writes system text and brief into an empty transcript."""
    transcript.write(dialect.system(card.system or DEFAULT_SYSTEM, TOOLS if card.tools == "full" else ()), "system")
    end = dialect.user_end()
    transcript.write(dialect.user(brief)[: -len(end)], "user")
    at = len(transcript)
    transcript.write(end, "user")
    sink.append("opening", branch=transcript.branch, at=at, length=len(transcript))
    return opened(transcript, at, excerpts, toolbox)


def opened(transcript: Transcript, at: int, excerpts: Sequence[Excerpt], toolbox: Toolbox) -> Opening:
    """The opening that stands in `transcript`."""

    def show() -> None:
        for excerpt in excerpts:
            toolbox.show(excerpt)

    return Opening(transcript, at, len(transcript), show)
