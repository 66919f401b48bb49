"""A whole turn of a model's, cut into what it said, what it thought and its calls, whatever the dialect."""

import re
from dataclasses import dataclass, field, replace

from tinsmith.dialects.tolerant.catalogue import Tools
from tinsmith.dialects.tolerant.glm import read_glm
from tinsmith.dialects.tolerant.harmony import read_harmony
from tinsmith.dialects.tolerant.hermes import read_hermes
from tinsmith.dialects.tolerant.marked_json import read_marked
from tinsmith.dialects.tolerant.mistral import read_mistral, read_named
from tinsmith.dialects.tolerant.openings import Openings, kind_of
from tinsmith.dialects.tolerant.parsed import Parsed, ParsedCall, Repair, is_damaged
from tinsmith.dialects.tolerant.qwen_xml import broken_end, read_xml

MAX_CALLS = 64
"""Calls of one turn that are read; a model that writes more repeats itself."""

_SPACE = re.compile(r"\s*+")
THINKING_ENDS = ("</think>", "[/THINK]")
THOUGHT = re.compile("|".join(map(re.escape, THINKING_ENDS)))
SILENT_ORPHANS = ("</function>", "</parameter>")
"""Parts of a call that tell nothing without one: they occur in any text about XML."""
_UNFINISHED = ("<tool_call", "<function=", "[TOOL_CALLS")


def parsed_turn(text: str, tools: Tools, openings: Openings, in_thinking: bool) -> Parsed:
    """What `text`, a whole turn, holds. `in_thinking`: the prompt opened the thinking. Never raises."""
    plain = _Turn(text, tools, openings, nested=False).read(in_thinking)
    if text.count("<function") > len(plain.calls):
        # Tags inside values, or damage: a second reading, in which functions nest.
        nested = _Turn(text, tools, openings, nested=True).read(in_thinking)
        if not plain.flaws() and not nested.flaws() and nested.calls != plain.calls:
            plain.calls = [_with(call, Repair.AMBIGUOUS) for call in plain.calls]
        elif nested.flaws() < plain.flaws():
            plain = nested
    if not plain.calls and (plain.dropped or plain.ends_thinking()):
        _rescue(plain, tools, openings)
    return Parsed(_joined(plain.said), _joined(plain.thinking), tuple(_marked(plain.calls)), text)


def _joined(pieces: list[str]) -> str:
    return "".join(pieces).strip()


def _with(call: ParsedCall, *repairs: Repair) -> ParsedCall:
    return replace(call, repairs=tuple(dict.fromkeys([*call.repairs, *repairs])))


def _marked(calls: list[ParsedCall]) -> list[ParsedCall]:
    """A call that follows a damaged one may begin inside it."""
    damaged = False
    marked: list[ParsedCall] = []
    for call in calls:
        marked.append(_with(call, Repair.AFTER_DAMAGE) if damaged else call)
        damaged = damaged or is_damaged(call)
    return marked


def _rescue(turn: "_Turn", tools: Tools, openings: Openings) -> None:
    """A turn without a call but in its thinking, where nothing shows that it was not meant: that one is taken."""
    thinking = "".join(turn.thinking)
    if openings.whole.search(thinking) is None:
        return
    inner = _Turn(thinking, tools, openings, nested=False).read(in_thinking=False)
    if inner.calls:
        turn.calls = [_with(call, Repair.IN_THINKING) for call in inner.calls]
        turn.thinking = inner.before_calls


