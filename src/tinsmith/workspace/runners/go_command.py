"""`go test`, by the event stream of `go test -json`, which goes to a file instead of standard output.

The events are those of `go doc test2json`.  They are made from what the test binary prints: its own lines carry a
mark that ordinary output does not have, so a test that prints `--- PASS` is not taken at its word, but one that
prints the mark is.  So an event can be forged by printing, but none can be taken back: a failure outweighs a pass, and
a package's end comes from the exit status of its binary.
"""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tinsmith.workspace.runners.runner import REPORT_PLACE, Launch, Place, Trace, program, read_report
from tinsmith.workspace.sandbox import Completed
from tinsmith.workspace.test_outcomes import SESSION, Frame, Reading, TestOutcome, interrupted

_REPORT = "go.jsonl"
_OUTCOMES = {"pass": "passed", "fail": "failed", "skip": "skipped"}
_PLACE = re.compile(r"^\s+(?P<file>[\w./-]+\.go):(?P<line>\d+)(?:: | \+0x)(?P<message>.*)")
_KEPT = 64 << 10
"""Bytes of what one test printed that are looked at for its message."""


class GoRunner:
    name = "go"
    starts_with_report = False
    narrows = False

    def __init__(self, command: Sequence[str], at: int, place: Place) -> None:
        self._command = list(command)
        self._at = at
        """Where `test` stands."""
        self._place = place
        self._files: dict[str, dict[str, str]] = {}

    @classmethod
    def recognise(cls, command: Sequence[str], place: Place) -> "GoRunner | None":
        for at, word in enumerate(command[:-1]):
            if program(word) == "go" and command[at + 1] == "test":
                return cls(command, at + 1, place)
        return None

    def collect(self) -> Launch:
        return self._launch(self._command, ["-list", "."])

    def run(self, nodeids: Sequence[str] | None, trace: Trace) -> Launch:
        if nodeids is None:
            return self._launch(self._command, [])
        names: dict[str, None] = {}
        packages: dict[str, None] = {}
        whole = False
        for nodeid in nodeids:
            path, _, name = nodeid.partition("::")
            directory = str(PurePosixPath(path).parent) if path.endswith(".go") else path
            packages[f"./{self._place.from_cwd(directory)}"] = None
            found = [name.partition("/")[0]] if name else list(self._tests_in(path))
            whole = whole or not found
            names.update(dict.fromkeys(found))
        kept = [w for at, w in enumerate(self._command) if at <= self._at or not (w[:1] == "." or "..." in w)]
        chosen = [] if whole else ["-run", f"^({'|'.join(re.escape(name) for name in names)})$"]
        return self._launch([*kept, *packages], chosen)

    def _launch(self, command: Sequence[str], options: Sequence[str]) -> Launch:
        argv = [*command[: self._at + 1], "-json", "-count=1", *options, *command[self._at + 1 :]]
        return Launch(["/bin/sh", "-c", f'exec "$@" >{REPORT_PLACE}/{_REPORT}', "sh", *argv])

    def read(self, directory: Path, completed: Completed) -> Reading | None:
        content = read_report(directory / _REPORT)
        if content is None:
            return None
        events = list(_events(content))
        outcomes: dict[str, TestOutcome] = {}
        printed: dict[str, str] = {}
        running: dict[str, None] = {}
        ended: dict[str, str] = {}
        listed: dict[str, None] = {}
        for event in events:
            package, test, action = event.get("Package", ""), event.get("Test", ""), event["Action"]
            nodeid = self._nodeid(package, test) if test else package
            if action == "output":
                text = str(event.get("Output", ""))
                printed[nodeid] = (printed.get(nodeid, "") + text)[-_KEPT:]
                if not test and re.fullmatch(r"(Test|Example|Fuzz)\w*\n", text):
                    listed[self._nodeid(package, text.strip())] = None
            elif action in _OUTCOMES and not test:
                ended[package] = action
            elif action in _OUTCOMES:
                running.pop(nodeid, None)
                before = outcomes.get(nodeid)
                if before is None or before.ok:
                    outcomes[nodeid] = TestOutcome(nodeid, _OUTCOMES[action], duration=_seconds(event))
            elif action == "run" and test:
                running[nodeid] = None
        for nodeid in running:
            outcomes.setdefault(nodeid, interrupted(nodeid, timed_out=completed.timed_out))
        outcomes = {n: o if o.ok else self._told(o, printed.get(n, "")) for n, o in outcomes.items()}
        for package, action in ended.items():
            home = self._directory(package)
            failing = any(not o.ok and self._directory_of(n) == home for n, o in outcomes.items())
            if action == "fail" and not failing:
                # It does not build, or its binary failed in another way than by a test.
                message = printed.get(package, "")[-2000:]
                outcomes[home] = TestOutcome(home, "error", "collect", 0.0, "collection", "", message)
        if completed.returncode and not any(not outcome.ok for outcome in outcomes.values()) and events:
            text = "".join(printed.values())[-2000:] or completed.output.decode(errors="replace")[-2000:]
            outcomes[SESSION] = TestOutcome(SESSION, "error", "collect", 0.0, "collection", "", text)
        output = "".join(
            str(event.get("Output", "")) for event in events if event["Action"] in ("output", "build-output")
        )
        output += completed.output.decode(errors="replace")
        return Reading(outcomes, tuple(listed) or tuple(n for n in outcomes if "::" in n), output) if events else None

    def _told(self, outcome: TestOutcome, text: str) -> TestOutcome:
        """What `t.Error` or a panic wrote: the only place where Go says why."""
        frames: list[Frame] = []
        lines = text.splitlines()
        directory = self._directory_of(outcome.nodeid)
        panicked = any(line.startswith("panic: ") for line in lines)
        for line in lines:
            found = _PLACE.match(line)
            path = found and self._place.in_tree(
                found["file"] if "/" in found["file"] else f"{self._place.inside}/{directory}/{found['file']}"
            )
            if found and path and self._place.has(path):
                frames.append(Frame(path, int(found["line"]), ""))
        if panicked:
            frames.reverse()  # a goroutine's trace has the innermost first
        kept = [line.strip() for line in lines if not re.match(r"\s*(=== |--- |PASS|FAIL|ok\b)", line)]
        message = "\n".join(kept)[:2000]
        kind = "panic" if panicked else ""
        by = "error" if panicked or outcome.outcome in ("crashed", "timeout") else "assertion"
        return TestOutcome(
            outcome.nodeid,
            outcome.outcome,
            "call",
            outcome.duration,
            by,
            kind,
            message or outcome.message,
            tuple(frames),
        )

    def _nodeid(self, package: str, test: str) -> str:
        directory = self._directory(package)
        name = test.partition("/")[0]
        if directory not in self._files:
            self._files[directory] = {}
            top = self._place.tree / directory
            for path in sorted(top.glob("*_test.go")) if self._place.has(directory) else []:
                relative = str(path.relative_to(self._place.tree))
                self._files[directory].update(dict.fromkeys(self._tests_in(relative), relative))
        return f"{self._files[directory].get(name, directory)}::{test}"

    def _tests_in(self, path: str) -> list[str]:
        text = (self._place.read(path) or b"").decode(errors="replace") if path.endswith(".go") else ""
        return re.findall(r"^func ((?:Test|Example|Fuzz|Benchmark)\w*)\(", text, re.MULTILINE)

    def _directory(self, package: str) -> str:
        """Where an import path lies: below the nearest go.mod that names a prefix of it."""
        home = PurePosixPath(self._place.cwd)
        for place in (home, *home.parents):
            text = (self._place.read(str(place / "go.mod")) or b"").decode(errors="replace")
            found = re.search(r'^module\s+"?([^\s"]+)', text, re.MULTILINE)
            if found and (package == found[1] or package.startswith(found[1] + "/")):
                return str(place / package[len(found[1]) :].lstrip("/"))
        return package

    def _directory_of(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return str(PurePosixPath(path).parent) if path.endswith(".go") else path


def _events(content: bytes) -> Iterator[dict[str, Any]]:
    for line in content.split(b"\n"):
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict) and all(
            isinstance(event.get(key, ""), str) for key in ("Action", "Package", "Test")
        ):
            yield {"Action": "", **event}


def _seconds(event: dict[str, Any]) -> float:
    elapsed = event.get("Elapsed")
    return float(elapsed) if isinstance(elapsed, int | float) else 0.0
