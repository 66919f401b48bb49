"""Disk, inodes and memory of a command, and root where there is no control group."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tinsmith.workspace import Completed, Limits, Sandbox
from tinsmith.workspace.process_tree import descendants
from tinsmith.workspace.resource_watch import DiskWatch, MemoryWatch, measure

MIB = 1 << 20
FILL = "i=0; while true; do head -c 1000000 /dev/zero > f$i; i=$((i+1)); done"
# A shell and `head` for each; the pipe keeps them waiting with what they have read.
EATERS = "for i in 1 2 3 4 5 6; do (x=$(head -c 40000000 /dev/zero | tr '\\0' x); sleep 20) & done; wait"


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox.find()


def run(sandbox: Sandbox, place: Path, script: str, **limits: int) -> Completed:
    tightened = replace(sandbox, limits=replace(sandbox.limits, **limits), baselines={})
    return tightened.run(["/bin/sh", "-c", script], cwd=place, timeout=60, extra_rw_binds=[(place, place)])


def test_a_command_that_fills_the_disk_is_killed(sandbox: Sandbox, tmp_path: Path) -> None:
    done = run(sandbox, tmp_path, FILL, disk=30 * MIB)
    assert (done.killed_for, done.returncode, done.timed_out) == ("disk", 137, False)
    # Overshot by what is written between two looks, not without bound.
    assert 30 * MIB < measure(tmp_path).bytes < 2000 * MIB


def test_a_file_without_a_name_counts(sandbox: Sandbox, tmp_path: Path) -> None:
    script = "exec 5> x; rm x; exec cat /dev/zero >&5"
    done = run(sandbox, tmp_path, script, disk=30 * MIB, file_size=1 << 30)
    # Where others give back as much at this moment, the size of one file ends it.
    assert done.killed_for == "disk" or done.returncode != 0


def test_a_command_that_makes_files_without_end_is_killed(sandbox: Sandbox, tmp_path: Path) -> None:
    done = run(sandbox, tmp_path, "i=0; while true; do : > f$i; i=$((i+1)); done", inodes=2000)
    assert (done.killed_for, done.returncode) == ("inodes", 137)


def test_directories_too_deep_to_be_named_count(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    fds = [fd]
    name = "d" * 200
    for _ in range(25):
        os.mkdir(name, dir_fd=fds[-1])
        fds.append(os.open(name, os.O_RDONLY, dir_fd=fds[-1]))
    try:
        assert measure(tmp_path).inodes > 1 << 40
    finally:
        for above in reversed(fds[:-1]):
            os.rmdir(name, dir_fd=above)
        for fd in fds:
            os.close(fd)


def test_what_was_there_does_not_count_and_what_commands_add_counts_together(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(b"x" * 40 * MIB)
    tightened = replace(sandbox, limits=replace(sandbox.limits, disk=30 * MIB), baselines={})

    def add(name: str) -> Completed:
        script = f"head -c 12582912 /dev/zero > {name}; sync {name}; true"
        return tightened.run(["/bin/sh", "-c", script], cwd=tmp_path, timeout=60, extra_rw_binds=[(tmp_path, tmp_path)])

    assert [add("a").killed_for, add("b").killed_for] == [None, None]
    assert add("c").killed_for == "disk"


def test_fallocate_is_not_there_and_the_library_does_without(sandbox: Sandbox, tmp_path: Path) -> None:
    done = run(sandbox, tmp_path, "fallocate -l 1000000 f; echo $?")
    assert b"not supported" in done.output
    if (python := Path("/usr/bin/python3")).exists():
        code = "import os; os.posix_fallocate(os.open('g', os.O_RDWR | os.O_CREAT), 0, 100000)"
        done = sandbox.run([str(python), "-c", code], cwd=tmp_path, timeout=20, extra_rw_binds=[(tmp_path, tmp_path)])
        assert done.returncode == 0 and (tmp_path / "g").stat().st_size == 100000


def test_the_memory_of_all_processes_has_a_limit(sandbox: Sandbox, tmp_path: Path) -> None:
    done = run(sandbox, tmp_path, EATERS, memory=100 * MIB)
    assert done.killed_for == "memory" and not done.timed_out
    assert run(sandbox, tmp_path, "echo fine", memory=100 * MIB).killed_for is None


def test_memory_is_watched_where_no_control_group_counts_it() -> None:
    wait = "; print(flush=True); sys.stdin.read()"
    code = "import sys; b = bytearray(b'x') * (60 << 20)" + wait
    hidden = "import os, sys; f = os.memfd_create('m'); os.write(f, bytes(60 << 20))" + wait
    for program in (code, hidden):
        watch = MemoryWatch(Limits(memory=40 * MIB), None, frozenset())
        roomy = MemoryWatch(Limits(memory=1 << 40), None, frozenset())
        with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            assert child.pid in descendants(os.getpid())
            if program is code:
                assert watch.excess(os.getpid()) == "memory"
            else:
                # The machine's free memory is what calls for a look, so others may hide this one for a moment.
                assert watch.excess(os.getpid()) in ("memory", None)
            assert roomy.excess(os.getpid()) is None
            child.communicate()


def test_a_look_is_cheap(tmp_path: Path) -> None:
    for number in range(500):
        (tmp_path / f"f{number}").write_text("x")
    watch = DiskWatch([tmp_path], Limits(), {})
    before = os.times()
    for _ in range(200):
        watch.excess(os.getpid())
    after = os.times()
    assert after.user + after.system - before.user - before.system < 1.0


NO_GROUP = """
import json, os, sys
from pathlib import Path
from tinsmith.workspace import Limits, Sandbox, Workspace, checks
sandbox = Sandbox.find(limits=Limits(processes=40))
work = Path(sys.argv[1])
(work / "old").write_text("x")
script = '''
echo more >> old; echo new > made; echo out > /dev/stdout; id -u; grep -c '^Cap.*:.0*$' /proc/self/status
[ -w /proc/sys/kernel/core_pattern ] && echo writable
i=0; while [ $i -lt 200 ]; do sleep 5 & i=$((i+1)); done; echo all
'''
done = sandbox.run(["/bin/sh", "-c", script], cwd=work, timeout=30, extra_rw_binds=[(work, work)])
again = sandbox.run(["nosuch"], timeout=20).returncode
print(json.dumps({"uid": sandbox.host_uid, "output": done.output.decode(), "old": (work / "old").read_text(),
    "status": again, "checks": [row["ok"] for row in checks()]}))
"""


def test_root_without_a_control_group_takes_a_user_id(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    # An empty file system over the control groups, in a mount namespace of its own.
    hide = 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"'
    alone = ["unshare", "--mount", "/bin/sh", "-c", hide, "sh"]
    if os.geteuid() != 0 or subprocess.run([*alone, "true"], capture_output=True).returncode != 0:
        record_property("root without a control group", "not run: it needs root and a mount namespace")
        return
    work = tmp_path / "work"
    work.mkdir()
    done = subprocess.run([*alone, sys.executable, "-c", NO_GROUP, str(work)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    lines = answer["output"].splitlines()
    assert 61_184 <= answer["uid"] <= 65_519
    assert lines[:3] == ["out", str(answer["uid"]), "5"]
    assert "writable" not in lines and "all" not in lines and "ork" in answer["output"]
    assert answer["old"] == "xmore\n" and answer["status"] == 127 and all(answer["checks"])
