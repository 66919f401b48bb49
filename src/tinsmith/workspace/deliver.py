"""A checked patch into the person's repository: as a new branch, by plumbing alone, or into the work tree
on request.

`commit_branch` adds objects and one ref.  It works on an index file of its own in an empty directory, so
the work tree, the index and HEAD stay byte for byte what they were, and no hook, filter or configuration
outside the repository's own is read but the person's name.
"""

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from tinsmith.errors import InputError
from tinsmith.workspace.checkout import open_checkout
from tinsmith.workspace.git import person_setting, run_git
from tinsmith.workspace.line_endings import as_stored
from tinsmith.workspace.patch import Patch

_MAX_NAMES = 100


def commit_branch(
    repo: Path,
    patch: Patch,
    branch_slug: str,
    message: str,
    base: str | None,
    *,
    announce: Callable[[str, str], None] = lambda branch, commit: None,
) -> str:
    """Commit `patch` on top of the commit `base` (None: a first commit) as a new branch `tinsmith/SLUG`.

    Returns the branch's name; where it is taken, `-2`, `-3` ... is appended.  `announce` is told branch and
    commit before the branch is there, so that who is interrupted knows whether it is.  Raises InputError
    `empty_patch`, `patch_does_not_apply` (the patch builds on uncommitted changes), `branch_not_written`.
    """
    if not patch.files:
        raise InputError("empty_patch", "the patch changes nothing", "There is nothing to commit.")
    checkout = open_checkout(repo)
    with tempfile.TemporaryDirectory(prefix="tinsmith-") as empty:
        place = Path(empty)
        env = {
            "GIT_DIR": str(checkout.git_dir),
            "GIT_WORK_TREE": str(place / "nothing"),
            "GIT_INDEX_FILE": str(place / "index"),
            **_identity(checkout.top),
        }
        (place / "nothing").mkdir()

        def git(*arguments: str, stdin: bytes = b"") -> tuple[int, str]:
            done = run_git(arguments, cwd=place / "nothing", stdin=stdin, env=env)
            words = done.stdout if done.returncode == 0 else done.stderr
            return done.returncode, words.decode(errors="replace").strip()

        code, words = git("read-tree", base) if base is not None else git("read-tree", "--empty")
        if code != 0:
            raise _not_written(words)

        def stored(path: str) -> bytes | None:
            found = run_git(["cat-file", "blob", f"{base}:{path}"], cwd=place / "nothing", env=env)
            return found.stdout if base is not None and found.returncode == 0 else None

        content = as_stored(patch, stored)
        code, words = git("apply", "--cached", "--whitespace=nowarn", "-", stdin=content)
        if code != 0:
            raise InputError(
                "patch_does_not_apply",
                f"the patch builds on changes that are not committed, so it makes no branch of its own: {words}",
                "The patch is kept with the run: `tinsmith apply` puts it into your work tree.",
            )
        code, tree = git("write-tree")
        if code != 0:
            raise _not_written(tree)
        parents = ["-p", base] if base is not None else []
        code, commit = git("commit-tree", "--no-gpg-sign", *parents, "-F", "-", tree, stdin=message.encode())
        if code != 0:
            raise _not_written(commit)
        name = f"tinsmith/{slug(branch_slug)}"
        words = "every name is taken"
        for number in range(1, _MAX_NAMES):
            branch = name if number == 1 else f"{name}-{number}"
            if git("show-ref", "--verify", "--quiet", f"refs/heads/{branch}")[0] == 0:
                continue
            announce(branch, commit)
            # An old value of zeros makes git refuse a ref that came up in between.
            code, words = git("update-ref", "-m", "tinsmith", f"refs/heads/{branch}", commit, "0" * len(commit))
            if code == 0:
                return branch
            if git("show-ref", "--verify", "--quiet", f"refs/heads/{branch}")[0] != 0:
                break
        raise _not_written(words)


def branch_commit(repo: Path, branch: str) -> str | None:
    """The commit that a branch names; None where there is no such branch."""
    checkout = open_checkout(repo)
    found = run_git(["rev-parse", "--verify", "--quiet", f"refs/heads/{branch}^{{commit}}"], cwd=checkout.top)
    return found.stdout.decode().strip() if found.returncode == 0 else None


def apply_patch(repo: Path, patch: Patch, *, reverse: bool = False) -> None:
    """Put the patch into (or with `reverse` out of) the person's work tree: all of it, or nothing.

    The index stays as it is.  Raises InputError `empty_patch`, `patch_does_not_apply`.
    """
    if not patch.files:
        raise InputError("empty_patch", "the patch changes nothing", "There is nothing to apply.")
    checkout = open_checkout(repo)
    arguments = ["apply", "--whitespace=nowarn", *(["--reverse"] if reverse else []), "-"]
    done = run_git(arguments, cwd=checkout.top, stdin=patch.content)
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip()
        raise InputError(
            "patch_does_not_apply",
            f"the files have changed since: {words}",
            "Nothing was changed and the patch is kept; use the branch, or undo your changes to these files.",
        )


def slug(text: str) -> str:
    """A short branch name of lower-case letters, digits and hyphens."""
    plain = re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
    return plain[:50].strip("-") or "fix"


def _identity(top: Path) -> dict[str, str]:
    """Author and committer: the person's by environment or configuration, else Tinsmith's."""
    found: dict[str, str] = {}
    for role in ("AUTHOR", "COMMITTER"):
        name = os.environ.get(f"GIT_{role}_NAME") or person_setting("user.name", top)
        email = os.environ.get(f"GIT_{role}_EMAIL") or person_setting("user.email", top)
        if not name or not email:
            name, email = "Tinsmith", "tinsmith@localhost"
        found[f"GIT_{role}_NAME"], found[f"GIT_{role}_EMAIL"] = name, email
    return found


def _not_written(words: str) -> InputError:
    return InputError(
        "branch_not_written",
        f"git did not take the branch: {words}",
        "The patch is kept with the run; `git apply` takes it.",
    )
