"""After a run: the patch in and out of the person's files, old runs gone; with real git and real kills."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from tinsmith.errors import InputError
from tinsmith.events import RunLog, RunStore
from tinsmith.resolve.after_run import apply, undo
from tinsmith.resolve.cleaning import clean

SECRET = "ghp_" + "9fQ2xL7bT4vZ8kR1mN6wY3cH5jD0sG2pA9eU"


def git(repo: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
    done = subprocess.run(["git", *identity, *arguments], cwd=repo, check=True, capture_output=True)
    return done.stdout.decode("utf-8", "surrogateescape")


def contents(repo: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and link of the work tree: (mode, content)."""
    found: dict[str, tuple[int, bytes]] = {}
    for path in sorted(repo.rglob("*")):
        name = str(path.relative_to(repo))
        if name.startswith(".git/") or (path.is_dir() and not path.is_symlink()):
            continue
        content = os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
        found[name] = (path.lstat().st_mode, content)
    return found


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repo = tmp_path / "repo"
    (repo / "pkg").mkdir(parents=True)
    (repo / "pkg" / "a.py").write_text("".join(f"line {n}\n" for n in range(1, 31)))
    (repo / "pkg" / "old.py").write_text("gone = True\n")
    (repo / "run.sh").write_text("#!/bin/sh\n")
    (repo / "crlf.txt").write_bytes(b"one\r\ntwo\r\nthree\r\n")
    (repo / "no_end.txt").write_bytes(b"a\nb")
    (repo / "latin.txt").write_bytes(b"caf\xe9\n")
    (repo / "data.bin").write_bytes(bytes(range(256)))
    git(repo, "init", "--quiet")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "-m", "start")
    return repo


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "state")


def change_everything(repo: Path) -> None:
    text = (repo / "pkg" / "a.py").read_text()
    (repo / "pkg" / "a.py").write_text(text.replace("line 15\n", "line fifteen\n"))
    (repo / "pkg" / "old.py").unlink()
    (repo / "pkg" / "new name.py").write_text("new = 1\n")
    (repo / "pkg" / "ünï.py").write_text("x = 1")
    (repo / "run.sh").chmod(0o755)
    (repo / "crlf.txt").write_bytes(b"one\r\n2\r\nthree\r\n")
    (repo / "no_end.txt").write_bytes(b"a\nc")
    (repo / "latin.txt").write_bytes(b"caf\xe9 cr\xe8me\n")
    (repo / "data.bin").write_bytes(bytes(range(255, -1, -1)))
    (repo / "link").symlink_to("pkg/a.py")


def change_one(repo: Path) -> None:
    text = (repo / "pkg" / "a.py").read_text()
    (repo / "pkg" / "a.py").write_text(text.replace("line 15\n", "line fifteen\n"))


def patch_of(repo: Path, change: object) -> bytes:
    """The patch that `change` makes, in the format in which one leaves a run; the checkout stays as it was."""
    assert callable(change)
    before = git(repo, "stash", "create").strip() or "HEAD"
    copy = repo.parent / "copy"
    git(repo, "worktree", "add", "--quiet", "--detach", str(copy), before)
    change(copy)
    git(copy, "add", "--all")
    tree = git(copy, "write-tree").strip()
    patch = git(copy, "diff-tree", "-p", "--no-renames", "--binary", "--full-index", f"{before}^{{tree}}", tree)
    git(repo, "worktree", "remove", "--force", str(copy))
    return patch.encode("utf-8", "surrogateescape")


def ended(store: RunStore, repo: Path, patch: bytes | None, status: str = "resolved") -> RunLog:
    with store.create(repo=repo, model="solder") as log:
        if patch is not None:
            (log.directory / "patch.diff").write_bytes(patch)
        log.end(status)
    return log


def code_of(act: object, *arguments: object) -> str:
    assert callable(act)
    with pytest.raises(InputError) as caught:
        act(*arguments)
    assert caught.value.remedy
    return caught.value.code


