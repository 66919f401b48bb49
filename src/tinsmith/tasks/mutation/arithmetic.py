"""Arithmetic and assignment."""

import ast
from itertools import pairwise

from tinsmith.tasks.mutation.file import File
from tinsmith.tasks.mutation.names import Names

_OPERATOR: dict[type[ast.operator], tuple[str, tuple[str, ...]]] = {
    ast.Add: ("+", ("-",)),
    ast.Sub: ("-", ("+",)),
    ast.Mult: ("*", ("/", "+", "**")),
    ast.Div: ("/", ("//", "*")),
    ast.FloorDiv: ("//", ("/", "%")),
    ast.Mod: ("%", ("//",)),
    ast.Pow: ("**", ("*",)),
    ast.BitAnd: ("&", ("|",)),
    ast.BitOr: ("|", ("&", "^")),
    ast.BitXor: ("^", ("|",)),
    ast.LShift: ("<<", (">>",)),
    ast.RShift: (">>", ("<<",)),
}


def binary(file: File, node: ast.BinOp, parent: ast.AST | None, place: str, function: Names) -> None:
    if isinstance(node.op, ast.Mod) and isinstance(node.left, (ast.Constant, ast.JoinedStr)):
        return
    if type(node.op) not in _OPERATOR:
        return
    text, others = _OPERATOR[type(node.op)]
    at = file.operator(node.left, node.right, text)
    for new in others:
        file.put("operator", at, new)
    span, left, right = file.span(node), file.span(node.left), file.span(node.right)
    if span is None or left is None or right is None or at is None:
        return
    offset = isinstance(node.right, ast.Constant) and isinstance(node.op, (ast.Add, ast.Sub))
    if file.raw[span[0] - 1][left[2] : right[1]].strip(b" ") == text.encode():
        file.put("dropped-offset" if offset else "dropped-term", (span[0], left[2], right[2]), "")
        if not offset:
            file.put("dropped-term", (span[0], left[1], right[1]), "")
    if isinstance(node.op, (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod)):
        file.exchange("swapped-operands", node.left, node.right)


def augmented(file: File, node: ast.AugAssign, parent: ast.AST | None, place: str, function: Names) -> None:
    if type(node.op) not in _OPERATOR:
        return
    text, others = _OPERATOR[type(node.op)]
    at = file.operator(node.target, node.value, f"{text}=")
    for new in (*(f"{other}=" for other in others), "="):
        file.put("augmented", at, new)


def assign(file: File, node: ast.Assign, parent: ast.AST | None, place: str, function: Names) -> None:
    if len(node.targets) == 1 and isinstance(node.targets[0], (ast.Tuple, ast.List)):
        for one, two in pairwise(node.targets[0].elts):
            file.exchange("swapped-elements", one, two)
