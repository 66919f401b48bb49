"""The person's environment: checkouts as they really are.  Each behaves as documented in
docs/how-to/your-repository.md or fails with a remedy, and none is changed.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinsmith.errors import InputError
from tinsmith.resolve.agents_file import agents_notes
from tinsmith.workspace import (
    Sandbox,
    TestRunner,
    Workspace,
    commit_branch,
    find_python,
    fingerprint,
    open_checkout,
    parse_patch,
)
from tinsmith.workspace.interpreter import inspect_python
from tinsmith.workspace.line_endings import as_stored

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    **{f"GIT_{role}_{part}": "ann@example.org" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")},
}
BUGGY, FIXED = "def f(x):\n    return x - 1\n", "def f(x):\n    return x + 1\n"


def git(repo: Path, *arguments: str) -> str:
    command = ["git", "-c", "protocol.file.allow=always", *arguments]
    return subprocess.run(command, cwd=repo, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout


def put(top: Path, path: str, content: str = "x\n") -> Path:
    (top / path).parent.mkdir(parents=True, exist_ok=True)
    (top / path).write_text(content)
    return top / path


def files(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_symlink() or not path.is_dir()}


def project(place: Path, *options: str) -> Path:
    """A repository with one commit."""
    place.mkdir(parents=True)
    git(place, "init", "-q", "-b", "main", *options)
    put(place, "app.py", BUGGY)
    put(place, "other/notes.txt")
    git(place, "add", "-A")
    git(place, "commit", "-qm", "start")
    return place


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return project(tmp_path / "app")


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox.find()


def copied(repo: Path, directory: Path, **options: Path | list[Path]) -> Workspace:
    """A copy whose making changed nothing."""
    before = fingerprint(repo)
    workspace = Workspace.create(repo, directory, **{"python": Path(sys.executable), **options})  # type: ignore[arg-type]
    assert fingerprint(repo) == before
    assert workspace.snapshot() == workspace.base
    return workspace


# ---- checkouts that are as good as any


def detached(tmp_path: Path) -> Path:
    repo = project(tmp_path / "app")
    git(repo, "checkout", "-q", "--detach")
    return repo


def shallow(tmp_path: Path) -> Path:
    origin = project(tmp_path / "origin")
    for number in range(3):
        put(origin, "other/notes.txt", f"{number}\n")
        git(origin, "commit", "-qam", str(number))
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{origin}", "app")
    assert git(tmp_path / "app", "rev-list", "--count", "HEAD").strip() == "1"
    return tmp_path / "app"


def worktree(tmp_path: Path) -> Path:
    git(project(tmp_path / "main"), "worktree", "add", "-q", str(tmp_path / "app"), "-b", "side")
    return tmp_path / "app"


def worktree_of_a_bare_repository(tmp_path: Path) -> Path:
    git(tmp_path, "clone", "-q", "--bare", str(project(tmp_path / "main")), "bare.git")
    git(tmp_path / "bare.git", "worktree", "add", "-q", str(tmp_path / "app"), "main")
    return tmp_path / "app"


def sparse(tmp_path: Path) -> Path:
    repo = project(tmp_path / "app")
    git(repo, "sparse-checkout", "set", "--no-cone", "/app.py")
    assert not (repo / "other").exists()
    return repo


def strange_name(tmp_path: Path) -> Path:
    return project(tmp_path / "my projects" / "größer\n日本 'x' $(touch x)")


def ends_with_a_newline(tmp_path: Path) -> Path:
    return project(tmp_path / "app\n")


def not_utf8(tmp_path: Path) -> Path:
    return project(tmp_path / os.fsdecode(b"app-\xe9"))


def symlinked(tmp_path: Path) -> Path:
    project(tmp_path / "real")
    (tmp_path / "app").symlink_to("real")
    return tmp_path / "app"


def crlf(tmp_path: Path) -> Path:
    origin = project(tmp_path / "origin")
    git(tmp_path, "clone", "-q", "-c", "core.autocrlf=true", str(origin), "app")
    assert (tmp_path / "app" / "app.py").read_bytes() == BUGGY.replace("\n", "\r\n").encode()
    return tmp_path / "app"


def large_files(tmp_path: Path) -> Path:
    repo = project(tmp_path / "app")
    put(repo, ".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")
    put(repo, "model.bin", "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 9\n")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "lfs")
    for name in ("clean", "smudge", "process"):
        git(repo, "config", f"filter.lfs.{name}", f"touch {tmp_path}/filter-ran; false")
    return repo


def colliding_names(tmp_path: Path) -> Path:
    repo = project(tmp_path / "app")
    for name in ("README", "readme", "Readme/x", "APP.py"):
        put(repo, name, name)
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "names")
    return repo


def separate_git_directory(tmp_path: Path) -> Path:
    return project(tmp_path / "app", f"--separate-git-dir={tmp_path}/elsewhere.git")


def borrowed_objects(tmp_path: Path) -> Path:
    git(tmp_path, "clone", "-q", "--shared", str(project(tmp_path / "origin")), "app")
    return tmp_path / "app"


def longer_hashes(tmp_path: Path) -> Path:
    return project(tmp_path / "app", "--object-format=sha256")


def busy(tmp_path: Path) -> Path:
    """Another git holds the index, and a merge is under way."""
    repo = project(tmp_path / "app")
    for branch in ("left", "right"):
        git(repo, "checkout", "-q", "-b", branch, "main")
        put(repo, "other/notes.txt", branch)
        git(repo, "commit", "-qam", branch)
    assert subprocess.run(["git", "merge", "-q", "left"], cwd=repo, env=ENVIRONMENT, capture_output=True).returncode
    put(repo, ".git/index.lock")
    return repo


def nested_submodules(tmp_path: Path) -> Path:
    inner, outer = project(tmp_path / "inner"), project(tmp_path / "outer")
    git(outer, "submodule", "--quiet", "add", str(inner), "deep")
    git(outer, "commit", "-qam", "deep")
    repo = project(tmp_path / "app")
    git(repo, "submodule", "--quiet", "add", str(outer), "lib")
    git(repo, "submodule", "--quiet", "add", str(inner), "empty")
    git(repo, "commit", "-qam", "submodules")
    git(repo, "submodule", "--quiet", "deinit", "-f", "empty")
    git(repo, "submodule", "--quiet", "update", "--init", "--recursive", "lib")
    assert (repo / "lib" / "deep" / "app.py").exists() and not (repo / "empty" / "app.py").exists()
    return repo


def of_another_user(tmp_path: Path) -> Path:
    if os.geteuid() != 0:
        pytest.skip("only root can give a repository to another user")
    repo = project(tmp_path / "app")
    for directory, _, names in os.walk(repo):
        for name in [directory, *(os.path.join(directory, name) for name in names)]:
            os.chown(name, 1234, 1234)
    refused = subprocess.run(["git", "status"], cwd=repo, env=ENVIRONMENT, capture_output=True, text=True)
    assert "dubious ownership" in refused.stderr
    return repo


@pytest.mark.parametrize(
    "make",
    [
        *[detached, shallow, worktree, worktree_of_a_bare_repository, sparse, strange_name, ends_with_a_newline],
        *[not_utf8, symlinked, crlf, large_files, colliding_names, separate_git_directory, borrowed_objects],
        *[longer_hashes, busy, nested_submodules, of_another_user],
    ],
)
def test_a_fix_becomes_a_branch_and_nothing_else_changes(make: Callable[[Path], Path], tmp_path: Path) -> None:
    repo = make(tmp_path)
    before = fingerprint(repo)
    workspace = copied(repo, tmp_path / "work")
    top = workspace.inside
    tracked = {path for path in git_list(top) if os.path.lexists(top / path) and not (top / path).is_dir()}
    assert set(workspace.paths(workspace.base)) == tracked
    for path in tracked:
        assert (workspace.tree / path).read_bytes() == (top / path).read_bytes()
    content = workspace.read_file("app.py")
    workspace.write_file("app.py", content.replace(b"x - 1", b"x + 1"))
    patch = parse_patch(workspace.diff(workspace.base, workspace.snapshot()))
    assert patch.paths == ("app.py",) and (patch.files[0].added, patch.files[0].removed) == (1, 1)
    branch = commit_branch(repo, patch, "x", "m", workspace.checkout.head)
    safe = ["-c", "safe.directory=*"]
    assert git(top, *safe, "show", f"{branch}:app.py") == FIXED
    assert git(top, *safe, "rev-parse", f"{branch}^") == git(top, *safe, "rev-parse", "HEAD")
    assert git(top, *safe, "diff", "--name-only", "HEAD", branch) == "app.py\n"
    after = fingerprint(repo)
    assert (after.work_tree, after.index, after.head) == (before.work_tree, before.index, before.head)
    assert not (tmp_path / "filter-ran").exists()


def git_list(top: Path) -> set[str]:
    answer = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=top, env=ENVIRONMENT, check=True, capture_output=True
    )
    return {os.fsdecode(name) for name in answer.stdout.split(b"\0") if name}


@pytest.mark.parametrize("make", [strange_name, ends_with_a_newline, not_utf8, symlinked])
def test_tests_run_wherever_the_checkout_lies(make: Callable[[Path], Path], tmp_path: Path, sandbox: Sandbox) -> None:
    repo = make(tmp_path)
    put(repo, "tests/test_app.py", "import app\n\n\ndef test_f():\n    assert app.f(1) == 2\n")
    report = TestRunner(Workspace.create(repo, tmp_path / "work"), sandbox).run(timeout=60)
    (outcome,) = report.outcomes.values()
    assert (outcome.nodeid, outcome.outcome, outcome.by) == ("tests/test_app.py::test_f", "failed", "assertion")
    assert outcome.frames[-1].path == "tests/test_app.py"


def test_submodules_are_there_to_their_depth_and_no_patch(tmp_path: Path) -> None:
    workspace = copied(nested_submodules(tmp_path), tmp_path / "work")
    assert {"lib/app.py", "lib/deep/app.py"} <= files(workspace.tree)
    put(workspace.tree, "lib/deep/app.py", FIXED)
    put(workspace.tree, "lib/new.py")
    assert workspace.snapshot() == workspace.base
    workspace.restore(workspace.base)
    assert (workspace.tree / "lib/deep/app.py").read_text() == BUGGY


def test_a_file_that_is_stored_with_crlf_keeps_it(repo: Path, tmp_path: Path) -> None:
    (repo / "windows.bat").write_bytes(b"a\r\nb\r\n")
    (repo / "app.py").write_bytes(BUGGY.replace("\n", "\r\n").encode())
    git(repo, "add", "windows.bat")
    git(repo, "commit", "-qm", "crlf")
    workspace = copied(repo, tmp_path / "work")
    workspace.write_file("windows.bat", b"a\r\nc\r\n")
    workspace.write_file("app.py", FIXED.replace("\n", "\r\n").encode())
    workspace.write_file("new.bat", b"diff --git a/x b/x\r\n")
    patch = parse_patch(workspace.diff(workspace.base, workspace.snapshot()))
    branch = commit_branch(repo, patch, "x", "m", workspace.checkout.head)
    for path, content in (("windows.bat", b"a\r\nc\r\n"), ("app.py", FIXED.encode())):
        shown = subprocess.run(["git", "show", f"{branch}:{path}"], cwd=repo, env=ENVIRONMENT, capture_output=True)
        assert shown.stdout == content
    assert as_stored(patch, lambda path: None) == patch.content


# ---- checkouts with work in them


def test_a_dirty_checkout_and_where_no_branch_can_be_made(repo: Path, tmp_path: Path) -> None:
    put(repo, "other/notes.txt", "mine\n")
    put(repo, "new.py", "mine = 1\n")
    workspace = copied(repo, tmp_path / "work")
    workspace.write_file("app.py", FIXED.encode())
    patch = parse_patch(workspace.diff(workspace.base, workspace.snapshot()))
    branch = commit_branch(repo, patch, "x", "m", workspace.checkout.head)
    assert git(repo, "diff", "--name-only", "HEAD", branch) == "app.py\n"
    for path in ("new.py", "other/notes.txt"):
        workspace.restore(workspace.base)
        workspace.write_file(path, b"fixed\n")
        patch = parse_patch(workspace.diff(workspace.base, workspace.snapshot()))
        with pytest.raises(InputError) as caught:
            commit_branch(repo, patch, "x", "m", workspace.checkout.head)
        assert caught.value.code == "patch_does_not_apply" and "tinsmith apply" in caught.value.remedy
    assert git(repo, "branch", "--list", "tinsmith/*").split() == [branch]


def test_without_a_commit(tmp_path: Path) -> None:
    unborn = tmp_path / "app"
    unborn.mkdir()
    git(unborn, "init", "-q")
    put(unborn, "app.py", BUGGY)
    workspace = copied(unborn, tmp_path / "work")
    workspace.write_file("app.py", FIXED.encode())
    patch = parse_patch(workspace.diff(workspace.base, workspace.snapshot()))
    with pytest.raises(InputError) as caught:
        commit_branch(unborn, patch, "x", "m", workspace.checkout.head)
    assert caught.value.code == "patch_does_not_apply"


def test_two_worktrees_at_once(repo: Path, tmp_path: Path) -> None:
    git(repo, "worktree", "add", "-q", str(tmp_path / "second"), "-b", "second")
    put(tmp_path / "second", "other/notes.txt", "second\n")
    first, second = copied(repo, tmp_path / "w1"), copied(tmp_path / "second", tmp_path / "w2")
    branches: list[str] = []
    for workspace in (first, second):
        workspace.write_file("app.py", workspace.read_file("app.py").replace(b"x - 1", b"x + 1"))
        patch = parse_patch(workspace.diff(workspace.base, workspace.snapshot()))
        branches.append(commit_branch(workspace.inside, patch, "x", "m", workspace.checkout.head))
    assert branches == ["tinsmith/x", "tinsmith/x-2"]
    assert git(repo, "show", f"{branches[0]}:app.py") == FIXED


def test_the_state_directory_inside_the_checkout_and_around_it(repo: Path, tmp_path: Path) -> None:
    state = repo / "state"
    put(state, "runs/old/workspace/tree/app.py")
    put(state, "runs/old/workspace/objects.git/HEAD", "ref: refs/heads/main\n")
    put(repo, ".gitignore", "/ignored-state/\n")
    put(repo, "ignored-state/runs/old/workspace/tree/app.py")
    for number, leave_out in enumerate((state, repo / "ignored-state")):
        other = state if leave_out != state else repo / "ignored-state"
        directory = leave_out / "runs" / str(number) / "workspace"
        workspace = Workspace.create(repo, directory, python=Path(sys.executable), leave_out=[leave_out, other])
        assert files(workspace.tree) == {"app.py", "other/notes.txt", ".gitignore"}
        assert workspace.snapshot() == workspace.base
    # A copy in the checkout is left out without being asked; a checkout below the state directory is whole.
    workspace = Workspace.create(repo, repo / "here", python=Path(sys.executable), leave_out=[tmp_path, repo])
    assert "app.py" in files(workspace.tree) and "state/runs/old/workspace/tree/app.py" in files(workspace.tree)
    assert not any(path.startswith("here/") for path in files(workspace.tree))


def test_a_huge_ignored_directory_costs_little(repo: Path, tmp_path: Path) -> None:
    put(repo, ".gitignore", "/data/\nnode_modules/\n")
    for number in range(100):
        directory = repo / "data" / str(number)
        directory.mkdir(parents=True)
        for name in range(200):
            (directory / f"{name}.bin").touch()
    put(repo, "node_modules/a/b.py")
    with (repo / "data" / "huge.bin").open("wb") as stream:
        stream.truncate(1 << 40)
    started = time.monotonic()
    workspace = Workspace.create(repo, tmp_path / "work", python=Path(sys.executable))
    assert time.monotonic() - started < 5
    assert files(workspace.tree) == {"app.py", "other/notes.txt", ".gitignore"}


# ---- what is refused, with a remedy


def test_what_is_no_checkout(repo: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(repo), "bare.git")
    git(repo, "worktree", "add", "-q", str(tmp_path / "orphan"))
    shutil.rmtree(repo / ".git" / "worktrees")
    (tmp_path / "plain").mkdir()
    put(tmp_path, "broken/.git", "nonsense\n")
    table = [
        (tmp_path / "plain", "not_a_repository", "git init"),
        (tmp_path / "none", "not_a_repository", "git checkout"),
        (repo / "app.py", "not_a_repository", "directory"),
        (tmp_path / "bare.git", "bare_repository", f"git clone {tmp_path}/bare.git"),
        (repo / ".git", "bare_repository", "checkout itself"),
        (repo / ".git" / "refs", "bare_repository", "checkout itself"),
        (tmp_path / "orphan", "unreadable_repository", "git status"),
        (tmp_path / "broken", "unreadable_repository", "git status"),
    ]
    before = fingerprint(repo)
    for place, code, remedy in table:
        with pytest.raises(InputError) as caught:
            Workspace.create(place, tmp_path / "work")
        assert (caught.value.code, caught.value.exit_code) == (code, 2), place
        assert remedy in caught.value.remedy and str(place) in caught.value.message
    assert not (tmp_path / "work").exists() and fingerprint(repo) == before


def run_python(program: str, *arguments: str, capabilities: bool = True, **environment: str) -> str:
    """A program of its own, as root without the right to read what its permissions forbid."""

    def drop() -> None:
        libc = ctypes.CDLL(None)
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP

    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        preexec_fn=None if capabilities else drop,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


TRY = (
    "import sys\nfrom pathlib import Path\nfrom tinsmith.errors import InputError\n"
    "from tinsmith.workspace import Workspace\n"
    "try:\n    workspace = Workspace.create(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    "except InputError as error:\n    print(error.code, '|', error.message, '|', error.remedy)\n"
    "else:\n    print(*workspace.paths(workspace.base))\n"
)


def test_files_that_may_not_be_read(repo: Path, tmp_path: Path) -> None:
    put(repo, ".gitignore", "/secret/\nlocked.py\n")
    put(repo, "secret/a.py")
    put(repo, "locked.py").chmod(0)
    (repo / "secret").chmod(0)
    put(repo, "pgdata/x").parent.chmod(0)
    try:
        said = run_python(TRY, str(repo), str(tmp_path / "w1"), capabilities=False)
        assert said == ".gitignore app.py other/notes.txt"
        (repo / "other" / "notes.txt").chmod(0)
        said = run_python(TRY, str(repo), str(tmp_path / "w2"), capabilities=False)
        assert said.startswith("unreadable_file |") and f"{repo}/other/notes.txt" in said and "git ignore" in said
        (repo / "other").chmod(0)
        said = run_python(TRY, str(repo), str(tmp_path / "w3"), capabilities=False)
        assert said.startswith("unreadable_file |")
        repo.chmod(0o300)
        said = run_python(TRY, str(repo), str(tmp_path / "w4"), capabilities=False)
        assert said.startswith("unreadable_repository |")
    finally:
        for place in (repo, repo / "other", repo / "secret", repo / "pgdata"):
            place.chmod(0o755)


def test_a_home_directory_is_not_copied(repo: Path, tmp_path: Path) -> None:
    put(repo, "me/project/a.py")
    for home, refused in ((repo, True), (repo / "me", True), (tmp_path, False), (Path("/nonexistent"), False)):
        said = run_python(TRY, str(repo / "me" / "project"), str(tmp_path / f"w{home.name}"), HOME=str(home))
        assert said.startswith("unsafe_location |") == refused, said


# ---- interpreters


def environment_in(place: Path, python: str = sys.executable) -> Path:
    subprocess.run([python, "-m", "venv", "--without-pip", str(place)], check=True)
    return place / "bin" / "python"


def test_a_planted_interpreter_is_never_run_here(repo: Path, tmp_path: Path, sandbox: Sandbox) -> None:
    canary = tmp_path / "canary"
    program = put(
        repo,
        "tools/python",
        f'#!/bin/sh\ntouch {canary} /tmp/ran-inside\nexec {os.path.realpath(sys.executable)} "$@"\n',
    )
    program.chmod(0o755)
    base = Path(os.path.realpath(sys.executable)).parent
    put(repo, ".venv/pyvenv.cfg", f"home = {base}\n")
    (repo / ".venv" / "bin").mkdir()
    shutil.copy(program, repo / ".venv" / "bin" / "python")
    unset = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    code = (
        "import sys, pathlib; from tinsmith.workspace import find_python; print(find_python(pathlib.Path(sys.argv[1])))"
    )
    found = subprocess.run([sys.executable, "-c", code, str(repo)], env=unset, capture_output=True, text=True)
    assert found.stdout.strip() == str(repo / ".venv" / "bin" / "python")
    workspace = copied(repo, tmp_path / "work", python=repo / ".venv" / "bin" / "python")
    done = workspace.run(sandbox, ["python", "-c", "print('up', __import__('os').listdir('/tmp'))"], timeout=20)
    assert b"ran-inside" in done.output and b"up" in done.output
    # A link from elsewhere, a wrapper named outright, an environment that is no directory of its own.
    (tmp_path / "python").symlink_to(repo / ".venv" / "bin" / "python")
    (tmp_path / "link").symlink_to(repo)
    for named in (tmp_path / "python", program, tmp_path / "link" / "tools" / "python"):
        with pytest.raises(InputError) as caught:
            Workspace.create(repo, tmp_path / "none", python=named)
        assert caught.value.code == "python_unusable" and "--python" in caught.value.remedy
    assert not canary.exists()


@pytest.mark.parametrize("trap", ["no home", "home in a secret", "python is a secret", "home in the checkout", "loop"])
def test_an_environment_that_is_a_trap_mounts_nothing(repo: Path, tmp_path: Path, trap: str) -> None:
    secret = put(tmp_path, "secret/bin/key")
    secret.chmod(0o755)
    put(repo, "fake/lib/python3.11/os.py")
    put(repo, "fake/bin/python").chmod(0o755)
    real = Path(os.path.realpath(sys.executable))
    (repo / ".venv" / "bin").mkdir(parents=True)
    home = {"no home": "", "home in a secret": secret.parent, "home in the checkout": repo / "fake" / "bin"}
    put(repo, ".venv/pyvenv.cfg", f"home = {home.get(trap, real.parent)}\n")
    target = {"python is a secret": secret, "loop": "python"}.get(trap, real)
    (repo / ".venv" / "bin" / "python").symlink_to(target)
    with pytest.raises(InputError) as caught:
        inspect_python(repo / ".venv" / "bin" / "python", open_checkout(repo).top)
    assert caught.value.code == "python_unusable"


def test_links_planted_beside_an_interpreter_are_not_mounted(repo: Path, tmp_path: Path) -> None:
    put(tmp_path, "secret/key")
    real = Path(os.path.realpath(sys.executable))
    (repo / ".venv").symlink_to(".")
    put(repo, "pyvenv.cfg", f"home = {real.parent}\n")
    (repo / "include").symlink_to(tmp_path / "secret")
    (repo / "bin").mkdir()
    (repo / "bin" / "python").symlink_to(real)
    interpreter = inspect_python(repo / ".venv" / "bin" / "python", repo)
    assert not any((tmp_path / "secret") in (m, m.resolve()) for m in interpreter.mounts)
    assert not any(mount.name == "include" and mount.is_relative_to(repo) for mount in interpreter.mounts)


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_read_is_what_the_interpreter_says(repo: Path, tmp_path: Path, sandbox: Sandbox, linked: bool) -> None:
    """The same mounts, read in the checkout or asked outside of it."""
    python = environment_in(tmp_path / "environments" / "app" if linked else repo / ".venv")
    if linked:
        (repo / ".venv").symlink_to("../environments/app")
        python = repo / ".venv" / "bin" / "python"
    read, asked = inspect_python(python, repo), inspect_python(python, tmp_path / "elsewhere")
    assert (read.path, read.prefix, read.symlinks) == (asked.path, asked.prefix, asked.symlinks)
    assert set(read.mounts) == set(asked.mounts)
    workspace = copied(repo, tmp_path / "work", python=python)
    done = workspace.run(sandbox, ["python", "-c", "import sys, json; print(sys.prefix)"], timeout=20)
    assert done.output.decode().strip() == str(repo / ".venv")


@pytest.mark.parametrize("known", ["untracked", "committed", "ignored"])
def test_an_environment_in_the_checkout_is_in_no_patch(
    repo: Path, tmp_path: Path, known: str, sandbox: Sandbox
) -> None:
    python = environment_in(repo / ".venv")
    other = environment_in(repo / "old" / "env")
    assert other.exists()
    if known == "committed":
        git(repo, "add", "-A", "-f", ".venv")
        git(repo, "commit", "-qm", "venv")
    elif known == "ignored":
        put(repo, ".gitignore", ".venv/\n")
    workspace = copied(repo, tmp_path / "work", python=python)
    assert workspace.run(sandbox, ["python", "-c", "pass"], timeout=20).returncode == 0
    assert not any(".venv" in path or "old" in path for path in workspace.paths(workspace.base))
    workspace.write_file("app.py", FIXED.encode())
    patch = parse_patch(workspace.diff(workspace.base, workspace.snapshot()))
    assert patch.paths == ("app.py",)
    branch = commit_branch(repo, patch, "x", "m", workspace.checkout.head)
    assert git(repo, "diff", "--name-only", "HEAD", branch) == "app.py\n"


def test_the_nearest_environment_of_a_package(repo: Path, tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from tinsmith.workspace import find_python; print(find_python(pathlib.Path(sys.argv[1])))"
    )
    unset = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}

    def found(place: Path) -> str:
        done = subprocess.run([sys.executable, "-c", code, str(place)], env=unset, capture_output=True, text=True)
        return done.stdout.strip()

    put(repo, "a/b/x.py")
    environment_in(tmp_path / ".venv")  # above the checkout: not ours
    assert found(repo / "a") == sys.executable
    environment_in(repo / ".venv")
    assert found(repo / "a" / "b") == str(repo / ".venv" / "bin" / "python")
    environment_in(repo / "a" / ".venv")
    assert found(repo / "a" / "b") == str(repo / "a" / ".venv" / "bin" / "python")
    assert found(repo) == str(repo / ".venv" / "bin" / "python")
    assert find_python(repo, Path(sys.executable)) == Path(sys.executable)


# ---- AGENTS.md


def words(text: str) -> int:
    return len(text.split())


def test_agents_notes_the_nearest_first(tmp_path: Path) -> None:
    put(tmp_path, "AGENTS.md", "Top rule.\nSecond rule.\n")
    put(tmp_path, "services/billing/AGENTS.md", "\nBilling rule.\n\n")
    put(tmp_path, "services/other/AGENTS.md", "Not for billing.")
    text = agents_notes(tmp_path, "services/billing", 400, words)
    assert text == (
        "Notes of the repository (services/billing/AGENTS.md):\nBilling rule.\n\n"
        "Notes of the repository (AGENTS.md):\nTop rule.\nSecond rule."
    )
    assert "Billing" not in agents_notes(tmp_path, "", 400, words)
    assert agents_notes(tmp_path, "../x", 400, words) == agents_notes(tmp_path / "services", "other/x", 0, words) == ""


def test_agents_notes_keep_the_budget_at_every_size(tmp_path: Path) -> None:
    put(tmp_path, "AGENTS.md", "\n".join(f"rule {number}: " + "word " * (number % 7) for number in range(60)))
    put(tmp_path, "pkg/AGENTS.md", "one two three\nfour five\n")

    def uneven(text: str) -> int:
        """A count that is not additive: an odd number of lines costs more."""
        return words(text) + 5 * (text.count("\n") % 2)

    for count in (words, uneven):
        lengths: list[int] = []
        for budget in range(-1, 330):
            text = agents_notes(tmp_path, "pkg", budget, count)
            assert not text or count(text) <= budget
            assert not text.endswith(":") or "rule" in text.splitlines()[-1]
            lengths.append(len(text))
        assert lengths[0] == 0 and lengths[-1] > 1000
    assert agents_notes(tmp_path, "pkg", 9, words).endswith("(pkg/AGENTS.md):\none two three")


def test_agents_files_that_are_left_out(tmp_path: Path) -> None:
    root, file = tmp_path / "root", tmp_path / "root" / "AGENTS.md"
    root.mkdir()
    put(tmp_path, "secret.md", "secret")
    for write in (
        lambda: file.symlink_to("../secret.md"),
        lambda: file.symlink_to("AGENTS.md"),
        lambda: file.symlink_to("/proc/self/environ"),
        lambda: file.write_bytes(b"text\0more"),
        lambda: file.write_bytes(b"\xff\xfe"),
        lambda: file.write_text("word\n" * 60_000),
        lambda: os.mkfifo(file),
        lambda: file.write_text(" \n\n"),
    ):
        write()
        assert agents_notes(root, "", 400, words) == ""
        file.unlink()
    file.mkdir()
    assert agents_notes(root, "", 400, words) == ""
    file.rmdir()
    put(root, "CLAUDE.md", "Be kind.")
    file.symlink_to("CLAUDE.md")
    (root / "pkg").mkdir()
    (root / "pkg" / "AGENTS.md").symlink_to("../AGENTS.md")
    assert agents_notes(root, "pkg", 400, words) == "Notes of the repository (pkg/AGENTS.md):\nBe kind."


# ---- where the tests run


def test_tests_run_in_the_package_and_are_named_from_the_top(tmp_path: Path, sandbox: Sandbox) -> None:
    """Two packages whose test modules have the same name: together they cannot even be collected."""
    repo = project(tmp_path / "mono")
    for package in ("a", "b"):
        put(repo, f"{package}/pyproject.toml", "[tool.pytest.ini_options]\ntestpaths = ['tests']\n")
        put(repo, f"{package}/calc.py", f"def name():\n    return '{package}'\n")
        put(
            repo,
            f"{package}/tests/test_calc.py",
            "import calc, os\n\n\ndef test_name():\n    assert calc.name() == 'a'\n",
        )
        put(
            repo,
            f"{package}/tests/sub/test_cwd.py",
            f"import os\n\n\ndef test_cwd():\n    assert os.path.samefile('.', {str(repo / package)!r})\n",
        )
    workspace = copied(repo, tmp_path / "work")
    assert any(not outcome.ok for outcome in TestRunner(workspace, sandbox).run(timeout=60).outcomes.values())
    for package, result in (("a", "passed"), ("b", "failed")):
        runner = TestRunner(workspace, sandbox, cwd=package)
        names = [f"{package}/tests/sub/test_cwd.py::test_cwd", f"{package}/tests/test_calc.py::test_name"]
        report = runner.run(timeout=60)
        assert {name: outcome.outcome for name, outcome in report.outcomes.items()} == dict(
            zip(names, ("passed", result), strict=True)
        )
        assert sorted(report.collected) == names
        one = runner.run([names[1]], trace=True, timeout=60)
        assert {name: outcome.outcome for name, outcome in one.outcomes.items()} == {names[1]: result}
        assert {path for path, _ in one.outcomes[names[1]].trace} == {f"{package}/calc.py"}
        plain = TestRunner(workspace, sandbox, ["/bin/sh", "-c", f"test $(basename $PWD) = {package}"], cwd=package)
        assert [outcome.outcome for outcome in plain.run(timeout=60).outcomes.values()] == ["passed"]


# ---- whole runs

SHOP = """\
def discount(count, price):
    total = count * price
    if count > 10:
        total = total - total // 10
    return total