@dataclass
class _Turn:
    text: str
    tools: Tools
    openings: Openings
    nested: bool
    said: list[str] = field(default_factory=list[str])
    thinking: list[str] = field(default_factory=list[str])
    calls: list[ParsedCall] = field(default_factory=list[ParsedCall])
    before_calls: list[str] = field(default_factory=list[str])
    """What was said before the first call."""
    dropped: bool = False
    """Whether calls turned out to be thinking because it ended after them without having begun."""
    _marks: tuple[int, int, int] = (0, 0, 0)
    """Where the last thinking ended: in the text, in `said`, in `calls`."""

    def flaws(self) -> int:
        """How much of this reading is in doubt: repairs and problems."""
        return sum(len(call.repairs) + 2 * (call.problem is not None) for call in self.calls)

    def ends_thinking(self) -> bool:
        """Whether nothing was said after the last thinking."""
        return not _joined(self.said[self._marks[1] :])

    def read(self, in_thinking: bool) -> "_Turn":
        """Reads everything."""
        position = self._think(0) if in_thinking else 0
        while True:
            match = self.openings.whole.search(self.text, position)
            start = match.start() if match else self._unfinished(position)
            self.said.append(self.text[position:start])
            if match is None:
                if start < len(self.text):
                    self._add(ParsedCall(None, self.text[start:], (Repair.VALUE_CUT,), "The call is cut off."))
                return self
            kind = kind_of(match)
            if kind == "invented" and self.calls:
                return self  # the model plays the other side: nothing of that happened
            if kind == "invented":
                self.said.append(match.group())
            position = self._take(kind, start, match.end())
            if len(self.calls) >= MAX_CALLS:
                self.calls[-1] = ParsedCall(None, self.text[start:], (), f"A turn has {MAX_CALLS} calls at most.")
                return self

    def _unfinished(self, position: int) -> int:
        """Where a call begins that the text ends in the middle of."""
        start = self.openings.hold(self.text, position)
        return start if self.text[start:].lstrip().startswith(_UNFINISHED) else len(self.text)

    def _add(self, *calls: ParsedCall) -> None:
        if not self.calls:
            self.before_calls = list(self.said)
        self.calls += calls

    def _take(self, kind: str, start: int, end: int) -> int:
        """Reads what the opening from `start` to `end` opens; where it ends."""
        if kind == "think":
            return self._think(end)
        if kind == "thought":
            # The prompt opened the thinking, or a server dropped the tag: all so far was thinking.
            since, said, calls = self._marks
            self.thinking.append(self.text[since:start])
            self.dropped = self.dropped or len(self.calls) > calls
            del self.said[said:], self.calls[calls:]
            self._mark(end)
        elif kind == "orphan":
            return self._orphan(start, end)
        elif kind not in ("noise", "invented"):
            calls, end = self._call(kind, _skip_indent(self.text, start))
            self._add(*calls)
        return end

    def _think(self, begin: int) -> int:
        match = THOUGHT.search(self.text, begin)
        end = match.start() if match else len(self.text)
        self.thinking.append(self.text[begin:end])
        end = match.end() if match else end
        self._mark(end)
        return end

    def _mark(self, end: int) -> None:
        self._marks = (end, len(self.said), len(self.calls))

    def _call(self, kind: str, start: int) -> tuple[tuple[ParsedCall, ...], int]:
        if kind == "mistral":
            return read_mistral(self.text, start, self.tools)
        if kind == "named":
            return read_named(self.text, start, self.tools)
        if kind == "harmony":
            return read_harmony(self.text, start, self.tools)
        if kind == "marked":
            return read_marked(self.text, start, self.tools, MAX_CALLS)
        if kind == "glm":
            call, end = read_glm(self.text, start, self.tools)
            return (call,), end
        if kind == "json":
            return read_hermes(self.text, start, self.tools)
        if kind == "tagged":
            space = _SPACE.match(self.text, start + len("<tool_call>"))
            inner = space.end() if space else start
            if self.text.startswith(("{", "["), inner):
                return read_hermes(self.text, start, self.tools)
            if not self.text.startswith("<function", inner):
                end = broken_end(self.text, inner)
                why = "After <tool_call> comes <function=NAME> or a JSON object, whole."
                repairs = (Repair.VALUE_CUT,) if inner == len(self.text) else ()
                return (ParsedCall(None, self.text[start:end], repairs, why),), end
        call, end = read_xml(self.text, start, self.tools, self.nested)
        return (call,), end

    def _orphan(self, start: int, end: int) -> int:
        """A part of a call without its beginning: of the call before, whose end is then in doubt, or of a lost one."""
        if self.calls:
            self.calls[-1] = _with(self.calls[-1], Repair.LEFT_OVER)
            return end
        opened = self.text[start:end].lstrip()
        if opened in SILENT_ORPHANS:
            self.said.append(self.text[start:end])
            return end
        why = "The beginning of the call is missing, so its tool is not known."
        stop = end if opened.startswith("</") else broken_end(self.text, end)
        self._add(ParsedCall(None, self.text[start:stop], (), why))
        return stop


def _skip_indent(text: str, start: int) -> int:
    while text[start] in " \t":
        start += 1
    return start
