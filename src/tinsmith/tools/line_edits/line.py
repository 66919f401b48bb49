"""One line as bytes, and splices at the positions of its syntax nodes."""

import ast

from tinsmith.tools.line_edits.scope import Scope
from tinsmith.tools.line_edits.source import Unit
from tinsmith.tools.line_edits.tables import MAX_EXPRESSIONS, MAX_NAMES


class Line:
    """Collects splices of one line, each with a rank: the lower, the more often such an edit is the fix."""

    def __init__(self, text: str, number: int, unit: Unit, scope: Scope) -> None:
        self.raw = text.encode()
        self.number = number
        self.unit = unit
        self.scope = scope
        self.names = scope.near(number, MAX_NAMES)
        self.values = scope.nearest(scope.values, number, MAX_EXPRESSIONS)
        self.tests = scope.nearest(scope.tests, number, MAX_EXPRESSIONS)
        self.found: list[list[str]] = [[], [], [], []]

    def span(self, node: ast.AST) -> tuple[int, int] | None:
        """Byte offsets of a node that lies wholly inside the line."""
        if getattr(node, "lineno", None) != self.number or getattr(node, "end_lineno", None) != self.number:
            return None
        start: int = node.col_offset  # type: ignore[attr-defined]
        end: int = node.end_col_offset  # type: ignore[attr-defined]
        return start, end

    def text(self, span: tuple[int, int]) -> str:
        return self.raw[span[0] : span[1]].decode()

    def outer(self, span: tuple[int, int], bounds: tuple[int, int]) -> tuple[int, int]:
        """`span` with the parentheses around it that lie within `bounds`."""
        start, end = span
        while True:
            left, right = start, end
            while left > bounds[0] and self.raw[left - 1 : left].isspace():
                left -= 1
            while right < bounds[1] and self.raw[right : right + 1].isspace():
                right += 1
            if (
                left > bounds[0]
                and right < bounds[1]
                and self.raw[left - 1 : left] == b"("
                and self.raw[right : right + 1] == b")"
            ):
                start, end = left - 1, right + 1
            else:
                return start, end

    def gap(self, left: ast.AST, right: ast.AST, parent: tuple[int, int]) -> tuple[int, int] | None:
        """Where the operator between two operands stands, without spaces."""
        one, two = self.span(left), self.span(right)
        if one is None or two is None:
            return None
        start, end = self.outer(one, parent)[1], self.outer(two, parent)[0]
        while start < end and self.raw[start : start + 1].isspace():
            start += 1
        while end > start and self.raw[end - 1 : end].isspace():
            end -= 1
        return (start, end) if end > start else None

    def put(self, rank: int, span: tuple[int, int], new: str) -> None:
        self.found[rank].append((self.raw[: span[0]] + new.encode() + self.raw[span[1] :]).decode())

    def swap(self, rank: int, one: tuple[int, int], two: tuple[int, int]) -> None:
        between = self.text((one[1], two[0]))
        self.put(rank, (one[0], two[1]), self.text(two) + between + self.text(one))

    def keyword(self, word: str, start: int) -> tuple[int, int] | None:
        """The span of the keyword that stands at byte `start`."""
        end = start + len(word)
        return (start, end) if self.raw[start:end] == word.encode() else None
