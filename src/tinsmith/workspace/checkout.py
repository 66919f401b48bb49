"""The person's repository, read without ever changing it."""

import hashlib
import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from tinsmith.errors import InputError
from tinsmith.workspace.git import person_setting, run_git

# The copy is mounted at the checkout's own path; mounting it over one of these would hide the system itself.
_SYSTEM_PLACES = (
    "/",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/etc",
    "/proc",
    "/dev",
    "/tmp",
    "/dev/shm",
    "/home",
)


@dataclass(frozen=True)
class Checkout:
    """A work tree with its repository, as it stood when it was read."""

    top: Path
    """Absolute, symlinks resolved."""
    git_dir: Path
    head: str | None
    """The commit that HEAD names; None on an unborn branch."""


@dataclass(frozen=True)
class Listing:
    """What lies in a work tree.  Paths are relative to the top, as the file system spells them."""

    tracked: tuple[str, ...]
    """Some of them may be missing on disk."""
    untracked: tuple[str, ...]
    ignored: tuple[str, ...]
    """Ignored files; a wholly ignored directory is one entry that ends in `/`."""
    inner: tuple[str, ...]
    """Directories that are repositories of their own: submodules and embedded clones."""
    excludes: str
    """The person's global ignore file; empty for none."""


@dataclass(frozen=True)
class Fingerprint:
    """Hashes over everything in a checkout that Tinsmith promises not to change."""

    work_tree: str
    index: str
    head: str
    refs: str


def open_checkout(repo: Path) -> Checkout:
    """The checkout that `repo` lies in.

    Raises InputError `not_a_repository`, `bare_repository`, `unreadable_repository`, `unsafe_location`.
    """
    if not os.path.isdir(repo):
        raise InputError("not_a_repository", f"{repo} is not a directory", "Name a directory inside a git checkout.")
    if not os.access(repo, os.R_OK | os.X_OK):
        raise InputError("unreadable_repository", f"you may not read {repo}", "Make it readable to you.")
    questions = ["--is-bare-repository", "--is-inside-work-tree", "--absolute-git-dir"]
    answer = run_git(["rev-parse", *questions], cwd=repo)
    if answer.returncode != 0:
        words = answer.stderr.decode(errors="replace").strip()
        if "not a git repository (or any" not in words:
            raise InputError("unreadable_repository", f"git cannot read {repo}: {words}", "Try `git status` there.")
        raise InputError(
            "not_a_repository",
            f"{repo} is not in a git repository",
            "Name a git checkout, or make one: git init && git add -A && git commit -m start",
        )
    bare, inside, git_dir = os.fsdecode(answer.stdout).removesuffix("\n").split("\n", 2)
    top = run_git(["rev-parse", "--show-toplevel"], cwd=repo)
    if bare == "true":
        remedy = f"Make a checkout of it and name that: git clone {shlex.quote(str(repo))} work"
        raise InputError("bare_repository", f"{repo} is a bare repository, without files", remedy)
    if inside != "true" or top.returncode != 0:
        raise InputError(
            "bare_repository", f"{repo} has no work tree: it is git's own directory", "Name the checkout itself."
        )
    place = Path(os.fsdecode(top.stdout).removesuffix("\n")).resolve()
    home = os.environ.get("HOME", "")
    if os.path.isabs(home) and Path(home).resolve().is_relative_to(place):
        raise InputError(
            "unsafe_location",
            f"the checkout {place} holds your home directory, all of which would be copied",
            "Name a repository of its own: run git init in the project's directory.",
        )
    if str(place) in _SYSTEM_PLACES:
        raise InputError(
            "unsafe_location",
            f"{place} is a place of the system",
            "Move the checkout to a directory of its own.",
        )
    head = run_git(["rev-parse", "--verify", "--quiet", "HEAD^{commit}"], cwd=place)
    commit = head.stdout.decode().strip() if head.returncode == 0 else None
    return Checkout(place, Path(git_dir), commit)


def list_files(top: Path, excludes: str | None = None) -> Listing:
    """What lies in the work tree at `top`, by git's own rules and the person's global ignore file (`excludes`)."""
    if excludes is None:
        excludes = os.path.expanduser(person_setting("core.excludesFile", top))
    config = [f"core.excludesFile={excludes}"] if excludes else []

    def names(*arguments: str) -> list[str]:
        answer = run_git(["ls-files", "-z", *arguments], cwd=top, config=config)
        if answer.returncode != 0:
            words = answer.stderr.decode(errors="replace").strip()
            raise InputError("unreadable_repository", f"git cannot list {top}: {words}", "Try `git status` there.")
        return [os.fsdecode(name) for name in answer.stdout.split(b"\0") if name]

    tracked: set[str] = set()
    untracked: list[str] = []
    inner: list[str] = []
    for entry in names("--stage"):
        described, _, path = entry.partition("\t")
        # A conflicted file is listed once a stage.
        (inner.append if described.startswith("160000") else tracked.add)(path)
    for path in names("--others", "--exclude-standard"):
        if path.endswith("/"):
            inner.append(path.rstrip("/"))
        else:
            untracked.append(path)
    ignored = names("--others", "--ignored", "--exclude-standard", "--directory")
    return Listing(tuple(sorted(tracked)), tuple(untracked), tuple(ignored), tuple(sorted(set(inner))), excludes)


def fingerprint(repo: Path) -> Fingerprint:
    """Hashes of the work tree (every path, mode and byte but `.git`), the index, HEAD and all refs."""
    checkout = open_checkout(repo)
    tree = hashlib.sha256()
    for directory, directories, files in os.walk(checkout.top):
        directories[:] = sorted(name for name in directories if name != ".git")
        for name in sorted([*directories, *files]):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            tree.update(os.fsencode(f"{path}\0{status.st_mode:o}\0{status.st_mtime_ns}\0"))
            if stat.S_ISLNK(status.st_mode):
                tree.update(os.fsencode(os.readlink(path)))
            elif stat.S_ISREG(status.st_mode):
                tree.update(hashlib.sha256(Path(path).read_bytes()).digest())

    def digest(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""

    refs = run_git(["for-each-ref", "--format=%(refname) %(objectname)"], cwd=checkout.top)
    return Fingerprint(
        tree.hexdigest(),
        digest(checkout.git_dir / "index"),
        digest(checkout.git_dir / "HEAD"),
        hashlib.sha256(refs.stdout).hexdigest(),
    )
