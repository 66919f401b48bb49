"""The five tools at work on the private copy, and the domain of each of their arguments.

`choices` is what makes a call valid before it is decoded: paths are files that exist, line ranges are ones
that were shown and have not changed, `old` is a line that occurs once. `execute` checks again, for engines
that decode without grammars. What it answers has no secret in it and at most as many tokens as it is given;
the rest of a long output lies behind a handle.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tinsmith.dialects import Call, Domain, FreeText, OneOfValues, ToolSpec
from tinsmith.events import redact
from tinsmith.tools.domains import MAX_STARTS, Choices, one_of, starts, unique_lines, with_directories
from tinsmith.tools.files import Files, Refused
from tinsmith.tools.listing import Excerpt
from tinsmith.tools.outputs import Outputs
from tinsmith.tools.places import Missed, edit_range, line_range
from tinsmith.tools.recent_places import RecentPlaces
from tinsmith.tools.regex_search import find
from tinsmith.tools.results import Observation, Shell
from tinsmith.tools.room import Room
from tinsmith.tools.shown_lines import ShownLines, line_hash, runs
from tinsmith.tools.specs import EDIT, FINISH, READ, RUN, SEARCH, TOOLS
from tinsmith.tools.test_digest import Digest, digest, tells
from tinsmith.tools.views import View, file_view, hits_view, output_text, output_view, report_text
from tinsmith.workspace import TestReport

MAX_READ_LINES = 200
MAX_EDIT_LINES = 60
MAX_HITS = 50
MAX_READ = 3_000
"""Tokens of a file or an output that one `read` shows."""
MAX_SEARCH = 1_000
"""Tokens of one search."""
MAX_OUTPUT = 1_500
"""Tokens of a command's output that is shown whole."""
MAX_CLIPPED = 400
"""Tokens of one that is longer, and of a digest of tests."""
MAX_FAILURES = 40
"""Failing tests that are remembered as described in the window."""


