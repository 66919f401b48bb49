"""A small repository with a bug, a failing test and an issue: what the tests of whole runs work on."""

import subprocess
import sys
from pathlib import Path

from tinsmith.resolve import Request

BUGGY = '''\
"""Prices in a shop."""


def discount(count, price):
    """Ten and more cost a tenth less."""
    total = count * price
    if count > 10:
        total = total - total // 10
    return total


def label(name, price):
    return f"{name}: {price}"
'''

TESTS = """\
from shop import discount, label


def test_ten_get_the_discount():
    assert discount(10, 10) == 90


def test_nine_do_not():
    assert discount(9, 10) == 90


def test_many_do():
    assert discount(20, 10) == 180


def test_label():
    assert label("pin", 2) == "pin: 2"
"""

ISSUE = """discount gives no discount for exactly ten

`discount(10, 10)` is 100. It should be 90: ten and more are cheaper.
"""


def git(repo: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
    done = subprocess.run(["git", *identity, *arguments], cwd=repo, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def make_shop(place: Path, buggy: str = BUGGY, tests: str = TESTS) -> Path:
    repo = place / "shop"
    (repo / "tests").mkdir(parents=True)
    (repo / "shop.py").write_text(buggy)
    (repo / "conftest.py").write_text("")
    (repo / "tests" / "test_shop.py").write_text(tests)
    git(repo, "init", "--quiet")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "-m", "start")
    return repo


def request(shop: Path, tmp_path: Path, **changes: object) -> Request:
    options = {"repo": shop, "issue": ISSUE, "state_dir": tmp_path / "state", "python": Path(sys.executable)}
    return Request(**{**options, **changes})  # type: ignore[arg-type]
