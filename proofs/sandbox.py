"""Attacks the sandbox and the way out of it with everything there is. `make prove-sandbox` runs it.

The whole table, slow and violent attacks included, runs as whoever starts it; started by root it runs again as an
ordinary user. Traps for the host must also catch ordinary tools (`armed`), and the attacks inside must succeed where
there is no sandbox (the last column; as an ordinary user, and only those that can), or they have shown nothing.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from proofs.ordinary_user import ordinary_user
from proofs.other_sandboxes import MiniSweAgent, NoSandbox

from tinsmith.errors import MachineError
from tinsmith.workspace import LandlockSandbox
from tinsmith.workspace.attacks import TABLE, AuditRow, CommandSandbox, audit_summary, run_attacks
from tinsmith.workspace.attacks.attack import Attack, Inside
from tinsmith.workspace.sandbox import Sandbox

Rows = list[AuditRow]


def run_half(only: Sequence[str] = ()) -> Rows:
    """The whole table as this user, each row to stderr as it comes."""
    chosen = {name: [a for a in attacks if not only or a.id in only or name in only] for name, attacks in TABLE.items()}
    return run_attacks(Sandbox.find(), chosen, told=_tell, armed=True)


def run_elsewhere(sandbox: CommandSandbox, *, armed_only: bool = False, everything: bool = False) -> Rows:
    """The attacks inside, in another sandbox or in none; `everything` adds slow ones and controls."""

    def fits(attack: Attack) -> bool:
        return isinstance(attack, Inside) and (everything or not attack.slow) and (attack.armed or not armed_only)

    names = [name for name in TABLE if everything or name != "controls"]
    chosen = {name: [a for a in TABLE[name] if fits(a)] for name in names}
    return run_attacks(sandbox, {name: attacks for name, attacks in chosen.items() if attacks})


def succeeded(row: AuditRow) -> bool:
    """Whether an attack reached what it aimed at, and did not merely break or meet another error."""
    saw = row["saw"]
    return not row["holds"] and (
        saw == "SUCCEEDED" or (" " in saw and not saw.startswith(("BROKE", "exit", "not run")))
    )


def _tell(row: AuditRow) -> None:
    if not row["holds"]:
        print(f"FAIL {row['id']} {row['attack']}: {row['saw']}", file=sys.stderr, flush=True)


def _work_of_a_user() -> dict[str, Rows]:
    """What the child of the other user does: prints one JSON object."""
    rows = {
        "user": run_half(),
        "none": run_elsewhere(NoSandbox(), armed_only=True),
        "mini-swe-agent": run_elsewhere(MiniSweAgent()),
    }
    try:
        rows["landlock"] = run_elsewhere(LandlockSandbox.find(), everything=True)
    except MachineError as error:
        print(error.message, file=sys.stderr)
    return rows


def as_ordinary_user() -> dict[str, Rows] | None:
    """The same by a child that is an ordinary user; None where there is no interpreter for one."""
    with ordinary_user() as user:
        if user is None:
            return None
        child = user.run(["-m", "proofs.sandbox", "--child"])
        if child.returncode != 0:
            raise RuntimeError(f"the half of the ordinary user ended with {child.returncode}")
        return json.loads(child.stdout.splitlines()[-1])


def report(halves: Mapping[str, Rows], elsewhere: Mapping[str, Rows]) -> None:
    """One line a class: held of total, as root and as a user; then what others hold."""
    print(f"{'class':12}" + "".join(f"{'as ' + name:>14}" for name in halves) + f"{'no sandbox':>22}")
    summaries = {name: audit_summary(rows) for name, rows in halves.items()}
    bare = elsewhere.get("none", [])
    for group in TABLE:
        cells = [summary.get(group, (0, 0)) for summary in summaries.values()]
        own = [succeeded(row) for row in bare if row["class"] == group]
        last = f"{sum(own)} of {len(own)} succeed" if own else "-"
        print(f"{group:12}" + "".join(f"{f'{held}/{total}':>14}" for held, total in cells) + f"{last:>22}")
    for name, rows in elsewhere.items():
        if name == "none":
            unarmed = [row["id"] for row in rows if not succeeded(row)]
            if unarmed:
                print(f"without a sandbox these fail here too: {', '.join(unarmed)}")
            continue
        failed = [row["id"] for row in rows if not row["holds"]]
        print(f"\n{name} holds {len(rows) - len(failed)} of {len(rows)} inside; not: {', '.join(failed)}")
        print(", ".join(f"{group} {held}/{total}" for group, (held, total) in audit_summary(rows).items()))


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all hold, else 1."""
    parser = argparse.ArgumentParser(prog="python -m proofs.sandbox", description=__doc__)
    parser.add_argument("--rows", type=Path, help="a file for the rows, as JSON lines")
    parser.add_argument("--only", nargs="*", default=[], help="classes or ids, as whoever starts it")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child:
        print(json.dumps(_work_of_a_user()))
        return 0
    halves: dict[str, Rows] = {}
    elsewhere: dict[str, Rows] = {}
    if os.geteuid() == 0 or given.only:
        halves["root" if os.geteuid() == 0 else "user"] = run_half(given.only)
    if not given.only:
        answer = as_ordinary_user() if os.geteuid() == 0 else _work_of_a_user()
        if answer is not None:
            halves["user"] = answer.pop("user")
            elsewhere = answer
    if given.rows is not None:
        given.rows.parent.mkdir(parents=True, exist_ok=True)
        with given.rows.open("w") as file:
            for name, rows in {**halves, **elsewhere}.items():
                for row in rows:
                    line: dict[str, Any] = {"as": name, **row}
                    file.write(json.dumps(line) + "\n")
    report(halves, elsewhere)
    attacks = sum(len(table) for name, table in TABLE.items() if name != "controls")
    failed = [f"{name} {row['id']}" for name, rows in halves.items() for row in rows if not row["holds"]]
    for line in failed:
        print(f"DOES NOT HOLD {line}")
    missing = "" if "user" in halves or given.only else "; NOT run as an ordinary user: no Python 3.11 for one"
    outcome = "NOT proved" if failed or missing else "proved"
    ran = f"{attacks} attacks and {len(TABLE['controls'])} controls {' and '.join(f'as {name}' for name in halves)}"
    print(f"\nprove-sandbox: {outcome}: {ran}, {len(failed)} do not hold{missing}")
    return 1 if failed or missing else 0


if __name__ == "__main__":
    sys.exit(main())
