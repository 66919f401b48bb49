"""Inside the sandbox: listens on 127.0.0.1, passes each connection on to a UNIX socket, and starts a command.

    PYTHON -I -S tinsmith_forwarder.py SOCKET COMMAND ...

Standard library only, Python 3.8 and later.  The command takes the place of this process, so that its exit status and
signals are its own; the forwarder is a grandchild that nobody waits for and that ends with the sandbox.
"""

from __future__ import annotations

import os
import socket
import sys
import threading

_CHUNK = 1 << 16


def main() -> None:
    path, *command = sys.argv[1:]
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            _detach()
            serve(listener, path)
        os._exit(0)
    os.waitpid(child, 0)
    listener.close()
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        os.environ[name] = url
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "localhost,127.0.0.1,::1"
    try:
        os.execvp(command[0], command)
    except FileNotFoundError:
        status = 127
    except OSError:
        status = 126
    sys.stderr.write(f"{command[0]}: cannot be started\n")
    sys.exit(status)


def _detach() -> None:
    """The command's output ends when the command does."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)


def serve(listener: socket.socket, path: str) -> None:
    while True:
        client, _ = listener.accept()
        proxy = socket.socket(socket.AF_UNIX)
        try:
            proxy.connect(path)
        except OSError:
            client.close()
            proxy.close()
            continue
        for source, target in ((client, proxy), (proxy, client)):
            threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    """To the end of the stream; each socket is closed when both directions have let go of it."""
    try:
        while True:
            data = source.recv(_CHUNK)
            if not data:
                break
            target.sendall(data)
    except OSError:
        # The other direction must not wait for a peer that is gone.
        _shut(source, socket.SHUT_RDWR)
    _shut(target, socket.SHUT_WR)


def _shut(one: socket.socket, how: int) -> None:
    try:
        one.shutdown(how)
    except OSError:
        return


if __name__ == "__main__":
    main()
