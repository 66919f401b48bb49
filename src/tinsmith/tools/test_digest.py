"""A test run in a few short lines, from what became of each test and never from printed text."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tinsmith.tools.shortening import shorten
from tinsmith.workspace import SESSION, TestOutcome, TestReport

MAX_DESCRIBED = 3
"""Failing tests that are described; of the others the ids are named."""
MAX_NAMED = 5
MAX_MESSAGE = 200
"""Characters of exception and message."""
MAX_SOURCE = 160
"""Characters of a source line."""
_MAX_TOLD = 40
"""Failing tests whose source is looked up."""
_ORDER = ("failed", "error", "timeout", "crashed", "passed", "skipped", "xfailed", "xpassed")
_NOISE = re.compile(r" at 0x[0-9a-f]{6,}|\s*Use -vv? to get more diff\s*$|\s*Full diff:\s*$")
"""Addresses differ from run to run, and the hint is pytest's."""


@dataclass(frozen=True)
class Digest:
    """`text`, and what it says of the failing tests that it describes."""

    text: str
    described: tuple[str, ...]


def tells(report: TestReport) -> bool:
    """Whether tests ran or failed to be collected; a session that failed as a whole says more in its output."""
    return any(nodeid != SESSION for nodeid in report.outcomes)


def digest(
    report: TestReport,
    source: Callable[[str, int], str],
    is_known: Callable[[str], bool] = lambda text: False,
    described: int = MAX_DESCRIBED,
) -> Digest:
    """Counts, then the first failing tests with their innermost source line, then the ids of others.

    `source` gives the text of a line by path and 1-based number, nothing where there is none. `is_known` says
    whether a description stands above already; of such tests only the ids are named.
    """
    counts = Counter(outcome.outcome for outcome in report.outcomes.values())
    parts = [", ".join(f"{counts[outcome]} {outcome}" for outcome in _ORDER if counts[outcome])]
    if report.timed_out:
        parts[0] += "; stopped at the time limit"
    failing = [outcome for outcome in report.failing() if outcome.nodeid != SESSION]
    told = {outcome.nodeid: _told(outcome, source) for outcome in failing[:_MAX_TOLD]}
    before = [nodeid for nodeid, text in told.items() if is_known(text)]
    new = [outcome.nodeid for outcome in failing if outcome.nodeid not in before]
    texts = [told[nodeid] for nodeid in new[:described] if nodeid in told]
    parts += texts
    if before:
        parts.append(f"failing as above: {_named(before)}")
    if others := new[len(texts) :]:
        parts.append(f"and {len(others)} more: {_named(others)}")
    return Digest("\n".join(parts), tuple(texts))


def describe(outcome: TestOutcome | None) -> str:
    """One failing test in a few short lines: its id, the error, the innermost place in the tree."""
    if outcome is None:
        return "The test did not run."
    lines = [f"{outcome.nodeid}: {failure_text(outcome)}"]
    if outcome.frames:
        frame = outcome.frames[-1]
        lines.append(f"at {frame.path}:{frame.line} in {frame.function}")
    return "\n".join(lines)


def failure_text(outcome: TestOutcome) -> str:
    """Exception and message of a failing test, short."""
    message = " ".join(outcome.message.split())
    if not message.startswith(outcome.exception):
        message = f"{outcome.exception}: {message}"
    return shorten(message, MAX_MESSAGE)


def _told(outcome: TestOutcome, source: Callable[[str, int], str]) -> str:
    """One failing test with the line that raised; what the id says already is not said of the place."""
    text = f"{outcome.nodeid}: {failure_text(replace(outcome, message=_NOISE.sub('', outcome.message)))}"
    if not outcome.frames:
        return text
    frame = outcome.frames[-1]
    path, _, test = outcome.nodeid.partition("::")
    own = frame.path == path and frame.function == test.rsplit("::", 1)[-1].split("[", 1)[0]
    place = f"at line {frame.line}" if own else f"at {frame.path}:{frame.line} in {frame.function}"
    line = source(frame.path, frame.line).strip()[:MAX_SOURCE]
    return f"{text}\n{place}: {line}" if line else f"{text}\n{place}"


def _named(nodeids: Sequence[str]) -> str:
    """The first ids, each file's path once."""
    words: list[str] = []
    before = ""
    for nodeid in nodeids[:MAX_NAMED]:
        path, separator, rest = nodeid.partition("::")
        words.append(f"::{rest}" if separator and path == before else nodeid)
        before = path
    return ", ".join(words + ["…"] * (len(nodeids) > MAX_NAMED))
