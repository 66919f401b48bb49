"""Where a call may begin: patterns that also know what text might still become one of them.

An opening is a sequence of pieces. Two expressions are made of it: one that matches it whole, and one that matches its
proper beginnings at the end of the text so far. So a stream holds back exactly what may become a call. All repetitions
are bounded, so both are linear.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tinsmith.dialects.tolerant.catalogue import Tools
from tinsmith.dialects.tolerant.marked_json import MARKS

LINE = r"(?<![^\n])"
"""Nothing but the beginning of a line stands before."""
WORD = r"(?<!\w)"


@dataclass(frozen=True)
class OneOf:
    """One of these texts; the first that fits."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """Characters of a class of a regular expression, `least` to `most` of them."""

    characters: str
    most: int
    least: int = 0


Piece = str | OneOf | Run

BLANK = Run(r"\s", 64)
_INDENT = Run(r"[ \t]", 32)
_QUOTE = OneOf(('"', "'"))


@dataclass(frozen=True)
class Opening:
    """`kind` says who reads what begins here; `after`: a look at the character before."""

    kind: str
    pieces: tuple[Piece, ...]
    after: str = ""

    def longest(self) -> int:
        """Characters that it has at most."""
        return sum(map(_longest, self.pieces))

    def whole(self) -> str:
        """An expression for the opening."""
        return self.after + "".join(map(_whole, self.pieces))

    def begun(self) -> str:
        """An expression for its beginnings where the text ends."""
        ways = [
            "".join(map(_whole, self.pieces[:place])) + begins
            for place, piece in enumerate(self.pieces)
            if (begins := _begins(piece, place > 0))
        ]
        return rf"{self.after}(?:{'|'.join(ways)})\Z"


def _longest(piece: Piece) -> int:
    if isinstance(piece, Run):
        return piece.most
    return max(map(len, (piece,) if isinstance(piece, str) else piece.texts))


def _whole(piece: Piece) -> str:
    if isinstance(piece, str):
        return re.escape(piece)
    if isinstance(piece, OneOf):
        return f"(?:{'|'.join(map(re.escape, piece.texts))})"
    return f"{piece.characters}{{{piece.least},{piece.most}}}"


def _begins(piece: Piece, may_be_empty: bool) -> str:
    if isinstance(piece, Run):
        return "" if not piece.least else f"{piece.characters}{{0,{piece.least - 1}}}" * may_be_empty
    texts = (piece,) if isinstance(piece, str) else piece.texts
    beginnings = {text[:length] for text in texts for length in range(1, len(text))}
    ordered = sorted(map(re.escape, beginnings), key=len, reverse=True) + [""] * may_be_empty
    return f"(?:{'|'.join(ordered)})" if ordered else ""


class Openings:
    """All openings in one search. A match's `lastgroup` names its kind with a number behind: see `kind_of`."""

    def __init__(self, openings: Sequence[Opening]) -> None:
        # An empty choice fits everywhere, so an opening without tools to name is left out.
        openings = [opening for opening in openings if OneOf(()) not in opening.pieces]
        self.whole = re.compile("|".join(f"(?P<{each.kind}_{n}>{each.whole()})" for n, each in enumerate(openings)))
        self._longest = max(map(Opening.longest, openings))
        self._begun = re.compile("|".join(each.begun() for each in openings))

    def hold(self, text: str, start: int) -> int:
        """From where on `text` might still become an opening; its length where nothing can."""
        match = self._begun.search(text, max(start, len(text) - self._longest))
        return match.start() if match else len(text)


def kind_of(match: re.Match[str]) -> str:
    """The kind of the opening that was found."""
    return (match.lastgroup or "").rpartition("_")[0]


def openings(tools: Tools) -> Openings:
    """Where calls, thinking and what is no text begin, for these tools."""
    own = (*_TAGS, *_MARKED)
    return Openings([*own, *_qwen(tools), *_mistral(tools), *_json(tools), *_HARMONY, *_orphans(tools)])


_TAGS = (
    Opening("think", (OneOf(("<think>", "[THINK]")),)),
    Opening("thought", (OneOf(("</think>", "[/THINK]")),)),
    Opening(
        "noise",
        (OneOf(("<|im_end|>", "<|endoftext|>", "<|im_start|>assistant", "<|call|>", "<|end|>", "<|return|>")),),
    ),
    Opening("invented", (OneOf(("<tool_response>", "<|im_start|>user", "[TOOL_RESULTS]", "[INST]")),)),
)

