"""What tools answer: within their budget as counted, whole lines, no secrets, the rest behind a handle."""

import json
import subprocess
from pathlib import Path

import pytest
import tiktoken
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.vocabularies import qwen, tekken

from tinsmith.dialects import Call, Control, OneOfValues, QwenXml, Text
from tinsmith.tools import Excerpt, Files, Observation, Outputs, ShellResult, Toolbox, describe
from tinsmith.tools.listing import entries, numbered
from tinsmith.tools.room import Room
from tinsmith.tools.test_digest import digest
from tinsmith.workspace import Frame, Sandbox, TestOutcome, TestReport, Workspace, run_reported

KEY = "ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF3gHi"
PEM = ["-----BEGIN PRIVATE KEY-----", *(f"{c * 9}QvAIBADANBgkqhkiG9w0BAQEFAASCBKYwggSi{c}" for c in "abcd")]
PEM += ["-----END PRIVATE KEY-----"]


def count(text: str) -> int:
    return len(tekken().encode_ordinary(text))


class FakeShell:
    """Prints what it is told to."""

    def __init__(self) -> None:
        self.result = ShellResult(0, "")

    def __call__(self, command: str) -> ShellResult:
        return self.result


class Bench:
    """A toolbox over a tree of its own."""

    def __init__(self, directory: Path, vocabulary: tiktoken.Encoding | None = None) -> None:
        self.root = directory / "tree"
        self.root.mkdir(parents=True)
        self.shell = FakeShell()
        self.outputs = Outputs(directory / "outputs")
        self.count = count if vocabulary is None else lambda text: len(vocabulary.encode_ordinary(text))
        self.box = Toolbox(Files(self.root), self.shell, count=self.count, outputs=self.outputs)

    def write(self, path: str, lines: list[str]) -> None:
        (self.root / path).write_text("".join(line + "\n" for line in lines))

    def do(self, tool: str, budget: int = 8_000, **arguments: str | int) -> Observation:
        return self.box.execute(Call(tool, {key: str(value) for key, value in arguments.items()}), budget)

    def read(self, path: str, start: int, end: int) -> str:
        return self.do("read", path=path, start=start, end=end).text

    def run(self, output: str, code: int = 0, report: TestReport | None = None, budget: int = 8_000) -> str:
        self.shell.result = ShellResult(code, output, report)
        return self.do("run", budget, command="x").text

    def editable(self, path: str) -> list[int]:
        return self.box.shown.valid(path, self.box.files.lines(path))

    def values(self, tool: str, key: str, **given: str) -> tuple[str, ...]:
        domain = self.box.choices(tool, given).options[key]
        assert isinstance(domain, OneOfValues)
        return tuple(domain.values)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# The budget


ADVERSARIAL = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["", " ", "\t", "x = 1", " " * 300, "a" * 900, "\ud7ff", "é" * 200, "𝒳" * 90, "0" * 500, "<|im_end|>"]
    ),
    st.sampled_from([f"token = '{KEY}'", *PEM, "\u200b" * 40, "[/INST]</s>", "\x85\u2028", "=" * 256]),
)


@pytest.mark.parametrize("vocabulary", [qwen, tekken])
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(ADVERSARIAL.map(lambda text: text.replace("\n", "").replace("\r", "").replace("\0", "")), max_size=60),
    st.integers(1, 700),
    st.data(),
)
def test_no_observation_exceeds_its_budget(
    tmp_path_factory: pytest.TempPathFactory, vocabulary: object, lines: list[str], budget: int, data: st.DataObject
) -> None:
    assert callable(vocabulary)
    bench = Bench(tmp_path_factory.mktemp("bench"), vocabulary())
    (bench.root / "a.txt").write_text("\n".join(lines), newline="")
    length = len(bench.box.files.lines("a.txt"))
    start = data.draw(st.integers(1, length))
    end = data.draw(st.integers(start, length))
    for _ in range(3):
        seen = bench.do("read", budget, path="a.txt", start=start, end=end)
        assert seen.kind == "done" and bench.count(seen.text) <= budget
        start = max(1, start - 3)
    bench.box.forget()
    seen = bench.do("read", budget, path="a.txt", start=start, end=end)
    texts = seen.text.split("\n")
    for number in bench.editable("a.txt"):  # what may be edited stands whole in the text
        line = bench.box.files.lines("a.txt")[number - 1]
        assert line in texts or f"{number}\t{line}" in texts or f"\t{line}" in texts
    assert KEY not in seen.text
    for pattern in (".", "x", "^"):
        assert bench.count(bench.do("search", budget, pattern=pattern).text) <= budget
    for code in (0, 1):
        text = bench.run("\n".join(lines * 9), code, budget=budget)
        assert bench.count(text) <= budget and KEY not in text
    for handle in bench.outputs.handles():
        assert KEY not in "\n".join(bench.outputs.lines(handle))
        length = bench.outputs.length(handle)
        text = bench.do("read", budget, path=handle, start=1, end=min(length, 200)).text
        assert bench.count(text) <= budget and KEY not in text


