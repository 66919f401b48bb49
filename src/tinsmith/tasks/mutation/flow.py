"""Results, loops, exceptions, generators."""

import ast

from tinsmith.tasks.mutation.confusions import EXCEPTIONS
from tinsmith.tasks.mutation.file import File
from tinsmith.tasks.mutation.names import Names


def returned(file: File, node: ast.Return, parent: ast.AST | None, place: str, function: Names) -> None:
    span, value = file.span(node), file.span(node.value)
    if span is None or value is None:
        return
    file.put("missing-return", (span[0], span[1], value[1]), "")
    # What is lost for good teaches nothing: only short values are exchanged.
    if not isinstance(node.value, (ast.Name, ast.Constant, ast.Attribute)):
        return
    for new in ("None", "True", "False"):
        file.put("wrong-return", (span[0], span[1], span[2]), f"return {new}")
    for new in function.variables:
        if not (isinstance(node.value, ast.Name) and node.value.id == new):
            file.put("wrong-return", span, f"return {new}")


def control(file: File, node: ast.AST, parent: ast.AST | None, place: str, function: Names) -> None:
    for new in ("break", "continue", "pass"):
        if new != file.text(node):
            file.replace("loop-control", node, new)


def raised(file: File, node: ast.Raise, parent: ast.AST | None, place: str, function: Names) -> None:
    if isinstance(node.exc, ast.Call) and isinstance(node.exc.func, ast.Name) and node.exc.func.id in EXCEPTIONS:
        for new in EXCEPTIONS:
            if new != node.exc.func.id:
                file.replace("exception-type", node.exc.func, new)


def awaited(file: File, node: ast.Await, parent: ast.AST | None, place: str, function: Names) -> None:
    file.replace("missing-await", node, file.text(node.value))


def yielded(file: File, node: ast.Yield, parent: ast.AST | None, place: str, function: Names) -> None:
    text = file.text(node.value) if node.value is not None else None
    if text is not None:
        file.replace("yield", node, f"yield from {text}")
        if isinstance(parent, ast.Expr):
            file.replace("yield", node, f"return {text}")


def yielded_from(file: File, node: ast.YieldFrom, parent: ast.AST | None, place: str, function: Names) -> None:
    text = file.text(node.value)
    if text is not None:
        file.replace("yield", node, f"yield {text}")
