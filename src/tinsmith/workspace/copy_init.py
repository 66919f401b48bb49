"""The first process of a copy of a pool: it makes what the copy sees, gives up every privilege, and runs commands.

It is a fork of the zygote in new namespaces of every kind; when it ends, the kernel ends all processes of the copy and
takes its mounts away.  Commands cannot look into it (it is not dumpable), signal it (it is the first of its pid
namespace) or keep running after it has answered.
"""

import fcntl
import json
import os
import resource
import select
import signal
import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tinsmith.workspace import namespaces

_PACKET = 1 << 16
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def main(pool: socket.socket, request: Mapping[str, Any], setup: Mapping[str, Any]) -> None:
    """Answers {} with descriptors of the copy's root and of its upper layer, then serves until the socket ends."""
    namespaces.die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        roots = _build(request, setup)
        _give_up(setup)
    except OSError as error:
        pool.send(json.dumps({"error": str(error)}).encode())
        return
    socket.send_fds(pool, [b"{}"], roots)
    for fd in roots:
        os.close(fd)
    while True:
        message, fds, _, _ = socket.recv_fds(pool, _PACKET, 1)
        if not message:
            return
        command = json.loads(message)
        if "argv" in command:
            status = _run(pool, command, fds[0], setup)
            if status is None:
                return
            pool.send(json.dumps({"status": status}).encode())


def _build(request: Mapping[str, Any], setup: Mapping[str, Any]) -> list[int]:
    """Mount what this copy alone has, and leave what the zygote sees."""
    uid, gid = request["uid"], request["gid"]
    for name, text in (("setgroups", "deny"), ("uid_map", f"1000 {uid} 1"), ("gid_map", f"1000 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    inside, home = request["inside"], setup["home"]
    namespaces.mount("/base", "/new", None, namespaces.BIND | namespaces.REC)
    # What the copy writes lies in file systems of its own, whose size is its limit.
    bounded = namespaces.NOSUID | namespaces.NODEV
    for place, mode, size in setup["places"]:
        namespaces.mount("tmpfs", f"/new/{place}", "tmpfs", bounded, f"mode={mode},size={size}")
    own = f"mode=755,size={setup['size']},nr_inodes={setup['inodes']}"
    namespaces.mount("tmpfs", "/new/own", "tmpfs", bounded, own)
    for name in ("upper", "work"):
        os.mkdir(f"/new/own/{name}", 0o755)
    os.makedirs(f"/new{inside}", exist_ok=True)  # the copy's own /tmp may hide the mount point that the zygote made
    lower = os.open(f"/lower/{request['lower']}", os.O_RDONLY | os.O_DIRECTORY)
    layers = f"lowerdir=/proc/self/fd/{lower},upperdir=/new/own/upper,workdir=/new/own/work,userxattr"
    namespaces.mount("overlay", f"/new{inside}", "overlay", bounded, layers)
    os.close(lower)
    for place in setup["mounts"]:
        if place.startswith(("/tmp/", "/dev/shm/", f"/{home}/", f"{inside}/")):
            _show_again(place)
    proc = namespaces.RDONLY | namespaces.NOSUID | namespaces.NODEV | namespaces.NOEXEC
    namespaces.mount("proc", "/new/proc", "proc", proc)
    pts = namespaces.NOSUID | namespaces.NOEXEC
    namespaces.mount("devpts", "/new/dev/pts", "devpts", pts, "newinstance,ptmxmode=0666,mode=620")
    roots = [os.open("/new", os.O_RDONLY | os.O_DIRECTORY), os.open("/new/own/upper", os.O_RDONLY | os.O_DIRECTORY)]
    namespaces.unmount("/new/own")  # it is seen merged alone
    flags = namespaces.REMOUNT | namespaces.BIND | namespaces.RDONLY | namespaces.NOSUID
    namespaces.mount(None, "/new", None, flags)
    namespaces.pivot_root("/new", "/new/away")
    namespaces.unmount("/away")
    os.chdir("/")
    namespaces.set_host_name("sandbox")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as loopback:
        interface = struct.pack("16sH14x", b"lo", 0)
        state = struct.unpack("16sH14x", fcntl.ioctl(loopback, _SIOCGIFFLAGS, interface))[1]
        fcntl.ioctl(loopback, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", state | _IFF_UP))
    return roots


def _show_again(place: str) -> None:
    """Mount a part of /base that a mount of the copy's own has hidden, as an interpreter below /tmp."""
    target = f"/new{place}"
    if os.path.isdir(f"/base{place}"):
        os.makedirs(target, exist_ok=True)
    elif os.path.exists(f"/base{place}"):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "a"):
            pass
    else:
        return
    namespaces.mount(f"/base{place}", target, None, namespaces.BIND | namespaces.REC)


def _give_up(setup: Mapping[str, Any]) -> None:
    namespaces.drop_capabilities()
    namespaces.forbid_new_privileges()
    namespaces.set_dumpable(False)
    if setup["seccomp"]:
        namespaces.load_seccomp(bytes.fromhex(setup["seccomp"]))
    os.umask(0o022)


def _run(pool: socket.socket, command: Mapping[str, Any], output: int, setup: Mapping[str, Any]) -> int | None:
    """Run one command until it ends or the pool says so, end all it started; None when the pool is gone."""
    child = os.fork()
    if child == 0:
        try:
            _become(command, output, setup)
        finally:
            os._exit(126)
    os.close(output)
    ended = os.pidfd_open(child)
    gone = False
    try:
        ready, _, _ = select.select([pool, ended], [], [])
        if pool in ready:  # anything that it says now means: enough
            gone = not pool.recv(_PACKET)
    finally:
        os.close(ended)
    status = None
    while True:
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)  # all but ourselves
        try:
            pid, result = os.wait()
        except ChildProcessError:
            break
        if pid == child:
            code = os.waitstatus_to_exitcode(result)
            status = code if code >= 0 else 128 - code
    return None if gone else status


def _become(command: Mapping[str, Any], output: int, setup: Mapping[str, Any]) -> None:
    os.setsid()
    nothing = os.open("/dev/null", os.O_RDONLY)
    for fd, place in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(fd, place)
    os.closerange(3, 1 << 16)
    for name, value in setup["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.chdir(command["cwd"])
        os.execvpe(command["argv"][0], command["argv"], command["env"])
    except FileNotFoundError:
        os._exit(127)
    except OSError as error:
        os.write(2, f"{command['argv'][0]}: {error.strerror}\n".encode())
        os._exit(126)
