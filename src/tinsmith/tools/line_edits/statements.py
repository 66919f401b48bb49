"""Statements: another keyword, another result, an operator of assignment."""

import ast

from tinsmith.tools.line_edits.line import Line
from tinsmith.tools.line_edits.operators import negate
from tinsmith.tools.line_edits.syntax import FUNCTION
from tinsmith.tools.line_edits.tables import BINARY_SWAPS, MAX_ADDED, MAX_ATTRIBUTES, MAX_GUARDS


def statement(line: Line, node: ast.AST) -> None:
    if getattr(node, "lineno", None) != line.number or not isinstance(node, (ast.stmt, ast.ExceptHandler)):
        return
    start = node.col_offset
    if isinstance(node, ast.Return):
        _returned(line, node, start)
    elif isinstance(node, (ast.Break, ast.Continue, ast.Pass)):
        span = line.span(node)
        words = [
            "pass",
            *(("break", "continue") if line.unit.in_loop else ()),
            *(("return",) if line.scope.in_function else ()),
        ]
        for word in words:
            if span is not None and word != line.text(span):
                line.put(0, span, word)
    elif isinstance(node, ast.If):
        if (at := line.keyword("if", start)) is not None:
            line.put(2, at, "while")
            if line.unit.elif_possible:
                line.put(0, at, "elif")
        elif (at := line.keyword("elif", start)) is not None:
            line.put(1, at, "if")
    elif isinstance(node, ast.While) and (at := line.keyword("while", start)) is not None:
        line.put(1, at, "if")
    elif isinstance(node, ast.Assign) and len(node.targets) == 1:
        target, value = line.span(node.targets[0]), node.value
        at = line.gap(node.targets[0], value, (start, node.end_col_offset or start)) if target is not None else None
        if at is not None and line.text(at) == "=" and not isinstance(node.targets[0], (ast.Tuple, ast.List)):
            for new in ("+=", "-=", "*=", "|="):
                line.put(2, at, new)
    elif isinstance(node, ast.AugAssign):
        _augmented(line, node)
    elif isinstance(node, ast.Expr):
        span = line.span(node)
        if span is not None and line.scope.in_function and not isinstance(node.value, ast.Constant):
            line.put(1, (start, start), "return ")
            for name in line.names[:MAX_ADDED]:
                line.put(2, (start, start), f"{name} = ")
            if line.scope.is_async and not isinstance(node.value, ast.Await):
                line.put(1, (start, start), "await ")
    elif isinstance(node, ast.Assert):
        pass
    elif isinstance(node, ast.Raise) and node.cause is None and node.exc is not None:
        span = line.span(node)
        if span is not None:
            line.put(3, span, "raise")
            line.put(3, span, "pass")
    elif isinstance(node, FUNCTION):
        for argument in node.args.args:
            at = line.span(argument)
            if at is not None and argument.arg not in ("self", "cls"):
                line.put(3, at, f"{line.text(at)}=None")


def _returned(line: Line, node: ast.Return, start: int) -> None:
    span = line.span(node)
    if span is None:
        return
    for name in line.names:
        line.put(1, span, f"return {name}")
    for new in ("None", "True", "False", "0", "1", "-1", "''", "[]", "{}"):
        line.put(1, span, f"return {new}")
    owner = line.scope.self_name
    if owner is not None:
        line.put(1, span, f"return {owner}")
        for attribute in line.scope.self_attributes[: MAX_ATTRIBUTES * 2]:
            line.put(2, span, f"return {owner}.{attribute}")
    line.put(2, span, "return")
    for new in line.values:
        line.put(3, span, f"return {new}")
    inner = line.span(node.value) if node.value is not None else None
    if inner is None or node.value is None:
        return
    text = line.text((inner[0], span[1]))
    line.put(1, span, text)
    line.put(1, span, f"yield {text}")
    negate(line, node.value, 1)
    if isinstance(node.value, (ast.Name, ast.Compare, ast.Call, ast.Attribute, ast.BoolOp)):
        for name in line.names[:MAX_GUARDS]:
            for operator in ("and", "or"):
                line.put(3, inner, f"{text} {operator} {name}")
                line.put(3, inner, f"{text} {operator} not {name}")
                line.put(3, inner, f"{name} {operator} {text}")


def _augmented(line: Line, node: ast.AugAssign) -> None:
    gap = line.gap(node.target, node.value, (node.col_offset, node.end_col_offset or node.col_offset))
    if gap is None or not line.text(gap).endswith("="):
        return
    operator = line.text(gap)[:-1]
    for new in BINARY_SWAPS.get(operator, ()):
        line.put(0 if new in "+-" else 1, gap, f"{new}=")
    line.put(0, gap, "=")


def yields(line: Line, node: ast.Yield | ast.YieldFrom, span: tuple[int, int]) -> None:
    inner = line.span(node.value) if node.value is not None else None
    if inner is None:
        return
    text = line.text(inner)
    line.put(1, span, f"yield {text}" if isinstance(node, ast.YieldFrom) else f"yield from {text}")
    line.put(2, span, text)
    if isinstance(line.unit.node, ast.Expr):
        line.put(2, span, f"return {text}")
