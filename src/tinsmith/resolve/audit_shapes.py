"""Shapes of code that make a test pass without making the code right: swallowed errors, objects that equal anything."""

import ast
import builtins
from collections.abc import Collection, Iterator

from tinsmith.resolve.audit_names import Occurrence

_CATCH_ALL = frozenset({"Exception", "BaseException"})
_COMPARISONS = frozenset({"__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"})
_ALWAYS = _COMPARISONS | {"__bool__", "__contains__", "__instancecheck__", "__subclasscheck__"}


def swallowed_errors(tree: ast.Module, raised: Collection[str]) -> Iterator[Occurrence]:
    """Handlers that catch everything and do not raise again; `raised` are the reproduction's own errors."""
    errors = {name for error in raised for name in _with_parents(error)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            if _raises(node.body):
                continue
            if (kind := _first_of(node.type, errors)) and _only_a_constant(node.body):
                text = f"`except {kind}` swallows the very error of the failing test and answers with a fixed value."
                yield Occurrence("swallows", kind, node.lineno, text)
            elif kind := _caught(node.type):
                error = next(iter(sorted(raised)), "")
                ends = f", the {error} of the failing test too" if error else ""
                text = f"`except {kind}` swallows every error{ends}: what fails inside looks like success."
                yield Occurrence("swallows", kind, node.lineno, text)
        elif isinstance(node, ast.Call) and _last_name(node.func) == "suppress":
            if any(_last_name(argument) in _CATCH_ALL for argument in node.args):
                text = "`suppress(Exception)` swallows every error: what fails inside looks like success."
                yield Occurrence("swallows", "suppress", node.lineno, text)
        elif isinstance(node, ast.Try | ast.TryStar):
            for statement in _own_nodes(node.finalbody):
                if isinstance(statement, ast.Return | ast.Break | ast.Continue):
                    text = "Leaving a `finally` by return, break or continue swallows every error."
                    yield Occurrence("swallows", "finally", statement.lineno, text)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in ("__exit__", "__aexit__"):
            if _always(node.body):
                text = f"`{node.name}` that returns true swallows every error of its `with` block."
                yield Occurrence("swallows", node.name, node.lineno, text)
        elif isinstance(node, ast.Assign | ast.NamedExpr) and _last_name(node.value) in _CATCH_ALL:
            text = "Another name for `Exception` can catch every error unseen."
            yield Occurrence("swallows", "alias", node.lineno, text)


def always_equal(tree: ast.Module) -> Iterator[Occurrence]:
    """Comparison methods that do not look at what they are compared with."""
    for node in ast.walk(tree):
        name = ""
        if isinstance(node, ast.FunctionDef) and node.name in _ALWAYS:
            unread = node.name in _COMPARISONS and len(node.args.args) == 2 and not _reads_both(node)
            name = node.name if unread or _always(node.body) else ""
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            names = [_last_name(target) for target in node.targets]
            if names and names[0] in _ALWAYS and isinstance(node.value.body, ast.Constant) and node.value.body.value:
                name = names[0]
        if name:
            text = f"`{name}` is true whatever it is given, so a test that compares the object proves nothing."
            yield Occurrence("always-equal", name, getattr(node, "lineno", 1), text)


def checks_in(tree: ast.Module) -> int:
    """How many checks the code makes itself: `assert`, and AssertionError raised."""
    raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and node.exc]
    own = [error.func if isinstance(error, ast.Call) else error for error in raised]
    asserts = sum(isinstance(node, ast.Assert) for node in ast.walk(tree))
    return asserts + sum(_last_name(error) == "AssertionError" for error in own)


def _caught(kind: ast.expr | None) -> str:
    """How a handler catches everything; empty where it catches something in particular."""
    if kind is None:
        return "everything"
    if isinstance(kind, ast.Tuple):
        return next((name for each in kind.elts if (name := _caught(each))), "")
    name = _last_name(kind)
    if not name:
        return "a computed class"
    return name if name in _CATCH_ALL else ""


def _always(body: list[ast.stmt]) -> bool:
    """Whether a function always returns the same true value."""
    returned = [node.value for node in _own_nodes(body) if isinstance(node, ast.Return)]
    return bool(returned) and all(isinstance(value, ast.Constant) and bool(value.value) for value in returned)


def _with_parents(error: str) -> set[str]:
    """A built-in error and the particular ones that it is a kind of: KeyError and LookupError."""
    kind = getattr(builtins, error, None)
    if not isinstance(kind, type):
        return {error}
    return {parent.__name__ for parent in kind.__mro__} - _CATCH_ALL - {"object"}


def _first_of(kind: ast.expr | None, errors: set[str]) -> str:
    kinds = kind.elts if isinstance(kind, ast.Tuple) else [kind] if kind else []
    return next((name for each in kinds if (name := _last_name(each)) in errors), "")


def _only_a_constant(body: list[ast.stmt]) -> bool:
    """Whether a handler does nothing, or nothing but give a constant."""
    match body:
        case [ast.Pass() | ast.Continue()] | [ast.Return(value=None | ast.Constant())]:
            return True
        case [ast.Assign(value=ast.Constant())] | [ast.Expr(value=ast.Constant())]:
            return True
        case _:
            return False


def _reads_both(method: ast.FunctionDef) -> bool:
    """Whether a comparison looks at both of what it compares, or gives no answer."""
    answers = [node.value for node in _own_nodes(method.body) if isinstance(node, ast.Return) and node.value]
    if all(_last_name(answer) == "NotImplemented" for answer in answers):
        return True
    read = {node.id for node in _own_nodes(method.body) if isinstance(node, ast.Name)}
    return all(argument.arg in read for argument in method.args.args)


def _raises(body: list[ast.stmt]) -> bool:
    return any(isinstance(node, ast.Raise) for node in _own_nodes(body))


def _own_nodes(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Everything below, but not inside functions that are only defined there."""
    waiting: list[ast.AST] = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)


def _last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
