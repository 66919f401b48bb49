"""Names, attributes and calls: another one of the function, or one thing too few."""

import ast
from itertools import pairwise

from tinsmith.tasks.mutation.confusions import EXCEPTIONS, FUNCTIONS, LOSSY, METHODS
from tinsmith.tasks.mutation.file import File
from tinsmith.tasks.mutation.names import Names


def call(file: File, node: ast.Call, parent: ast.AST | None, place: str, function: Names) -> None:
    arguments: list[ast.AST] = list(node.args)
    everything: list[ast.AST] = [*node.args, *node.keywords]
    for one, two in pairwise(arguments):
        file.exchange("swapped-arguments", one, two)
    for index in range(len(arguments)):
        if len(everything) > 1:
            file.cut("missing-argument", everything, index)
    for index in range(len(arguments), len(everything)):
        file.cut("missing-keyword", everything, index)
    for argument in node.args:
        if isinstance(argument, (ast.Attribute, ast.Constant, ast.Subscript)):
            for name in function.variables:
                file.replace("wrong-argument", argument, name)
    # `len(x)` becomes `x`; the wrappers of `LOSSY` go missing most, so they count twice.
    plain = len(node.args) == 1 and not node.keywords and not isinstance(node.args[0], (ast.Starred, ast.GeneratorExp))
    if plain and isinstance(node.func, ast.Name):
        for _ in range(2 if node.func.id in LOSSY else 1):
            file.replace("missing-call", node, file.text(node.args[0]))
    used = not isinstance(parent, (ast.Expr, ast.Await))
    if used and isinstance(node.func, ast.Attribute) and len(node.args) <= 1:
        file.replace("missing-call", node, file.text(node.func.value))
    if not everything and not isinstance(parent, ast.Expr):
        file.replace("missing-parentheses", node, file.text(node.func))


def name(file: File, node: ast.Name, parent: ast.AST | None, place: str, function: Names) -> None:
    if isinstance(parent, ast.Call) and place == "func":
        for new in FUNCTIONS.get(node.id, ()):
            file.replace("wrong-function", node, new)
        for new in function.called:
            if new != node.id and new[:1].isupper() == node.id[:1].isupper():
                file.replace("wrong-function", node, new)
        return
    if node.id in EXCEPTIONS:
        if place in ("type", "exc") or isinstance(parent, ast.Tuple):
            for new in EXCEPTIONS:
                if new != node.id:
                    file.replace("exception-type", node, new)
        return
    if node.id in function.variables:
        for new in function.variables:
            if new != node.id:
                file.replace("wrong-index" if place == "slice" else "wrong-name", node, new)
    if place in ("args", "iter") and isinstance(node.ctx, ast.Load):
        for wrapper in ("list", "str", "len", "sorted"):
            file.replace("extra-call", node, f"{wrapper}({node.id})")


def attribute(file: File, node: ast.Attribute, parent: ast.AST | None, place: str, function: Names) -> None:
    span, base = file.span(node), file.span(node.value)
    if span is None or base is None:
        return
    at = (span[0], span[2] - len(node.attr.encode()), span[2])
    called = isinstance(parent, ast.Call) and place == "func"
    owner = ast.unparse(node.value) if isinstance(node.value, (ast.Name, ast.Attribute)) else ""
    if called:
        for new in METHODS.get(node.attr, ()):
            file.put("wrong-method", at, new)
        for new in function.methods.get(owner, ()):
            if new != node.attr:
                file.put("wrong-method", at, new)
    else:
        for new in function.attributes.get(owner, ()):
            if new != node.attr:
                file.put("wrong-attribute", at, new)
        if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
            file.put("missing-attribute", span, file.raw[base[0] - 1][base[1] : base[2]].decode())
    if isinstance(node.value, ast.Name) and node.value.id == "self" and isinstance(node.ctx, ast.Load):
        file.put("missing-self", span, node.attr)
        if not called:
            for name in function.variables:
                if name in node.attr or node.attr in name:
                    file.put("wrong-attribute", span, name)
