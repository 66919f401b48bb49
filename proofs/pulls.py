"""Kills downloads by SIGKILL at random moments and resumes them. `make prove-pulls`.

`tinsmith models pull` runs against servers on loopback that speak the protocols of a hub and of Ollama's registry, from
the first request to the last rename; a single file, a split one, one of Ollama and a plain URL take turns. The servers
are slow enough that a kill finds bytes under way. After each kill whatever stands under `files/` must have the sum that
its directory is called by, and a model that has a name must be whole. Then the same command is run again (every third
time it is killed once more before that): the model must have the right bytes, and no part, lock or other file may be
left. `tinsmith models remove` must then leave an empty store.
"""

import argparse
import hashlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.fake_hub import BLOCK, FakeHub, FakeOllama, FakeServer, Fault

from tinsmith.models import Store

KINDS = ("hub", "split", "ollama", "url")
PATIENCE = 60.0
"""Seconds in which an undisturbed pull must be done."""


@dataclass
class Result:
    """What `kill_and_resume` found."""

    moments: Counter[str] = field(default_factory=Counter[str])
    """What a kill found: how far the pull was."""
    resumed: int = 0
    """Downloads that went on in the middle of a file."""
    spared: int = 0
    """Bytes that did not come twice."""
    wrong: list[str] = field(default_factory=list[str])


class Servers:
    """All the servers, entered as one."""

    def __init__(self, pause: float) -> None:
        self.hub, self.ollama, self.plain = FakeHub(), FakeOllama(), FakeServer()
        self._all: tuple[FakeServer, ...] = (self.hub, self.ollama, self.plain)
        for server in (self.hub.cdn, self.ollama.cdn, self.plain):
            server.pause = pause

    def __enter__(self) -> "Servers":
        for server in self._all:
            server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        for server in self._all:
            server.__exit__(None, None, None)

    def offer(self, kind: str, content: bytes) -> tuple[str, list[bytes]]:
        """What to pull to get a model with this content, and its files."""
        files = [content]
        if kind == "ollama":
            self.ollama.models = {"library/m:latest": content}
            return "ollama:m", files
        if kind == "url":
            self.plain.blobs = {"/m.gguf": content}
            return f"{self.plain.url}/m.gguf", files
        names = ["m-Q4_K_M.gguf"]
        if kind == "split":
            third = len(content) // 3
            files = [content[:third], b"GGUF" + content[third : 2 * third], b"GGUF" + content[2 * third :]]
            names = [f"m-Q4_K_M-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
        self.hub.repositories = {"owner/repo": dict(zip(names, files, strict=True))}
        return "hf:owner/repo:Q4_K_M", files

    def requests(self) -> int:
        return sum(len(server.seen) for server in (*self._all, self.hub.cdn, self.ollama.cdn))

    def ranges(self) -> list[int]:
        """Where the requests began that asked for the rest of a file; forgets them."""
        found: list[int] = []
        for server in (self.hub.cdn, self.ollama.cdn, self.plain):
            asked = (seen.headers.get("range", "") for seen in server.seen)
            found += [int(text.removeprefix("bytes=").rstrip("-")) for text in asked if text]
            server.seen.clear()
        return found


def kill_and_resume(place: Path, kills: int, seed: int, *, size: int = 600_000, pause: float = 0.01) -> Result:
    """`kills` pulls killed and resumed in the state directory `place`."""
    chance, result = random.Random(seed), Result()
    # From the first request to the end: the bytes, and some for the rest.
    duration = size / BLOCK * pause * 1.15 + 0.1
    with Servers(pause) as servers:
        for number in range(kills):
            kind = KINDS[number % len(KINDS)]
            what, files = servers.offer(kind, b"GGUF" + chance.randbytes(size))
            if number % 5 == 0:
                # Now and then the connection breaks as well.
                server = {"ollama": servers.ollama.cdn, "url": servers.plain}.get(kind, servers.hub.cdn)
                server.faults.append(Fault(drop=chance.randrange(size // 3)))
            for _ in range(2 if number % 3 == 2 else 1):
                process = _pull(place, servers, what)
                _wait_for_request(servers, servers.requests(), process)
                time.sleep(chance.uniform(0, duration))
                process.send_signal(signal.SIGKILL)
                process.wait()
                result.moments[_check_killed(place, files, f"{number} {kind}", result)] += 1
            servers.ranges()
            code = _pull(place, servers, what).wait(PATIENCE)
            ranges = servers.ranges()
            result.resumed += bool(ranges)
            result.spared += sum(ranges)
            _check_whole(place, files, code, f"{number} {kind}", result)
    return result


def _pull(place: Path, servers: Servers, what: str) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "TINSMITH_STATE_DIR": str(place),
        "TINSMITH_HUB": servers.hub.url,
        "TINSMITH_OLLAMA_REGISTRY": servers.ollama.url,
        "TINSMITH_OFFLINE": "0",
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-m", "tinsmith.cli", "models", "pull", what, "--name", "m", "--json"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wait_for_request(servers: Servers, before: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while servers.requests() == before and process.poll() is None and time.monotonic() < until:
        time.sleep(0.005)


def _check_killed(place: Path, files: list[bytes], name: str, result: Result) -> str:
    """How far it was; whatever looks whole must be."""
    store = Store(place)
    sums = [hashlib.sha256(file).hexdigest() for file in files]
    key = sums[0] if len(sums) == 1 else hashlib.sha256("\n".join(sums).encode()).hexdigest()
    named = store.named("m")
    whole = sorted((store.root / "files").glob("*"))
    for directory in whole:
        there = [path.read_bytes() for path in sorted(directory.iterdir())]
        if directory.name != key or there != files:
            result.wrong.append(f"{name}: {directory.name} is not whole")
    if named is not None:
        if [file.path.read_bytes() for file in named.files] != files:
            result.wrong.append(f"{name}: it has a name and is not whole")
        return "named"
    if whole:
        return "in its place, not yet named"
    had = sum(path.stat().st_size for path in (store.root / "partial").glob("*/files/*"))
    if had == 0:
        return "before the first byte"
    return "all bytes, not yet in its place" if had == sum(map(len, files)) else "in the middle"


def _check_whole(place: Path, files: list[bytes], code: int, name: str, result: Result) -> None:
    """Right bytes, nothing else left; and nothing at all once it is removed."""
    store = Store(place)
    found = store.named("m")
    if code != 0 or found is None or [file.path.read_bytes() for file in found.files] != files:
        result.wrong.append(f"{name}: exit {code}, not the right bytes")
        return
    left = [path for path in store.root.rglob("*") if path.is_file()]
    expected = {store.root / "lock", store.root / "names" / "m.json", *(file.path for file in found.files)}
    if set(left) != expected:
        result.wrong.append(f"{name}: left behind: {sorted(set(left) - expected)}")
    store.remove("m")
    if left := [path for path in store.root.rglob("*") if path.is_file() and path.name != "lock"]:
        result.wrong.append(f"{name}: left after `remove`: {left}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        result = kill_and_resume(Path(place), arguments.kills, arguments.seed)
    for moment, count in result.moments.most_common():
        print(f"{count:5}  killed {moment}")
    print(f"{result.resumed} pulls went on in the middle of a file; {result.spared:,} bytes did not come twice")
    for line in result.wrong:
        print(line)
    is_right = not result.wrong and result.resumed > 0
    print(
        f"prove-pulls: {'passed' if is_right else 'FAILED'}: {arguments.kills} pulls killed and resumed, "
        f"{len(result.wrong)} with wrong bytes or something left behind"
    )
    sys.exit(not is_right)


if __name__ == "__main__":
    main()
