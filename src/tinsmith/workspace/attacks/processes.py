"""Attacks on processes and on the kernel: other processes, namespaces, system calls with a history of holes."""

from tinsmith.workspace.attacks.attack import Inside

_UNREACHABLE = "ESRCH EPERM ENOENT EACCES"
_SURVIVE = """
command = ['/bin/sh', '-c', 'trap "" HUP TERM INT; sleep ' + MARKER + ' & wait']
{start}
refuse('started')
"""

PROCESSES = (
    Inside("P01", "kill a process of the host", "os.kill(VICTIM, 9)", "ESRCH EPERM"),
    Inside("P02", "trace a process", "syscall(101, 117, 0, 0, 0, 0)", "EPERM"),
    Inside(
        "P03",
        "read the memory of a process",
        """
data, copy = ctypes.create_string_buffer(8), ctypes.create_string_buffer(8)
class Vector(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
one, other = (Vector(ctypes.addressof(b), 8) for b in (data, copy))
syscall(310, 270, os.getpid(), ctypes.byref(other), 1, ctypes.byref(one), 1, 0)
""",
        "EPERM",
    ),
    Inside(
        "P04", "set up io_uring", "syscall(425, 425, 1, ctypes.create_string_buffer(120))", "EPERM ENOSYS", armed=False
    ),
    Inside("P05", "set up userfaultfd", "syscall(323, 282, 1)", "EPERM ENOSYS", armed=False),
    Inside(
        "P06", "load a bpf program", "syscall(321, 280, 0, ctypes.create_string_buffer(128), 128)", "EPERM", armed=False
    ),
    Inside("P07", "use the kernel's key ring", "syscall(250, 219, 0, -3, 1)", "EPERM ENOSYS", armed=False),
    Inside(
        "P08",
        "enter a namespace of another process",
        "each(lambda p: syscall(308, 268, os.open(p, os.O_RDONLY), 0), '/proc/1/ns/mnt', f'/proc/{VICTIM}/ns/net')",
        "EPERM ENOENT EACCES",
        armed=False,
    ),
    Inside(
        "P09",
        "push input into a terminal",
        "main, other = os.openpty(); fcntl.ioctl(other, 0x5412, b'x')",
        "EPERM EIO",
        armed=False,
    ),
    Inside(
        "P10",
        "make a user namespace by clone",
        "syscall(56, 220, 0x10000000 | 17, 0, 0, 0, 0) or os._exit(0)",
        "EPERM ENOSPC",
    ),
    Inside("P11", "call the kernel by its x32 numbers", "syscall(0x40000027, 0x40000027)", "EPERM ENOSYS", armed=False),
    Inside(
        "P12",
        "call the kernel by its 32-bit entry",
        """
import mmap
if platform.machine() != 'x86_64': refuse('another')
page = mmap.mmap(-1, 4096, prot=7)
page.write(b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3')  # mov eax, 20 (getpid); int 0x80; ret
child = os.fork()
if child == 0:
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
    os._exit(0)
status = os.waitpid(child, 0)[1]
if os.WIFSIGNALED(status): refuse(signal.Signals(os.WTERMSIG(status)).name)
""",
        "SIGSYS SIGSEGV another",
        armed=False,
    ),
    Inside(
        "P13",
        "gain privileges by a set-user-id program of the system",
        """
lines = dict(line.split(':', 1) for line in open('/proc/self/status'))
if lines['NoNewPrivs'].strip() == '1' and not any(int(lines[c], 16) for c in ('CapEff', 'CapPrm', 'CapBnd')):
    refuse('impossible')
""",
        "impossible",
    ),
    Inside("P14", "read the host's shared memory", "open(SHM).read()", "ENOENT EACCES"),
    Inside(
        "P15",
        "open disks, kvm, the host's memory, vsock, fuse or its terminals",
        """
names = ['kvm', 'vda', 'sda', 'nvme0n1', 'mem', 'vsock', 'fuse', 'net/tun', 'loop-control', 'uinput', 'ttyS0', 'tty1', 'snapshot']
each(lambda n: os.open('/dev/' + n, os.O_RDONLY | os.O_NONBLOCK), *names)
""",  # noqa: E501
        "ENOENT",
        armed=False,
    ),
    Inside(
        "P16",
        "outlive the command in a session of its own",
        _SURVIVE.format(start="subprocess.Popen(command, start_new_session=True, stdin=-3, stdout=-3, stderr=-3)"),
        "started",
    ),
    Inside(
        "P17",
        "find a secret in its environment",
        "if SECRET_NAME not in os.environ: refuse('absent')",
        "absent",
    ),
    Inside(
        "P18",
        "push input into a console",
        "main, other = os.openpty(); fcntl.ioctl(other, 0x541c, b'\\x03')",
        "EPERM",
        armed=False,
    ),
    Inside(
        "P19",
        "push input into a terminal by a number with high bits",
        "main, other = os.openpty(); syscall(16, 29, other, ctypes.c_ulong(1 << 32 | 0x5412), b'x')",
        "EPERM EIO",
        armed=False,
    ),
    Inside(
        "P20",
        "outlive the command as a daemon that forked twice",
        _SURVIVE.format(
            start="if os.fork() == 0:\n    os.setsid()\n"
            "    if os.fork() == 0: os.execv(command[0], command)\n    os._exit(0)"
        ),
        "started",
    ),
    Inside(
        "P21",
        "make a user namespace by clone3",
        """
arguments = ctypes.create_string_buffer(struct.pack('11Q', 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0))
syscall(435, 435, arguments, 88) or os._exit(0)
""",
        "ENOSYS EPERM ENOSPC",
    ),
    Inside("P22", "turn address randomisation off", "syscall(135, 92, 0x40000)", "EPERM"),
    Inside(
        "P23",
        "become another user",
        "each(lambda call: call(), lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]))",
        "EPERM EINVAL",
        armed=False,
    ),
    Inside("P24", "slow a process of the host down", "os.setpriority(os.PRIO_PROCESS, VICTIM, 19)", _UNREACHABLE),
    Inside(
        "P25", "limit a process of the host", "resource.prlimit(VICTIM, resource.RLIMIT_CORE, (0, 0))", _UNREACHABLE
    ),
    Inside("P26", "get hold of a process of the host", "os.pidfd_open(VICTIM)", _UNREACHABLE),
    Inside("P27", "see the command lines of the host", "open(f'/proc/{VICTIM}/cmdline').read()", _UNREACHABLE),
    Inside(
        "P28",
        "watch the processor's counters",
        "syscall(298, 241, ctypes.create_string_buffer(struct.pack('II', 0, 112), 112), 0, -1, -1, 0)",
        "EPERM EACCES",
        armed=False,
    ),
    Inside(
        "P29",
        "load a module, another kernel, or restart",
        """
calls = (175, 105), (313, 273), (176, 106), (246, 104), (320, 294), (169, 142)
each(lambda numbers: syscall(*numbers, 0, 0, 0, 0), *calls)
""",
        "EPERM",
        armed=False,
    ),
    Inside(
        "P30",
        "read the kernel's log",
        "syscall(103, 116, 3, ctypes.create_string_buffer(4096), 4096)",
        "EPERM",
        armed=False,
    ),
    Inside("P31", "set the clock", "time.clock_settime(time.CLOCK_REALTIME, time.time())", "EPERM", armed=False),
    Inside("P32", "set the host's name", "socket.sethostname(socket.gethostname())", "EPERM", armed=False),
    Inside(
        "P33",
        "steal descriptors of the first process inside",
        """
first = os.pidfd_open(1)
each(lambda fd: syscall(438, 438, first, fd, 0), *range(32))
""",
        "EPERM EACCES",
        armed=False,
    ),
    Inside(
        "P34",
        "write to the memory of the first process inside, or to what it has open",
        """
each(lambda p: open(p, 'r+b', buffering=0), '/proc/1/mem', *(f'/proc/1/fd/{n}' for n in range(3, 32)))
""",
        "ENOENT ENXIO EROFS EPERM EACCES",
        armed=False,
    ),
    Inside(
        "P35",
        "find processes of the host",
        """
if str(VICTIM) not in os.listdir('/proc'): refuse('absent')
""",
        "absent",
    ),
    Inside(
        "P36",
        "take the swap or accounting over",
        "each(lambda n: syscall(*n, b'/tmp/x', 0), (167, 224), (168, 225), (163, 89))",
        "EPERM",
        armed=False,
    ),
    Inside(
        "P37",
        "use the newer calls of the mount family",
        """
each(lambda call: syscall(*call), (430, 430, b'tmpfs', 0), (428, 428, -100, b'/', 1), (429, 429, -1, b'', -1, b'', 0),
     (442, 442, -100, b'/', 0, 0, 0), (155, 41, b'.', b'.'))
""",
        "EPERM",
        armed=False,
    ),
    Inside("P38", "end every process it can see", "os.kill(-1, 0)", "ESRCH", alone=True),
    Inside("P39", "find a controlling terminal", "os.open('/dev/tty', os.O_RDWR)", "ENXIO ENOENT EACCES", armed=False),
)