def test_every_kind_of_change_goes_in_and_out_again(store: RunStore, repo: Path) -> None:
    log = ended(store, repo, patch_of(repo, change_everything))
    before, index = contents(repo), (repo / ".git" / "index").read_bytes()
    paths = apply(log)
    assert {"pkg/a.py", "pkg/old.py", "pkg/new name.py", "pkg/ünï.py", "run.sh", "link"} <= set(paths)
    after = contents(repo)
    change_everything(repo_copy := fresh_copy(repo))
    assert after == contents(repo_copy)
    assert code_of(apply, log) == "already_applied" and contents(repo) == after
    assert set(undo(log)) == set(paths)
    assert contents(repo) == before
    assert (repo / ".git" / "index").read_bytes() == index
    assert code_of(undo, log) == "not_applied"
    assert apply(log) == paths and contents(repo) == after


def fresh_copy(repo: Path) -> Path:
    copy = repo.parent / "fresh"
    git(repo.parent, "clone", "--quiet", str(repo), str(copy))
    return copy


def test_the_persons_own_changes_stay(store: RunStore, repo: Path) -> None:
    log = ended(store, repo, patch_of(repo, change_one))
    text = (repo / "pkg" / "a.py").read_text()
    mine = "my own line\n" + text
    (repo / "pkg" / "a.py").write_text(mine)
    (repo / "notes.txt").write_text("mine")
    apply(log)
    assert (repo / "pkg" / "a.py").read_text() == mine.replace("line 15\n", "line fifteen\n")
    undo(log)
    assert (repo / "pkg" / "a.py").read_text() == mine and (repo / "notes.txt").read_text() == "mine"


def test_all_or_nothing_where_one_file_does_not_fit(store: RunStore, repo: Path) -> None:
    log = ended(store, repo, patch_of(repo, change_everything))
    (repo / "crlf.txt").write_bytes(b"something else\n")
    before = contents(repo)
    assert code_of(apply, log) == "patch_does_not_apply"
    assert contents(repo) == before and code_of(undo, log) == "not_applied"
    git(repo, "checkout", "--quiet", "crlf.txt")
    assert apply(log)


def test_head_moved_and_a_patch_that_fits_still(store: RunStore, repo: Path) -> None:
    log = ended(store, repo, patch_of(repo, change_one))
    (repo / "pkg" / "old.py").write_text("changed = 1\n")
    git(repo, "commit", "--quiet", "--all", "-m", "more")
    git(repo, "checkout", "--quiet", "-b", "other")
    assert apply(log) == ("pkg/a.py",)
    assert undo(log) == ("pkg/a.py",) and git(repo, "status", "--porcelain") == ""


def test_undo_refuses_files_that_changed_since(store: RunStore, repo: Path) -> None:
    log = ended(store, repo, patch_of(repo, change_everything))
    apply(log)
    (repo / "pkg" / "a.py").write_text((repo / "pkg" / "a.py").read_text() + "mine\n")
    before = contents(repo)
    assert code_of(undo, log) == "changed_since" and contents(repo) == before
    assert code_of(apply, log) == "already_applied"
    (repo / "pkg" / "a.py").write_text((repo / "pkg" / "a.py").read_text().removesuffix("mine\n"))
    assert undo(log)


def test_undone_by_hand_counts(store: RunStore, repo: Path) -> None:
    log = ended(store, repo, patch_of(repo, change_one))
    apply(log)
    git(repo, "checkout", "--quiet", "pkg/a.py")
    assert code_of(undo, log) == "not_applied"
    assert apply(log) and undo(log)


@pytest.mark.parametrize("is_in", [True, False])
@pytest.mark.parametrize("step", ["applying", "undoing"])
def test_a_kill_half_way_is_told_from_the_persons_changes(store: RunStore, repo: Path, step: str, is_in: bool) -> None:
    log = ended(store, repo, patch_of(repo, change_everything))
    before = contents(repo)
    apply(log)
    state = log.directory / "applied.json"
    remembered = json.loads(state.read_text())
    remembered["step"] = step
    if step == "applying":
        remembered["after"] = {}
    diff = (log.directory / "applied.diff").read_bytes()
    if not is_in:
        undo(log)
        (log.directory / "applied.diff").write_bytes(diff)
    state.write_text(json.dumps(remembered))
    if is_in:
        assert undo(log) and contents(repo) == before
    else:
        assert code_of(undo, log) == "not_applied"
        state.write_text(json.dumps(remembered))
        (log.directory / "applied.diff").write_bytes(diff)
    assert apply(log) and undo(log) and contents(repo) == before


