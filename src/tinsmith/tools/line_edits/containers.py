"""Subscripts, slices, tuples and lists, comprehensions."""

import ast

from tinsmith.tools.line_edits.line import Line
from tinsmith.tools.line_edits.tables import MAX_ADDED


def subscript(line: Line, node: ast.Subscript, span: tuple[int, int]) -> None:
    base, index = line.span(node.value), line.span(node.slice)
    if base is None:
        return
    line.put(1, span, line.text(base))
    if index is None:
        return
    inside = line.text(index)
    if isinstance(node.slice, ast.Slice):
        _slice(line, node.slice, index)
        return
    if isinstance(node.ctx, ast.Load):
        for new in (f"{inside}:", f":{inside}"):
            line.put(1, index, new)
        line.put(2, span, f"{line.text(base)}.get({inside})")
        line.put(3, span, f"{line.text(base)}.get({inside}, 0)")
    if isinstance(node.value, ast.Subscript):
        inner = line.span(node.value.slice)
        if inner is not None:
            line.swap(2, inner, index)
    if not isinstance(node.slice, (ast.Name, ast.Tuple)):
        for name in line.names[:MAX_ADDED]:
            line.put(2, index, name)
    if not isinstance(node.slice, ast.Constant):
        for new in ("0", "-1", "1"):
            line.put(2, index, new)


def _slice(line: Line, node: ast.Slice, span: tuple[int, int]) -> None:
    text = line.text(span)
    for bound in (node.lower, node.upper):
        at = line.span(bound) if bound is not None else None
        if at is not None:
            line.put(0, at, "")
    if node.lower is not None and node.upper is None and node.step is None:
        lower = line.span(node.lower)
        if lower is not None:
            line.put(0, span, f":{line.text(lower)}")
            line.put(1, span, line.text(lower))
            for new in ("-1", *line.names[:MAX_ADDED]):
                line.put(2, (span[1], span[1]), new)
    elif node.upper is not None and node.lower is None and node.step is None:
        upper = line.span(node.upper)
        if upper is not None:
            line.put(0, span, f"{line.text(upper)}:")
            line.put(1, span, line.text(upper))
            for new in ("1", *line.names[:MAX_ADDED]):
                line.put(2, (span[0], span[0]), new)
    elif node.lower is None and node.upper is None and node.step is None:
        for new in ("1", *line.names[:MAX_ADDED]):
            line.put(1, (span[0], span[0]), new)
        for new in ("-1", *line.names[:MAX_ADDED]):
            line.put(1, (span[1], span[1]), new)
    elif node.lower is not None and node.upper is not None:
        lower, upper = line.span(node.lower), line.span(node.upper)
        if lower is not None and upper is not None:
            line.swap(2, lower, upper)
    if node.step is None:
        line.put(2, span, f"{text}:-1" if text.count(":") == 1 else text)
    else:
        step = line.span(node.step)
        if step is not None:
            line.put(1, (step[0] - 1, step[1]), "")


def elements(line: Line, values: list[ast.expr], span: tuple[int, int]) -> None:
    spans = [line.outer(at, span) for value in values if (at := line.span(value)) is not None]
    if len(spans) != len(values) or len(spans) < 2 or len(spans) > 8:
        return
    for index, one in enumerate(spans):
        for two in spans[index + 1 :]:
            line.swap(1, one, two)
        cut = (spans[index - 1][1], one[1]) if index else (one[0], spans[1][0])
        line.put(2, cut, "")


def comprehension(
    line: Line, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, span: tuple[int, int]
) -> None:
    opening, closing = line.raw[span[0] : span[0] + 1], line.raw[span[1] - 1 : span[1]]
    if isinstance(node, ast.ListComp) and opening == b"[":
        line.put(2, span, "{" + line.text((span[0] + 1, span[1] - 1)) + "}")
        line.put(2, span, "(" + line.text((span[0] + 1, span[1] - 1)) + ")")
    elif not isinstance(node, ast.DictComp) and closing in (b"}", b")") and opening in (b"{", b"("):
        line.put(2, span, "[" + line.text((span[0] + 1, span[1] - 1)) + "]")
    targets: list[str] = []
    for generator in node.generators:
        iterable = line.span(generator.iter)
        previous = line.outer(iterable, span) if iterable is not None else None
        for test in generator.ifs:
            at = line.span(test)
            if at is not None and previous is not None:
                at = line.outer(at, span)
                line.put(1, (previous[1], at[1]), "")
                previous = at
            else:
                previous = None
        targets += [name.id for name in ast.walk(generator.target) if isinstance(name, ast.Name)]
        if previous is not None and not generator.ifs:
            for target in targets[:3]:
                for guard in (target, f"not {target}", f"{target} is not None"):
                    line.put(2, (previous[1], previous[1]), f" if {guard}")
                for name in line.names[:MAX_ADDED]:
                    if name not in targets:
                        for operator in ("!=", "in", "not in"):
                            line.put(3, (previous[1], previous[1]), f" if {target} {operator} {name}")
