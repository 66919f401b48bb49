"""What may stand for what (operators, wrappers, exceptions, confusable names), and how many are tried."""

from importlib.resources import files

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
COMPARISON_SWAPS: dict[str, tuple[str, ...]] = {
    **{op: tuple(other for other in _COMPARISONS if other != op) for op in _COMPARISONS},
    "in": ("not in", "==", "!="),
    "not in": ("in", "!=", "=="),
    "is": ("is not", "==", "!="),
    "is not": ("is", "!=", "=="),
}
COMPARISON_SWAPS["=="] += ("is", "in")
COMPARISON_SWAPS["!="] += ("is not", "not in")
_ARITHMETIC = ("+", "-", "*", "/", "//", "%", "**")
_BITWISE = ("&", "|", "^", "<<", ">>")
BINARY_SWAPS: dict[str, tuple[str, ...]] = {
    **{op: tuple(o for o in _ARITHMETIC if o != op) for op in _ARITHMETIC},
    **{op: tuple(o for o in _BITWISE if o != op) for op in _BITWISE},
}
BINARY_SWAPS["-"] += ("|", "&")
BINARY_SWAPS["|"] += ("+", "-")
BINARY_SWAPS["&"] += ("-", "%")
BINARY_SWAPS["@"] = ("*",)

_EXCEPTIONS_WORDS = """
ValueError TypeError KeyError IndexError AttributeError RuntimeError NotImplementedError StopIteration
OSError ImportError LookupError ZeroDivisionError OverflowError AssertionError UnicodeDecodeError
UnicodeEncodeError FileNotFoundError PermissionError TimeoutError Exception BaseException
"""
EXCEPTIONS = tuple(_EXCEPTIONS_WORDS.split())
_WRAPPERS_WORDS = """
len abs str int list sorted set tuple min max bool reversed float sum
"""
WRAPPERS = tuple(_WRAPPERS_WORDS.split())
SUFFIXES = (".copy()", ".strip()", ".lower()", ".items()", ".values()", ".keys()")
_BUILTINS_WORDS = """
abs all any bool bytes bytearray callable chr dict divmod enumerate filter float format frozenset getattr
hasattr hash hex id int isinstance issubclass iter len list map max min next object oct open ord pow print
property range repr reversed round set setattr slice sorted staticmethod classmethod str sum super tuple
type vars zip NotImplemented Ellipsis
"""
BUILTINS = frozenset(_BUILTINS_WORDS.split())

# How many names of each sort are tried at one place.
MAX_NAMES = 20
MAX_CALLABLES = 12
MAX_ATTRIBUTES = 16
MAX_STRINGS = 8
MAX_GUARDS = 6
MAX_ADDED = 6
MAX_EXPRESSIONS = 10
MAX_EXPRESSION = 40  # characters


def _confusables() -> dict[str, tuple[str, ...]]:
    table: dict[str, list[str]] = {}
    rows = files("tinsmith.tools.line_edits").joinpath("confusable_names.txt").read_text(encoding="utf-8")
    for row in rows.splitlines():
        names = row.split("#")[0].split()
        for name in names:
            known = table.setdefault(name, [])
            known.extend(other for other in names if other != name and other not in known)
    return {name: tuple(others) for name, others in table.items()}


CONFUSABLES = _confusables()
"""Names and attributes that are mistaken for each other."""
