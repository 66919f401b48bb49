"""Stages without a model: what a model could write is drawn at random, from what each stage says may be written."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

from tinsmith.agent import Tools, WindowFull, write_arguments
from tinsmith.dialects import Call, Dialect, Spans, ToolSpec
from tinsmith.engines import JsonString, Until, can_end

SYNTAX = (
    *("\n", "</parameter>", "\n</parameter>\n", "</parameter>\n", "</function>", "<parameter=a>\n"),
    *("<function=bash>\n", "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<|im_start|>"),
    *("<|im_end|>", "<think>", "</think>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[INST]", "[/INST]"),
    *("[TOOL_RESULTS]", "[TOOL_CONTENT]", "<s>", "</s>", '"', '", "', '"}', '"}]', '": ', "{", "}", "[", "]"),
    *(", ", ": ", "\\", '\\"', "'", "null", "true", "0", "-1"),
)
"""Text that looks like the syntax around it."""
WORDS = (
    *("x", "a.py", "def f(x):", "    return x", " ", "\t", "\r", "\r\n", "\x7f", "\x01", "\x1b", "\u00a0", "\u2028"),
    *("\u2029", "é", "e\u0301", "€", "😀", "👩\u200d👧", "日本語", "العربية", "\u202e", "\u200b", "\ufeff", "＜", "［"),
    *("＂", "﹤", "ǁ", "\U0010ffff"),
)
_ESCAPES = (
    *('\\"', "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t", "\\u0041", "\\u00e9", "\\u2028", "\\uFFFF"),
    "\\u0001",
)
_JSON_TEXTS = tuple(part for part in (*SYNTAX, *WORDS) if not set(part) & {'"', "\\"} and min(part) >= " ")
_MOST_UNITS = 40


class FakeStages:
    """`Stages` that draw. `text` is all that was written; a token is up to three bytes of it, at least one a piece."""

    def __init__(self, draw: random.Random, window: int = 100_000) -> None:
        self.text = ""
        self._draw = draw
        self.left = window

    def literal(self, text: str) -> None:
        """See `Stages`."""
        self._append(text)

    def choose(self, texts: Sequence[str], follow: Spans = ()) -> str:
        """See `Stages`. Fails where what comes next could not tell two of `texts` apart."""
        assert texts and len(set(texts)) == len(texts), texts
        if len(texts) > 1:
            self.room()
        for short, long in itertools.pairwise(sorted(texts)):
            if long.startswith(short):
                rest = long[len(short) :]
                after = [span.text for span in follow]
                assert after, f"{short!r} and {long!r}, and nothing tells them apart"
                assert not any(rest.startswith(each) or each.startswith(rest) for each in after), (short, long, after)
        return self._append(self._draw.choice(texts))

    def free(self, grammar: Until | JsonString, limit: int, abort: str) -> str:
        """See `Stages`."""
        limit = min(limit, self.room())
        whole = self._until(grammar) if isinstance(grammar, Until) else self._string(grammar, limit)
        if isinstance(grammar, Until) and grammar.end in whole:
            whole = whole[: whole.index(grammar.end)]
        if len((whole + grammar.end).encode()) <= 3 * limit and self._may_end(grammar, whole):
            return self._append(whole + grammar.end)
        while len(whole.encode()) > 3 * limit or not can_end(grammar, whole):
            whole = whole[:-1]
        return self._append(whole + abort)

    def room(self) -> int:
        """See `Stages`."""
        if self.left < 1:
            raise WindowFull("the drawn window is full")
        return self.left

    def _append(self, text: str) -> str:
        self.text += text
        self.left -= max(1, -(-len(text.encode()) // 3)) if text else 0
        return text

    def _until(self, grammar: Until) -> str:
        parts = (*SYNTAX, *WORDS, grammar.end[:-1], grammar.end[1:], grammar.end)
        return "".join(self._draw.choices(parts, k=self._draw.randint(0, 8)))

    def _string(self, grammar: JsonString, limit: int) -> str:
        units = self._draw.randint(0, min(limit, _MOST_UNITS))
        if self._draw.random() < 0.5:
            units = max(units, min(grammar.least, limit))
        written = ""
        for _ in range(units):
            part = self._draw.choice(_ESCAPES if self._draw.random() < 0.3 else _JSON_TEXTS)
            if grammar.most is not None and _characters(written + part) > grammar.most:
                break
            written += part
        if self._draw.random() < 0.2:  # the limit comes inside of an escape
            written = written[: self._draw.randint(0, len(written))]
        return written

    def _may_end(self, grammar: Until | JsonString, written: str) -> bool:
        """Whether the model can end it there and, as it is drawn, does."""
        long_enough = isinstance(grammar, Until) or _characters(written) >= grammar.least
        return long_enough and can_end(grammar, written) and self._draw.random() < 0.8


def _characters(written: str) -> int:
    """Of a JSON string whose body is `written`; an escape at its end may be cut."""
    count, place = 0, 0
    while place < len(written):
        place += 1 if written[place] != "\\" else 6 if written[place + 1 : place + 2] == "u" else 2
        count += 1
    return count


@dataclass(frozen=True)
class Sampled:
    """A call and the text that it was written as, from its opener to the end of the turn."""

    call: Call
    text: str
    spec: ToolSpec


def sample_call(
    draw: random.Random, dialect: Dialect, tools: Tools, tool: str = "", window: int = 100_000, number: int = 0
) -> Sampled:
    """A call of `tool`, or of a drawn one, written in stages as `agent.CallWriter` writes it."""
    stages = FakeStages(draw, window)
    names = {dialect.tool_literal(name): name for name in ([tool] if tool else tools.available())}
    stages.literal(dialect.call_opener() + _text(dialect.tool_start()))
    name = names[stages.choose(list(names), dialect.tool_follow())]
    stages.literal(_text(dialect.arguments_start(number)))
    spec = next(spec for spec in tools.specs if spec.name == name)
    call = write_arguments(stages, dialect, tools, spec)
    stages.literal(_text(dialect.call_end(number)))
    return Sampled(call, stages.text, spec)


def _text(spans: Spans) -> str:
    return "".join(span.text for span in spans)
