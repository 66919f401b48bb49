"""Copy in, validated diff out: faithful copies, snapshots, patches that cannot hurt, branches by plumbing
alone."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.errors import InputError
from tinsmith.workspace import (
    Sandbox,
    TreeCache,
    Workspace,
    apply_patch,
    can_overlay,
    commit_branch,
    find_python,
    fingerprint,
    open_checkout,
    parse_patch,
)
from tinsmith.workspace.object_store import ObjectStore

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    "GIT_AUTHOR_NAME": "Ann",
    "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_COMMITTER_NAME": "Ann",
    "GIT_COMMITTER_EMAIL": "ann@example.org",
}


def git(repo: Path, *arguments: str) -> str:
    command = ["git", "-c", "protocol.file.allow=always", *arguments]
    return subprocess.run(command, cwd=repo, env=ENVIRONMENT, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    repo = tmp_path / "projects" / "app"
    repo.mkdir(parents=True)
    (repo / "app.py").write_text("def f(x):\n    return x - 1\n")
    (repo / "run.sh").write_text("#!/bin/sh\necho hi\n")
    (repo / "run.sh").chmod(0o755)
    (repo / "data dir").mkdir()
    (repo / "data dir" / "grün.txt").write_bytes(b"latin \xe9\n")
    (repo / "link").symlink_to("app.py")
    (repo / ".gitignore").write_text("*.log\n/generated/\n*.so\n*.egg-info/\nvenv/\n.env\n!keep.log\n_version.py\n")
    git(repo, "init", "-q", "-b", "main")
    git(repo, "add", "-A")
    git(repo, "commit", "-qm", "start")
    return repo


@pytest.fixture(params=["checkout", "cached", "overlay"])
def workspace(repo: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Workspace:
    """A copy from the checkout itself, one of a cached tree, and an overlay over one."""
    trees = None if request.param == "checkout" else TreeCache(tmp_path / "trees")
    overlay = request.param == "overlay"
    if overlay and not can_overlay():
        pytest.skip("this machine has no overlays")
    return Workspace.create(repo, tmp_path / "work", python=Path(sys.executable), trees=trees, overlay=overlay)


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox.find()


def files(top: Path) -> set[str]:
    return {str(path.relative_to(top)) for path in top.rglob("*") if path.is_symlink() or not path.is_dir()}


def put(top: Path, path: str, content: str = "x\n") -> Path:
    (top / path).parent.mkdir(parents=True, exist_ok=True)
    (top / path).write_text(content)
    return top / path


def test_a_dirty_checkout_is_copied_faithfully_and_its_changes_are_no_patch(repo: Path, tmp_path: Path) -> None:
    put(repo, "app.py", "def f(x):\n    return x - 2\n")
    put(repo, "staged.py")
    git(repo, "add", "staged.py")
    put(repo, "new/untracked.txt")
    (repo / "run.sh").unlink()
    before = fingerprint(repo)
    workspace = Workspace.create(repo / "data dir", tmp_path / "work")
    assert fingerprint(repo) == before
    expected = {"app.py", "staged.py", "new/untracked.txt", "data dir/grün.txt", "link", ".gitignore"}
    assert files(workspace.tree) == expected
    for path in expected:
        assert os.lstat(workspace.tree / path).st_mode == os.lstat(repo / path).st_mode
    assert os.readlink(workspace.tree / "link") == "app.py"
    assert (workspace.tree / "app.py").read_text() == "def f(x):\n    return x - 2\n"
    assert workspace.snapshot() == workspace.base
    assert workspace.diff(workspace.base, workspace.snapshot()) == ""
    assert workspace.inside == repo and workspace.checkout.head == git(repo, "rev-parse", "HEAD").strip()


def test_ignored_files_stay_out_but_what_imports_need_comes_along(repo: Path, tmp_path: Path) -> None:
    for path in (
        *(
            "pkg/_version.py",
            "generated/api_pb2.py",
            "pkg/fast.so",
            "app.egg-info/PKG-INFO",
            "app.egg-info/x/y.txt",
        ),
        *(
            "debug.log",
            ".env",
            "generated/big.bin",
            "venv/pyvenv.cfg",
            "venv/lib/a.py",
            "generated/node_modules/a.py",
        ),
        *("generated/build/a.py", "generated/.cache/a.py", "sub/.env"),
    ):
        put(repo, path)
    put(repo, "keep.log")
    workspace = Workspace.create(repo, tmp_path / "work")
    extra = {
        "pkg/_version.py",
        "generated/api_pb2.py",
        "pkg/fast.so",
        "app.egg-info/PKG-INFO",
        "app.egg-info/x/y.txt",
    }
    base = {"app.py", "run.sh", "data dir/grün.txt", "link", ".gitignore", "keep.log"}
    assert files(workspace.tree) == base | extra
    assert set(workspace.paths(workspace.base)) == base
    # Changes to them are no patch, and are undone with the rest.
    put(workspace.tree, "pkg/_version.py", "hacked")
    assert workspace.snapshot() == workspace.base
    workspace.restore(workspace.base)
    assert (workspace.tree / "pkg/_version.py").read_text() == "x\n"


def test_an_untracked_env_file_is_a_secret(repo: Path, tmp_path: Path) -> None:
    put(repo, ".gitignore", "")
    put(repo, "deploy/.env", "KEY=1")
    assert "deploy/.env" not in files(Workspace.create(repo, tmp_path / "work").tree)


def test_submodules_and_embedded_clones_are_visible_and_no_patch(repo: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    put(library, "lib.py")
    git(library, "init", "-q")
    git(library, "add", "-A")
    git(library, "commit", "-qm", "x")
    git(repo, "submodule", "--quiet", "add", str(library), "vendor/library")
    git(repo, "clone", "-q", str(library), "stray")
    before = fingerprint(repo)
    workspace = Workspace.create(repo, tmp_path / "work")
    assert {"vendor/library/lib.py", "stray/lib.py"} <= files(workspace.tree)
    assert not any(".git" in path.split("/") for path in files(workspace.tree))
    put(workspace.tree, "vendor/library/lib.py", "changed")
    put(workspace.tree, "stray/new.py")
    assert workspace.snapshot() == workspace.base
    assert fingerprint(repo) == before


def test_a_directory_replaced_by_a_symlink_is_not_followed(repo: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    put(secret, "grün.txt", "key")
    (repo / "data dir" / "grün.txt").unlink()
    (repo / "data dir").rmdir()
    (repo / "data dir").symlink_to(secret)
    workspace = Workspace.create(repo, tmp_path / "work")
    assert (workspace.tree / "data dir").is_symlink()
    assert "data dir/grün.txt" not in workspace.paths(workspace.base)


def test_unborn_bare_missing_and_system_places(tmp_path: Path) -> None:
    unborn = tmp_path / "unborn"
    unborn.mkdir()
    git(unborn, "init", "-q")
    put(unborn, "a.py")
    assert open_checkout(unborn).head is None
    assert files(Workspace.create(unborn, tmp_path / "work").tree) == {"a.py"}
    bare = tmp_path / "bare"
    bare.mkdir()
    git(bare, "init", "-q", "--bare")
    plain = tmp_path / "plain"
    plain.mkdir()
    for place, code in (
        *((plain, "not_a_repository"), (tmp_path / "none", "not_a_repository"), (bare, "bare_repository")),
        (unborn / ".git", "bare_repository"),
    ):
        with pytest.raises(InputError) as caught:
            open_checkout(place)
        assert caught.value.code == code and caught.value.exit_code == 2
    with pytest.raises(InputError) as caught:
        Workspace.create(unborn, tmp_path / "work")
    assert caught.value.code == "workspace_exists"


def test_linked_worktrees_work(repo: Path, tmp_path: Path) -> None:
    git(repo, "worktree", "add", "-q", str(tmp_path / "linked"), "-b", "side")
    linked = tmp_path / "linked"
    put(linked, "app.py", "changed\n")
    workspace = Workspace.create(linked, tmp_path / "work")
    assert workspace.inside == linked and ".git" not in files(workspace.tree)
    workspace.write_file("run.sh", b"#!/bin/sh\n")
    patch = parse_patch(workspace.diff(workspace.base, workspace.snapshot()))
    assert commit_branch(linked, patch, "x", "m", workspace.checkout.head) == "tinsmith/x"


def test_snapshots_see_every_change_and_restore_undoes_it(workspace: Workspace) -> None:
    tree = workspace.tree
    put(tree, "new/deep/file.py")
    (tree / "run.sh").chmod(0o644)
    (tree / "data dir" / "grün.txt").unlink()
    (tree / "link").unlink()
    put(tree, "link/was-a-link.txt")
    put(tree, "app.py", "other\n")
    changed = workspace.snapshot()
    expected = {"new/deep/file.py", "run.sh", "link/was-a-link.txt", "app.py", ".gitignore"}
    assert set(workspace.paths(changed)) == expected
    workspace.restore(workspace.base)
    assert workspace.snapshot() == workspace.base
    assert os.readlink(tree / "link") == "app.py" and os.access(tree / "run.sh", os.X_OK)
    assert not (tree / "new").exists()
    workspace.restore(changed)
    assert workspace.snapshot() == changed and (tree / "link").is_dir()


def test_what_commands_leave_is_not_in_the_snapshot_but_restore_removes_it(workspace: Workspace) -> None:
    tree = workspace.tree
    for path in (
        "__pycache__/a.pyc",
        ".pytest_cache/x",
        "a.log",
        "generated/x.bin",
        ".coverage",
        "sub/.git/config",
    ):
        put(tree, path)
    put(tree, ".GIT/hooks/pre-commit")
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "s"))
    (tree / "locked").mkdir()
    put(tree, "locked/.coveragerc")
    (tree / "locked").chmod(0)
    assert set(workspace.paths(workspace.snapshot())) - set(workspace.paths(workspace.base)) == {"locked/.coveragerc"}
    # The agent's own .gitignore decides nothing.
    put(tree, ".gitignore", "*\n")
    put(tree, "smuggled.py")
    assert "smuggled.py" in workspace.paths(workspace.snapshot())
    workspace.restore(workspace.base)
    assert files(tree) == set(workspace.paths(workspace.base))
    assert {path.name for path in tree.iterdir() if path.is_dir()} == {"data dir"}


def test_a_tree_too_deep_for_a_path_is_put_back_and_thrown_away(workspace: Workspace) -> None:
    dig = "import os\nfor _ in range(600): os.mkdir('d' * 10); os.chdir('d' * 10)\nopen('f', 'w').close()"
    for _ in range(2):
        subprocess.run([sys.executable, "-c", dig], cwd=workspace.tree, check=True)
        assert workspace.snapshot() == workspace.base
        workspace.restore(workspace.base)
        assert not (workspace.tree / ("d" * 10)).exists()
        assert workspace.snapshot() == workspace.base
    subprocess.run([sys.executable, "-c", dig], cwd=workspace.tree, check=True)
    workspace.discard()
    assert not workspace.directory.exists()


def test_a_change_within_the_same_tick_and_with_forged_times_is_seen(workspace: Workspace) -> None:
    place = workspace.tree / "app.py"
    seen = {workspace.snapshot()}
    for number in range(20):
        status = place.stat()
        content = place.read_text()
        place.write_text(content[:-1] + str(number % 10)) if number else place.write_text(content)
        os.utime(place, ns=(status.st_atime_ns, status.st_mtime_ns))
        seen.add(workspace.snapshot())
    assert len(seen) >= 11


def test_snapshots_of_unchanged_trees_are_quick(repo: Path, tmp_path: Path) -> None:
    for number in range(1500):
        put(repo, f"many/{number % 30}/{number}.py", f"value = {number}\n" * 20)
    started = time.monotonic()
    workspace = Workspace.create(repo, tmp_path / "work")
    created = time.monotonic() - started
    workspace.snapshot()
    time.sleep(0.15)
    workspace.snapshot()
    started = time.monotonic()
    assert workspace.snapshot() == workspace.base
    assert time.monotonic() - started < 0.5 and created < 10


def test_a_copy_can_be_opened_again_and_a_clean_one_taken(workspace: Workspace, repo: Path) -> None:
    put(workspace.tree, "app.py", "fixed\n")
    put(workspace.tree, "left.log")
    fixed = workspace.snapshot()
    again = Workspace.open(workspace.directory)
    assert again.base == workspace.base and again.snapshot() == fixed and again.inside == repo
    clean = again.clean_copy(workspace.base)
    other = again.clean_copy(fixed)
    assert clean.tree != other.tree and clean.inside == repo
    assert (clean.tree / "app.py").read_text() == (repo / "app.py").read_text()
    assert (other.tree / "app.py").read_text() == "fixed\n" and not (other.tree / "left.log").exists()
    clean.discard()
    assert not clean.tree.exists() and workspace.snapshot() == fixed
    for place in (workspace.directory / "nope", repo):
        with pytest.raises(InputError) as caught:
            Workspace.open(place)
        assert caught.value.code == "no_workspace"
    with pytest.raises(InputError) as caught:
        workspace.restore("0" * 40)
    assert caught.value.code == "unknown_tree"


def test_files_are_read_and_written_inside_the_copy_only(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    tree = workspace.tree
    (tree / "out").symlink_to(tmp_path)
    (tree / "abs").symlink_to("/etc/passwd")
    put(tree, ".git/config")
    assert workspace.read_file("link") == workspace.read_file("./app.py")
    workspace.write_file("run.sh", b"new")
    workspace.write_file("a/b/c.py", b"c")
    assert os.access(tree / "run.sh", os.X_OK) and (tree / "a/b/c.py").read_bytes() == b"c"
    workspace.write_file("link", b"through")
    assert (tree / "link").is_symlink() and (tree / "app.py").read_bytes() == b"through"
    for path in ("out/secret", "abs", "../secret", "/etc/passwd", ".git/config", ".GIT/x", "a\0b"):
        with pytest.raises(InputError) as caught:
            workspace.read_file(path)
        assert caught.value.code == "path_outside"
        with pytest.raises(InputError):
            workspace.write_file(path, b"x")
    assert (tmp_path / "secret").read_text() == "key"


def test_no_configuration_hook_or_filter_of_the_tree_runs_on_the_host(
    workspace: Workspace, sandbox: Sandbox, tmp_path: Path
) -> None:
    proof = tmp_path / "ran"
    script = f"""
    git init -q . 2>/dev/null || mkdir -p .git/hooks
    printf '[core]\\n\\tfsmonitor = touch {proof}\\n\\tpager = touch {proof}\\n' > .git/config
    printf '#!/bin/sh\\ntouch {proof}\\n' > .git/hooks/reference-transaction; chmod +x .git/hooks/*
    printf '* filter=x diff=x\\n' > .gitattributes
    printf '[filter "x"]\\n\\tclean = touch {proof}\\n' >> .git/config
    printf '[diff "x"]\\n\\ttextconv = touch {proof}\\n' >> .git/config
    mkdir inner; cp -r .git inner/.git; cp .git/config .gitconfig
    echo x > inner/f; echo y >> app.py
    """
    workspace.run(sandbox, ["/bin/sh", "-c", script], timeout=20)
    tree = workspace.snapshot()
    patch = parse_patch(workspace.diff(workspace.base, tree))
    assert set(patch.paths) == {".gitattributes", ".gitconfig", "app.py", "inner/f"}
    commit_branch(workspace.checkout.top, patch, "x", "m", workspace.checkout.head, approve_sensitive=True)
    assert not proof.exists()


def test_the_copy_stands_at_the_checkouts_own_path_for_an_editable_install(
    repo: Path, tmp_path: Path, sandbox: Sandbox
) -> None:
    put(repo, "src/thing/__init__.py", "VALUE = 'checkout'\n")
    git(repo, "add", "-A")
    for environment in (tmp_path / "elsewhere", repo / ".venv"):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
        (site,) = environment.glob("lib/python*/site-packages")
        (site / "__editable__.thing.pth").write_text(f"{repo}/src\n")
    put(repo, ".gitignore", ".venv/\n")
    before = fingerprint(repo)
    question = "import thing, sys; print(thing.VALUE, thing.__file__, sys.prefix)"
    for number, environment in enumerate((tmp_path / "elsewhere", repo / ".venv")):
        workspace = Workspace.create(repo, tmp_path / f"work{number}", python=environment / "bin" / "python")
        workspace.write_file("src/thing/__init__.py", b"VALUE = 'copy'\n")
        done = workspace.run(sandbox, ["python", "-c", question], timeout=30)
        assert done.output.decode().split() == ["copy", f"{repo}/src/thing/__init__.py", str(environment)]
        # The environment is not the agent's to change, and a mount point cannot be led astray.
        script = "touch .venv/x; mv .venv gone; rm -rf .venv; rmdir .venv; ln -s /etc .venv"
        workspace.run(sandbox, ["/bin/sh", "-c", script], timeout=20)
        assert workspace.run(sandbox, ["python", "-c", question], timeout=30).returncode == 0
        if number == 1:
            assert ".venv" not in {path.split("/")[0] for path in workspace.paths(workspace.snapshot())}
    assert find_python(repo, None) == Path(os.environ.get("VIRTUAL_ENV", repo / ".venv"), "bin", "python")
    assert fingerprint(repo) == before


