"""Text and control tokens as a sequence of spans, and the one place where spans become token ids.

Only two kinds of span exist. A `Control` names a token of the vocabulary by its text and becomes exactly
that id. A `Text` may hold anything at all (repository files, issues, tool output, our own words) and can
never become a reserved id: where a reserved token's text occurs in it, the text is cut inside that
occurrence and the pieces are tokenised apart. So whoever writes `<|im_end|>` into a source file gets those
characters into the prompt, and nothing else.
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


_SHORT = 64
"""Texts up to this length (syntax, paths, numbers) are tokenised once."""


class ReservedIdError(AssertionError):
    """Text produced a reserved id: the encoder is broken. Never caught."""


class Encoder:
    """Turns spans into token ids.

    `tokenize` must not parse control tokens (it may still produce user-defined ones, as most tokenizers do).
    `reserved` maps the text of every control token and every user-defined delimiter of the vocabulary to its
    id.
    """

    def __init__(
        self,
        tokenize: Callable[[str], list[int]],
        reserved: Mapping[str, int],
        ends_line: Callable[[int], bool] = lambda token: False,
    ) -> None:
        self._tokenize = tokenize
        self._ends_line = ends_line
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
        ids = [token for piece in self._pieces(text) for token in self._tokenize(piece)]
        if not self.reserved_ids.isdisjoint(ids):
            raise ReservedIdError(f"text of {len(text)} characters produced a reserved id")
        if len(text) <= _SHORT:
            self._known[text] = ids
        return ids

    def count(self, text: str) -> int:
        """How many ids `encode_text` makes of `text`."""
        return len(self.encode_text(text))

    def prime(self, lines: Sequence[str]) -> None:
        """Tokenises many one-line texts, each with its newline, in one request; `encode` then knows their ids.

        A tokenizer that ends a token at every newline cuts the joined text at the same places as each line alone. Where
        the tokens do not show that (`ends_line` of their ids), the lines are left to be encoded one by one.
        """
        lines = [line for line in dict.fromkeys(lines) if line.strip() and len(self._pieces(line)) == 1]
        ids = self._tokenize("".join(lines))
        cut: list[list[int]] = [[]]
        for token in ids:
            cut[-1].append(token)
            if self._ends_line(token):
                cut.append([])
        if len(cut) == len(lines) + 1 and not cut[-1] and self.reserved_ids.isdisjoint(ids):
            self._known.update(zip(lines, cut, strict=False))

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
