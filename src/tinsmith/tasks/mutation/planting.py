"""Where in a file each kind of bug can be planted."""

import ast
from collections.abc import Callable

from tinsmith.tasks.mutation.arithmetic import assign, augmented, binary
from tinsmith.tasks.mutation.conditions import boolean, compare, comprehension, conditional, ternary, unary
from tinsmith.tasks.mutation.file import File, Splice
from tinsmith.tasks.mutation.flow import awaited, control, raised, returned, yielded, yielded_from
from tinsmith.tasks.mutation.names import Names
from tinsmith.tasks.mutation.references import attribute, call, name
from tinsmith.tasks.mutation.values import constant, subscript

_Plant = Callable[[File, ast.AST, ast.AST | None, str, Names], None]
_PLANTERS: dict[type[ast.AST], _Plant] = {  # pyright: ignore[reportAssignmentType]
    ast.Compare: compare,
    ast.BoolOp: boolean,
    ast.UnaryOp: unary,
    ast.BinOp: binary,
    ast.AugAssign: augmented,
    ast.Assign: assign,
    ast.Constant: constant,
    ast.Call: call,
    ast.Name: name,
    ast.Raise: raised,
    ast.Attribute: attribute,
    ast.Subscript: subscript,
    ast.Return: returned,
    ast.Break: control,
    ast.Continue: control,
    ast.If: conditional,
    ast.IfExp: ternary,
    ast.ListComp: comprehension,
    ast.SetComp: comprehension,
    ast.DictComp: comprehension,
    ast.GeneratorExp: comprehension,
    ast.Await: awaited,
    ast.Yield: yielded,
    ast.YieldFrom: yielded_from,
}


def plant(file: File, first: int, last: int) -> list[Splice]:
    """Every splice in lines `first` to `last` that may plant a bug, in the order of the code."""
    file.found = []
    _visit(file, file.tree, None, "", None, first, last)
    return file.found


def _visit(
    file: File,
    node: ast.AST,
    parent: ast.AST | None,
    place: str,
    function: Names | None,
    first: int,
    last: int,
) -> None:
    start, end = getattr(node, "lineno", None), getattr(node, "end_lineno", None)
    if start is not None and end is not None:
        decorators: list[ast.expr] = getattr(node, "decorator_list", [])
        if end < first or min([start, *(item.lineno for item in decorators)]) > last:
            return
    if isinstance(node, ast.JoinedStr) or _is_docstring(node):
        return
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        function = Names(node)
    if function is not None and start is not None:
        _node(file, node, parent, place, function, first, last)
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "type_params", "decorator_list"):
            continue
        if isinstance(value, ast.AST):
            _visit(file, value, node, field, function, first, last)
        elif isinstance(value, list):
            for item in value:  # pyright: ignore[reportUnknownVariableType]
                if isinstance(item, ast.AST):
                    _visit(file, item, node, field, function, first, last)


def _node(
    file: File, node: ast.AST, parent: ast.AST | None, place: str, function: Names, first: int, last: int
) -> None:
    plant = _PLANTERS.get(type(node))
    if plant is not None:
        plant(file, node, parent, place, function)
    if (
        place == "test"
        and isinstance(node, ast.expr)
        and not (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not))
    ):
        text = file.text(node)
        if text is not None:
            single = isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Compare))
            file.replace("negated", node, f"not {text}" if single else f"not ({text})")


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, (str, bytes))
    )
