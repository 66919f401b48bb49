"""Which splices give a valid, different program."""

import ast
import io
import tokenize
import warnings
from dataclasses import dataclass

from tinsmith.tasks.mutation.file import File, Splice


@dataclass(frozen=True)
class Mutation:
    """A bug in one line: `line` counts from 1, `before` and `after` are the full line without its newline."""

    line: int
    before: str
    after: str
    kind: str

    def apply(self, source: str) -> str:
        """The file with the bug in it."""
        lines = source.split("\n")
        lines[self.line - 1] = self.after
        return "\n".join(lines)


class Checker:
    """Decides whether a splice gives a valid, different program; keeps what it decided."""

    def __init__(self, file: File, first: int, last: int) -> None:
        self.file = file
        self.first, self.last = _enclosing(file.tree, first, last)
        body = file.lines[self.first - 1 : self.last]
        self.body = body
        text = body[0] if body else ""
        self.indented = bool(text[:1].isspace())

    def mutation(self, splice: Splice) -> Mutation | None:
        raw = self.file.raw[splice.line - 1]
        before = self.file.lines[splice.line - 1]
        after = (raw[: splice.start] + splice.new.encode() + raw[splice.end :]).decode().rstrip()
        if not after.strip() or _tokens(before) == _tokens(after):
            return None
        lines = list(self.body)
        lines[splice.line - self.first] = after
        text = "\n".join(lines)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # `if 1:` takes any indentation, and compiling (not only parsing) finds a
                # `break` outside a loop.
                compile(
                    f"if 1:\n{text}\n" if self.indented else text,
                    "<mutant>",
                    "exec",
                    dont_inherit=True,
                    optimize=0,
                )
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
        return Mutation(splice.line, before, after, splice.kind)


def _enclosing(tree: ast.Module, first: int, last: int) -> tuple[int, int]:
    """Lines of the innermost definition that contains the lines, or of the whole file."""
    best = (1, max((node.end_lineno or 1 for node in tree.body), default=1))
    nodes: list[ast.stmt] = list(tree.body)
    while nodes:
        node = nodes.pop()
        start = min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", []))])
        end = node.end_lineno or node.lineno
        if not (start <= first and last <= end):
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            best = (start, end)
        for name in ("body", "orelse", "finalbody", "handlers"):
            for child in getattr(node, name, ()):
                nodes.append(child)
    return best


def _tokens(line: str) -> list[str]:
    """The line's tokens without spaces and comments; where it is no whole line of tokens, its characters
    without spaces.
    """
    try:
        found = [
            token.string
            for token in tokenize.generate_tokens(io.StringIO(line.strip()).readline)
            if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER)
        ]
    except (tokenize.TokenError, IndentationError, SyntaxError):
        return list("".join(line.split()))
    return found
