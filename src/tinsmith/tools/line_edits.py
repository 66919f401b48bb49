"""The Python recipe: every small edit of one line that a one-line bug fix might be.

A small model ranks well and writes badly, so the domain of its edits is enumerated and the model orders it.
What this module does not reach cannot be fixed that way, hence breadth is the aim: operators, conditions,
constants, off-by-one forms, arguments, names and attributes in scope, call wrappers, subscripts, slices,
statements, exception types.

Edits are splices at the positions of syntax nodes, so the formatting of the rest of the line is kept.
Positions inside f-strings are not used (they are unreliable before Python 3.12).
"""

import ast
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice, pairwise

from tinsmith.errors import InputError

_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_LOOP = (ast.For, ast.AsyncFor, ast.While)
# Fields of a statement that hold other statements: not part of its header.
_BLOCKS = frozenset({"body", "orelse", "finalbody", "handlers", "cases"})
# Fields whose edits change no behaviour.
_INERT = frozenset({"annotation", "returns", "type_comment", "type_params"})

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_COMPARISON_SWAPS: dict[str, tuple[str, ...]] = {
    **{op: tuple(other for other in _COMPARISONS if other != op) for op in _COMPARISONS},
    "in": ("not in", "==", "!="),
    "not in": ("in", "!=", "=="),
    "is": ("is not", "==", "!="),
    "is not": ("is", "!=", "=="),
}
_COMPARISON_SWAPS["=="] += ("is", "in")
_COMPARISON_SWAPS["!="] += ("is not", "not in")
_ARITHMETIC = ("+", "-", "*", "/", "//", "%", "**")
_BITWISE = ("&", "|", "^", "<<", ">>")
_BINARY_SWAPS: dict[str, tuple[str, ...]] = {
    **{op: tuple(o for o in _ARITHMETIC if o != op) for op in _ARITHMETIC},
    **{op: tuple(o for o in _BITWISE if o != op) for op in _BITWISE},
}
_BINARY_SWAPS["-"] += ("|", "&")
_BINARY_SWAPS["|"] += ("+", "-")
_BINARY_SWAPS["&"] += ("-", "%")
_BINARY_SWAPS["@"] = ("*",)

# Names and attributes that are mistaken for each other; every member of a row may become any other member
# of it.
_CONFUSABLE_ROWS = """
append extend insert add update
add discard remove pop
remove discard pop
get pop setdefault
keys values items
iterkeys itervalues iteritems
strip lstrip rstrip
split rsplit splitlines partition
partition rpartition
find rfind index rindex
startswith endswith
removeprefix removesuffix
lower upper casefold title capitalize
isdigit isnumeric isdecimal isalpha isalnum
encode decode
read readline readlines
write writelines
min max
any all
sum len max
sorted reversed list
list tuple set frozenset
int float round
str repr bytes
isinstance issubclass
hasattr getattr
first last
left right
start stop end
begin end
width height
row col column
rows cols columns
x y z
next prev previous
head tail
parent child children
key value
name value
low high
lower upper
src dst
source target destination
input output
union intersection difference symmetric_difference
issubset issuperset
floor ceil trunc round
sin cos tan
zip enumerate range
enumerate range
map filter
match search fullmatch
findall finditer
sub subn
sort reverse
copy deepcopy
popleft pop
appendleft append
extendleft extend
exists isfile isdir lexists
join split
dirname basename
abspath realpath normpath
load loads
dump dumps
days seconds
year month day
hour minute second
acquire release
open close
put get
set clear
set get
put put_nowait
get get_nowait
group groups groupdict
args kwargs
zeros ones empty
hstack vstack
mean sum
argmin argmax
minimum maximum
public private
errors warnings
debug info warning error exception
setattr delattr
push pop
ljust rjust center
quote unquote
quote quote_plus
parse unparse
true_value false_value
enter exit
show hide
enable disable
is_file is_dir exists
name stem suffix
total_seconds seconds
""".strip().splitlines()

_EXCEPTIONS_WORDS = """
ValueError TypeError KeyError IndexError AttributeError RuntimeError NotImplementedError StopIteration
OSError ImportError LookupError ZeroDivisionError OverflowError AssertionError UnicodeDecodeError
UnicodeEncodeError FileNotFoundError PermissionError TimeoutError Exception BaseException
"""
_EXCEPTIONS = tuple(_EXCEPTIONS_WORDS.split())
_WRAPPERS_WORDS = """
len abs str int list sorted set tuple min max bool reversed float sum
"""
_WRAPPERS = tuple(_WRAPPERS_WORDS.split())
_SUFFIXES = (".copy()", ".strip()", ".lower()", ".items()", ".values()", ".keys()")
_BUILTINS_WORDS = """
abs all any bool bytes bytearray callable chr dict divmod enumerate filter float format frozenset getattr
hasattr hash hex id int isinstance issubclass iter len list map max min next object oct open ord pow print
property range repr reversed round set setattr slice sorted staticmethod classmethod str sum super tuple
type vars zip NotImplemented Ellipsis
"""
_BUILTINS = frozenset(_BUILTINS_WORDS.split())

_SIGNS: dict[type[ast.unaryop], str] = {ast.USub: "-", ast.UAdd: "+", ast.Invert: "~"}

# Bounds: how many names of each sort are tried at one place.
_MAX_NAMES = 20
_MAX_CALLABLES = 12
_MAX_ATTRIBUTES = 16
_MAX_STRINGS = 8
_MAX_GUARDS = 6
_MAX_ADDED = 6
_MAX_EXPRESSIONS = 10
_MAX_EXPRESSION = 40  # characters


def _confusables() -> dict[str, tuple[str, ...]]:
    table: dict[str, list[str]] = {}
    for row in _CONFUSABLE_ROWS:
        names = row.split()
        for name in names:
            known = table.setdefault(name, [])
            known.extend(other for other in names if other != name and other not in known)
    return {name: tuple(others) for name, others in table.items()}


_CONFUSABLES = _confusables()


@dataclass(frozen=True)
class _Unit:
    """The lines that decide whether an edit parses: a simple statement, or the header of a compound one.

    `first` and `last` are 1-based lines of the file; `before` and `after` complete them to something that
    parses alone; `clipped` characters go from the start of the first line (`elif` is checked as `if`).
    """

    node: ast.AST
    first: int
    last: int
    before: str
    after: str
    clipped: int
    elif_possible: bool
    in_loop: bool


