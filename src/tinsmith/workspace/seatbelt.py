"""The sandbox profile of a policy for macOS, as text for `sandbox-exec -f`.

It is generated and tested as text only: it was never run, and `Sandbox.find` refuses on macOS.  The language (SBPL) is
not documented by Apple; operations and filters are those of the profiles in /System/Library/Sandbox/Profiles.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from tinsmith.errors import InputError

_SYSTEM = (
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/lib",
    "/usr/libexec",
    "/usr/sbin",
    "/usr/share",
    "/System/Library",
    "/System/Cryptexes",
    "/Library/Apple",
    "/Library/Developer/CommandLineTools",
    "/opt/homebrew",
    "/private/var/db/timezone",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom", "/dev/dtracehelper")
_SYSCTL = ("hw.", "kern.osrelease", "kern.ostype", "kern.version", "kern.argmax", "kern.boottime", "machdep.cpu.")


def profile(readable: Sequence[Path], writable: Sequence[Path]) -> str:
    """A profile that refuses everything but the system's programs, `readable`, and reading and writing `writable`.

    There is no network and no service of the system but what every program needs to start; signals reach processes of
    the same sandbox only.  Raises InputError `path_unusable` for a path that cannot stand in a profile.
    """
    lines = [
        "(version 1)",
        "(deny default)",
        "(deny network*)",
        "(allow process-fork)",
        "(allow signal (target same-sandbox))",
        "(allow process-info* (target same-sandbox))",
        "(allow file-read-metadata)",
        *(f"(allow sysctl-read (sysctl-name-prefix {_quoted(name)}))" for name in _SYSCTL),
        '(allow file-read* (literal "/"))',
        f"(allow file-read* process-exec {_subpaths([*map(Path, _SYSTEM), *readable, *writable])})",
        f"(allow file-write* {_subpaths(writable)})" if writable else "",
        f"(allow file-read* file-write-data {' '.join(f'(literal {_quoted(name)})' for name in _DEVICES)})",
        # The last rule that matches decides, so this holds inside of what is writable.
        r'(deny file-write* (regex #"/\.git(/|$)"))',
        "(deny file-write-setugid)",
    ]
    return "\n".join(line for line in lines if line) + "\n"


def _subpaths(paths: Sequence[Path]) -> str:
    # The kernel compares real paths: /tmp is /private/tmp there.
    real = dict.fromkeys(os.path.realpath(path) for path in paths)
    for path in real:
        if path == "/":
            raise InputError("path_unusable", "a sandbox cannot open the whole machine", "Name a directory below /.")
    return " ".join(f"(subpath {_quoted(path)})" for path in real)


def _quoted(text: str) -> str:
    if not text.isprintable():
        raise InputError(
            "path_unusable", f"{text!r} has characters that cannot stand in a sandbox profile", "Rename the directory."
        )
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
