"""Not attacks: what tests of ordinary projects do.  A sandbox in which these fail is safe and of no use."""

from tinsmith.workspace.attacks.attack import Inside

CONTROLS = (
    Inside(
        "C01",
        "write to /dev/stdout and /dev/stderr",
        "tool('/bin/sh', '-c', 'echo a > /dev/stdout; echo b > /dev/stderr')",
    ),
    Inside(
        "C02",
        "a pool of processes with shared memory",
        "import multiprocessing as m\n"
        "with m.get_context('fork').Pool(2) as pool: assert pool.map(abs, [-1, -2]) == [1, 2]\n"
        "value = m.Value('i', 3); assert value.value == 3",
    ),
    Inside(
        "C03",
        "asyncio with a subprocess and temporary files",
        """
import asyncio, tempfile
async def main():
    p = await asyncio.create_subprocess_exec('cat', stdin=-1, stdout=-1)
    out, _ = await p.communicate(b'hello')
    assert out == b'hello'
asyncio.run(main())
with tempfile.TemporaryDirectory() as d:
    with open(d + '/f', 'w') as f: f.write('x')
""",
    ),
    Inside(
        "C04",
        "git in a repository of its own",
        """
os.environ.update(GIT_AUTHOR_NAME='a', GIT_AUTHOR_EMAIL='a@b', GIT_COMMITTER_NAME='a', GIT_COMMITTER_EMAIL='a@b')
open('f', 'w').write('x')
tool('git', 'init', '-q', '.'); tool('git', 'add', '-A'); tool('git', 'commit', '-qm', 'm')
assert 'm' in tool('git', 'log', '--oneline') and tool('git', 'status', '--short') == ''
""",
    ),
    Inside(
        "N10",
        "a server and a client on its own loopback, IPv4 and UNIX",
        """
s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname(), 3)
u = socket.socket(1); u.bind('own'); u.listen(); socket.socket(1).connect('own')
""",
    ),
    Inside(
        "C05",
        "sqlite with locks in the copy",
        "import sqlite3; c = sqlite3.connect('d.db'); c.execute('create table t (a)'); c.commit(); c.close()",
    ),
    Inside(
        "C06",
        "links, modes, times and renames in the copy",
        "open('a', 'w'); os.symlink('a', 'l'); os.link('a', 'h'); os.chmod('a', 0o755); os.utime('a', (1, 1)); "
        "os.rename('a', 'b'); os.mkfifo('p'); assert os.access('b', os.X_OK) and os.readlink('l') == 'a'",
    ),
    Inside(
        "C07",
        "threads, signals and timers",
        """
import threading
t = threading.Thread(target=time.sleep, args=(0.01,)); t.start(); t.join()
seen = []; signal.signal(signal.SIGALRM, lambda *_: seen.append(1)); signal.setitimer(signal.ITIMER_REAL, 0.01)
time.sleep(0.1); assert seen
""",
    ),
    Inside(
        "C08",
        "a terminal of its own",
        "main, other = os.openpty(); os.write(other, b'x'); assert os.read(main, 1) == b'x'",
    ),
    Inside(
        "C09",
        "names of users and of the machine",
        "import pwd; pwd.getpwuid(os.getuid()); socket.getaddrinfo('localhost', 80)",
    ),
    Inside(
        "C10",
        "random numbers, time zones and locales",
        "import locale, random, secrets; secrets.token_hex(); time.tzset(); locale.setlocale(locale.LC_ALL, '')",
    ),
    Inside(
        "C11",
        "reserve much memory and touch little",
        "import mmap; m = mmap.mmap(-1, 4 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000); m[0] = 1",
    ),
    Inside(
        "C12",
        "a file of a hundred megabytes in the copy",
        f"f = open('f', 'wb')\nfor _ in range(100): f.write(b'x' * {1 << 20})",
    ),
    Inside("C13", "a thousand files in the copy", "for n in range(1000): open(str(n), 'w').close()"),
    Inside(
        "C14",
        "a hundred processes at once",
        "c = [subprocess.Popen(['sleep', '0.5']) for _ in range(100)]; assert not any(p.wait() for p in c)",
        slow=True,
    ),
)