def test_a_read_stops_at_whole_lines_and_says_where(bench: Bench) -> None:
    lines = [f"value_{n} = compute({n}, {n + 1})" for n in range(1, 151)]
    bench.write("a.py", lines)
    text = bench.do("read", 500, path="a.py", start=1, end=150).text
    last = bench.editable("a.py")[-1]
    assert 20 < last < 60 and text.endswith(f"{last}\t{lines[last - 1]}\nLines {last + 1} to 150 are left out.")
    assert count(text) <= 500 < count(text) + 30
    again = bench.do("read", 500, path="a.py", start=1, end=150).text  # the same call goes on
    assert f"Lines 1 to {last} were shown above and have not changed.\n" in again
    assert bench.editable("a.py")[-1] > last + 15


def test_a_refusal_too_is_redacted_and_then_counted(bench: Bench) -> None:
    for budget in range(1, 60):
        text = bench.do("read", budget, path="ftp://me:abc@host " * 3, start=1, end=1).text
        assert count(text) <= budget and "abc" not in text
    assert text.count("[redacted: password]") == 3


def test_only_a_line_too_long_by_itself_is_cut(bench: Bench) -> None:
    bench.write("a.txt", ["x y " * 1000, "short"])
    text = bench.do("read", 300, path="a.txt", start=1, end=2).text
    assert text.startswith("a.txt has 2 lines\n1\tx y x y") and text.endswith("\nThe rest of the line is left out.")
    assert 290 < count(text) <= 300 and bench.editable("a.txt") == []


# Listings


def test_a_long_listing_numbers_every_fifth_line() -> None:
    lines = ["def f():", "", "\tx = 1", "    return 7", "6", "9\tz"] * 10
    listed = entries(3, lines, sparse=True)
    assert entries(3, lines, sparse=False) == numbered(3, lines).split("\n")
    assert listed[:9] == [
        "3\tdef f():",
        "",
        "5\t\tx = 1",
        "\t    return 7",
        "\t6",
        "\t9\tz",
        "\tdef f():",
        "",
        "\t\tx = 1",
    ]
    numbers = ["3", *(str(n) for n in range(5, 61, 5) if lines[n - 3]), "62"]
    assert [entry.split("\t")[0] for entry in listed if entry[:1].isdigit()] == numbers
    for line, entry in zip(lines, listed, strict=True):  # what a line is can be told from its entry
        assert (entry.split("\t", 1)[1] if entry else "") == line


def test_what_the_numbers_of_a_listing_cost(record_property: pytest.FixtureRequest) -> None:
    """Tokens a line: on Tinsmith's own sources, 135 lines at a time."""
    root = Path(__file__).parent.parent / "src" / "tinsmith"
    parts = [
        (at + 1, lines[at : at + 135])
        for path in sorted(root.rglob("*.py"))
        for lines in [path.read_text().split("\n")]
        for at in range(0, len(lines) - 134, 135)
    ]
    total = sum(len(lines) for _, lines in parts)
    assert total > 5_000
    for name, vocabulary, most in (("qwen", qwen(), 0.75), ("tekken", tekken(), 0.80)):
        costs = [
            sum(len(vocabulary.encode_ordinary("\n".join(texts))) for texts in each) / total
            for each in (
                [lines for _, lines in parts],
                [entries(first, lines, sparse=False) for first, lines in parts],
                [entries(first, lines, sparse=True) for first, lines in parts],
            )
        ]
        print(f"{name}: {costs[0]:.2f} tokens a line, numbered {costs[1]:.2f}, every fifth {costs[2]:.2f}")
        assert costs[2] - costs[0] < most < 2.5 < costs[1] - costs[0]


