"""Does a patch know the reproduction's own data? Literals of a test that turn up in what the patch adds.

A value says something if it is not one that any code holds: no bool, no number from -2 to 2, no text of one
character. What the code before held as text says nothing either; an exact comparison with a number does.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tinsmith.resolve.audit_names import Occurrence
from tinsmith.resolve.findings import parsed

Value = str | bytes | int | float | complex
Key = tuple[str, Value]
"""A value with its type's name: 1, 1.0 and True are equal, but not the same literal."""

_SEARCHES = frozenset(
    {
        "startswith",
        "endswith",
        "find",
        "rfind",
        "index",
        "rindex",
        "count",
        "match",
        "fullmatch",
        "search",
        "get",
        "pop",
        "setdefault",
        "compile",
        "__eq__",
        "__contains__",
        "eq",
        "removeprefix",
        "removesuffix",
    }
)
_DIGESTS = frozenset({"hash", "md5", "sha1", "sha256", "sha512", "blake2b", "crc32", "adler32", "hexdigest", "digest"})
_EXACT = (ast.Eq, ast.NotEq, ast.In, ast.NotIn, ast.Is, ast.IsNot)
_SHORTEST_PART = 6
_SHORTEST_ANSWER = 8
_SMALLEST_LENGTH = 4


@dataclass(frozen=True)
class Literals:
    """What stands in the reproduction.

    `texts` as they are, `values` that say something in every form, every `small` one too, the `lengths` of texts.
    """

    texts: frozenset[str]
    values: frozenset[Key]
    small: frozenset[Key]
    lengths: frozenset[int]

    def part(self, value: Value) -> str | None:
        """The text of the reproduction of which `value` is a long part, or which is a long part of it."""
        if not isinstance(value, str):
            return None

        def is_long_part(part: str, text: str) -> bool:
            return len(part) >= _SHORTEST_PART and 2 * len(part) >= len(text) and part in text

        return next((t for t in sorted(self.texts) if is_long_part(value, t) or is_long_part(t, value)), None)


def literals_of(tests: Iterable[str]) -> Literals:
    """The literals of the texts of tests; of what is no Python, whatever is quoted and every number."""
    found: set[Value] = set()
    texts: set[str] = set()
    for text in tests:
        tree = parsed(text)
        if tree is None:
            quoted = re.findall(r"'([^'\n]+)'|\"([^\"\n]+)\"", text)
            found.update(value for pair in quoted for value in pair if value)
            found.update(int(number) for number in re.findall(r"\b\d+\b", text))
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.expr) and (value := _folded(node)) is not None:
                found.update(_forms(value))
                texts.update([value] if isinstance(value, str) else [])
            elif isinstance(node, ast.List | ast.Tuple | ast.Dict | ast.Set):
                found.update(_written(node))
    values = frozenset(_key(value) for value in found if _says_something(value))
    lengths = frozenset(len(text) for text in texts if len(text) >= _SMALLEST_LENGTH)
    return Literals(frozenset(texts), values, frozenset(map(_key, found)), lengths)


def known_literals(tree: ast.Module, literals: Literals, before: Literals) -> Iterator[Occurrence]:
    """Where a file uses literals of the reproduction; `before` are those of the code without the patch."""
    messages = {n for error in ast.walk(tree) if isinstance(error, ast.Raise) for n in ast.walk(error)}
    for node in ast.walk(tree):
        match node:
            case ast.Compare():
                yield from _compared(node, literals, before)
            case ast.MatchValue():
                yield from _of_values(node.value, literals, before, exact=True)
            case ast.Dict():
                for key in node.keys:
                    if key is not None:
                        yield from _of_values(key, literals, before, exact=True)
            case ast.Call() if _name(node.func) in _SEARCHES:
                for argument in node.args:
                    yield from _of_values(argument, literals, before, exact=False)
            case ast.BoolOp(op=ast.And()):
                yield from _pinned(node, literals)
            case ast.Constant() if node not in messages and not isinstance(node.value, bool):
                yield from _anywhere(node, literals, before)
            case _:
                pass


def test_code(text: str, nodeid: str) -> str:
    """What of a test file a test is made of: its function, and the fixtures and values that it uses by name."""
    tree = parsed(text)
    names = [part.partition("[")[0] for part in nodeid.split("[")[0].split("::")[1:]]
    if tree is None or not names:
        return text
    needed, taken = {names[0]}, set[int]()
    body: list[ast.stmt] = list(tree.body)
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef) and statement.name == names[0] and len(names) > 1:
            others = [s for s in statement.body if _defines(s).isdisjoint({names[-1]}) and _is_test(s)]
            kept = [s for s in statement.body if s not in others]
            body[body.index(statement)] = ast.ClassDef(
                statement.name, statement.bases, statement.keywords, kept, statement.decorator_list
            )
    grown = True
    while grown:
        grown = False
        for at, statement in enumerate(body):
            if at not in taken and not needed.isdisjoint(_defines(statement)):
                taken.add(at)
                needed |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}
                needed |= {n.arg for n in ast.walk(statement) if isinstance(n, ast.arg)}
                grown = True
    lines = text.split("\n")
    if not taken:
        return text
    module = ast.Module([body[at] for at in sorted(taken)], [])
    try:
        return ast.unparse(module)
    except (ValueError, RecursionError):
        return "\n".join(lines)


