"""One-line bugs planted in Python functions: training tasks, and held-out bugs to measure on.

The distribution is modelled on what one-line bug fixes in real projects change (identifiers, attributes and
calls most, then arguments, conditions, boundaries, constants), not on what the repair side enumerates: it
shares no code with it, so its reach can be measured honestly.

Kinds (`KINDS` has their weights):

- conditions: boundary, comparison, membership, boolean-operator, missing-operand, negated, dropped-not,
  dropped-guard, inverted-branches, elif-to-if
- arithmetic: off-by-one, dropped-offset, operator, dropped-term, augmented, swapped-operands, sign
- names: wrong-name, wrong-attribute, wrong-method, wrong-function, missing-self, missing-attribute
- calls: swapped-arguments, missing-argument, missing-keyword, wrong-argument, missing-call, extra-call,
  missing-parentheses, missing-await
- constants: wrong-number, wrong-boolean, wrong-none, wrong-string, wrong-default
- sequences: slice-bound, wrong-index, missing-subscript, swapped-elements
- flow: wrong-return, missing-return, loop-control, exception-type, yield
"""

import ast
import io
import random
import tokenize
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from tinsmith.errors import InputError

KINDS: dict[str, float] = {
    "boundary": 7,
    "comparison": 5,
    "membership": 3,
    "boolean-operator": 4,
    "missing-operand": 8,
    "negated": 5,
    "dropped-not": 5,
    "dropped-guard": 2,
    "inverted-branches": 1,
    "elif-to-if": 1,
    "off-by-one": 6,
    "dropped-offset": 6,
    "operator": 5,
    "dropped-term": 4,
    "augmented": 3,
    "swapped-operands": 2,
    "sign": 1,
    "wrong-name": 9,
    "wrong-attribute": 6,
    "wrong-method": 6,
    "wrong-function": 4,
    "missing-self": 2,
    "missing-attribute": 3,
    "swapped-arguments": 5,
    "missing-argument": 6,
    "missing-keyword": 3,
    "wrong-argument": 4,
    "missing-call": 4,
    "extra-call": 1,
    "missing-parentheses": 2,
    "missing-await": 1,
    "wrong-number": 3,
    "wrong-boolean": 4,
    "wrong-none": 2,
    "wrong-string": 2,
    "wrong-default": 2,
    "slice-bound": 4,
    "wrong-index": 4,
    "missing-subscript": 2,
    "swapped-elements": 2,
    "wrong-return": 5,
    "missing-return": 2,
    "loop-control": 2,
    "exception-type": 3,
    "yield": 1,
}
"""Weight of each kind of bug: how often it is drawn where it is possible."""

