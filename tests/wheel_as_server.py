"""A stand-in for the `llama-server` binary: real llama.cpp out of the wheel, behind the binary's command line.

So that what starts, watches and ends a binary is tested on machines that have none. What it is told through its
environment: FAKE_SERVER_SAYS, a line to write on stderr before it ends with status 1.
"""

import os
import sys
import threading
from pathlib import Path
from typing import Any

KNOWN = {
    "--model", "--ctx-size", "--parallel", "--threads", "--threads-batch", "--batch-size", "--ubatch-size",
    "--cache-ram", "--host", "--port", "--api-key-file", "--log-verbosity", "--n-gpu-layers",
    "--cache-type-k", "--cache-type-v", "--n-cpu-moe",
}  # fmt: skip


def write_binary(place: Path, says: str = "") -> Path:
    """An executable `llama-server` in `place`, which must not hold one yet."""
    path = place / "llama-server"
    path.write_text(f"#!/bin/sh\nFAKE_SERVER_SAYS='{says}' exec '{sys.executable}' '{Path(__file__)}' \"$@\"\n")
    path.chmod(0o755)
    return path


def options(arguments: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    rest = [argument for argument in arguments if argument != "--no-webui"]
    for name, value in zip(rest[::2], rest[1::2], strict=True):
        if name not in KNOWN:
            print(f"error: invalid argument: {name}", file=sys.stderr, flush=True)
            sys.exit(1)
        found[name] = value
    return found


def main() -> None:
    if os.environ.get("FAKE_SERVER_SAYS"):
        print(os.environ["FAKE_SERVER_SAYS"], file=sys.stderr, flush=True)
        sys.exit(1)
    given = options(sys.argv[1:])
    import xllamacpp

    p: Any = xllamacpp.CommonParams()
    p.model.path = given["--model"]
    p.n_ctx, p.n_parallel = int(given["--ctx-size"]), int(given["--parallel"])
    p.n_batch = p.n_ubatch = int(given["--batch-size"])
    p.cpuparams.n_threads = int(given["--threads"])
    p.cpuparams_batch.n_threads = int(given["--threads-batch"])
    for side in "kv":
        kind = given.get(f"--cache-type-{side}", "f16").upper()
        setattr(p, f"cache_type_{side}", getattr(xllamacpp.ggml_type, f"GGML_TYPE_{kind}"))
    p.cache_ram_mib = int(given["--cache-ram"])
    p.hostnames, p.port = [given["--host"]], int(given["--port"])
    p.api_keys = [Path(given["--api-key-file"]).read_text().strip()]
    p.ui, p.verbosity = False, int(given["--log-verbosity"])
    server: Any = xllamacpp.Server(p)
    assert server is not None
    threading.Event().wait()


if __name__ == "__main__":
    main()
