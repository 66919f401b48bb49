"""What the sandbox is held against: none at all, that of another agent, the machine as it is."""

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinsmith.workspace import Limits
from tinsmith.workspace.sandbox import Bind, Completed, default_candidates

_MOST_OUTPUT = 32 << 20


class NoSandbox:
    """Runs the command as it is.  Only for an ordinary user: root would harm the machine."""

    def __init__(self) -> None:
        if os.geteuid() == 0:
            raise PermissionError("attacks without a sandbox are not run as root")

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
        """As `Sandbox.run`; what is mounted inside lies where it lies."""
        return _finished(list(argv), Path(cwd), timeout, {**os.environ, **(env or {})})


class MiniSweAgent(NoSandbox):
    """The default policy of mini-swe-agent's bubblewrap environment (environments/extra/bubblewrap.py, `wrapper_args`).

    The interpreter is mounted besides, or no probe could run.
    """

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
        """As `Sandbox.run`."""
        bwrap = [str(default_candidates()[0]), "--unshare-user-try"]
        for place in ("/usr", "/bin", "/lib", "/lib64", "/etc"):
            bwrap += ["--ro-bind", place, place]
        bwrap += ["--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev", "--new-session"]
        bwrap += ["--setenv", "PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/bin"]
        for kind, binds in (("--ro-bind", extra_ro_binds), ("--bind", extra_rw_binds)):
            for source, target in binds:
                bwrap += [kind, str(source), str(target)]
        return _finished([*bwrap, "--chdir", str(cwd), *argv], Path("/"), timeout, dict(os.environ))


class OpenMachine:
    """What is nearest to no sandbox for code of strangers: the machine's own file system, as it is but for writing, all
    system calls, no limits. Only the network and the processes of others are kept away."""

    limits = Limits()
    waived = ""

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
        """As `Sandbox.run`; the interpreter is where it is, so only what is written to is mounted."""
        bwrap = [str(default_candidates()[0]), "--die-with-parent", "--unshare-net", "--unshare-pid"]
        bwrap += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/opt"]
        binds = [("--ro-bind", bind) for bind in extra_ro_binds] + [("--bind", bind) for bind in extra_rw_binds]
        for kind, (source, target) in sorted(binds, key=lambda mount: len(mount[1][1].parts)):
            bwrap += [kind, str(source), str(target)]
        own = {"PATH": os.environ["PATH"], "HOME": "/tmp", "LANG": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0"}
        return _finished([*bwrap, "--chdir", str(cwd), *argv], Path("/"), timeout, {**own, **(env or {})})


def _finished(argv: list[str], cwd: Path, timeout: float, env: dict[str, str]) -> Completed:
    started = time.monotonic()
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        process_group=0,
    )
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    printed, timed_out, ended = bytearray(), False, False
    # Neither waits for what survives and holds the pipe, nor keeps what an attack prints without end.
    while not ended and not timed_out and len(printed) < _MOST_OUTPUT:
        ended = process.poll() is not None
        timed_out = time.monotonic() > started + timeout
        if select.select([process.stdout], [], [], 0 if ended else 0.02)[0]:
            printed += process.stdout.read(1 << 20) or b""
    if not ended:
        os.killpg(process.pid, signal.SIGKILL)
    code = process.wait()
    process.stdout.close()
    return Completed(code if code >= 0 else 128 - code, bytes(printed), timed_out, False, time.monotonic() - started)
