"""Attacks on what the machine has: memory, disk, processes, output, time.  Limits are tight, so each is short."""

from collections.abc import Callable

from tinsmith.workspace.attacks.attack import Inside, Seen

MIB = 1 << 20
_FORKS = """
held, children = 0, []
try:
    while held < 300:
        child = os.fork()
        if child == 0:
            time.sleep(8); os._exit(0)
        children.append(child); held += 1
finally:
    for child in children: os.kill(child, 9)
"""


def _killed(seen: Seen) -> str | None:
    done = seen.completed
    if done.timed_out and done.returncode == 137 and done.seconds < 15:
        return None
    return f"ended with {done.returncode} after {done.seconds:.0f} s"


def _runaway(seen: Seen) -> str | None:
    done = seen.completed
    if done.returncode != 137 or done.timed_out or done.seconds > 20:
        return f"ended with {done.returncode} after {done.seconds:.0f} s"
    return None if len(done.output) < 3 * MIB else f"{len(done.output)} bytes were kept"


def _bounded(seen: Seen) -> str | None:
    """A fork bomb may end by itself or by the clock; what counts is that it ended, and that nothing is left."""
    return None if seen.completed.seconds < 25 else f"it took {seen.completed.seconds:.0f} s"


def _stopped_for(limit: str, *, most_bytes: int = 1 << 50, most_files: int = 1 << 30) -> Callable[[Seen], str | None]:
    """Killed for this limit, and not long after it was passed."""

    def judge(seen: Seen) -> str | None:
        if seen.completed.killed_for != limit:
            return f"ended with {seen.completed.returncode}, not killed for {limit}"
        if seen.bytes > most_bytes or seen.files > most_files:
            return f"{seen.bytes >> 20} MiB in {seen.files} files were left on the disk"
        return None

    return judge


def _grow(directory: str, mebibytes: int) -> str:
    return f"""
for number in range({mebibytes}):
    with open(os.path.join({directory}, f'fill-{{number // 16}}'), 'ab', buffering=0) as f: f.write(b'x' * {MIB})
"""


RESOURCES = (
    Inside(
        "R01",
        "take more memory than a process may",
        "import mmap; mmap.mmap(-1, 1 << 36, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000)",
        "ENOMEM",
    ),
    Inside(
        "R02",
        "write a file larger than the limit",
        f"f = open('big', 'wb', buffering=0)\nfor _ in range(64): f.write(b'x' * {MIB})",
        "EFBIG",
        limits={"file_size": 16 * MIB},
    ),
    Inside("R03", "fill /tmp", _grow("'/tmp'", 64), "ENOSPC", limits={"tmp": 16 * MIB}),
    Inside(
        "R04",
        "print without end",
        "while True: os.write(1, b'y\\n' * 32768)",
        limits={"output_runaway": 16 * MIB},
        judge=_runaway,
        armed=False,
    ),
    Inside("R05", "start processes without end", _FORKS, "EAGAIN", limits={"processes": 100}, slow=True),
    Inside("R06", "compute without end", "while True: pass", timeout=1, judge=_killed, armed=False),
    Inside(
        "R07",
        "fill the disk through the copy",
        _grow("WORK", 512),
        limits={"disk": 32 * MIB},
        judge=_stopped_for("disk", most_bytes=256 * MIB),
        slow=True,
    ),
    Inside(
        "R08",
        "use up the inodes through the copy",
        "for number in range(60_000):\n    if number % 500 == 0: os.mkdir(f'{number // 500}')\n"
        "    open(f'{number // 500}/{number}', 'w').close()",
        limits={"inodes": 2000},
        judge=_stopped_for("inodes", most_files=30_000),
        slow=True,
    ),
    Inside(
        "R09",
        "fill the home directory inside",
        _grow("os.environ['HOME']", 64),
        "ENOSPC",
        limits={"home": 16 * MIB},
        armed=False,
    ),
    Inside(
        "R10",
        "fill the shared memory",
        _grow("'/dev/shm'", 64),
        "ENOSPC",
        limits={"shared_memory": 16 * MIB},
        armed=False,
    ),
    Inside("R11", "open files without end", "keep = [os.dup(0) for _ in range(5000)]", "EMFILE", armed=False),
    Inside(
        "R12",
        "make a huge file without writing it",
        "os.truncate(os.open('s', os.O_RDWR | os.O_CREAT), 1 << 42)",
        "EFBIG",
    ),
    Inside(
        "R13",
        "reserve a huge file",
        "os.posix_fallocate(os.open('s', os.O_RDWR | os.O_CREAT), 0, 1 << 36)",
        "EFBIG ENOSPC",
        armed=False,
    ),
    Inside(
        "R14",
        "raise its own limits",
        """
for name in ('NPROC', 'AS', 'FSIZE', 'NOFILE', 'CORE'):
    number = getattr(resource, 'RLIMIT_' + name)
    soft, hard = resource.getrlimit(number)
    if hard == resource.RLIM_INFINITY: raise RuntimeError(name + ' has no limit')
    try: resource.setrlimit(number, (hard, hard + 1))
    except ValueError: continue
    raise RuntimeError(name + ' was raised')
refuse('EPERM')
""",
        "EPERM",
        armed=False,
    ),
    Inside("R15", "leave a core file", "if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0: refuse('none')", "none"),
    Inside(
        "R16",
        "stop itself so that it never ends",
        "os.write(1, b'begun\\n'); os.kill(os.getpid(), signal.SIGSTOP)",
        timeout=1,
        judge=_killed,
        armed=False,
        slow=True,
    ),
    Inside(
        "R17",
        "ignore every signal and wait",
        "for number in (1, 2, 3, 13, 15): signal.signal(number, signal.SIG_IGN)\n"
        "if os.fork() == 0: os.setsid()\n"
        "os.execvp('sleep', ['sleep', MARKER])",
        timeout=1,
        judge=_killed,
        armed=False,
        slow=True,
    ),
    Inside(
        "R18",
        "start threads without end",
        """
import threading
threading.stack_size(65536)
gate = threading.Event()
try:
    for _ in range(2000): threading.Thread(target=gate.wait, daemon=True).start()
except RuntimeError: refuse('EAGAIN')
finally: gate.set()
""",
        "EAGAIN",
        limits={"processes": 100},
        slow=True,
        armed=False,
    ),
    Inside(
        "R19",
        "a fork bomb that nobody waits for",
        "while True:\n    try: os.fork()\n    except OSError: pass",
        limits={"processes": 100},
        timeout=3,
        judge=_bounded,
        slow=True,
        armed=False,
    ),
    Inside(
        "R20",
        "fill the memory by many processes, each within its limit",
        """
children = []
for _ in range(8):
    child = os.fork()
    if child == 0:
        block = b'x' * (192 << 20); time.sleep(3); os._exit(0)
    children.append(child)
for child in children: os.waitpid(child, 0)
""",
        limits={"memory": 512 * MIB},
        timeout=30,
        judge=_stopped_for("memory"),
        slow=True,
    ),
    Inside(
        "R21",
        "fill the memory by files without names",
        "fds = [os.memfd_create(str(n)) for n in range(24)]\n"
        f"for fd in fds:\n    for _ in range(64): os.write(fd, b'x' * {MIB})",
        limits={"memory": 512 * MIB},
        judge=_stopped_for("memory"),
        slow=True,
    ),
)
