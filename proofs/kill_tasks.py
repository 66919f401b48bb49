"""Small repositories with a planted bug each, and for each what a scripted model does to it, wrongly and rightly."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinsmith.agent import Limits
from tinsmith.dialects import Call

GENEROUS = Limits(turns=60, test_runs=80)


@dataclass(frozen=True)
class Task:
    """`line` of `module` is the bug; `wrong` and `right` come in its place. Who `gives_up` never writes `right`."""

    name: str
    module: str
    source: str
    tests: str
    issue: str
    line: str
    wrong: str
    right: str
    limits: Limits = GENEROUS
    attempts: int = 1
    gives_up: bool = False

    def make(self, place: Path) -> Path:
        """A checkout of it below `place`, with changes that are not committed."""
        repo = place / self.name
        (repo / "tests").mkdir(parents=True)
        (repo / "conftest.py").write_text("")
        (repo / self.module).write_text(self.source)
        (repo / "tests" / f"test_{self.module}").write_text(self.tests)
        (repo / "notes.txt").write_text("first\n")
        identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
        for arguments in (["init", "--quiet"], ["add", "--all"], [*identity, "commit", "--quiet", "-m", "start"]):
            subprocess.run(["git", *arguments], cwd=repo, check=True, capture_output=True)
        (repo / "notes.txt").write_text("the person's own, not committed\n")
        (repo / "draft.txt").write_text("not tracked\n")
        return repo

    def script(self) -> list[Call]:
        """Every call of the model's. The last is there several times, as a killed test run can make the gate refuse."""
        wrong, right = self._edit(self.wrong), self._edit(self.right)
        last = str(self.source.count("\n"))
        look = [
            Call("search", {"pattern": "def "}),
            Call("read", {"path": self.module, "start": "1", "end": last}),
            wrong,
            Call("run", {"command": "ls; sleep 0.2; cat notes.txt"}),
        ]
        finish = [Call("finish", {"summary": f"{self.name}: mended."})] * 6
        if self.gives_up:
            return [*look, *[self._edit(f"{self.wrong}  # {n}") for n in range(40)]]
        if self.attempts > 1:  # the first of two halves is spent on wrong edits
            half = self.limits.turns // 2
            spent = [*look, *[self._edit(f"{self.wrong}  # {n}") for n in range(half - len(look))]]
            return [*spent, look[1], right, *finish]
        return [*look, look[1], right, *finish]

    def _edit(self, new: str) -> Call:
        number = str(self.source.split("\n").index(self.line) + 1)
        return Call("edit", {"path": self.module, "start": number, "end": number, "new": new})


def _tests(module: str, cases: Sequence[str]) -> str:
    functions = (f"def test_{number}():\n    assert {case}\n" for number, case in enumerate(cases))
    return f"from {module} import *\n\n\n" + "\n\n".join(functions)


TASKS = (
    Task(
        "shop",
        "shop.py",
        "def discount(count, price):\n    total = count * price\n    if count > 10:\n        total -= total // 10\n"
        "    return total\n\n\ndef label(name, price):\n    return f'{name}: {price}'\n",
        _tests("shop", ["discount(10, 10) == 90", "discount(9, 10) == 90", "label('pin', 2) == 'pin: 2'"]),
        "No discount for exactly ten\n\n`discount(10, 10)` is 100, it should be 90: ten and more are cheaper.",
        "    if count > 10:",
        "    if count > 9 and price > 99:",
        "    if count >= 10:",
    ),
    Task(
        "words",
        "words.py",
        "def longest(words):\n    best = ''\n    for word in words:\n        if len(word) < len(best):\n"
        "            best = word\n    return best\n\n\ndef first(words):\n    return words[0]\n",
        _tests("words", ["longest(['a', 'abc', 'ab']) == 'abc'", "longest([]) == ''", "first(['x', 'y']) == 'x'"]),
        "longest returns nothing\n\n`longest(['a', 'abc', 'ab'])` is the empty string instead of `abc`.",
        "        if len(word) < len(best):",
        "        if len(word) == len(best):",
        "        if len(word) > len(best):",
    ),
    Task(
        "times",
        "times.py",
        "def minutes(hours, rest):\n    return hours * 60 - rest\n\n\ndef clock(total):\n"
        "    return f'{total // 60}:{total % 60:02}'\n",
        _tests("times", ["minutes(1, 30) == 90", "minutes(2, 0) == 120", "clock(90) == '1:30'"]),
        "minutes subtracts the rest\n\n`minutes(1, 30)` is 30 and should be 90.",
        "    return hours * 60 - rest",
        "    return hours * 60 * rest",
        "    return hours * 60 + rest",
    ),
    Task(
        "stack",
        "stack.py",
        "def top(items):\n    if not items:\n        return None\n    return items[0]\n\n\ndef push(items, item):\n"
        "    return [*items, item]\n",
        _tests("stack", ["top([1, 2, 3]) == 3", "top([]) is None", "push([1], 2) == [1, 2]"]),
        "top gives the bottom\n\nThe top of `[1, 2, 3]` is 3, but `top([1, 2, 3])` returns 1.",
        "    return items[0]",
        "    return items[1]",
        "    return items[-1]",
    ),
    Task(
        "never",
        "never.py",
        "def parse(text):\n    parts = text.split(';')\n    return [part for part in parts]\n\n\n"
        "def joined(parts):\n    return ','.join(parts)\n",
        _tests("never", ["parse('a, b,,c') == ['a', 'b', 'c']", "joined(['a', 'b']) == 'a,b'"]),
        "parse keeps blanks\n\n`parse('a, b,,c')` should be `['a', 'b', 'c']`: stripped, and without what is empty.",
        "    return [part for part in parts]",
        "    return list(parts)",
        "    return [part.strip() for part in text.split(',') if part.strip()]",
        limits=Limits(turns=7, test_runs=80),
        gives_up=True,
    ),
    Task(
        "twice",
        "twice.py",
        "def mean(values):\n    if not values:\n        return 0\n    return sum(values) / (len(values) - 1)\n\n\n"
        "def spread(values):\n    return max(values) - min(values)\n",
        _tests("twice", ["mean([1, 2, 3]) == 2", "mean([]) == 0", "spread([1, 5]) == 4"]),
        "mean is too large\n\n`mean([1, 2, 3])` is 3.0 and should be 2.",
        "    return sum(values) / (len(values) - 1)",
        "    return sum(values) / (len(values) + 1)",
        "    return sum(values) / len(values)",
        limits=Limits(turns=18, test_runs=80),
        attempts=2,
    ),
)
