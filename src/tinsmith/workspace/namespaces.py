"""The kernel's calls for namespaces and mounts, which Python 3.11 does not have.

Numbers are from linux/sched.h, linux/mount.h, linux/prctl.h, linux/fs.h and linux/capability.h.  This module imports
little, since it is loaded in the short-lived process that mounts an overlay and in the zygote of a pool.
"""

import ctypes
import fcntl
import os
import struct

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000

RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, SLAVE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 19
DETACH = 2

_PDEATHSIG, _SET_DUMPABLE, _SET_SECCOMP, _CAPBSET_DROP, _SET_NO_NEW_PRIVS, _CAP_AMBIENT = 1, 4, 22, 24, 38, 47
_FICLONE = 0x40049409
_LAST_CAPABILITY = 63
_AT_FDCWD, _AT_RECURSIVE, _ATTR_RDONLY, _ATTR_NOSUID, _MOUNT_SETATTR = -100, 0x8000, 1, 2, 442
_SIGCHLD = 17
_CLONE = {"x86_64": 56, "aarch64": 220}
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Move this process to new namespaces.  Raises OSError, as all functions here do."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str | None, target: str, kind: str | None, flags: int = 0, data: str | None = None) -> None:
    """mount(2)."""
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    options = None if data is None else os.fsencode(data)
    _check(_libc.mount(*texts, ctypes.c_ulong(flags), options), f"mount {target}")


def make_read_only(target: str) -> None:
    """Let nobody write through the mount at `target` or those below it, nor gain privileges by its programs."""
    attributes = struct.pack("=QQQQ", _ATTR_RDONLY | _ATTR_NOSUID, 0, 0, 0)
    arguments = (ctypes.c_int(_AT_FDCWD), os.fsencode(target), ctypes.c_uint(_AT_RECURSIVE), attributes)
    result = _libc.syscall(ctypes.c_long(_MOUNT_SETATTR), *arguments, ctypes.c_size_t(len(attributes)))
    _check(result, f"mount_setattr {target}")


def clone(flags: int) -> int:
    """Fork into new namespaces: 0 in the child.  For a process with one thread, which has no handlers for a fork."""
    number = _CLONE[os.uname().machine]
    result = _libc.syscall(ctypes.c_long(number), ctypes.c_ulong(flags | _SIGCHLD), None, None, None, None)
    _check(result, "clone")
    return result


def unmount(target: str) -> None:
    """Take a mount away, at once for whoever looks and for good when its last user is gone."""
    _check(_libc.umount2(os.fsencode(target), DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2)."""
    number = _PIVOT_ROOT[os.uname().machine]
    _check(_libc.syscall(ctypes.c_long(number), os.fsencode(new), os.fsencode(old)), "pivot_root")


def set_host_name(name: str) -> None:
    """sethostname(2)."""
    _check(_libc.sethostname(name.encode(), ctypes.c_size_t(len(name))), "sethostname")


def die_with_parent(signal: int) -> None:
    """Have the kernel send this process a signal when the thread that made it ends."""
    _prctl(_PDEATHSIG, signal)


def set_dumpable(dumpable: bool) -> None:
    """Whether other processes of this user may look into this one through /proc."""
    _prctl(_SET_DUMPABLE, int(dumpable))


def forbid_new_privileges() -> None:
    """From now on no program gains privileges, as by a set-user-id bit."""
    _prctl(_SET_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """Give up all capabilities, for this process and all that it will start."""
    for number in range(_LAST_CAPABILITY + 1):
        if _libc.prctl(_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0) != 0:
            break  # past the last that this kernel knows
    _libc.prctl(_CAP_AMBIENT, ctypes.c_ulong(4), 0, 0, 0)
    header = ctypes.create_string_buffer(struct.pack("<Ii", 0x20080522, 0))
    _check(_libc.capset(header, ctypes.create_string_buffer(24)), "capset")


def load_seccomp(program: bytes) -> None:
    """Install a filter as `tinsmith.workspace.seccomp` builds it."""
    code = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    _check(_libc.prctl(_SET_SECCOMP, ctypes.c_ulong(2), ctypes.create_string_buffer(header), 0, 0), "seccomp")


def reflink(source: int, target: int) -> bool:
    """Have file descriptor `target` share the blocks of `source`; False where the file system cannot."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def _prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), f"prctl {option}")


def _check(result: int, words: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{words}: {os.strerror(number)}")
