"""The attack suite: all of its quick part holds here, and it would notice if it did not."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from proofs.ordinary_user import ordinary_user

from tinsmith.errors import MachineError
from tinsmith.workspace import Completed, Sandbox, audit_summary
from tinsmith.workspace.attacks import TABLE, run_attacks
from tinsmith.workspace.attacks.attack import Attack, Escaped, Inside, Outside
from tinsmith.workspace.attacks.stage import Stage

OF_THE_STUDY = [
    *(f"F{n:02}" for n in range(1, 30)),
    *(f"N{n:02}" for n in range(1, 12)),
    *(f"P{n:02}" for n in range(1, 18)),
    *(f"R{n:02}" for n in range(1, 7)),
    *(f"C{n:02}" for n in range(1, 5)),
    *(f"G{n:02}" for n in range(1, 12)),
]


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox.find()


def verdict(sandbox: "Sandbox | FakeSandbox", attack: Attack, *, armed: bool = False) -> tuple[bool, str]:
    rows = run_attacks(sandbox, {"files": [attack]}, armed=armed)
    return rows[0]["holds"], rows[0]["saw"]


class FakeSandbox:
    """Runs nothing; does to the host what it is told, and says what it is told."""

    def __init__(self, says: str, does: Callable[[Path], None] = lambda work: None) -> None:
        self._says = says
        self._does = does

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | str = "/tmp",
        timeout: float,
        extra_ro_binds: Sequence[tuple[Path, Path]] = (),
        extra_rw_binds: Sequence[tuple[Path, Path]] = (),
        symlinks: Sequence[tuple[str, Path]] = (),
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        self._does(Path(cwd))
        return Completed(0, self._says.encode(), False, False, 0.1)


def test_the_table_has_every_class_of_the_study_and_no_id_twice() -> None:
    ids = Counter(attack.id for attacks in TABLE.values() for attack in attacks)
    assert [id for id, count in ids.items() if count > 1] == []
    assert sorted(set(OF_THE_STUDY) - set(ids)) == []
    assert sum(len(attacks) for name, attacks in TABLE.items() if name != "controls") >= 200
    controls = [attack for attack in TABLE["controls"] if isinstance(attack, Inside)]
    assert len(controls) == len(TABLE["controls"]) and not any(attack.refused_by for attack in controls)
    inside = [a for name, attacks in TABLE.items() if name != "controls" for a in attacks if isinstance(a, Inside)]
    assert all(bool(attack.refused_by) != bool(attack.judge) for attack in inside)


def test_the_quick_part_holds_on_this_machine() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tinsmith.cli", "sandbox", "audit", "--json"], capture_output=True, text=True
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    assert [row for row in answer["rows"] if not row["holds"]] == []
    assert done.returncode == 0 and answer["held"] == answer["total"] == len(answer["rows"]) > 150
    assert set(answer["classes"]) == set(TABLE)
    assert all(count["held"] == count["total"] > 0 for count in answer["classes"].values())


USER_HALF = """
import json, os
from proofs.other_sandboxes import NoSandbox
from proofs.sandbox import run_elsewhere, succeeded
from tinsmith.workspace import Sandbox, audit
rows = [row for row in audit(Sandbox.find()) if not row["holds"]]
bare = run_elsewhere(NoSandbox(), armed_only=True)
print(json.dumps({"uid": os.getuid(), "failed": rows, "succeeded": [r["id"] for r in bare if succeeded(r)]}))
"""


def test_it_holds_as_an_ordinary_user_and_without_a_sandbox_the_attacks_succeed(
    record_property: Callable[[str, object], None],
) -> None:
    if os.geteuid() != 0:
        # The other half is what the test above does.
        done = subprocess.run([sys.executable, "-c", USER_HALF], capture_output=True, text=True)
    else:
        with ordinary_user() as user:
            if user is None:
                record_property("user half", "not run: no Python 3.11 that another user can read")
                return
            done = user.run(["-c", USER_HALF])
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["uid"] != 0 and answer["failed"] == []
    # What depends on the machine (control groups, user namespaces) is not among these.
    certain = {"F01", "F04", "F08", "F30", "F31", "F32", "F35", "N03", "N04", "N05", "P01", "P16", "P17", "P20", "P27"}
    assert certain - set(answer["succeeded"]) == set()


@pytest.mark.parametrize(
    ("code", "saw"),
    [
        ("open(CANARY)", "ENOENT"),
        ("1 / 0", "BROKE ZeroDivisionError division by zero"),
        ("pass", "SUCCEEDED"),
        ("os._exit(3)", "exit status 3"),
        ("refuse('elsewhere')", "elsewhere"),
    ],
)
def test_an_attack_holds_for_the_right_reason_only(sandbox: Sandbox, code: str, saw: str) -> None:
    for alone in (True, False):
        holds, seen = verdict(sandbox, Inside("X", "x", code, "ENOENT", alone=alone))
        assert (holds, seen) == (saw == "ENOENT", saw)


@pytest.mark.parametrize(
    ("does", "saw"),
    [
        (lambda work: (work.parent / "canary").write_text("gone"), "was changed"),
        (lambda work: (work.parent / "canary").unlink(), "was changed"),
        (lambda work: (work.parent / "evil").touch(), "evil appeared beside the copy"),
        (lambda work: (work.parent / "evil").mkdir(), "evil appeared beside the copy"),
        (lambda work: work.rename(work.parent / "work-2"), "work-2 appeared beside the copy"),
    ],
)
def test_a_canary_counts_for_more_than_what_is_said(does: Callable[[Path], None], saw: str) -> None:
    holds, seen = verdict(FakeSandbox("REFUSED ENOENT", does), Inside("X", "x", "pass", "ENOENT", alone=True))
    assert not holds and saw in seen
    assert verdict(FakeSandbox("REFUSED ENOENT"), Inside("X", "x", "pass", "ENOENT", alone=True)) == (True, "ENOENT")


def test_a_sandbox_that_cannot_start_holds_nothing() -> None:
    def fail(work: Path) -> None:
        raise MachineError("sandbox_failed", "no namespaces", "Get some.")

    assert verdict(FakeSandbox("", fail), Inside("X", "x", "pass", "ENOENT")) == (False, "not run: no namespaces")


def test_a_trap_that_fires_breaks_or_catches_nobody_does_not_hold(sandbox: Sandbox) -> None:
    def fires(stage: Stage) -> str:
        subprocess.run([stage.trap], stdin=subprocess.DEVNULL, check=True)
        return "walked by"

    def escapes(stage: Stage) -> str:
        raise Escaped("out")

    def writes(stage: Stage) -> str:
        (stage.outside / "new").touch()
        return "walked by"

    def changes_git(stage: Stage) -> str:
        stage.inside("true")
        (stage.repo / ".git" / "config").write_text("")
        return "walked by"

    assert verdict(sandbox, Outside("X", "x", fires)) == (False, "the trap ran on the host")
    assert verdict(sandbox, Outside("X", "x", escapes)) == (False, "out")
    assert verdict(sandbox, Outside("X", "x", writes)) == (False, "a directory outside was changed")
    assert verdict(sandbox, Outside("X", "x", changes_git)) == (False, "the checkout's own .git was changed")
    assert verdict(sandbox, Outside("X", "x", lambda stage: str(1 // 0)))[1].startswith("broke: ZeroDivisionError")
    harmless = Outside("X", "x", lambda stage: "walked by", lambda stage: False)
    assert verdict(sandbox, harmless) == (True, "walked by")
    assert verdict(sandbox, harmless, armed=True) == (False, "walked by, but the trap catches nobody")


def test_ordinary_tools_walk_into_the_traps(sandbox: Sandbox) -> None:
    chosen = [
        attack for attacks in TABLE.values() for attack in attacks if attack.id in ("G01", "G02", "G08", "G15", "T02")
    ]
    rows = run_attacks(sandbox, {"git": chosen}, armed=True)
    assert len(rows) == 5 and [row for row in rows if not row["holds"]] == []


def test_the_summary_counts_by_class() -> None:
    rows = run_attacks(
        FakeSandbox("REFUSED ENOENT"), {"a": [Inside("X", "x", "", "ENOENT")], "b": [Inside("Y", "y", "", "EIO")]}
    )
    assert audit_summary(rows) == {"a": (1, 1), "b": (0, 1)}
    assert [row["id"] for row in rows] == ["X", "Y"]
