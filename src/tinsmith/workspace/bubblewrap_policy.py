"""bubblewrap's arguments: what a sandboxed command gets to see, and as whom it sees it."""

import os
from collections.abc import Sequence
from pathlib import Path

from tinsmith.workspace.limits import Limits

Bind = tuple[Path, Path]
"""(path on the host, absolute path inside)."""

HOME = "/home/agent"
ENVIRONMENT = {
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
_UID = 1000
_TO_BECOME = ("CAP_SETUID", "CAP_SETGID", "CAP_SETPCAP")


def etc_files(host_uid: int | None) -> dict[str, str]:
    """{name: text} of what is written to /etc; `host_uid` as for `policy`."""
    uid = _UID if host_uid is None else host_uid
    return {
        "passwd": f"root:x:0:0::/:/bin/sh\nagent:x:{uid}:{uid}::{HOME}:/bin/sh\nnobody:x:65534:65534::/:\n",
        "group": f"root:x:0:\nagent:x:{uid}:\nnogroup:x:65534:\n",
        "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    }


def policy(
    limits: Limits,
    files: dict[str, int],
    *,
    disable_userns: bool,
    host_uid: int | None,
    ro_binds: Sequence[Bind],
    rw_binds: Sequence[Bind],
    symlinks: Sequence[tuple[str, Path]],
) -> list[str]:
    """Namespaces, mounts and capabilities.

    `files` is {name in /etc: descriptor with its text}.  With `host_uid` root makes the mounts in its own user
    namespace and the command, which still has to take that id (see `become`), keeps the capabilities for it;
    without, the command is uid 1000 of a new user namespace.
    """
    if host_uid is None:
        arguments = ["--unshare-user", "--uid", str(_UID), "--gid", str(_UID)]
        arguments += ["--disable-userns"] if disable_userns else []
        arguments += ["--cap-drop", "ALL"]
    else:
        arguments = ["--cap-drop", "ALL", *(word for name in _TO_BECOME for word in ("--cap-add", name))]
    arguments += [
        *("--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--hostname", "sandbox"),
        *("--unshare-cgroup-try", "--die-with-parent", "--new-session", "--clearenv"),
        *("--tmpfs", "/", "--ro-bind", "/usr", "/usr"),
    ]
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/", name)
        if path.is_symlink():
            arguments += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    for name, fd in files.items():
        arguments += ["--perms", "0644", "--file", str(fd), f"/etc/{name}"]
    for name in ("ld.so.cache", "alternatives", "localtime"):
        arguments += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    arguments += ["--proc", "/proc", "--remount-ro", "/proc", "--dev", "/dev"]
    for path, size in (("/dev/shm", limits.shared_memory), ("/tmp", limits.tmp)):
        arguments += ["--perms", "1777", "--size", str(size), "--tmpfs", path]
    arguments += ["--remount-ro", "/dev"]
    arguments += ["--perms", "0755" if host_uid is None else "0777", "--size", str(limits.home), "--tmpfs", HOME]
    mounts = [("--ro-bind", bind) for bind in ro_binds] + [("--bind", bind) for bind in rw_binds]
    # Outer paths first, or the mount of a parent would hide what was mounted below it.
    for kind, (source, target) in sorted(mounts, key=lambda mount: len(mount[1][1].parts)):
        arguments += [kind, str(source), str(target)]
    for link_target, path in symlinks:
        arguments += ["--symlink", link_target, str(path)]
    return [*arguments, "--remount-ro", "/"]


def become(host_uid: int | None) -> list[str]:
    """What stands before the command inside to take `host_uid`; with it go the last capabilities."""
    if host_uid is None:
        return []
    ids = ["--reuid", str(host_uid), "--regid", str(host_uid), "--clear-groups"]
    return ["setpriv", *ids, "--inh-caps", "-all", "--bounding-set", "-all", "--"]