def test_commands_run_where_asked_and_change_only_the_copy(
    workspace: Workspace, sandbox: Sandbox, repo: Path, tmp_path: Path
) -> None:
    before = fingerprint(repo)
    look = f"pwd; ls -A {tmp_path} {repo.parent}; ls {tmp_path}"
    script = f"{look}; echo x > new.txt; rm ../app.py; echo x > ../../evil"
    done = workspace.run(sandbox, ["/bin/sh", "-c", script], cwd="data dir", timeout=20)
    assert done.output.decode().splitlines()[0] == f"{repo}/data dir"
    assert "work" not in done.output.decode().split()
    assert not (repo.parent / "evil").exists() and fingerprint(repo) == before
    assert set(workspace.paths(workspace.snapshot())) ^ set(workspace.paths(workspace.base)) == {
        "app.py",
        "data dir/new.txt",
    }
    with pytest.raises(InputError):
        workspace.run(sandbox, ["true"], cwd="../..", timeout=5)


@pytest.mark.parametrize("python", ["/nonexistent/python", "no-such-python", "/bin/true", "/etc"])
def test_an_unusable_python_is_bad_input(repo: Path, tmp_path: Path, python: str) -> None:
    with pytest.raises(InputError) as caught:
        Workspace.create(repo, tmp_path / "work", python=Path(python))
    assert caught.value.code == "python_unusable"


