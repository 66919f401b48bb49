"""The Python recipe: its edits are valid, distinct, deterministic and reach the fixes that people make."""

import ast
import textwrap
import time
from pathlib import Path

import pytest

from tinsmith.errors import InputError
from tinsmith.tools.line_edits import candidate_edits, scope_names

# (the line with its bug, its repair), each inside the function below
_REPAIRS = [
    ("if count < limit:", "if count <= limit:"),
    ("if count == limit:", "if count != limit:"),
    ("if key in table:", "if key not in table:"),
    ("if key is None:", "if key is not None:"),
    ("if key and table:", "if key or table:"),
    ("if key and table:", "if table:"),
    ("if key:", "if not key:"),
    ("if not key:", "if key:"),
    ("if key:", "if key and table:"),
    ("if key:", "if key and table is not None:"),
    ("while count:", "if count:"),
    ("return table[count]", "return table[count - 1]"),
    ("return table[count - 1]", "return table[count]"),
    ("return table[0]", "return table[-1]"),
    ("return table[1:]", "return table[:1]"),
    ("return table[1:count]", "return table[1:]"),
    ("return range(count)", "return range(count + 1)"),
    ("return limit - count", "return count - limit"),
    ("return limit - count", "return limit"),
    ("return limit + count", "return limit - count"),
    ("count += limit", "count -= limit"),
    ("count = 0", "count = 1"),
    ("count = -1", "count = 0"),
    ("count = True", "count = False"),
    ("count = None", "count = 0"),
    ("return pow(limit, count)", "return pow(count, limit)"),
    ("return pow(limit, count, key)", "return pow(limit, count)"),
    ("return pow(limit)", "return pow(limit, count)"),
    ("return pow(limit, limit)", "return pow(limit, count)"),
    ("return sorted(table)", "return table"),
    ("return table", "return sorted(table)"),
    ("return table", "return key"),
    ("return table", "return self.items"),
    ("return items", "return self.items"),
    ("self.items.append(key)", "self.items.extend(key)"),
    ("self.items.append(key)", "self.names.append(key)"),
    ("return min(table)", "return max(table)"),
    ("return key.lstrip()", "return key.rstrip()"),
    ("return table.keys()", "return table.values()"),
    ("return table.get(key)", "return table[key]"),
    ("return self.items", "return self.items()"),
    ("return self.items()", "return self.items"),
    ("yield table", "yield from table"),
    ("yield table", "return table"),
    ("self.items.pop()", "return self.items.pop()"),
    ("break", "continue"),
    ("raise KeyError(key)", "raise ValueError(key)"),
    ("return key if count else limit", "return limit if count else key"),
    ("return [key for key in table if key]", "return [key for key in table]"),
    ("return [key for key in table]", "return [key for key in table if key is not None]"),
    ("return count, limit", "return limit, count"),
    ("return 'left'", "return 'right'"),
    ("return (limit + 1) // 2 - (count)", "return (limit + 1) // 2"),
]


def _file(line: str) -> tuple[str, int]:
    body = [line + " pass" if line.endswith(":") else line]
    lines = [
        "class Store:",
        "    def look(self, key, table, limit, count):",
        "        self.items = self.names = ['right']",
        "        for _ in table:",
        *(f"            {text}" for text in body),
        "        return key",
    ]
    return "\n".join(lines) + "\n", 5


@pytest.mark.parametrize(("bug", "repair"), _REPAIRS)
def test_reaches_the_repair(bug: str, repair: str) -> None:
    source, line = _file(bug)
    wanted = _file(repair)[0].split("\n")[line - 1]
    assert wanted in candidate_edits(source, line)


@pytest.mark.parametrize("bug", [bug for bug, _ in _REPAIRS])
def test_every_candidate_keeps_the_file_valid(bug: str) -> None:
    source, line = _file(bug)
    found = candidate_edits(source, line)
    lines = source.split("\n")
    assert lines[line - 1] not in found
    assert len(found) == len(set(found))
    for text in found:
        assert "\n" not in text
        assert text.startswith(" " * 12)
        ast.parse("\n".join([*lines[: line - 1], text, *lines[line:]]))


