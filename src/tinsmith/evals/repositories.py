"""A bug as a git repository that `resolve` can be given: the package unpacked, the bug in it, one commit."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tinsmith.errors import InputError, MachineError
from tinsmith.evals.archives import unpack
from tinsmith.evals.bugs import SingleEdit
from tinsmith.evals.held_out import package_named

# Nobody's settings and hooks, and a fixed date: the same bug is the same commit everywhere.
_ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_AUTHOR_NAME": "Tinsmith",
    "GIT_AUTHOR_EMAIL": "tinsmith@localhost",
    "GIT_AUTHOR_DATE": "2020-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "Tinsmith",
    "GIT_COMMITTER_EMAIL": "tinsmith@localhost",
    "GIT_COMMITTER_DATE": "2020-01-01T00:00:00Z",
}


def prepare(bug: SingleEdit, cache: Path) -> Path:
    """The repository of `bug` in `cache`/bugs, made if it is not there.

    Raises as `fetch` and `plant` do, and MachineError `eval_git`.
    """
    place = cache / "bugs" / bug.instance_id
    if not place.is_dir():
        source = unpack(package_named(bug.package), cache)
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as directory:
            tree = Path(directory, "tree")
            shutil.copytree(source, tree)
            plant(tree / bug.path, bug)
            commit_all(tree)
            tree.rename(place)
    return place


def plant(file: Path, bug: SingleEdit) -> None:
    """Writes the bug into `file`. Raises InputError `eval_archive` where its line is another one."""
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            broken = bug.plant(stream.read())
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(
            "eval_archive", f"{bug.instance_id}: {error}", "Make the bugs anew for this archive."
        ) from error
    with file.open("w", encoding="utf-8", newline="") as stream:
        stream.write(broken)


def commit_all(tree: Path) -> str:
    """Makes `tree` a repository of one commit, ignored files included, and returns the commit's id."""
    git(tree, "init", "--quiet", "--initial-branch=main", "--template=")
    git(tree, "add", "--all", "--force")
    git(tree, "commit", "--quiet", "--no-verify", "--message=Release")
    return git(tree, "rev-parse", "HEAD")


def git(tree: Path, *arguments: str) -> str:
    """What git prints, without the last newline. Raises MachineError `eval_git`."""
    environment = {**os.environ, **_ENVIRONMENT}
    try:
        done = subprocess.run(
            ["git", "-C", str(tree), *arguments], env=environment, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else error
        raise MachineError("eval_git", f"git {arguments[0]}: {said}", "Check the git on PATH.") from error
    return done.stdout.rstrip("\n")
