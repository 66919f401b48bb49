"""The Python recipe: every small edit of one line that a one-line bug fix might be.

A small model ranks well and writes badly, so the domain of its edits is enumerated and the model orders it.
What it does not reach cannot be fixed that way, hence breadth is the aim: operators, conditions,
constants, off-by-one forms, arguments, names and attributes in scope, call wrappers, subscripts, slices,
statements, exception types.

Edits are splices at the positions of syntax nodes, so the formatting of the rest of the line is kept.
Positions inside f-strings are not used (they are unreliable before Python 3.12).
"""

from tinsmith.tools.line_edits.candidates import candidate_edits, scope_names

__all__ = ["candidate_edits", "scope_names"]
