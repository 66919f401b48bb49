"""Comparisons, conditions, arithmetic, signs."""

import ast
from itertools import pairwise

from tinsmith.tools.line_edits.line import Line
from tinsmith.tools.line_edits.tables import BINARY_SWAPS, COMPARISON_SWAPS, MAX_GUARDS

_SIGNS: dict[type[ast.unaryop], str] = {ast.USub: "-", ast.UAdd: "+", ast.Invert: "~"}


def compare(line: Line, node: ast.Compare, span: tuple[int, int]) -> None:
    operands = [node.left, *node.comparators]
    for left, right in pairwise(operands):
        gap = line.gap(left, right, span)
        if gap is None:
            continue
        operator = " ".join(line.text(gap).split())
        for new in COMPARISON_SWAPS.get(operator, ()):
            line.put(0, gap, new)
    spans = [line.span(operand) for operand in operands]
    if len(operands) == 2:
        one, two = spans
        if one is not None and two is not None:
            line.swap(2, line.outer(one, span), line.outer(two, span))
            line.put(1, span, line.text(one))
            line.put(2, span, line.text(two))
            line.put(2, span, f"not {line.text(line.outer(one, span))}")
            for new in line.values:
                line.put(3, line.outer(two, span), new)
    elif spans[0] is not None and spans[1] is not None and spans[-1] is not None and spans[-2] is not None:
        line.put(
            1,
            (span[0], line.outer(spans[-2], span)[1]),
            line.text((span[0], line.outer(spans[-2], span)[1])),
        )
        line.put(1, (line.outer(spans[-2], span)[1], span[1]), "")
        line.put(1, (span[0], line.outer(spans[1], span)[0]), "")


def boolean(line: Line, node: ast.BoolOp, span: tuple[int, int]) -> None:
    old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
    for left, right in pairwise(node.values):
        gap = line.gap(left, right, span)
        if gap is not None and line.text(gap) == old:
            line.put(0, gap, new)
    outers = [line.outer(at, span) if (at := line.span(value)) is not None else None for value in node.values]
    for index, outer in enumerate(outers):
        if outer is None:
            continue
        neighbour = outers[index - 1] if index else outers[1]
        if neighbour is not None:
            cut = (neighbour[1], outer[1]) if index else (outer[0], neighbour[0])
            line.put(1, cut, "")
        negate(line, node.values[index], 1)
    if len(outers) == 2 and outers[0] is not None and outers[1] is not None:
        line.swap(3, outers[0], outers[1])


def negate(line: Line, node: ast.expr, rank: int) -> None:
    span = line.span(node)
    if span is None or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)):
        return
    text = line.text(span)
    bare = isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant))
    line.put(rank, span, f"not {text}" if bare or isinstance(node, ast.Compare) else f"not ({text})")


def condition(line: Line, node: ast.expr) -> None:
    """A test as a whole: negated, constant, or with one more operand."""
    span = line.span(node)
    if span is None:
        return
    negate(line, node, 0)
    text = line.text(span)
    line.put(2, span, "True")
    line.put(2, span, "False")
    wrapped = f"({text})" if isinstance(node, (ast.BoolOp, ast.IfExp, ast.Lambda, ast.NamedExpr)) else text
    guards: list[str] = []
    subjects = line.names[:MAX_GUARDS]
    if line.scope.self_name is not None:
        used = line.scope.attributes.get(line.scope.self_name, [])
        subjects = [*subjects, *(f"{line.scope.self_name}.{name}" for name in used[: MAX_GUARDS // 2])]
    for name in subjects:
        guards += [name, f"not {name}", f"{name} is not None", f"{name} is None"]
    for guard in [*guards, *(test for test in line.tests if test not in text)]:
        same_and = text if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And) else wrapped
        same_or = text if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) else wrapped
        line.put(3, span, f"{same_and} and {guard}")
        line.put(3, span, f"{same_or} or {guard}")
        line.put(3, span, f"{guard} and {same_and}")
        line.put(3, span, f"{guard} or {same_or}")


def binary(line: Line, node: ast.BinOp, span: tuple[int, int]) -> None:
    gap = line.gap(node.left, node.right, span)
    one, two = line.span(node.left), line.span(node.right)
    if gap is None or one is None or two is None:
        return
    formatting = isinstance(node.left, (ast.Constant, ast.JoinedStr)) and isinstance(node.op, ast.Mod)
    if not formatting:
        for new in BINARY_SWAPS.get(line.text(gap), ()):
            line.put(0 if new in "+-" else 1, gap, new)
    left, right = line.outer(one, span), line.outer(two, span)
    line.put(0, span, line.text(left))
    line.put(1, span, line.text(right))
    if not isinstance(node.op, (ast.Mult, ast.BitAnd, ast.BitOr, ast.BitXor)) and not formatting:
        line.swap(1, left, right)
    # a - b * c becomes (a - b) * c, and the other way round
    for inner, outer in ((node.right, left), (node.left, right)):
        if isinstance(inner, ast.BinOp):
            whole, part = line.span(inner), None
            near = line.span(inner.left if inner is node.right else inner.right)
            if whole is not None and near is not None:
                part = line.outer(near, whole)
                if inner is node.right and right == whole:
                    line.put(2, (outer[0], part[1]), f"({line.text((outer[0], part[1]))})")
                elif inner is node.left and left == whole:
                    line.put(2, (part[0], outer[1]), f"({line.text((part[0], outer[1]))})")
                elif inner is node.right:
                    line.put(2, right, line.text(whole))
                else:
                    line.put(2, left, line.text(whole))


def unary(line: Line, node: ast.UnaryOp, span: tuple[int, int]) -> None:
    inner = line.span(node.operand)
    if inner is None:
        return
    inner = line.outer(inner, span)
    line.put(0, span, line.text(inner))
    operator = _SIGNS.get(type(node.op))
    if operator is not None:
        for new in "-~":
            if new != operator:
                line.put(2, (span[0], span[0] + 1), new)
    if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant) and type(node.operand.value) is int:
        number = -node.operand.value
        for new in dict.fromkeys((number + 1, number - 1, 0, 1, None)):
            line.put(0, span, str(new))


def ternary(line: Line, node: ast.IfExp, span: tuple[int, int]) -> None:
    one, two = line.span(node.body), line.span(node.orelse)
    if one is None or two is None:
        return
    line.swap(1, line.outer(one, span), line.outer(two, span))
    line.put(1, span, line.text(one))
    line.put(1, span, line.text(two))
