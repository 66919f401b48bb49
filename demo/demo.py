"""Resolves a real bug in a real package: xmltodict 0.13.0, as released, with a defect that upstream fixed in 0.14.0.

The wheel is downloaded by name, version and hash and unpacked into a git repository of its own; nothing of it runs
outside the sandbox. Ends with 0 only if the run is `resolved`.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENT = "xmltodict==0.13.0 --hash=sha256:aa89e8fd76320154a40d19a0df04a4695fb9dc5ba977cbb68ab3e4eb225e7852\n"


def repository(cache: Path) -> Path:
    """The package's repository, made anew: the wheel's files and our test, one commit."""
    archives, repo = cache / "archives", cache / "xmltodict"
    archives.mkdir(parents=True, exist_ok=True)
    (cache / "requirement.txt").write_text(REQUIREMENT)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    pinned = ["--require-hashes", "--only-binary", ":all:", "--dest", str(archives)]
    subprocess.run([*pip, *pinned, "--requirement", str(cache / "requirement.txt")], check=True)
    shutil.rmtree(repo, ignore_errors=True)
    with zipfile.ZipFile(next(archives.glob("xmltodict-0.13.0-*.whl"))) as wheel:
        wheel.extractall(repo)
    (repo / "tests").mkdir()
    shutil.copy(HERE / "test_streaming.py", repo / "tests" / "test_streaming.py")
    (repo / "conftest.py").write_text("")
    identity = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _IDENTITY.items()}
    for arguments in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "-m", "xmltodict 0.13.0"]):
        subprocess.run(["git", *arguments], cwd=repo, env={**os.environ, **identity}, check=True)
    return repo


_IDENTITY = {"NAME": "Demo", "EMAIL": "demo@localhost"}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", default="1")
    parser.add_argument("--cache", type=Path, default=HERE.parent / ".cache" / "demo")
    options = parser.parse_args()
    repo = repository(options.cache.absolute())
    issue = HERE / "issue.md"
    print(f"The issue:\n\n{issue.read_text()}\nThe run:\n", flush=True)
    command = ["-m", "tinsmith.cli", "resolve", "--repo", str(repo), "--issue", str(issue), "--seed", options.seed]
    started = time.monotonic()
    done = subprocess.run([sys.executable, *command, "--json"], stdout=subprocess.PIPE, text=True)
    answer = json.loads(done.stdout.splitlines()[-1])
    if answer.get("status") != "resolved":
        print(f"demo: FAILED, {json.dumps(answer)}")
        return 1
    usage, evidence = answer["usage"], answer["evidence"]
    print(f"\nThe fix:\n\n{Path(answer['patch']).read_text()}\nThe evidence:\n")
    for test in evidence["reproduction"]:
        print(f"  {test}: {evidence['before'][test]} on the clean base, {evidence['after'][test]} with the patch")
    print(f"  {evidence['still_passing']} tests that passed before still pass, {len(evidence['broken'])} are broken\n")
    print(
        f"demo: {answer['status']}, branch {answer['branch']}, {usage['turns']} turns, {usage['test_runs']} test runs, "
        f"{usage['prefilled_tokens']} tokens prefilled, {usage['reused_tokens']} reused, {usage['decoded_tokens']} "
        f"decoded, {time.monotonic() - started:.1f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
