"""Searching files for a regular expression in a process of its own, since a pattern can take for ever."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinsmith.tools.files import Refused

TIME_LIMIT = 10.0
"""Seconds; a pattern that backtracks without end is ended with its process."""

_CHILD = """
import json, os, re, sys, warnings
warnings.simplefilter("ignore")
order = json.load(sys.stdin)
try:
    pattern = re.compile(order["pattern"])
except (re.error, OverflowError, RecursionError) as error:
    print(json.dumps({"error": str(error)}))
    raise SystemExit
hits, counts = [], []
for path in order["paths"]:
    with open(os.path.join(order["root"], path), encoding="utf-8", errors="replace", newline="") as file:
        lines = file.read().split("\\n")
    count = 0
    for number, line in enumerate(lines[:-1] if lines[-1] == "" else lines, 1):
        if pattern.search(line.removesuffix("\\r")):
            count += 1
            if len(hits) < order["limit"]:
                hits.append((path, number))
    if count:
        counts.append((path, count))
print(json.dumps({"hits": hits, "counts": counts}))
"""


@dataclass(frozen=True)
class Found:
    """`hits` are the first lines that match, as (path, 1-based number); `counts` all that do, by path."""

    hits: list[tuple[str, int]]
    counts: dict[str, int]


def find(root: Path, paths: Sequence[str], pattern: str, limit: int) -> Found:
    """The lines that match, `limit` of them by number.

    Raises Refused for a pattern that is none or that does not end in time.
    """
    order = json.dumps({"root": str(root), "paths": list(paths), "pattern": pattern, "limit": limit})
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _CHILD],
            input=order,
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
            encoding="utf-8",
            errors="surrogatepass",
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"The search took more than {TIME_LIMIT:.0f} seconds; use a simpler pattern.") from error
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        raise Refused("The search failed; use a simpler pattern.") from error
    if "error" in answer:
        raise Refused(f"The pattern is not a regular expression: {answer['error']}.")
    return Found(
        [(str(path), int(number)) for path, number in answer["hits"]],
        {str(path): int(count) for path, count in answer["counts"]},
    )
