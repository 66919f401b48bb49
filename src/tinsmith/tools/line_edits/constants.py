"""Numbers, truth values, None and strings."""

import ast

from tinsmith.tools.line_edits.line import Line
from tinsmith.tools.line_edits.tables import MAX_ADDED, MAX_STRINGS


def constant(line: Line, node: ast.Constant, span: tuple[int, int], parent: ast.AST | None) -> None:
    value = node.value
    if isinstance(value, bool):
        for new in (str(not value), "None"):
            line.put(0 if new != "None" else 1, span, new)
    elif isinstance(value, int):
        for new in dict.fromkeys((value + 1, value - 1, 0, 1, -1, 2, -value)):
            if new != value:
                line.put(0 if abs(new - value) == 1 else 1, span, str(new))
        for new in (value * 2, value // 2, value * 10, value // 10, 3, 10, 100):
            if new != value and abs(new - value) != 1 and new > 2:
                line.put(3, span, str(new))
        line.put(2, span, "None")
        if value in (0, 1):
            line.put(2, span, "True" if value else "False")
        for name in line.names:
            line.put(2, span, name)
    elif isinstance(value, float):
        for new in (0.0, 1.0, -value, value + 1, value - 1, value / 2, value * 2, 0.5):
            if new != value:
                line.put(1, span, repr(new))
    elif value is None:
        for new in ("False", "True", "0", "''", "[]", "{}", "()", "1"):
            line.put(1, span, new)
        for name in line.names[:MAX_ADDED]:
            line.put(2, span, name)
    elif isinstance(value, str) and not isinstance(parent, ast.Expr):
        for new in line.scope.strings[: MAX_STRINGS + 1]:
            if new != repr(value):
                line.put(1, span, _requote(new, line.text(span)))
        for new in ("", " ", "\\n", ",", ".", "/", "-", "_", ":", "rb", "wb", "r", "w", "utf-8"):
            line.put(
                2 if new in ("", " ") else 3,
                span,
                _requote(repr(new).replace("\\\\", "\\"), line.text(span)),
            )
        for name in line.names[:MAX_ADDED]:
            line.put(3, span, name)
        if value != value.strip() or value.rstrip(".,:;/") != value:
            line.put(2, span, _requote(repr(value.strip()), line.text(span)))
            line.put(2, span, _requote(repr(value.strip(".,:;/")), line.text(span)))


def _requote(literal: str, old: str) -> str:
    """`literal` (a repr) in the quotation marks of the literal `old`, where that needs no escape."""
    quote = '"' if old.lstrip("rRbBuUfF").startswith('"') else "'"
    body = literal[1:-1]
    if literal[0] == quote or '"' in body or "'" in body:
        return literal
    return f"{quote}{body}{quote}"