@dataclass
class _Scope:
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
        return list(
            dict.fromkeys(text for _, text in sorted(expressions, key=lambda item: abs(item[0] - line)))
        )[:bound]


class _Module:
    """A parsed file with the look-ups that edits of its lines need."""

    def __init__(self, source: str) -> None:
        try:
            self.tree = ast.parse(source)
        except (SyntaxError, ValueError) as error:
            raise InputError(
                "source-invalid", f"The file does not parse: {error}", "Give a file that parses."
            ) from error
        # Python's line ends only: form feeds and the like do not end a line for the parser.
        self.lines = source.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._scopes: dict[tuple[int, int], _Scope] = {}

    def locate(self, line: int) -> tuple[_Unit, list[ast.AST]] | None:
        """The unit that `line` belongs to and its chain of enclosing nodes, outermost first."""
        chain: list[ast.AST] = [self.tree]
        node: ast.AST = self.tree
        found: tuple[ast.AST, ast.AST | None] | None = None
        while True:
            inner = _child_at(node, line)
            # A body on the line of its header (`if x: return y`) is edited together with it.
            if inner is None or (isinstance(node, ast.stmt) and _first_line(inner[1]) == node.lineno == line):
                break
            previous, node = inner
            chain.append(node)
            found = (node, previous)
        if found is None:
            return None
        unit = self._unit(found[0], found[1], chain, line)
        return (unit, chain) if unit is not None else None

    def _unit(self, node: ast.AST, previous: ast.AST | None, chain: list[ast.AST], line: int) -> _Unit | None:
        first, last = _first_line(node), _end(node)
        before = after = ""
        clipped = 0
        if isinstance(node, ast.ExceptHandler):
            before = "try:\n pass\n"
        elif isinstance(node, ast.match_case):
            before = "match _:\n"
        body = _blocks(node)
        if body:
            start = min(_first_line(child) for child in body)
            if start > first:
                last = start - 1
            after = "  pass\n"
        if not first <= line <= last:
            return None
        if isinstance(node, ast.If) and self.lines[first - 1].lstrip().startswith("elif"):
            clipped = 2
        if body and last >= _first_line(body[0]):
            after = ""
        if isinstance(node, ast.Try) or (hasattr(ast, "TryStar") and isinstance(node, ast.TryStar)):
            after = "  pass\nfinally: pass\n"
        elif isinstance(node, ast.Match):
            after = "  case _: pass\n"
        loops = False
        for outer in chain[:-1]:
            if isinstance(outer, _LOOP):
                loops = True
            elif isinstance(outer, (*_FUNCTION, ast.ClassDef)):
                loops = False
        return _Unit(
            node=node,
            first=first,
            last=last,
            before=before,
            after=after,
            clipped=clipped,
            elif_possible=isinstance(previous, ast.If) and not clipped and _without_else(previous),
            in_loop=loops,
        )

    def scope(self, chain: list[ast.AST]) -> _Scope:
        function: ast.AST | None = None
        owner: ast.ClassDef | None = None
        for node in chain:
            if isinstance(node, _FUNCTION):
                function = node
            elif isinstance(node, ast.ClassDef):
                owner = node
        place = function or chain[1]
        key = (id(place), id(owner))
        if key not in self._scopes:
            self._scopes[key] = _read_scope(place, owner, self.tree, self.lines)
        return self._scopes[key]


@lru_cache(maxsize=16)
def _module(source: str) -> _Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _Module(source)


def _first_line(node: ast.AST) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    if isinstance(node, ast.match_case):
        return node.pattern.lineno
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])  # type: ignore[attr-defined]


def _end(node: ast.AST) -> int:
    if isinstance(node, ast.match_case):
        return _end(node.body[-1])
    end: int = node.end_lineno  # type: ignore[attr-defined]
    return end


def _blocks(node: ast.AST) -> list[ast.AST]:
    """The first block of statements of a compound statement."""
    if isinstance(node, ast.Match):
        return list(node.cases[:1])
    return list(getattr(node, "body", []))


def _child_at(node: ast.AST, line: int) -> tuple[ast.AST | None, ast.AST] | None:
    """The statement directly under `node` whose lines contain `line`, with the statement before it."""
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        previous: ast.AST | None = None
        children: object = getattr(node, name, ())
        if not isinstance(children, list):
            continue
        for child in children:  # pyright: ignore[reportUnknownVariableType]
            if not isinstance(child, ast.AST):
                continue
            if _first_line(child) <= line <= _end(child):
                return previous, child
            previous = child
    return None


def _without_else(node: ast.If) -> bool:
    while node.orelse:
        if len(node.orelse) != 1 or not isinstance(node.orelse[0], ast.If):
            return False
        node = node.orelse[0]
    return True


def _note(names: list[str], name: str) -> None:
    if name not in names:
        names.append(name)


def _read_scope(place: ast.AST, owner: ast.ClassDef | None, tree: ast.Module, lines: list[str]) -> _Scope:
    scope = _Scope(in_function=isinstance(place, _FUNCTION), is_async=isinstance(place, ast.AsyncFunctionDef))
    imported: set[str] = set()
    defined: list[str] = []
    for statement in tree.body:
        if isinstance(statement, (ast.Import, ast.ImportFrom)):
            imported.update((alias.asname or alias.name).split(".")[0] for alias in statement.names)
        elif isinstance(statement, (*_FUNCTION, ast.ClassDef)):
            defined.append(statement.name)
    if isinstance(place, _FUNCTION):
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
            if id(node) in called or node.id in imported or (node.id in _BUILTINS):
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
        if len(scope.callables) >= _MAX_CALLABLES:
            break
        _note(scope.callables, name)
    return scope


