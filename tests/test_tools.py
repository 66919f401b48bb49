"""The tools on a real tree: what an edit may touch, what is shown, and the domains of arguments."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.vocabularies import tekken

from tinsmith.dialects import Call, FreeText, OneOfValues
from tinsmith.tools import (
    EDIT,
    READ,
    TOOLS,
    Excerpt,
    Files,
    Observation,
    Outputs,
    ShellResult,
    ShownLines,
    Toolbox,
    numbered,
    shown,
)

CODE = "def f(x):\n    y = x\n    return y\n\n\ndef g(x):\n    y = x\n    return f(y)\n"


ROOM = 100_000


def count(text: str) -> int:
    return len(tekken().encode_ordinary(text))


class FakeShell:
    """Answers every command with the command."""

    def __call__(self, command: str) -> ShellResult:
        return ShellResult(3, f"ran {command}")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "pkg").mkdir(parents=True)
    (root / "pkg" / "a.py").write_text(CODE)
    (root / "notes.txt").write_text("one\ntwo\nthree\n")
    (root / "empty.txt").write_text("")
    return root


@pytest.fixture
def box(tree: Path) -> Toolbox:
    return Toolbox(Files(tree), FakeShell(), count=count, free_tokens=24)


def do(box: Toolbox, tool: str, **arguments: str | int) -> Observation:
    return box.execute(Call(tool, {key: str(value) for key, value in arguments.items()}), ROOM)


def read_all(box: Toolbox, path: str) -> None:
    do(box, "read", path=path, start=1, end=len(box.files.lines(path)))


def test_only_shown_lines_are_edited(box: Toolbox, tree: Path) -> None:
    refused = do(box, "edit", path="notes.txt", start=2, end=2, new="x")
    assert (refused.kind, refused.missed, refused.edited) == ("refused", True, False)
    assert "read it first" in refused.text
    do(box, "read", path="notes.txt", start=1, end=2)
    assert do(box, "edit", path="notes.txt", start=2, end=3, new="x").missed
    assert do(box, "edit", path="notes.txt", start=2, end=2, new="2\n2b").edited
    assert (tree / "notes.txt").read_text() == "one\n2\n2b\nthree\n"
    assert do(box, "edit", path="notes.txt", start=3, end=3, new="b").edited  # what was written is known
    assert do(box, "edit", path="notes.txt", start=4, end=4, new="x").missed


def test_a_line_that_changed_since_is_stale(box: Toolbox, tree: Path) -> None:
    read_all(box, "notes.txt")
    (tree / "notes.txt").write_text("one\nTWO\nthree\n")
    assert "has changed since" in do(box, "edit", path="notes.txt", start=2, end=2, new="x").text
    assert do(box, "edit", path="notes.txt", start=3, end=3, new="x").edited


def test_old_is_whole_lines_and_unique(box: Toolbox, tree: Path) -> None:
    read_all(box, "pkg/a.py")
    twice = do(box, "edit", path="pkg/a.py", old="    y = x", new="    y = 1")
    assert twice.missed and "occurs 2 times" in twice.text
    part = do(box, "edit", path="pkg/a.py", old="return y", new="x")
    assert part.missed and "Nearest:\n3\t    return y" in part.text
    both = do(box, "edit", path="pkg/a.py", start=2, end=2, old="    return y", new="x")
    assert both.missed and "at lines 3 to 3 of pkg/a.py, not at 2 to 2" in both.text
    assert do(box, "edit", path="pkg/a.py", old="    return y", end=3, new="x").missed
    assert do(box, "edit", path="pkg/a.py", start=3, end=3, old="    return y", new="    return -y").edited
    assert (tree / "pkg/a.py").read_text() == CODE.replace("return y\n", "return -y\n")
    assert do(box, "edit", path="pkg/a.py", old="def g(x):\n    y = x", new="def g(y):").edited


def test_old_that_was_not_shown_is_refused(box: Toolbox) -> None:
    assert do(box, "edit", path="notes.txt", old="two", new="x").missed


def test_empty_new_deletes(box: Toolbox, tree: Path) -> None:
    read_all(box, "notes.txt")
    assert do(box, "edit", path="notes.txt", start=2, end=3, new="").edited
    assert (tree / "notes.txt").read_text() == "one\n"
    assert do(box, "edit", path="notes.txt", start=1, end=1, new="").edited
    assert (tree / "notes.txt").read_text() == ""


@pytest.mark.parametrize("new", ["    return (", "return 1\n  x", "x = '\0'", "(" * 300, "-" * 100_000 + "1"])
def test_a_result_that_does_not_parse_is_not_written(box: Toolbox, tree: Path, new: str) -> None:
    read_all(box, "pkg/a.py")
    refused = do(box, "edit", path="pkg/a.py", start=3, end=3, new=new)
    assert refused.kind == "refused" and "would not parse" in refused.text
    assert not refused.missed
    assert (tree / "pkg/a.py").read_text() == CODE


def test_a_file_that_was_broken_may_stay_so(box: Toolbox, tree: Path) -> None:
    (tree / "b.py").write_text("def f(:\nx = '\\d'\n")
    read_all(box, "b.py")
    assert do(box, "edit", path="b.py", start=2, end=2, new="x = 2").edited


def test_half_a_surrogate_pair_leaves_the_file(box: Toolbox, tree: Path) -> None:
    read_all(box, "notes.txt")
    assert do(box, "edit", path="notes.txt", start=2, end=2, new="\ud800").kind == "refused"
    assert do(box, "edit", path="new.txt", new="\ud800").kind == "refused"
    assert (tree / "notes.txt").read_text() == "one\ntwo\nthree\n"
    assert not (tree / "new.txt").exists()


def test_files_are_created_and_never_rewritten_whole(box: Toolbox, tree: Path) -> None:
    assert do(box, "edit", path="pkg/sub/new.py", new="x = 1\ny = 2").edited
    assert (tree / "pkg/sub/new.py").read_text() == "x = 1\ny = 2\n"
    assert do(box, "edit", path="pkg/sub/new.py", start=2, end=2, new="y = 3").edited
    again = do(box, "edit", path="pkg/a.py", new="x = 1\n")
    assert again.kind == "refused" and "never rewritten whole" in again.text
    assert do(box, "edit", path="bad.py", new="x = (").kind == "refused"
    assert not (tree / "bad.py").exists()
    assert do(box, "edit", path="notes.txt/x", new="x").kind == "refused"


def test_paths_stay_inside(box: Toolbox, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret\n")
    (tree / "link.txt").symlink_to("../secret.txt")
    (tree / "up").symlink_to("..")
    (tree / ".git" / "hooks").mkdir(parents=True)
    inside = (
        "../secret.txt",
        "/etc/passwd",
        "pkg/../../secret.txt",
        "./notes.txt",
        "",
        "pkg//a.py",
        "link.txt",
    )
    for path in (
        *inside,
        "up/secret.txt",
        ".git/config",
        ".GIT/x",
        "pkg/.git/x",
        "a\0b",
        "\ud800",
        "x" * 5000,
    ):
        for refused in (
            do(box, "read", path=path, start=1, end=1),
            do(box, "edit", path=path, new="x"),
            do(box, "edit", path=path, start=1, end=1, new="x"),
        ):
            assert refused.kind == "refused", path
    assert (tmp_path / "secret.txt").read_text() == "secret\n"
    assert "secret" not in do(box, "search", pattern="secret").text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["secret.txt", "tree"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"a\r\nb\r\nc\r\n", b"a\r\nx\r\ny\r\nc\r\n"),
        (b"a\r\nb\r\nc", b"a\r\nx\r\ny\r\nc"),
        (b"a\nb\nc", b"a\nx\ny\nc"),
        (b"a\nb\nc\n", b"a\nx\ny\nc\n"),
        (b"a\nb\r\nc\n\n", b"a\nx\ny\nc\n\n"),
        (b"a\nb", b"a\nx\ny"),
        (b"a\r\nb\r\n", b"a\r\nx\r\ny\r\n"),
    ],
)
def test_line_ends_are_kept(box: Toolbox, tree: Path, before: bytes, after: bytes) -> None:
    (tree / "ends.txt").write_bytes(before)
    read_all(box, "ends.txt")
    for new in ("x\ny", "x\r\ny") if after.count(b"\r\n") > 1 else ("x\ny",):
        (tree / "ends.txt").write_bytes(before)
        read_all(box, "ends.txt")
        assert do(box, "edit", path="ends.txt", start=2, end=2, new=new).edited
        assert (tree / "ends.txt").read_bytes() == after
        assert do(box, "edit", path="ends.txt", start=3, end=3, new="z").edited


def test_something_can_be_put_into_an_empty_file(box: Toolbox, tree: Path) -> None:
    do(box, "read", path="empty.txt", start=1, end=1)
    assert do(box, "edit", path="empty.txt", start=1, end=1, new="x").edited
    assert (tree / "empty.txt").read_text() == "x\n"


def test_an_edit_of_nothing_is_refused(box: Toolbox) -> None:
    read_all(box, "notes.txt")
    assert do(box, "edit", path="notes.txt", start=2, end=2, new="two").kind == "refused"


def test_read_shows_numbers_and_bounds_what_it_shows(box: Toolbox, tree: Path) -> None:
    assert do(box, "read", path="notes.txt", start=2, end=3).text == "notes.txt has 3 lines\n2\ttwo\n3\tthree"
    assert do(box, "read", path="notes.txt", start=3, end=9).missed
    assert do(box, "read", path="notes.txt", start="x", end=1).missed
    (tree / "wide.txt").write_text(("x y " * 600 + "\n") * 10)
    wide = do(box, "read", path="wide.txt", start=1, end=10)
    assert count(wide.text) <= 3_000 and wide.text.endswith("Lines 3 to 10 are left out.")
    assert box.shown.valid("wide.txt", box.files.lines("wide.txt")) == [1, 2]
    (tree / "line.txt").write_text("x y " * 25_000)
    line = do(box, "read", path="line.txt", start=1, end=1)
    assert 2_900 < count(line.text) <= 3_000 and line.text.endswith("The rest of the line is left out.")
    assert box.shown.valid("line.txt", box.files.lines("line.txt")) == []
    (tree / "long.txt").write_text("x\n" * 500)
    do(box, "read", path="long.txt", start=1, end=500)
    assert box.shown.valid("long.txt", box.files.lines("long.txt")) == list(range(1, 201))


def test_search(box: Toolbox, tree: Path) -> None:
    found = do(box, "search", pattern=r"return \w+\(", path="pkg")
    assert found.text == "pkg/a.py\n8\t    return f(y)"
    assert do(box, "edit", path="pkg/a.py", start=8, end=8, new="    return 1").edited
    for path in ("", ".", "./"):
        assert do(box, "search", pattern="^two$", path=path).text == "notes.txt\n2\ttwo"
    assert do(box, "search", pattern="zzz").text == "No line matches."
    assert do(box, "search", pattern="x", path="nowhere").missed
    for pattern in ("(", "a{99999999999999999999}", "[", "*", "(?P<x", "a(?i)"):
        assert do(box, "search", pattern=pattern).kind == "refused", pattern
    assert do(box, "search", pattern="[[a]").kind == "done"  # Python warns of it
    (tree / "many.txt").write_text("hit\n" * 80 + "hit " + "x" * 300 + "\n")
    for name in "klmnopqrstuv":
        (tree / f"{name}.txt").write_text("hit\n" * 2)
    many = do(box, "search", pattern="hit").text.split("\n")
    assert many[:2] == ["k.txt", "1\thit"] and many[-2] == "44\thit"
    assert (
        many[-1] == "Not listed: 37 in many.txt, " + ", ".join(f"2 in {n}.txt" for n in "nopqrst") + ", "
        "4 in 2 other files"
    )
    do(box, "search", pattern="x{300}")
    assert 81 not in box.shown.valid("many.txt", box.files.lines("many.txt"))  # it was not shown whole


def test_search_passes_over_what_is_no_text(box: Toolbox, tree: Path) -> None:
    (tree / "latin.txt").write_bytes(b"two \xe9\n")
    assert do(box, "search", pattern="two").text == "notes.txt\n2\ttwo"
    assert do(box, "read", path="latin.txt", start=1, end=1).kind == "refused"


def test_run_and_the_rest(box: Toolbox) -> None:
    assert do(box, "run", command="ls").text == "exit code 3\nran ls"
    assert do(box, "dance").kind == "refused"


def test_an_edit_is_echoed_in_a_line(box: Toolbox) -> None:
    read_all(box, "notes.txt")
    assert do(box, "edit", path="notes.txt", start=1, end=2, new="1\n2").text == "Edited notes.txt, lines 1 to 2."
    longer = do(box, "edit", path="notes.txt", start=2, end=2, new="2\n2b")
    assert longer.text == "Edited notes.txt, lines 2 to 2 became 2 to 3."
    assert do(box, "edit", path="notes.txt", start=2, end=3, new="").text.endswith("lines 2 to 3 were removed.")


def test_listing() -> None:
    excerpt = Excerpt("a.py", 9, ("x", "  y"))
    assert excerpt.last == 10
    assert numbered(9, excerpt.lines) == "9\tx\n10\t  y"
    assert shown(excerpt) == "a.py\n9\tx\n10\t  y"


lines = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=4)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=8), st.data())
def test_shown_lines_against_brute_force(start: list[str], data: st.DataObject) -> None:
    """The oracle follows each shown line as an object through the edits."""
    oracle: list[tuple[str, list[str]]] = [(text, []) for text in start]  # text, the text it was shown with
    book = ShownLines()
    for _ in range(data.draw(st.integers(1, 8))):
        count = len(oracle)
        action = data.draw(st.sampled_from(["show", "edit", "outside"]))
        if not count:
            break
        first = data.draw(st.integers(1, count))
        last = data.draw(st.integers(first, count))
        if action == "show":
            book.show("p", first, [text for text, _ in oracle[first - 1 : last]])
            for text, seen in oracle[first - 1 : last]:
                seen[:] = [text]
        elif action == "edit":
            new = data.draw(lines)
            book.replaced("p", first, last, new)
            oracle[first - 1 : last] = [(text, [text]) for text in new]
        else:  # someone else changes the text of one line
            text = data.draw(st.sampled_from(["a", "b", "z"]))
            oracle[first - 1] = (text, oracle[first - 1][1])
        current = [text for text, _ in oracle]
        kept = book.copy()
        assert kept.state() == book.state() == json.loads(json.dumps(book.state()))
        assert book.listed("p", current) <= set(book.valid("p", current))
        expected = [number for number, (text, seen) in enumerate(oracle, 1) if seen == [text]]
        assert book.valid("p", current) == kept.valid("p", current) == expected
        assert book.valid("other", current) == []


def random_call(box: Toolbox, tool: str, draw: random.Random) -> Call:
    """A call as staged decoding would write it: only what `choices` offers."""
    given_: dict[str, str] = {}
    while True:
        choices = box.choices(tool, given_)
        assert choices.options or choices.may_close
        for domain in choices.options.values():
            assert isinstance(domain, FreeText) or domain.values
            assert isinstance(domain, OneOfValues) or 0 < domain.max_tokens <= 24
        keys = [*choices.options, *([None] if choices.may_close else [])]
        key = draw.choice(keys)
        if key is None:
            return Call(tool, given_)
        domain = choices.options[key]
        free = ["x", "", "    pass", "a\nb", "(", "é\n", "def f(x):", "\r\n", ".*"]
        given_[key] = draw.choice(domain.values if isinstance(domain, OneOfValues) else free)


class FakeDisturber:
    """A command that prints without end at times, and changes, adds and deletes files at others."""

    def __init__(self, root: Path, draw: random.Random) -> None:
        self._root = root
        self._draw = draw

    def __call__(self, command: str) -> ShellResult:
        draw = self._draw
        path = self._root / draw.choice(["a.py", "sub/crlf.txt", "empty", f"sub/new{draw.randrange(4)}", "wide"])
        if draw.random() < 0.2:
            path.unlink(missing_ok=True)
        elif draw.random() < 0.5:
            lines = path.read_bytes().split(b"\n") if path.exists() else []
            lines.insert(draw.randrange(len(lines) + 1), draw.choice([b"", b"x", b"    y = x", b"z" * 3000]))
            path.write_bytes(b"\n".join(lines))
        return ShellResult(0, f"ran {command}\n" * draw.choice([1, 1, 4000]))


@pytest.mark.parametrize("seed", range(20))
def test_choices_are_never_empty_and_never_miss(tmp_path: Path, seed: int) -> None:
    """2,000 calls in all, while commands change the files and observations are small, large and forgotten."""
    root = tmp_path / "tree"
    (root / "sub").mkdir(parents=True)
    (root / "a.py").write_text(CODE * 10)
    (root / "sub" / "crlf.txt").write_bytes(b"one\r\ntwo\r\n\r\nfour")
    (root / "empty").write_text("")
    (root / "latin").write_bytes(b"\xff\n")
    draw = random.Random(seed)
    outputs = Outputs(tmp_path / "outputs")
    box = Toolbox(Files(root), FakeDisturber(root, draw), count=count, free_tokens=24, outputs=outputs)
    assert EDIT.name not in box.available()
    called: set[str] = set()
    for _ in range(100):
        call = random_call(box, draw.choice([name for name in box.available() if name != "finish"]), draw)
        budget = draw.choice([64, 256, 4000])
        observation = box.execute(call, budget)
        called.add(call.tool)
        assert not observation.missed, (call, observation.text)
        assert count(observation.text) <= budget
        for path in box.files.paths():
            (root / path).read_bytes().decode()
        if draw.random() < 0.05:
            kept = box.state()
            box.forget()
            assert EDIT.name not in box.available()
            if draw.random() < 0.5:
                box.restore(kept)
    assert called == {"search", "read", "edit", "run"}
    with pytest.raises(KeyError):
        box.choices("dance", {})


def values(box: Toolbox, tool: str, key: str, **given_: str) -> tuple[str, ...]:
    domain = box.choices(tool, given_).options[key]
    assert isinstance(domain, OneOfValues)
    return domain.values


def test_every_value_of_a_domain_executes(box: Toolbox) -> None:
    for path in values(box, "read", "path"):
        for start in values(box, "read", "start", path=path):
            for end in values(box, "read", "end", path=path, start=start):
                assert do(box, "read", path=path, start=start, end=end).kind == "done"
    searchable = box.choices("search", {"pattern": "x"}).options["path"]
    assert isinstance(searchable, OneOfValues)
    assert searchable.values == ("empty.txt", "notes.txt", "pkg", "pkg/a.py")
    for path in searchable.values:
        assert do(box, "search", pattern="x", path=path).kind == "done"


def test_an_empty_tree_has_choices(tmp_path: Path) -> None:
    box = Toolbox(Files(tmp_path), FakeShell(), count=count)
    assert box.available() == [spec.name for spec in TOOLS if spec not in (READ, EDIT)]
    assert dict(box.choices("search", {"pattern": "x"}).options) == {}
    assert do(box, "search", pattern="x").text == "No line matches."


def test_excerpts_of_the_brief_count_as_shown(box: Toolbox) -> None:
    box.show(Excerpt("notes.txt", 2, ("two",)))
    assert EDIT.name in box.available()
    assert dict(box.choices("edit", {"path": "notes.txt"}).options) == {
        "start": OneOfValues(("2",)),
        "old": OneOfValues(("two",)),
    }


def test_a_pattern_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * 60 + "\n")
    toolbox = Toolbox(Files(tmp_path), FakeShell(), count=count)
    answer = toolbox.execute(Call("search", {"pattern": "(x+x+)+y"}), ROOM)
    assert answer.kind == "refused" and "simpler pattern" in answer.text
