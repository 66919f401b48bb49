"""What is where: the repository's source files, their functions, and which of them an issue points at.

Knows no model, no agent and no test runner: evidence from a failing test arrives as plain (path, line) pairs.
"""

from tinsmith.codebase.functions import Function, functions_in
from tinsmith.codebase.sources import is_test_file, source_files
from tinsmith.codebase.suspects import Evidence, Suspect, prime_suspects, rank_suspects

__all__ = [
    "Evidence",
    "Function",
    "Suspect",
    "functions_in",
    "is_test_file",
    "prime_suspects",
    "rank_suspects",
    "source_files",
]
