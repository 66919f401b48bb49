"""Values as a whole: shifted, wrapped, taken apart."""

import ast

from tinsmith.tools.line_edits.line import Line
from tinsmith.tools.line_edits.tables import MAX_ADDED, MAX_CALLABLES, SUFFIXES, WRAPPERS

_VALUE_PLACES_WORDS = """
args value iter slice lower upper comparators left right values elt test operand elts
"""
VALUE_PLACES = frozenset(_VALUE_PLACES_WORDS.split())


def is_value(node: ast.expr, parent: ast.AST | None, place: str) -> bool:
    if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load) or place not in VALUE_PLACES:
        return False
    if isinstance(parent, (ast.Attribute, ast.Expr, ast.Await, ast.Starred)) and place == "value":
        return False
    return not (isinstance(parent, ast.Subscript) and place == "value")


def value(line: Line, node: ast.expr, span: tuple[int, int], parent: ast.AST | None, place: str) -> None:
    """A value that is returned, assigned, passed, iterated over or used as an index: shifted, wrapped,
    taken apart.
    """
    text = line.text(span)
    simple = isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript))
    numeric = simple or isinstance(node, ast.BinOp)
    if numeric:
        shifted = (
            text
            if not isinstance(node, ast.BinOp) or isinstance(node.op, (ast.Add, ast.Sub, ast.Mult))
            else f"({text})"
        )
        for new in (f"{shifted} + 1", f"{shifted} - 1"):
            line.put(0, span, new)
        if place in ("slice", "args", "value", "lower", "upper", "comparators", "left", "right"):
            for name in line.names[:MAX_ADDED]:
                if name != text:
                    for operator in ("+", "-", "*"):
                        line.put(3, span, f"{shifted} {operator} {name}")
    if simple:
        line.put(2, span, f"-{text}")
    if isinstance(node, (ast.Constant, ast.Lambda, ast.Dict, ast.Starred)):
        return
    for wrapper in WRAPPERS:
        line.put(2, span, f"{wrapper}({text})")
    for wrapper in line.scope.callables[:MAX_CALLABLES]:
        if wrapper not in WRAPPERS and not (isinstance(parent, ast.Call) and _called_name(parent) == wrapper):
            line.put(3, span, f"{wrapper}({text})")
    if line.scope.self_name is not None:
        for name in line.scope.self_attributes[:4]:
            line.put(3, span, f"{line.scope.self_name}.{name}({text})")
    if simple:
        for suffix in SUFFIXES:
            line.put(2, span, f"{text}{suffix}")
        for new in (f"{text}[0]", f"{text}[-1]", f"{text}[1]", f"{text}[1:]", f"{text}[:-1]"):
            line.put(2, span, new)
        for name in line.names[:MAX_ADDED]:
            line.put(3, span, f"{text}[{name}]")
        if isinstance(node, (ast.Call, ast.Attribute, ast.Name)) and line.scope.is_async:
            line.put(2, span, f"await {text}")
        if isinstance(node, ast.Name):
            line.put(2, span, f"{text}()")


def _called_name(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""
