"""Holds a `llama-server` binary: starts it, says when it has loaded the model, ends with it, ends it with us.

Runs as a file (`python -I llama_server_child.py`), imports nothing of Tinsmith and obeys the contract of
`llama_child.py`, with two more orders: `binary`, and `arguments` that come after ours and so win. The server
gets its key from a pipe: it is never in argv or the environment. A server that ended by a signal is told by
ending by that signal.
"""

import contextlib
import http.client
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from types import FrameType
from typing import Any

PORTS = 5
"""How many ports are tried: another process may take a free one before the server does."""


def main() -> None:
    """Serves until stdin closes, which is how a parent that died by any cause is noticed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the parent, which then ends us
    signal.signal(signal.SIGTERM, _leave)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, _wake)
    signal.set_wakeup_fd(woken)  # so that the end of the server ends a select
    orders: dict[str, Any] = json.loads(sys.stdin.readline())
    if orders["parent_death"]:
        _die_with_parent()
    server = None
    try:
        for _ in range(PORTS):
            port = _free_port()
            server = _start(orders, port)
            if _await_model(server, port, orders["key"], wake):
                print(json.dumps({"port": port}), flush=True)
                _watch(server, wake)
                break
            server.kill()
            server.wait()
            if not _is_taken(port):
                break
    except OSError as error:
        print(f" E {orders['binary']} cannot be executed: {error}", file=sys.stderr, flush=True)
        os._exit(4)
    finally:
        if server is not None:
            server.kill()
            server.wait()
    assert server is not None
    _end_as(server.returncode)


def _start(orders: dict[str, Any], port: int) -> subprocess.Popen[bytes]:
    key_out, key_in = os.pipe()
    os.write(key_in, orders["key"].encode() + b"\n")
    os.close(key_in)
    options = {
        "--model": orders["model"],
        "--ctx-size": orders["context"],
        "--parallel": 1,
        "--threads": orders["decode_threads"],
        "--threads-batch": orders["threads"],
        "--batch-size": orders["batch"],
        "--ubatch-size": orders["batch"],
        "--cache-ram": orders["cache_mib"],
        "--host": "127.0.0.1",
        "--port": port,
        "--api-key-file": f"/dev/fd/{key_out}",
        "--log-verbosity": 1,
    }
    argv = [str(part) for option in options.items() for part in option]
    try:
        return subprocess.Popen(
            [orders["binary"], *argv, "--no-webui", *orders["arguments"]],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            pass_fds=[key_out],
            preexec_fn=_die_with_parent,  # this process has one thread
        )
    finally:
        os.close(key_out)


def _await_model(server: subprocess.Popen[bytes], port: int, key: str, wake: int) -> bool:
    """Whether the server has loaded its model; False where it ended. There is no limit: a large file takes long."""
    started = told = time.monotonic()
    while not _over(server, wake, 0.05):
        if _status(port, "/health", key) == 200:
            # A server that accepts our key and refuses another is ours, whoever else listens on loopback.
            return _status(port, "/props", key) == 200 and _status(port, "/props", key + "x") == 401
        now = time.monotonic()
        if now - told >= 5:
            told = now
            print(json.dumps({"loading": round(now - started)}), flush=True)
    return False


def _watch(server: subprocess.Popen[bytes], wake: int) -> None:
    while not _over(server, wake, None):
        pass


def _over(server: subprocess.Popen[bytes], wake: int, seconds: float | None) -> bool:
    """Whether the server has ended, after waiting at most so long. Leaves where our parent has ended."""
    ready, _, _ = select.select([sys.stdin, wake], [], [], seconds)
    if sys.stdin in ready:
        _leave()
    if wake in ready:
        os.read(wake, 100)
    return server.poll() is not None


def _status(port: int, path: str, key: str) -> int | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}", "Connection": "close"})
        return connection.getresponse().status
    return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _leave(number: int = 0, frame: FrameType | None = None) -> None:
    sys.exit(0)


def _wake(number: int, frame: FrameType | None) -> None:
    """Nothing: that there is a handler makes the signal write to the wake-up pipe."""


def _die_with_parent() -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; it survives exec


def _end_as(status: int) -> None:
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


if __name__ == "__main__":
    main()