# ---- patches


def make_patch(workspace: Workspace) -> str:
    return workspace.diff(workspace.base, workspace.snapshot())


def test_a_patch_of_everything_is_read_back_and_applies(workspace: Workspace, repo: Path) -> None:
    tree = workspace.tree
    put(tree, "app.py", "def f(x):\n    return x + 1\n# no newline at the end").write_text(
        "def f(x):\n    return x + 1"
    )
    put(tree, 'quo"ted\\ name.txt'.replace("\\", ""), "-- a\n++ b\ndiff --git a/x b/x\n")
    put(tree, "empty.py", "")
    (tree / "binary.dat").write_bytes(bytes(range(256)) * 10)
    (tree / "data dir" / "grün.txt").write_bytes(b"latin \xe8\n\r\n\x0c\x1c\n")
    (tree / "run.sh").chmod(0o644)
    (tree / "link").unlink()
    (tree / "link").symlink_to("data dir")
    (tree / "up").mkdir()
    (tree / "up" / "in").symlink_to("../app.py")
    (tree / ".gitignore").unlink()
    patch = parse_patch(make_patch(workspace))
    assert {file.path: (file.change, file.added, file.removed, file.binary) for file in patch.files} == {
        "app.py": ("modified", 1, 1, False),
        'quo"ted name.txt': ("added", 3, 0, False),
        "empty.py": ("added", 0, 0, False),
        "binary.dat": ("added", 0, 0, True),
        "data dir/grün.txt": ("modified", 3, 1, False),
        "run.sh": ("modified", 0, 0, False),
        "link": ("modified", 1, 1, False),
        "up/in": ("added", 1, 0, False),
        ".gitignore": ("deleted", 0, 8, False),
    }
    branch = commit_branch(repo, patch, "All of it", "Message", workspace.checkout.head)
    names = git(repo, "ls-tree", "-r", "-z", "--name-only", branch).strip("\0").split("\0")
    assert set(names) == set(workspace.paths(workspace.snapshot()))
    shown = subprocess.run(
        ["git", "show", f"{branch}:data dir/grün.txt"], cwd=repo, env=ENVIRONMENT, capture_output=True
    )
    assert shown.stdout == b"latin \xe8\n\r\n\x0c\x1c\n"
    assert parse_patch("").files == ()


