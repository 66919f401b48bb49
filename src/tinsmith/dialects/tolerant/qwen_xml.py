"""Calls in XML, as Qwen3-Coder and Devstral-Small-2505 write them, whole or damaged.

    <tool_call>\\n<function=NAME>\\n<parameter=K>\\nVALUE\\n</parameter>\\n…</function>\\n</tool_call>

The reference (Qwen's `qwen3coder_tool_parser`) strips one newline at each end of a value, and lets a value without
`</parameter>` end at the next `<parameter=` or `</function>`. A value ends here where `</parameter>` stands on a line
of its own and a tag of the call's structure follows, so tags inside code end nothing. A value may even hold a whole
call (a parser's own tests do): read with `nested`, a function that opens inside a value is closed there too.
"""

import re
from dataclasses import dataclass

from tinsmith.dialects.tolerant.catalogue import Tools
from tinsmith.dialects.tolerant.coercion import Draft, finished
from tinsmith.dialects.tolerant.parsed import ParsedCall, Repair

_FUNCTION = re.compile(
    r"<function(?:=|\s{1,8}name\s{0,8}=)\s{0,8}([\"']?)([^>\"'\n<]{1,200})\1[ \t]{0,32}"
    r"(?:/?>|</function>|(?=\n)|(?=<parameter))"
)
_PARAMETER = re.compile(
    r"<parameter(?:=|\s{1,8}name\s{0,8}=)[ \t]{0,32}([\"']?)([^\s>\"'<=/]{1,200})\1[ \t]{0,32}(>|=|(?=\n))"
)
_TAG = re.compile(r"</parameter>|</function>|</tool_call>|<parameter[=\s]|<function[=\s]|<tool_call>")
_SPACE = re.compile(r"\s*+")
_CALL_TAG = "<tool_call>"
_CALL_END = "</tool_call>"
_FUNCTION_END = "</function>"
_VALUE_END = "</parameter>"
_TEXT_END = "</s>"
_TURN_ENDS = ("<|im_end|>", "<|endoftext|>", _TEXT_END)
_BROKEN_END = re.compile(r"</tool_call>|(?<=\n)(?=[ \t]{0,32}<tool_call>)")


def read_xml(text: str, start: int, tools: Tools, nested: bool) -> tuple[ParsedCall, int]:
    """The call that begins at `start` with `<tool_call>` or `<function`, and where it ends. Never raises."""
    reader = _Reader(text, start, tools, nested)
    reader.read()
    return finished(reader.draft, text[start : reader.position], tools), reader.position


def broken_end(text: str, start: int) -> int:
    """Where a call that cannot be read is given up: after its closing tag, before the next call, or at the end."""
    match = _BROKEN_END.search(text, start)
    return match.end() if match else len(text)


@dataclass(frozen=True)
class _Value:
    text: str
    next: int
    repairs: tuple[Repair, ...] = ()


@dataclass
class _Nest:
    """Calls inside a value: how deep, and whether a parameter of the innermost is open."""

    depth: int = 0
    open: bool = False

    def enter(self) -> None:
        """A function opens."""
        if self.depth == 0 or self.open:
            self.depth += 1
            self.open = False

    def holds(self, tag: str) -> bool:
        """Whether `tag` belongs to a call inside the value."""
        if self.depth == 0:
            return False
        if tag.startswith("<parameter"):
            self.open = True
        elif tag == _FUNCTION_END:
            self.depth -= 1
            self.open = self.depth > 0
        elif tag == _VALUE_END:
            if not self.open:  # no call after all
                self.depth = 0
                return False
            self.open = False
        return True


