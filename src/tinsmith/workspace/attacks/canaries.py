"""Things of the host that the attacks try to reach, and whether they were reached."""

import os
import secrets
import signal
import socket
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tinsmith.workspace.tree import remove

SECRET_NAME = "TINSMITH_AUDIT_SECRET"
_FORBIDDEN = ("/usr/bin/tinsmith-audit", "/tinsmith-audit", "/etc/tinsmith-audit")


class Canaries:
    """Files, sockets, a process and a variable of the host, in and around `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.work = directory / "work"
        """The only place that an attack may write to; a fresh one for each."""
        self.secret = "canary-" + secrets.token_hex(8)
        self.marker = f"9{secrets.randbelow(10**12):012}"
        """The seconds that a process of an attack sleeps which tries to outlive its command."""
        self.file = directory / "canary"
        self._home = _writable_home(directory) / f".tinsmith-canary-{self.marker}"
        self._shm = Path("/dev/shm", directory.name)
        self._unix = directory / "socket"
        self._listeners: dict[str, socket.socket] = {}
        self._victim: subprocess.Popen[bytes] | None = None
        self._system = _system_facts()

    @property
    def names(self) -> dict[str, object]:
        """What the attacks are told, as global names."""
        assert self._victim is not None
        return {
            "CANARY": str(self.file),
            "HOME_CANARY": str(self._home),
            "HOST_HOME": str(self._home.parent),
            "HOST_NAME": socket.gethostname(),
            "SHM": str(self._shm),
            "PORT": self._listeners["tcp"].getsockname()[1],
            "ABSTRACT": self.directory.name,
            "UNIX": str(self._unix),
            "VICTIM": self._victim.pid,
            "MARKER": self.marker,
            "SECRET": self.secret,
            "SECRET_NAME": SECRET_NAME,
            "WORK": str(self.work),
        }

    @contextmanager
    def out(self) -> Generator["Canaries"]:
        """They are there inside of this, and gone after it."""
        had = os.environ.get(SECRET_NAME)
        try:
            for file in (self.file, self._home, self._shm):
                file.write_text(self.secret)
            os.environ[SECRET_NAME] = self.secret
            self._victim = subprocess.Popen(["sleep", "3600"], stdin=subprocess.DEVNULL, process_group=0)
            for kind, family, address in (
                ("tcp", socket.AF_INET, ("127.0.0.1", 0)),
                ("abstract", socket.AF_UNIX, "\0" + self.directory.name),
                ("unix", socket.AF_UNIX, str(self._unix)),
            ):
                self._listeners[kind] = listener = socket.socket(family)
                listener.bind(address)
                listener.listen()
                listener.setblocking(False)
            yield self
        finally:
            for listener in self._listeners.values():
                listener.close()
            if self._victim is not None:
                self._victim.kill()
                self._victim.wait()
            for file in (self._home, self._shm):
                file.unlink(missing_ok=True)
            os.environ.pop(SECRET_NAME, None)
            if had is not None:
                os.environ[SECRET_NAME] = had

    def reached(self, output: bytes = b"") -> list[str]:
        """What an attack has done to the host since the last look; the traces of survivors are removed."""
        found: list[str] = []
        if self.secret.encode() in output:
            found.append("the secret is in the output")
        for file in (self.file, self._home, self._shm):
            if not file.is_file() or file.read_text() != self.secret:
                found.append(f"{file} was changed")
                file.write_text(self.secret)
        for extra in sorted(set(os.listdir(self.directory)) - {"canary", "socket", "work", "stages"}):
            found.append(f"{extra} appeared beside the copy")
            remove(self.directory / extra)
        for kind, listener in self._listeners.items():
            try:
                listener.accept()[0].close()
            except BlockingIOError:
                continue
            found.append(f"a connection to the host's {kind} socket")
        found += self._victim_harmed()
        for pid in processes_with(self.marker):
            found.append("a process survived")
            os.kill(pid, signal.SIGKILL)
        found += [f"{path} was made" for path in _FORBIDDEN if os.path.lexists(path)]
        if _system_facts() != self._system:
            found.append("the host's name or kernel settings were changed")
        return found

    def _victim_harmed(self) -> list[str]:
        assert self._victim is not None
        if self._victim.poll() is None and os.getpriority(os.PRIO_PROCESS, self._victim.pid) == os.getpriority(
            os.PRIO_PROCESS, 0
        ):
            return []
        self._victim.kill()
        self._victim.wait()
        self._victim = subprocess.Popen(["sleep", "3600"], stdin=subprocess.DEVNULL, process_group=0)
        return ["a process of the host was ended or slowed down"]


def processes_with(marker: str) -> list[int]:
    """Processes of the host, but this one, whose command line holds `marker`."""
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


def _writable_home(otherwise: Path) -> Path:
    """The person's home directory, where the canary lies beside real secrets."""
    try:
        home = Path.home()
    except RuntimeError:
        return otherwise
    return home if os.access(home, os.W_OK | os.X_OK) else otherwise


def _system_facts() -> tuple[str, ...]:
    facts = [socket.gethostname()]
    for setting in ("core_pattern", "modprobe"):
        try:
            facts.append(Path("/proc/sys/kernel", setting).read_text())
        except OSError:
            facts.append("")
    return tuple(facts)
