"""Jest and Vitest, by the JSON that each writes to a file (Vitest's format is Jest's).

Recognised are `jest`, `vitest` and package scripts (`npm test`, `yarn test`, `pnpm run x`) that end in one of them.
The report is written by the runner's own process after the tests; the fields are those of Jest's
`--json` (`FormattedTestResults`).
"""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from tinsmith.workspace.runners.runner import REPORT_PLACE, Launch, Place, Trace, program, read_report
from tinsmith.workspace.runners.stack_text import v8_frames
from tinsmith.workspace.sandbox import Completed
from tinsmith.workspace.terminal_text import strip_escapes
from tinsmith.workspace.test_outcomes import Reading, TestOutcome

_REPORT = "javascript.json"
_OUTCOMES = {"passed": "passed", "failed": "failed", "pending": "skipped", "skipped": "skipped", "todo": "skipped"}
_NO_TEST = "a^"
"""A pattern that no name matches: every test is then told as skipped, which lists them."""
_MESSAGE_LIMIT = 2000


class JavaScriptRunner:
    """`separator` comes between the command and our options: `--` for npm's scripts."""

    starts_with_report = True
    narrows = False

    def __init__(self, name: str, command: Sequence[str], separator: Sequence[str], place: Place) -> None:
        self.name = name
        self._command = list(command)
        self._separator = list(separator)
        self._place = place

    @classmethod
    def recognise(cls, command: Sequence[str], place: Place) -> "JavaScriptRunner | None":
        for word in command:
            name = program(word).removesuffix(".js").removesuffix(".mjs")
            if name in ("jest", "vitest"):
                return cls(name, command, (), place)
        words = package_script(command, place) or [[]]
        name = next((name for word in words[-1] if (name := program(word)) in ("jest", "vitest")), None)
        if name is None:
            return None
        separated = program(command[0]) == "npm" and "--" not in command
        return cls(name, command, ["--"] if separated else [], place)

    def collect(self) -> Launch:
        """The tests are listed by running none of them, so their files are executed."""
        return self._launch(["-t", _NO_TEST])

    def run(self, nodeids: Sequence[str] | None, trace: Trace) -> Launch:
        if nodeids is None:
            return self._launch([])
        paths = dict.fromkeys(self._place.from_cwd(nodeid.partition("::")[0]) for nodeid in nodeids)
        names = [nodeid.partition("::")[2] for nodeid in nodeids]
        chosen: list[str] = []
        if all(names):
            # A full name is the titles with spaces between; a title may itself hold what separates them here.
            patterns = (re.escape(name).replace("::", "(?: |::)").replace(r"\ ", " ") for name in dict.fromkeys(names))
            chosen = ["-t", f"^({'|'.join(patterns)})( .*)?$"]
        if self.name == "jest":
            # Before the paths, or each would be taken as a pattern.
            return self._launch([*chosen, "--runTestsByPath", *paths])
        return self._launch([*chosen, *paths])

    def _launch(self, more: Sequence[str]) -> Launch:
        file = f"{REPORT_PLACE}/{_REPORT}"
        if self.name == "jest":
            ours = ["--json", f"--outputFile={file}", "--testLocationInResults"]
        else:
            ours = ["--run", "--reporter=default", "--reporter=json", f"--outputFile.json={file}"]
        return Launch([*self._command, *self._separator, *ours, *more], {"CI": "1", "FORCE_COLOR": "0"})

    def read(self, directory: Path, completed: Completed) -> Reading | None:
        try:
            suites = json.loads(read_report(directory / _REPORT) or b"")["testResults"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        outcomes: dict[str, TestOutcome] = {}
        collected: list[str] = []
        for suite in suites if isinstance(suites, list) else []:
            try:
                for outcome in self._of_suite(cast("dict[str, Any]", suite)):
                    if outcome.phase != "collect":
                        collected.append(outcome.nodeid)
                    # Two tests of one name: the failure decides.
                    before = outcomes.get(outcome.nodeid)
                    outcomes[outcome.nodeid] = outcome if before is None or before.ok else before
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
        return Reading(outcomes, tuple(dict.fromkeys(collected)))

    def _of_suite(self, suite: dict[str, Any]) -> list[TestOutcome]:
        path = self._place.in_tree(str(suite["name"])) or str(suite["name"])
        outcomes = [self._of_test(path, test) for test in suite["assertionResults"]]
        # A suite that fails without a test that does: its file, or something around its tests, is broken.
        if suite["status"] == "failed" and all(outcome.ok for outcome in outcomes):
            message = _plain(suite.get("message") or "the file failed")
            frames = v8_frames(message, self._place.in_tree)
            kind = _kind_of(message)
            outcomes.append(TestOutcome(path, "error", "collect", 0.0, "collection", kind, message, frames))
        return outcomes

    def _of_test(self, path: str, test: dict[str, Any]) -> TestOutcome:
        nodeid = "::".join([path, *(str(title) for title in test["ancestorTitles"]), str(test["title"])])
        outcome = _OUTCOMES.get(test["status"], "failed")
        duration = float(test.get("duration") or 0) / 1000
        if outcome != "failed":
            return TestOutcome(nodeid, outcome, duration=duration)
        text = _plain("\n".join(str(message) for message in test.get("failureMessages") or []), limit=1 << 16)
        details = test.get("failureDetails") or []
        kind = _kind_of(text)
        asserted = kind == "AssertionError" or any(isinstance(d, dict) and "matcherResult" in d for d in details)
        by = "assertion" if asserted or "ERR_ASSERTION" in text.partition("\n")[0] else "error"
        message = re.split(r"\n\s+at ", text, maxsplit=1)[0].removeprefix(f"{kind}: ")[:_MESSAGE_LIMIT]
        frames = v8_frames(text, self._place.in_tree)
        location = test.get("location")
        if not frames and isinstance(location, dict) and isinstance(location.get("line"), int):
            frames = v8_frames(f"Error\n    at {path}:{location['line']}:1", lambda name: path)
        return TestOutcome(nodeid, "failed", "call", duration, by, kind, message, frames)


def package_script(command: Sequence[str], place: Place) -> list[list[str]] | None:
    """The commands of the package script that `npm test` and its like run, one after the other; None for no such."""
    script = _script_of(command[1:])
    if program(command[0]) not in ("npm", "yarn", "pnpm") or script is None:
        return None
    try:
        scripts = json.loads(place.read(f"{place.cwd}/package.json") or b"")["scripts"]
        texts = [scripts[name] for name in (f"pre{script}", script) if name in scripts]
        return [words for text in texts for part in re.split(r"&&|;", text) if (words := shlex.split(part))] or None
    except (ValueError, TypeError, KeyError):
        return None


def _script_of(words: Sequence[str]) -> str | None:
    """The name of the package script that a package manager is told to run."""
    plain = [word for word in words if not word.startswith("-")]
    if plain[:1] == ["run"] or plain[:1] == ["run-script"]:
        plain = plain[1:]
    if not plain:
        return None
    return "test" if plain[0] == "t" else plain[0]


def _kind_of(text: str) -> str:
    found = re.match(r"([A-Z]\w*(?:Error|Exception)?)(?: \[\w+\])?: ", text)
    return found[1] if found else ""


def _plain(text: str, limit: int = _MESSAGE_LIMIT) -> str:
    return strip_escapes(text.encode("utf-8", "replace")).decode(errors="replace")[:limit]