SHA = "1" * 40


def added(path: str, mode: str = "100644", body: str = "+x", quoted: bool = False) -> str:
    a, b = (f'"a/{path}"', f'"b/{path}"') if quoted else (f"a/{path}", f"b/{path}")
    return (
        f"diff --git {a} {b}\nnew file mode {mode}\nindex {'0' * 40}..{SHA}\n--- /dev/null\n+++ {b}\n"
        f"@@ -0,0 +1 @@\n{body}\n"
    )


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/./b",
            "a//b",
            ".git/hooks/x",
            "sub/.git/config",
            ".GIT/config",
        ),
        *(".git./x", ".git /x", "git~1/x", "GIT~1/x", "GIT~2/x", ".g\u200cit/x", ".git::$INDEX_ALLOCATION/x"),
        *("a\\..\\..\\x", ".git\\config", "C:/x", "c:x", "\\\\server\\x", ".git", "a/.Git", ".git...", "x/"),
    ],
)
def test_paths_that_could_hurt_are_rejected(path: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_patch(added(path))
    assert caught.value.code == "patch_rejected" and caught.value.exit_code == 2


@pytest.mark.parametrize("path", ["a\\nb", "\\033[31m", "..\\057x", "\\056git/x", "a\\q"])
def test_quoting_hides_nothing(path: str) -> None:
    with pytest.raises(InputError):
        parse_patch(added(path, quoted=True))


def test_names_that_only_look_alike_pass() -> None:
    for path in (
        ".gitignore",
        ".github/workflows/x.yml",
        "git/x",
        "a.git",
        "..a",
        "a b",
        "…/x",
        "git~x",
        "x.gitmodules",
    ):
        assert parse_patch(added(path)).paths == (path,)
    assert parse_patch(added("gr\\303\\274n", quoted=True)).paths == ("grün",)


@pytest.mark.parametrize("target", ["/etc/passwd", "../x", "a/../../x", ".git/config", "C:\\x", "..", "sub/../.GIT/x"])
def test_symlinks_that_leave_the_tree_are_rejected(target: str) -> None:
    with pytest.raises(InputError, match="symlink"):
        parse_patch(added("l", "120000", f"+{target}\n\\ No newline at end of file"))
    assert parse_patch(added("a/l", "120000", "+../x\n\\ No newline at end of file")).paths == ("a/l",)


@pytest.mark.parametrize(
    "text",
    [
        added("a", "160000"),
        added("a", "100777"),
        added("a", "104755"),
        added("a", "040000"),
        added("a") + added("a"),
        added("l", "120000", "+d\n\\ No newline at end of file") + added("l/x"),
        added("a")[:-1],
        added("a") + "trailing\n",
        "preface\n" + added("a"),
        added("a").replace("b/a b", "b/a b").replace("+++ b/a", "+++ b/../../x"),
        added("a").replace("diff --git a/a b/a", "diff --git a/a b/c"),
        added("a").replace("--- /dev/null", "--- a/.git/config"),
        added("a").replace("@@ -0,0 +1 @@", "@@ -0,0 +1,5 @@"),
        added("a").replace("index", "indx"),
        "diff --git a/a b/a\nsimilarity index 100%\nrename from a\nrename to ../b\n",
        f"diff --git a/a b/a\nnew file mode 100644\nindex {'0' * 40}..{SHA}\nGIT binary patch\nliteral 1\nIcmZ\n",
        "\n",
        "diff --git \n",
    ],
)
def test_what_is_not_gits_own_format_is_rejected(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_patch(text)
    assert caught.value.code == "patch_rejected"


def test_sizes_are_bounded() -> None:
    with pytest.raises(InputError, match="bytes"):
        parse_patch(added("a", body="+" + "x" * 200), max_bytes=200)
    with pytest.raises(InputError, match="files"):
        parse_patch("".join(added(f"f{number}") for number in range(4)), max_files=3)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([*added("a").splitlines(), *added("l", "120000").splitlines(), "", "+", "-x", "\\"])))