_COMPARISON: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Is: "is",
    ast.IsNot: "is not",
}
_BOUNDARY = {"<": ("<=",), "<=": ("<",), ">": (">=",), ">=": (">",)}
_WRONG_COMPARISON = {
    "==": ("!=", ">=", "<=", "is"),
    "!=": ("==", "<", ">"),
    "<": (">", "!=", "=="),
    "<=": (">=", "=="),
    ">": ("<", "!=", "=="),
    ">=": ("<=", "=="),
}
_MEMBERSHIP = {"in": ("not in", "=="), "not in": ("in", "!="), "is": ("is not",), "is not": ("is", "!=")}
_OPERATOR: dict[type[ast.operator], tuple[str, tuple[str, ...]]] = {
    ast.Add: ("+", ("-",)),
    ast.Sub: ("-", ("+",)),
    ast.Mult: ("*", ("/", "+", "**")),
    ast.Div: ("/", ("//", "*")),
    ast.FloorDiv: ("//", ("/", "%")),
    ast.Mod: ("%", ("//",)),
    ast.Pow: ("**", ("*",)),
    ast.BitAnd: ("&", ("|",)),
    ast.BitOr: ("|", ("&", "^")),
    ast.BitXor: ("^", ("|",)),
    ast.LShift: ("<<", (">>",)),
    ast.RShift: (">>", ("<<",)),
}
_METHODS = (
    ("append", "extend"),
    ("append", "insert"),
    ("add", "update"),
    ("remove", "discard"),
    ("pop", "get"),
    ("pop", "popleft"),
    ("keys", "values"),
    ("items", "values"),
    ("items", "keys"),
    ("strip", "rstrip"),
    ("strip", "lstrip"),
    ("lstrip", "rstrip"),
    ("split", "rsplit"),
    ("split", "partition"),
    ("split", "splitlines"),
    ("find", "index"),
    ("find", "rfind"),
    ("startswith", "endswith"),
    ("lower", "upper"),
    ("isdigit", "isalpha"),
    ("encode", "decode"),
    ("read", "readline"),
    ("match", "search"),
    ("match", "fullmatch"),
    ("union", "intersection"),
    ("issubset", "issuperset"),
    ("exists", "isfile"),
    ("isfile", "isdir"),
    ("dirname", "basename"),
    ("load", "loads"),
    ("dump", "dumps"),
    ("setdefault", "get"),
    ("floor", "ceil"),
    ("acquire", "release"),
    ("group", "groups"),
    ("debug", "info"),
    ("warning", "error"),
)
_FUNCTIONS = (
    ("min", "max"),
    ("any", "all"),
    ("list", "tuple"),
    ("list", "set"),
    ("int", "float"),
    ("str", "repr"),
    ("sorted", "reversed"),
    ("sorted", "list"),
    ("len", "sum"),
    ("isinstance", "issubclass"),
    ("zip", "enumerate"),
    ("range", "enumerate"),
    ("hasattr", "getattr"),
)
_EXCEPTIONS_WORDS = """
ValueError TypeError KeyError IndexError AttributeError RuntimeError OSError ImportError
NotImplementedError StopIteration Exception
"""
_EXCEPTIONS = tuple(_EXCEPTIONS_WORDS.split())
# Calls whose loss leaves an expression that often still runs.
_LOSSY_WORDS = """
abs bool bytes dict float frozenset int iter len list max min repr reversed round set sorted str sum tuple
"""
_LOSSY = frozenset(_LOSSY_WORDS.split())
_NOT_VARIABLES = (
    _LOSSY
    | frozenset(name for pair in _FUNCTIONS for name in pair)
    | frozenset(_EXCEPTIONS)
    | {"super", "print", "type", "object"}
)


@dataclass(frozen=True)
class Mutation:
    """A bug in one line: `line` counts from 1, `before` and `after` are the full line without its newline."""

    line: int
    before: str
    after: str
    kind: str

    def apply(self, source: str) -> str:
        """The file with the bug in it."""
        lines = source.split("\n")
        lines[self.line - 1] = self.after
        return "\n".join(lines)


@dataclass(frozen=True)
class _Splice:
    line: int
    start: int  # bytes
    end: int
    new: str
    kind: str