def test_real_modules_stay_valid_on_every_line() -> None:
    """Whatever the construct: each line of two standard modules, the whole file parsed for a part of the
    candidates.
    """
    for name in ("bisect.py", "textwrap.py"):
        source = (Path(ast.__file__).parent / name).read_text(encoding="utf-8")
        lines = source.split("\n")
        for number, line in enumerate(lines, 1):
            for text in candidate_edits(source, number)[::41]:
                assert text != line
                ast.parse("\n".join([*lines[: number - 1], text, *lines[number:]]))


@pytest.mark.parametrize(
    ("source", "line", "wanted"),
    [
        (
            "def f(a, b):\n    if a:\n        return 1\n    elif a < b:\n        return 2\n",
            4,
            "    elif a <= b:",
        ),
        ("def f(a, b):\n    if a:\n        return 1\n    if b:\n        return 2\n", 4, "    elif b:"),
        (
            "def f(a):\n    try:\n        return a[0]\n    except KeyError:\n        return None\n",
            4,
            "    except IndexError:",
        ),
        ("def f(a, b=None):\n    return a\n", 1, "def f(a, b=True):"),
        ("def f(a, b):\n    return g(a,\n             b - 1)\n", 3, "             b)"),
        ("def f(a, b):\n    return g(\n        a,\n        b,\n    )\n", 3, "        b,"),
        ("async def f(a):\n    return a.read()\n", 2, "    return await a.read()"),
        ("def f(ä, b):\n    return 'ü' + ä[b]  # ß\n", 2, "    return 'ü' + ä[b + 1]  # ß"),
        ("def f(a, b):\n    if a: return b\n    return a\n", 2, "    if not a: return b"),
        ("def f(a, b):\n    if a: return b\n    return a\n", 2, "    if a: return a"),
        (
            "def f(a, b):\n    match a:\n        case 1 if b:\n            return b\n",
            3,
            "        case 1 if not b:",
        ),
        ("def f(a):\n    with a.open() as b:\n        return b\n", 2, "    with a.open as b:"),
        ("LIMIT = 3\nSIZE = LIMIT + 1\n", 2, "SIZE = LIMIT - 1"),
    ],
)
def test_places(source: str, line: int, wanted: str) -> None:
    assert wanted in candidate_edits(source, line)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("def f(a):\n    # a comment\n    return a\n", 2),
        ("def f(a):\n\n    return a\n", 2),
        ('def f(a):\n    """Text\n    a + 1\n    """\n    return a\n', 3),
        ("def f(a):\n    if a:\n        return 1\n    else:\n        return a\n", 4),
    ],
)
def test_lines_without_code_have_none(source: str, line: int) -> None:
    assert candidate_edits(source, line) == []


def test_limit_takes_the_first_and_order_is_fixed() -> None:
    source, line = _file("if key and count < limit:")
    found = candidate_edits(source, line)
    assert candidate_edits(source, line, limit=7) == found[:7]
    assert candidate_edits(source + "# another text, the same line\n", line) == found


def test_invalid_escape_in_the_file_is_no_obstacle() -> None:
    source = "def f(a):\n    return a.split('\\d', 1)\n"
    assert "    return a.split('\\d', 0)" in candidate_edits(source, 2)


def test_errors() -> None:
    with pytest.raises(InputError):
        candidate_edits("def f(:\n", 1)
    with pytest.raises(InputError):
        candidate_edits("x = 1\n", 9)


def test_scope_names_are_nearest_first() -> None:
    source = textwrap.dedent(
        """
        def f(far, near):
            print(far)
            x = 1
            y = 2
            return near
        """
    )
    names = scope_names(source, 6)
    assert names[0] == "near"
    assert set(names) == {"far", "near", "x", "y"}


def test_three_hundred_candidates_take_less_than_100_ms() -> None:
    source = Path(textwrap.__file__).read_text(encoding="utf-8")
    numbers = [number for number, line in enumerate(source.split("\n"), 1) if "=" in line or "return" in line]
    found = 0
    started = time.process_time()
    for number in numbers:
        found += len(candidate_edits(source, number))
    seconds = time.process_time() - started
    assert found > 3000
    assert seconds / found * 300 < 0.1
