"""A parsed file: the statement a line belongs to, what completes that to something that parses, its scope."""

import ast
import warnings
from dataclasses import dataclass
from functools import lru_cache

from tinsmith.errors import InputError
from tinsmith.tools.line_edits.scope import Scope, read_scope
from tinsmith.tools.line_edits.syntax import FUNCTION, blocks, child_at, first_line, last_line, without_else

_LOOP = (ast.For, ast.AsyncFor, ast.While)


@dataclass(frozen=True)
class Unit:
    """The lines that decide whether an edit parses: a simple statement, or the header of a compound one.

    `first` and `last` are 1-based lines of the file; `before` and `after` complete them to something that
    parses alone; `clipped` characters go from the start of the first line (`elif` is checked as `if`).
    """

    node: ast.AST
    first: int
    last: int
    before: str
    after: str
    clipped: int
    elif_possible: bool
    in_loop: bool


class Module:
    """A parsed file with the look-ups that edits of its lines need."""

    def __init__(self, source: str) -> None:
        try:
            self.tree = ast.parse(source)
        except (SyntaxError, ValueError) as error:
            raise InputError(
                "source-invalid", f"The file does not parse: {error}", "Give a file that parses."
            ) from error
        # Python's line ends only: form feeds and the like do not end a line for the parser.
        self.lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._scopes: dict[tuple[int, int], Scope] = {}

    def locate(self, line: int) -> tuple[Unit, list[ast.AST]] | None:
        """The unit that `line` belongs to and its chain of enclosing nodes, outermost first."""
        chain: list[ast.AST] = [self.tree]
        node: ast.AST = self.tree
        found: tuple[ast.AST, ast.AST | None] | None = None
        while True:
            inner = child_at(node, line)
            # A body on the line of its header (`if x: return y`) is edited together with it.
            if inner is None or (isinstance(node, ast.stmt) and first_line(inner[1]) == node.lineno == line):
                break
            previous, node = inner
            chain.append(node)
            found = (node, previous)
        if found is None:
            return None
        unit = self._unit(found[0], found[1], chain, line)
        return (unit, chain) if unit is not None else None

    def _unit(self, node: ast.AST, previous: ast.AST | None, chain: list[ast.AST], line: int) -> Unit | None:
        first, last = first_line(node), last_line(node)
        before = after = ""
        clipped = 0
        if isinstance(node, ast.ExceptHandler):
            before = "try:\n pass\n"
        elif isinstance(node, ast.match_case):
            before = "match _:\n"
        body = blocks(node)
        if body:
            start = min(first_line(child) for child in body)
            if start > first:
                last = start - 1
            after = "  pass\n"
        if not first <= line <= last:
            return None
        if isinstance(node, ast.If) and self.lines[first - 1].lstrip().startswith("elif"):
            clipped = 2
        if body and last >= first_line(body[0]):
            after = ""
        if isinstance(node, ast.Try) or (hasattr(ast, "TryStar") and isinstance(node, ast.TryStar)):
            after = "  pass\nfinally: pass\n"
        elif isinstance(node, ast.Match):
            after = "  case _: pass\n"
        loops = False
        for outer in chain[:-1]:
            if isinstance(outer, _LOOP):
                loops = True
            elif isinstance(outer, (*FUNCTION, ast.ClassDef)):
                loops = False
        return Unit(
            node=node,
            first=first,
            last=last,
            before=before,
            after=after,
            clipped=clipped,
            elif_possible=isinstance(previous, ast.If) and not clipped and without_else(previous),
            in_loop=loops,
        )

    def scope(self, chain: list[ast.AST]) -> Scope:
        function: ast.AST | None = None
        owner: ast.ClassDef | None = None
        for node in chain:
            if isinstance(node, FUNCTION):
                function = node
            elif isinstance(node, ast.ClassDef):
                owner = node
        place = function or chain[1]
        key = (id(place), id(owner))
        if key not in self._scopes:
            self._scopes[key] = read_scope(place, owner, self.tree, self.lines)
        return self._scopes[key]


@lru_cache(maxsize=16)
def parsed(source: str) -> Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Module(source)
