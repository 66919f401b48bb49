"""All edits of a line, in order, and those of them that leave the file valid."""

import ast
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice

from tinsmith.errors import InputError
from tinsmith.tools.line_edits.calls import call
from tinsmith.tools.line_edits.constants import constant
from tinsmith.tools.line_edits.containers import comprehension, elements, subscript
from tinsmith.tools.line_edits.line import Line
from tinsmith.tools.line_edits.names import attribute, name
from tinsmith.tools.line_edits.operators import binary, boolean, compare, condition, ternary, unary
from tinsmith.tools.line_edits.source import Module, Unit, parsed
from tinsmith.tools.line_edits.statements import statement, yields
from tinsmith.tools.line_edits.syntax import walk
from tinsmith.tools.line_edits.values import is_value, value


def candidate_edits(source: str, line: int, *, limit: int | None = None) -> list[str]:
    """Replacement texts for one line of a Python file, the forms that fix more often first.

    `source` is the whole file, `line` counts from 1. Each text is the full line with its indentation,
    without a newline, differs from the line as it stands, occurs once, and leaves the file syntactically
    valid. At most `limit` of them. A line that is blank, a comment, inside a multi-line string or only a
    keyword (`else:`) has none. The order is a function of the arguments alone.

    Raises InputError when the file does not parse or has no such line.
    """
    module = parsed(source)
    if not 1 <= line <= len(module.lines):
        raise InputError(
            "line-missing", f"The file has {len(module.lines)} lines, not {line}.", "Give a line of the file."
        )
    text = module.lines[line - 1]
    place = module.locate(line)
    if place is None or not text.strip():
        return []
    unit, chain = place
    texts = edits_of(Line(text, line, unit, module.scope(chain)))
    return list(islice(_valid(module, unit, line, dict.fromkeys(texts)), limit))


def scope_names(source: str, line: int) -> list[str]:
    """Variables in scope at a line of a Python file: parameters and names of the enclosing function,
    nearest use first.

    Raises InputError when the file does not parse.
    """
    module = parsed(source)
    place = module.locate(line)
    if place is None:
        return []
    scope = module.scope(place[1])
    return scope.near(line, len(scope.variables))


def _valid(module: Module, unit: Unit, line: int, texts: Iterable[str]) -> Iterator[str]:
    """Those of `texts` that differ from the line and parse in its place."""
    original = module.lines[line - 1]
    head = module.lines[unit.first - 1 : line - 1]
    tail = module.lines[line : unit.last]
    indent = len(module.lines[unit.first - 1]) - len(module.lines[unit.first - 1].lstrip())
    for text in texts:
        if text == original:
            continue
        if line == unit.first:
            clipped = text[indent + (2 if text.startswith("elif", indent) else 0) :]
            lines = [clipped, *tail]
        else:
            lines = [head[0][indent + unit.clipped :], *head[1:], text, *tail]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.parse(
                    unit.before
                    + (" " if unit.before.startswith("match") else "")
                    + "\n".join(lines)
                    + "\n"
                    + unit.after
                )
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        yield text


def edits_of(line: Line) -> list[str]:
    """The line as every family of edits would have it, lower ranks first; unchecked, with repetitions."""
    for node, parent, place in walk(line.unit.node, None, "", line.number):
        statement(line, node)
        span = line.span(node)
        if isinstance(node, ast.expr) and place in ("test", "ifs", "guard"):
            condition(line, node)
        if span is None:
            continue
        if isinstance(node, ast.Compare):
            compare(line, node, span)
        elif isinstance(node, ast.BoolOp):
            boolean(line, node, span)
        elif isinstance(node, ast.BinOp):
            binary(line, node, span)
        elif isinstance(node, ast.UnaryOp):
            unary(line, node, span)
        elif isinstance(node, ast.Constant):
            constant(line, node, span, parent)
        elif isinstance(node, ast.Call):
            call(line, node, span)
        elif isinstance(node, ast.Name):
            name(line, node, span, parent, place)
        elif isinstance(node, ast.Attribute):
            attribute(line, node, span, parent, place)
        elif isinstance(node, ast.Subscript):
            subscript(line, node, span)
        elif isinstance(node, ast.IfExp):
            ternary(line, node, span)
        elif isinstance(node, (ast.Tuple, ast.List)):
            elements(line, node.elts, span)
        elif (isinstance(node, ast.Starred) and isinstance(parent, (ast.Call, ast.Tuple, ast.List))) or isinstance(
            node, ast.Await
        ):
            inner = line.span(node.value)
            if inner is not None:
                line.put(2, span, line.text(inner))
        elif isinstance(node, (ast.Yield, ast.YieldFrom)):
            yields(line, node, span)
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            comprehension(line, node, span)
        if isinstance(node, ast.expr) and is_value(node, parent, place):
            value(line, node, span, parent, place)
    return [text for rank in line.found for text in rank]