def _pairs(pairs: tuple[tuple[str, str], ...]) -> dict[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {}
    for one, two in pairs:
        table[one] = (*table.get(one, ()), two)
        table[two] = (*table.get(two, ()), one)
    return table


_METHOD_TABLE = _pairs(_METHODS)
_FUNCTION_TABLE = _pairs(_FUNCTIONS)


class _Function:
    """What one function knows: names by role, attributes by owner, strings."""

    def __init__(self, node: ast.AST) -> None:
        self.variables: list[str] = []
        self.called: list[str] = []
        self.attributes: dict[str, list[str]] = {}
        self.methods: dict[str, list[str]] = {}
        self.strings: list[str] = []
        self.has_self = False
        self.is_async = isinstance(node, ast.AsyncFunctionDef)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            self.has_self = bool(arguments) and arguments[0].arg == "self"
            self.variables = [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]
        functions: set[int] = set()
        owners: set[int] = set()
        for child in ast.walk(node):
            if isinstance(child, ast.Call):
                functions.add(id(child.func))
            elif isinstance(child, ast.Attribute):
                owners.add(id(child.value))
            if isinstance(child, ast.Name) and (id(child) not in owners or child.id in self.variables):
                names = self.called if id(child) in functions else self.variables
                if (
                    child.id not in names
                    and child.id not in ("self", "cls")
                    and child.id not in _NOT_VARIABLES
                ):
                    names.append(child.id)
            if isinstance(child, ast.Attribute):
                owner = ast.unparse(child.value) if isinstance(child.value, (ast.Name, ast.Attribute)) else ""
                known = (self.methods if id(child) in functions else self.attributes).setdefault(owner, [])
                if child.attr not in known:
                    known.append(child.attr)
            elif (
                isinstance(child, ast.Constant)
                and isinstance(child.value, str)
                and (
                    0 < len(child.value) <= 30
                    and child.value.isprintable()
                    and child.value not in self.strings
                )
            ):
                self.strings.append(child.value)
        self.variables = [
            name for name in self.variables if name not in self.called or not name[:1].isupper()
        ]


class _Planter:
    """Reads a file once and lists the splices that plant a bug, per line."""

    def __init__(self, source: str) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.tree = ast.parse(source)
        except (SyntaxError, ValueError) as error:
            raise InputError(
                "source-invalid", f"The file does not parse: {error}", "Give a file that parses."
            ) from error
        self.lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self.raw = [line.encode() for line in self.lines]
        self.found: list[_Splice] = []

    def plant(self, first: int, last: int) -> list[_Splice]:
        self.found = []
        self._visit(self.tree, None, "", None, first, last)
        return self.found

    def _visit(
        self,
        node: ast.AST,
        parent: ast.AST | None,
        place: str,
        function: _Function | None,
        first: int,
        last: int,
    ) -> None:
        start, end = getattr(node, "lineno", None), getattr(node, "end_lineno", None)
        if start is not None and end is not None:
            decorators: list[ast.expr] = getattr(node, "decorator_list", [])
            if end < first or min([start, *(item.lineno for item in decorators)]) > last:
                return
        if isinstance(node, ast.JoinedStr) or _is_docstring(node):
            return
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            function = _Function(node)
        if function is not None and start is not None:
            self._node(node, parent, place, function, first, last)
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "type_params", "decorator_list"):
                continue
            if isinstance(value, ast.AST):
                self._visit(value, node, name, function, first, last)
            elif isinstance(value, list):
                for item in value:  # pyright: ignore[reportUnknownVariableType]
                    if isinstance(item, ast.AST):
                        self._visit(item, node, name, function, first, last)

    # Positions ------------------------------------------------------------------------------------

    def _span(self, node: ast.AST | None) -> tuple[int, int, int] | None:
        line: int | None = getattr(node, "lineno", None)
        if node is None or line is None or getattr(node, "end_lineno", None) != line:
            return None
        start: int = node.col_offset  # type: ignore[attr-defined]
        end: int = node.end_col_offset  # type: ignore[attr-defined]
        return line, start, end

    def _text(self, node: ast.AST) -> str | None:
        span = self._span(node)
        return self.raw[span[0] - 1][span[1] : span[2]].decode() if span is not None else None

    def _put(self, kind: str, span: tuple[int, int, int] | None, new: str) -> None:
        if span is not None:
            self.found.append(_Splice(span[0], span[1], span[2], new, kind))

    def _replace(self, kind: str, node: ast.AST, new: str | None) -> None:
        if new is not None:
            self._put(kind, self._span(node), new)

    def _operator(self, left: ast.AST, right: ast.AST, text: str) -> tuple[int, int, int] | None:
        """Where the operator `text` stands between two operands of one line."""
        one, two = self._span(left), self._span(right)
        if one is None or two is None or one[0] != two[0]:
            return None
        between = self.raw[one[0] - 1][one[2] : two[1]]
        bare = between.strip(b" ()")
        if bare != text.encode():
            return None
        start = one[2] + between.index(bare)
        return one[0], start, start + len(bare)

    def _cut(self, kind: str, items: list[ast.AST], index: int) -> None:
        """One item of a comma-separated list removed, where the neighbours are on the same line and
        unparenthesised.
        """
        span = self._span(items[index])
        if span is None:
            return
        if len(items) == 1:
            self._put(kind, span, "")
        elif index:
            before = self._span(items[index - 1])
            if (
                before is not None
                and before[0] == span[0]
                and self.raw[span[0] - 1][before[2] : span[1]].strip(b" ") == b","
            ):
                self._put(kind, (span[0], before[2], span[2]), "")
        else:
            after = self._span(items[1])
            if (
                after is not None
                and after[0] == span[0]
                and self.raw[span[0] - 1][span[2] : after[1]].strip(b" ") == b","
            ):
                self._put(kind, (span[0], span[1], after[1]), "")

    def _exchange(self, kind: str, one: ast.AST, two: ast.AST) -> None:
        first, second = self._span(one), self._span(two)
        if first is None or second is None or first[0] != second[0] or first[2] > second[1]:
            return
        raw = self.raw[first[0] - 1]
        middle = raw[first[2] : second[1]]
        if b"(" in middle or b")" in middle:
            return
        new = raw[second[1] : second[2]] + middle + raw[first[1] : first[2]]
        self._put(kind, (first[0], first[1], second[2]), new.decode())

    # Kinds ----------------------------------------------------------------------------------------

    def _node(
        self, node: ast.AST, parent: ast.AST | None, place: str, function: _Function, first: int, last: int
    ) -> None:
        plant = _PLANTERS.get(type(node))
        if plant is not None:
            plant(self, node, parent, place, function)
        if (
            place == "test"
            and isinstance(node, ast.expr)
            and not (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not))
        ):
            text = self._text(node)
            if text is not None:
                single = isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Compare))
                self._replace("negated", node, f"not {text}" if single else f"not ({text})")

    def compare(self, node: ast.Compare, parent: ast.AST | None, place: str, function: _Function) -> None:
        operands = [node.left, *node.comparators]
        for left, operation, right in zip(operands, node.ops, operands[1:], strict=False):
            text = _COMPARISON[type(operation)]
            at = self._operator(left, right, text)
            for kind, table in (
                ("boundary", _BOUNDARY),
                ("comparison", _WRONG_COMPARISON),
                ("membership", _MEMBERSHIP),
            ):
                for new in table.get(text, ()):
                    self._put(kind, at, new)
        if len(operands) == 2 and isinstance(node.ops[0], (ast.Lt, ast.LtE, ast.Gt, ast.GtE)):
            self._exchange("swapped-operands", node.left, node.comparators[0])

    def boolean(self, node: ast.BoolOp, parent: ast.AST | None, place: str, function: _Function) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in pairwise(node.values):
            self._put("boolean-operator", self._operator(left, right, old), new)
        for index, value in enumerate(node.values):
            near = node.values[index - 1 if index else 1]
            one, two = self._span(value), self._span(near)
            if one is None or two is None or one[0] != two[0]:
                continue
            low, high = (two[2], one[1]) if index else (one[2], two[1])
            if self.raw[one[0] - 1][low:high].strip(b" ") == old.encode():
                self._put(
                    "missing-operand", (one[0], two[2], one[2]) if index else (one[0], one[1], two[1]), ""
                )

    def unary(self, node: ast.UnaryOp, parent: ast.AST | None, place: str, function: _Function) -> None:
        span, inner = self._span(node), self._span(node.operand)
        if span is None or inner is None:
            return
        kind = "dropped-not" if isinstance(node.op, ast.Not) else "sign"
        self._put(
            kind,
            (
                span[0],
                span[1],
                inner[1] if self.raw[span[0] - 1][inner[1] - 1 : inner[1]] != b"(" else inner[1] - 1,
            ),
            "",
        )

    def binary(self, node: ast.BinOp, parent: ast.AST | None, place: str, function: _Function) -> None:
        if isinstance(node.op, ast.Mod) and isinstance(node.left, (ast.Constant, ast.JoinedStr)):
            return
        if type(node.op) not in _OPERATOR:
            return
        text, others = _OPERATOR[type(node.op)]
        at = self._operator(node.left, node.right, text)
        for new in others:
            self._put("operator", at, new)
        span, left, right = self._span(node), self._span(node.left), self._span(node.right)
        if span is None or left is None or right is None or at is None:
            return
        offset = isinstance(node.right, ast.Constant) and isinstance(node.op, (ast.Add, ast.Sub))
        if self.raw[span[0] - 1][left[2] : right[1]].strip(b" ") == text.encode():
            self._put("dropped-offset" if offset else "dropped-term", (span[0], left[2], right[2]), "")
            if not offset:
                self._put("dropped-term", (span[0], left[1], right[1]), "")
        if isinstance(node.op, (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod)):
            self._exchange("swapped-operands", node.left, node.right)

    def augmented(self, node: ast.AugAssign, parent: ast.AST | None, place: str, function: _Function) -> None:
        if type(node.op) not in _OPERATOR:
            return
        text, others = _OPERATOR[type(node.op)]
        at = self._operator(node.target, node.value, f"{text}=")
        for new in (*(f"{other}=" for other in others), "="):
            self._put("augmented", at, new)

    def assign(self, node: ast.Assign, parent: ast.AST | None, place: str, function: _Function) -> None:
        if len(node.targets) == 1 and isinstance(node.targets[0], (ast.Tuple, ast.List)):
            for one, two in pairwise(node.targets[0].elts):
                self._exchange("swapped-elements", one, two)

    def constant(self, node: ast.Constant, parent: ast.AST | None, place: str, function: _Function) -> None:
        value = node.value
        default = place in ("defaults", "kw_defaults")
        if isinstance(value, bool):
            self._replace("wrong-default" if default else "wrong-boolean", node, str(not value))
        elif isinstance(value, int):
            shifted = isinstance(parent, (ast.Compare, ast.BinOp, ast.Slice, ast.Call)) or place == "slice"
            kind = "wrong-default" if default else "off-by-one" if shifted else "wrong-number"
            for new in dict.fromkeys((value + 1, value - 1)):
                if new >= 0 or isinstance(parent, (ast.Subscript, ast.Slice, ast.Return, ast.Assign)):
                    self._replace(kind, node, str(new))
            for new in (0, 1, 2, 10, value * 2):
                if abs(new - value) > 1:
                    self._replace("wrong-default" if default else "wrong-number", node, str(new))
            if isinstance(parent, ast.Subscript) and value == 0:
                self._replace("wrong-index", node, "-1")
        elif value is None:
            for new in ("False", "True", "0", "''", "[]", "{}"):
                if default or not isinstance(parent, ast.Compare):
                    self._replace("wrong-default" if default else "wrong-none", node, new)
        elif isinstance(value, str):
            text = self._text(node)
            if text is not None and text[:1] in "'\"" and text[:3] not in ('"""', "'''") and value:
                for other in function.strings:
                    if other != value and not any(mark in other for mark in "'\"\\"):
                        self._replace("wrong-string", node, f"{text[0]}{other}{text[0]}")
                if len(value) > 1 and not any(mark in value for mark in "'\"\\"):
                    self._replace("wrong-string", node, f"{text[0]}{value[:-1]}{text[0]}")

    def call(self, node: ast.Call, parent: ast.AST | None, place: str, function: _Function) -> None:
        arguments: list[ast.AST] = list(node.args)
        everything: list[ast.AST] = [*node.args, *node.keywords]
        for one, two in pairwise(arguments):
            self._exchange("swapped-arguments", one, two)
        for index in range(len(arguments)):
            if len(everything) > 1:
                self._cut("missing-argument", everything, index)
        for index in range(len(arguments), len(everything)):
            self._cut("missing-keyword", everything, index)
        for argument in node.args:
            if isinstance(argument, (ast.Attribute, ast.Constant, ast.Subscript)):
                for name in function.variables:
                    self._replace("wrong-argument", argument, name)
        # `len(x)` becomes `x`; the wrappers of `_LOSSY` go missing most, so they count twice.
        plain = (
            len(node.args) == 1
            and not node.keywords
            and not isinstance(node.args[0], (ast.Starred, ast.GeneratorExp))
        )
        if plain and isinstance(node.func, ast.Name):
            for _ in range(2 if node.func.id in _LOSSY else 1):
                self._replace("missing-call", node, self._text(node.args[0]))
        used = not isinstance(parent, (ast.Expr, ast.Await))
        if used and isinstance(node.func, ast.Attribute) and len(node.args) <= 1:
            self._replace("missing-call", node, self._text(node.func.value))
        if not everything and not isinstance(parent, ast.Expr):
            self._replace("missing-parentheses", node, self._text(node.func))

    def name(self, node: ast.Name, parent: ast.AST | None, place: str, function: _Function) -> None:
        if isinstance(parent, ast.Call) and place == "func":
            for new in _FUNCTION_TABLE.get(node.id, ()):
                self._replace("wrong-function", node, new)
            for new in function.called:
                if new != node.id and new[:1].isupper() == node.id[:1].isupper():
                    self._replace("wrong-function", node, new)
            return
        if node.id in _EXCEPTIONS:
            if place in ("type", "exc") or isinstance(parent, ast.Tuple):
                for new in _EXCEPTIONS:
                    if new != node.id:
                        self._replace("exception-type", node, new)
            return
        if node.id in function.variables:
            for new in function.variables:
                if new != node.id:
                    self._replace("wrong-index" if place == "slice" else "wrong-name", node, new)
        if place in ("args", "iter") and isinstance(node.ctx, ast.Load):
            for wrapper in ("list", "str", "len", "sorted"):
                self._replace("extra-call", node, f"{wrapper}({node.id})")

    def raised(self, node: ast.Raise, parent: ast.AST | None, place: str, function: _Function) -> None:
        if (
            isinstance(node.exc, ast.Call)
            and isinstance(node.exc.func, ast.Name)
            and node.exc.func.id in _EXCEPTIONS
        ):
            for new in _EXCEPTIONS:
                if new != node.exc.func.id:
                    self._replace("exception-type", node.exc.func, new)

    def attribute(self, node: ast.Attribute, parent: ast.AST | None, place: str, function: _Function) -> None:
        span, base = self._span(node), self._span(node.value)
        if span is None or base is None:
            return
        at = (span[0], span[2] - len(node.attr.encode()), span[2])
        called = isinstance(parent, ast.Call) and place == "func"
        owner = ast.unparse(node.value) if isinstance(node.value, (ast.Name, ast.Attribute)) else ""
        if called:
            for new in _METHOD_TABLE.get(node.attr, ()):
                self._put("wrong-method", at, new)
            for new in function.methods.get(owner, ()):
                if new != node.attr:
                    self._put("wrong-method", at, new)
        else:
            for new in function.attributes.get(owner, ()):
                if new != node.attr:
                    self._put("wrong-attribute", at, new)
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                self._put("missing-attribute", span, self.raw[base[0] - 1][base[1] : base[2]].decode())
        if isinstance(node.value, ast.Name) and node.value.id == "self" and isinstance(node.ctx, ast.Load):
            self._put("missing-self", span, node.attr)
            if not called:
                for name in function.variables:
                    if name in node.attr or node.attr in name:
                        self._put("wrong-attribute", span, name)

    def subscript(self, node: ast.Subscript, parent: ast.AST | None, place: str, function: _Function) -> None:
        text = self._text(node.value)
        if isinstance(node.ctx, ast.Load):
            self._replace("missing-subscript", node, text)
        bounds = node.slice
        if isinstance(bounds, ast.Slice):
            for bound in (bounds.lower, bounds.upper):
                span = self._span(bound)
                if bound is None or span is None:
                    continue
                self._put("slice-bound", span, "")
                value = self._text(bound)
                if not isinstance(bound, (ast.Constant, ast.UnaryOp)) and value is not None:
                    for new in (f"{value} + 1", f"{value} - 1"):
                        self._put("slice-bound", span, new)
            span, lower = self._span(bounds), self._text(bounds.lower) if bounds.lower is not None else None
            if bounds.upper is None and bounds.step is None and lower is not None:
                self._put("slice-bound", span, f":{lower}")
        else:
            value = self._text(bounds)
            if (
                isinstance(bounds, (ast.Name, ast.BinOp))
                and value is not None
                and isinstance(node.ctx, ast.Load)
            ):
                for new in (f"{value} + 1", f"{value} - 1"):
                    self._replace("wrong-index", bounds, new)
            if isinstance(bounds, ast.UnaryOp):
                self._replace("wrong-index", bounds, "0")

    def returned(self, node: ast.Return, parent: ast.AST | None, place: str, function: _Function) -> None:
        span, value = self._span(node), self._span(node.value)
        if span is None or value is None:
            return
        self._put("missing-return", (span[0], span[1], value[1]), "")
        # What is lost for good teaches nothing: only short values are exchanged.
        if not isinstance(node.value, (ast.Name, ast.Constant, ast.Attribute)):
            return
        for new in ("None", "True", "False"):
            self._put("wrong-return", (span[0], span[1], span[2]), f"return {new}")
        for new in function.variables:
            if not (isinstance(node.value, ast.Name) and node.value.id == new):
                self._put("wrong-return", span, f"return {new}")

    def control(self, node: ast.AST, parent: ast.AST | None, place: str, function: _Function) -> None:
        for new in ("break", "continue", "pass"):
            if new != self._text(node):
                self._replace("loop-control", node, new)

    def conditional(self, node: ast.If, parent: ast.AST | None, place: str, function: _Function) -> None:
        at = (node.lineno, node.col_offset, node.col_offset + 4)
        if self.raw[at[0] - 1][at[1] : at[2]] == b"elif":
            self._put("elif-to-if", at, "if")

    def ternary(self, node: ast.IfExp, parent: ast.AST | None, place: str, function: _Function) -> None:
        self._replace("inverted-branches", node, self._text(node.body))
        one, test, two = self._text(node.body), self._text(node.test), self._text(node.orelse)
        if one is not None and test is not None and two is not None:
            self._replace("inverted-branches", node, f"{two} if {test} else {one}")

    def comprehension(self, node: ast.AST, parent: ast.AST | None, place: str, function: _Function) -> None:
        generators: list[ast.comprehension] = node.generators  # type: ignore[attr-defined]
        for generator in generators:
            span = self._span(generator.iter)
            for test in generator.ifs:
                at = self._span(test)
                if span is None or at is None or span[0] != at[0]:
                    continue
                if self.raw[at[0] - 1][span[2] : at[1]].strip(b" ") == b"if":
                    self._put("dropped-guard", (at[0], span[2], at[2]), "")

    def awaited(self, node: ast.Await, parent: ast.AST | None, place: str, function: _Function) -> None:
        self._replace("missing-await", node, self._text(node.value))

    def yielded(self, node: ast.Yield, parent: ast.AST | None, place: str, function: _Function) -> None:
        text = self._text(node.value) if node.value is not None else None
        if text is not None:
            self._replace("yield", node, f"yield from {text}")
            if isinstance(parent, ast.Expr):
                self._replace("yield", node, f"return {text}")

    def yielded_from(
        self, node: ast.YieldFrom, parent: ast.AST | None, place: str, function: _Function
    ) -> None:
        text = self._text(node.value)
        if text is not None:
            self._replace("yield", node, f"yield {text}")


