"""What is known at a place: names, attributes, callables, strings, short expressions of its function."""

import ast
from dataclasses import dataclass, field

from tinsmith.tools.line_edits.syntax import FUNCTION
from tinsmith.tools.line_edits.tables import BUILTINS, MAX_CALLABLES, MAX_EXPRESSION


@dataclass
class Scope:
    """Names of the enclosing function (or module), in the order of first appearance."""

    variables: list[str] = field(default_factory=list[str])
    lines: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    callables: list[str] = field(default_factory=list[str])
    attributes: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    strings: list[str] = field(default_factory=list[str])
    keywords: list[str] = field(default_factory=list[str])
    starred: list[str] = field(default_factory=list[str])  # `*args` and `**kwargs` of the function
    exceptions: list[str] = field(default_factory=list[str])
    # Short expressions of the function with their lines: a missing argument or condition often stands
    # elsewhere in it.
    values: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    tests: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    self_name: str | None = None
    self_attributes: list[str] = field(default_factory=list[str])
    is_async: bool = False
    in_function: bool = False

    def near(self, line: int, bound: int) -> list[str]:
        """Variables used closest to `line` first."""

        def distance(name: str) -> int:
            return min((abs(at - line) for at in self.lines.get(name, ())), default=1_000_000)

        return sorted(self.variables, key=distance)[:bound]

    @staticmethod
    def nearest(expressions: list[tuple[int, str]], line: int, bound: int) -> list[str]:
        return list(dict.fromkeys(text for _, text in sorted(expressions, key=lambda item: abs(item[0] - line))))[
            :bound
        ]


def read_scope(place: ast.AST, owner: ast.ClassDef | None, tree: ast.Module, lines: list[str]) -> Scope:
    scope = Scope(in_function=isinstance(place, FUNCTION), is_async=isinstance(place, ast.AsyncFunctionDef))
    imported: set[str] = set()
    defined: list[str] = []
    for statement in tree.body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            imported.update((alias.asname or alias.name).split(".")[0] for alias in statement.names)
        elif isinstance(statement, (*FUNCTION, ast.ClassDef)):
            defined.append(statement.name)
    if isinstance(place, FUNCTION):
        arguments = place.args
        positional = [*arguments.posonlyargs, *arguments.args]
        for argument in [*positional, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
            if argument is not None:
                _note(scope.variables, argument.arg)
                scope.lines.setdefault(argument.arg, []).append(argument.lineno)
        if arguments.vararg is not None:
            scope.starred.append(f"*{arguments.vararg.arg}")
        if arguments.kwarg is not None:
            scope.starred.append(f"**{arguments.kwarg.arg}")
        if positional and positional[0].arg in ("self", "cls"):
            scope.self_name = positional[0].arg
    called: set[int] = set()
    for node in ast.walk(place):
        if isinstance(node, ast.Call):
            called.add(id(node.func))
            if isinstance(node.func, ast.Name):
                _note(scope.callables, node.func.id)
            for keyword in node.keywords:
                if keyword.arg:
                    _note(scope.keywords, keyword.arg)
        elif isinstance(node, (ast.Raise, ast.ExceptHandler)):
            raised = node.exc if isinstance(node, ast.Raise) else node.type
            raised = raised.func if isinstance(raised, ast.Call) else raised
            if isinstance(raised, ast.Name) and raised.id[:1].isupper():
                _note(scope.exceptions, raised.id)
    for node in ast.walk(place):
        if isinstance(node, ast.expr) and id(node) not in called:
            _read_expression(scope, node, lines)
        if isinstance(node, ast.Name):
            if id(node) in called or node.id in imported or (node.id in BUILTINS):
                continue
            _note(scope.variables, node.id)
            scope.lines.setdefault(node.id, []).append(node.lineno)
        elif isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name):
                _note(scope.attributes.setdefault(node.value.id, []), node.attr)
            else:
                _note(scope.attributes.setdefault("", []), node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) <= 40:
            if "\n" not in node.value:
                _note(scope.strings, repr(node.value))
        elif isinstance(node, ast.ExceptHandler) and node.name:
            _note(scope.variables, node.name)
            scope.lines.setdefault(node.name, []).append(node.lineno)
    if scope.self_name is not None:
        scope.variables.remove(scope.self_name)
        scope.self_attributes = list(scope.attributes.get(scope.self_name, ()))
        for node in ast.walk(owner) if owner is not None else ():
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == scope.self_name
            ):
                _note(scope.self_attributes, node.attr)
    for name in defined:
        if len(scope.callables) >= MAX_CALLABLES:
            break
        _note(scope.callables, name)
    return scope


def _read_expression(scope: Scope, node: ast.expr, lines: list[str]) -> None:
    compound = (ast.Attribute, ast.Subscript, ast.Call, ast.BinOp)
    if not isinstance(node, (*compound, ast.Compare)) or node.end_lineno != node.lineno:
        return
    start, end = node.col_offset, node.end_col_offset or 0
    if end - start > MAX_EXPRESSION or not isinstance(getattr(node, "ctx", None), (ast.Load, type(None))):
        return
    text = lines[node.lineno - 1].encode()[start:end].decode("utf-8", "replace")
    if not isinstance(node, ast.Compare):
        scope.values.append((node.lineno, text))
    if isinstance(node, (ast.Compare, ast.Call, ast.Attribute)):
        scope.tests.append((node.lineno, text))


def _note(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)
