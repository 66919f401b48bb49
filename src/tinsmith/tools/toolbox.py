"""The five tools at work on the private copy, and the domain of each of their arguments.

`choices` is what makes a call valid before it is decoded: paths are files that exist, line ranges are ones
that were shown and have not changed, `old` is a line that occurs once. `execute` checks again, for engines
that decode without grammars.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from tinsmith.dialects import Call, Domain, FreeText, OneOfValues, ToolSpec
from tinsmith.tools.files import Files, Refused
from tinsmith.tools.listing import Excerpt, numbered
from tinsmith.tools.regex_search import find
from tinsmith.tools.shown_lines import ShownLines, runs
from tinsmith.tools.specs import EDIT, FINISH, READ, RUN, SEARCH, TOOLS

MAX_READ_LINES = 200
MAX_EDIT_LINES = 60
MAX_HITS = 50
MAX_LINE = 200
"""Characters of a line that a search shows; only a line that was shown whole counts as shown."""
MAX_OUTPUT = 6_000
"""Characters of a command's output that are shown; what is longer keeps its head and its tail."""
MAX_READ = 12_000
"""Characters of a file that one `read` shows."""


@dataclass(frozen=True)
class Observation:
    """What a call led to.

    `refused`: nothing was done, and the text says why. `edited`: the copy changed by an edit. `missed`: the
    call named a place that is not there.
    """

    text: str
    kind: Literal["done", "refused"] = "done"
    edited: bool = False
    missed: bool = False


@dataclass(frozen=True)
class Choices:
    """What may follow in a call: the arguments that may come next, with their domains; whether it may end."""

    options: Mapping[str, Domain]
    may_close: bool = False


class Shell(Protocol):
    """Runs a command of the model's in the sandbox."""

    def __call__(self, command: str) -> tuple[int, str]: ...