def test_any_lines_give_a_patch_or_a_rejection(lines: list[str]) -> None:
    try:
        parse_patch("\n".join(lines) + "\n")
    except InputError as error:
        assert error.code == "patch_rejected"


# ---- delivery


def fixed(workspace: Workspace) -> str:
    workspace.write_file("app.py", workspace.read_file("app.py").replace(b"x - ", b"x + "))
    return make_patch(workspace)


def test_a_branch_is_added_and_nothing_else_changes(workspace: Workspace, repo: Path, tmp_path: Path) -> None:
    proof = tmp_path / "hook-ran"
    for hook in ("reference-transaction", "pre-commit", "post-commit", "prepare-commit-msg", "commit-msg"):
        put(repo, f".git/hooks/{hook}", f"#!/bin/sh\ntouch {proof}\n").chmod(0o755)
    put(repo, "run.sh", "dirty\n")
    put(repo, "staged.py")
    git(repo, "add", "staged.py")
    proof.unlink(missing_ok=True)
    patch = parse_patch(fixed(workspace))
    before = fingerprint(repo)
    head = workspace.checkout.head
    names = [commit_branch(repo, patch, "Fix: the Bug!", "Fix the bug\n\nWhy.\n", head) for _ in range(3)]
    after = fingerprint(repo)
    assert names == ["tinsmith/fix-the-bug", "tinsmith/fix-the-bug-2", "tinsmith/fix-the-bug-3"]
    assert (after.work_tree, after.index, after.head) == (before.work_tree, before.index, before.head)
    assert after.refs != before.refs and not proof.exists()
    assert git(repo, "diff", "--name-only", "main", names[0]).split() == ["app.py"]
    assert git(repo, "log", "-1", "--format=%P %s", names[0]).split(" ", 1) == [head, "Fix the bug\n"]
    git(repo, "fsck", "--strict")


