"""Many isolated copies at once, on one machine, for evaluation and training.

    async with Pool(trees, python=interpreter) as pool:
        async with pool.lease(tree, Path("/srv/app")) as copy:
            done = await copy.run(["python", "-m", "pytest", "-q"], timeout=60)
            patch = copy.diff(copy.base, copy.snapshot())

A process without anybody's code in it, the zygote, forks each copy into new namespaces of every kind: an overlay over a
cached tree with its upper layer in memory, in the root, under the limits and behind the system call filter that
`Sandbox` has.  A copy costs one fork and a few mounts.

Whatever dies, nothing is left: copies end with the zygote, the zygote and each copy end when the pool's end of their
sockets closes, and mounts and files exist only in their namespaces.  The store of snapshots is a directory in the tree
cache that is locked while the pool lives and that the next process there removes otherwise.

It needs what an overlay needs (`tinsmith.workspace.overlay`), and Linux 6.6 for the overlay's marks on a tmpfs.
"""

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import tinsmith
from tinsmith.errors import MachineError
from tinsmith.workspace.bubblewrap_policy import HOME, etc_files
from tinsmith.workspace.control_group import ControlGroup
from tinsmith.workspace.ignore_rules import IgnoreRules
from tinsmith.workspace.interpreter import Interpreter
from tinsmith.workspace.limits import Limits
from tinsmith.workspace.object_store import ObjectStore
from tinsmith.workspace.overlay import map_ids
from tinsmith.workspace.pooled_copy import PooledCopy, PooledTree, readable
from tinsmith.workspace.seccomp import build_filter
from tinsmith.workspace.tree_cache import CachedTree, TreeCache

_SOURCE = str(Path(tinsmith.__file__).parent.parent)
_START = "import sys; sys.path.insert(0, sys.argv[1]); from tinsmith.workspace import zygote; zygote.main()"
_PACKET = 1 << 16


