"""A checked patch into the person's repository: as a new branch, by plumbing alone, or into the work tree
on request.

`commit_branch` adds objects and one ref.  It works on an index file of its own in an empty directory, so
the work tree, the index and HEAD stay byte for byte what they were, and no hook, filter or configuration
outside the repository's own is read but the person's name.  What is committed and what is written to the work tree
is made by `PatchedFile.apply`: git never reads the patch, so it cannot read it otherwise than we did.
"""

import errno
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tinsmith.errors import InputError
from tinsmith.workspace.beneath import Beneath
from tinsmith.workspace.checkout import open_checkout
from tinsmith.workspace.git import person_setting, run_git
from tinsmith.workspace.line_endings import as_stored
from tinsmith.workspace.patch import Patch, parse_patch, patch_rejected
from tinsmith.workspace.patch_tree import SYMLINK, tree_fault
from tinsmith.workspace.patched_file import DoesNotApply, PatchedFile
from tinsmith.workspace.sensitive import require_approval
from tinsmith.workspace.work_tree import Change, FileChanged, FileState, locked, read_state, recover, replace_files

_MAX_NAMES = 100


def commit_branch(
    repo: Path,
    patch: Patch,
    branch_slug: str,
    message: str,
    base: str | None,
    *,
    approve_sensitive: bool = False,
    announce: Callable[[str, str], None] = lambda branch, commit: None,
) -> str:
    """Commit `patch` on top of the commit `base` (None: a first commit) as a new branch `tinsmith/SLUG`.

    Returns the branch's name; where it is taken, `-2`, `-3` ... is appended.  `announce` is told branch and
    commit before the branch is there, so that who is interrupted knows whether it is.  Raises InputError
    `empty_patch`, `sensitive_paths` without `approve_sensitive`, `patch_rejected` (it does not go with the other
    files of `base`), `patch_does_not_apply` (it builds on uncommitted changes), `branch_not_written`.
    """
    if not patch.files:
        raise InputError("empty_patch", "the patch changes nothing", "There is nothing to commit.")
    require_approval(patch, approve_sensitive)
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

        def git_bytes(*arguments: str, stdin: bytes = b"") -> bytes:
            done = run_git(arguments, cwd=place / "nothing", stdin=stdin, env=env)
            if done.returncode != 0:
                raise _not_written(done.stderr.decode(errors="replace").strip())
            return done.stdout

        code, words = git("read-tree", base) if base is not None else git("read-tree", "--empty")
        if code != 0:
            raise _not_written(words)

        try:
            lines = _new_index_lines(git_bytes, patch, place)
        except DoesNotApply as error:
            raise InputError(
                "patch_does_not_apply",
                f"the patch builds on changes that are not committed, so it makes no branch of its own: {error}",
                "The patch is kept with the run: `tinsmith apply` puts it into your work tree.",
            ) from None
        code, words = git("update-index", "-z", "--index-info", stdin=lines)
        if code != 0:
            raise _not_written(words)
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


def apply_patch(repo: Path, patch: Patch, *, reverse: bool = False, approve_sensitive: bool = False) -> None:
    """Put the patch into (or with `reverse` out of) the person's work tree: all of it, or nothing.

    The index stays as it is, and a kill half way is put right by the next call, or by `recover_apply`.  Raises
    InputError `empty_patch`, `sensitive_paths` without `approve_sensitive` (putting in only), `patch_rejected`,
    `patch_does_not_apply`, `apply_in_progress`, `patch_not_written`.
    """
    if not patch.files:
        raise InputError("empty_patch", "the patch changes nothing", "There is nothing to apply.")
    if not reverse:
        require_approval(patch, approve_sensitive)
    checkout = open_checkout(repo)
    files = tuple(file.reversed() for file in reversed(patch.files)) if reverse else patch.files
    if not reverse:
        listed = run_git(["ls-files", "--stage", "-z"], cwd=checkout.top).stdout
        if fault := tree_fault(files, {path: entry.mode for path, entry in _entries(listed).items()}):
            raise patch_rejected(fault)
    try:
        with locked(checkout.git_dir):
            recover(checkout.git_dir)
            replace_files(checkout.top, checkout.git_dir, _changes(checkout.top, files))
    except (DoesNotApply, FileChanged) as error:
        raise InputError(
            "patch_does_not_apply",
            f"the files have changed since: {error}",
            "Nothing was changed and the patch is kept; use the branch, or undo your changes to these files.",
        ) from error
    except OSError as error:
        raise _not_put_in(error) from error


def recover_apply(repo: Path) -> None:
    """Finish an apply or undo in this checkout that was killed, or take it back; nothing where there is none.

    Raises InputError `apply_in_progress`, `patch_not_written`.
    """
    git_dir = open_checkout(repo).git_dir
    try:
        with locked(git_dir):
            recover(git_dir)
    except OSError as error:
        raise _not_put_in(error) from error


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


def _not_put_in(error: OSError) -> InputError:
    return InputError(
        "patch_not_written",
        f"the files cannot be written: {error}",
        "Nothing was changed and the patch is kept; make the files writable to you, or free space, and try again.",
    )


