"""The process that forks isolated copies for a pool (see `tinsmith.workspace.pool`).

It is started once, with one thread, no environment and few modules, and lives in a user and a mount namespace of its
own.  There it prepares, once, what all copies share:

    /base    the root that copies see: programs of the system, interpreters, devices, a few files in /etc
    /lower   the cached trees
    /proc    the host's, to map the ids of a copy

Each copy is one `clone` into new namespaces of every kind.  Its first process mounts what is its own (`copy_init`),
gives up every privilege, and then does what it is told through a socket that the pool holds.  No code but Tinsmith's
runs in the zygote.

Messages are JSON in SOCK_SEQPACKET packets; descriptors go along as SCM_RIGHTS (unix(7)).
"""

import gc
import json
import os
import select
import socket
import sys

from tinsmith.workspace import copy_init, namespaces

_SPACES = (
    namespaces.NEWUSER
    | namespaces.NEWNS
    | namespaces.NEWPID
    | namespaces.NEWNET
    | namespaces.NEWIPC
    | namespaces.NEWUTS
    | namespaces.NEWCGROUP
)
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
_PACKET = 1 << 16
_ROUND = 1.0


def main() -> None:
    """argv[2] is the descriptor of the pool's socket; its end is the end of the zygote and of all copies."""
    pool = socket.socket(fileno=int(sys.argv[2]))
    try:
        namespaces.unshare(namespaces.NEWUSER | namespaces.NEWNS)
        namespaces.set_dumpable(True)  # so that the pool may write our id maps
        pool.send(b"{}")
        setup = json.loads(pool.recv(_PACKET))
        _build(setup)
    except OSError as error:
        pool.send(json.dumps({"error": str(error)}).encode())
        return
    gc.collect()
    gc.freeze()
    gc.disable()
    pool.send(b"{}")
    living = False
    while True:
        ready, _, _ = select.select([pool], [], [], _ROUND if living else None)
        if ready:
            request = pool.recv(_PACKET)
            if not request:
                return
            _fork(pool, json.loads(request), setup)
        living = _bury()


def _bury() -> bool:
    """Take note of copies that have ended; whether there are others."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def _fork(pool: socket.socket, request: dict[str, object], setup: dict[str, object]) -> None:
    theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        _make_directory(f"/base{request['inside']}")
        pid = namespaces.clone(_SPACES)
    except OSError as error:
        pool.send(json.dumps({"error": str(error)}).encode())
    else:
        if pid == 0:
            try:
                pool.close()
                theirs.close()
                copy_init.main(ours, request, setup)
            finally:
                os._exit(1)
        socket.send_fds(pool, [json.dumps({"pid": pid}).encode()], [theirs.fileno()])
    theirs.close()
    ours.close()


def _build(setup: dict[str, object]) -> None:
    """Make /old and /base, and nothing else, what this process sees."""
    namespaces.mount(None, "/", None, namespaces.REC | namespaces.SLAVE)
    # Any directory will do to stand on for a moment.
    namespaces.mount("tmpfs", "/usr", "tmpfs", namespaces.NOSUID, "mode=755,size=16m")
    os.chdir("/usr")
    for name in ("old", "base", "lower", "proc", "new"):
        os.mkdir(name)
    namespaces.pivot_root(".", "old")
    os.chdir("/")
    namespaces.mount("/old/proc", "/proc", None, namespaces.BIND | namespaces.REC)
    namespaces.mount(f"/old{setup['trees']}", "/lower", None, namespaces.BIND)
    namespaces.make_read_only("/lower")
    namespaces.mount("tmpfs", "/base", "tmpfs", namespaces.NOSUID, "mode=755,size=64m")
    for source in _texts(setup, "mounts"):
        _bind(source)
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        if os.path.islink(f"/old/{name}"):
            os.symlink(os.readlink(f"/old/{name}"), f"/base/{name}")
        elif os.path.isdir(f"/old/{name}"):
            _bind(f"/{name}")
    os.makedirs("/base/etc/alternatives")
    for name in ("ld.so.cache", "localtime"):
        if os.path.isfile(f"/old/etc/{name}"):
            with open(f"/old/etc/{name}", "rb") as source, open(f"/base/etc/{name}", "wb") as target:
                target.write(source.read())
    if os.path.isdir("/old/etc/alternatives"):
        for entry in os.scandir("/old/etc/alternatives"):
            if entry.is_symlink():
                os.symlink(os.readlink(entry.path), f"/base/etc/alternatives/{entry.name}")
    for name, text in _pairs(setup, "etc"):
        with open(f"/base/etc/{name}", "w") as file:
            file.write(text)
    for path, target in _pairs(setup, "symlinks"):
        os.makedirs(f"/base{os.path.dirname(path)}", exist_ok=True)
        if not os.path.lexists(f"/base{path}"):
            os.symlink(target, f"/base{path}")
    os.mkdir("/base/dev")
    for name in _DEVICES:
        with open(f"/base/dev/{name}", "w"):
            pass
        namespaces.mount(f"/old/dev/{name}", f"/base/dev/{name}", None, namespaces.BIND)
    for name, target in _LINKS.items():
        os.symlink(target, f"/base/dev/{name}")
    for place in ("dev/pts", "dev/shm", "proc", "tmp", setup["home"], "own", "away"):
        os.makedirs(f"/base/{place}", exist_ok=True)
    namespaces.unmount("/old")


def _bind(path: str) -> None:
    """Show a place of the host read-only under its own path."""
    source, target = f"/old{path}", f"/base{path}"
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif os.path.exists(source):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "a"):
            pass
    else:
        return
    namespaces.mount(source, target, None, namespaces.BIND | namespaces.REC)
    namespaces.make_read_only(target)


def _make_directory(path: str) -> None:
    if not os.path.isdir(path):
        os.makedirs(path)


def _texts(setup: dict[str, object], key: str) -> list[str]:
    value = setup[key]
    assert isinstance(value, list)
    return [str(text) for text in value]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _pairs(setup: dict[str, object], key: str) -> list[tuple[str, str]]:
    value = setup[key]
    assert isinstance(value, dict)
    return [(str(name), str(text)) for name, text in value.items()]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