class Toolbox:
    """The tools over one private copy.

    `count` says how many tokens a text has, `free_tokens` bounds each free value. Without `outputs` what is
    left out of an output is gone.
    """

    specs: Sequence[ToolSpec] = TOOLS

    def __init__(
        self,
        files: Files,
        shell: Shell,
        *,
        count: Callable[[str], int],
        free_tokens: int = 512,
        outputs: Outputs | None = None,
    ) -> None:
        self.files = files
        self.shown = ShownLines()
        self._shell = shell
        self._count = count
        self._free_tokens = free_tokens
        self._outputs = outputs
        self._recent = RecentPlaces()
        self._answered: tuple[str, int, int] | None = None
        self._named: list[tuple[str, int]] = []
        self._failures: list[str] = []

    def show(self, excerpt: Excerpt) -> None:
        """Counts an excerpt that stands in the window as shown, but for the lines with a secret."""
        safe = _redacted(excerpt.lines)
        readable = self._readable(excerpt.path)
        for number, (line, shown) in enumerate(zip(excerpt.lines, safe, strict=True), excerpt.first):
            if line == shown and (number > len(readable) or readable[number - 1] is not None):
                self.shown.show(excerpt.path, number, [line])

    def forget(self) -> None:
        """Nothing is in the window any more, but for what `show` is given next."""
        self.shown = ShownLines()
        self._answered = None
        self._failures = []

    def recent_excerpts(self) -> list[Excerpt]:
        """The lines last read and edited as they stand now, without secrets, the latest last."""
        return self._recent.excerpts(self._readable)

    def state(self) -> dict[str, Any]:
        """What the toolbox knows beside the files, as JSON."""
        return {
            "shown": self.shown.state(),
            "answered": list(self._answered) if self._answered else None,
            "recent": self._recent.state(),
            "named": [list(place) for place in self._named],
            "failures": list(self._failures),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Goes back to what `state` gave."""
        self.shown = ShownLines.from_state(state["shown"])
        answered = state["answered"]
        self._answered = (answered[0], answered[1], answered[2]) if answered else None
        self._recent = RecentPlaces.from_state(state["recent"])
        self._named = [(path, number) for path, number in state["named"]]
        self._failures = list(state["failures"])

    def available(self) -> list[str]:
        """The tools that can be called now: `edit` only where a shown line is still so, `read` only with files."""
        can_edit = any(self._editable(path) for path in self.shown.paths())
        return [
            spec.name
            for spec in self.specs
            if (spec is not EDIT or can_edit) and (spec is not READ or can_edit or self._openable())
        ]

    def choices(self, tool: str, given: Mapping[str, str]) -> Choices:
        """What may come next in a call of `tool` that has `given` so far."""
        free = FreeText(self._free_tokens)
        match tool:
            case SEARCH.name:
                if "pattern" not in given:
                    return Choices({"pattern": FreeText(min(64, self._free_tokens))})
                paths = () if "path" in given else tuple(self._searchable())
                return Choices({"path": OneOfValues(paths)} if paths else {}, may_close=True)
            case READ.name:
                return self._read_choices(given)
            case EDIT.name:
                return self._edit_choices(given)
            case RUN.name:
                return Choices({}, True) if "command" in given else Choices({"command": free})
            case FINISH.name:
                return Choices({}, True) if "summary" in given else Choices({"summary": free})
            case _:
                raise KeyError(tool)

    def execute(self, call: Call, budget: int) -> Observation:
        """Does what `call` says, `finish` apart (it is the gate's). The answer has at most `budget` tokens.

        Never raises for what the model asked.
        """
        room = Room(budget, self._count)
        try:
            observation = self._do(call, room)
        except Refused as refusal:
            observation = Observation(str(refusal), "refused", missed=isinstance(refusal, Missed))
        # Before the cut, since half a secret is no longer known as one; after it, as it was counted.
        return replace(observation, text=redact(room.cut(redact(observation.text))))

    def _do(self, call: Call, room: Room) -> Observation:
        if call.tool != READ.name:
            self._answered = None
        match call.tool:
            case SEARCH.name:
                return self._search(call.arguments, room.at_most(MAX_SEARCH))
            case READ.name:
                return self._read(call.arguments, room.at_most(MAX_READ))
            case EDIT.name:
                return self._edit(call.arguments)
            case RUN.name:
                return Observation(self._run(call.arguments.get("command", ""), room))
            case _:
                raise Refused(f"There is no tool {call.tool}.")

    def _openable(self) -> list[str]:
        return self.files.paths() + (self._outputs.handles() if self._outputs else [])

    def _searchable(self) -> list[str]:
        return with_directories(self.files.paths()) + (self._outputs.handles() if self._outputs else [])

    def _read_choices(self, given: Mapping[str, str]) -> Choices:
        if "path" not in given:
            return Choices({"path": OneOfValues(tuple(self._openable()))})
        path = given["path"]
        outputs = self._output(path)
        count = outputs.length(path) if outputs else len(self.files.lines(path))
        if "start" not in given:
            named = (number for name, number in self._named if name == path)
            return Choices({"start": one_of(starts(count, named))})
        if "end" not in given:
            start = int(given["start"])
            return Choices({"end": one_of(range(start, min(count, start + MAX_READ_LINES - 1) + 1))})
        return Choices({}, may_close=True)

    def _edit_choices(self, given: Mapping[str, str]) -> Choices:
        if "path" not in given:
            return Choices({"path": OneOfValues(tuple(p for p in self.shown.paths() if self._editable(p)))})
        if "new" in given:
            return Choices({}, may_close=True)
        editable = self._editable(given["path"])
        if "start" not in given and "old" not in given:
            options: dict[str, Domain] = {"start": one_of(editable)}
            if unique := unique_lines(self.files.lines(given["path"]), editable):
                options["old"] = OneOfValues(tuple(unique))
            return Choices(options)
        if "start" in given and "end" not in given:
            start = int(given["start"])
            last = next(last for first, last in runs(editable) if first <= start <= last)
            return Choices({"end": one_of(range(start, min(last, start + MAX_EDIT_LINES - 1) + 1))})
        return Choices({"new": FreeText(self._free_tokens)})

    def _editable(self, path: str) -> list[int]:
        try:
            return self.shown.valid(path, self.files.lines(path))
        except Refused:
            return []

    def _output(self, path: str) -> Outputs | None:
        """Where `path` is a handle, what opens it."""
        outputs = self._outputs
        return outputs if outputs is not None and outputs.file(path) is not None else None

    def _readable(self, path: str) -> list[str | None]:
        """The lines of a file, None for one that holds a secret; nothing where there is no such file."""
        try:
            lines = self.files.lines(path)
        except Refused:
            return []
        return [line if line == safe else None for line, safe in zip(lines, _redacted(lines), strict=True)]

    def _search(self, given: Mapping[str, str], room: Room) -> Observation:
        below, pattern = given.get("path", "").removeprefix("./").rstrip("/"), given.get("pattern", "")
        if outputs := self._output(below):
            name = str(outputs.file(below))
            found = find(outputs.directory, [name], pattern, MAX_HITS)
            lines = outputs.lines(below)
            hits = [(below, number, lines[number - 1]) for _, number in found.hits]
            view = hits_view(hits, {below: found.counts.get(name, 0)}, room)
            return Observation(view.text or "No line matches.")
        paths = [p for p in self.files.paths() if below in ("", ".", p) or p.startswith(below + "/")]
        if not paths and below:
            raise Missed(f"There is no file under {below}.")
        found = find(self.files.root, paths, pattern, MAX_HITS)
        actual = {path: self.files.lines(path) for path, _ in found.hits}
        safe = {path: _redacted(lines) for path, lines in actual.items()}
        view = hits_view([(path, n, safe[path][n - 1]) for path, n in found.hits], found.counts, room)
        self._see(view, actual, safe)
        for path, number in found.hits:
            self._name(path, number, len(actual[path]))
        return Observation(view.text or "No line matches.")

    def _read(self, given: Mapping[str, str], room: Room) -> Observation:
        path = given["path"]
        if outputs := self._output(path):
            lines = outputs.lines(path)
            start, end = line_range(given, len(lines))
            return Observation(output_view(path, lines, start, min(end, start + MAX_READ_LINES - 1), room))
        lines = self.files.lines(path)
        start, end = line_range(given, len(lines))
        end = min(end, start + MAX_READ_LINES - 1)
        asked = (path, start, end)
        # Said once; asked the very same again in a row, it may be lost in the middle of the window.
        known = self.shown.listed(path, lines) if asked != self._answered else ()
        safe = _redacted(lines)
        view = file_view(path, safe, start, end, known, room)
        self._answered = asked if view.elided else None
        self._see(view, {path: lines}, {path: safe})
        self._recent.read(path, start, end)
        return Observation(view.text)

    def _see(self, view: View, actual: Mapping[str, Sequence[str]], safe: Mapping[str, Sequence[str]]) -> None:
        """Counts the lines of a view as shown that stand in it as they are, secrets redacted once more."""
        visible = set(redact(view.text).split("\n"))
        for (path, number), entry in view.lines.items():
            line = actual[path][number - 1]
            if entry in visible and line == safe[path][number - 1]:
                self.shown.show(path, number, [line])

    def _name(self, path: str, number: int, count: int) -> None:
        """Of a long file, a read may begin at a line that was named."""
        if count > MAX_STARTS and (path, number) not in self._named:
            self._named = [*self._named, (path, number)][-4 * MAX_HITS :]

    def _run(self, command: str, room: Room) -> str:
        result = self._shell(command)
        head, output = f"exit code {result.code}", redact(result.output).rstrip("\n")
        keep = self._outputs.keep if self._outputs is not None else None
        clipped = room.at_most(MAX_CLIPPED)
        if (report := result.report) is not None and tells(report):
            return self._digested(head, output, report, keep, clipped)
        return output_text(head, output, keep, room.at_most(MAX_OUTPUT), clipped)

    def _digested(
        self, head: str, output: str, report: TestReport, keep: Callable[[str], str] | None, room: Room
    ) -> str:
        def is_known(text: str) -> bool:
            return line_hash(text) in self._failures

        def digested(described: int) -> Digest:
            return digest(report, self._source, is_known, described)

        view = report_text(head, output, digested, keep, room)
        self._failures = [*self._failures, *map(line_hash, view.described)][-MAX_FAILURES:]
        return view.text

    def _source(self, path: str, number: int) -> str:
        """A line of a file for a digest of tests; nothing where there is none or it holds a secret."""
        readable = self._readable(path)
        if not 1 <= number <= len(readable):
            return ""
        self._name(path, number, len(readable))
        return readable[number - 1] or ""

    def _edit(self, given: Mapping[str, str]) -> Observation:
        path, new = given["path"], given.get("new", "")
        if Outputs.is_handle(path):
            raise Refused(f"{path} is what a command printed; it is read and not edited.")
        if "start" not in given and "old" not in given:
            self.files.create(path, new)
            self.shown.replaced(path, 1, 0, self.files.lines(path))
            return Observation(f"Created {path}.", edited=True)
        lines = self.files.lines(path)
        start, end = edit_range(path, lines, [line or "" for line in self._readable(path)], given)
        valid = set(self._editable(path))
        if stale := [number for number in range(start, end + 1) if number not in valid]:
            raise Missed(f"Line {stale[0]} of {path} was not shown or has changed since; read it first.")
        # An empty `new` deletes the lines.
        replacement = new.split("\n") if new else []
        if replacement == lines[start - 1 : end]:
            raise Refused("The edit changes nothing.")
        written = self.files.replace(path, start, end, replacement)
        self.shown.replaced(path, start, end, written)
        self._recent.edited(path, start, end, len(written))
        return Observation(f"Edited {path}, lines {start} to {end}{_became(start, end, len(written))}.", edited=True)


def _became(start: int, end: int, count: int) -> str:
    if count == end - start + 1:
        return ""
    return f" became {start} to {start + count - 1}" if count else " were removed"


def _redacted(lines: Sequence[str]) -> list[str]:
    """The lines of a text with its secrets redacted; a key that spans lines is known only from all of them."""
    return redact("\n".join(lines)).split("\n")
