"""The rungs below bubblewrap, which only the person can choose, and the profile for macOS."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tinsmith.cli.main import cli
from tinsmith.errors import InputError, MachineError
from tinsmith.settings import Settings
from tinsmith.workspace import CommandSandbox, LandlockSandbox, Limits, Sandbox, UnsafeNoSandbox, find_sandbox
from tinsmith.workspace.landlock_start import abi
from tinsmith.workspace.process_tree import descendants
from tinsmith.workspace.seatbelt import profile

needs_landlock = pytest.mark.skipif(abi() < 3, reason="this kernel has no Landlock, or an old one")
INSIDE = Path("/opt/somewhere/repo")


@pytest.fixture
def place() -> Generator[Path]:
    """A directory that another user id can pass through, with a secret beside the copy."""
    with tempfile.TemporaryDirectory(prefix="tinsmith-rungs-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "copy").mkdir()
        (directory / "secret").write_text("hunter2")
        yield directory


def sh(sandbox: CommandSandbox, place: Path, script: str, timeout: float = 30) -> tuple[int, str]:
    binds = [(place / "copy", INSIDE)]
    done = sandbox.run(["/bin/sh", "-c", script], cwd=INSIDE, timeout=timeout, extra_rw_binds=binds)
    return done.returncode, done.output.decode()


def test_no_rung_stands_in_for_another() -> None:
    assert isinstance(find_sandbox(), Sandbox)
    assert isinstance(find_sandbox("none"), UnsafeNoSandbox)
    assert find_sandbox().waived == "" and "NO SANDBOX" in find_sandbox("none").waived
    if abi() >= 3:
        assert isinstance(find_sandbox("landlock"), LandlockSandbox)
    else:
        with pytest.raises(MachineError, match="second rung"):
            find_sandbox("landlock")


@needs_landlock
def test_landlock_keeps_files_network_and_processes(place: Path) -> None:
    sandbox = LandlockSandbox.find()
    script = (
        f"echo made > f; cat f; cat {place}/secret; ls {Path.home()}; echo x > {place}/out; "
        f"echo x > /tmp/tinsmith-out; cat /etc/shadow; cat /proc/{os.getpid()}/environ; "
        "echo x > $HOME/a; echo x > $TMPDIR/b && echo wrote"
    )
    status, output = sh(sandbox, place, script)
    assert status == 0 and output.startswith("made\n") and output.endswith("wrote\n")
    assert output.count("denied") == 6 and "hunter2" not in output
    assert (place / "copy" / "f").read_text() == "made\n" and not (place / "out").exists()
    assert not Path("/tmp/tinsmith-out").exists()
    if sandbox.abi >= 6:
        assert "not permitted" in sh(sandbox, place, f"kill -0 {os.getpid()}")[1]
    code = "import socket; [print(family) for family in (1, 2, 10, 16) if socket.socket(family)]"
    if (python := Path("/usr/bin/python3")).exists():
        assert "Address family not supported" in sh(sandbox, place, f'{python} -c "{code}"')[1]
        assert sh(sandbox, place, f'{python} -c "import socket; socket.socketpair()"') == (0, "")


@needs_landlock
def test_landlock_leaves_no_process_and_keeps_limits(place: Path) -> None:
    sandbox = LandlockSandbox.find(Limits(processes=40, disk=20 << 20))
    assert sh(sandbox, place, "setsid sleep 717 & (setsid sleep 717 &); exec true")[0] == 0
    assert sh(sandbox, place, "trap '' TERM; setsid sleep 717 & sleep 717", timeout=1) == (137, "")
    assert [pid for pid in descendants(os.getpid()) if "717" in _command_line(pid)] == []
    forks = "i=0; while [ $i -lt 100 ]; do sleep 5 & i=$((i+1)); done; echo all"
    assert "ork" in sh(sandbox, place, forks)[1]
    fill = "i=0; while true; do head -c 1000000 /dev/zero > f$i; i=$((i+1)); done"
    binds = [(place / "copy", INSIDE)]
    assert sandbox.run(["/bin/sh", "-c", fill], cwd=INSIDE, timeout=60, extra_rw_binds=binds).killed_for == "disk"


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.parametrize("rung", ["none", pytest.param("landlock", marks=needs_landlock)])
def test_paths_of_mounts_are_the_hosts_and_statuses_the_commands(rung: str, place: Path) -> None:
    sandbox = find_sandbox("none" if rung == "none" else "landlock")
    plugin = place / "plugin.py"
    plugin.write_text("hello")
    script = f"pwd; cat {INSIDE}/a; echo {INSIDE}; echo {INSIDE}-other; cat $PLUGIN/name.py; cd {INSIDE} && echo there"
    (place / "copy" / "a").write_text("a\n")
    done = sandbox.run(
        ["/bin/sh", "-c", script],
        cwd=INSIDE,
        timeout=30,
        extra_rw_binds=[(place / "copy", INSIDE)],
        extra_ro_binds=[(plugin, Path("/opt/tinsmith-plugin-test/name.py"))],
        env={"PLUGIN": "/opt/tinsmith-plugin-test"},
    )
    copy = str(place / "copy")
    assert done.output.decode() == f"{copy}\na\n{copy}\n{INSIDE}-other\nhellothere\n"
    assert [sandbox.run([word], timeout=20).returncode for word in ("nosuch", "/etc/passwd")] == [127, 126]
    assert sh(sandbox, place, "kill -TERM $$")[0] == 143 and sh(sandbox, place, "exit 3")[0] == 3


def test_no_sandbox_has_limits_and_no_secrets(place: Path) -> None:
    os.environ["TINSMITH_TEST_SECRET"] = "hunter2"
    try:
        status, output = sh(UnsafeNoSandbox(), place, "env; cat ../secret")
    finally:
        del os.environ["TINSMITH_TEST_SECRET"]
    assert status == 0 and output.endswith("hunter2") and output.count("hunter2") == 1


def test_a_repository_cannot_choose_the_sandbox(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path / "repo")], check=True)
    (tmp_path / "repo" / "tinsmith.toml").write_text('[resolve]\nsandbox = "none"\n')
    with pytest.raises(InputError, match="only you may"):
        Settings.load(tmp_path / "repo", {}, {"HOME": str(tmp_path)})
    assert Settings.of_person({"TINSMITH_SANDBOX": "landlock"}).sandbox == "landlock"
    with pytest.raises(InputError, match="no sandbox"):
        Settings.of_person({"TINSMITH_SANDBOX": "off"})


def test_sandbox_run_shows_output_and_changes_and_leaves_the_checkout(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path / "repo")], check=True)
    (tmp_path / "repo" / "a").write_text("a\n")
    runner = CliRunner()
    base = ["sandbox", "run", "--repo", str(tmp_path / "repo")]
    done = runner.invoke(cli, [*base, "--diff", "--", "sh", "-c", "pwd; echo b >> a; exit 3"])
    assert done.exit_code == 3 and done.stdout.startswith(f"{tmp_path}/repo\ndiff --git a/a b/a")
    assert "+b" in done.stdout and (tmp_path / "repo" / "a").read_text() == "a\n"
    done = runner.invoke(cli, [*base, "--timeout", "1", "--", "sleep", "20"])
    assert done.exit_code == 137 and "its time is over" in done.stderr
    done = runner.invoke(cli, [*base, "--unsafe-no-sandbox", "--", "true"])
    assert done.exit_code == 0 and "NO SANDBOX" in done.stderr
    assert runner.invoke(cli, [*base, "--", "no-such-program"]).exit_code == 127


def test_the_macos_profile_is_closed_but_for_what_is_named(tmp_path: Path) -> None:
    copy, tool = tmp_path / 'a "copy"', tmp_path / "tool"
    copy.mkdir()
    tool.mkdir()
    lines = profile([tool], [copy]).splitlines()
    assert lines[:3] == ["(version 1)", "(deny default)", "(deny network*)"]
    assert all(line.startswith("(") and line.count("(") == line.count(")") for line in lines if "regex" not in line)
    written = [line for line in lines if "file-write*" in line and line.startswith("(allow")]
    quoted = str(tmp_path.resolve() / "a ").replace("\\", "\\\\") + '\\"copy\\"'
    assert written == [f'(allow file-write* (subpath "{quoted}"))']
    assert any(f'(subpath "{tool.resolve()}")' in line and "file-read*" in line for line in lines)
    assert not any(line.startswith("(allow network") or "mach-lookup" in line for line in lines)
    assert lines.index(written[0]) < next(n for n, line in enumerate(lines) if ".git" in line)
    for path in (Path("/"), tmp_path / "x\n(allow default)"):
        with pytest.raises(InputError):
            profile([], [path])


def test_of_a_python_under_the_home_directory_only_its_prefixes_are_seen(tmp_path: Path) -> None:
    from tinsmith.workspace.interpreter import inspect_python

    with tempfile.TemporaryDirectory(dir=Path.home(), prefix=".tinsmith-test-") as name:
        environment = Path(name, "environments", "mine")
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
        (Path(name) / "secret").write_text("hunter2")
        (Path(name, "environments") / "other").mkdir()
        python = inspect_python(environment / "bin" / "python", tmp_path)
        seen = Sandbox.find().run(
            [
                str(python.path),
                "-uc",
                f"import os, sys; print(sys.prefix); print(os.listdir({name!r})); "
                f"print(os.listdir({name!r} + '/environments')); "
                f"print(sorted(os.listdir({str(Path.home())!r}))); open(sys.prefix + '/x', 'w')",
            ],
            timeout=30,
            extra_ro_binds=[(mount, mount) for mount in python.mounts],
            symlinks=python.symlinks,
        )
        lines = seen.output.decode().splitlines()
        assert lines[:3] == [str(environment), "['environments']", "['mine']"]
        home = set(os.listdir(Path.home()))
        shown = {word.strip("' ") for word in lines[3].strip("[]").split(",")}
        # The test's directory, and where the base installation lies under the home directory, the way to that.
        ways = {mount.relative_to(Path.home()).parts[0] for mount in python.mounts if Path.home() in mount.parents}
        assert shown == ways and shown < home | ways
        assert "Read-only file system" in lines[-1]


def test_limits_are_replaced_as_those_of_bubblewrap() -> None:
    for sandbox in (UnsafeNoSandbox(), Sandbox.find()):
        assert replace(sandbox, limits=Limits(processes=3)).limits.processes == 3
