"""pytest, through a plugin; and any other command, in which pytest may start or not."""

from collections.abc import Sequence
from pathlib import Path

from tinsmith.workspace.runners.report_lines import read_lines
from tinsmith.workspace.runners.runner import INSIDE_PLACE, REPORT_PLACE, Launch, Place, Trace, program
from tinsmith.workspace.sandbox import Completed
from tinsmith.workspace.test_outcomes import Reading

REPORT = "report.jsonl"


class PytestRunner:
    """`name` is `pytest` where the command says so, else `command`: one test, judged by its exit status, unless
    pytest starts in it."""

    narrows = True

    def __init__(self, command: Sequence[str], place: Place) -> None:
        self._command = list(command)
        self._place = place
        self.starts_with_report = any(program(word) in ("pytest", "py.test") for word in command)
        self.name = "pytest" if self.starts_with_report else "command"

    def collect(self) -> Launch | None:
        if self.name != "pytest":
            return None
        return pytest_launch([*self._command, "--collect-only"], self._place.inside, "no")

    def run(self, nodeids: Sequence[str] | None, trace: Trace) -> Launch:
        chosen = [self._as_argument(nodeid) for nodeid in nodeids or ()] if self.name == "pytest" else []
        return pytest_launch([*self._command, *chosen], self._place.inside, trace)

    def read(self, directory: Path, completed: Completed) -> Reading | None:
        return read_lines(directory / REPORT, timed_out=completed.timed_out)

    def _as_argument(self, nodeid: str) -> str:
        path, separator, rest = nodeid.partition("::")
        return self._place.from_cwd(path) + separator + rest


def pytest_launch(argv: Sequence[str], inside: Path, trace: Trace) -> Launch:
    """A command in which every pytest that starts reports; the copy stands at `inside`."""
    return Launch(
        # A command that sets PYTHONPATH itself would lose the plugin, and pytest without it does not start.
        [word.replace("PYTHONPATH=", f"PYTHONPATH={INSIDE_PLACE}:") for word in argv],
        {
            "PYTEST_ADDOPTS": "-p tinsmith_pytest_report",
            "PYTHONPATH": INSIDE_PLACE,
            "TINSMITH_REPORT": f"{REPORT_PLACE}/{REPORT}",
            "TINSMITH_TREE": str(inside),
            "TINSMITH_TRACE": {"no": "0"}.get(trace, trace),
        },
    )