class _Reader:
    def __init__(self, text: str, start: int, tools: Tools, nested: bool) -> None:
        self.text = text
        self.position = start
        self.tools = tools
        self.nested = nested
        self.given = dict[str, str]()
        self.draft = Draft("", self.given, in_text=True)
        self._repairs = self.draft.repairs

    def read(self) -> None:
        tagged = self.text.startswith(_CALL_TAG, self.position)
        if tagged:
            self.position = self._skip(self.position + len(_CALL_TAG))
        function = _FUNCTION.match(self.text, self.position)
        if function is None:
            self._give_up("The tag <function=NAME> is malformed.")
            return
        name = self.draft.tool = function.group(2).strip()
        if function.group() != f"<function={name}>":
            self._repairs.append(Repair.TAG)
        self.position = function.end()
        self._parameters()
        if self.draft.problem is None:
            self._close(tagged)

    def _give_up(self, why: str) -> None:
        self.draft.problem = why
        self.position = broken_end(self.text, self.position)

    def _parameters(self) -> None:
        """Reads up to `</function>`, or to what shows that there is none."""
        empty = None  # the key of a tag that was closed at once
        while True:
            self.position = self._skip(self.position)
            if self._at(_FUNCTION_END, _CALL_END) or self._ends_turn(self.position) or self._begins_call(self.position):
                return
            if self._at(_VALUE_END):
                self._repairs.append(Repair.DOUBLED_CLOSER)
                if not self._begins_line(self.position):  # which of the two ends the value?
                    self._repairs.append(Repair.LEFT_OVER)
                self.position += len(_VALUE_END)
                continue
            tag = _PARAMETER.match(self.text, self.position)
            if tag is not None:
                key = tag.group(2)
                if key in self.given:
                    self._give_up(f"The parameter {key[:60]!r} is given twice.")
                    return
                if tag.group(3) == "=":
                    self._repairs.append(Repair.NAME_VALUE)
                elif tag.group() != f"<parameter={key}>":
                    self._repairs.append(Repair.TAG)
                if self._line_indent(tag.start()):
                    self._repairs.append(Repair.INDENTED)
                value = self._value(tag.end(), key)
                empty = key if value.text == "" and self.text.startswith(_VALUE_END, tag.end()) else None
            elif empty is not None:
                key, empty = empty, None
                value = self._value_after_tag()
            elif _FUNCTION_END.startswith(self.text[self.position : self.position + len(_FUNCTION_END)]):
                self.position = len(self.text)  # cut inside the closing tag
                return
            else:
                stray = self.text[self.position : self.position + 60]
                self._give_up(f"Only <parameter=NAME> or </function> can follow a parameter, not {stray!r}.")
                return
            self.given[key] = value.text
            self._repairs.extend(value.repairs)
            self.position = value.next

    def _close(self, tagged: bool) -> None:
        """Reads what closes the call, as far as it is there."""
        closed = self._at(_FUNCTION_END)
        end = self.position + len(_FUNCTION_END) if closed else self.position
        after = self._skip(end)
        whole = self.text.startswith(_CALL_END, after)
        end = after + len(_CALL_END) if whole else end
        if not closed or (tagged and not whole):
            self._repairs.append(Repair.CLOSER if self.given or closed else Repair.VALUE_CUT)
        if not tagged and whole:
            self._repairs.append(Repair.OPENER)
        while self.text.startswith((_CALL_END, _FUNCTION_END), after := self._skip(end)):
            self._repairs.append(Repair.DOUBLED_CLOSER)
            end = self.text.index(">", after) + 1
        if self._repairs and any(_TAG.search(value) for value in self.given.values()):
            self._repairs.append(Repair.AMBIGUOUS)
        if not closed and not self._ends_turn(after):
            self._repairs.append(Repair.LEFT_OVER)
        self.position = after + len(_TEXT_END) if self.text.startswith(_TEXT_END, after) else end

    def _value(self, start: int, key: str) -> _Value:
        """The value that begins at `start`, behind its tag."""
        block = self.text.startswith("\n", start)
        nest = _Nest()
        for match in _TAG.finditer(self.text, start):
            tag, at, end = match.group(), match.start(), match.end()
            if tag.startswith("<function"):
                if self.nested and self._is_live(at):
                    nest.enter()
            elif nest.holds(tag):
                continue
            elif tag == _VALUE_END:
                if value := self._closed(start, at, end, block):
                    return value
            elif (certain := self._ends_open_value(tag, at, end, block, key)) is not None:
                repair = Repair.CLOSER if certain else Repair.OPEN_VALUE
                return _Value(self._stripped(start, at), at, (repair,))
        return _Value(self._stripped(start, len(self.text)), len(self.text), (Repair.VALUE_CUT,))

    def _closed(self, start: int, at: int, end: int, block: bool) -> _Value | None:
        """The value that ends at the `</parameter>` from `at` to `end`, if it does."""
        if not block and at == start:
            return _Value("", end)
        after = self._skip(end)
        if not self._is_structure(after):
            return None
        own_line = self._begins_line(at)
        repairs = list[Repair]()
        body_end = at
        if block and not own_line:
            repairs.append(Repair.CLOSER_IN_LINE)
        elif indent := own_line and self._line_indent(at):
            repairs.append(Repair.INDENTED)
            body_end = at - indent
        if after == end and not self._ends_turn(after):
            repairs.append(Repair.ONE_LINE)
        if repairs and self.text.startswith(_VALUE_END, after):
            repairs.append(Repair.LEFT_OVER)
        return _Value(self._stripped(start, body_end), end, tuple(repairs))

    def _ends_open_value(self, tag: str, at: int, end: int, block: bool, key: str) -> bool | None:
        """Whether it is certain that this tag ends a value that was never closed; None where it does not end it."""
        if block and not self._begins_line(at):
            return None
        if tag.startswith("<parameter"):
            parameter = _PARAMETER.match(self.text, at)
            name = parameter.group(2) if parameter else ""
            return False if name and name not in self.given and self._declares(name, key) else None
        if tag == _CALL_TAG:
            return False if not self.nested and self._begins_call(at) else None
        after = self._skip(end)
        if tag == _FUNCTION_END and self.text.startswith(_CALL_END, after):
            after = self._skip(after + len(_CALL_END))
            return self._ends_turn(after)
        if self._ends_turn(after):
            return True
        return False if self.text.startswith(_CALL_TAG, after) else None

    def _declares(self, name: str, key: str) -> bool:
        spec = self.tools.by_name.get(self.draft.tool)
        return name != key and (spec is None or any(parameter.name == name for parameter in spec.parameters))

    def _is_structure(self, position: int) -> bool:
        """Whether what stands at `position` may follow a parameter."""
        if self._ends_turn(position) or self._begins_call(position):
            return True
        if self.text.startswith((_FUNCTION_END, _CALL_END, _VALUE_END, "<parameter=", "<parameter "), position):
            return True
        rest = self.text[position : position + len(_FUNCTION_END)]
        return position + len(rest) == len(self.text) and _FUNCTION_END.startswith(rest)

    def _ends_turn(self, position: int) -> bool:
        return position >= len(self.text) or self.text.startswith(_TURN_ENDS, position)

    def _begins_call(self, position: int) -> bool:
        """Whether a call of a known tool begins at `position`."""
        tagged = self.text.startswith(_CALL_TAG, position)
        function = _FUNCTION.match(self.text, self._skip(position + len(_CALL_TAG)) if tagged else position)
        return function is not None and function.group(2).strip() in self.tools.by_name

    def _is_live(self, position: int) -> bool:
        """Whether the function tag at `position` begins a call, not just a text that has its characters."""
        function = _FUNCTION.match(self.text, position)
        if function is None:
            return False
        return self.text.startswith(("<parameter=", _FUNCTION_END), self._skip(function.end()))

    def _value_after_tag(self) -> _Value:
        """A value that stands behind its closed, empty tag."""
        match = _TAG.search(self.text, self.position)
        end = match.start() if match else len(self.text)
        next_ = match.end() if match and match.group() == _VALUE_END else end
        repairs = (Repair.EMPTY_TAG,) if match else (Repair.EMPTY_TAG, Repair.VALUE_CUT)
        return _Value(self.text[self.position : end].removesuffix("\n"), next_, repairs)

    def _stripped(self, start: int, end: int) -> str:
        return self.text[start:end].removeprefix("\n").removesuffix("\n")

    def _at(self, *tags: str) -> bool:
        return self.text.startswith(tags, self.position)

    def _skip(self, position: int) -> int:
        match = _SPACE.match(self.text, position)
        return match.end() if match else position

    def _line_indent(self, at: int) -> int:
        """How many spaces stand between the line's beginning and `at`; 0 where anything else does."""
        begin = at
        while begin > 0 and self.text[begin - 1] in " \t":
            begin -= 1
        return at - begin if begin == 0 or self.text[begin - 1] == "\n" else 0

    def _begins_line(self, at: int) -> bool:
        return at == 0 or self.text[at - 1] == "\n" or self._line_indent(at) > 0
