"""Fuzzes the reading of GGUF headers, guided by coverage: `python -m proofs.fuzz_gguf --inputs 200000 --seed 1`.

Every input is read or refused with InputError `model_unreadable`, which names the byte; anything else is a crash, as
are more than 256 MiB of memory and more than 10 seconds. Half of the inputs are the fuzzer's bytes as they come, half
are valid files with the fuzzer's bytes as metadata and tensors, so that it reaches beyond the counts. Needs `atheris`,
which has wheels for CPython 3.11 to 3.13 on Linux.
"""

import argparse
import contextlib
import importlib
import importlib.util
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.gguf_bytes import ARCHITECTURE, METADATA, gguf_bytes

_MIB = 256
_SECONDS = 10


def main() -> int:
    """0 where no input crashed, 1 where one did or the fuzzer is missing; ends with one line of verdict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside is not None:
        return _fuzz(options.inside, options.inputs, options.seed)
    if importlib.util.find_spec("atheris") is None:
        print("fuzz_gguf: failed: `atheris` is not installed for this interpreter (pip install atheris)")
        return 1
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        begun = time.monotonic()
        # Outside of a child a crash of the interpreter would take the verdict with it.
        told = subprocess.run(
            [sys.executable, "-m", "proofs.fuzz_gguf", "--inside", str(work), *sys.argv[1:]],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - begun
        done = re.search(r"Done (\d+) runs", told.stderr) or re.search(r"executed_units: *(\d+)", told.stderr)
        covered = re.findall(r"ft: (\d+) corp: (\d+)", told.stderr)
        crashes = sorted(work.glob("crash-*")) + sorted(work.glob("oom-*")) + sorted(work.glob("timeout-*"))
        for crash in crashes:
            shutil.copy(crash, ".")
            print(f"kept {crash.name}")
        if told.returncode or crashes or done is None:
            print(told.stderr[-4000:])
            print(f"fuzz_gguf: failed: the fuzzer ended with {told.returncode} and {len(crashes)} crashing inputs")
            return 1
        features, corpus = covered[-1] if covered else ("?", "?")
        print(
            f"fuzz_gguf: passed: {int(done[1]):,} inputs, {features} features in a corpus of {corpus}, "
            f"{seconds:.0f} s, seed {options.seed}; all read or refused with the byte"
        )
    return 0


def _fuzz(work: Path, inputs: int, seed: int) -> int:
    """Runs the fuzzer, which ends this process."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["tinsmith.models", "tinsmith.errors"]):
        from tinsmith.errors import InputError
        from tinsmith.models import GGUFHeader, read_layout

        for lazy in ("gguf_geometry", "weights"):
            importlib.import_module(f"tinsmith.models.{lazy}")

    corpus = work / "corpus"
    corpus.mkdir()
    for i, valid in enumerate((gguf_bytes(), gguf_bytes(version=2), gguf_bytes(METADATA[:3], []))):
        (corpus / f"valid{i}").write_bytes(b"\0" + valid)
        (corpus / f"inner{i}").write_bytes(b"\1" + b"".join(METADATA[1 : 3 + i]))
    file = os.memfd_create("gguf")
    path = Path(f"/proc/self/fd/{file}")
    resource.setrlimit(resource.RLIMIT_AS, ((_MIB << 20) * 16,) * 2)  # the fuzzer's own shadow included

    def one(data: bytes) -> None:
        kind, body = data[:1], data[1:]
        raw = body if kind < b"\1" else gguf_bytes([ARCHITECTURE, body], [], key_count=1 + ord(kind) % 8)
        os.ftruncate(file, 0)
        os.pwrite(file, raw, 0)
        try:
            layout = read_layout(path)
            for key in layout.metadata:
                layout.value(key)
            layout.geometry()
            layout.weights()
            assert GGUFHeader(path).vocabulary.size
        except InputError as error:
            assert error.code == "model_unreadable", error.code

    arguments = ["fuzz_gguf", f"-runs={inputs}", f"-seed={seed}", f"-rss_limit_mb={_MIB}", f"-timeout={_SECONDS}"]
    arguments += ["-max_len=1024", f"-artifact_prefix={work}/", "-print_final_stats=1", str(corpus)]
    atheris.Setup(arguments, one)
    with contextlib.suppress(SystemExit):
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