class Pool:
    """At most `most` copies live at once; who asks for more waits."""

    def __init__(
        self, trees: TreeCache, *, python: Interpreter | None = None, limits: Limits | None = None, most: int = 64
    ) -> None:
        """`python` is what copies see of an interpreter outside /usr; `Limits.disk` is memory here, per copy."""
        self._trees = trees
        self._python = python
        self._limits = limits or Limits(disk=1 << 30)
        self._free = asyncio.Semaphore(most)
        self._most = most
        self._asking = asyncio.Lock()
        self._prepared: dict[Path, PooledTree] = {}
        self._zygote: _Zygote | None = None
        self._groups: list[ControlGroup] = []
        """Control groups that no copy is in."""
        self._open = ExitStack()

    async def __aenter__(self) -> "Pool":
        """Raises MachineError `pool_failed` where copies cannot be isolated here, `no_process_limit`."""
        _raise_open_files(4 * self._most + 256)
        self._trees.directory.mkdir(parents=True, exist_ok=True)
        self._trees.collect()
        self._directory = self._open.enter_context(self._trees.scratch())
        try:
            await self._started()
        except BaseException:
            self._open.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None
        for group in self._groups:
            group.remove()
        self._groups.clear()
        self._open.close()

    @property
    def zygote_pid(self) -> int | None:
        """The process that forks; another one after it was killed."""
        return self._zygote.pid if self._zygote is not None else None

    @asynccontextmanager
    async def lease(
        self, tree: CachedTree, inside: Path, *, seconds: float | None = None, wait: float | None = None
    ) -> AsyncGenerator[PooledCopy]:
        """A fresh copy of `tree`, at `inside` in its own root; everything of it is gone afterwards.

        `seconds` is how long it may live; what it does then raises `lease_over`.  `wait` is how many seconds to wait
        for a free place; then MachineError `pool_full`.  Raises MachineError `pool_failed`, `no_process_limit`.
        """
        try:
            async with asyncio.timeout(wait):
                await self._free.acquire()
        except TimeoutError:
            raise MachineError(
                "pool_full", f"all {self._most} copies of the pool are in use", "Wait longer, or make it larger."
            ) from None
        try:
            prepared = self._prepare(tree)
            copy = await self._fork(prepared, inside)
            expiry = asyncio.get_running_loop().call_later(seconds, copy.expire) if seconds is not None else None
            try:
                yield copy
            finally:
                if expiry is not None:
                    expiry.cancel()
                await copy.close()
                if copy.group is not None:
                    self._put_back(copy.group)
        finally:
            self._free.release()

    async def _fork(self, tree: PooledTree, inside: Path) -> PooledCopy:
        group = None
        if os.geteuid() == 0:
            group = self._groups.pop() if self._groups else ControlGroup.create(self._limits)
        try:
            if os.geteuid() == 0 and not (group is not None and group.bounds("pids")):
                raise MachineError(
                    "no_process_limit",
                    "as root without a pids control group nothing bounds the processes of a copy",
                    "Run Tinsmith as a user, or give the container a delegated control group.",
                )
            request = {
                "inside": str(inside),
                "lower": f"{tree.cached.directory.name}/tree",
                "uid": os.geteuid(),
                "gid": os.getegid(),
            }
            async with self._asking:
                zygote = await self._started()
                try:
                    answer, fds = await zygote.ask(request)
                except (OSError, EOFError):
                    zygote.close()
                    zygote = await self._started()  # it was killed; one try with another
                    answer, fds = await zygote.ask(request)
            if "error" in answer or not fds:
                raise _failed(answer.get("error", "the zygote gave no socket"))
            pid = int(answer["pid"])
            if group is not None:
                for place in (*group.tasks, *group.processes):
                    Path(place).write_text(str(pid))
            return await PooledCopy.open(socket.socket(fileno=fds[0]), pid, tree, inside, self._limits, group)
        except (OSError, EOFError) as error:
            raise _failed(str(error) or "the zygote ended") from error
        except BaseException:
            if group is not None:
                group.remove()
            raise

    def _put_back(self, group: ControlGroup) -> None:
        """Making one takes longer the more there are; one in which the kernel counted a kill is not used again."""
        if group.met_memory_limit():
            group.remove()
        else:
            self._groups.append(group)

    async def _started(self) -> "_Zygote":
        if self._zygote is not None and self._zygote.is_dead():
            self._zygote.close()
            self._zygote = None
        if self._zygote is None:
            self._zygote = await _Zygote.start(self._setup())
        return self._zygote

    def _setup(self) -> dict[str, Any]:
        limits, python, program = self._limits, self._python, build_filter()
        mounts = ["/usr", *(str(place) for place in (python.mounts if python else ()))]
        return {
            "mounts": mounts,
            "trees": str(self._trees.directory),
            "etc": etc_files(None),
            "symlinks": {str(path): target for target, path in (python.symlinks if python else ())},
            "home": HOME.lstrip("/"),
            "places": [
                ("tmp", "1777", limits.tmp),
                ("dev/shm", "1777", limits.shared_memory),
                (HOME.lstrip("/"), "755", limits.home),
            ],
            "size": limits.disk,
            "inodes": limits.inodes,
            "seccomp": program.hex() if program is not None else "",
            "limits": {
                "RLIMIT_CORE": 0,
                "RLIMIT_NOFILE": limits.open_files,
                "RLIMIT_FSIZE": limits.file_size,
                "RLIMIT_AS": limits.address_space,
                "RLIMIT_NPROC": limits.processes,
            },
        }

    def _prepare(self, tree: CachedTree) -> PooledTree:
        if (known := self._prepared.get(tree.directory)) is None:
            place = self._directory / tree.directory.name
            place.mkdir()
            self._trees.note_user(tree, place)
            store = ObjectStore.create(place / "objects.git", on=tree.store)
            IgnoreRules.write(place / "rules", store, tree.entries(extra=False))
            rules = IgnoreRules(place / "rules", store, "")
            python = self._python.path.parent if self._python else None
            known = self._prepared[tree.directory] = PooledTree(tree, store, rules, python)
        return known


class _Zygote:
    """The zygote from the pool's side."""

    def __init__(self, process: "subprocess.Popen[bytes]", end: socket.socket) -> None:
        self._process, self._socket = process, end
        self.pid = process.pid

    @classmethod
    async def start(cls, setup: dict[str, Any]) -> "_Zygote":
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _START, _SOURCE, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        zygote = cls(process, ours)
        try:
            await zygote._answer()
            map_ids(process.pid)
            answer, _ = await zygote.ask(setup)
        except (OSError, EOFError) as error:
            zygote.close()
            raise _failed(str(error) or "the zygote ended") from error
        if "error" in answer:
            zygote.close()
            raise _failed(answer["error"])
        return zygote

    def is_dead(self) -> bool:
        return self._process.poll() is not None

    async def ask(self, message: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
        """Send a message and wait for the answer.  Raises EOFError, OSError when the zygote is gone."""
        self._socket.send(json.dumps(message).encode())
        return await self._answer()

    async def _answer(self) -> tuple[dict[str, Any], list[int]]:
        await readable(self._socket.fileno())
        answer, fds, _, _ = socket.recv_fds(self._socket, _PACKET, 1)
        if not answer:
            raise EOFError
        return json.loads(answer), fds

    def close(self) -> None:
        """End it, and with it every copy."""
        self._socket.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()


def _raise_open_files(wanted: int) -> None:
    """Each copy holds a few descriptors; the usual soft limit of 1024 is for programs that use select(2)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))


def _failed(words: str) -> MachineError:
    return MachineError(
        "pool_failed",
        f"an isolated copy could not be made: {words}",
        "It needs Linux 6.6 and unprivileged user namespaces; without them use a Workspace for each task.",
    )