def test_half_of_the_files_is_said_and_nothing_is_done(store: RunStore, repo: Path) -> None:
    log = ended(store, repo, patch_of(repo, change_everything))
    apply(log)
    state = log.directory / "applied.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "step": "applying", "after": {}}))
    git(repo, "checkout", "--quiet", "pkg/a.py")  # as a kill between two files leaves it
    before = contents(repo)
    assert code_of(undo, log) == "half_applied" and code_of(apply, log) == "half_applied"
    assert contents(repo) == before


def test_what_cannot_be_applied(store: RunStore, repo: Path, tmp_path: Path) -> None:
    assert code_of(apply, ended(store, repo, None)) == "no_patch"
    assert code_of(apply, ended(store, tmp_path / "nowhere", patch_of(repo, change_one))) == "repo_gone"
    outside = b"diff --git a/../x b/../x\nnew file mode 100644\nindex " + b"0" * 40 + b".." + b"1" * 40 + b"\n"
    assert code_of(apply, ended(store, repo, outside)) == "patch_rejected"
    with store.create(repo=repo, model="solder") as running:
        assert code_of(apply, store.open(running.run)) == "run_in_use"
    (repo / "pkg" / "a.py").write_text("")
    log = ended(store, repo, patch_of(repo, lambda copy: (copy / f"{SECRET}.py").write_text("x = 1\n")))
    (repo / f"{SECRET}.py").write_text("mine\n")
    with pytest.raises(InputError) as caught:
        apply(log)
    assert caught.value.code == "patch_does_not_apply" and SECRET not in caught.value.message


def runs_of(store: RunStore) -> list[str]:
    return [row["run"] for row in store.list()]


def many_runs(store: RunStore, repo: Path) -> dict[str, str]:
    """Runs with made-up names, so that their age is known: {status: run}, oldest first."""
    named: dict[str, str] = {}
    for day, status in enumerate(["resolved", "unverified", "unresolved", "error", "interrupted", "corrupt"], 1):
        log = ended(store, repo, b"x" * 1000, "resolved" if status in ("corrupt", "interrupted") else status)
        name = f"202001{day:02}-000000-0000"
        log.directory.rename(store.runs / name)
        if status == "interrupted":
            with store.open(name) as again:
                again.append("run_resumed", turns=0)
        if status == "corrupt":
            (store.runs / name / "events.jsonl").write_bytes(b"damage\n{}\n")
        named[status] = name
    return named


def test_clean_takes_what_has_ended(store: RunStore, repo: Path) -> None:
    named = many_runs(store, repo)
    with store.create(repo=repo, model="solder") as running:
        would = clean(store, dry_run=True)
        assert would.removed == (named["resolved"], named["unverified"], named["unresolved"])
        assert len(runs_of(store)) == 7 and would.bytes > 3000
        assert clean(store, keep=2).removed == (named["resolved"],)
        assert clean(store, keep=2).removed == ()
        assert clean(store, older_than=timedelta(days=36500)).removed == ()
        assert clean(store, older_than=timedelta(days=1), keep=1).removed == (named["unverified"],)
        assert clean(store, named=[named["error"]]).removed == (named["error"],)
        assert code_of(lambda: clean(store, named=[running.run])) == "run_in_use"
        assert code_of(lambda: clean(store, named=["20200101-000000-0000"])) == "unknown_run"
        everything = clean(store, every=True)
        assert everything.removed == (named["unresolved"], named["interrupted"], named["corrupt"])
        assert runs_of(store) == [running.run]
    assert not [name for name in os.listdir(store.runs) if name.startswith(".")]


def test_clean_frees_a_copy_with_closed_directories(store: RunStore, repo: Path) -> None:
    log = ended(store, repo, None)
    closed = log.directory / "workspace" / "tree" / "closed"
    closed.mkdir(parents=True)
    (closed / "file").write_text("x")
    outside = repo.parent / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    (log.directory / "workspace" / "link").symlink_to(outside)
    closed.chmod(0)
    clean(store)
    assert not log.directory.exists() and (outside / "file").exists()


