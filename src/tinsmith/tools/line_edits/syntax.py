"""Where statements begin and end, and what of them is a header."""

import ast
from collections.abc import Iterator

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
# Fields of a statement that hold other statements: not part of its header.
_BLOCKS = frozenset({"body", "orelse", "finalbody", "handlers", "cases"})
# Fields whose edits change no behaviour.
_INERT = frozenset({"annotation", "returns", "type_comment", "type_params"})


def first_line(node: ast.AST) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    if isinstance(node, ast.match_case):
        return node.pattern.lineno
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])  # type: ignore[attr-defined]


def last_line(node: ast.AST) -> int:
    if isinstance(node, ast.match_case):
        return last_line(node.body[-1])
    end: int = node.end_lineno  # type: ignore[attr-defined]
    return end


def blocks(node: ast.AST) -> list[ast.AST]:
    """The first block of statements of a compound statement."""
    if isinstance(node, ast.Match):
        return list(node.cases[:1])
    return list(getattr(node, "body", []))


def child_at(node: ast.AST, line: int) -> tuple[ast.AST | None, ast.AST] | None:
    """The statement directly under `node` whose lines contain `line`, with the statement before it."""
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        previous: ast.AST | None = None
        children: object = getattr(node, name, ())
        if not isinstance(children, list):
            continue
        for child in children:  # pyright: ignore[reportUnknownVariableType]
            if not isinstance(child, ast.AST):
                continue
            if first_line(child) <= line <= last_line(child):
                return previous, child
            previous = child
    return None


def without_else(node: ast.If) -> bool:
    while node.orelse:
        if len(node.orelse) != 1 or not isinstance(node.orelse[0], ast.If):
            return False
        node = node.orelse[0]
    return True


def walk(node: ast.AST, parent: ast.AST | None, place: str, line: int) -> Iterator[tuple[ast.AST, ast.AST | None, str]]:
    """Nodes of a statement's header in source order, each with its parent and the field that holds it."""
    yield node, parent, place
    if isinstance(node, ast.JoinedStr):
        return
    body = blocks(node) if isinstance(node, (ast.stmt, ast.ExceptHandler, ast.match_case)) else []
    header = bool(body) and first_line(body[0]) > line
    for name, value in ast.iter_fields(node):
        if name in _INERT or (header and name in _BLOCKS):
            continue
        if isinstance(value, ast.AST):
            yield from walk(value, node, name, line)
        elif isinstance(value, list):
            for item in value:  # pyright: ignore[reportUnknownVariableType]
                if isinstance(item, ast.AST):
                    yield from walk(item, node, name, line)
