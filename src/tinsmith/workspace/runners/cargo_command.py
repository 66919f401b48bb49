"""`cargo test`: each test binary is started through `inside/cargo_test.sh`, which keeps libtest's JSON in a file.

libtest's events (`library/test/src/formatters/json.rs`) are written to the binary's standard output, which is a file
of ours.  libtest captures what tests print; what a test writes to the descriptor itself gets between the events and
can forge one, but none can be taken back: a failure outweighs a pass, and the exit status of each binary is known
from outside.  Documentation tests have no events; each package's are one outcome, by exit status.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tinsmith.workspace.runners.runner import INSIDE_PLACE, REPORT_PLACE, Launch, Place, Trace, program, read_report
from tinsmith.workspace.sandbox import Completed
from tinsmith.workspace.test_outcomes import SESSION, Frame, Reading, TestOutcome, interrupted

_TRIPLES = ("X86_64_UNKNOWN_LINUX_GNU", "AARCH64_UNKNOWN_LINUX_GNU", "X86_64_UNKNOWN_LINUX_MUSL")
_OUTCOMES = {"ok": "passed", "failed": "failed", "ignored": "skipped", "timeout": "timeout"}
_PANIC = re.compile(r"^thread .* panicked at (?P<file>[^\n:]+):(?P<line>\d+):\d+:?$", re.MULTILINE)
_AT = re.compile(r"^\s+at (?P<file>\S+?):(?P<line>\d+):\d+$")
_FUNCTION = re.compile(r"^\s*\d+: (?P<function>.+)$")
_MAX_BINARIES = 2000


class CargoRunner:
    name = "cargo"
    starts_with_report = False
    narrows = False

    def __init__(self, command: Sequence[str], place: Place) -> None:
        words = list(command)
        at = words.index("--") if "--" in words else len(words)
        self._cargo, self._libtest = words[:at], words[at + 1 :]
        self._place = place

    @classmethod
    def recognise(cls, command: Sequence[str], place: Place) -> "CargoRunner | None":
        words = [word for word in command if not word.startswith("+")]
        for at, word in enumerate(words[:-1]):
            if program(word) == "cargo" and words[at + 1] in ("test", "t"):
                return cls(command, place)
        return None

    def collect(self) -> Launch:
        return self._launch(self._libtest, collect=True)

    def run(self, nodeids: Sequence[str] | None, trace: Trace) -> Launch:
        names = [nodeid.partition("::")[2] for nodeid in nodeids or ()]
        if not names or not all(names):
            return self._launch(self._libtest)
        return self._launch([*self._libtest, "--exact", *dict.fromkeys(names)])

    def _launch(self, libtest: Sequence[str], *, collect: bool = False) -> Launch:
        runner = f"sh {INSIDE_PLACE}/cargo_test.sh"
        cargo = self._cargo if "--no-fail-fast" in self._cargo else [*self._cargo, "--no-fail-fast"]
        return Launch(
            [*cargo, "--", *libtest],
            {
                **{f"CARGO_TARGET_{triple}_RUNNER": runner for triple in _TRIPLES},
                "TINSMITH_REPORT_DIRECTORY": REPORT_PLACE,
                "TINSMITH_COLLECT": "1" if collect else "0",
                "CARGO_TERM_COLOR": "never",
                "RUST_BACKTRACE": "1",
            },
        )

    def read(self, directory: Path, completed: Completed) -> Reading | None:
        names = sorted(name for name in os.listdir(directory) if re.fullmatch(r"cargo-\d+\.(end|json|list)", name))
        stems = dict.fromkeys(name.rpartition(".")[0] for name in names[:_MAX_BINARIES])
        outcomes: dict[str, TestOutcome] = {}
        collected: list[str] = []
        for stem in stems:
            end = (read_report(directory / f"{stem}.end") or b"").decode(errors="replace").split("\n")
            status, binary, package, roots, *_ = [*end, "", "", "", ""]
            home = self._home(package)
            if binary == "doctests":
                nodeid = str(PurePosixPath(home) / "doctests")
                if nodeid not in outcomes or outcomes[nodeid].ok:
                    outcomes[nodeid] = self._doctests(nodeid, status == "0", completed)
                continue
            root = self._root(roots, home)
            listing = (read_report(directory / f"{stem}.list") or b"").decode(errors="replace")
            collected += [f"{root}::{name}" for name in re.findall(r"^(.+): test$", listing, re.MULTILINE)]
            found = self._of_binary(read_report(directory / f"{stem}.json") or b"", root, home, completed)
            if status not in ("", "0") and all(outcome.ok for outcome in found.values()) and not listing:
                words = f"the test binary of {root} ended with {status}"
                found[root] = TestOutcome(root, "crashed", "call", 0.0, "error", "", words)
            outcomes.update(found)
        if completed.returncode and not any(not outcome.ok for outcome in outcomes.values()):
            text = completed.output.decode(errors="replace")[-2000:]
            outcomes[SESSION] = TestOutcome(SESSION, "error", "collect", 0.0, "collection", "", text)
        if not outcomes and not collected and not stems:
            return None
        output = "\n".join(f"{o.nodeid}: {o.outcome}\n{o.message}" for o in outcomes.values() if not o.ok)
        return Reading(
            outcomes,
            tuple(collected) or tuple(nodeid for nodeid in outcomes if "::" in nodeid),
            completed.output.decode(errors="replace") + output,
        )

    def _doctests(self, nodeid: str, passed: bool, completed: Completed) -> TestOutcome:
        if passed:
            return TestOutcome(nodeid, "passed")
        text = completed.output.decode(errors="replace")[-2000:]
        return TestOutcome(nodeid, "failed", by="error", message=text)

    def _of_binary(self, content: bytes, root: str, home: str, completed: Completed) -> dict[str, TestOutcome]:
        outcomes: dict[str, TestOutcome] = {}
        running: dict[str, None] = {}
        for line in content.split(b"\n"):
            # What a child process printed may stand before an event on its line.
            at = line.find(b'{ "type": "test"')
            try:
                event = json.loads(line[at:]) if at >= 0 else None
            except (ValueError, RecursionError):
                continue
            if not isinstance(event, dict) or not isinstance(event.get("name"), str):
                continue
            nodeid = f"{root}::{event['name']}"
            if event.get("event") == "started":
                running[nodeid] = None
            elif event.get("event") in _OUTCOMES:
                # `timeout` is libtest's warning after a minute; the test goes on.
                if event["event"] == "timeout":
                    continue
                running.pop(nodeid, None)
                before = outcomes.get(nodeid)
                if before is None or before.ok:
                    outcomes[nodeid] = self._of_event(nodeid, event, home)
        for nodeid in running:
            outcomes.setdefault(nodeid, interrupted(nodeid, timed_out=completed.timed_out))
        return outcomes

    def _of_event(self, nodeid: str, event: dict[str, Any], home: str) -> TestOutcome:
        outcome = _OUTCOMES[event["event"]]
        seconds = event.get("exec_time")
        duration = float(seconds) if isinstance(seconds, int | float) else 0.0
        if outcome != "failed":
            return TestOutcome(nodeid, outcome, duration=duration)
        text = str(event.get("stdout") or event.get("message") or "")
        panics = list(_PANIC.finditer(text))
        if not panics:
            return TestOutcome(nodeid, outcome, "call", duration, "assertion", "", text.strip()[:2000])
        last = panics[-1]
        message = re.split(r"^(?:stack backtrace|note): ?", text[last.end() :], maxsplit=1, flags=re.MULTILINE)[
            0
        ].strip()
        asserted = message.startswith(("assertion ", "assert"))
        frames = self._frames(text[last.end() :], home) or self._frame(last["file"], int(last["line"]), "", home)
        # `assert!` with words of its own panics with these alone, in the test itself.
        own = bool(frames) and frames[-1].function.endswith(f"::{nodeid.partition('::')[2]}")
        by = "assertion" if asserted or (own and not message.startswith("called `")) else "error"
        return TestOutcome(nodeid, outcome, "call", duration, by, "panic", message[:2000], frames)

    def _frames(self, text: str, home: str) -> tuple[Frame, ...]:
        frames: list[Frame] = []
        function = ""
        for line in text.splitlines():
            if found := _FUNCTION.match(line):
                function = found["function"].strip()
            elif (found := _AT.match(line)) and not function.endswith("{{closure}}"):
                frames += self._frame(found["file"], int(found["line"]), function, home)
        return tuple(reversed(frames[:40]))

    def _frame(self, file: str, line: int, function: str, home: str) -> tuple[Frame, ...]:
        path = self._path(file, home)
        return (Frame(path, line, function),) if path is not None else ()

    def _path(self, file: str, home: str) -> str | None:
        """A path as rustc has it: relative to the workspace's root or the package, or absolute."""
        for base in ("", f"{self._place.inside}/{home}/"):
            path = self._place.in_tree(file if file.startswith("/") else base + file)
            if path is not None and self._place.has(path):
                return path
        return None

    def _home(self, package: str) -> str:
        inside = str(self._place.inside)
        return (self._place.in_tree(package) or ".") if package != inside else "."

    def _root(self, dependencies: str, home: str) -> str:
        """The source of the crate: the first dependency in the rule that rustc wrote beside the binary."""
        first = dependencies.partition(": ")[2].split(" ")[0]
        return self._path(first, home) or first or home
