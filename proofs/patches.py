"""`make prove-patches`: hostile patches by the thousand, each against `git apply`."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from hypothesis import HealthCheck, assume, given, seed, settings
from tests.hostile_patches import Bench, Case, cases


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patches", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--accepted", type=float, default=0.3, help="the least share that must be applied")
    given_arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place))

        @seed(given_arguments.seed)
        @settings(
            max_examples=given_arguments.patches,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
            print_blob=True,
        )
        @given(cases())
        def prove(case: Case) -> None:
            text = bench.patch(case)
            assume(text)
            bench.judge(case, text)

        prove()
    tally = bench.tally
    share = tally.applied / max(tally.patches, 1)
    print(
        f"patches: {tally.patches}, {tally.accepted} passed the parser, {tally.applied} applied "
        f"({share:.0%}) with git's tree and out again, {tally.only_git} refused that git would apply, "
        f"{time.monotonic() - started:.0f} s"
    )
    holds = tally.patches >= given_arguments.patches and share >= given_arguments.accepted
    print("prove-patches: " + ("passed" if holds else "FAILED"))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
