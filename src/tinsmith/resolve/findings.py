"""A finding: why the evidence for a patch is weaker than it looks, in words for the person. Never an accusation."""

import ast
import warnings
from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """`rule` names the kind, `line` counts from 1 in the file as the patch leaves it."""

    rule: str
    path: str
    line: int
    text: str


def parsed(text: str) -> ast.Module | None:
    """The syntax tree of a stranger's Python, or None where it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text.removeprefix("\ufeff"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
