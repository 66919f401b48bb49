"""Text and control tokens as a sequence of spans, and the one place where spans become token ids.

Only two kinds of span exist. A `Control` names a token of the vocabulary by its text and becomes exactly
that id. A `Text` may hold anything at all (repository files, issues, tool output, our own words) and can
never become a reserved id: where a reserved token's text occurs in it, the text is cut inside that
occurrence and the pieces are tokenised apart. So whoever writes `<|im_end|>` into a source file gets those
characters into the prompt, and nothing else.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice


@dataclass(frozen=True)
class Control:
    """A control token or delimiter, by its text in the vocabulary."""

    text: str


@dataclass(frozen=True)
class Text:
    """Ordinary text; none of its ids will be a reserved one."""

    text: str


Span = Control | Text
Spans = Sequence[Span]


def joined(spans: Iterable[Span]) -> list[Span]:
    """The same with neighbouring texts as one: tokenised together, as a whole prompt is."""
    found: list[Span] = []
    for span in spans:
        if found and isinstance(span, Text) and isinstance(found[-1], Text):
            found[-1] = Text(found[-1].text + span.text)
        elif span.text:
            found.append(span)
    return found


def with_controls(text: str, controls: Collection[str]) -> list[Span]:
    """Our own text, in which the texts of `controls` are control tokens. Never for text that is not ours."""
    names = "|".join(map(re.escape, sorted(filter(None, controls), key=len, reverse=True)))
    if not names:
        return [Text(text)] if text else []
    parts = re.split(f"({names})", text)
    return [Control(part) if at % 2 else Text(part) for at, part in enumerate(parts) if part]


_SHORT = 64
"""Texts up to this length (syntax, paths, numbers) are tokenised once."""


class ReservedIdError(AssertionError):
    """Text produced a reserved id: the encoder is broken. Never caught."""


class Encoder:
    """Turns spans into token ids.

    `tokenize` must not parse control tokens (it may still produce user-defined ones, as most tokenizers do).
    `reserved` maps the text of every control token and every user-defined delimiter of the vocabulary to its
    id. `tokenize_all` does the same to many texts at once, where the tokenizer can.
    """

    def __init__(
        self,
        tokenize: Callable[[str], list[int]],
        reserved: Mapping[str, int],
        tokenize_all: Callable[[Sequence[str]], list[list[int]]] | None = None,
    ) -> None:
        self._tokenize = tokenize
        self._tokenize_all = tokenize_all
        self._known: dict[str, list[int]] = {}
        self._reserved = dict(reserved)
        self.reserved_ids = frozenset(reserved.values())
        # The longest first, so that the cut falls inside the token that the tokenizer would have taken.
        names = sorted((name for name in reserved if len(name) > 1), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, names))) if names else None

    def encode(self, spans: Spans) -> list[int]:
        """The ids of `spans`. Raises KeyError for a control token that the vocabulary lacks."""
        ids: list[int] = []
        for span in spans:
            if isinstance(span, Control):
                ids.append(self._reserved[span.text])
            else:
                ids.extend(self.encode_text(span.text))
        return ids

    def encode_text(self, text: str) -> list[int]:
        """The ids of ordinary text, free of reserved ids."""
        if (known := self._known.get(text)) is not None:
            return known
        ids = self._checked(text, map(self._tokenize, self._pieces(text)))
        if len(text) <= _SHORT:
            self._known[text] = ids
        return ids

    def count(self, text: str) -> int:
        """How many ids `encode_text` makes of `text`."""
        return len(self.encode_text(text))

    def prime(self, texts: Sequence[str]) -> None:
        """Tokenises many texts in one request, where that can be; `encode` then knows their ids."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if self._tokenize_all is None or len(new) < 2:
            return
        pieces = [self._pieces(text) for text in new]
        found = iter(self._tokenize_all([piece for each in pieces for piece in each]))
        for text, each in zip(new, pieces, strict=True):
            self._known[text] = self._checked(text, islice(found, len(each)))

    def encode_control(self, text: str) -> int:
        """The id of a control token or delimiter. Raises KeyError for one the vocabulary lacks."""
        return self._reserved[text]

    def _checked(self, text: str, pieces: Iterable[list[int]]) -> list[int]:
        ids = [token for piece in pieces for token in piece]
        if not self.reserved_ids.isdisjoint(ids):
            raise ReservedIdError(f"text of {len(text)} characters produced a reserved id")
        return ids

    def _pieces(self, text: str) -> list[str]:
        if not text:
            return []
        if self._pattern is None:
            return [text]
        pieces: list[str] = []
        start = 0
        position = 0
        while match := self._pattern.search(text, position):
            cut = match.start() + 1
            pieces.append(text[start:cut])
            start = position = cut  # occurrences that overlap this one are found too
        pieces.append(text[start:])
        return pieces