def _read_expression(scope: _Scope, node: ast.expr, lines: list[str]) -> None:
    compound = (ast.Attribute, ast.Subscript, ast.Call, ast.BinOp)
    if not isinstance(node, (*compound, ast.Compare)) or node.end_lineno != node.lineno:
        return
    start, end = node.col_offset, node.end_col_offset or 0
    if end - start > _MAX_EXPRESSION or not isinstance(getattr(node, "ctx", None), (ast.Load, type(None))):
        return
    text = lines[node.lineno - 1].encode()[start:end].decode("utf-8", "replace")
    if not isinstance(node, ast.Compare):
        scope.values.append((node.lineno, text))
    if isinstance(node, (ast.Compare, ast.Call, ast.Attribute)):
        scope.tests.append((node.lineno, text))


def _walk(
    node: ast.AST, parent: ast.AST | None, place: str, line: int
) -> Iterator[tuple[ast.AST, ast.AST | None, str]]:
    """Nodes of a statement's header in source order, each with its parent and the field that holds it."""
    yield node, parent, place
    if isinstance(node, ast.JoinedStr):
        return
    body = _blocks(node) if isinstance(node, (ast.stmt, ast.ExceptHandler, ast.match_case)) else []
    header = bool(body) and _first_line(body[0]) > line
    for name, value in ast.iter_fields(node):
        if name in _INERT or (header and name in _BLOCKS):
            continue
        if isinstance(value, ast.AST):
            yield from _walk(value, node, name, line)
        elif isinstance(value, list):
            for item in value:  # pyright: ignore[reportUnknownVariableType]
                if isinstance(item, ast.AST):
                    yield from _walk(item, node, name, line)


