"""A seccomp filter, assembled here, for system calls that tests never need and kernel exploits like.

Classic BPF over `struct seccomp_data` {int nr; u32 arch; u64 ip; u64 args[6]} (linux/seccomp.h), as bwrap's
`--seccomp FD` takes it: an array of `struct sock_filter` {u16 code; u8 jt; u8 jf; u32 k} (linux/filter.h).
System call numbers are from the kernel's tables for x86-64 and for arm64 (asm-generic).
"""

import platform
import struct

_EPERM, _ENOSYS, _EOPNOTSUPP, _EAFNOSUPPORT = 1, 38, 95, 97
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_LOAD, _JEQ, _JGE, _RETURN = 0x20, 0x15, 0x35, 0x06
_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# name: (x86-64, arm64)
_DENIED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    # bwrap's first process inside holds the descriptor by which it tells the exit status.
    "pidfd_getfd": (438, 438),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "setns": (308, 268),
    "unshare": (272, 97),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "syslog": (103, 116),
    "personality": (135, 92),
}
# Without namespaces of its own a command shares these with the person's other processes.
_DENIED_IN_SHARED_NAMESPACES = {
    "shmget": (29, 194),
    "shmat": (30, 196),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
}
# With another process than the caller (first argument, 0) these reach the person's.
_OF_A_PROCESS = {
    "prlimit64": (302, 261),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122),
}
_FALLOCATE = (285, 47)
_CLONE3, _CLONE, _SOCKET, _IOCTL = (435, 435), (56, 220), (41, 198), (16, 29)
_CLONE_NAMESPACES = 0x7E020000  # NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_FAMILIES = (1, 2, 10, 16)  # UNIX, INET, INET6, NETLINK
_X32_BIT = 0x40000000


def build_filter(*, shared_namespaces: bool = False) -> bytes | None:
    """The filter for this machine's architecture; None where there is no table for it.

    `shared_namespaces` is for a command without network, IPC and process namespaces of its own: no sockets at all but
    `socketpair`, no System V or POSIX queues, no limits and
    priorities of other processes.
    """
    machine = platform.machine()
    if machine not in _ARCH:
        return None
    column = 0 if machine == "x86_64" else 1
    program: list[tuple[int, int, int, int]] = []

    def emit(code: int, k: int, jump_true: int = 0, jump_false: int = 0) -> None:
        program.append((code, jump_true, jump_false, k))

    def fail(number: int) -> None:
        emit(_RETURN, _ERRNO | number)

    emit(_LOAD, 4)
    emit(_JEQ, _ARCH[machine], 1, 0)
    emit(_RETURN, _KILL)
    emit(_LOAD, 0)
    emit(_JGE, _X32_BIT, 0, 1)
    fail(_EPERM)
    for numbers in (_DENIED | (_DENIED_IN_SHARED_NAMESPACES if shared_namespaces else {})).values():
        emit(_JEQ, numbers[column], 0, 1)
        fail(_EPERM)
    # A disk is filled by it in no time, before anybody can look. The C library writes blocks instead.
    emit(_JEQ, _FALLOCATE[column], 0, 1)
    fail(_EOPNOTSUPP)
    if shared_namespaces:
        emit(_JEQ, _SOCKET[column], 0, 1)
        fail(_EAFNOSUPPORT)
        for numbers in _OF_A_PROCESS.values():
            emit(_JEQ, numbers[column], 0, 4)
            emit(_LOAD, 16)
            emit(_JEQ, 0, 1, 0)
            fail(_EPERM)
            emit(_RETURN, _ALLOW)
    # The C library falls back to clone, whose flags can be looked at.
    emit(_JEQ, _CLONE3[column], 0, 1)
    fail(_ENOSYS)
    emit(_JEQ, _CLONE[column], 0, 4)
    emit(_LOAD, 16)
    emit(0x45, _CLONE_NAMESPACES, 0, 1)  # JSET: any bit in common
    fail(_EPERM)
    emit(_RETURN, _ALLOW)
    emit(_JEQ, _SOCKET[column], 0, 3 + len(_FAMILIES))
    emit(_LOAD, 16)
    for position, family in enumerate(_FAMILIES):
        emit(_JEQ, family, len(_FAMILIES) - position, 0)
    fail(_EAFNOSUPPORT)
    emit(_RETURN, _ALLOW)
    emit(_JEQ, _IOCTL[column], 0, 4)
    emit(_LOAD, 24)
    emit(_JEQ, _TIOCSTI, 1, 0)
    emit(_JEQ, _TIOCLINUX, 0, 1)
    fail(_EPERM)
    emit(_RETURN, _ALLOW)
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