_Plant = Callable[[_Planter, ast.AST, ast.AST | None, str, _Function], None]
_PLANTERS: dict[type[ast.AST], _Plant] = {  # pyright: ignore[reportAssignmentType]
    ast.Compare: _Planter.compare,
    ast.BoolOp: _Planter.boolean,
    ast.UnaryOp: _Planter.unary,
    ast.BinOp: _Planter.binary,
    ast.AugAssign: _Planter.augmented,
    ast.Assign: _Planter.assign,
    ast.Constant: _Planter.constant,
    ast.Call: _Planter.call,
    ast.Name: _Planter.name,
    ast.Raise: _Planter.raised,
    ast.Attribute: _Planter.attribute,
    ast.Subscript: _Planter.subscript,
    ast.Return: _Planter.returned,
    ast.Break: _Planter.control,
    ast.Continue: _Planter.control,
    ast.If: _Planter.conditional,
    ast.IfExp: _Planter.ternary,
    ast.ListComp: _Planter.comprehension,
    ast.SetComp: _Planter.comprehension,
    ast.DictComp: _Planter.comprehension,
    ast.GeneratorExp: _Planter.comprehension,
    ast.Await: _Planter.awaited,
    ast.Yield: _Planter.yielded,
    ast.YieldFrom: _Planter.yielded_from,
}


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, (str, bytes))
    )


