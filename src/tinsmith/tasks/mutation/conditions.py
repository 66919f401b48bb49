"""Conditions: comparisons, boolean operands, branches, guards."""

import ast
from itertools import pairwise

from tinsmith.tasks.mutation.file import File
from tinsmith.tasks.mutation.names import Names

_COMPARISON: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Is: "is",
    ast.IsNot: "is not",
}
_BOUNDARY = {"<": ("<=",), "<=": ("<",), ">": (">=",), ">=": (">",)}
_WRONG_COMPARISON = {
    "==": ("!=", ">=", "<=", "is"),
    "!=": ("==", "<", ">"),
    "<": (">", "!=", "=="),
    "<=": (">=", "=="),
    ">": ("<", "!=", "=="),
    ">=": ("<=", "=="),
}
_MEMBERSHIP = {"in": ("not in", "=="), "not in": ("in", "!="), "is": ("is not",), "is not": ("is", "!=")}


def compare(file: File, node: ast.Compare, parent: ast.AST | None, place: str, function: Names) -> None:
    operands = [node.left, *node.comparators]
    for left, operation, right in zip(operands, node.ops, operands[1:], strict=False):
        text = _COMPARISON[type(operation)]
        at = file.operator(left, right, text)
        for kind, table in (
            ("boundary", _BOUNDARY),
            ("comparison", _WRONG_COMPARISON),
            ("membership", _MEMBERSHIP),
        ):
            for new in table.get(text, ()):
                file.put(kind, at, new)
    if len(operands) == 2 and isinstance(node.ops[0], (ast.Lt, ast.LtE, ast.Gt, ast.GtE)):
        file.exchange("swapped-operands", node.left, node.comparators[0])


def boolean(file: File, node: ast.BoolOp, parent: ast.AST | None, place: str, function: Names) -> None:
    old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    for left, right in pairwise(node.values):
        file.put("boolean-operator", file.operator(left, right, old), new)
    for index, value in enumerate(node.values):
        near = node.values[index - 1 if index else 1]
        one, two = file.span(value), file.span(near)
        if one is None or two is None or one[0] != two[0]:
            continue
        low, high = (two[2], one[1]) if index else (one[2], two[1])
        if file.raw[one[0] - 1][low:high].strip(b" ") == old.encode():
            file.put("missing-operand", (one[0], two[2], one[2]) if index else (one[0], one[1], two[1]), "")


def unary(file: File, node: ast.UnaryOp, parent: ast.AST | None, place: str, function: Names) -> None:
    span, inner = file.span(node), file.span(node.operand)
    if span is None or inner is None:
        return
    kind = "dropped-not" if isinstance(node.op, ast.Not) else "sign"
    file.put(
        kind,
        (
            span[0],
            span[1],
            inner[1] if file.raw[span[0] - 1][inner[1] - 1 : inner[1]] != b"(" else inner[1] - 1,
        ),
        "",
    )


def conditional(file: File, node: ast.If, parent: ast.AST | None, place: str, function: Names) -> None:
    at = (node.lineno, node.col_offset, node.col_offset + 4)
    if file.raw[at[0] - 1][at[1] : at[2]] == b"elif":
        file.put("elif-to-if", at, "if")


def ternary(file: File, node: ast.IfExp, parent: ast.AST | None, place: str, function: Names) -> None:
    file.replace("inverted-branches", node, file.text(node.body))
    one, test, two = file.text(node.body), file.text(node.test), file.text(node.orelse)
    if one is not None and test is not None and two is not None:
        file.replace("inverted-branches", node, f"{two} if {test} else {one}")


def comprehension(file: File, node: ast.AST, parent: ast.AST | None, place: str, function: Names) -> None:
    generators: list[ast.comprehension] = node.generators  # type: ignore[attr-defined]
    for generator in generators:
        span = file.span(generator.iter)
        for test in generator.ifs:
            at = file.span(test)
            if span is None or at is None or span[0] != at[0]:
                continue
            if file.raw[at[0] - 1][span[2] : at[1]].strip(b" ") == b"if":
                file.put("dropped-guard", (at[0], span[2], at[2]), "")