def test_without_an_identity_the_commit_is_tinsmiths(workspace: Workspace, repo: Path) -> None:
    text = fixed(workspace)
    program = (
        "import sys, pathlib\nfrom tinsmith.workspace import commit_branch, parse_patch\n"
        "commit_branch(pathlib.Path(sys.argv[1]), parse_patch(sys.stdin.read()), 'x', 'm', sys.argv[2])\n"
    )
    anonymous = {name: value for name, value in ENVIRONMENT.items() if "AUTHOR" not in name and "COMMITTER" not in name}
    for name, value in (("Tinsmith", "tinsmith@localhost"), ("Bea", "bea@example.org")):
        if name == "Bea":
            git(repo, "config", "user.name", name)
            git(repo, "config", "user.email", value)
        subprocess.run(
            [sys.executable, "-c", program, str(repo), workspace.checkout.head or ""],
            input=text.encode(),
            env=anonymous,
            check=True,
        )
        branch = "tinsmith/x" if name == "Tinsmith" else "tinsmith/x-2"
        assert (
            git(repo, "log", "-1", "--format=%an <%ae> %cn <%ce>", branch).strip()
            == f"{name} <{value}> {name} <{value}>"
        )


def test_a_patch_on_uncommitted_changes_is_refused_and_said_so(repo: Path, tmp_path: Path) -> None:
    put(repo, "app.py", "def f(x):\n    y = x\n    return x - 3\n")
    workspace = Workspace.create(repo, tmp_path / "work")
    patch = parse_patch(fixed(workspace))
    before = fingerprint(repo)
    with pytest.raises(InputError) as caught:
        commit_branch(repo, patch, "x", "m", workspace.checkout.head)
    assert caught.value.code == "patch_does_not_apply" and "kept" in caught.value.remedy
    assert fingerprint(repo) == before
    apply_patch(repo, patch)
    assert (repo / "app.py").read_text().endswith("x + 3\n")
    apply_patch(repo, patch, reverse=True)
    assert (repo / "app.py").read_text().endswith("x - 3\n")
    put(repo, "app.py", "else\n")
    before = fingerprint(repo)
    with pytest.raises(InputError) as caught:
        apply_patch(repo, patch)
    assert caught.value.code == "patch_does_not_apply" and fingerprint(repo) == before


