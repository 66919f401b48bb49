"""One leased copy of a pool: commands in it, its files, and what was changed."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinsmith.errors import MachineError
from tinsmith.workspace.attend import drain
from tinsmith.workspace.bubblewrap_policy import ENVIRONMENT
from tinsmith.workspace.control_group import ControlGroup
from tinsmith.workspace.ignore_rules import IgnoreRules
from tinsmith.workspace.launch import Completed
from tinsmith.workspace.limits import Limits
from tinsmith.workspace.object_store import SYMLINK, ObjectStore
from tinsmith.workspace.resource_watch import KillReason
from tinsmith.workspace.terminal_text import Capture
from tinsmith.workspace.tree import mode_of, open_regular, read_regular, resolve_inside, write_inside
from tinsmith.workspace.tree_cache import CachedTree
from tinsmith.workspace.upper_layer import changes_in

_PACKET = 1 << 16
_GRACE = 10.0
"""Seconds in which a copy must have ended its processes when it is told to."""


@dataclass(frozen=True)
class PooledTree:
    """A cached tree as a pool uses it: all copies share one store of snapshots."""

    cached: CachedTree
    store: ObjectStore
    rules: IgnoreRules
    python: Path | None
    """The directory of the interpreter's programs."""


class PooledCopy:
    """A copy that lives as long as its lease.  One command at a time; files are looked at between commands."""

    def __init__(
        self,
        end: socket.socket,
        pid: int,
        tree: PooledTree,
        inside: Path,
        limits: Limits,
        group: ControlGroup | None,
        fds: Sequence[int],
    ) -> None:
        self.pid = pid
        """Of its first process, on the host."""
        self.inside = inside
        self.base = tree.cached.base
        """The snapshot that it began with."""
        root, upper = fds
        self.tree = Path(f"/proc/{os.getpid()}/fd/{root}/{inside.relative_to('/')}")
        """The merged view on the host.  Not to be resolved."""
        self._upper = Path(f"/proc/{os.getpid()}/fd/{upper}")
        self._socket, self._tree, self._limits, self._fds = end, tree, limits, fds
        self.group = group
        """What bounds its processes where root started the pool; the pool's."""
        self._ended = os.pidfd_open(pid)
        self._over = False

    @classmethod
    async def open(
        cls,
        end: socket.socket,
        pid: int,
        tree: PooledTree,
        inside: Path,
        limits: Limits,
        group: ControlGroup | None,
    ) -> "PooledCopy":
        """Waits until the copy is made.  Raises OSError, EOFError."""
        end.setblocking(False)
        try:
            await readable(end.fileno())
            answer, fds, _, _ = socket.recv_fds(end, _PACKET, 2)
            told = json.loads(answer) if answer else {"error": "it ended before it was made"}
            if "error" in told:
                raise OSError(told["error"])
            return cls(end, pid, tree, inside, limits, group, fds)
        except BaseException:
            end.close()
            raise

    async def run(
        self, argv: Sequence[str], *, timeout: float, cwd: str = ".", env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run a command and wait until it and everything it started is dead; as `Workspace.run`.

        Raises InputError `path_outside`; MachineError `copy_lost` when the copy was killed, `lease_over`.
        """
        below = resolve_inside(self.tree, cwd).relative_to(self.tree)
        path = f"{self._tree.python}:{ENVIRONMENT['PATH']}" if self._tree.python else ENVIRONMENT["PATH"]
        environment = {**ENVIRONMENT, "PATH": path, **(env or {})}
        message = {"argv": list(argv), "cwd": str(self.inside / below), "env": environment}
        read, write = os.pipe()
        os.set_blocking(read, False)
        started = time.monotonic()
        capture = Capture(self._limits.output_kept)
        reason: KillReason | None = None
        try:
            try:
                socket.send_fds(self._socket, [json.dumps(message).encode()], [write])
            except OSError as error:
                raise self._lost() from error
            finally:
                os.close(write)
            try:
                async with asyncio.timeout(timeout):
                    reason = await self._attend(read, capture)
            except TimeoutError:
                reason = "timeout"
            status = await self._status(enough=reason is not None)
            drain(read, capture, rounds=1 << 12)
        finally:
            os.close(read)
        seconds = time.monotonic() - started
        if reason is None and self.group is not None and self.group.met_memory_limit():
            reason = "memory"
        return Completed(status, capture.text(), reason == "timeout", capture.truncated, seconds, reason)

    def read_file(self, path: str) -> bytes:
        """As `Workspace.read_file`."""
        return read_regular(resolve_inside(self.tree, path))

    def write_file(self, path: str, content: bytes) -> None:
        """As `Workspace.write_file`."""
        write_inside(self.tree, path, content)

    def snapshot(self) -> str:
        """The id of the tree as it stands, as `Workspace.snapshot`; it costs what was changed, not what is there."""
        cached, store = self._tree.cached, self._tree.store
        changes = changes_in(self._upper, self.tree, cached.files)
        inner = tuple(path + "/" for path in cached.inner)
        amended: dict[str, tuple[int, str] | None] = {
            path: None for path in changes.removed if not cached.files[path].extra
        }
        known = {path for path, file in cached.files.items() if not file.extra}
        new = [path for path in changes.written if path not in cached.files and not path.startswith(inner)]
        kept = (known & changes.written.keys()) | (set(new) - self._tree.rules.ignored(new))
        for path in sorted(kept):
            status = changes.written[path]
            place = self.tree / path
            if os.path.islink(place):
                amended[path] = SYMLINK, store.write_blob(os.fsencode(os.readlink(place)))
            elif ".git" not in path.casefold().split("/"):
                if not status.st_mode & 0o400:
                    os.chmod(place, 0o644)
                with suppress(OSError), open_regular(place) as stream:
                    amended[path] = mode_of(status), store.write_open_file(stream.fileno())
        return store.amend(cached.base, amended)

    def diff(self, base: str, tree: str) -> str:
        """As `Workspace.diff`."""
        return self._tree.store.diff(base, tree)

    def expire(self) -> None:
        """End the copy because its time is over."""
        self._over = True
        self._kill()

    async def close(self) -> None:
        """End the copy, and wait until all of it is gone."""
        self._kill()
        await readable(self._ended)
        os.close(self._ended)
        self._socket.close()
        for fd in self._fds:
            os.close(fd)

    async def _attend(self, read: int, capture: Capture) -> KillReason | None:
        """Take the output until the copy has something to say."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[KillReason | None] = loop.create_future()

        def take() -> None:
            if not drain(read, capture, rounds=16):
                loop.remove_reader(read)
            if capture.total > self._limits.output_runaway and not done.done():
                done.set_result("output")

        def heard() -> None:
            if not done.done():
                done.set_result(None)

        loop.add_reader(read, take)
        loop.add_reader(self._socket.fileno(), heard)
        try:
            return await done
        finally:
            loop.remove_reader(read)
            loop.remove_reader(self._socket.fileno())

    async def _status(self, *, enough: bool) -> int:
        try:
            if enough:
                self._socket.send(b"{}")
            async with asyncio.timeout(_GRACE):
                await readable(self._socket.fileno())
            message = self._socket.recv(_PACKET)
        except (OSError, TimeoutError) as error:
            self._kill()
            raise self._lost() from error
        if not message:
            raise self._lost()
        answer: dict[str, Any] = json.loads(message)
        return 128 + signal.SIGKILL if enough else int(answer["status"])

    def _kill(self) -> None:
        with suppress(OSError):
            signal.pidfd_send_signal(self._ended, signal.SIGKILL)

    def _lost(self) -> MachineError:
        if self._over:
            return MachineError("lease_over", "the time of the copy's lease is over", "Lease it for longer.")
        return MachineError("copy_lost", "the copy was killed from outside", "Lease another one.")


async def readable(fd: int) -> None:
    """Wait until there is something to read."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    loop.add_reader(fd, lambda: done.done() or done.set_result(None))
    try:
        await done
    finally:
        loop.remove_reader(fd)
