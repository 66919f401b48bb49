"""A patch into the person's files: all or nothing through kills, nothing through a symlink, nothing unasked."""

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.hostile_patches import FILE, LINK, PROGRAM, Bench, Case, Tree, contents, new_file

from tinsmith.errors import InputError
from tinsmith.events import RunStore
from tinsmith.resolve import Request, Result, after_run
from tinsmith.resolve.delivery import Delivery
from tinsmith.workspace import Workspace
from tinsmith.workspace.beneath import Beneath
from tinsmith.workspace.deliver import apply_patch, commit_branch, recover_apply
from tinsmith.workspace.git import run_git
from tinsmith.workspace.patch import Patch, parse_patch
from tinsmith.workspace.work_tree import FileChanged, FileState, locked, read_state, replace_files

MANY = 30
BEFORE: Tree = {
    **{f"d{n % 5}/f{n}": (FILE, f"line\n{n}\n".encode()) for n in range(MANY)},
    "gone": (PROGRAM, b"x\n"),
    "dir/x": (FILE, b"x\n"),
    "file": (FILE, b"x\n"),
    "link": (LINK, b"file"),
    "bin": (FILE, b"\0" * 4000),
}
AFTER: Tree = {
    **{f"d{n % 5}/f{n}": (FILE, f"LINE\n{n}\n".encode()) for n in range(MANY)},
    "dir": (FILE, b"x\n"),
    "file/y": (PROGRAM, b"x\n"),
    "new/deep/er": (FILE, b""),
    "link": (FILE, b"now a file\n"),
    "bin": (FILE, b"\0" * 4000 + b"1"),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Holds `repo`, a checkout with the files of BEFORE, and `outside`."""
    repo, outside = tmp_path / "place" / "repo", tmp_path / "place" / "outside"
    repo.mkdir(parents=True)
    outside.mkdir()
    (outside / "x").write_text("x\n")
    run_git(["init", "--quiet", "--template=", "."], cwd=repo)
    write(repo, BEFORE)
    run_git(["add", "--all"], cwd=repo)
    return tmp_path / "place"


def write(top: Path, tree: Tree) -> None:
    for path, (mode, content) in tree.items():
        where = top / path
        where.parent.mkdir(parents=True, exist_ok=True)
        if mode == LINK:
            where.symlink_to(os.fsdecode(content))
        else:
            where.write_bytes(content)
            where.chmod(mode & 0o777)


@pytest.fixture(scope="module")
def patch(tmp_path_factory: pytest.TempPathFactory) -> Patch:
    return parse_patch(Bench(tmp_path_factory.mktemp("bench")).patch(Case(BEFORE, AFTER, (), 0)))


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        act()
    assert caught.value.remedy
    return caught.value.code


def journal(place: Path) -> set[str]:
    return set(os.listdir(place / "repo" / ".git" / "tinsmith-apply")) - {"lock"}


# ---- all or nothing


def test_in_and_out_again(place: Path, patch: Patch) -> None:
    repo = place / "repo"
    (repo / "d0/f0").chmod(0o640)
    before = contents(place)
    apply_patch(repo, patch)
    changed = contents(place)
    untouched = {path for path in before if path.startswith(("repo/.git/", "outside"))}
    assert changed.keys() == {f"repo/{path}" for path in AFTER} | untouched
    assert (repo / "d0/f0").stat().st_mode & 0o777 == 0o640
    assert (repo / "file/y").stat().st_mode & 0o777 == 0o777 & ~umask()
    assert not (repo / "gone").exists() and journal(place) == set()
    assert code_of(lambda: apply_patch(repo, patch)) == "patch_does_not_apply"
    apply_patch(repo, patch, reverse=True)
    assert contents(place) == before and not (repo / "new").exists()


def umask() -> int:
    mask = os.umask(0o22)
    os.umask(mask)
    return mask


KILLED = """
import pickle, sys
from pathlib import Path
from tinsmith.workspace.work_tree import locked, replace_files
top, forth = Path(sys.argv[1]), pickle.loads(Path(sys.argv[2]).read_bytes())
back = {path: (after, before) for path, (before, after) in forth.items()}
print("ready", flush=True)
sys.stdin.readline()
while True:
    for changes in (forth, back):
        with locked(top / ".git"):
            replace_files(top, top / ".git", changes)
"""


def states(repo: Path, patch: Patch) -> dict[str, FileState | None]:
    with Beneath(repo) as tree:
        return {path: read_state(tree, path) for path in patch.paths}


def test_a_kill_at_any_moment_leaves_all_or_nothing(place: Path, patch: Patch, tmp_path: Path) -> None:
    repo, draw, kills = place / "repo", random.Random(7), 0
    nothing, before = contents(place), states(repo, patch)
    apply_patch(repo, patch)
    everything, after = contents(place), states(repo, patch)
    (tmp_path / "changes").write_bytes(pickle.dumps({path: (before[path], after[path]) for path in before}))
    apply_patch(repo, patch, reverse=True)
    halves = all_of_it = none_of_it = 0
    while kills < 10 or (kills < 60 and not (halves > 2 and all_of_it and none_of_it)):
        command = [sys.executable, "-c", KILLED, str(repo), str(tmp_path / "changes")]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None and process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.stdin.write(b"\n")
        process.stdin.flush()
        time.sleep(draw.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        kills += 1
        halves += contents(place) not in (nothing, everything)
        recover_apply(repo)
        now = contents(place)
        assert now in (nothing, everything) and journal(place) == set()
        none_of_it += now == nothing
        if now == everything:
            all_of_it += 1
            apply_patch(repo, patch, reverse=True)
        assert contents(place) == nothing
    assert halves and all_of_it and none_of_it, "no kill fell between two files"


def half_done(place: Path) -> None:
    """As a kill half way leaves it: a plan, and some files as they will be."""
    repo = place / "repo"
    program = (
        "import os, sys, signal\nfrom pathlib import Path\nfrom tinsmith.workspace import work_tree\n"
        "from tinsmith.workspace.beneath import Beneath\n"
        "class FakeTree(Beneath):\n"
        "    def write(self, path, *rest, **more):\n"
        "        super().write(path, *rest, **more)\n"
        "        if path == 'd1/f1': os.kill(os.getpid(), signal.SIGKILL)\n"
        "top = Path(sys.argv[1])\n"
        "changes = {f'd{n}/f{n}': (work_tree.FileState('file', b'line\\n%d\\n' % n, 0o644),"
        " work_tree.FileState('file', b'new\\n', 0o644)) for n in range(4)}\n"
        "changes['fresh/x'] = (None, work_tree.FileState('file', b'new\\n'))\n"
        "with work_tree.locked(top / '.git'):\n"
        "    work_tree.replace_files(top, top / '.git', changes, open_tree=FakeTree)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(repo)])
    assert done.returncode == -signal.SIGKILL
    assert (repo / "d1/f1").read_bytes() == b"new\n" and (repo / "d3/f3").read_bytes() == b"line\n3\n"


def test_what_a_kill_broke_off_is_finished(place: Path) -> None:
    half_done(place)
    recover_apply(place / "repo")
    assert all((place / f"repo/d{n}/f{n}").read_bytes() == b"new\n" for n in range(4)) and journal(place) == set()
    assert (place / "repo/fresh/x").read_bytes() == b"new\n"


def test_it_is_taken_back_where_the_person_changed_a_file_since(place: Path) -> None:
    before = contents(place)
    half_done(place)
    (place / "repo/d3/f3").write_text("mine\n")
    recover_apply(place / "repo")
    after = contents(place)
    assert {path for path in before if before[path] != after[path]} == {"repo/d3/f3"} and after.keys() == before.keys()
    assert (place / "repo/d3/f3").read_text() == "mine\n" and journal(place) == set()


def test_nothing_is_done_where_a_file_cannot_be_written(place: Path) -> None:
    repo = place / "repo"
    (repo / "d1/full").mkdir()
    (repo / "d1/full/mine").write_text("mine\n")
    before = contents(place)
    new = FileState("file", b"new\n")
    changes = {"d0/f0": (FileState("file", b"line\n0\n"), new), "fresh/x": (None, new), "d1/full": (None, new)}
    with locked(repo / ".git"), pytest.raises(OSError):
        replace_files(repo, repo / ".git", changes)
    assert contents(place) == before and journal(place) == set() and not (repo / "fresh").exists()
    with locked(repo / ".git"), pytest.raises(FileChanged, match="d0/f0"):
        replace_files(repo, repo / ".git", {"d0/f0": (FileState("file", b"else\n"), new)})
    assert contents(place) == before


def test_one_at_a_time(place: Path, patch: Patch) -> None:
    with locked(place / "repo/.git"):
        assert code_of(lambda: apply_patch(place / "repo", patch)) == "apply_in_progress"
        assert code_of(lambda: recover_apply(place / "repo")) == "apply_in_progress"


# ---- sensitive paths


def test_a_sensitive_patch_is_neither_committed_nor_applied_unasked(place: Path) -> None:
    repo = place / "repo"
    patch = parse_patch(new_file(".github/workflows/ci.yml", "100644", "+x") + new_file("a.py", "100644", "+x"))
    before = contents(place)
    for act in (lambda: commit_branch(repo, patch, "x", "m", None), lambda: apply_patch(repo, patch)):
        with pytest.raises(InputError) as caught:
            act()
        assert caught.value.code == "sensitive_paths" and caught.value.exit_code == 2
        assert ".github/workflows/ci.yml runs in continuous integration" in caught.value.message
        assert "a.py" not in caught.value.message
    assert contents(place) == before
    assert commit_branch(repo, patch, "x", "m", None, approve_sensitive=True) == "tinsmith/x"
    apply_patch(repo, patch, approve_sensitive=True)
    assert (repo / ".github/workflows/ci.yml").read_text() == "x\n"
    apply_patch(repo, patch, reverse=True)


@pytest.mark.parametrize("approved", [False, True])
def test_a_run_with_a_sensitive_patch_is_unverified_and_keeps_it(place: Path, tmp_path: Path, approved: bool) -> None:
    repo = place / "repo"
    run_git(["-c", "user.name=T", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "start"], cwd=repo)
    workspace = Workspace.create(repo, tmp_path / "work", python=Path(sys.executable))
    workspace.write_file("file", b"y\n")
    workspace.write_file("tests/conftest.py", b"x = 1\n")
    request = Request(repo=repo, issue="It is x.", approve_sensitive=approved)
    assert Request.from_json(request.as_json(), request.issue, None) == request
    with RunStore(tmp_path / "state").create(repo=repo, model="solder") as log:
        result = Result(log.run, "resolved", "the reproduction flips")
        Delivery(request, "solder", log, lambda line: None).deliver(result, workspace, None)
    assert result.patch is not None and "conftest.py" in result.patch.read_text()
    (row,) = result.as_json()["sensitive"]
    assert row["path"] == "tests/conftest.py" and "pytest" in row["reason"]
    if approved:
        assert (result.status, result.branch) == ("resolved", "tinsmith/it-is-x")
        return
    assert (result.status, result.branch) == ("unverified", None)
    assert "tests/conftest.py" in result.reason and f"--approve-sensitive {log.run}" in result.reason
    before = contents(place)
    assert code_of(lambda: after_run.apply(log)) == "sensitive_paths"
    assert contents(place) == before and code_of(lambda: after_run.undo(log)) == "not_applied"
    assert set(after_run.apply(log, approve_sensitive=True)) == {"file", "tests/conftest.py"}
    after_run.undo(log)
    assert contents(place) == before


# ---- beside what is there


def test_what_the_repository_has_counts(place: Path) -> None:
    repo = place / "repo"
    run_git(["-c", "user.name=T", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "start"], cwd=repo)
    head = run_git(["rev-parse", "HEAD"], cwd=repo).stdout.decode().strip()
    before = contents(place)
    for text in (
        new_file("FILE", "100644", "+x"),
        new_file("link/x", "100644", "+x"),
        new_file("D0/new", "100644", "+x"),
        new_file("l", "120000", "+link\n\\ No newline at end of file"),
    ):
        hostile = parse_patch(text)
        assert code_of(lambda hostile=hostile: commit_branch(repo, hostile, "x", "m", head)) == "patch_rejected"
        assert code_of(lambda hostile=hostile: apply_patch(repo, hostile)) == "patch_rejected"
    assert contents(place) == before


def test_a_symlink_that_git_does_not_know_leads_nowhere(place: Path) -> None:
    repo = place / "repo"
    (repo / "way").symlink_to("../outside")
    before = contents(place)
    for text in (new_file("way/new", "100644", "+x"), new_file("way", "100644", "+x")):
        hostile = parse_patch(text)
        assert code_of(lambda hostile=hostile: apply_patch(repo, hostile)) == "patch_does_not_apply"
    head = f"diff --git a/way/x b/way/x\nindex {'1' * 40}..{'2' * 40} 100644\n"
    there = parse_patch(f"{head}--- a/way/x\n+++ b/way/x\n@@ -1 +1 @@\n-x\n+y\n")
    assert code_of(lambda: apply_patch(repo, there)) == "patch_does_not_apply"
    assert contents(place) == before


# ---- races


@pytest.fixture(params=[False, True], ids=["openat2", "by parts"])
def tree(place: Path, request: pytest.FixtureRequest) -> Iterator[Beneath]:
    with Beneath(place / "repo", by_parts=request.param) as tree:
        yield tree


def test_nothing_leaves_the_directory(tree: Beneath, place: Path) -> None:
    repo = place / "repo"
    (repo / "way").symlink_to("../outside")
    (repo / "abs").symlink_to(place / "outside")
    (repo / "inner").symlink_to("d0")
    os.mkfifo(repo / "pipe")
    before = contents(place / "outside")
    for path in (
        *("way/x", "abs/x", "inner/f0", "way", "link", "../outside/x", "d0/../../outside/x", "/etc/passwd", "", "."),
        *("d0//f0", "d0/f0/x", "pipe", "d0", "none", "d0/f0\0"),
    ):
        with pytest.raises(OSError):
            tree.read(path)
    for path in ("way/new", "abs/x", "inner/new", "../outside/x", "way/deep/new"):
        with pytest.raises(OSError):
            tree.write(path, b"evil", mode=0o644)
        with pytest.raises(OSError):
            tree.write_link(path, b"evil", temporary=".t")
        with pytest.raises(OSError):
            tree.remove(path)
        with pytest.raises(OSError):
            tree.make_parents("way/made/x")
    assert not tree.remove_directory("way") and contents(place / "outside") == before
    assert not (place / "outside" / "made").exists() and not (repo / "d0/new").exists()
    assert tree.read("d0/f0") == b"line\n0\n" and tree.read_link("way") == b"../outside"
    tree.write("d0/f0", b"y", mode=0o600)
    assert tree.read("d0/f0") == b"y" and (repo / "d0/f0").stat().st_mode & 0o777 == 0o600
    assert tree.status("d0/none") is None and tree.status("d0/f0/x") is None


@contextmanager
def swapping(repo: Path) -> Generator[list[int]]:
    """Another process swaps the directory `d0` for a symlink to the outside and back, without a pause."""
    program = (
        "import ctypes, os, sys\nos.chdir(sys.argv[1])\nos.symlink('../outside', 'evil')\nprint(flush=True)\n"
        "swaps, exchange, here = 0, ctypes.CDLL(None).renameat2, -100\n"
        "while not os.path.exists('stop'):\n"
        "    for _ in range(50):\n"
        "        swaps += exchange(here, b'd0', here, b'evil', 2) == 0\n"
        "print(swaps)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(repo)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"\n"
    swaps: list[int] = []
    try:
        yield swaps
    finally:
        (repo / "stop").write_text("")
        swaps.append(int(process.communicate()[0]))


def test_a_race_never_reads_or_writes_outside(tree: Beneath, place: Path) -> None:
    outside = place / "outside"
    (outside / "f0").write_bytes(b"SECRET")
    before = contents(outside)
    reads = misses = naive = 0
    with swapping(place / "repo") as swaps:
        until = time.monotonic() + 3
        while time.monotonic() < until:
            naive += reads_by_name(place / "repo/d0/f0")
            try:
                assert tree.read("d0/f0") in (b"line\n0\n", b"mine")
                tree.write("d0/f0", b"mine", mode=0o644)
                tree.write_link("d0/new", b"x", temporary=".t")
                tree.remove("d0/new")
                tree.make_parents("d0/made/x")
                reads += 1
            except OSError:
                misses += 1
    assert contents(outside) == before and not (outside / "made").exists()
    assert swaps[0] >= 1000 and reads and misses, (swaps, reads, misses)
    assert naive, "the race was never lost by who opens by name, so it proves nothing"


def reads_by_name(path: Path) -> bool:
    try:
        return path.read_bytes() == b"SECRET"
    except OSError:
        return False


def test_a_race_against_apply_changes_nothing_outside(place: Path, patch: Patch) -> None:
    repo, outside = place / "repo", place / "outside"
    for number in range(0, MANY, 5):
        (outside / f"f{number}").write_bytes(f"line\n{number}\n".encode())
    before = contents(outside)
    went = refused = 0
    with swapping(repo):
        until = time.monotonic() + 3
        while time.monotonic() < until:
            try:
                apply_patch(repo, patch, reverse=bool(went % 2))
                went += 1
            except InputError as error:
                assert error.code in ("patch_does_not_apply", "patch_not_written")
                refused += 1
    assert contents(outside) == before and refused
