"""Kills runs at random moments and shows that nothing is lost. `make prove-kills` runs it.

Small repositories with a planted bug are resolved by a scripted model (`fake`) and by Solder (`solder`). Agent, engine
and sandboxed commands are killed by SIGKILL, several times a run, and the run is resumed until it has ended. After
every kill: the log is whole and has only grown, the person's work tree, index and HEAD are byte-identical, no process
and no mount is left. At the end the scripted run has the status and the patch of the undisturbed one, and Solder
resolves as many as undisturbed, within the interval.
"""

import argparse
import json
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from proofs.disturbed_run import Mode, Row, Run
from proofs.kill_tasks import TASKS

from tinsmith.models.random_weights import Shape, write_random

TINY = Shape(layers=1, d_model=32, heads=2, kv_heads=1, head_dim=16, ffn=32)
MODES: dict[str, tuple[Mode, ...]] = {"fake": ("fake",), "solder": ("solder",), "both": ("fake", "solder")}


class Rows:
    """The rows of a proof, kept in a file where one is given, so that an interrupted proof goes on."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.rows: list[Row] = []
        if path is not None and path.is_file():
            lines = path.read_text().split("\n")[:-1]  # what follows the last newline was not written to its end
            self.rows = [Row(**json.loads(line)) for line in lines]
            path.write_text("".join(line + "\n" for line in lines))

    def add(self, row: Row) -> None:
        """Keeps one more."""
        self.rows.append(row)
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a") as file:
                file.write(json.dumps(row.as_json()) + "\n")

    def undisturbed(self, mode: Mode) -> dict[str, Row]:
        """The undisturbed run of each task."""
        return {row.task: row for row in self.rows if row.mode == mode and not row.expected}

    def whole(self, mode: Mode, task: str) -> list[Row]:
        """Those of a task that one process ran from beginning to end: how long it takes on this machine."""
        return [row for row in self.rows if (row.mode, row.task, row.sessions) == (mode, task, 1)]

    def disturbed(self, mode: Mode) -> list[Row]:
        """The others."""
        return [row for row in self.rows if row.mode == mode and row.expected]


def prove(mode: Mode, kills: int, seed: int, rows: Rows) -> None:
    """Adds rows until there are as many kills."""
    with _place() as place:
        model = write_random(place / "free.gguf", shape=TINY)
        while (done := _kills(rows.disturbed(mode))) < kills:
            number = len(rows.disturbed(mode))
            task = TASKS[number % len(TASKS)]
            if task.name not in rows.undisturbed(mode):
                with _place() as own:
                    rows.add(Run(mode, task, own, model, 0).undisturbed())
            plain = rows.undisturbed(mode)[task.name]
            duration = min(row.seconds for row in rows.whole(mode, task.name))
            with _place() as own:
                row = Run(mode, task, own, model, seed * 1_000_000 + number).disturbed(duration, plain)
            rows.add(row)
            print(f"{mode} {done + len(row.kills)}/{kills}: {_told(row)}", file=sys.stderr, flush=True)


def _told(row: Row) -> str:
    killed = ", ".join(victim for victim, _ in row.kills) or "nothing"
    wrong = f" WRONG: {'; '.join(row.wrong)}" if row.wrong else ""
    end = f"{row.status} after {row.turns} turns in {row.sessions} processes, {row.seconds:.0f} s"
    return f"{row.task} killed {killed}; {end}{wrong}"


def report(mode: Mode, rows: Rows) -> bool:
    """Prints what came of it; whether all holds."""
    plain, disturbed = rows.undisturbed(mode), rows.disturbed(mode)
    killed = Counter(victim for row in disturbed for victim, _ in row.kills)
    print(f"\n{mode}: {len(disturbed)} runs, {_kills(disturbed)} kills", end=" ")
    print("(" + ", ".join(f"{count} {victim}" for victim, count in sorted(killed.items())) + ")")
    print(f"{'task':8} {'runs':>5} {'kills':>6} {'turns':>6} {'resumed':>8} {'as undisturbed':>15} {'wrong':>6}")
    for name, before in plain.items():
        own = [row for row in disturbed if row.task == name]
        same = sum(row.status == before.status for row in own)
        figures = (len(own), _kills(own), sum(r.turns for r in own), sum(r.resumed for r in own))
        print(f"{name:8} {figures[0]:5} {figures[1]:6} {figures[2]:6} {figures[3]:8}", end=" ")
        print(f"{f'{same} {before.status}':>15} {sum(bool(r.wrong) for r in own):6}")
    errors = Counter(code for row in disturbed for code in row.errors)
    if errors:
        print("sessions that ended in an error and were resumed: " + ", ".join(f"{n} {c}" for c, n in errors.items()))
    wrong = [f"{row.task} {row.seed}: {reason}" for row in [*plain.values(), *disturbed] for reason in row.wrong]
    for line in wrong[:20]:
        print(f"WRONG {line}")
    if mode == "fake" or not disturbed:
        return not wrong
    # Undisturbed runs are always the same, so each counts as often as its task was disturbed.
    alike = [plain[row.task].status == "resolved" for row in disturbed]
    rates = [wilson(sum(found), len(found)) for found in (alike, [row.status == "resolved" for row in disturbed])]
    for name, (low, rate, high) in zip(("undisturbed", "disturbed"), rates, strict=True):
        print(f"resolved {name}: {rate:.1%} (95 % interval {low:.1%} to {high:.1%})")
    return not wrong and rates[0][0] <= rates[1][2] and rates[1][0] <= rates[0][2]


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float, float]:
    """Lower bound, rate and upper bound of a proportion (Wilson 1927), at 95 % by default."""
    rate = successes / trials
    centre = (rate + z * z / (2 * trials)) / (1 + z * z / trials)
    spread = z / (1 + z * z / trials) * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    return centre - spread, rate, centre + spread


def _kills(rows: Sequence[Row]) -> int:
    return sum(len(row.kills) for row in rows)


@contextmanager
def _place() -> Generator[Path]:
    """A directory of its own; the processes of a run are found by its name."""
    with tempfile.TemporaryDirectory(prefix="prove-kills-") as name:
        yield Path(name).resolve()


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all holds, else 1."""
    parser = argparse.ArgumentParser(prog="python -m proofs.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=500, help="of both modes together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mode", choices=MODES, default="both")
    parser.add_argument("--rows", type=Path, help="a file of rows to keep and to go on from")
    given = parser.parse_args(arguments)
    rows = Rows(given.rows)
    modes = MODES[given.mode]
    for number, mode in enumerate(modes):
        share = given.kills // len(modes) + (number < given.kills % len(modes))
        prove(mode, share, given.seed, rows)
    held = [report(mode, rows) for mode in modes]
    everything = [row for mode in modes for row in rows.disturbed(mode)]
    kills, turns = _kills(everything), sum(row.turns for row in everything)
    lost = sum(bool(row.wrong) for row in everything)
    outcome = "proved" if all(held) else "NOT proved"
    print(f"\nprove-kills: {outcome}: {kills} kills in {len(everything)} runs, {turns} turns, {lost} runs with a fault")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
