"""What git lists is asked again exactly when something came, went or moved that it could list otherwise."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tinsmith.workspace.copy_in import Selection, select_files
from tinsmith.workspace.known_listing import known_selection


def git(repo: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    subprocess.run(["git", *identity, *arguments], cwd=repo, check=True, capture_output=True)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repo = tmp_path / "app"
    files = ("a.py", "src/b.py", "src/deep/c.py", "docs/d.txt", "build/e.py", "ext/fast.so", "ext/inner/g.py", ".env")
    for path in (*files, "node_modules/m/index.py", "venv/lib/h.py", "venv/pyvenv.cfg"):
        (repo / path).parent.mkdir(parents=True, exist_ok=True)
        (repo / path).write_text("x")
    (repo / "empty").mkdir()
    (repo / ".gitignore").write_text("/build/\n/ext/\nnode_modules/\n")
    git(repo, "init", "-q")
    git(repo, "add", "a.py", "src")
    git(repo, "commit", "-qm", "start")
    return repo


def files(selection: Selection) -> tuple[tuple[str, ...], list[str], tuple[str, ...]]:
    return selection.base, sorted(selection.extras), selection.inner


def settle() -> None:
    """Until what was written is known by its status."""
    time.sleep(0.12)


def test_nothing_is_asked_while_nothing_changes(repo: Path, tmp_path: Path) -> None:
    record = tmp_path / "state" / "listing.json"
    settle()
    found = known_selection(repo, ["venv"], record)
    assert "docs/d.txt" in found.base and sorted(found.extras) == ["ext/fast.so", "ext/inner/g.py"]
    kept = record.stat().st_mtime_ns
    (repo / "a.py").write_text("a content is no name")
    (repo / "node_modules" / "m" / "more.py").write_text("never a source")
    (repo / "venv" / "lib" / "more.py").write_text("left out")
    assert files(known_selection(repo, ["venv"], record)) == files(found) == files(select_files(repo, ["venv"]))
    assert record.stat().st_mtime_ns == kept
    assert "venv/lib/h.py" not in known_selection(repo, [], record).base and record.stat().st_mtime_ns != kept


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file in the top": lambda repo: (repo / "new.py").write_text(""),
    "a file far below": lambda repo: (repo / "src" / "deep" / "new.py").write_text(""),
    "a file in a directory that was empty": lambda repo: (repo / "empty" / "new.py").write_text(""),
    "a file in an ignored directory": lambda repo: (repo / "ext" / "inner" / "new.py").write_text(""),
    "a file that goes": lambda repo: (repo / "docs" / "d.txt").unlink(),
    "a rename": lambda repo: (repo / "docs").rename(repo / "papers"),
    "a directory that becomes a link": lambda repo: ((repo / "src").rename(repo / "s"), (repo / "src").symlink_to("s")),
    "the index": lambda repo: git(repo, "rm", "-q", "--cached", "a.py"),
    "a forced add": lambda repo: git(repo, "add", "-f", "build/e.py"),
    "a rule": lambda repo: (repo / ".gitignore").write_text("docs\n"),
    "a rule below": lambda repo: (repo / "docs" / ".gitignore").write_text("*.txt\n"),
    "an own rule": lambda repo: (repo / ".git" / "info" / "exclude").write_text("docs\n"),
    "an environment that is none any more": lambda repo: (repo / "venv" / "pyvenv.cfg").unlink(),
    "a directory that becomes an environment": lambda repo: (repo / "docs" / "pyvenv.cfg").write_text(""),
    "a repository in the repository": lambda repo: git(repo, "init", "-q", "docs"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(change: str, repo: Path, tmp_path: Path) -> None:
    record = tmp_path / "state" / "listing.json"
    settle()
    before = known_selection(repo, [], record)
    CHANGES[change](repo)
    expected = select_files(repo)
    assert files(expected) != files(before)
    assert files(known_selection(repo, [], record)) == files(expected)
    settle()
    for _ in range(2):
        assert files(known_selection(repo, [], record)) == files(expected)


def test_a_change_in_the_same_tick_is_seen(repo: Path, tmp_path: Path) -> None:
    record = tmp_path / "state" / "listing.json"
    for number in range(20):
        known_selection(repo, [], record)
        (repo / f"new{number}.py").write_text("")
        assert f"new{number}.py" in known_selection(repo, [], record).base


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"asked": {}}', b"\xff", b"null"])
def test_a_record_that_is_broken_is_none(content: bytes, repo: Path, tmp_path: Path) -> None:
    record = tmp_path / "listing.json"
    record.write_bytes(content)
    assert files(known_selection(repo, [], record)) == files(select_files(repo))


def test_a_record_that_cannot_be_written_is_no_loss(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    record = tmp_path / "file" / "listing.json"
    assert files(known_selection(repo, [], record)) == files(select_files(repo))