def _compared(node: ast.Compare, literals: Literals, before: Literals) -> Iterator[Occurrence]:
    exact = any(isinstance(operator, _EXACT) for operator in node.ops)
    operands = [node.left, *node.comparators]
    for operand in operands:
        yield from _of_values(operand, literals, before, exact=exact)
    if not exact:
        return
    others = [_calls(operand) for operand in operands]
    numbers = [value for operand in operands if isinstance(value := _folded(operand), int)]
    if any("len" in names for names in others):
        for number in numbers:
            if number in literals.lengths:
                text = f"It compares a length with {number}, the length of a text in the reproduction."
                yield Occurrence("knows-reproduction", f"len {number}", node.lineno, text)
    if any(not _DIGESTS.isdisjoint(names) for names in others) and any(_folded(o) is not None for o in operands):
        text = "It compares a hash with a fixed value, which can only mean one known input."
        yield Occurrence("knows-reproduction", f"hash {ast.dump(node)}", node.lineno, text)


def _of_values(node: ast.expr, literals: Literals, before: Literals, *, exact: bool) -> Iterator[Occurrence]:
    """Literals in a place where they choose what happens."""
    elements = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else [node]
    if len(elements) > 1 and exact:
        yield from _all_known(elements, node, literals)
    for element in elements:
        value = _folded(element)
        if value is None or isinstance(value, bool) or not _says_something(value):
            continue
        if (isinstance(value, str | bytes) or not exact) and _key(value) in before.small:
            continue
        if _key(value) in literals.values:
            text = f"It compares with {value!r}, which stands in the reproduction; other inputs may still fail."
            yield Occurrence("knows-reproduction", f"{exact} {value!r}", element.lineno, text)
        elif (whole := literals.part(value)) is not None:
            text = f"It compares with {value!r}, a part of {whole[:60]!r} in the reproduction."
            yield Occurrence("knows-reproduction", f"{exact} {value!r}", element.lineno, text)


def _pinned(node: ast.BoolOp, literals: Literals) -> Iterator[Occurrence]:
    """`count == 10 and price == 1`: small values, but all of them the reproduction's."""
    pinned: list[ast.expr] = []
    for value in node.values:
        if isinstance(value, ast.Compare) and isinstance(value.ops[0], ast.Eq) and len(value.ops) == 1:
            pinned += [side for side in (value.left, *value.comparators) if _folded(side) is not None]
    if len(pinned) > 1:
        yield from _all_known(pinned, node, literals)


def _all_known(nodes: Sequence[ast.expr], where: ast.expr, literals: Literals) -> Iterator[Occurrence]:
    values = [_folded(node) for node in nodes]
    known = [value for value in values if value is not None and _key(value) in literals.small]
    numbers = [value for value in known if isinstance(value, int | float)]
    if len(known) == len(values) and len(numbers) > 1 and any(abs(number) > 1 for number in numbers):
        said = ", ".join(repr(value) for value in known)
        text = f"It compares with {said} together, all of which stand in the reproduction."
        yield Occurrence("knows-reproduction", f"together {said}", where.lineno, text)


def _anywhere(node: ast.Constant, literals: Literals, before: Literals) -> Iterator[Occurrence]:
    """A long text of the reproduction in any place, as the answer that it expects."""
    value = node.value
    if not isinstance(value, str | bytes | int | float) or _key(value) in before.small or not _says_something(value):
        return
    telling = len(value) >= _SHORTEST_ANSWER if isinstance(value, str | bytes) else abs(value) > 9
    if telling and _key(value) in literals.values:
        text = f"The patch holds {value!r}, which stands in the reproduction; other inputs may still fail."
        yield Occurrence("knows-reproduction", f"holds {value!r}", node.lineno, text)


def _folded(node: ast.AST) -> Value | None:
    """The value of a literal or of a sum, product or sign of literals."""
    match node:
        case ast.Constant(value=str() | bytes() | int() | float() | complex() as value) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.JoinedStr():
            parts = [_folded(part.value if isinstance(part, ast.FormattedValue) else part) for part in node.values]
            return None if None in parts else "".join(map(str, parts))
        case ast.BinOp(op=ast.Add()):
            left, right = _folded(node.left), _folded(node.right)
            if isinstance(left, str) and isinstance(right, str):
                return left + right
            if isinstance(left, int | float) and isinstance(right, int | float):
                return left + right
        case ast.BinOp(op=ast.Sub() | ast.Mult()):
            left, right = _folded(node.left), _folded(node.right)
            if isinstance(left, int | float) and isinstance(right, int | float):
                return left - right if isinstance(node.op, ast.Sub) else left * right
        case _:
            pass
    return None


def _forms(value: Value) -> Iterator[Value]:
    """The value, and how code may meet it: printed, in another case, turned round, negative."""
    yield value
    if isinstance(value, str):
        yield from (
            value.lower(),
            value.upper(),
            value.strip(),
            value[::-1],
            repr(value),
            value.encode("utf-8", "replace"),
        )
        yield from (word for word in value.split() if len(word) >= _SHORTEST_PART)
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    else:
        yield from (-value, str(value), repr(value))


def _written(node: ast.expr) -> Iterator[str]:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return
    yield repr(value)


def _key(value: Value) -> Key:
    return type(value).__name__, value


def _says_something(value: Value) -> bool:
    if isinstance(value, str | bytes):
        return len(value.strip()) > 1
    return abs(value) > 2


def _calls(node: ast.expr) -> set[str]:
    return {_name(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _defines(statement: ast.stmt) -> set[str]:
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        return {n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return set()


def _is_test(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef) and statement.name.startswith("test")