def test_a_killed_clean_leaves_each_run_whole_or_gone(store: RunStore, repo: Path) -> None:
    draw = random.Random(3)
    program = (
        "import sys\nfrom pathlib import Path\nfrom tinsmith.events import RunStore\n"
        "from tinsmith.resolve.cleaning import clean\nprint(flush=True)\nclean(RunStore(Path(sys.argv[1])))\n"
        "print(flush=True)\n"
    )
    files, rounds, halves = 200, 0, 0
    longest = 0.2  # seconds from the start of `clean` to the kill; adapted to the machine
    while rounds < 5 or (halves < 2 and rounds < 40):
        rounds += 1
        for _ in range(4):
            log = ended(store, repo, b"x")
            (log.directory / "workspace").mkdir()
            for number in range(files):
                (log.directory / "workspace" / str(number)).write_text("x" * 100)
        process = subprocess.Popen([sys.executable, "-c", program, str(store.state_dir)], stdout=subprocess.PIPE)
        assert process.stdout is not None and process.stdout.read(1) == b"\n"
        time.sleep(draw.uniform(0, longest))
        process.send_signal(signal.SIGKILL)
        if process.communicate()[0]:  # it had come to its end
            longest *= 0.7
        for row in store.list():
            assert row["status"] == "resolved"
            assert len(os.listdir(store.runs / row["run"] / "workspace")) == files
        halves += any(name.startswith(".") for name in os.listdir(store.runs))
    assert halves >= 2, "no kill fell between the renaming and the end of deleting"
    clean(store)
    assert os.listdir(store.runs) == []


def tinsmith(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "TINSMITH_STATE_DIR": str(state)}
    command = [sys.executable, "-m", "tinsmith.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=settings)


def test_the_commands(store: RunStore, repo: Path) -> None:
    state = store.state_dir
    log = ended(store, repo, patch_of(repo, change_one))
    done = tinsmith(state, "apply", "last", "--json")
    assert done.returncode == 0 and json.loads(done.stdout) == {"run": log.run, "applied": ["pkg/a.py"]}
    done = tinsmith(state, "apply", log.run[:-2], "--json")
    assert done.returncode == 2 and json.loads(done.stdout)["error"]["code"] == "already_applied"
    done = tinsmith(state, "undo", log.run)
    assert done.returncode == 0 and done.stdout == "undone: pkg/a.py\n"
    done = tinsmith(state, "undo", "last", "--json")
    assert done.returncode == 2 and json.loads(done.stdout)["error"]["code"] == "not_applied"
    ended(store, repo, None)
    done = tinsmith(state, "apply", log.run[:4], "--json")
    assert done.returncode == 2 and json.loads(done.stdout)["error"]["code"] == "ambiguous_run"
    done = tinsmith(state, "clean", "--run", "last", "--keep", "1", "--json")
    assert done.returncode == 2 and json.loads(done.stdout)["error"]["code"] == "clean_options"
    done = tinsmith(state, "clean", "--keep", "1", "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 0 and answer["removed"] == [log.run] and answer["bytes"] > 0
    done = tinsmith(state, "clean", "--dry-run")
    assert done.returncode == 0 and "would go: " in done.stdout and len(runs_of(store)) == 1


def test_log_show_is_redacted_and_a_damaged_run_is_listed(store: RunStore, repo: Path) -> None:
    with store.create(repo=repo, model="solder") as log:
        log.append("turn", observation=f"TOKEN={SECRET}\n\udcff")
        log.append("tokens", branch=0, at=0, kind="user", ids=[1, 2, 3])
        log.end("resolved")
    done = tinsmith(store.state_dir, "log", "show", "last")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and [event["seq"] for event in events] == [0, 1, 2, 3]
    assert SECRET not in done.stdout and "[redacted: GitHub token]" in events[1]["observation"]
    assert events[2]["ids"] == 3
    assert SECRET in (log.directory / "events.jsonl").read_text()
    (log.directory / "events.jsonl").write_bytes(b"damage\n{}\n")
    done = tinsmith(store.state_dir, "log", "list")
    assert done.returncode == 0 and done.stdout == f"{log.run}  corrupt      ?  ?\n"
    rows = json.loads(tinsmith(store.state_dir, "log", "list", "--json").stdout)["rows"]
    assert [row["status"] for row in rows] == ["corrupt"]
    for command in ("apply", "undo"):
        done = tinsmith(store.state_dir, command, "last", "--json")
        assert done.returncode == 2 and json.loads(done.stdout)["error"]["code"] == "log_corrupt"
