"""`tinsmith sandbox`: a command in the sandbox, and the attack table on this machine."""

import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import click

from tinsmith.cli.answer import answer_with, as_json_option, progress


@click.group()
def sandbox() -> None:
    """The sandbox that tests and the model's commands run in."""


@sandbox.command("audit")
@click.option("--all", "every", is_flag=True, help="Also the slow and violent attacks: memory, processes, disk.")
@click.option(
    "--sandbox",
    "rung",
    type=click.Choice(["bubblewrap", "landlock"]),
    default="bubblewrap",
    help="Which.  [default: bubblewrap]",
)
@as_json_option
def sandbox_audit(every: bool, rung: Literal["bubblewrap", "landlock"], as_json: bool) -> None:
    """Attack the sandbox of this machine and say what holds.

    Every attack aims at a canary that is made for it and removed afterwards. Exit code: 0 when all hold, else 1.
    """

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith.workspace import audit, audit_summary, find_sandbox

        found = find_sandbox(rung)
        rows = audit(found, everything=every, told=None if as_json else lambda row: progress(_line(row)))
        summary = audit_summary(rows)
        if not as_json:
            for name, (held, total) in summary.items():
                click.echo(f"{name:<10} {held:>4} of {total} hold")
        failed = sum(not row["holds"] for row in rows)
        click.echo(f"{len(rows) - failed} of {len(rows)} hold") if not as_json else None
        counts = {name: {"held": held, "total": total} for name, (held, total) in summary.items()}
        answer = {"rows": rows, "held": len(rows) - failed, "total": len(rows), "classes": counts}
        return answer, 1 if failed else 0

    answer_with(work, as_json)


def _line(row: Any) -> str:
    return f"{'ok  ' if row['holds'] else 'FAIL'}  {row['id']}  {row['attack']}: {row['saw']}"


@sandbox.command("run", context_settings={"ignore_unknown_options": True})
@click.option("--repo", metavar="DIR", default=".", help="The checkout to copy.  [default: here]")
@click.option("--timeout", metavar="S", type=click.IntRange(1), default=600, help="Wall clock.  [default: 600]")
@click.option("--python", metavar="PYTHON", help="The interpreter of the tests.  [default: the environment's]")
@click.option("--sandbox", "rung", type=click.Choice(["bubblewrap", "landlock"]), help="[default: bubblewrap]")
@click.option("--unsafe-no-sandbox", is_flag=True, help="Run it as you, with your files and your network.")
@click.option(
    "--net",
    "hosts",
    metavar="HOST",
    multiple=True,
    help="A host that it may reach, through a proxy; may be given again.",
)
@click.option("--diff", "show_diff", is_flag=True, help="Then show what the command changed, as a patch on stdout.")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def sandbox_run(
    repo: str,
    timeout: int,
    python: str | None,
    rung: Literal["bubblewrap", "landlock"] | None,
    unsafe_no_sandbox: bool,
    hosts: tuple[str, ...],
    show_diff: bool,
    command: tuple[str, ...],
) -> None:
    """Run COMMAND in a private copy of a checkout, in the sandbox.

    The copy is thrown away. The exit code is the command's, 137 where a limit ended it.
    """

    def work() -> tuple[dict[str, Any], int]:
        from tinsmith.errors import InputError
        from tinsmith.settings import Settings
        from tinsmith.workspace import Allowlist, Proxy, Sandbox, Workspace, find_sandbox

        confined = find_sandbox("none" if unsafe_no_sandbox else rung or Settings.of_person().sandbox)
        if confined.waived:
            click.secho(confined.waived, fg="red", err=True)
        allowed = Allowlist.parse(hosts) if hosts else None
        if allowed is not None and not isinstance(confined, Sandbox):
            raise InputError("net_needs_bubblewrap", "--net works with bubblewrap alone", "Leave --sandbox out.")
        with tempfile.TemporaryDirectory(prefix="tinsmith-run-") as place:
            Path(place).chmod(0o755)  # another user id of the sandbox passes through
            directory = Path(place, "copy")
            workspace = Workspace.create(Path(repo), directory, python=Path(python) if python else None)
            with Proxy(allowed, Path(place, "network")) if allowed else nullcontext() as proxy:
                done = workspace.run(confined, command, timeout=timeout, network=proxy)
            for attempt in proxy.attempts if proxy else ():
                progress(f"{attempt.target}: {attempt.verdict}")
            sys.stdout.buffer.write(done.output)
            if show_diff:
                patch = workspace.diff(workspace.base, workspace.snapshot())
                sys.stdout.buffer.write(patch.encode("utf-8", "surrogateescape"))
            sys.stdout.flush()
            Workspace.remove(directory)
        if done.killed_for is not None:
            progress(done.killed_because)
        return {}, done.returncode or (137 if done.killed_for is not None else 0)

    answer_with(work, as_json=False)