class _Editor:
    """Collects splices of one line, each with a rank: the lower, the more often such an edit is the fix."""

    def __init__(self, text: str, line: int, unit: _Unit, scope: _Scope) -> None:
        self.raw = text.encode()
        self.line = line
        self.unit = unit
        self.scope = scope
        self.names = scope.near(line, _MAX_NAMES)
        self.values = scope.nearest(scope.values, line, _MAX_EXPRESSIONS)
        self.tests = scope.nearest(scope.tests, line, _MAX_EXPRESSIONS)
        self.found: list[list[str]] = [[], [], [], []]

    # Positions ------------------------------------------------------------------------------------

    def span(self, node: ast.AST) -> tuple[int, int] | None:
        """Byte offsets of a node that lies wholly inside the line."""
        if getattr(node, "lineno", None) != self.line or getattr(node, "end_lineno", None) != self.line:
            return None
        start: int = node.col_offset  # type: ignore[attr-defined]
        end: int = node.end_col_offset  # type: ignore[attr-defined]
        return start, end

    def text(self, span: tuple[int, int]) -> str:
        return self.raw[span[0] : span[1]].decode()

    def outer(self, span: tuple[int, int], bounds: tuple[int, int]) -> tuple[int, int]:
        """`span` with the parentheses around it that lie within `bounds`."""
        start, end = span
        while True:
            left, right = start, end
            while left > bounds[0] and self.raw[left - 1 : left].isspace():
                left -= 1
            while right < bounds[1] and self.raw[right : right + 1].isspace():
                right += 1
            if (
                left > bounds[0]
                and right < bounds[1]
                and self.raw[left - 1 : left] == b"("
                and self.raw[right : right + 1] == b")"
            ):
                start, end = left - 1, right + 1
            else:
                return start, end

    def gap(self, left: ast.AST, right: ast.AST, parent: tuple[int, int]) -> tuple[int, int] | None:
        """Where the operator between two operands stands, without spaces."""
        one, two = self.span(left), self.span(right)
        if one is None or two is None:
            return None
        start, end = self.outer(one, parent)[1], self.outer(two, parent)[0]
        while start < end and self.raw[start : start + 1].isspace():
            start += 1
        while end > start and self.raw[end - 1 : end].isspace():
            end -= 1
        return (start, end) if end > start else None

    def put(self, rank: int, span: tuple[int, int], new: str) -> None:
        self.found[rank].append((self.raw[: span[0]] + new.encode() + self.raw[span[1] :]).decode())

    def swap(self, rank: int, one: tuple[int, int], two: tuple[int, int]) -> None:
        between = self.text((one[1], two[0]))
        self.put(rank, (one[0], two[1]), self.text(two) + between + self.text(one))

    def keyword(self, word: str, start: int) -> tuple[int, int] | None:
        """The span of the keyword that stands at byte `start`."""
        end = start + len(word)
        return (start, end) if self.raw[start:end] == word.encode() else None

    # Families -------------------------------------------------------------------------------------

    def run(self) -> list[str]:
        for node, parent, place in _walk(self.unit.node, None, "", self.line):
            self.statement(node)
            span = self.span(node)
            if isinstance(node, ast.expr) and place in ("test", "ifs", "guard"):
                self.condition(node)
            if span is None:
                continue
            if isinstance(node, ast.Compare):
                self.compare(node, span)
            elif isinstance(node, ast.BoolOp):
                self.boolean(node, span)
            elif isinstance(node, ast.BinOp):
                self.binary(node, span)
            elif isinstance(node, ast.UnaryOp):
                self.unary(node, span)
            elif isinstance(node, ast.Constant):
                self.constant(node, span, parent)
            elif isinstance(node, ast.Call):
                self.call(node, span)
            elif isinstance(node, ast.Name):
                self.name(node, span, parent, place)
            elif isinstance(node, ast.Attribute):
                self.attribute(node, span, parent, place)
            elif isinstance(node, ast.Subscript):
                self.subscript(node, span)
            elif isinstance(node, ast.IfExp):
                self.ternary(node, span)
            elif isinstance(node, (ast.Tuple, ast.List)):
                self.elements(node.elts, span)
            elif (
                isinstance(node, ast.Starred) and isinstance(parent, (ast.Call, ast.Tuple, ast.List))
            ) or isinstance(node, ast.Await):
                inner = self.span(node.value)
                if inner is not None:
                    self.put(2, span, self.text(inner))
            elif isinstance(node, (ast.Yield, ast.YieldFrom)):
                self.yields(node, span)
            elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
                self.comprehension(node, span)
            if isinstance(node, ast.expr) and _is_value(node, parent, place):
                self.value(node, span, parent, place)
        return [text for rank in self.found for text in rank]

    def compare(self, node: ast.Compare, span: tuple[int, int]) -> None:
        operands = [node.left, *node.comparators]
        for left, right in pairwise(operands):
            gap = self.gap(left, right, span)
            if gap is None:
                continue
            operator = " ".join(self.text(gap).split())
            for new in _COMPARISON_SWAPS.get(operator, ()):
                self.put(0, gap, new)
        spans = [self.span(operand) for operand in operands]
        if len(operands) == 2:
            one, two = spans
            if one is not None and two is not None:
                self.swap(2, self.outer(one, span), self.outer(two, span))
                self.put(1, span, self.text(one))
                self.put(2, span, self.text(two))
                self.put(2, span, f"not {self.text(self.outer(one, span))}")
                for new in self.values:
                    self.put(3, self.outer(two, span), new)
        elif (
            spans[0] is not None and spans[1] is not None and spans[-1] is not None and spans[-2] is not None
        ):
            self.put(
                1,
                (span[0], self.outer(spans[-2], span)[1]),
                self.text((span[0], self.outer(spans[-2], span)[1])),
            )
            self.put(1, (self.outer(spans[-2], span)[1], span[1]), "")
            self.put(1, (span[0], self.outer(spans[1], span)[0]), "")

    def boolean(self, node: ast.BoolOp, span: tuple[int, int]) -> None:
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in pairwise(node.values):
            gap = self.gap(left, right, span)
            if gap is not None and self.text(gap) == old:
                self.put(0, gap, new)
        outers = [
            self.outer(at, span) if (at := self.span(value)) is not None else None for value in node.values
        ]
        for index, outer in enumerate(outers):
            if outer is None:
                continue
            neighbour = outers[index - 1] if index else outers[1]
            if neighbour is not None:
                cut = (neighbour[1], outer[1]) if index else (outer[0], neighbour[0])
                self.put(1, cut, "")
            self.negate(node.values[index], 1)
        if len(outers) == 2 and outers[0] is not None and outers[1] is not None:
            self.swap(3, outers[0], outers[1])

    def negate(self, node: ast.expr, rank: int) -> None:
        span = self.span(node)
        if span is None or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)):
            return
        text = self.text(span)
        bare = isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant))
        self.put(rank, span, f"not {text}" if bare or isinstance(node, ast.Compare) else f"not ({text})")

    def condition(self, node: ast.expr) -> None:
        """A test as a whole: negated, constant, or with one more operand."""
        span = self.span(node)
        if span is None:
            return
        self.negate(node, 0)
        text = self.text(span)
        self.put(2, span, "True")
        self.put(2, span, "False")
        wrapped = (
            f"({text})" if isinstance(node, (ast.BoolOp, ast.IfExp, ast.Lambda, ast.NamedExpr)) else text
        )
        guards: list[str] = []
        subjects = self.names[:_MAX_GUARDS]
        if self.scope.self_name is not None:
            used = self.scope.attributes.get(self.scope.self_name, [])
            subjects = [*subjects, *(f"{self.scope.self_name}.{name}" for name in used[: _MAX_GUARDS // 2])]
        for name in subjects:
            guards += [name, f"not {name}", f"{name} is not None", f"{name} is None"]
        for guard in [*guards, *(test for test in self.tests if test not in text)]:
            same_and = text if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And) else wrapped
            same_or = text if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or) else wrapped
            self.put(3, span, f"{same_and} and {guard}")
            self.put(3, span, f"{same_or} or {guard}")
            self.put(3, span, f"{guard} and {same_and}")
            self.put(3, span, f"{guard} or {same_or}")

    def binary(self, node: ast.BinOp, span: tuple[int, int]) -> None:
        gap = self.gap(node.left, node.right, span)
        one, two = self.span(node.left), self.span(node.right)
        if gap is None or one is None or two is None:
            return
        formatting = isinstance(node.left, (ast.Constant, ast.JoinedStr)) and isinstance(node.op, ast.Mod)
        if not formatting:
            for new in _BINARY_SWAPS.get(self.text(gap), ()):
                self.put(0 if new in "+-" else 1, gap, new)
        left, right = self.outer(one, span), self.outer(two, span)
        self.put(0, span, self.text(left))
        self.put(1, span, self.text(right))
        if not isinstance(node.op, (ast.Mult, ast.BitAnd, ast.BitOr, ast.BitXor)) and not formatting:
            self.swap(1, left, right)
        # a - b * c becomes (a - b) * c, and the other way round
        for inner, outer in ((node.right, left), (node.left, right)):
            if isinstance(inner, ast.BinOp):
                whole, part = self.span(inner), None
                near = self.span(inner.left if inner is node.right else inner.right)
                if whole is not None and near is not None:
                    part = self.outer(near, whole)
                    if inner is node.right and right == whole:
                        self.put(2, (outer[0], part[1]), f"({self.text((outer[0], part[1]))})")
                    elif inner is node.left and left == whole:
                        self.put(2, (part[0], outer[1]), f"({self.text((part[0], outer[1]))})")
                    elif inner is node.right:
                        self.put(2, right, self.text(whole))
                    else:
                        self.put(2, left, self.text(whole))

    def unary(self, node: ast.UnaryOp, span: tuple[int, int]) -> None:
        inner = self.span(node.operand)
        if inner is None:
            return
        inner = self.outer(inner, span)
        self.put(0, span, self.text(inner))
        operator = _SIGNS.get(type(node.op))
        if operator is not None:
            for new in "-~":
                if new != operator:
                    self.put(2, (span[0], span[0] + 1), new)
        if (
            isinstance(node.op, ast.USub)
            and isinstance(node.operand, ast.Constant)
            and type(node.operand.value) is int
        ):
            number = -node.operand.value
            for new in dict.fromkeys((number + 1, number - 1, 0, 1, None)):
                self.put(0, span, str(new))

    def constant(self, node: ast.Constant, span: tuple[int, int], parent: ast.AST | None) -> None:
        value = node.value
        if isinstance(value, bool):
            for new in (str(not value), "None"):
                self.put(0 if new != "None" else 1, span, new)
        elif isinstance(value, int):
            for new in dict.fromkeys((value + 1, value - 1, 0, 1, -1, 2, -value)):
                if new != value:
                    self.put(0 if abs(new - value) == 1 else 1, span, str(new))
            for new in (value * 2, value // 2, value * 10, value // 10, 3, 10, 100):
                if new != value and abs(new - value) != 1 and new > 2:
                    self.put(3, span, str(new))
            self.put(2, span, "None")
            if value in (0, 1):
                self.put(2, span, "True" if value else "False")
            for name in self.names:
                self.put(2, span, name)
        elif isinstance(value, float):
            for new in (0.0, 1.0, -value, value + 1, value - 1, value / 2, value * 2, 0.5):
                if new != value:
                    self.put(1, span, repr(new))
        elif value is None:
            for new in ("False", "True", "0", "''", "[]", "{}", "()", "1"):
                self.put(1, span, new)
            for name in self.names[:_MAX_ADDED]:
                self.put(2, span, name)
        elif isinstance(value, str) and not isinstance(parent, ast.Expr):
            for new in self.scope.strings[: _MAX_STRINGS + 1]:
                if new != repr(value):
                    self.put(1, span, _requote(new, self.text(span)))
            for new in ("", " ", "\\n", ",", ".", "/", "-", "_", ":", "rb", "wb", "r", "w", "utf-8"):
                self.put(
                    2 if new in ("", " ") else 3,
                    span,
                    _requote(repr(new).replace("\\\\", "\\"), self.text(span)),
                )
            for name in self.names[:_MAX_ADDED]:
                self.put(3, span, name)
            if value != value.strip() or value.rstrip(".,:;/") != value:
                self.put(2, span, _requote(repr(value.strip()), self.text(span)))
                self.put(2, span, _requote(repr(value.strip(".,:;/")), self.text(span)))

    def call(self, node: ast.Call, span: tuple[int, int]) -> None:
        function = self.span(node.func)
        inside = (self.open_bracket(function, span) if function else span[0], span[1] - 1)
        arguments = [(value, self.span(value)) for value in node.args]
        keywords = [(word, self.span(word)) for word in node.keywords]
        spans = [at for _, at in [*arguments, *keywords]]
        if function is not None:
            self.called(node, function, span)
            if isinstance(node.func, ast.Attribute):
                receiver = self.span(node.func.value)
                if receiver is not None:
                    self.put(1, span, self.text(receiver))
                    if node.func.attr in ("get", "pop") and arguments and arguments[0][1] is not None:
                        self.put(1, span, f"{self.text(receiver)}[{self.text(arguments[0][1])}]")
            if not spans:
                self.put(1, span, self.text(function))
        if not all(at is not None for at in spans):
            return
        outers = [self.outer(at, inside) for at in spans if at is not None]
        positional = outers[: len(arguments)]
        for index, at in enumerate(outers):
            if len(outers) == 1:
                self.put(1, (at[0], at[1]), "")
            elif index:
                self.put(1, (outers[index - 1][1], at[1]), "")
            else:
                self.put(1, (at[0], outers[1][0]), "")
            if index < len(positional):
                self.put(1 if index == 0 else 2, span, self.text(at))
        for index, one in enumerate(positional):
            for two in positional[index + 1 :][:4]:
                self.swap(1, one, two)
        values = [at for word, _ in keywords if (at := self.span(word.value)) is not None]
        for one, two in pairwise(values):
            self.swap(2, one, two)
        for index, (value, at) in enumerate(arguments):
            if at is not None and not isinstance(value, ast.Starred):
                for new in self.values:
                    self.put(3, positional[index], new)
                for new in ("None", "True", "False", "0", "1"):
                    self.put(3, positional[index], new)
                if self.scope.self_name is not None:
                    for attribute in self.scope.self_attributes[:_MAX_ATTRIBUTES]:
                        self.put(3, positional[index], f"{self.scope.self_name}.{attribute}")
            if at is not None and not isinstance(value, (ast.Name, ast.Starred)):
                for name in self.names[: _MAX_ADDED if index else _MAX_NAMES]:
                    self.put(2, positional[index], name)
        self.added_arguments(node, outers, positional, inside)

    def added_arguments(
        self,
        node: ast.Call,
        outers: list[tuple[int, int]],
        positional: list[tuple[int, int]],
        inside: tuple[int, int],
    ) -> None:
        extra = [*self.names[: _MAX_ADDED + 4], "None", "True", "False", "0", "1", "''"]
        if self.scope.self_name is not None:
            used = self.scope.attributes.get(self.scope.self_name, [])
            extra += [self.scope.self_name, *(f"{self.scope.self_name}.{name}" for name in used[:_MAX_ADDED])]
        end = positional[-1][1] if positional else inside[0]
        for name in extra:
            if positional:
                self.put(2, (end, end), f", {name}")
                self.put(3, (positional[0][0], positional[0][0]), f"{name}, ")
            else:
                self.put(2, (end, end), f"{name}, " if outers else name)
        for new in self.values:
            self.put(3, (end, end), f", {new}" if positional else f"{new}, " if outers else new)
            if positional:
                self.put(3, (positional[0][0], positional[0][0]), f"{new}, ")
        if len(positional) > 1:
            between = positional[0][1]
            for name in [*self.names[:_MAX_ADDED], "None", "0"]:
                self.put(3, (between, between), f", {name}")
        present = {word.arg for word in node.keywords}
        tail = outers[-1][1] if outers else inside[0]
        separator = ", " if outers else ""
        for starred in self.scope.starred:
            self.put(2, (tail, tail), f"{separator}{starred}")
        for word in self.scope.keywords:
            if word not in present:
                known = [word] if word in self.scope.variables else []
                for value in [*known, "True", "False", "None"]:
                    self.put(2 if known and value == word else 3, (tail, tail), f"{separator}{word}={value}")
        for name in self.names[:_MAX_NAMES]:
            if name not in present and name not in self.scope.keywords:
                self.put(3, (tail, tail), f"{separator}{name}={name}")
        label = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if label in ("sorted", "sort") and "reverse" not in present:
            self.put(2, (tail, tail), f"{separator}reverse=True")

    def open_bracket(self, function: tuple[int, int], span: tuple[int, int]) -> int:
        at = self.raw.find(b"(", function[1], span[1])
        return at + 1 if at >= 0 else function[1]

    def called(self, node: ast.Call, function: tuple[int, int], span: tuple[int, int]) -> None:
        if isinstance(node.func, ast.Name):
            known = _CONFUSABLES.get(node.func.id, ())
            for new in known:
                self.put(0, function, new)
            for new in self.scope.callables[: _MAX_CALLABLES + 4]:
                if new != node.func.id and new not in known:
                    self.put(2, function, new)

    def name(self, node: ast.Name, span: tuple[int, int], parent: ast.AST | None, place: str) -> None:
        if isinstance(parent, ast.Call) and place == "func":
            if node.id in _EXCEPTIONS or node.id in self.scope.exceptions:
                self.exception(node, span)
            if self.scope.self_name is not None:
                self.put(2, span, f"{self.scope.self_name}.{node.id}")
            return
        if node.id in _EXCEPTIONS or (node.id in self.scope.exceptions):
            self.exception(node, span)
        for new in self.names:
            if new != node.id:
                self.put(1, span, new)
        if isinstance(node.ctx, ast.Load):
            for new in _CONFUSABLES.get(node.id, ()):
                if new in _BUILTINS:
                    self.put(2, span, new)
            for attribute in self.scope.attributes.get(node.id, [])[:_MAX_ATTRIBUTES]:
                if not (isinstance(parent, ast.Attribute) and parent.attr == attribute):
                    self.put(2, span, f"{node.id}.{attribute}")
            if place in _VALUE_PLACES and not isinstance(parent, ast.Attribute):
                known = [
                    name for root, names in self.scope.attributes.items() if root != node.id for name in names
                ]
                for attribute in dict.fromkeys(known[:_MAX_EXPRESSIONS]):
                    self.put(3, span, f"{node.id}.{attribute}")
            for new in (
                self.values
                if place in ("value", "left", "right", "test", "values", "operand", "iter")
                else ()
            ):
                if node.id in new:
                    self.put(2, span, new)
        owner = self.scope.self_name
        if owner is not None and node.id != owner:
            self.put(1, span, f"{owner}.{node.id}")
            for attribute in self.scope.attributes.get(owner, [])[:_MAX_ATTRIBUTES]:
                if attribute != node.id:
                    self.put(2, span, f"{owner}.{attribute}")
        if owner is not None and node.id == owner and not isinstance(parent, ast.Attribute):
            for attribute in self.scope.attributes.get(owner, [])[:_MAX_ATTRIBUTES]:
                self.put(2, span, f"{owner}.{attribute}")

    def exception(self, node: ast.Name, span: tuple[int, int]) -> None:
        for new in dict.fromkeys([*self.scope.exceptions, *_EXCEPTIONS]):
            if new != node.id:
                self.put(1, span, new)
        if isinstance(self.unit.node, ast.ExceptHandler) and self.unit.node.type is node:
            for new in dict.fromkeys([*self.scope.exceptions, *_EXCEPTIONS]):
                if new != node.id:
                    self.put(3, span, f"({node.id}, {new})")
                    self.put(3, span, f"({new}, {node.id})")

    def attribute(
        self, node: ast.Attribute, span: tuple[int, int], parent: ast.AST | None, place: str
    ) -> None:
        base = self.span(node.value)
        at = (span[1] - len(node.attr.encode()), span[1])
        called = isinstance(parent, ast.Call) and place == "func"
        known = _CONFUSABLES.get(node.attr, ())
        for new in known:
            self.put(1, at, new)
        owner = self.scope.self_name
        root = node.value.id if isinstance(node.value, ast.Name) else ""
        others = self.scope.self_attributes if root and root == owner else self.scope.attributes.get(root, [])
        for new in others[: _MAX_ATTRIBUTES * (2 if root == owner else 1)]:
            if new != node.attr and new not in known:
                self.put(1, at, new)
        if root != owner:
            for new in self.scope.attributes.get("", [])[:_MAX_ATTRIBUTES]:
                if new != node.attr and new not in known and new not in others:
                    self.put(3, at, new)
        for new in (node.attr.lstrip("_"), f"_{node.attr}", node.attr.rstrip("s"), f"{node.attr}s"):
            if new and new != node.attr:
                self.put(2, at, new)
        if base is not None and not called:
            self.put(1, span, self.text(base))
        if base is not None and root == owner and root:
            self.put(1, span, node.attr)
            if not called:
                for new in self.names:
                    self.put(2, span, new)
        if not called and isinstance(node.ctx, ast.Load):
            self.put(1, (span[1], span[1]), "()")

    def subscript(self, node: ast.Subscript, span: tuple[int, int]) -> None:
        base, index = self.span(node.value), self.span(node.slice)
        if base is None:
            return
        self.put(1, span, self.text(base))
        if index is None:
            return
        inside = self.text(index)
        if isinstance(node.slice, ast.Slice):
            self.slice(node.slice, index)
            return
        if isinstance(node.ctx, ast.Load):
            for new in (f"{inside}:", f":{inside}"):
                self.put(1, index, new)
            self.put(2, span, f"{self.text(base)}.get({inside})")
            self.put(3, span, f"{self.text(base)}.get({inside}, 0)")
        if isinstance(node.value, ast.Subscript):
            inner = self.span(node.value.slice)
            if inner is not None:
                self.swap(2, inner, index)
        if not isinstance(node.slice, (ast.Name, ast.Tuple)):
            for name in self.names[:_MAX_ADDED]:
                self.put(2, index, name)
        if not isinstance(node.slice, ast.Constant):
            for new in ("0", "-1", "1"):
                self.put(2, index, new)

    def slice(self, node: ast.Slice, span: tuple[int, int]) -> None:
        text = self.text(span)
        for bound in (node.lower, node.upper):
            at = self.span(bound) if bound is not None else None
            if at is not None:
                self.put(0, at, "")
        if node.lower is not None and node.upper is None and node.step is None:
            lower = self.span(node.lower)
            if lower is not None:
                self.put(0, span, f":{self.text(lower)}")
                self.put(1, span, self.text(lower))
                for new in ("-1", *self.names[:_MAX_ADDED]):
                    self.put(2, (span[1], span[1]), new)
        elif node.upper is not None and node.lower is None and node.step is None:
            upper = self.span(node.upper)
            if upper is not None:
                self.put(0, span, f"{self.text(upper)}:")
                self.put(1, span, self.text(upper))
                for new in ("1", *self.names[:_MAX_ADDED]):
                    self.put(2, (span[0], span[0]), new)
        elif node.lower is None and node.upper is None and node.step is None:
            for new in ("1", *self.names[:_MAX_ADDED]):
                self.put(1, (span[0], span[0]), new)
            for new in ("-1", *self.names[:_MAX_ADDED]):
                self.put(1, (span[1], span[1]), new)
        elif node.lower is not None and node.upper is not None:
            lower, upper = self.span(node.lower), self.span(node.upper)
            if lower is not None and upper is not None:
                self.swap(2, lower, upper)
        if node.step is None:
            self.put(2, span, f"{text}:-1" if text.count(":") == 1 else text)
        else:
            step = self.span(node.step)
            if step is not None:
                self.put(1, (step[0] - 1, step[1]), "")

    def ternary(self, node: ast.IfExp, span: tuple[int, int]) -> None:
        one, two = self.span(node.body), self.span(node.orelse)
        if one is None or two is None:
            return
        self.swap(1, self.outer(one, span), self.outer(two, span))
        self.put(1, span, self.text(one))
        self.put(1, span, self.text(two))

    def elements(self, values: list[ast.expr], span: tuple[int, int]) -> None:
        spans = [self.outer(at, span) for value in values if (at := self.span(value)) is not None]
        if len(spans) != len(values) or len(spans) < 2 or len(spans) > 8:
            return
        for index, one in enumerate(spans):
            for two in spans[index + 1 :]:
                self.swap(1, one, two)
            cut = (spans[index - 1][1], one[1]) if index else (one[0], spans[1][0])
            self.put(2, cut, "")

    def yields(self, node: ast.Yield | ast.YieldFrom, span: tuple[int, int]) -> None:
        inner = self.span(node.value) if node.value is not None else None
        if inner is None:
            return
        text = self.text(inner)
        self.put(1, span, f"yield {text}" if isinstance(node, ast.YieldFrom) else f"yield from {text}")
        self.put(2, span, text)
        if isinstance(self.unit.node, ast.Expr):
            self.put(2, span, f"return {text}")

    def comprehension(
        self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp, span: tuple[int, int]
    ) -> None:
        opening, closing = self.raw[span[0] : span[0] + 1], self.raw[span[1] - 1 : span[1]]
        if isinstance(node, ast.ListComp) and opening == b"[":
            self.put(2, span, "{" + self.text((span[0] + 1, span[1] - 1)) + "}")
            self.put(2, span, "(" + self.text((span[0] + 1, span[1] - 1)) + ")")
        elif not isinstance(node, ast.DictComp) and closing in (b"}", b")") and opening in (b"{", b"("):
            self.put(2, span, "[" + self.text((span[0] + 1, span[1] - 1)) + "]")
        targets: list[str] = []
        for generator in node.generators:
            iterable = self.span(generator.iter)
            previous = self.outer(iterable, span) if iterable is not None else None
            for test in generator.ifs:
                at = self.span(test)
                if at is not None and previous is not None:
                    at = self.outer(at, span)
                    self.put(1, (previous[1], at[1]), "")
                    previous = at
                else:
                    previous = None
            targets += [name.id for name in ast.walk(generator.target) if isinstance(name, ast.Name)]
            if previous is not None and not generator.ifs:
                for target in targets[:3]:
                    for guard in (target, f"not {target}", f"{target} is not None"):
                        self.put(2, (previous[1], previous[1]), f" if {guard}")
                    for name in self.names[:_MAX_ADDED]:
                        if name not in targets:
                            for operator in ("!=", "in", "not in"):
                                self.put(3, (previous[1], previous[1]), f" if {target} {operator} {name}")

    def value(self, node: ast.expr, span: tuple[int, int], parent: ast.AST | None, place: str) -> None:
        """A value that is returned, assigned, passed, iterated over or used as an index: shifted, wrapped,
        taken apart.
        """
        text = self.text(span)
        simple = isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Subscript))
        numeric = simple or isinstance(node, ast.BinOp)
        if numeric:
            shifted = (
                text
                if not isinstance(node, ast.BinOp) or isinstance(node.op, (ast.Add, ast.Sub, ast.Mult))
                else f"({text})"
            )
            for new in (f"{shifted} + 1", f"{shifted} - 1"):
                self.put(0, span, new)
            if place in ("slice", "args", "value", "lower", "upper", "comparators", "left", "right"):
                for name in self.names[:_MAX_ADDED]:
                    if name != text:
                        for operator in ("+", "-", "*"):
                            self.put(3, span, f"{shifted} {operator} {name}")
        if simple:
            self.put(2, span, f"-{text}")
        if isinstance(node, (ast.Constant, ast.Lambda, ast.Dict, ast.Starred)):
            return
        for wrapper in _WRAPPERS:
            self.put(2, span, f"{wrapper}({text})")
        for wrapper in self.scope.callables[:_MAX_CALLABLES]:
            if wrapper not in _WRAPPERS and not (
                isinstance(parent, ast.Call) and _called_name(parent) == wrapper
            ):
                self.put(3, span, f"{wrapper}({text})")
        if self.scope.self_name is not None:
            for name in self.scope.self_attributes[:4]:
                self.put(3, span, f"{self.scope.self_name}.{name}({text})")
        if simple:
            for suffix in _SUFFIXES:
                self.put(2, span, f"{text}{suffix}")
            for new in (f"{text}[0]", f"{text}[-1]", f"{text}[1]", f"{text}[1:]", f"{text}[:-1]"):
                self.put(2, span, new)
            for name in self.names[:_MAX_ADDED]:
                self.put(3, span, f"{text}[{name}]")
            if isinstance(node, (ast.Call, ast.Attribute, ast.Name)) and self.scope.is_async:
                self.put(2, span, f"await {text}")
            if isinstance(node, ast.Name):
                self.put(2, span, f"{text}()")

    # Statements -----------------------------------------------------------------------------------

    def statement(self, node: ast.AST) -> None:
        if getattr(node, "lineno", None) != self.line or not isinstance(node, (ast.stmt, ast.ExceptHandler)):
            return
        start = node.col_offset
        if isinstance(node, ast.Return):
            self.returned(node, start)
        elif isinstance(node, (ast.Break, ast.Continue, ast.Pass)):
            span = self.span(node)
            words = [
                "pass",
                *(("break", "continue") if self.unit.in_loop else ()),
                *(("return",) if self.scope.in_function else ()),
            ]
            for word in words:
                if span is not None and word != self.text(span):
                    self.put(0, span, word)
        elif isinstance(node, ast.If):
            if (at := self.keyword("if", start)) is not None:
                self.put(2, at, "while")
                if self.unit.elif_possible:
                    self.put(0, at, "elif")
            elif (at := self.keyword("elif", start)) is not None:
                self.put(1, at, "if")
        elif isinstance(node, ast.While) and (at := self.keyword("while", start)) is not None:
            self.put(1, at, "if")
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            target, value = self.span(node.targets[0]), node.value
            at = (
                self.gap(node.targets[0], value, (start, node.end_col_offset or start))
                if target is not None
                else None
            )
            if (
                at is not None
                and self.text(at) == "="
                and not isinstance(node.targets[0], (ast.Tuple, ast.List))
            ):
                for new in ("+=", "-=", "*=", "|="):
                    self.put(2, at, new)
        elif isinstance(node, ast.AugAssign):
            self.augmented(node)
        elif isinstance(node, ast.Expr):
            span = self.span(node)
            if span is not None and self.scope.in_function and not isinstance(node.value, ast.Constant):
                self.put(1, (start, start), "return ")
                for name in self.names[:_MAX_ADDED]:
                    self.put(2, (start, start), f"{name} = ")
                if self.scope.is_async and not isinstance(node.value, ast.Await):
                    self.put(1, (start, start), "await ")
        elif isinstance(node, ast.Assert):
            pass
        elif isinstance(node, ast.Raise) and node.cause is None and node.exc is not None:
            span = self.span(node)
            if span is not None:
                self.put(3, span, "raise")
                self.put(3, span, "pass")
        elif isinstance(node, _FUNCTION):
            for argument in node.args.args:
                at = self.span(argument)
                if at is not None and argument.arg not in ("self", "cls"):
                    self.put(3, at, f"{self.text(at)}=None")

    def returned(self, node: ast.Return, start: int) -> None:
        span = self.span(node)
        if span is None:
            return
        for name in self.names:
            self.put(1, span, f"return {name}")
        for new in ("None", "True", "False", "0", "1", "-1", "''", "[]", "{}"):
            self.put(1, span, f"return {new}")
        owner = self.scope.self_name
        if owner is not None:
            self.put(1, span, f"return {owner}")
            for attribute in self.scope.self_attributes[: _MAX_ATTRIBUTES * 2]:
                self.put(2, span, f"return {owner}.{attribute}")
        self.put(2, span, "return")
        for new in self.values:
            self.put(3, span, f"return {new}")
        inner = self.span(node.value) if node.value is not None else None
        if inner is None or node.value is None:
            return
        text = self.text((inner[0], span[1]))
        self.put(1, span, text)
        self.put(1, span, f"yield {text}")
        self.negate(node.value, 1)
        if isinstance(node.value, (ast.Name, ast.Compare, ast.Call, ast.Attribute, ast.BoolOp)):
            for name in self.names[:_MAX_GUARDS]:
                for operator in ("and", "or"):
                    self.put(3, inner, f"{text} {operator} {name}")
                    self.put(3, inner, f"{text} {operator} not {name}")
                    self.put(3, inner, f"{name} {operator} {text}")

    def augmented(self, node: ast.AugAssign) -> None:
        gap = self.gap(node.target, node.value, (node.col_offset, node.end_col_offset or node.col_offset))
        if gap is None or not self.text(gap).endswith("="):
            return
        operator = self.text(gap)[:-1]
        for new in _BINARY_SWAPS.get(operator, ()):
            self.put(0 if new in "+-" else 1, gap, f"{new}=")
        self.put(0, gap, "=")


