"""The stage before the loop where no test fails: the model writes one that reproduces the issue.

It writes in the loop's own dialect, by one call of `edit` whose path we have chosen. What it wrote counts only if it
fails on a clean base for the issue's reason (see `Trials`); else it is told why, a few times.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any

from tinsmith.agent import EventSink, LimitReached, Speaker, Transcript, WindowFull
from tinsmith.dialects import FreeText, OneOfValues, Text, ToolSpec
from tinsmith.engines import Sampling
from tinsmith.events import redact
from tinsmith.resolve.reproduction import Reproduction
from tinsmith.resolve.reproduction_place import imports_beside, new_test_path
from tinsmith.resolve.reproduction_source import Unproven
from tinsmith.resolve.reproduction_trial import Trials
from tinsmith.tools import EDIT, Choices, shorten
from tinsmith.workspace import CommandSandbox, TestOutcome, Workspace

MIN_TEST = 192
"""Tokens that a test is at least given; a window without them ends the stage."""
MAX_REASON = 500
"""Characters of what a refused attempt is told."""


@dataclass(frozen=True)
class WrittenReproduction:
    """A test file that the run wrote. `path` is relative to the top of the tree.

    `outcomes` are its failing tests on the clean base, without a trace.
    """

    path: str
    text: str
    outcomes: tuple[TestOutcome, ...]

    def as_json(self) -> dict[str, Any]:
        """{"path", "text", "outcomes": rows as those of `Reproduction.as_json`}."""
        rows = Reproduction(self.outcomes, ()).as_json()["reproduction"]
        return {"path": self.path, "text": self.text, "outcomes": rows}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "WrittenReproduction":
        """What `as_json` gave; more keys may be there."""
        outcomes = Reproduction.from_json({"reproduction": data["outcomes"], "passing": ()}).failing
        return cls(data["path"], data["text"], outcomes)


def write_reproduction(
    speaker: Speaker,
    transcript: Transcript,
    workspace: Workspace,
    sandbox: CommandSandbox,
    *,
    issue: str,
    test_command: str | None,
    sampling: Sampling,
    free_tokens: int,
    reply_tokens: int,
    timeout: float,
    sink: EventSink,
    package: str = "",
    attempts: int = 3,
    progress: Callable[[str], None] = lambda line: None,
    cancel: Event | None = None,
) -> tuple[WrittenReproduction | None, int]:
    """A reproduction of `issue`, or None where the model found none; and how often the test command was started.

    `transcript` ends inside the user turn of the brief, before the syntax that closes it. `timeout` is in seconds
    for one run, `free_tokens` bounds the file, `reply_tokens` a whole answer. Raises EngineError, MachineError,
    Cancelled, and InputError `test_command_failed_to_start`; never for what the model does.
    """
    trials = Trials(workspace, sandbox, test_command, package=package, issue=issue, timeout=timeout, cancel=cancel)
    if not trials.is_python:
        progress("the tests are not Python's, so none is written")
        return None, trials.runs
    listed = trials.listed()
    if not listed and not trials.is_pytest:
        progress("the test command does not tell its tests apart, so none is written")
        return None, trials.runs
    paths = workspace.paths(workspace.base)
    path = new_test_path(issue, paths, listed, package)
    asked = _instruction(path, imports_beside(path, issue, paths, workspace.read_base))
    engine, dialect = speaker.engine, speaker.turns
    transcript.write([Text("\n\n" + asked), *dialect.user_end()], "user")
    writer = speaker.writer(_NewFile(path, free_tokens), sampling, reply_tokens)
    for number in range(1, attempts + 1):
        started, runs = time.monotonic(), trials.runs
        try:
            if engine.context_window - len(transcript) < reply_tokens - free_tokens + MIN_TEST:
                raise WindowFull(f"the context window of {engine.context_window} tokens is full")
            engine.begin_turn()
            call = writer.write(transcript).call
            text = call.arguments["new"].rstrip("\n") + "\n"
            usage = engine.end_turn()
        except (WindowFull, LimitReached) as limit:
            progress(f"no reproduction: {limit}")
            break
        outcomes: tuple[TestOutcome, ...] = ()
        reason = ""
        try:
            if call.arguments["path"] != path:  # only an endpoint of messages can name another
                raise Unproven(f"the file to write is {path}")
            outcomes = trials.judge(path, text)
        except Unproven as unproven:
            reason = shorten(redact(str(unproven)), MAX_REASON)
        sink.append(
            "reproduction_attempt",
            number=number,
            accepted=bool(outcomes),
            reason=reason,
            runs=trials.runs - runs,
            usage={"prefilled": usage.prefilled, "reused": usage.reused, "decoded": usage.decoded},
            seconds=round(time.monotonic() - started, 3),
        )
        if outcomes:
            written = WrittenReproduction(path, text, outcomes)
            sink.append("reproduction_written", **written.as_json(), attempts=number)
            progress(f"{path} reproduces the issue")
            return written, trials.runs
        progress(f"reproduction {number} of {attempts} refused: {reason}")
        again = f"{reason}\nWrite the whole file again."
        answer = dialect.observation(again, writer.number(transcript), EDIT.name)
        transcript.write(answer, "observation")
    return None, trials.runs


class _NewFile:
    """One call only: `edit` with the path of the new file and its text."""

    specs: Sequence[ToolSpec] = (EDIT,)

    def __init__(self, path: str, free_tokens: int) -> None:
        self._path = path
        self._free_tokens = free_tokens

    def available(self) -> list[str]:
        return [EDIT.name]

    def choices(self, tool: str, given: Mapping[str, str]) -> Choices:
        if "path" not in given:
            return Choices({"path": OneOfValues((self._path,))})
        return Choices({}, may_close=True) if "new" in given else Choices({"new": FreeText(self._free_tokens)})


def _instruction(path: str, imports: Sequence[str]) -> str:
    parts = [
        f"No test fails yet. First write the new file {path}: a short pytest test that fails now because of this issue "
        "and will pass once it is fixed. Call the repository's code as the issue does and assert what should happen. "
        "No mocks of that code, no skips, no clock, random values, environment, network or processes; "
        "files only below tmp_path."
    ]
    if imports:
        parts.append("Tests beside it import:\n" + redact("\n".join(imports)))
    return "\n\n".join(parts)
