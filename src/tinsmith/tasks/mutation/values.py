"""Constants, subscripts and slices."""

import ast

from tinsmith.tasks.mutation.file import File
from tinsmith.tasks.mutation.names import Names


def constant(file: File, node: ast.Constant, parent: ast.AST | None, place: str, function: Names) -> None:
    value = node.value
    default = place in ("defaults", "kw_defaults")
    if isinstance(value, bool):
        file.replace("wrong-default" if default else "wrong-boolean", node, str(not value))
    elif isinstance(value, int):
        shifted = isinstance(parent, (ast.Compare, ast.BinOp, ast.Slice, ast.Call)) or place == "slice"
        kind = "wrong-default" if default else "off-by-one" if shifted else "wrong-number"
        for new in dict.fromkeys((value + 1, value - 1)):
            if new >= 0 or isinstance(parent, (ast.Subscript, ast.Slice, ast.Return, ast.Assign)):
                file.replace(kind, node, str(new))
        for new in (0, 1, 2, 10, value * 2):
            if abs(new - value) > 1:
                file.replace("wrong-default" if default else "wrong-number", node, str(new))
        if isinstance(parent, ast.Subscript) and value == 0:
            file.replace("wrong-index", node, "-1")
    elif value is None:
        for new in ("False", "True", "0", "''", "[]", "{}"):
            if default or not isinstance(parent, ast.Compare):
                file.replace("wrong-default" if default else "wrong-none", node, new)
    elif isinstance(value, str):
        text = file.text(node)
        if text is not None and text[:1] in "'\"" and text[:3] not in ('"""', "'''") and value:
            for other in function.strings:
                if other != value and not any(mark in other for mark in "'\"\\"):
                    file.replace("wrong-string", node, f"{text[0]}{other}{text[0]}")
            if len(value) > 1 and not any(mark in value for mark in "'\"\\"):
                file.replace("wrong-string", node, f"{text[0]}{value[:-1]}{text[0]}")


def subscript(file: File, node: ast.Subscript, parent: ast.AST | None, place: str, function: Names) -> None:
    text = file.text(node.value)
    if isinstance(node.ctx, ast.Load):
        file.replace("missing-subscript", node, text)
    bounds = node.slice
    if isinstance(bounds, ast.Slice):
        for bound in (bounds.lower, bounds.upper):
            span = file.span(bound)
            if bound is None or span is None:
                continue
            file.put("slice-bound", span, "")
            value = file.text(bound)
            if not isinstance(bound, (ast.Constant, ast.UnaryOp)) and value is not None:
                for new in (f"{value} + 1", f"{value} - 1"):
                    file.put("slice-bound", span, new)
        span, lower = file.span(bounds), file.text(bounds.lower) if bounds.lower is not None else None
        if bounds.upper is None and bounds.step is None and lower is not None:
            file.put("slice-bound", span, f":{lower}")
    else:
        value = file.text(bounds)
        if isinstance(bounds, (ast.Name, ast.BinOp)) and value is not None and isinstance(node.ctx, ast.Load):
            for new in (f"{value} + 1", f"{value} - 1"):
                file.replace("wrong-index", bounds, new)
        if isinstance(bounds, ast.UnaryOp):
            file.replace("wrong-index", bounds, "0")
