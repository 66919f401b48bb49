"""Methods, functions and exceptions that people take for each other."""

_METHOD_PAIRS = (
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
_FUNCTION_PAIRS = (
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
EXCEPTIONS = tuple(_EXCEPTIONS_WORDS.split())
# Calls whose loss leaves an expression that often still runs.
_LOSSY_WORDS = """
abs bool bytes dict float frozenset int iter len list max min repr reversed round set sorted str sum tuple
"""
LOSSY = frozenset(_LOSSY_WORDS.split())
NOT_VARIABLES = (
    LOSSY
    | frozenset(name for pair in _FUNCTION_PAIRS for name in pair)
    | frozenset(EXCEPTIONS)
    | {"super", "print", "type", "object"}
)


def _pairs(pairs: tuple[tuple[str, str], ...]) -> dict[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {}
    for one, two in pairs:
        table[one] = (*table.get(one, ()), two)
        table[two] = (*table.get(two, ()), one)
    return table


METHODS = _pairs(_METHOD_PAIRS)
FUNCTIONS = _pairs(_FUNCTION_PAIRS)
