"""The tolerant parser as text streams in, and what it tells a model of a call that is not run."""

import re
from collections.abc import Sequence

from tinsmith.dialects.tolerant.catalogue import Tools, signature
from tinsmith.dialects.tolerant.openings import kind_of, openings
from tinsmith.dialects.tolerant.parsed import (
    ArgumentDelta,
    CallStarted,
    Event,
    Parsed,
    ParsedCall,
    TextDelta,
    ThinkingDelta,
)
from tinsmith.dialects.tolerant.scan import SILENT_ORPHANS, THINKING_ENDS, THOUGHT, parsed_turn
from tinsmith.dialects.tool_call import ToolSpec

_NAME = re.compile(
    r"<function(?:=|\s+name\s*=)\s*[\"']?([^>\"'\n<]{1,200})[>\"'\n<]"
    r"|[\"'](?:name|tool_name|tool)[\"']\s{0,64}:\s{0,64}[\"']([^\"']{1,200})[\"']"
    r"|functions\.([\w.\-]{1,100})[^\w.\-]"
    r"|<tool_call>\s{0,64}([\w.\-]{1,100})\s{0,64}<arg_key>"
    r"|(?:<｜tool▁call▁begin｜>|function<｜tool▁sep｜>)(?!function<)([\w.\-]{1,100})[<\s]"
    r"|^\s{0,64}(?:\[TOOL_CALLS\])?\s{0,64}([^\s\[\]{}<>\"']{1,200})\s{0,64}[\[{]"
)
_NAME_WITHIN = 600
"""Characters of a call in which its tool is looked for."""
_SHOWN = 400
"""Characters of a raw call that the model is shown from its beginning, and half as many from its end."""


class TolerantParser:
    """Reads a turn that a model wrote without a grammar, in any of the dialects that are known.

    Text goes in with `feed` in chunks of any size and comes out as events; `finish` gives the whole. What `finish`
    gives depends on the text alone. The `TextDelta`s together are a beginning of `said`: what may still become a call
    is held back, and so is everything after the first call's beginning. (A `</think>` whose opening is missing shows
    only when it comes; what was said before it is thinking then.) Both methods take linear time and never raise.
    """

    def __init__(self, tools: Sequence[ToolSpec], in_thinking: bool = False) -> None:
        """`in_thinking`: the prompt already opened the model's thinking."""
        self._tools = Tools(tools)
        self._openings = openings(self._tools)
        self._in_thinking = self._thinks = in_thinking
        self._chunks: list[str] = []
        self._pending = ""
        self._told = 0  # so much of it was told or dropped; openings look back at the last such character
        self._hold = -1  # from here on it may still become a call; not known where it lies before what was told
        self._space: list[str] = []  # white space that is told only if text follows it
        self._said_any = False
        self._call: list[str] | None = None
        self._named = False

    def feed(self, text: str) -> list[Event]:
        """The events that `text`, the next part of the turn, makes certain."""
        self._chunks.append(text)
        if self._call is not None:
            return self._more_of_call(text)
        self._pending += text
        self._hold = -1
        events: list[Event] = []
        while self._step(events):
            pass
        kept = max(0, self._told - 1)
        self._pending, self._told = self._pending[kept:], self._told - kept
        return events

    def finish(self) -> Parsed:
        """The whole turn."""
        return parsed_turn("".join(self._chunks), self._tools, self._openings, self._in_thinking)

    def _step(self, events: list[Event]) -> bool:
        """Tells what is certain; whether there may be more."""
        if self._thinks:
            return self._think(events)
        match = self._openings.whole.search(self._pending, self._told)
        if self._hold < self._told:
            self._hold = self._openings.hold(self._pending, self._told)
        if match is None or self._hold < match.start():
            self._tell_text(self._hold, events)
            return False
        self._tell_text(match.start(), events)
        kind = kind_of(match)
        if kind == "invented" or (kind == "orphan" and match.group().lstrip() in SILENT_ORPHANS):
            self._tell_text(match.end(), events)
        elif kind in ("think", "thought", "noise"):
            self._told = match.end()
            self._thinks = kind == "think"
        else:
            call = self._pending[self._told :]
            self._call, self._pending, self._told = [], "", 0
            events += self._more_of_call(call)
            return False
        return True

    def _think(self, events: list[Event]) -> bool:
        closed = THOUGHT.search(self._pending, self._told)
        end = closed.start() if closed else len(self._pending)
        if closed is None:
            longest = max(map(len, THINKING_ENDS)) - 1
            end = max(self._told, end - longest)
            while not any(tag.startswith(self._pending[end:]) for tag in THINKING_ENDS):
                end += 1
        if thought := self._pending[self._told : end]:
            events.append(ThinkingDelta(thought))
        self._told = closed.end() if closed else end
        self._thinks = closed is None
        return closed is not None

    def _tell_text(self, end: int, events: list[Event]) -> None:
        told = self._pending[self._told : end]
        self._told = max(self._told, end)
        if not self._said_any:
            told = told.lstrip()
        body = told.rstrip()
        if body:
            events.append(TextDelta("".join(self._space) + body))
            self._said_any = True
            self._space.clear()
        self._space.append(told[len(body) :])

    def _more_of_call(self, text: str) -> list[Event]:
        assert self._call is not None
        if self._named:
            return [ArgumentDelta(text)] if text else []
        self._call.append(text)
        begun = "".join(self._call)
        match = _NAME.search(begun[:_NAME_WITHIN])
        if match is None:
            if len(begun) >= _NAME_WITHIN:  # it names none that could be told
                self._named = True
                return [ArgumentDelta(begun)]
            return []
        self._named = True
        name = next(group for group in match.groups() if group is not None).strip()
        rest = begun[match.end() :]
        return [CallStarted(name), *([ArgumentDelta(rest)] if rest else [])]


def parse_text(text: str, tools: Sequence[ToolSpec], in_thinking: bool = False) -> Parsed:
    """A whole turn at once. Never raises."""
    parser = TolerantParser(tools, in_thinking)
    parser.feed(text)
    return parser.finish()


def complaint(parsed: ParsedCall, tools: Sequence[ToolSpec]) -> str:
    """What the model is shown in place of a result where its call was not run: why, the call, the tool, and that it is
    to be sent again."""
    why = parsed.problem or ""
    if not why and parsed.repairs:
        why = f"It had to be repaired, and a repaired call is not trusted: {'; '.join(parsed.repairs)}."
    lines = [f"The call was not run. {why}".rstrip(), "You sent:", _shortened(parsed.raw)]
    spec = next((spec for spec in tools if parsed.call is not None and spec.name == parsed.call.tool), None)
    if spec is not None and signature(spec) not in why:
        lines.append(f"The tool is {signature(spec)}.")
    return "\n".join([*lines, "Send it again, whole and in the form you were given."])


def _shortened(raw: str) -> str:
    if len(raw) <= 2 * _SHOWN:
        return raw
    return f"{raw[:_SHOWN]}\n[… {len(raw) - _SHOWN - _SHOWN // 2} characters …]\n{raw[-_SHOWN // 2 :]}"
