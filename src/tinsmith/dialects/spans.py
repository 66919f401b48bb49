"""Text and control tokens as a sequence of spans, and the one place where spans become token ids.

Only two kinds of span exist. A `Control` names a token of the vocabulary by its text and becomes exactly that id. A `Text`
may hold anything at all (repository files, issues, tool output, our own words) and can never become a reserved id: where a
reserved token's text occurs in it, the text is cut inside that occurrence and the pieces are tokenised apart. So whoever
writes `<|im_end|>` into a source file gets those characters into the prompt, and nothing else.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


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


class ReservedIdError(AssertionError):
    """Text produced a reserved id: the encoder is broken. Never caught."""


class Encoder:
    """Turns spans into token ids.

    `tokenize` must not parse control tokens (it may still produce user-defined ones, as most tokenizers do).
    `reserved` maps the text of every control token and every user-defined delimiter of the vocabulary to its id.
    """

    def __init__(self, tokenize: Callable[[str], list[int]], reserved: Mapping[str, int]) -> None:
        self._tokenize = tokenize
        self._reserved = dict(reserved)
        self.reserved_ids = frozenset(reserved.values())
        # The longest first, so that the cut falls inside the token that the tokenizer would have taken.
        names = sorted((name for name in reserved if len(name) > 1), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, names))) if names else None

    def encode(self, spans: Spans) -> list[int]:
        """The ids of `spans`, one span after the other. Raises KeyError for a control token the vocabulary lacks."""
        ids: list[int] = []
        for span in spans:
            if isinstance(span, Control):
                ids.append(self._reserved[span.text])
            else:
                ids.extend(self.encode_text(span.text))
        return ids

    def encode_text(self, text: str) -> list[int]:
        """The ids of ordinary text, free of reserved ids."""
        ids = [token for piece in self._pieces(text) for token in self._tokenize(piece)]
        if not self.reserved_ids.isdisjoint(ids):
            raise ReservedIdError(f"text of {len(text)} characters produced a reserved id")
        return ids

    def encode_control(self, text: str) -> int:
        """The id of a control token or delimiter. Raises KeyError for one the vocabulary lacks."""
        return self._reserved[text]

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