# What stands in the window already


def test_lines_that_were_shown_are_not_shown_again(bench: Bench) -> None:
    bench.write("a.py", lines := [f"v{n} = {n}" for n in range(1, 101)])
    bench.read("a.py", 10, 60)
    text = bench.read("a.py", 1, 70)
    assert text.split("\n")[:3] == ["a.py has 100 lines", "1\tv1 = 1", "\tv2 = 2"]
    assert "9\tv9 = 9\nLines 10 to 60 were shown above and have not changed.\n61\tv61 = 61\n" in text
    whole = bench.read("a.py", 10, 60)
    assert whole == "a.py has 100 lines\nLines 10 to 60 were shown above and have not changed."
    assert "\t" + lines[30] in bench.read("a.py", 10, 60)  # the very same range again: shown
    assert bench.read("a.py", 10, 60) == whole
    assert bench.read("a.py", 20, 26) == "a.py has 100 lines\n" + numbered(20, lines[19:26])  # too few to elide


def test_changed_and_moved_lines_are_shown_again(bench: Bench) -> None:
    bench.write("a.py", [f"v{n} = {n}" for n in range(1, 101)])
    bench.read("a.py", 1, 60)
    assert bench.do("edit", path="a.py", start=30, end=30, new="a = 1").edited
    text = bench.read("a.py", 1, 60)
    assert "Lines 1 to 29 were shown above and have not changed.\n30\ta = 1\nLines 31 to 60 were" in text
    assert bench.do("edit", path="a.py", start=20, end=20, new="b = 1\nb = 2").edited
    text = bench.read("a.py", 1, 60)
    assert "Lines 1 to 19 were shown above and have not changed.\n20\tb = 1\n\tb = 2\n" in text and "\tv59 = 59" in text
    (bench.root / "a.py").write_text((bench.root / "a.py").read_text().replace("v40 = 40", "v40 = 0"))
    assert "41\tv40 = 0\nLines 42 to" in bench.read("a.py", 1, 61)


def test_what_was_forgotten_is_shown_again_and_not_editable(bench: Bench) -> None:
    bench.write("a.py", lines := [f"v{n} = {n}" for n in range(1, 31)])
    whole = bench.read("a.py", 1, 30)
    assert bench.read("a.py", 1, 30) != whole
    bench.box.forget()
    assert "edit" not in bench.box.available()
    bench.box.show(Excerpt("a.py", 1, tuple(lines[:10])))
    assert bench.editable("a.py") == list(range(1, 11))
    assert "Lines 1 to 10 were shown above" in bench.read("a.py", 1, 30)


def test_the_lines_in_work(bench: Bench) -> None:
    bench.write("a.py", [f"v{n} = {n}" for n in range(1, 201)])
    bench.write("b.py", [f"w{n} = {n}" for n in range(1, 21)])
    bench.read("a.py", 100, 180)
    bench.read("b.py", 1, 20)
    bench.do("edit", path="a.py", start=105, end=106, new="x = 1\nx = 2\nx = 3\nx = 4")
    found = bench.box.recent_excerpts()
    assert [(each.path, each.first, each.last) for each in found] == [
        ("a.py", 119, 159),
        ("b.py", 1, 20),
        ("a.py", 95, 118),
    ]
    assert found[2].lines[10:14] == ("x = 1", "x = 2", "x = 3", "x = 4")
    for path in ("a.py", "b.py"):
        (bench.root / path).unlink()
    assert bench.box.recent_excerpts() == []


def test_the_state_is_json_and_gives_the_same_choices(bench: Bench, tmp_path: Path) -> None:
    bench.write("a.py", [f"v{n} = {n}" for n in range(1, 101)])
    bench.write("long.txt", ["x"] * 9_000 + ["hit"])
    bench.read("a.py", 10, 60)
    bench.do("edit", path="a.py", start=30, end=31, new="a = 1")
    bench.do("search", pattern="hit")
    bench.run("F" * 999, 1, report(outcome("test_a")))
    elided = bench.read("a.py", 10, 25)
    state = json.loads(json.dumps(bench.box.state()))
    assert len(json.dumps(state)) < 1_500
    other = Toolbox(Files(bench.root), bench.shell, count=count, outputs=Outputs(tmp_path / "outputs"))
    other.restore(state)
    assert other.state() == bench.box.state() == state
    for tool, given_ in (
        ("edit", {}),
        ("edit", {"path": "a.py"}),
        ("edit", {"path": "a.py", "start": "29"}),
        ("read", {}),
        ("read", {"path": "long.txt"}),
    ):
        assert dict(other.choices(tool, given_).options) == dict(bench.box.choices(tool, given_).options)
    call = Call("read", {"path": "a.py", "start": "10", "end": "25"})
    again = other.execute(call, 8_000).text
    assert again == bench.box.execute(call, 8_000).text != elided
    assert other.recent_excerpts() == bench.box.recent_excerpts()


