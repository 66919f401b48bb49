"""Names and attributes: another one in scope, one that it is mistaken for, another exception."""

import ast

from tinsmith.tools.line_edits.line import Line
from tinsmith.tools.line_edits.tables import (
    BUILTINS,
    CONFUSABLES,
    EXCEPTIONS,
    MAX_ATTRIBUTES,
    MAX_EXPRESSIONS,
)
from tinsmith.tools.line_edits.values import VALUE_PLACES


def name(line: Line, node: ast.Name, span: tuple[int, int], parent: ast.AST | None, place: str) -> None:
    if isinstance(parent, ast.Call) and place == "func":
        if node.id in EXCEPTIONS or node.id in line.scope.exceptions:
            _exception(line, node, span)
        if line.scope.self_name is not None:
            line.put(2, span, f"{line.scope.self_name}.{node.id}")
        return
    if node.id in EXCEPTIONS or (node.id in line.scope.exceptions):
        _exception(line, node, span)
    for new in line.names:
        if new != node.id:
            line.put(1, span, new)
    if isinstance(node.ctx, ast.Load):
        for new in CONFUSABLES.get(node.id, ()):
            if new in BUILTINS:
                line.put(2, span, new)
        for attribute in line.scope.attributes.get(node.id, [])[:MAX_ATTRIBUTES]:
            if not (isinstance(parent, ast.Attribute) and parent.attr == attribute):
                line.put(2, span, f"{node.id}.{attribute}")
        if place in VALUE_PLACES and not isinstance(parent, ast.Attribute):
            known = [name for root, names in line.scope.attributes.items() if root != node.id for name in names]
            for attribute in dict.fromkeys(known[:MAX_EXPRESSIONS]):
                line.put(3, span, f"{node.id}.{attribute}")
        for new in line.values if place in ("value", "left", "right", "test", "values", "operand", "iter") else ():
            if node.id in new:
                line.put(2, span, new)
    owner = line.scope.self_name
    if owner is not None and node.id != owner:
        line.put(1, span, f"{owner}.{node.id}")
        for attribute in line.scope.attributes.get(owner, [])[:MAX_ATTRIBUTES]:
            if attribute != node.id:
                line.put(2, span, f"{owner}.{attribute}")
    if owner is not None and node.id == owner and not isinstance(parent, ast.Attribute):
        for attribute in line.scope.attributes.get(owner, [])[:MAX_ATTRIBUTES]:
            line.put(2, span, f"{owner}.{attribute}")


def _exception(line: Line, node: ast.Name, span: tuple[int, int]) -> None:
    for new in dict.fromkeys([*line.scope.exceptions, *EXCEPTIONS]):
        if new != node.id:
            line.put(1, span, new)
    if isinstance(line.unit.node, ast.ExceptHandler) and line.unit.node.type is node:
        for new in dict.fromkeys([*line.scope.exceptions, *EXCEPTIONS]):
            if new != node.id:
                line.put(3, span, f"({node.id}, {new})")
                line.put(3, span, f"({new}, {node.id})")


def attribute(line: Line, node: ast.Attribute, span: tuple[int, int], parent: ast.AST | None, place: str) -> None:
    base = line.span(node.value)
    at = (span[1] - len(node.attr.encode()), span[1])
    called = isinstance(parent, ast.Call) and place == "func"
    known = CONFUSABLES.get(node.attr, ())
    for new in known:
        line.put(1, at, new)
    owner = line.scope.self_name
    root = node.value.id if isinstance(node.value, ast.Name) else ""
    others = line.scope.self_attributes if root and root == owner else line.scope.attributes.get(root, [])
    for new in others[: MAX_ATTRIBUTES * (2 if root == owner else 1)]:
        if new != node.attr and new not in known:
            line.put(1, at, new)
    if root != owner:
        for new in line.scope.attributes.get("", [])[:MAX_ATTRIBUTES]:
            if new != node.attr and new not in known and new not in others:
                line.put(3, at, new)
    for new in (node.attr.lstrip("_"), f"_{node.attr}", node.attr.rstrip("s"), f"{node.attr}s"):
        if new and new != node.attr:
            line.put(2, at, new)
    if base is not None and not called:
        line.put(1, span, line.text(base))
    if base is not None and root == owner and root:
        line.put(1, span, node.attr)
        if not called:
            for new in line.names:
                line.put(2, span, new)
    if not called and isinstance(node.ctx, ast.Load):
        line.put(1, (span[1], span[1]), "()")
