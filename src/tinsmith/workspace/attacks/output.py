"""Attacks through what a command prints: sequences that a terminal would obey, and forged reports of how it ended."""

from tinsmith.workspace.attacks.attack import Inside, Seen

_PAYLOAD = {
    "O01": ("set the terminal's title", b"\x1b]0;owned\x07"),
    "O02": ("write to the clipboard", b"\x1b]52;c;cm0gLXJmIC8=\x07"),
    "O03": ("hide a link behind another text", b"\x1b]8;;http://attacker.example\x1b\\harmless\x1b]8;;\x1b\\"),
    "O04": ("move the cursor and overwrite what was said", b"FAILED\x1b[1A\x1b[2K\x1b[32mPASSED\x1b[0m"),
    "O05": ("ask the terminal to type an answer", b'\x1b[6n\x1b[c\x1bP$q"p\x1b\\\x1b[21t'),
    "O06": ("use 8-bit controls", b"\x9b2J\x9d0;owned\x9c\x90payload\x9c"),
    "O07": ("use 8-bit controls written in UTF-8", b"\xc2\x9b2J\xc2\x9d0;owned\xc2\x9c"),
    "O08": ("never close a sequence", b"\x1b]0;owned " + b"A" * 64),
    "O09": (
        "overwrite by backspace and carriage return",
        b"rm -rf /\x08\x08\x08\x08\x08\x08\x08\x08ls      \rls -l   ",
    ),
    "O10": (
        "put a sequence together from what is left when others are removed",
        b"\xc2\x1b[m\x9b2J \xc2\x00\x9b2J \xc2\xc2\x9b\x9b2J",
    ),
    "O11": ("nest a sequence in another", b"\x1b\x1b[31m[2J\x1b]0;a\x1b]0;b\x07\x07\x1b[\x1b[m2J"),
    "O12": ("change the order of letters shown", "access\u202e\u2066// admin\u2069\u2066".encode()),
    "O13": ("load a file into the terminal", b"\x1b]1337;File=inline=1:QUFB\x07\x1b_Gf=100;QUFB\x1b\\"),
    "O14": ("ring and switch the character set", b"\x07\x0e\x0f\x1b(0\x1b)0\x1b%G"),
}
_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"


def _clean(seen: Seen) -> str | None:
    done = seen.completed
    if b"begin " not in done.output or b" end" not in done.output:
        return "what was printed beside it is lost"
    text = done.output.decode(errors="replace")
    left = {c for c in text if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 or c in _BIDI}
    return f"let through: {', '.join(f'U+{ord(c):04X}' for c in sorted(left))}" if left else None


def _split(seen: Seen) -> str | None:
    done = seen.completed
    return None if b"\x1b" not in done.output and b"\x07" not in done.output else "let through: a sequence cut in two"


def _honest_status(seen: Seen) -> str | None:
    done = seen.completed
    return None if done.returncode == 3 else f"the status 3 became {done.returncode}"


OUTPUT = (
    *(
        Inside(id, what, f"os.write(1, b'begin ' + {payload!r} + b'\\n end\\n')", judge=_clean, armed=False)
        for id, (what, payload) in _PAYLOAD.items()
    ),
    Inside(
        "O15",
        "hide a sequence where long output is cut",
        "for shift in range(40): os.write(1, b'x' * 997 + b'\\x1b]52;c;cm0=\\x07' * 3)",
        limits={"output_kept": 4096},
        judge=_split,
        armed=False,
    ),
    Inside(
        "O16",
        "forge the exit status",
        """
for fd in range(3, 64):
    try: os.write(fd, b'{"exit-code": 0}\\n')
    except OSError: pass
for path in glob.glob('/proc/*/fd/*'):
    try: os.write(os.open(path, os.O_WRONLY | os.O_NONBLOCK), b'{"exit-code": 0}\\n')
    except OSError: pass
print('{"exit-code": 0}', flush=True)
os._exit(3)
""",
        judge=_honest_status,
        armed=False,
    ),
)