# Outputs and handles


def test_outputs_are_kept_behind_numbers(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path / "outputs")
    assert outputs.keep("one\ntwo\n") == "output:1"
    assert outputs.keep("\x1b[31mred\x1b[0m\r\n\x07bell\x00") == "output:2"
    later = Outputs(tmp_path / "outputs")
    assert later.handles() == ["output:1", "output:2"]
    assert later.lines("output:1") == ["one", "two"] and later.length("output:2") == 2
    assert later.lines("output:2") == ["red", "bell"]
    assert later.keep("é\ud800") == "output:3"
    assert sorted(path.name for path in (tmp_path / "outputs").iterdir()) == ["1.txt", "2.txt", "3.txt"]
    for handle in ("output:4", "output:0", "output:01", "output:1.txt", "output:../1", "1"):
        assert later.file(handle) is None
        with pytest.raises(KeyError):
            later.lines(handle)


def test_an_endless_output_keeps_its_ends(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    outputs.keep("start\n" + "x" * (40 << 20) + "\nend")
    lines = outputs.lines("output:1")
    assert lines[0] == "start" and lines[-1] == "end" and "bytes left out" in lines[2]
    assert (tmp_path / "1.txt").stat().st_size < (32 << 20) + 100


def test_a_long_output_lies_behind_a_handle(bench: Bench) -> None:
    short = "\n".join(f"line {n}" for n in range(200))
    assert bench.run(short, 2) == f"exit code 2\n{short}"
    assert bench.outputs.handles() == []
    long = [f"line {n} of many" for n in range(1, 2001)]
    text = bench.run("\n".join(long) + "\n")
    head, gap, tail = text.partition("[lines ")
    assert head.startswith("exit code 0\nline 1 of many\n") and tail.endswith("\nline 2000 of many")
    assert "of 2000 left out; read output:1]" in tail and gap
    assert 350 < count(text) <= 400
    assert bench.values("read", "path")[-1] == "output:1"
    assert bench.values("search", "path", pattern="x")[-1] == "output:1"
    assert bench.values("read", "start", path="output:1") == tuple(map(str, range(1, 2001)))
    assert bench.read("output:1", 1000, 1002) == "output:1 has 2000 lines\n" + "\n".join(long[999:1002])
    assert bench.do("search", pattern="line 77. of", path="output:1").text.startswith(
        "output:1\n770\tline 770 of many\n771"
    )
    assert bench.do("read", path="output:1", start=1, end=3000).missed
    assert bench.do("read", path="output:9", start=1, end=1).kind == "refused"
    assert bench.do("edit", path="output:1", start=1, end=1, new="x").kind == "refused"
    assert bench.do("edit", path="output:2", new="x").kind == "refused"
    assert bench.box.shown.paths() == []
    assert not list(bench.root.iterdir())


def test_a_clipped_output_is_made_of_whole_lines(bench: Bench) -> None:
    lines = [f"{n}: " + "word " * (n * 7 % 61) for n in range(3_000)]
    for budget in (60, 100, 256, 1_000):
        kept = bench.run("\n".join(lines), budget=budget).split("\n")
        gap = next(at for at, line in enumerate(kept) if line.startswith("[lines "))
        first, last = kept[gap].removeprefix("[lines ").split(" of ")[0].split(" to ")
        assert [kept[0], *lines[: int(first) - 1]] == kept[:gap] and lines[int(last) :] == kept[gap + 1 :]
    only = bench.run("x y " * 9_000)
    assert only.startswith("exit code 0\nThe end of one line:\n") and 350 < count(only) <= 400


def test_without_a_place_for_outputs_the_ends_are_shown(tmp_path: Path) -> None:
    box = Toolbox(Files(tmp_path), lambda command: ShellResult(0, "x y z\n" * 3000), count=count)
    text = box.execute(Call("run", {"command": "x"}), 8_000).text
    assert "of 3000 left out]" in text and count(text) <= 400


@pytest.mark.parametrize("vocabulary", [qwen, tekken])
def test_one_output_of_5000_lines_adds_at_most_500_tokens(bench: Bench, vocabulary: object) -> None:
    assert callable(vocabulary)
    encode = vocabulary().encode_ordinary
    box = Toolbox(Files(bench.root), bench.shell, count=lambda text: len(encode(text)), outputs=bench.outputs)
    lines = [f"INFO worker-{n % 7} finished job {n} in {n * 13 % 997} ms: {n:08x}" for n in range(5000)]
    bench.shell.result = ShellResult(0, "\n".join(lines))
    call = Call("run", {"command": "python -m service.replay --verbose"})
    dialect = QwenXml()
    spans = [*dialect.assistant_start(), Control(dialect.call_opener()), *dialect.tool_start()]
    spans += [Text("run>\n<parameter=command>\npython -m service.replay --verbose\n</parameter>\n</function>\n")]
    spans += [*dialect.call_end(), *dialect.observation(box.execute(call, 8_000).text)]
    added = sum(1 if isinstance(span, Control) else len(encode(span.text)) for span in spans)
    print(f"{added} tokens")
    assert 200 < added <= 500


# Test output


def outcome(name: str, message: str = "assert 3 == 4", exception: str = "AssertionError", line: int = 2) -> TestOutcome:
    frames = (Frame("t.py", 9, "test"), Frame("pkg.py", line, "f"))
    return TestOutcome(f"t.py::{name}", "failed", by="assertion", exception=exception, message=message, frames=frames)


def report(*outcomes: TestOutcome, passed: int = 0) -> TestReport:
    others = [TestOutcome(f"t.py::ok{n}", "passed") for n in range(passed)]
    found = {each.nodeid: each for each in (*outcomes, *others)}
    return TestReport(found, tuple(found), 1, "", started=True, timed_out=False, seconds=1.0)


def test_a_test_run_is_digested(bench: Bench) -> None:
    bench.write("pkg.py", ["def f():", "    return 3"])
    printed = "E   something long\n" * 300
    text = bench.run(printed, 1, report(outcome("test_a"), passed=41))
    assert text == (
        "exit code 1\n1 failed, 41 passed\nt.py::test_a: AssertionError: assert 3 == 4\nat pkg.py:2 in f: return 3\n"
        "What was printed: output:1, 300 lines."
    )
    assert bench.read("output:1", 300, 300).endswith("E   something long")
    many = bench.run(printed, 1, report(*(outcome(f"test_{n}", line=99) for n in range(12))))
    assert many.count("\nat pkg.py:99 in f\n") == 3 and "t.py::test_2:" in many and "t.py::test_3:" not in many
    assert "\nand 9 more: t.py::test_3, ::test_4, ::test_5, ::test_6, ::test_7, …\n" in many
    assert count(many) <= 250
    assert bench.run("F\nfailed", 1, report(outcome("test_b"))) == "exit code 1\nF\nfailed"  # shorter than its digest
    small = bench.run(printed, 1, report(*(outcome(f"other_{n}") for n in range(12))), budget=90)
    assert count(small) <= 90 and small.startswith("exit code 1\n12 failed")


def test_a_digest_that_does_not_fit_keeps_the_handle(bench: Bench) -> None:
    text = bench.run("F" * 99_999, 1, report(outcome("test_a[" + "x1" * 3_000 + "]")), budget=100)
    assert count(text) <= 100 and text.startswith("exit code 1\n1 failed\nand 1 more: t.py::test_a[x1")
    assert text.endswith("\nWhat was printed: output:1, 1 lines.")


def test_a_test_that_fails_as_before_is_only_named(bench: Bench) -> None:
    def run(*outcomes: TestOutcome) -> list[str]:
        return bench.run("F" * 9999, 1, report(*outcomes)).split("\n")[1:-1]

    first = run(outcome("test_a"), outcome("test_b", "is <f at 0x7f00aa00bb00>\nUse -v to get more diff"))
    assert first[3:5] == ["t.py::test_b: AssertionError: is <f>", "at pkg.py:2 in f"]
    again = run(outcome("test_a"), outcome("test_c"), outcome("test_b", "is <f at 0x7f00aa00cc00>"))
    assert again == [
        "3 failed",
        "t.py::test_c: AssertionError: assert 3 == 4",
        "at pkg.py:2 in f",
        "failing as above: t.py::test_a, ::test_b",
    ]
    assert run(outcome("test_a", "assert 5 == 4"))[1] == "t.py::test_a: AssertionError: assert 5 == 4"
    bench.box.forget()
    assert run(outcome("test_a"))[1] == "t.py::test_a: AssertionError: assert 3 == 4"


def test_the_place_in_the_test_itself_is_said_once() -> None:
    own = TestOutcome(
        "t.py::TestX::test_a[1-b]", "failed", exception="KeyError", message="'x'", frames=(Frame("t.py", 9, "test_a"),)
    )
    text = digest(report(own), lambda path, line: f"  {path}[{line}]").text
    assert text == "1 failed\nt.py::TestX::test_a[1-b]: KeyError: 'x'\nat line 9: t.py[9]"


def test_how_a_failing_test_is_described() -> None:
    assert describe(None) == "The test did not run."
    assert describe(outcome("a", "KeyError: 'x'", "KeyError")) == "t.py::a: KeyError: 'x'\nat pkg.py:2 in f"
    assert describe(TestOutcome("t.py", "error", "collect", exception="SyntaxError")) == "t.py: SyntaxError:"
    long = describe(outcome("a", "head\n" + "x" * 500 + " tail"))
    assert long.startswith("t.py::a: AssertionError: head xxx") and long.endswith("x tail\nat pkg.py:2 in f")
    assert "x […] x" in long and len(long) < 260


def test_a_digest_tells_errors_and_time_limits() -> None:
    late = TestReport(
        {"t.py::a": TestOutcome("t.py::a", "timeout", by="error", message="the test timeout")},
        ("t.py::a",), 1, "", started=True, timed_out=True, seconds=9.0,
    )  # fmt: skip
    text = digest(late, lambda path, line: "").text
    assert text == "1 timeout; stopped at the time limit\nt.py::a: the test timeout"


REPOSITORY = {
    "calc.py": "def add(a, b):\n    return a - b\n",
    "test_calc.py": (
        "import calc\n\ndef test_add():\n    print('said')\n    assert calc.add(1, 2) == 3\n\n"
        "def test_key():\n    {}['x']\n\ndef test_good():\n    assert calc.add(0, 0) == 0\n"
    ),
    "broken/test_broken.py": "import nowhere\n",
}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    top = tmp_path_factory.mktemp("checkout") / "repo"
    for path, content in REPOSITORY.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(content)
    subprocess.run(["git", "init", "-q", str(top)], check=True)
    subprocess.run(["git", "-C", str(top), "add", "-A"], check=True)
    return Workspace.create(top, tmp_path_factory.mktemp("run") / "workspace")


def run_shell(workspace: Workspace, command: str) -> ShellResult:
    done, found = run_reported(workspace, Sandbox.find(), ["/bin/sh", "-c", command], timeout=60)
    return ShellResult(done.returncode, done.output.decode(), found)


def test_any_command_that_starts_pytest_is_understood(workspace: Workspace, tmp_path: Path) -> None:
    outputs = Outputs(tmp_path / "outputs")
    box = Toolbox(Files(workspace.tree), lambda command: run_shell(workspace, command), count=count, outputs=outputs)

    def run(command: str) -> str:
        box.forget()
        return box.execute(Call("run", {"command": command}), 4_000).text

    for command in (
        "pytest test_calc.py",
        "python -m pytest -q test_calc.py",
        "cd . && PYTHONPATH=. pytest -x --maxfail=9 test_calc.py | cat",
        "export PYTHONPATH=$PWD; pytest test_calc.py; pytest test_calc.py -q",
    ):
        text = run(command)
        code = 0 if "| cat" in command else 1
        assert text.rsplit("\n", 1)[0] == (
            f"exit code {code}\n2 failed, 1 passed\n"
            "test_calc.py::test_add: AssertionError: assert -1 == 3 + where -1 = <function add>(1, 2)"
            " + where <function add> = calc.add\n"
            "at line 5: assert calc.add(1, 2) == 3\n"
            "test_calc.py::test_key: KeyError: 'x'\nat line 8: {}['x']"
        ), command
        assert text.rsplit("\n", 1)[1].startswith("What was printed: output:")
    assert "said" in "\n".join(outputs.lines(outputs.handles()[-1]))
    collected = run("python -m pytest broken")
    assert collected.startswith("exit code 2\n1 error\nbroken/test_broken.py: ModuleNotFoundError: No module named")
    assert "\nat broken/test_broken.py:1 in <module>: import nowhere\n" in collected
    assert "unrecognized arguments: --nonsense" in run("pytest --nonsense")
    assert run("echo hello; exit 3") == "exit code 3\nhello"
    assert run("true") == "exit code 0"
    assert "test_calc.py::test_good" in run("pytest -q --collect-only test_calc.py")


# Secrets


def test_no_secret_leaves_and_no_edit_rests_on_one(bench: Bench) -> None:
    bench.write("settings.py", ["import os", f"TOKEN = '{KEY}'", "DEBUG = True", *PEM, "LAST = 1"])
    excerpt = Excerpt("settings.py", 1, tuple(bench.box.files.lines("settings.py")))
    bench.box.show(excerpt)
    safe = [1, 3, 10]
    assert bench.editable("settings.py") == safe
    bench.box.show(Excerpt("settings.py", 5, excerpt.lines[4:6]))  # the middle of a private key, by itself
    assert bench.editable("settings.py") == safe
    bench.box.forget()
    texts = [
        bench.read("settings.py", 1, 10),
        bench.read("settings.py", 5, 6),
        bench.do("search", pattern=".").text,
        bench.do("search", pattern="QvAIB|LAST").text,
        bench.do("edit", path="settings.py", old=f"TOKEN = '{KEY}x'", new="x").text,
        bench.do("edit", path="settings.py", start=2, end=2, new="x").text,
        bench.do("edit", path="settings.py", old=PEM[1], new="x").text,
        bench.run(f"TOKEN = '{KEY}'"),
        bench.run("\n".join([*PEM, "x y z"] * 200)),
        bench.run("F" * 999, 1, report(outcome("a", f"assert '{KEY}' == ''"))),
        bench.read("output:1", 3, 4),
    ]
    for text in texts:
        assert KEY not in text and "QvAIB" not in text, text
    assert (
        "2\tTOKEN = '[redacted: GitHub token]'" in texts[0]
        and "QvAIB" not in (bench.outputs.directory / "1.txt").read_text()
    )
    assert bench.editable("settings.py") == safe
    assert [each.first for each in bench.box.recent_excerpts()] == [1, 3, 10]
    assert bench.values("edit", "old", path="settings.py") == ("DEBUG = True", "LAST = 1", "import os")


# Long files


def test_a_long_file_offers_few_starts_and_those_that_were_named(bench: Bench) -> None:
    bench.write("long.txt", ["x"] * 123_456 + ["hit"] + ["y"] * 76_543)
    starts = bench.values("read", "start", path="long.txt")
    assert len(starts) == 4001 and starts[:3] == ("1", "50", "100") and starts[-1] == "200000"
    bench.do("search", pattern="hit", path="long.txt")
    assert "123457" in bench.values("read", "start", path="long.txt")
    assert bench.values("read", "end", path="long.txt", start="123457")[-1] == "123656"
    assert bench.read("long.txt", 123457, 123458) == "long.txt has 200000 lines\n123457\thit\n123458\ty"
    printed = report(outcome("a", line=77_777))
    bench.write("pkg.py", ["x = 1"] * 80_000)
    assert "at pkg.py:77777 in f: x = 1" in bench.run("F" * 999, 1, printed)
    assert "77777" in bench.values("read", "start", path="pkg.py")


def test_room() -> None:
    room = Room(20, count)
    assert room.holds("a b c") and not room.holds("a " * 40) and not room.holds(" " * 10_000)
    assert count(room.cut("word " * 100)) <= 20 and Room(0, count).cut("x") == "" and Room(-3, count).cut("x") == ""
    assert room.at_most(5).tokens == 5 and room.at_most(50).tokens == 20
    secret = "ftp://me:abc@host"  # what is counted is what is shown: longer, since it is redacted
    assert not Room(count(secret), count).holds(secret) and Room(count(secret) + 8, count).holds(secret)