def test_an_unborn_branch_and_a_blocked_name(tmp_path: Path, repo: Path, workspace: Workspace) -> None:
    unborn = tmp_path / "unborn"
    unborn.mkdir()
    git(unborn, "init", "-q", "-b", "main")
    first = commit_branch(unborn, parse_patch(new_file()), "first", "m", None)
    assert git(unborn, "ls-tree", "--name-only", first).split() == ["new.py"]
    assert open_checkout(unborn).head is None
    git(repo, "branch", "tinsmith")
    with pytest.raises(InputError) as caught:
        commit_branch(repo, parse_patch(fixed(workspace)), "x", "m", workspace.checkout.head)
    assert caught.value.code == "branch_not_written"
    with pytest.raises(InputError) as caught:
        commit_branch(repo, parse_patch(""), "x", "m", workspace.checkout.head)
    assert caught.value.code == "empty_patch"


def new_file() -> str:
    blob = subprocess.run(["git", "hash-object", "--stdin"], input=b"x\n", capture_output=True, check=True)
    return added("new.py").replace(SHA, blob.stdout.decode().strip())


def test_trees_are_gits_own(tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    store = ObjectStore.create(tmp_path / "objects" / "store.git")
    names = ["a", "a.b", "a0/x", "a-b/y", "ab", "b/c/d", "b.c", "ü/ö", "z z"]
    entries = {name: (0o100644, store.write_blob(name.encode())) for name in names}
    tree = store.write_tree(entries)
    assert store.read_tree(tree) == entries
    listed = git(store.directory, "ls-tree", "-r", "-z", "--name-only", tree).strip("\0").split("\0")
    assert sorted(listed) == sorted(names)
    git(store.directory, "fsck", "--strict")
    assert json.loads(json.dumps(entries))
