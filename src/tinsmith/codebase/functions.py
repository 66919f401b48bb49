"""The functions of a Python file, by its syntax tree."""

import ast
import warnings
from dataclasses import dataclass


@dataclass(frozen=True)
class Function:
    """A function or method: 1-based first and last line, decorators included; `name` as in `Class.method`.

    `body` is the line of its first statement: what comes before it runs when the function is defined.
    """

    path: str
    name: str
    first: int
    last: int
    body: int


def functions_in(path: str, text: str) -> list[Function]:
    """The functions of `text` in the order of their lines, nested ones too; none where it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a stranger's invalid escapes are no news to the person
            tree = ast.parse(text.removeprefix("\ufeff"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found: list[Function] = []
    waiting: list[tuple[ast.AST, str]] = [(tree, "")]
    while waiting:
        node, prefix = waiting.pop()
        for child in ast.iter_child_nodes(node):
            name = prefix
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{prefix}{child.name}."
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
                last = child.end_lineno or child.lineno
                found.append(Function(path, name[:-1], first, last, child.body[0].lineno))
            waiting.append((child, name))
    return sorted(found, key=lambda function: (function.first, -function.last))
