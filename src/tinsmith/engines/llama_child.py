"""The child process that holds llama.cpp: orders on stdin, serves on loopback, ends when stdin closes.

Runs as a file (`python -I llama_child.py`) and imports nothing of Tinsmith, so it starts fast and finds
`xllamacpp` wherever the interpreter does. First line of stdin: a JSON object {model, context, threads,
decode_threads, key, batch, cache_mib, parent_death}, with a plan also {cache_key, cache_value}. The key is never
in argv or the environment. First line of stdout: {"port": N} once the model is loaded. A load failure is one text
whatever its cause; the reason is on stderr.
"""

import importlib
import json
import os
import signal
import sys
from typing import Any


def main() -> None:
    """Serves until stdin closes, which is how a parent that died by any cause is noticed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C belongs to the parent, which then ends us
    orders: dict[str, Any] = json.loads(sys.stdin.readline())
    if orders["parent_death"] and sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, beside the closing of stdin
    try:
        xllamacpp: Any = importlib.import_module("xllamacpp")
    except ImportError as error:
        print(f" E xllamacpp cannot be imported: {error}", file=sys.stderr, flush=True)
        os._exit(4)
    p: Any = xllamacpp.CommonParams()
    p.model.path = orders["model"]
    p.n_ctx = orders["context"]
    p.n_parallel = 1
    p.n_batch = p.n_ubatch = orders["batch"]
    p.cpuparams.n_threads = orders["decode_threads"]
    p.cpuparams_batch.n_threads = orders["threads"]
    p.hostnames, p.port, p.api_keys = ["127.0.0.1"], 0, [orders["key"]]
    p.cache_ram_mib = orders["cache_mib"]
    if "cache_key" in orders:
        p.cache_type_k = _cache_type(xllamacpp, orders["cache_key"])
        p.cache_type_v = _cache_type(xllamacpp, orders["cache_value"])
    p.ui = False
    p.verbosity = 1
    server: Any = xllamacpp.Server(p)
    print(json.dumps({"port": int(str(server.listening_address).rsplit(":", 1)[1])}), flush=True)
    sys.stdin.read()
    os._exit(0)  # destroying the server while a stream is open hangs


def _cache_type(xllamacpp: Any, name: str) -> Any:
    return getattr(xllamacpp.ggml_type, f"GGML_TYPE_{name.upper()}")


if __name__ == "__main__":
    main()