class Toolbox:
    """The tools over one private copy. `free_tokens` bounds each free value."""

    specs: Sequence[ToolSpec] = TOOLS

    def __init__(self, files: Files, shell: Shell, *, free_tokens: int = 512) -> None:
        self.files = files
        self.shown = ShownLines()
        self._shell = shell
        self._free_tokens = free_tokens

    def show(self, excerpt: Excerpt) -> None:
        """Counts an excerpt that the brief contains as shown."""
        self.shown.show(excerpt.path, excerpt.first, excerpt.lines)

    def available(self) -> list[str]:
        """The tools that can be called now: `edit` only once something is shown, `read` only with files."""
        can_edit = any(self._editable(path) for path in self.shown.paths())
        return [
            spec.name
            for spec in self.specs
            if (spec is not EDIT or can_edit) and (spec is not READ or self.files.paths())
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

    def execute(self, call: Call) -> Observation:
        """Does what `call` says, `finish` apart (it is the gate's). Never raises for what the model asked."""
        try:
            match call.tool:
                case SEARCH.name:
                    return self._search(call.arguments)
                case READ.name:
                    return self._read(call.arguments)
                case EDIT.name:
                    return self._edit(call.arguments)
                case RUN.name:
                    code, output = self._shell(call.arguments.get("command", ""))
                    return Observation(f"exit code {code}\n{clipped(output)}")
                case _:
                    raise Refused(f"There is no tool {call.tool}.")
        except Refused as refusal:
            return Observation(str(refusal), "refused", missed=isinstance(refusal, Missed))

    def _searchable(self) -> list[str]:
        paths = self.files.paths()
        directories = {path.rsplit("/", depth)[0] for path in paths for depth in range(1, path.count("/") + 1)}
        return sorted({*paths, *directories})

    def _read_choices(self, given: Mapping[str, str]) -> Choices:
        if "path" not in given:
            return Choices({"path": OneOfValues(tuple(self.files.paths()))})
        count = len(self.files.lines(given["path"]))
        if "start" not in given:
            return Choices({"start": _numbers(1, count)})
        if "end" not in given:
            start = int(given["start"])
            return Choices({"end": _numbers(start, min(count, start + MAX_READ_LINES - 1))})
        return Choices({}, may_close=True)

    def _edit_choices(self, given: Mapping[str, str]) -> Choices:
        if "path" not in given:
            return Choices({"path": OneOfValues(tuple(p for p in self.shown.paths() if self._editable(p)))})
        if "new" in given:
            return Choices({}, may_close=True)
        editable = self._editable(given["path"])
        if "start" not in given and "old" not in given:
            options: dict[str, Domain] = {"start": _values(editable)}
            if unique := self._unique_lines(given["path"], editable):
                options["old"] = OneOfValues(tuple(unique))
            return Choices(options)
        if "start" in given and "end" not in given:
            start = int(given["start"])
            last = next(last for first, last in runs(editable) if first <= start <= last)
            return Choices({"end": _numbers(start, min(last, start + MAX_EDIT_LINES - 1))})
        return Choices({"new": FreeText(self._free_tokens)})

    def _editable(self, path: str) -> list[int]:
        try:
            return self.shown.valid(path, self.files.lines(path))
        except Refused:
            return []

    def _unique_lines(self, path: str, editable: Sequence[int]) -> list[str]:
        text = "\n".join(lines := self.files.lines(path))
        shown = (lines[number - 1] for number in editable)
        return sorted({line for line in shown if _can_be_old(line) and text.count(line) == 1})

    def _search(self, given: Mapping[str, str]) -> Observation:
        below = given.get("path", "").removeprefix("./").rstrip("/")
        paths = [p for p in self.files.paths() if below in ("", ".", p) or p.startswith(below + "/")]
        if not paths and below:
            raise Missed(f"There is no file under {below}.")
        hits: list[str] = []
        for path, number, _ in find(self.files.root, paths, given.get("pattern", ""), MAX_HITS):
            line = self.files.lines(path)[number - 1]
            if len(line) <= MAX_LINE:
                self.shown.show(path, number, [line])
            hits.append(f"{path}:{number}: {line[:MAX_LINE]}")
        if len(hits) == MAX_HITS:
            hits.append(f"Only the first {MAX_HITS} lines are listed.")
        return Observation("\n".join(hits) or "No line matches.")

    def _read(self, given: Mapping[str, str]) -> Observation:
        path, lines = given["path"], self.files.lines(given["path"])
        start, end = _range(given, len(lines))
        end = min(end, start + MAX_READ_LINES - 1)
        part = _fitting(lines[start - 1 : end], MAX_READ)
        text = f"{path} has {len(lines)} lines\n{numbered(start, part)}"
        if not part:
            head = f"{start}\t{lines[start - 1][:MAX_READ]}"
            return Observation(f"{text}{head}\nThe rest of the line is left out.")
        self.shown.show(path, start, part)
        if start + len(part) <= end:
            text += f"\nLines {start + len(part)} to {end} are left out."
        return Observation(text)

    def _edit(self, given: Mapping[str, str]) -> Observation:
        path, new = given["path"], given.get("new", "")
        if "start" not in given and "old" not in given:
            self.files.create(path, new)
            self.shown.show(path, 1, self.files.lines(path))
            return Observation(f"Created {path}.", edited=True)
        lines = self.files.lines(path)
        start, end = self._place(path, lines, given)
        valid = set(self._editable(path))
        if stale := [number for number in range(start, end + 1) if number not in valid]:
            raise Missed(f"Line {stale[0]} of {path} was not shown or has changed since; read it first.")
        # An empty `new` deletes the lines.
        replacement = new.split("\n") if new else []
        if replacement == lines[start - 1 : end]:
            raise Refused("The edit changes nothing.")
        self.shown.replaced(path, start, end, self.files.replace(path, start, end, replacement))
        return Observation(f"Edited {path}, lines {start} to {end}.", edited=True)

    def _place(self, path: str, lines: Sequence[str], given: Mapping[str, str]) -> tuple[int, int]:
        """The line range that the arguments name; where range and `old` are both given they must agree."""
        found: tuple[int, int] | None = None
        if "end" in given and "start" not in given:
            raise Missed("end is given without start.")
        if "old" in given:
            old = given["old"].split("\n")
            places = [
                (at + 1, at + len(old))
                for at in range(len(lines) - len(old) + 1)
                if list(lines[at : at + len(old)]) == old
            ]
            if len(places) != 1:
                raise Missed(_nearest(path, lines, old, len(places)))
            found = places[0]
        if "start" in given:
            named = _range(given, len(lines))
            if found is not None and found != named:
                places = f"{found[0]} to {found[1]}", f"{named[0]} to {named[1]}"
                raise Missed(f"old is at lines {places[0]} of {path}, not at {places[1]}.")
            found = named
        assert found is not None
        return found


class Missed(Refused):
    """The call named a place that is not there."""


def clipped(text: str, limit: int = MAX_OUTPUT) -> str:
    """`text` with its middle left out where it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    head, tail = text[: limit // 3], text[len(text) - 2 * limit // 3 :]
    return f"{head}\n[{len(text) - limit} characters left out]\n{tail}"


def _range(given: Mapping[str, str], count: int) -> tuple[int, int]:
    try:
        start = int(given["start"])
        end = int(given.get("end", given["start"]))
    except ValueError as error:
        raise Missed("start and end are line numbers.") from error
    if not 1 <= start <= end <= count:
        raise Missed(f"Lines {start} to {end} are not a range of a file of {count} lines.")
    return start, end


def _can_be_old(line: str) -> bool:
    """Whether the line says something and is worth writing out to name its place."""
    return bool(line.strip()) and len(line) <= MAX_LINE


def _fitting(lines: Sequence[str], budget: int) -> Sequence[str]:
    """As many of `lines` from the first as have `budget` characters between them."""
    for count, line in enumerate(lines):
        budget -= len(line) + 1
        if budget < 0:
            return lines[:count]
    return lines


def _nearest(path: str, lines: Sequence[str], old: Sequence[str], count: int) -> str:
    if count > 1:
        return f"old occurs {count} times in {path}; give line numbers."
    close = difflib.get_close_matches(old[0], lines, n=3, cutoff=0.5)
    places = [f"{lines.index(line) + 1}\t{line}" for line in close]
    nearest = "\nNearest:\n" + "\n".join(places) if places else ""
    return f"old does not occur in {path} as whole lines.{nearest}"


def _numbers(first: int, last: int) -> OneOfValues:
    return OneOfValues(tuple(str(number) for number in range(first, last + 1)))


def _values(numbers: Sequence[int]) -> OneOfValues:
    return OneOfValues(tuple(map(str, numbers)))
