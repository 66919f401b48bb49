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

from tinsmith.tasks.mutation.checking import Mutation
from tinsmith.tasks.mutation.drawing import mutations, sample
from tinsmith.tasks.mutation.kinds import KINDS

__all__ = ["KINDS", "Mutation", "mutations", "sample"]
