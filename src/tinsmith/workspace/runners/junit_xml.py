"""Reads JUnit XML, which the tests themselves may have written.

There is no standard; the elements and attributes are those of Ant's and Maven Surefire's schemas and of the reporters
of pytest, Gradle, CTest, Node and Jest: `testcase` (`classname`, `name`, `file`, `line`, `time`) in any depth of
`testsuite`, with `failure`, `error`, `skipped` or `flakyFailure` inside.  No tree is built; a document type
declaration is refused, and with it entities of any kind.
"""

from dataclasses import dataclass, field
from xml.parsers import expat

MAX_BYTES = 64 << 20
_MAX_DEPTH = 64
_MAX_CASES = 200_000
_KEPT = 16 << 10
"""Characters of one test's failure."""


@dataclass
class Case:
    """One `testcase`."""

    classname: str
    name: str
    file: str
    line: str
    seconds: float
    result: str = "passed"
    """`passed`, `failure`, `error` or `skipped`; the first failure decides."""
    kind: str = ""
    message: str = ""
    text: str = ""
    printed: str = ""
    """What it printed, where nothing else says why it failed."""
    flaky: bool = False
    """Passed when its runner ran it again."""
    suites: tuple[str, ...] = field(default=())


class BadXML(ValueError):
    """Not JUnit XML that is safe to read."""


def parse(content: bytes) -> list[Case]:
    """The test cases of one document.  Raises BadXML."""
    if len(content) > MAX_BYTES:
        raise BadXML("it is too large")
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.buffer_text = True
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, UnicodeError, LookupError) as error:
        raise BadXML(str(error)) from error
    return reader.cases


def _refuse(*_: object) -> None:
    raise BadXML("it has a document type declaration")


class _Reader:
    def __init__(self) -> None:
        self.cases: list[Case] = []
        self._suites: list[str] = []
        self._open: list[str] = []
        self._case: Case | None = None
        self._taking = False
        self._printing = False

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._open.append(tag)
        if len(self._open) > _MAX_DEPTH or len(self.cases) > _MAX_CASES:
            raise BadXML("it is too deep or has too many tests")
        if tag == "testsuite":
            self._suites.append(attributes.get("name", ""))
        elif tag == "testcase":
            self._case = Case(
                attributes.get("classname", ""),
                attributes.get("name", ""),
                attributes.get("file", ""),
                attributes.get("line", ""),
                _seconds(attributes.get("time", "")),
                "skipped" if attributes.get("status") in ("notrun", "disabled") else "passed",
                suites=tuple(self._suites),
            )
            self.cases.append(self._case)
        elif self._case is not None and tag in ("failure", "error", "skipped"):
            self._taking = self._case.result in ("passed", "skipped")
            if self._taking:
                self._case.result = tag
                self._case.kind = attributes.get("type", "")
                self._case.message = attributes.get("message", "")[:_KEPT]
        elif self._case is not None and tag == "system-out":
            self._printing = True
        elif self._case is not None and tag in ("flakyFailure", "flakyError"):
            self._case.flaky = True

    def end(self, tag: str) -> None:
        self._open.pop()
        if tag == "testsuite":
            self._suites.pop()
        elif tag == "testcase":
            self._case = None
        elif tag in ("failure", "error", "skipped"):
            self._taking = False
        elif tag == "system-out":
            self._printing = False

    def text(self, text: str) -> None:
        if self._taking and self._case is not None and len(self._case.text) < _KEPT:
            self._case.text += text[:_KEPT]
        elif self._printing and self._case is not None:
            self._case.printed = (self._case.printed + text[-_KEPT:])[-_KEPT:]


def _seconds(text: str) -> float:
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return 0.0
    return value if 0 <= value < 1e9 else 0.0