"""
FAILING = """\
from shop import discount


def test_ten_get_the_discount():
    assert discount(10, 10) == 90


def test_nine_do_not():
    assert discount(9, 10) == 90
"""
ISSUE = "discount gives no discount for exactly ten\n\n`discount(10, 10)` is 100. It should be 90.\n"


def resolve(*arguments: str, state: Path, cwd: Path | None = None) -> tuple[int, dict[str, Any], str]:
    """(exit code, the JSON answer, what was said) of `tinsmith resolve`."""
    done = subprocess.run(
        [sys.executable, "-m", "tinsmith.cli", "resolve", "--issue-text", ISSUE, "--json", *arguments],
        env={**os.environ, "TINSMITH_STATE_DIR": str(state)},
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def test_without_any_test_the_run_is_unverified(tmp_path: Path) -> None:
    repo = project(tmp_path / "shop")
    put(repo, "shop.py", SHOP)
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "shop")
    before = fingerprint(repo)
    code, answer, _ = resolve("--repo", str(repo), state=tmp_path / "state")
    assert (code, answer["status"]) == (4, "unverified"), answer
    assert "nothing proves" in answer["reason"] and answer["branch"] == "tinsmith/" + BRANCH
    for text in ("pull_request", "report"):
        assert "unverified" in Path(answer[text]).read_text().lower()
    after = fingerprint(repo)
    assert (after.work_tree, after.index, after.head) == (before.work_tree, before.index, before.head)


BRANCH = "discount-gives-no-discount-for-exactly-ten"


def test_a_package_of_a_monorepo(tmp_path: Path) -> None:
    """Named by the directory that the person is in; a shallow clone, a detached HEAD, the state directory inside."""
    origin = project(tmp_path / "origin")
    for package in ("one", "two"):
        put(origin, f"services/{package}/pyproject.toml", "")
        put(origin, f"services/{package}/shop.py", SHOP)
        put(origin, f"services/{package}/tests/test_shop.py", FAILING)
    put(origin, "AGENTS.md", "Be kind.\n")
    git(origin, "add", "-A")
    git(origin, "commit", "-qm", "services")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{origin}", "mono repo")
    repo = tmp_path / "mono repo"
    git(repo, "checkout", "-q", "--detach")
    before = fingerprint(repo)
    code, answer, said = resolve(state=repo / ".tinsmith", cwd=repo / "services" / "two")
    assert (code, answer["status"]) == (0, "resolved"), (answer, said)
    assert git(repo, "diff", "--name-only", "HEAD", answer["branch"]).split() == ["services/two/shop.py"]
    assert list(answer["evidence"]["after"]) == ["services/two/tests/test_shop.py::test_ten_get_the_discount"]
    shutil.rmtree(repo / ".tinsmith")
    os.utime(repo, ns=(0, 0))
    after = fingerprint(repo)
    assert (after.work_tree, after.index, after.head) == (before.work_tree, before.index, before.head)


def test_a_fix_of_uncommitted_lines_is_kept_without_a_branch(tmp_path: Path) -> None:
    repo = project(tmp_path / "shop")
    put(repo, "shop.py", SHOP)
    put(repo, "test_shop.py", FAILING)
    before = fingerprint(repo)
    code, answer, said = resolve("--repo", str(repo), state=tmp_path / "state")
    assert (code, answer["status"], answer["branch"]) == (0, "resolved", None), (answer, said)
    assert "not committed" in answer["reason"] and "tinsmith apply" in answer["reason"]
    assert "-    if count > 10:" in Path(answer["patch"]).read_text()
    assert fingerprint(repo) == before


def test_a_test_command_that_cannot_work(tmp_path: Path) -> None:
    repo = project(tmp_path / "shop")
    before = fingerprint(repo)
    for command, code in (("pytest --no-such-option", "test_command_failed_to_start"), ("'", "bad_test_command")):
        exit_code, answer, _ = resolve("--repo", str(repo), "--test-command", command, state=tmp_path / "state")
        assert (exit_code, answer["error"]["code"]) == (2, code)
        assert "--test-command" in answer["error"]["remedy"]
    assert fingerprint(repo) == before