@lru_cache(maxsize=8)
def _planter(source: str) -> _Planter:
    return _Planter(source)


class _Checker:
    """Decides whether a splice gives a valid, different program; keeps what it decided."""

    def __init__(self, planter: _Planter, first: int, last: int) -> None:
        self.planter = planter
        self.first, self.last = _enclosing(planter.tree, first, last)
        body = planter.lines[self.first - 1 : self.last]
        self.body = body
        text = body[0] if body else ""
        self.indented = bool(text[:1].isspace())

    def mutation(self, splice: _Splice) -> Mutation | None:
        raw = self.planter.raw[splice.line - 1]
        before = self.planter.lines[splice.line - 1]
        after = (raw[: splice.start] + splice.new.encode() + raw[splice.end :]).decode().rstrip()
        if not after.strip() or _tokens(before) == _tokens(after):
            return None
        lines = list(self.body)
        lines[splice.line - self.first] = after
        text = "\n".join(lines)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # `if 1:` takes any indentation, and compiling (not only parsing) finds a
                # `break` outside a loop.
                compile(
                    f"if 1:\n{text}\n" if self.indented else text,
                    "<mutant>",
                    "exec",
                    dont_inherit=True,
                    optimize=0,
                )
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
        return Mutation(splice.line, before, after, splice.kind)


