"""A parsed file and splices at the positions of its syntax nodes."""

import ast
import warnings
from dataclasses import dataclass

from tinsmith.errors import InputError


@dataclass(frozen=True)
class Splice:
    """`new` in place of the bytes `start` to `end` of a line: a bug of `kind`, not yet checked."""

    line: int
    start: int
    end: int
    new: str
    kind: str


class File:
    """A parsed file, and the splices found so far that would plant a bug in it."""

    def __init__(self, source: str) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.tree = ast.parse(source)
        except (SyntaxError, ValueError) as error:
            raise InputError(
                "source-invalid", f"The file does not parse: {error}", "Give a file that parses."
            ) from error
        self.lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self.raw = [line.encode() for line in self.lines]
        self.found: list[Splice] = []

    def span(self, node: ast.AST | None) -> tuple[int, int, int] | None:
        line: int | None = getattr(node, "lineno", None)
        if node is None or line is None or getattr(node, "end_lineno", None) != line:
            return None
        start: int = node.col_offset  # type: ignore[attr-defined]
        end: int = node.end_col_offset  # type: ignore[attr-defined]
        return line, start, end

    def text(self, node: ast.AST) -> str | None:
        span = self.span(node)
        return self.raw[span[0] - 1][span[1] : span[2]].decode() if span is not None else None

    def put(self, kind: str, span: tuple[int, int, int] | None, new: str) -> None:
        if span is not None:
            self.found.append(Splice(span[0], span[1], span[2], new, kind))

    def replace(self, kind: str, node: ast.AST, new: str | None) -> None:
        if new is not None:
            self.put(kind, self.span(node), new)

    def operator(self, left: ast.AST, right: ast.AST, text: str) -> tuple[int, int, int] | None:
        """Where the operator `text` stands between two operands of one line."""
        one, two = self.span(left), self.span(right)
        if one is None or two is None or one[0] != two[0]:
            return None
        between = self.raw[one[0] - 1][one[2] : two[1]]
        bare = between.strip(b" ()")
        if bare != text.encode():
            return None
        start = one[2] + between.index(bare)
        return one[0], start, start + len(bare)

    def cut(self, kind: str, items: list[ast.AST], index: int) -> None:
        """One item of a comma-separated list removed, where the neighbours are on the same line and
        unparenthesised.
        """
        span = self.span(items[index])
        if span is None:
            return
        if len(items) == 1:
            self.put(kind, span, "")
        elif index:
            before = self.span(items[index - 1])
            if (
                before is not None
                and before[0] == span[0]
                and self.raw[span[0] - 1][before[2] : span[1]].strip(b" ") == b","
            ):
                self.put(kind, (span[0], before[2], span[2]), "")
        else:
            after = self.span(items[1])
            if (
                after is not None
                and after[0] == span[0]
                and self.raw[span[0] - 1][span[2] : after[1]].strip(b" ") == b","
            ):
                self.put(kind, (span[0], span[1], after[1]), "")

    def exchange(self, kind: str, one: ast.AST, two: ast.AST) -> None:
        first, second = self.span(one), self.span(two)
        if first is None or second is None or first[0] != second[0] or first[2] > second[1]:
            return
        raw = self.raw[first[0] - 1]
        middle = raw[first[2] : second[1]]
        if b"(" in middle or b")" in middle:
            return
        new = raw[second[1] : second[2]] + middle + raw[first[1] : first[2]]
        self.put(kind, (first[0], first[1], second[2]), new.decode())