def _called_name(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _requote(literal: str, old: str) -> str:
    """`literal` (a repr) in the quotation marks of the literal `old`, where that needs no escape."""
    quote = '"' if old.lstrip("rRbBuUfF").startswith('"') else "'"
    body = literal[1:-1]
    if literal[0] == quote or '"' in body or "'" in body:
        return literal
    return f"{quote}{body}{quote}"


_VALUE_PLACES_WORDS = """
args value iter slice lower upper comparators left right values elt test operand elts
"""
_VALUE_PLACES = frozenset(_VALUE_PLACES_WORDS.split())


def _is_value(node: ast.expr, parent: ast.AST | None, place: str) -> bool:
    if not isinstance(getattr(node, "ctx", ast.Load()), ast.Load) or place not in _VALUE_PLACES:
        return False
    if isinstance(parent, (ast.Attribute, ast.Expr, ast.Await, ast.Starred)) and place == "value":
        return False
    return not (isinstance(parent, ast.Subscript) and place == "value")


def candidate_edits(source: str, line: int, *, limit: int | None = None) -> list[str]:
    """Replacement texts for one line of a Python file, the forms that fix more often first.

    `source` is the whole file, `line` counts from 1. Each text is the full line with its indentation,
    without a newline, differs from the line as it stands, occurs once, and leaves the file syntactically
    valid. At most `limit` of them. A line that is blank, a comment, inside a multi-line string or only a
    keyword (`else:`) has none. The order is a function of the arguments alone.

    Raises InputError when the file does not parse or has no such line.
    """
    module = _module(source)
    if not 1 <= line <= len(module.lines):
        raise InputError(
            "line-missing", f"The file has {len(module.lines)} lines, not {line}.", "Give a line of the file."
        )
    text = module.lines[line - 1]
    place = module.locate(line)
    if place is None or not text.strip():
        return []
    unit, chain = place
    editor = _Editor(text, line, unit, module.scope(chain))
    return list(islice(_valid(module, unit, line, dict.fromkeys(editor.run())), limit))


def _valid(module: _Module, unit: _Unit, line: int, texts: Iterable[str]) -> Iterator[str]:
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


def scope_names(source: str, line: int) -> list[str]:
    """Variables in scope at a line of a Python file: parameters and names of the enclosing function,
    nearest use first.

    Raises InputError when the file does not parse.
    """
    module = _module(source)
    place = module.locate(line)
    if place is None:
        return []
    scope = module.scope(place[1])
    return scope.near(line, len(scope.variables))
