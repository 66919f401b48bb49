"""Running the table."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from tinsmith.errors import TinsmithError
from tinsmith.workspace.attacks.attack import Attack, Escaped, Inside, Outside
from tinsmith.workspace.attacks.canaries import Canaries
from tinsmith.workspace.attacks.controls import CONTROLS
from tinsmith.workspace.attacks.delivery import DELIVERY
from tinsmith.workspace.attacks.files import FILES
from tinsmith.workspace.attacks.git import GIT
from tinsmith.workspace.attacks.inside import CommandSandbox, Probe
from tinsmith.workspace.attacks.network import NETWORK
from tinsmith.workspace.attacks.output import OUTPUT
from tinsmith.workspace.attacks.patches import PATCHES
from tinsmith.workspace.attacks.planted import PLANTED
from tinsmith.workspace.attacks.processes import PROCESSES
from tinsmith.workspace.attacks.races import RACES
from tinsmith.workspace.attacks.resources import RESOURCES
from tinsmith.workspace.attacks.stage import Stage

TABLE: Mapping[str, Sequence[Attack]] = {
    "files": FILES,
    "network": NETWORK,
    "processes": PROCESSES,
    "resources": RESOURCES,
    "output": OUTPUT,
    "git": GIT,
    "planted": PLANTED,
    "delivery": (*DELIVERY, *PATCHES, *RACES),
    "controls": CONTROLS,
}
"""Every attack by its class."""

AuditRow = TypedDict("AuditRow", {"id": str, "class": str, "attack": str, "holds": bool, "saw": str, "seconds": float})
"""One attack and how it went."""


def audit(
    sandbox: CommandSandbox, *, everything: bool = False, told: Callable[[AuditRow], None] | None = None
) -> list[AuditRow]:
    """Run the table; `everything` adds what is slow or violent.  `told` hears each row as it comes.

    A sandbox for which a row does not hold must not be used.
    """
    chosen = {name: [attack for attack in attacks if everything or not attack.slow] for name, attacks in TABLE.items()}
    return run_attacks(sandbox, chosen, told=told)


def run_attacks(
    sandbox: CommandSandbox,
    table: Mapping[str, Sequence[Attack]],
    *,
    told: Callable[[AuditRow], None] | None = None,
    armed: bool = False,
) -> list[AuditRow]:
    """Run these attacks.  With `armed` each trap for the host must also catch ordinary tools, or it has shown
    nothing.
    """
    rows: list[AuditRow] = []
    with tempfile.TemporaryDirectory(prefix="tinsmith-audit-") as name:
        directory = Path(name).resolve()
        with Canaries(directory).out() as canaries:
            probe = Probe(canaries)
            for group, attacks in table.items():
                refused = _together(probe, sandbox, attacks)
                for attack in attacks:
                    started = time.monotonic()
                    if attack.id in refused:
                        holds, saw = True, refused[attack.id]
                    elif isinstance(attack, Inside):
                        holds, saw = _inside(probe, sandbox, attack)
                    else:
                        holds, saw = _outside(sandbox, attack, canaries, armed=armed)
                    row: AuditRow = {
                        "id": attack.id,
                        "class": group,
                        "attack": attack.what,
                        "holds": holds,
                        "saw": saw[:300],
                        "seconds": round(time.monotonic() - started, 3),
                    }
                    rows.append(row)
                    if told is not None:
                        told(row)
    return rows


def audit_summary(rows: Sequence[AuditRow]) -> dict[str, tuple[int, int]]:
    """{class: (held, total)}, in the order of the rows."""
    summary: dict[str, tuple[int, int]] = {}
    for row in rows:
        held, total = summary.get(row["class"], (0, 0))
        summary[row["class"]] = held + row["holds"], total + 1
    return summary


def _together(probe: Probe, sandbox: CommandSandbox, attacks: Sequence[Attack]) -> dict[str, str]:
    try:
        return probe.run_together(
            sandbox, [attack for attack in attacks if isinstance(attack, Inside) and attack.shares]
        )
    except TinsmithError:
        return {}


def _inside(probe: Probe, sandbox: CommandSandbox, attack: Inside) -> tuple[bool, str]:
    try:
        return probe.run(sandbox, attack)
    except TinsmithError as error:
        return False, f"not run: {error.message}"


def _outside(sandbox: CommandSandbox, attack: Outside, canaries: Canaries, *, armed: bool) -> tuple[bool, str]:
    with Stage.set(canaries.directory / "stages", sandbox) as stage:
        try:
            saw = attack.play(stage)
        except Escaped as escaped:
            return False, str(escaped)
        except Exception as error:
            return False, f"broke: {type(error).__name__}: {error}"
        if reached := [*stage.reached(), *canaries.reached()]:
            return False, "; ".join(reached)
        if armed and attack.naive is not None and not attack.naive(stage):
            return False, f"{saw}, but the trap catches nobody"
        return True, saw