def _enclosing(tree: ast.Module, first: int, last: int) -> tuple[int, int]:
    """Lines of the innermost definition that contains the lines, or of the whole file."""
    best = (1, max((node.end_lineno or 1 for node in tree.body), default=1))
    nodes: list[ast.stmt] = list(tree.body)
    while nodes:
        node = nodes.pop()
        start = min([node.lineno, *(item.lineno for item in getattr(node, "decorator_list", []))])
        end = node.end_lineno or node.lineno
        if not (start <= first and last <= end):
            continue
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            best = (start, end)
        for name in ("body", "orelse", "finalbody", "handlers"):
            for child in getattr(node, name, ()):
                nodes.append(child)
    return best


def _tokens(line: str) -> list[str]:
    """The line's tokens without spaces and comments; where it is no whole line of tokens, its characters
    without spaces.
    """
    try:
        found = [
            token.string
            for token in tokenize.generate_tokens(io.StringIO(line.strip()).readline)
            if token.type not in (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER)
        ]
    except (tokenize.TokenError, IndentationError, SyntaxError):
        return list("".join(line.split()))
    return found


def _checked(source: str, first: int, last: int) -> tuple[_Checker, list[_Splice]]:
    planter = _planter(source)
    if not 1 <= first <= last <= len(planter.lines):
        raise InputError(
            "lines-missing", f"Lines {first} to {last} are not in the file.", "Give lines of the file."
        )
    splices = [splice for splice in planter.plant(first, last) if first <= splice.line <= last]
    return _Checker(planter, first, last), splices


