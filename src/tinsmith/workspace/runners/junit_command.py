"""Commands that write JUnit XML: Maven, Gradle, CTest, Node's test runner, and any for which the files are named.

Reports of an earlier run are removed before the next, so what is read was written by this one.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tinsmith.errors import InputError
from tinsmith.workspace.runners.javascript_command import package_script
from tinsmith.workspace.runners.junit_xml import BadXML, Case, parse
from tinsmith.workspace.runners.runner import REPORT_PLACE, Launch, Place, Trace, program, read_report
from tinsmith.workspace.runners.stack_text import java_frames, python_frames, v8_frames
from tinsmith.workspace.sandbox import Completed
from tinsmith.workspace.test_outcomes import SESSION, Frame, Reading, TestOutcome

_REPORT = "junit.xml"
_SOURCES = ("src/test/java", "src/test/kotlin", "src/main/java", "src/main/kotlin", "src", "test", "")
_ENDINGS = (".java", ".kt", ".groovy", ".scala")
_Choose = Callable[[Sequence[str], Sequence[tuple[str, str]]], list[str]]
"""(command, [(class or path, name), ...]) to the command that runs these tests."""


@dataclass(frozen=True)
class Tool:
    """How one test tool is told to write JUnit XML."""

    pattern: str
    """Where the files are, from `cwd`; empty for the file in the report directory."""
    options: tuple[str, ...] = ()
    choose: _Choose | None = None


def _maven(command: Sequence[str], tests: Sequence[tuple[str, str]]) -> list[str]:
    chosen = ",".join(f"{owner}#{name}" if name else owner for owner, name in tests)
    return [*command, f"-Dtest={chosen}", "-DfailIfNoTests=false", "-Dsurefire.failIfNoSpecifiedTests=false"]


def _gradle(command: Sequence[str], tests: Sequence[tuple[str, str]]) -> list[str]:
    return [*command, *(word for owner, name in tests for word in ("--tests", f"{owner}.{name}" if name else owner))]


def _ctest(command: Sequence[str], tests: Sequence[tuple[str, str]]) -> list[str]:
    return [*command, "-R", f"^({'|'.join(re.escape(name or owner) for owner, name in tests)})$"]


_TOOLS: Mapping[str, Tool] = {
    "mvn": Tool("*target/surefire-reports/TEST-*.xml", (), _maven),
    "mvnw": Tool("*target/surefire-reports/TEST-*.xml", (), _maven),
    "gradle": Tool("*build/test-results/*.xml", (), _gradle),
    "gradlew": Tool("*build/test-results/*.xml", (), _gradle),
    # CTest takes a relative path from its test directory; this one is absolute.
    "ctest": Tool("", ("--output-junit", f"{REPORT_PLACE}/{_REPORT}"), _ctest),
    "node": Tool(
        "", ("--test-reporter=junit", f"--test-reporter-destination={REPORT_PLACE}/{_REPORT}", "--test-reporter=spec")
    ),
}


class JUnitRunner:
    starts_with_report = False
    narrows = False

    def __init__(self, name: str, command: Sequence[str], place: Place, tool: Tool) -> None:
        self.name = name
        self._command = list(command)
        self._place = place
        self._tool = tool

    @classmethod
    def of_pattern(cls, command: Sequence[str], place: Place, pattern: str) -> "JUnitRunner":
        """Any command; its reports are the files below `cwd` that match a shell pattern.

        Raises InputError `bad_junit_pattern` for a pattern that leads out of the tree.
        """
        if pattern.startswith("/") or ".." in pattern.split("/") or not pattern.endswith(".xml"):
            raise InputError(
                "bad_junit_pattern",
                f"{pattern!r} is no pattern for JUnit XML files in the repository",
                "Give one like `reports/*.xml`, relative to the directory of the tests.",
            )
        known = next((_TOOLS[name] for word in command if (name := program(word)) in _TOOLS), None)
        return cls("junit", command, place, Tool(pattern, (), known.choose if known else None))

    @classmethod
    def recognise(cls, command: Sequence[str], place: Place) -> "JUnitRunner | None":
        script = package_script(command, place)
        if script is not None and len(script) == 1 and program(script[0][0]) == "node":
            command = script[0]  # npm would pass our options on behind the script's own, where Node takes none
        for word in command:
            name = program(word)
            if name in _TOOLS and (name != "node" or "--test" in command):
                return cls(name, command, place, _TOOLS[name])
        return None

    def collect(self) -> Launch | None:
        return None

    def run(self, nodeids: Sequence[str] | None, trace: Trace) -> Launch:
        if self._tool.pattern:
            for path in list(self._place.find(self._tool.pattern)):
                path.unlink()
        command = self._command
        if self._tool.options:
            command = self._with_options(self._tool.options)
        if nodeids is not None and self._tool.choose is not None:
            command = self._tool.choose(command, [self._owner(nodeid) for nodeid in dict.fromkeys(nodeids)])
        return Launch(command)

    def _with_options(self, options: Sequence[str]) -> list[str]:
        if self.name == "node":
            at = self._command.index("--test") + 1
            stdout = "--test-reporter-destination=stdout"
            return [*self._command[:at], *options, stdout, *self._command[at:]]
        return [*self._command, *options]

    def _owner(self, nodeid: str) -> tuple[str, str]:
        """The class and the method that a node id names, a Java file turned back to its class."""
        path, _, name = nodeid.partition("::")
        if PurePosixPath(path).suffix in _ENDINGS:
            below = next((path.partition(f"{s}/")[2] for s in _SOURCES if s and f"{s}/" in f"{path}/"), path)
            return str(PurePosixPath(below).with_suffix("")).replace("/", "."), name.partition("(")[0].partition("[")[0]
        return path, name

    def read(self, directory: Path, completed: Completed) -> Reading | None:
        files = list(self._place.find(self._tool.pattern)) if self._tool.pattern else [directory / _REPORT]
        outcomes: dict[str, TestOutcome] = {}
        flaky: set[str] = set()
        read = False
        for file in files:
            content = read_report(file)
            if content is None:
                continue
            try:
                cases = parse(content)
            except BadXML as error:
                outcomes[SESSION] = TestOutcome(
                    SESSION, "error", "collect", 0.0, "collection", "", f"{file.name}: {error}"
                )
                continue
            read = True
            module = self._module_of(file) if self._tool.pattern else self._place.cwd
            for case in cases:
                outcome = self._outcome(case, module)
                if case.flaky:
                    flaky.add(outcome.nodeid)
                before = outcomes.get(outcome.nodeid)
                outcomes[outcome.nodeid] = outcome if before is None or before.ok else before
        if not read and not outcomes:
            return None
        if completed.returncode and all(outcome.ok for outcome in outcomes.values()):
            text = completed.output.decode(errors="replace")[-2000:]
            outcomes[SESSION] = TestOutcome(SESSION, "error", "collect", 0.0, "collection", "", text)
        return Reading(outcomes, tuple(nodeid for nodeid in outcomes if nodeid != SESSION), flaky=frozenset(flaky))

    def _module_of(self, file: Path) -> str:
        """The directory, from the top, whose build wrote the report."""
        relative = str(file.relative_to(self._place.tree))
        return re.split(r"(?:^|/)(?:target|build)/", relative)[0] if "/" in relative else "."

    def _outcome(self, case: Case, module: str) -> TestOutcome:
        path = self._place.in_tree(case.file) if case.file else None
        if path is None and case.classname:
            path = self._source(module, case.classname.split("$")[0].replace(".", "/"))
        owner = path or case.classname or "::".join(case.suites)
        nodeid = f"{owner}::{case.name}" if case.name and owner != case.name else owner or case.name
        if case.result in ("passed", "skipped"):
            return TestOutcome(nodeid, case.result, duration=case.seconds)
        text = case.text.strip()
        kind = case.kind.rpartition(".")[2] if re.fullmatch(r"[\w.$]+", case.kind) else ""
        asserted = case.result == "failure"
        if self.name == "node":
            # Its report has one kind of failure; the error itself is in the text.
            asserted = "ERR_ASSERTION" in text
        message = (case.message or text.partition("\n")[0] or case.printed.strip())[:2000]
        by = "assertion" if asserted else "error"
        return TestOutcome(nodeid, "failed", "call", case.seconds, by, kind, message, self._frames(text, module))

    def _frames(self, text: str, module: str) -> tuple[Frame, ...]:
        def source(name: str) -> str | None:
            return self._source(module, name)

        stripped = (
            re.sub(r" \{\s*$|^\s*[}\]].*$|^\s+\w+: .*$", "", text, flags=re.MULTILINE) if self.name == "node" else text
        )
        return (
            java_frames(text, source)
            or python_frames(text, self._place.in_tree)
            or v8_frames(stripped.rstrip(), self._place.in_tree)
        )

    def _source(self, module: str, name: str) -> str | None:
        """`com/example/Thing` or `com/example/Thing.java` in the usual source directories of a module."""
        endings = ("",) if PurePosixPath(name).suffix else _ENDINGS
        for directory in _SOURCES:
            for ending in endings:
                path = str(PurePosixPath(module, directory, name + ending))
                if ".." not in path and self._place.has(path):
                    return path
        return None
