"""How good is it: bugs that no training text holds, and what a model, a random one and chance make of them.

Knows nothing of training. Three measurements, each a command:

    python -m tinsmith.evals.ranking --cache DIR   # where does the exact fix stand among the candidates
    python -m tinsmith.evals.table --cache DIR     # fixed within 5 and 20 test runs, through `resolve`
    python -m tinsmith.evals.call_cost --cache DIR # what a constrained call costs beside its ids decoded freely

Packages are pinned by hash in `held_out.toml`, the twenty bugs that are run in `single_edits.jsonl` (made by
`python -m tinsmith.evals.single_edits`), bugs that people really made in `real_bugs.jsonl`. Code of those
packages only ever runs in the sandbox.
"""

from tinsmith.evals.archives import Archive, fetch, unpack
from tinsmith.evals.bugs import RealBug, SingleEdit, real_bugs, single_edits
from tinsmith.evals.held_out import HeldOut, held_out

__all__ = [
    "Archive",
    "HeldOut",
    "RealBug",
    "SingleEdit",
    "fetch",
    "held_out",
    "real_bugs",
    "single_edits",
    "unpack",
]
