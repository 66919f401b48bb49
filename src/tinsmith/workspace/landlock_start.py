"""Starts one command on the host itself, confined by Landlock and seccomp, and ends whatever it leaves behind.

Run as `python -I -S landlock_start.py POLICY STATUS BLOCK`, three descriptors: a JSON object (`host_process.py`
writes it), where {"exit-code": N} goes, and a pipe to wait for.  Standard library only.  It ends when its
standard input does.

The calls are those of linux/landlock.h, numbers 444 to 446 on every architecture, and of prctl(2).
"""

import base64
import ctypes
import json
import os
import resource
import select
import signal
import stat
import struct
import sys
import time
from typing import Any, NoReturn

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1
_SET_PDEATHSIG, _SET_SECCOMP, _SET_CHILD_SUBREAPER, _SET_NO_NEW_PRIVS, _FILTER = 1, 22, 36, 38, 2

# LANDLOCK_ACCESS_FS_*, in the order of their bits.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR, _REMOVE_FILE = (1 << bit for bit in range(6))
_MAKE_CHAR, _MAKE_DIR, _MAKE_REG, _MAKE_SOCK, _MAKE_FIFO, _MAKE_BLOCK, _MAKE_SYM = (1 << bit for bit in range(6, 13))
_REFER, _TRUNCATE, _IOCTL_DEV = (1 << bit for bit in range(13, 16))
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE = (
    _READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SOCK | _MAKE_FIFO | _MAKE_SYM
    | _REFER | _TRUNCATE
)  # fmt: skip
_NET = 3  # LANDLOCK_ACCESS_NET_BIND_TCP, _CONNECT_TCP
_SCOPES = 3  # LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, _SIGNAL

_libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """The version of Landlock that this kernel offers, 0 for none."""
    return max(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)), 0)


def main(policy_fd: int, status_fd: int, block_fd: int) -> None:
    with os.fdopen(policy_fd, "rb") as file:
        policy: dict[str, Any] = json.load(file)
    for path in policy["groups"]:
        with open(path, "w") as file:
            file.write("0")
    _prctl(_SET_CHILD_SUBREAPER, 1)
    failure_read, failure_write = os.pipe()
    child = os.fork()
    if child == 0:
        _become_command(policy, failure_write, (status_fd, block_fd))
    os.close(failure_write)
    status = _attend(child)
    _end_descendants()
    with os.fdopen(failure_read, "rb") as file:
        if words := file.read():
            sys.stderr.write(words.decode(errors="replace"))
            sys.exit(1)
    if status is None:
        sys.exit(128 + signal.SIGKILL)
    os.write(status_fd, b'{"exit-code": %d}\n' % status)


def _attend(child: int) -> int | None:
    """The child's exit status as a shell gives it, None where we are told to end first."""
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.register(ended, select.POLLIN)
    while True:
        ready = dict(poll.poll(1000))
        if ended in ready:
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            return status if status >= 0 else 128 - status
        if 0 in ready:
            return None
        _reap(child)


def _reap(but: int) -> None:
    """Collect what ended among the orphans that were given to us."""
    while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
        if found.si_pid == but:
            return
        os.waitpid(found.si_pid, 0)


def _end_descendants() -> None:
    """Stop all, so that none can start another, then kill all; until there are none."""
    end = time.monotonic() + 10
    while (pids := _descendants()) and time.monotonic() < end:
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return


def _descendants() -> list[int]:
    waiting, found = [os.getpid()], list[int]()
    while waiting:
        pid = waiting.pop()
        try:
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children") as file:
                    children = [int(word) for word in file.read().split()]
                found += children
                waiting += children
        except OSError:
            continue
    return found


def _become_command(policy: dict[str, Any], failure_fd: int, inherited: tuple[int, ...]) -> NoReturn:
    """The confined command, or a word on `failure_fd` about why it could not begin."""
    doing = "set-up"
    try:
        os.setsid()
        _prctl(_SET_PDEATHSIG, signal.SIGKILL)
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        for fd in inherited:
            os.close(fd)
        os.umask(0o022)
        rules = _rules(policy) if policy["confined"] else None
        for name, value in policy["limits"].items():
            resource.setrlimit(getattr(resource, name), (value, value))
        if (uid := policy["uid"]) is not None:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        doing = f"cannot enter {policy['cwd']} as user id {os.geteuid()}"
        os.chdir(policy["cwd"])
        os.listdir()
        doing = "set-up"
        _prctl(_SET_NO_NEW_PRIVS, 1)
        if rules is not None:
            _check(_libc.syscall(_RESTRICT_SELF, rules, 0))
            os.close(rules)
            if policy["seccomp"]:
                _load_filter(base64.b64decode(policy["seccomp"]))
    except BaseException as error:
        os.write(failure_fd, f"{doing}: {error}".encode())
        os._exit(1)
    argv, env = policy["argv"], policy["env"]
    try:
        os.execvpe(argv[0], argv, env)
    except OSError as error:
        os.write(2, f"{argv[0]}: {error.strerror}\n".encode())
        os._exit(127 if isinstance(error, FileNotFoundError | NotADirectoryError) else 126)


def _rules(policy: dict[str, Any]) -> int:
    """A Landlock ruleset: everything is refused but what the policy names."""
    version = abi()
    handled = (1 << min(13 + (version >= 2) + (version >= 3) + (version >= 5), 16)) - 1
    attributes = struct.pack("=QQQ", handled, _NET if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset: int = _check(_libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint32(0)))
    for access, paths in ((_READ, policy["readable"]), (_WRITE, policy["writable"]), (_OF_FILES, policy["devices"])):
        for path in paths:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            allowed = access if stat.S_ISDIR(os.fstat(fd).st_mode) else access & _OF_FILES
            rule = struct.pack("=Qi", allowed & handled, fd)
            _check(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, rule, ctypes.c_uint32(0)))
            os.close(fd)
    return ruleset


def _load_filter(program: bytes) -> None:
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    _prctl(_SET_SECCOMP, _FILTER, ctypes.c_char_p(header))


def _prctl(option: int, *arguments: Any) -> None:
    padded = [argument if not isinstance(argument, int) else ctypes.c_ulong(argument) for argument in arguments]
    _check(_libc.prctl(option, *padded, *([ctypes.c_ulong(0)] * (4 - len(padded)))))


def _check(result: int) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
