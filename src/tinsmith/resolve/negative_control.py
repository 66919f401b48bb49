"""The negative control: the reproduction with its end replaced by a failure, which must be reported as one.

Whoever forges results inside the test process, by patching pytest, writing the report or ending the process, is
told by it: the same test ids, in the same files, must not pass now.
"""

import ast
from collections.abc import Iterable

from tinsmith.resolve.findings import parsed


def must_fail(text: str, nodeids: Iterable[str], *, by_error: bool) -> tuple[str, list[str]]:
    """The text of a test file in which each test of `nodeids` fails at its end, and those where that could be done.

    A test that may end early (it returns or yields) fails at its beginning. It fails by assertion or, `by_error`,
    by a RuntimeError, as the reproduction did. Line numbers before the failures stay.
    """
    tree = parsed(text)
    if tree is None:
        return text, []
    lines = text.split("\n")
    wanted: dict[tuple[str, ...], list[str]] = {}
    for nodeid in nodeids:
        names = tuple(nodeid.partition("[")[0].split("::")[1:])
        wanted.setdefault(names, []).append(nodeid)
    places: list[tuple[int, str]] = []
    done: list[str] = []
    for names, ids in wanted.items():
        function = _find(tree, names)
        if function is None or function.body[0].lineno == function.lineno:
            continue
        first = function.body[0]
        indent = lines[first.lineno - 1][: first.col_offset]
        if indent.strip():
            continue
        failure = 'raise RuntimeError("unexpected")' if by_error else "assert not 1"
        at = first.lineno - 1 if _may_end_early(function) else function.body[-1].end_lineno
        places.append((at or first.lineno - 1, indent + failure))
        done += ids
    for at, line in sorted(places, reverse=True):
        lines.insert(at, line)
    changed = "\n".join(lines)
    return (changed, done) if parsed(changed) is not None else (text, [])


def _find(tree: ast.Module, names: tuple[str, ...]) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    """The last definition of the name, as Python has it."""
    body: list[ast.stmt] = tree.body
    found: ast.stmt | None = None
    for name in names:
        kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        found = next((s for s in reversed(body) if isinstance(s, kinds) and s.name == name), None)
        body = found.body if isinstance(found, ast.ClassDef) else []
    return found if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef) else None


def _may_end_early(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Return | ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)
    return False
