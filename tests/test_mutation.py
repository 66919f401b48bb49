"""Planted bugs are one line, valid, real changes of code, and drawn evenly over their kinds."""

import ast
import io
import random
import time
import tokenize
import warnings
from pathlib import Path

import pytest

from tinsmith.errors import InputError
from tinsmith.tasks import KINDS, mutations, sample

_SOURCE = '''class Reader:
    """A class."""

    def __init__(self, path, limit=None, strict=True):
        self.path = path
        self.limit = limit

    async def read(self, start, end, names):
        """Text that says start < end and return None."""
        rows = sorted(self.load(start, end), key=len)
        if not rows or (start < end and self.limit is not None):
            rows.append(names[end])
        elif start in names:
            total = start + 1
            total += end - start
        for name in names[1:end]:
            if name == "left":
                continue
            if len(name) > 2:
                raise ValueError(name.strip())
        first, second = start, -end
        other = [str(name) for name in names if name]
        value = start if end else len(other)
        item = await self.fetch(value)
        return self.limit

    def each(self, rows):
        width = self.path.width
        yield width
        yield from rows
        return min(rows.keys(), other, width=width) is False
'''


def _tokens(line: str) -> list[str]:
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER)
    return [
        t.string for t in tokenize.generate_tokens(io.StringIO(line.strip() + "\n").readline) if t.type not in skipped
    ]


def test_all_mutations_are_valid_changes_of_one_line() -> None:
    lines = _SOURCE.split("\n")
    found = mutations(_SOURCE, 1, len(lines))
    assert len({(m.line, m.after) for m in found}) == len(found) > 200
    for mutation in found:
        assert lines[mutation.line - 1] == mutation.before
        assert mutation.after.strip()
        assert _tokens(mutation.before) != _tokens(mutation.after)
        changed = mutation.apply(_SOURCE)
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(_SOURCE))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # `x is ""` is a bug that people write
            compile(changed, "mutant", "exec")


def test_docstrings_and_lines_outside_are_left_alone() -> None:
    assert mutations(_SOURCE, 2, 2) == []
    assert mutations(_SOURCE, 9, 9) == []
    assert {m.line for m in mutations(_SOURCE, 11, 12)} == {11, 12}


def test_nearly_every_kind_occurs() -> None:
    kinds = {m.kind for m in mutations(_SOURCE, 1, _SOURCE.count("\n") + 1)}
    assert kinds <= set(KINDS)
    assert set(KINDS) - kinds <= {
        "wrong-none",
        "wrong-number",
        "missing-keyword",
        "wrong-function",
        "missing-parentheses",
    }


def test_sample_is_deterministic_distinct_and_among_all() -> None:
    every = {(m.line, m.after) for m in mutations(_SOURCE, 8, 25)}
    one = sample(_SOURCE, 8, 25, random.Random(3), 12)
    assert one == sample(_SOURCE, 8, 25, random.Random(3), 12)
    assert len({(m.line, m.after) for m in one}) == len(one) == 12
    assert {(m.line, m.after) for m in one} <= every
    assert one != sample(_SOURCE, 8, 25, random.Random(4), 12)


def test_sample_follows_the_weights_of_kinds_not_their_numbers() -> None:
    rng = random.Random(0)
    kinds = [m.kind for _ in range(400) for m in sample(_SOURCE, 8, 25, rng, 1)]
    assert len(set(kinds)) > 25
    assert kinds.count("wrong-name") < len(kinds) * 0.3  # though most of the possible bugs are of this kind


def test_a_short_function_gives_what_it_has() -> None:
    assert len(sample("def f():\n    return 1\n", 1, 2, random.Random(0), 50)) < 50
    assert sample("def f():\n    pass\n", 1, 2, random.Random(0), 5) == []


def test_errors() -> None:
    with pytest.raises(InputError):
        sample("def f(:", 1, 1, random.Random(0), 1)
    with pytest.raises(InputError):
        mutations("x = 1\n", 1, 5)


def test_four_bugs_of_a_function_take_less_than_10_ms() -> None:
    path = Path(ast.__file__).with_name("textwrap.py")
    source = path.read_text(encoding="utf-8")
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)]
    lines = source.split("\n")
    texts = ["if 1:\n" + "\n".join(lines[n.lineno - 1 : n.end_lineno]) for n in functions if n.col_offset]
    rng = random.Random(0)
    started = time.process_time()
    for text in texts:
        sample(text, 2, text.count("\n") + 1, rng, 4)
    assert (time.process_time() - started) / len(texts) < 0.01
