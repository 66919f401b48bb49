"""What is where: source files, functions, test files, and the ranking of suspects."""

import os
from pathlib import Path

import pytest

from tinsmith.codebase import Evidence, functions_in, is_test_file, prime_suspects, rank_suspects, source_files

MODULE = """\
import functools


def outer(value):
    if value:
        def inner(other):
            return other + 1

        return inner(value)
    return 0


class Basket:
    @functools.cache
    def total_price(self, first=1,
                    second=2):
        "Adds."
        return first + second

    async def drain(self):
        pass


def lonely(): return outer(1)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "basket.py").write_text(MODULE)
    (tmp_path / "shop" / "other.py").write_text("def discount(price):\n    return price\n")
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_basket.py").write_text("def test_total_price():\n    assert False\n")
    return tmp_path


def test_functions_of_a_file() -> None:
    found = [(f.name, f.first, f.last, f.body) for f in functions_in("basket.py", MODULE)]
    assert found == [
        ("outer", 4, 10, 5),
        ("outer.inner", 6, 7, 7),
        ("Basket.total_price", 14, 18, 17),
        ("Basket.drain", 20, 21, 21),
        ("lonely", 24, 24, 24),
    ]


def test_functions_of_odd_text() -> None:
    assert functions_in("a.py", "def f(:\n") == []
    assert functions_in("a.py", "x = '\0'") == []
    assert [f.name for f in functions_in("a.py", "\ufeffdef f():\n    return '\\d'\n")] == ["f"]


def test_source_files_are_plain_text_files(tree: Path) -> None:
    (tree / ".hidden.py").write_text("")
    (tree / "node_modules").mkdir()
    (tree / "node_modules" / "x.js").write_text("")
    (tree / "late_nul.txt").write_bytes(b"a\n" * 4000 + b"\0")
    (tree / "latin.txt").write_bytes("é".encode("latin-1"))
    (tree / "huge.txt").write_bytes(b"x" * 1_000_001)
    (tree / "link.py").symlink_to("shop/basket.py")
    (tree / "gone.py").symlink_to("nowhere")
    (tree / "two\nlines.py").write_text("")
    Path(os.fsdecode(os.fsencode(tree) + b"/\xff.py")).write_text("")
    os.mkfifo(tree / "pipe.txt")  # opening it would wait for ever
    (tree / "notes.md").write_text("é")
    python = ["shop/basket.py", "shop/other.py", "tests/test_basket.py"]
    assert source_files(tree, ".py") == python
    assert source_files(tree) == ["notes.md", *python]
    (tree / "notes.md").write_bytes(b"\xff\xff\xff")
    assert source_files(tree) == python


@pytest.mark.parametrize(
    ("path", "is_test"),
    [
        ("test_a.py", True),
        ("src/a_test.py", True),
        ("a_tests.py", True),
        ("tests/data.py", True),
        ("pkg/test/x.py", True),
        ("pkg/testing/x.py", True),
        ("conftest.py", True),
        ("app/tests.py", True),
        ("src/latest.py", False),
        ("src/contest.py", False),
        ("attest/core.py", False),
        ("testament.py", False),
        ("src/protest_a.py", False),
    ],
)
def test_is_test_file(path: str, is_test: bool) -> None:
    assert is_test_file(path) is is_test


def names(tree: Path, evidence: Evidence) -> list[str]:
    return [suspect.name for suspect in rank_suspects(tree, evidence)]


def test_ranked_by_names(tree: Path) -> None:
    assert names(tree, Evidence("total_price is wrong"))[0] == "Basket.total_price"
    suspects = rank_suspects(tree, Evidence("`outer` fails", test_source="assert outer(1) == lonely()"))
    assert [s.name for s in suspects[:2]] == ["outer", "lonely"]
    assert suspects[0].reasons == ("named in the issue", "named in the failing test")
    assert all(not is_test_file(s.path) for s in suspects)
    assert names(tree, Evidence("nothing of this is known")) == []


def test_ranked_by_the_traceback(tree: Path) -> None:
    frames = (("shop/other.py", 2), ("shop/basket.py", 9))
    suspects = rank_suspects(tree, Evidence("it fails", frames=frames))
    assert [s.name for s in suspects[:2]] == ["discount", "outer"]
    assert suspects[0].reasons == ("in the failing test's traceback",)


def test_only_what_was_entered_is_ranked(tree: Path) -> None:
    """The lines of a `def` run without the function: at import, or when the one around it runs."""
    executed = {"shop/basket.py": frozenset({1, 4, 5, 6, 9, 13, 14, 15, 20, 24})}
    suspects = rank_suspects(tree, Evidence("total_price and inner and drain", executed=executed))
    assert {s.name: s.lines for s in suspects} == {"outer": (4, 5, 9), "lonely": (24,)}
    assert all("executed by the failing test" in s.reasons for s in suspects)


def test_a_line_belongs_to_the_innermost_function(tree: Path) -> None:
    lines = {s.name: s.lines for s in rank_suspects(tree, Evidence("outer inner"))}
    assert lines["outer"] == (4, 5, 8, 9, 10)
    assert lines["outer.inner"] == (6, 7)


def test_at_most_as_many_as_asked_and_files_that_are_gone(tree: Path) -> None:
    executed = {"shop/basket.py": frozenset(range(30)), "shop/gone.py": frozenset({1})}
    assert len(rank_suspects(tree, Evidence("x", executed=executed), limit=2)) == 2


def test_an_error_raised_in_the_code_narrows_the_suspects(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "def outer(x):\n    return inner(x)\n\n\ndef inner(x):\n    return 1 / x\n\n\ndef other(x):\n    return x\n"
    )
    executed = {"m.py": frozenset({2, 6, 10})}
    raised = rank_suspects(tmp_path, Evidence("other is broken", frames=(("m.py", 6), ("m.py", 2)), executed=executed))
    assert {suspect.name for suspect in raised} == {"outer", "inner", "other"}
    assert [suspect.name for suspect in prime_suspects(raised, 3)] == ["inner", "outer"]
    quiet = rank_suspects(tmp_path, Evidence("other is broken", executed=executed))
    assert len(prime_suspects(quiet, 2)) == 2 and prime_suspects(quiet, 2)[0].name == "other"