_MARKED = (
    Opening("marked", (OneOf(MARKS),)),
    Opening("glm", ("<tool_call>", BLANK, Run(r"[\w.\-]", 100, 1), BLANK, "<arg_key>")),
)


def _qwen(tools: Tools) -> Iterable[Opening]:
    names = OneOf(tools.names)
    yield Opening("tagged", ("<tool_call>", BLANK, OneOf(("<function", "{", "["))))
    yield Opening("tagged", (_INDENT, OneOf(("<tool_call>", "<tool_call "))), LINE)
    yield Opening("function", (_INDENT, "<function=", names, OneOf((">", "<", "\n", " "))), LINE)
    yield Opening("function", (_INDENT, OneOf(('<function name="', "<function name='")), names), LINE)
    yield Opening("function", ("<function=", names, ">", BLANK, "<parameter"))
    yield Opening("function", (_INDENT, "<function=", Run(r"[^>\n<]", 100, 1), ">", BLANK, "<parameter="), LINE)


def _mistral(tools: Tools) -> Iterable[Opening]:
    names = OneOf(tools.names)
    yield Opening("mistral", ("[TOOL_CALLS]", BLANK, OneOf(("[", "{"))))
    name = Run(r"[^\s\[\]{}<>\"']", 100, 1)
    yield Opening("mistral", ("[TOOL_CALLS]", BLANK, name, BLANK, OneOf(("[ARGS]", "[CALL_ID]", "{"))))
    yield Opening("mistral", ("[TOOL_CALLS]", BLANK, names))
    yield Opening("mistral", ("[TOOL_CALLS]",), LINE)
    # The tokens of control were dropped on the way: `name{"key"`, in v11 with the id in between.
    yield Opening("named", (names, "[ARGS]"), WORD)
    keys = OneOf(tools.keys)
    yield Opening(
        "named", (names, Run(r"[^\s{}\"'<>()=:,]", 16), Run(r"\s", 1), "{", BLANK, _QUOTE, keys, _QUOTE), WORD
    )


_ARGUMENTS = OneOf(("arguments", "parameters", "args", "input"))


def _json(tools: Tools) -> Iterable[Opening]:
    names = OneOf(tools.names)
    colon = (_QUOTE, BLANK, ":", BLANK)
    key = OneOf(("name", "function", "tool_name", "tool"))
    call = (_QUOTE, key, *colon, _QUOTE, names, _QUOTE, BLANK, ",", BLANK, _QUOTE, _ARGUMENTS, _QUOTE)
    yield Opening("json", (_INDENT, "{", BLANK, *call), LINE)
    yield Opening("json", (_INDENT, "[", BLANK, "{", BLANK, *call), LINE)
    wrapped = (_QUOTE, "function", *colon, "{", BLANK, *call)
    typed = (_QUOTE, "type", *colon, _QUOTE, "function", _QUOTE, BLANK, ",", BLANK)
    yield Opening("json", (_INDENT, "{", BLANK, *typed, *wrapped), LINE)
    yield Opening("json", (_INDENT, "{", BLANK, *wrapped), LINE)
    yield Opening("json", (_INDENT, "{", BLANK, _QUOTE, "tool_calls", *colon, "[", BLANK, "{"), LINE)


_HARMONY = (
    Opening("harmony", ("<|channel|>", Run(r"[^\n{<]", 60), "to=functions.")),
    Opening("harmony", ("<|start|>assistant", Run(r"[^\n{<]", 20), "to=functions.")),
    Opening("harmony", ("commentary", Run(r"[^\n{<]", 20), "to=functions."), WORD),
)


def _orphans(tools: Tools) -> Iterable[Opening]:
    """Parts of a call whose beginning is not there."""
    yield Opening("orphan", (_INDENT, OneOf(("</tool_call>", "</function>", "</parameter>"))), LINE)
    yield Opening("orphan", (_INDENT, "<parameter=", OneOf(tools.keys), OneOf((">", "="))), LINE)
    yield Opening("orphan", (_INDENT, "[ARGS]"), LINE)
