"""unittest and Django's tests, through a module of ours that starts them and is told of each test.

Recognised are `PYTHON -m unittest ...`, `manage.py test` and Django's own `runtests.py`.
"""

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tinsmith.workspace.runners.report_lines import read_lines
from tinsmith.workspace.runners.runner import INSIDE_PLACE, REPORT_PLACE, Launch, Place, Trace, program
from tinsmith.workspace.sandbox import Completed
from tinsmith.workspace.test_outcomes import Reading

_REPORT = "report.jsonl"
_SELECTED = "selected.json"
_STARTER = f"{INSIDE_PLACE}/tinsmith_unittest_report.py"


class UnittestRunner:
    """`script` is the path of Django's starter as the command has it; None for unittest itself."""

    name = "unittest"
    starts_with_report = True
    narrows = True

    def __init__(self, before: Sequence[str], after: Sequence[str], place: Place, script: str | None) -> None:
        self._before = list(before)
        self._after = list(after)
        self._place = place
        self._script = script

    @classmethod
    def recognise(cls, command: Sequence[str], place: Place) -> "UnittestRunner | None":
        words = list(command)
        for at, word in enumerate(words):
            following = words[at + 1 : at + 2]
            if word == "-m" and following == ["unittest"] and at > 0:
                return cls(words[:at], words[at:], place, None)
            is_manage = program(word) == "manage.py" and "test" in words[at + 1 :]
            if is_manage or program(word) == "runtests.py":
                before = words[:at]
                if not before or "=" in before[-1]:
                    before.append(str(place.python))
                return cls(before, words[at:], place, word)
        return None

    def collect(self) -> Launch | None:
        return self._launch(None, "no", collect=True)

    def run(self, nodeids: Sequence[str] | None, trace: Trace) -> Launch:
        return self._launch(nodeids, trace, collect=False)

    def read(self, directory: Path, completed: Completed) -> Reading | None:
        return read_lines(directory / _REPORT, timed_out=completed.timed_out)

    def _launch(self, nodeids: Sequence[str] | None, trace: Trace, *, collect: bool) -> Launch:
        labels = [self._label(nodeid) for nodeid in nodeids or ()] if self._script else []
        selected = {} if nodeids is None else {_SELECTED: json.dumps(list(nodeids)).encode()}
        return Launch(
            [*self._before, _STARTER, *self._after, *dict.fromkeys(labels)],
            {
                "TINSMITH_REPORT": f"{REPORT_PLACE}/{_REPORT}",
                "TINSMITH_TREE": str(self._place.inside),
                "TINSMITH_TRACE": {"no": "0"}.get(trace, trace),
                "TINSMITH_COLLECT": "1" if collect else "0",
                "TINSMITH_SELECTED": f"{REPORT_PLACE}/{_SELECTED}" if selected else "",
            },
            selected,
        )

    def _label(self, nodeid: str) -> str:
        """`a/b.py::C::m` as Django takes it: the dotted name, seen from the directory of the starter."""
        assert self._script is not None
        path, *names = nodeid.split("::")
        home = PurePosixPath(self._script).parent
        module = PurePosixPath(self._place.from_cwd(path))
        if module.is_relative_to(home):
            module = module.relative_to(home)
        parts = [part for part in module.with_suffix("").parts if part != "__init__"]
        return ".".join([*parts, *names])
