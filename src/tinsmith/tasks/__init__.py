"""What a bug-fix task is: bugs planted in code, formats, mining and validation.

Knows code and tests, nothing of agents or models.
"""

from tinsmith.tasks.mutation import KINDS, Mutation, mutations, sample

__all__ = ["KINDS", "Mutation", "mutations", "sample"]