@dataclass(frozen=True)
class _Entry:
    mode: str
    """Octal, as git writes it."""
    blob: str


def _entries(listed: bytes) -> dict[str, _Entry]:
    """What `git ls-files --stage -z` says, by path."""
    entries: dict[str, _Entry] = {}
    for line in listed.split(b"\0"):
        described, _, path = line.partition(b"\t")
        if path:
            mode, blob, _ = described.decode().split(" ")
            entries[path.decode("utf-8", "surrogateescape")] = _Entry(mode, blob)
    return entries


def _new_index_lines(git: Callable[..., bytes], patch: Patch, place: Path) -> bytes:
    """What `git update-index -z --index-info` needs to make the index that of the patched tree.

    Blobs are written.  Raises DoesNotApply, InputError `patch_rejected`, `branch_not_written`.
    """
    entries = _entries(git("ls-files", "--stage", "-z"))
    if fault := tree_fault(patch.files, {path: entry.mode for path, entry in entries.items()}):
        raise patch_rejected(fault)
    contents = _contents(git, entries, patch.paths)
    files = parse_patch(as_stored(patch, contents.get).decode("utf-8", "surrogateescape")).files
    modes = {path: entries[path].mode for path in contents}
    for file in files:
        _apply_stored(file, contents, modes)
    blobs = place / "blobs"
    blobs.mkdir()
    kept = [path for path in patch.paths if path in contents]
    for number, path in enumerate(kept):
        (blobs / str(number)).write_bytes(contents[path])
    named = "".join(f"{blobs / str(number)}\n" for number in range(len(kept)))
    names = git("hash-object", "-w", "--no-filters", "--stdin-paths", stdin=os.fsencode(named)).decode().split()
    lines = [f"0 {'0' * 40}\t{path}" for path in patch.paths if path in entries and path not in contents]
    lines += [f"{modes[path]} {name}\t{path}" for path, name in zip(kept, names, strict=True)]
    return "".join(line + "\0" for line in lines).encode("utf-8", "surrogateescape")


def _contents(git: Callable[..., bytes], entries: Mapping[str, _Entry], paths: Sequence[str]) -> dict[str, bytes]:
    """The stored content of each path that there is."""
    there = [path for path in paths if path in entries]
    answer = git("cat-file", "--batch", stdin="".join(f"{entries[path].blob}\n" for path in there).encode())
    contents: dict[str, bytes] = {}
    for path in there:
        header, _, answer = answer.partition(b"\n")
        name, kind, *rest = header.split(b" ")
        if not rest:  # "<id> missing": a partial clone, whose objects nobody fetches here
            raise _not_written(f"the object {name.decode()} of {path} is {kind.decode()}")
        size = int(rest[0])
        contents[path], answer = answer[:size], answer[size + 1 :]
    return contents


def _apply_stored(file: PatchedFile, contents: dict[str, bytes], modes: dict[str, str]) -> None:
    """Carry one file's change out on what is stored.  Raises DoesNotApply."""
    path = file.path
    if (file.change == "added") == (path in contents):
        raise DoesNotApply(f"{path}: {'is there already' if path in contents else 'is not there'}")
    if file.change != "added" and (modes[path] == SYMLINK) != file.is_link:
        raise DoesNotApply(f"{path}: is of another kind")
    try:
        contents[path] = file.apply(contents.get(path, b""))
    except DoesNotApply as error:
        raise DoesNotApply(f"{path}: {error}") from None
    if file.change == "deleted":
        del contents[path], modes[path]
    elif file.new_mode is not None:
        modes[path] = file.new_mode


def _changes(top: Path, files: Sequence[PatchedFile]) -> dict[str, Change]:
    """Each file of the work tree before and after.  Raises DoesNotApply."""
    before: dict[str, FileState | None] = {}
    after: dict[str, FileState | None] = {}
    with Beneath(top) as tree:
        for file in files:
            if file.path not in before:
                try:
                    before[file.path] = after[file.path] = read_state(tree, file.path)
                except OSError as error:
                    words = "is behind a symlink" if error.errno == errno.ELOOP else f"cannot be read: {error}"
                    raise DoesNotApply(f"{file.path}: {words}") from None
            try:
                after[file.path] = _changed(file, after[file.path])
            except DoesNotApply as error:
                raise DoesNotApply(f"{file.path}: {error}") from None
    return {path: (before[path], after[path]) for path in before}


def _changed(file: PatchedFile, state: FileState | None) -> FileState | None:
    if file.change == "added":
        if state is not None:
            raise DoesNotApply("is there already")
        kind = "link" if file.is_link else "program" if file.new_mode == "100755" else "file"
        return FileState(kind, file.apply(b""))
    if state is None:
        raise DoesNotApply("is not there")
    if state.kind == "other" or (state.kind == "link") != file.is_link:
        raise DoesNotApply("is of another kind")
    content = file.apply(state.content)
    if file.change == "deleted":
        return None
    if file.new_mode is None or state.mode is None:
        return FileState(state.kind, content, state.mode)
    if file.new_mode == "100755":
        return FileState("program", content, state.mode | (state.mode & 0o444) >> 2)
    return FileState("file", content, state.mode & ~0o111)