def mutations(source: str, first: int, last: int) -> list[Mutation]:
    """Every bug that can be planted in lines `first` to `last` (1-based, inclusive) of a Python file, once
    each, in the order of the code.

    Only code inside functions is touched; docstrings, annotations, decorators and f-strings are not. Raises
    InputError when the file does not parse or has no such lines.
    """
    return list(_all(source, first, last))


def _all(source: str, first: int, last: int) -> Iterator[Mutation]:
    checker, splices = _checked(source, first, last)
    seen: set[tuple[int, str]] = set()
    for splice in splices:
        mutation = checker.mutation(splice)
        if mutation is not None and (mutation.line, mutation.after) not in seen:
            seen.add((mutation.line, mutation.after))
            yield mutation


def sample(source: str, first: int, last: int, rng: random.Random, count: int) -> list[Mutation]:
    """Up to `count` different bugs in lines `first` to `last`, drawn by kind (weights: `KINDS`), then
    evenly within the kind.

    Equal arguments and an equal state of `rng` give equal bugs. Raises InputError as `mutations` does.
    """
    checker, splices = _checked(source, first, last)
    groups: dict[str, list[_Splice]] = {}
    for splice in splices:
        groups.setdefault(splice.kind, []).append(splice)
    drawn: list[Mutation] = []
    seen: set[tuple[int, str]] = set()
    while groups and len(drawn) < count:
        kinds = list(groups)
        kind = rng.choices(kinds, [KINDS[name] for name in kinds])[0]
        group = groups[kind]
        splice = group.pop(rng.randrange(len(group)))
        if not group:
            del groups[kind]
        mutation = checker.mutation(splice)
        if mutation is not None and (mutation.line, mutation.after) not in seen:
            seen.add((mutation.line, mutation.after))
            drawn.append(mutation)
    return drawn
