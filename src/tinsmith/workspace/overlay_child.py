"""The short-lived process that mounts an overlay in namespaces of its own (see `tinsmith.workspace.overlay`)."""

import os
import signal
import sys

from tinsmith.workspace import namespaces


def main() -> None:
    """Mounts DIRECTORY/upper (argv[3]) over a tree (argv[2]).

    Answers `namespaces`, is given its ids, answers `mounted`, and waits to be looked into until its input ends.
    """
    lower, directory = sys.argv[2:]
    namespaces.die_with_parent(signal.SIGKILL)
    try:
        namespaces.unshare(namespaces.NEWUSER | namespaces.NEWNS)
        namespaces.set_dumpable(True)  # or an ordinary user could not open what we made
        _say("namespaces")
        sys.stdin.buffer.readline()
        # What is unmounted outside must not be held by us.
        namespaces.mount(None, "/", None, namespaces.REC | namespaces.SLAVE)
        # By descriptor, as a path may hold a comma or a colon; opened here, as they must belong to this namespace.
        below = os.open(lower, os.O_RDONLY | os.O_DIRECTORY)
        above = os.open(f"{directory}/upper", os.O_RDONLY | os.O_DIRECTORY)
        work = os.open(f"{directory}/work", os.O_RDONLY | os.O_DIRECTORY)
        layers = f"lowerdir=/proc/self/fd/{below},upperdir=/proc/self/fd/{above},workdir=/proc/self/fd/{work}"
        options = f"{layers},userxattr"
        namespaces.mount("overlay", f"{directory}/tree", "overlay", namespaces.NOSUID | namespaces.NODEV, options)
    except OSError as error:
        sys.exit(str(error))
    _say("mounted")
    sys.stdin.buffer.readline()


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()
