"""Running the host's git so that no configuration, hook, filter or pager of anybody's can run code."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinsmith.errors import MachineError

_SAFE = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.untrackedCache=false",
    "core.quotePath=false",
    "core.attributesFile=/dev/null",
    "core.pager=cat",
    "diff.external=",
    "safe.directory=*",
    "safe.bareRepository=all",
    "submodule.recurse=false",
    "protocol.allow=never",
    "gc.auto=0",
    "maintenance.auto=false",
    "commit.gpgSign=false",
)


def run_git(
    arguments: Sequence[str],
    *,
    cwd: Path,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    config: Sequence[str] = (),
) -> subprocess.CompletedProcess[bytes]:
    """Run git with the safe configuration and return the finished process, whatever its exit status.

    `env` adds to a fixed environment in which nothing of the caller's GIT_* is left; `config` are further
    `name=value`.  Raises MachineError `no_git`.
    """
    command = ["git", "--no-pager"]
    for setting in (*_SAFE, *config):
        command += ["-c", setting]
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        # Nothing is fetched; unlike protocol.allow, no configuration of the repository can say otherwise.
        "GIT_ALLOW_PROTOCOL": "none",
        **(env or {}),
    }
    try:
        return subprocess.run(
            [*command, *arguments],
            cwd=cwd,
            input=stdin,
            env=environment,
            capture_output=True,
            process_group=0,  # Ctrl-C in the terminal is ours to handle
        )
    except FileNotFoundError as error:
        if not cwd.is_dir():
            raise
        raise MachineError("no_git", "git is not installed", "Install the package `git`.") from error


def person_setting(name: str, cwd: Path) -> str:
    """One setting as the person's own git sees it, in its own environment; "" where there is none."""
    command = ["git", "--no-pager", "config", "--get", name]
    answer = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True)
    return os.fsdecode(answer.stdout).rstrip("\n") if answer.returncode == 0 else ""
