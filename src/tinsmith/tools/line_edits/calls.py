"""Calls: arguments exchanged, left out, added; another function."""

import ast
from itertools import pairwise

from tinsmith.tools.line_edits.line import Line
from tinsmith.tools.line_edits.tables import CONFUSABLES, MAX_ADDED, MAX_ATTRIBUTES, MAX_CALLABLES, MAX_NAMES


def call(line: Line, node: ast.Call, span: tuple[int, int]) -> None:
    function = line.span(node.func)
    inside = (_open_bracket(line, function, span) if function else span[0], span[1] - 1)
    arguments = [(value, line.span(value)) for value in node.args]
    keywords = [(word, line.span(word)) for word in node.keywords]
    spans = [at for _, at in [*arguments, *keywords]]
    if function is not None:
        _called(line, node, function, span)
        if isinstance(node.func, ast.Attribute):
            receiver = line.span(node.func.value)
            if receiver is not None:
                line.put(1, span, line.text(receiver))
                if node.func.attr in ("get", "pop") and arguments and arguments[0][1] is not None:
                    line.put(1, span, f"{line.text(receiver)}[{line.text(arguments[0][1])}]")
        if not spans:
            line.put(1, span, line.text(function))
    if not all(at is not None for at in spans):
        return
    outers = [line.outer(at, inside) for at in spans if at is not None]
    positional = outers[: len(arguments)]
    for index, at in enumerate(outers):
        if len(outers) == 1:
            line.put(1, (at[0], at[1]), "")
        elif index:
            line.put(1, (outers[index - 1][1], at[1]), "")
        else:
            line.put(1, (at[0], outers[1][0]), "")
        if index < len(positional):
            line.put(1 if index == 0 else 2, span, line.text(at))
    for index, one in enumerate(positional):
        for two in positional[index + 1 :][:4]:
            line.swap(1, one, two)
    values = [at for word, _ in keywords if (at := line.span(word.value)) is not None]
    for one, two in pairwise(values):
        line.swap(2, one, two)
    for index, (value, at) in enumerate(arguments):
        if at is not None and not isinstance(value, ast.Starred):
            for new in line.values:
                line.put(3, positional[index], new)
            for new in ("None", "True", "False", "0", "1"):
                line.put(3, positional[index], new)
            if line.scope.self_name is not None:
                for attribute in line.scope.self_attributes[:MAX_ATTRIBUTES]:
                    line.put(3, positional[index], f"{line.scope.self_name}.{attribute}")
        if at is not None and not isinstance(value, (ast.Name, ast.Starred)):
            for name in line.names[: MAX_ADDED if index else MAX_NAMES]:
                line.put(2, positional[index], name)
    _added_arguments(line, node, outers, positional, inside)


def _added_arguments(
    line: Line,
    node: ast.Call,
    outers: list[tuple[int, int]],
    positional: list[tuple[int, int]],
    inside: tuple[int, int],
) -> None:
    extra = [*line.names[: MAX_ADDED + 4], "None", "True", "False", "0", "1", "''"]
    if line.scope.self_name is not None:
        used = line.scope.attributes.get(line.scope.self_name, [])
        extra += [line.scope.self_name, *(f"{line.scope.self_name}.{name}" for name in used[:MAX_ADDED])]
    end = positional[-1][1] if positional else inside[0]
    for name in extra:
        if positional:
            line.put(2, (end, end), f", {name}")
            line.put(3, (positional[0][0], positional[0][0]), f"{name}, ")
        else:
            line.put(2, (end, end), f"{name}, " if outers else name)
    for new in line.values:
        line.put(3, (end, end), f", {new}" if positional else f"{new}, " if outers else new)
        if positional:
            line.put(3, (positional[0][0], positional[0][0]), f"{new}, ")
    if len(positional) > 1:
        between = positional[0][1]
        for name in [*line.names[:MAX_ADDED], "None", "0"]:
            line.put(3, (between, between), f", {name}")
    present = {word.arg for word in node.keywords}
    tail = outers[-1][1] if outers else inside[0]
    separator = ", " if outers else ""
    for starred in line.scope.starred:
        line.put(2, (tail, tail), f"{separator}{starred}")
    for word in line.scope.keywords:
        if word not in present:
            known = [word] if word in line.scope.variables else []
            for value in [*known, "True", "False", "None"]:
                line.put(2 if known and value == word else 3, (tail, tail), f"{separator}{word}={value}")
    for name in line.names[:MAX_NAMES]:
        if name not in present and name not in line.scope.keywords:
            line.put(3, (tail, tail), f"{separator}{name}={name}")
    label = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    if label in ("sorted", "sort") and "reverse" not in present:
        line.put(2, (tail, tail), f"{separator}reverse=True")


def _open_bracket(line: Line, function: tuple[int, int], span: tuple[int, int]) -> int:
    at = line.raw.find(b"(", function[1], span[1])
    return at + 1 if at >= 0 else function[1]


def _called(line: Line, node: ast.Call, function: tuple[int, int], span: tuple[int, int]) -> None:
    if isinstance(node.func, ast.Name):
        known = CONFUSABLES.get(node.func.id, ())
        for new in known:
            line.put(0, function, new)
        for new in line.scope.callables[: MAX_CALLABLES + 4]:
            if new != node.func.id and new not in known:
                line.put(2, function, new)
