"""Test runners beside pytest: real ones where they are installed, else their own reports, recorded, behind scripts of
their names that write them where the command says.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tinsmith.errors import InputError
from tinsmith.workspace import SESSION, Sandbox, TestReport, TestRunner, Workspace
from tinsmith.workspace.related_tests import related_tests
from tinsmith.workspace.runners import Place, recognise
from tinsmith.workspace.runners.junit_xml import BadXML, parse

RECORDED = Path(__file__).parent / "data" / "reports"
UNITTEST = [sys.executable, "-m", "unittest", "discover", "-s", "tests"]


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox.find()


def make(tmp_path: Path, files: dict[str, str]) -> Workspace:
    repo = tmp_path / "repo"
    for name, content in files.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(content)
        if name.startswith("tools/"):
            (repo / name).chmod(0o755)
    subprocess.run(["git", "init", "-q"], cwd=repo, check=True)
    return Workspace.create(repo, tmp_path / "work", python=Path(sys.executable))


def told(report: TestReport) -> dict[str, tuple[str, str | None]]:
    return {nodeid: (outcome.outcome, outcome.by) for nodeid, outcome in report.outcomes.items()}


def place(cwd: str = ".") -> Place:
    return Place(Path("/nowhere"), Path("/repo"), cwd, Path("/usr/bin/python3"))


# ---- which runner


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("python -m pytest -q", "pytest"),
        ("python3 -m unittest", "unittest"),
        ("python manage.py test shop", "unittest"),
        ("./runtests.py --parallel=1", "unittest"),
        ("python manage.py migrate", "command"),
        ("npx jest --ci", "jest"),
        ("node node_modules/.bin/vitest run", "vitest"),
        ("go test ./...", "go"),
        ("go build ./...", "command"),
        ("cargo test --all", "cargo"),
        ("cargo +nightly test", "cargo"),
        ("cargo build", "command"),
        ("mvn -o test", "mvn"),
        ("./gradlew --offline test", "gradlew"),
        ("ctest --test-dir build", "ctest"),
        ("node --test", "node"),
        ("node app.js", "command"),
        ("npm test", "command"),  # no package.json says what that is
        ("make check", "command"),
    ],
)
def test_a_command_is_recognised(command: str, name: str) -> None:
    assert recognise(command.split(), place()).name == name


def test_a_package_script_is_recognised_by_what_it_runs(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    scripts = '{"test": "npm run lint && jest --ci", "unit": "vitest", "other": "echo jest; node x.js",'
    scripts += '"node": "node --test lib", "prebuilt": "node --test", "preprebuilt": "tsc", "empty": ""}'
    (tmp_path / "app" / "package.json").write_text(f'{{"scripts": {scripts}}}')
    here = Place(tmp_path, Path("/repo"), "app", Path("/usr/bin/python3"))
    names = {
        "npm test": "jest",
        "yarn test": "jest",
        "pnpm run unit": "vitest",
        "npm run other": "command",
        "npm run node": "node",
        "npm run prebuilt": "command",
        "npm run empty": "command",
    }
    assert {command: recognise(command.split(), here).name for command in names} == names
    assert recognise(["npm", "run", "node"], here).run(None, "no").argv[:2] == ["node", "--test"]
    launched = recognise(["npm", "test"], here).run(["app/a.test.js::A::b (c)"], "no").argv
    assert launched[:4] == ["npm", "test", "--", "--json"]
    assert launched[-4:] == ["-t", r"^(A(?: |::)b \(c\))( .*)?$", "--runTestsByPath", "a.test.js"]


# ---- unittest, which every Python has

CASES = {
    "shop/__init__.py": "",
    "shop/cart.py": "def add(a, b):\n    return a - b\n\n\ndef broken():\n    return inner()\n\n\n"
    "def inner():\n    raise KeyError('no such key')\n",
    "tests/test_cart.py": """\
import os, unittest
from shop import cart

class Cart(unittest.TestCase):
    def test_add(self): self.assertEqual(cart.add(1, 2), 3)
    def test_good(self):
        print("ok\\n\\nOK")
        self.assertEqual(cart.add(2, 1), 1)
    def test_raises(self): cart.broken()
    @unittest.skip("later")
    def test_skipped(self): pass
    @unittest.expectedFailure
    def test_known(self): self.assertTrue(False)
    @unittest.expectedFailure
    def test_cured(self): pass
    def test_table(self):
        for a in (0, 1, 2):
            with self.subTest(a=a): self.assertEqual(cart.add(a, 0), 1)

class Broken(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise OSError("no database")
    def test_never(self): pass

class Late(unittest.TestCase):
    def tearDown(self): raise ValueError("late")
    def test_it(self): pass

class Hidden(unittest.TestCase):
    def test_environment(self):
        self.assertFalse([name for name in os.environ if name in ("TINSMITH_REPORT", "TINSMITH_SELECTED")])
""",
    "tests/test_import.py": "from shop import nothing\n",
    "tests/test_skip.py": "import unittest\nraise unittest.SkipTest('no display')\n",
}


def test_unittest_tells_every_kind_of_outcome(tmp_path: Path, sandbox: Sandbox) -> None:
    runner = TestRunner(make(tmp_path, CASES), sandbox, UNITTEST)
    report = runner.run(timeout=60)
    cart = "tests/test_cart.py::Cart::"
    assert told(report) == {
        f"{cart}test_add": ("failed", "assertion"),
        f"{cart}test_good": ("passed", None),
        f"{cart}test_raises": ("failed", "error"),
        f"{cart}test_skipped": ("skipped", None),
        f"{cart}test_known": ("xfailed", None),
        f"{cart}test_cured": ("failed", "assertion"),
        f"{cart}test_table": ("failed", "assertion"),
        "tests/test_cart.py::Broken": ("error", "error"),
        "tests/test_cart.py::Late::test_it": ("failed", "error"),
        "tests/test_cart.py::Hidden::test_environment": ("passed", None),
        "tests/test_import.py": ("error", "collection"),
        "tests/test_skip.py": ("skipped", None),
    }
    raises = report.outcomes[f"{cart}test_raises"]
    assert (raises.exception, raises.message) == ("KeyError", "'no such key'") and raises.duration > 0
    assert [(f.path, f.line, f.function) for f in raises.frames] == [
        ("tests/test_cart.py", 9, "test_raises"),
        ("shop/cart.py", 6, "broken"),
        ("shop/cart.py", 10, "inner"),
    ]
    assert "(a=0)" in report.outcomes[f"{cart}test_table"].message
    assert report.outcomes["tests/test_import.py"].exception == "ImportError"
    assert report.outcomes["tests/test_import.py"].frames[-1].line == 1
    assert len(report.collected) == 10 and f"{cart}test_known" in report.collected


def test_unittest_runs_what_is_chosen_and_lists_without_running(tmp_path: Path, sandbox: Sandbox) -> None:
    marks = "import pathlib, unittest\nclass Mark(unittest.TestCase):\n"
    marks += "    def test_mark(self): pathlib.Path('mark').touch()\n    def test_b(self): pass\n"
    workspace = make(
        tmp_path, {"tests/test_mark.py": marks, "tests/test_other.py": marks, "tests/test_bad.py": "1/0\n"}
    )
    runner = TestRunner(workspace, sandbox, UNITTEST)
    listed = runner.collect(timeout=60)
    assert set(listed.collected) == {
        f"tests/test_{name}.py::Mark::test_{test}" for name in ("mark", "other") for test in ("mark", "b")
    }
    assert told(listed) == {"tests/test_bad.py": ("error", "collection")}
    assert not (workspace.tree / "mark").exists()
    one = runner.run(["tests/test_mark.py::Mark::test_b"], timeout=60)
    assert told(one) == {"tests/test_mark.py::Mark::test_b": ("passed", None)}
    file = runner.run(["tests/test_mark.py", "tests/test_bad.py::Any::test"], timeout=60)
    assert set(file.outcomes) == {
        "tests/test_mark.py::Mark::test_b",
        "tests/test_mark.py::Mark::test_mark",
        "tests/test_bad.py",
    }


def test_unittest_is_traced_and_a_dead_process_is_told(tmp_path: Path, sandbox: Sandbox) -> None:
    die = "import os, time, unittest\nclass Die(unittest.TestCase):\n    def test_die(self): os._exit(3)\n"
    files = {**CASES, "tests/test_die.py": die, "tests/test_hang.py": die.replace("os._exit(3)", "time.sleep(60)")}
    runner = TestRunner(make(tmp_path, files), sandbox, UNITTEST)
    traced = runner.run(["tests/test_cart.py::Cart::test_raises"], trace=True, timeout=60)
    assert traced.outcomes["tests/test_cart.py::Cart::test_raises"].trace == {("shop/cart.py", 6), ("shop/cart.py", 10)}
    assert told(runner.run(["tests/test_die.py"], timeout=60)) == {
        "tests/test_die.py::Die::test_die": ("crashed", "error")
    }
    hung = runner.run(["tests/test_hang.py"], timeout=4)
    assert told(hung) == {"tests/test_hang.py::Die::test_die": ("timeout", "error")}


def test_a_script_that_runs_unittest_is_understood(tmp_path: Path, sandbox: Sandbox) -> None:
    """As Django's `manage.py test` and `runtests.py`, with labels in dots."""
    script = "import sys, unittest\n"
    script += "if __name__ == '__main__': unittest.main(module=None, argv=['x', *sys.argv[1:]])\n"
    workspace = make(tmp_path, {**CASES, "tests/runtests.py": script, "tests/__init__.py": ""})
    runner = TestRunner(workspace, sandbox, "tests/runtests.py test_cart")
    # The script stands in tests/, the package of the code in the top.
    workspace.write_file("tests/shop/__init__.py", b"")
    workspace.write_file("tests/shop/cart.py", CASES["shop/cart.py"].encode())
    report = runner.run(timeout=60)
    assert report.outcomes["tests/test_cart.py::Cart::test_add"].by == "assertion" and len(report.outcomes) == 10
    chosen = runner.runner.run(["tests/test_cart.py::Cart::test_add"], "no")
    assert chosen.argv[-2:] == ["test_cart", "test_cart.Cart.test_add"] and chosen.argv[0] == sys.executable


def test_a_module_in_place_of_ours_is_not_taken(tmp_path: Path, sandbox: Sandbox) -> None:
    forged = "raise SystemExit(0)\n"
    names = ("tinsmith_unittest_report", "tinsmith_report_writer", "tinsmith_spectrum")
    workspace = make(tmp_path, {**CASES, **{f"{name}.py": forged for name in names}})
    test = "tests/test_cart.py::Cart::test_add"
    for command in (UNITTEST, [sys.executable, "-m", "pytest", "-q", "-p", "no:hypothesispytest"]):
        assert told(TestRunner(workspace, sandbox, command).run([test], timeout=60)) == {test: ("failed", "assertion")}


# ---- others, by their recorded reports


def replay(name: str, option: str) -> str:
    """A tool that writes a recorded report to the file that `option` names."""
    return f"""#!/bin/sh
for word in "$@"; do case $word in {option}=*) out=${{word#*=}} ;; esac; done
printf '%s\\n' "$@" >arguments
sed "s|@TREE@|$PWD|g" {name} >"$out"
exit 1
"""


JEST = {
    "src/broken.test.js": ("error", "collection"),
    "src/calc.test.js::calc::adds": ("failed", "assertion"),
    "src/calc.test.js::calc::is good": ("passed", None),
    "src/calc.test.js::calc::raises": ("failed", "error"),
    "src/calc.test.js::calc::left out": ("skipped", None),
    "src/calc.test.js::calc::later": ("skipped", None),
    "src/calc.test.js::calc::known": ("passed", None),
    "src/calc.test.js::calc::deep :: er::lies": ("failed", "error"),
}


def test_jest_by_its_report(tmp_path: Path, sandbox: Sandbox) -> None:
    files = {"tools/jest": replay("report.json", "--outputFile"), "report.json": (RECORDED / "jest.json").read_text()}
    workspace = make(tmp_path, files)
    runner = TestRunner(workspace, sandbox, "tools/jest --ci")
    report = runner.run(timeout=60)
    assert told(report) == JEST
    adds = report.outcomes["src/calc.test.js::calc::adds"]
    assert adds.message.startswith("expect(received).toBe(expected)") and adds.duration == 0.003
    assert [(f.path, f.line) for f in adds.frames] == [("src/calc.test.js", 3)]
    raises = report.outcomes["src/calc.test.js::calc::raises"]
    assert [(f.path, f.line, f.function) for f in raises.frames] == [
        ("src/calc.test.js", 5, "Object.inner"),
        ("src/calc.js", 2, "Object.foo [as inner]"),
    ]
    assert raises.exception == "TypeError"
    # The message of this one holds a line that looks like a frame.
    assert [(f.path, f.line) for f in report.outcomes["src/calc.test.js::calc::deep :: er::lies"].frames] == [
        ("src/calc.test.js", 9)
    ]
    assert [(f.path, f.line) for f in report.outcomes["src/broken.test.js"].frames] == [("src/broken.test.js", 1)]
    assert len(report.collected) == 7
    one = runner.run(["src/calc.test.js::calc::adds"], timeout=60)
    assert told(one) == {"src/calc.test.js::calc::adds": ("failed", "assertion")}
    arguments = (workspace.tree / "arguments").read_text().split("\n")
    assert arguments[-5:-1] == ["-t", "^(calc(?: |::)adds)( .*)?$", "--runTestsByPath", "src/calc.test.js"]


def test_vitest_by_its_report(tmp_path: Path, sandbox: Sandbox) -> None:
    recorded = (RECORDED / "vitest.json").read_text()
    files = {"tools/vitest": replay("report.json", "--outputFile.json"), "report.json": recorded}
    report = TestRunner(make(tmp_path, files), sandbox, "tools/vitest").run(timeout=60)
    assert told(report) == {
        "broken.test.mjs": ("error", "collection"),
        "calc.test.mjs::calc::adds": ("failed", "assertion"),
        "calc.test.mjs::calc::is good": ("passed", None),
        "calc.test.mjs::calc::raises": ("failed", "error"),
        "calc.test.mjs::calc::left out": ("skipped", None),
        "calc.test.mjs::calc::later": ("skipped", None),
        "calc.test.mjs::calc::known": ("passed", None),
    }
    raises = report.outcomes["calc.test.mjs::calc::raises"]
    assert [(f.path, f.line) for f in raises.frames] == [("calc.test.mjs", 6), ("calc.mjs", 2)]


GO = {
    "go.mod": "module example.com/shop\n\ngo 1.22\n",
    "calc/calc.go": "package calc\n",
    "calc/calc_test.go": "package calc\n\nfunc TestAdd(t *testing.T) {}\nfunc TestTable(t *testing.T) {}\n"
    "func TestPanic(t *testing.T) {}\n",
    "calc/more_test.go": "package calc\n\nfunc TestLater(t *testing.T) {}\nfunc TestCut(t *testing.T) {}\n",
    "bad/bad.go": "package bad\n",
    "tools/go": "#!/bin/sh\nprintf '%s\\n' \"$@\" >arguments\n"
    'echo "building" >&2\nsed "s|@TREE@|$PWD|g" events.jsonl\nexit 1\n',
    "events.jsonl": (RECORDED / "go.jsonl").read_text(),
}


def test_go_by_its_events(tmp_path: Path, sandbox: Sandbox) -> None:
    workspace = make(tmp_path, GO)
    runner = TestRunner(workspace, sandbox, "tools/go test ./...")
    report = runner.run(timeout=60)
    assert told(report) == {
        # A pass that was printed does not take the failure back.
        "calc/calc_test.go::TestAdd": ("failed", "assertion"),
        "calc/calc_test.go::TestTable/one_and_one": ("passed", None),
        "calc/calc_test.go::TestTable": ("passed", None),
        "calc/more_test.go::TestLater": ("skipped", None),
        "calc/calc_test.go::TestPanic": ("failed", "error"),
        "calc/more_test.go::TestCut": ("crashed", "error"),
        "bad": ("error", "collection"),
    }
    add, panic = report.outcomes["calc/calc_test.go::TestAdd"], report.outcomes["calc/calc_test.go::TestPanic"]
    assert (add.message, add.duration) == ("calc_test.go:9: got -1, want 3", 0.25)
    assert [(f.path, f.line) for f in add.frames] == [("calc/calc_test.go", 9)]
    assert [(f.path, f.line) for f in panic.frames] == [("calc/calc_test.go", 25), ("calc/calc.go", 6)]
    assert "syntax error" in report.output and "building" in report.output
    arguments = workspace.read_file("arguments").decode().split()
    assert arguments == ["test", "-json", "-count=1", "./..."]
    chosen = runner.run(["calc/calc_test.go::TestTable/one_and_one", "calc/more_test.go"], timeout=60)
    assert set(chosen.outcomes) == {
        "calc/calc_test.go::TestTable/one_and_one",
        "calc/more_test.go::TestLater",
        "calc/more_test.go::TestCut",
    }
    arguments = workspace.read_file("arguments").decode().split()
    assert arguments == ["test", "-json", "-count=1", "-run", "^(TestTable|TestLater|TestCut)$", "./calc"]


def test_a_command_that_fails_while_all_tests_pass_is_no_success(tmp_path: Path, sandbox: Sandbox) -> None:
    passing = [line for line in GO["events.jsonl"].split("\n") if '"pass"' in line]
    report = TestRunner(make(tmp_path, {**GO, "events.jsonl": "\n".join(passing)}), sandbox, "tools/go test").run(
        timeout=60
    )
    assert {o.nodeid for o in report.failing()} == {SESSION} and len(report.outcomes) == 4


CARGO = {
    "Cargo.toml": "[package]\nname = 'calc'\n",
    "src/lib.rs": "//\n",
    "tests/it.rs": "//\n",
    "tools/cargo": """#!/bin/sh
printf '%s\\n' "$@" >arguments
mkdir -p target /tmp/rustdoctestX
cp lib.sh target/calc-1 && echo "$PWD/target/calc-1: src/lib.rs src/more.rs" >target/calc-1.d
cp it.sh target/it-2 && echo "$PWD/target/it-2: tests/it.rs" >target/it-2.d
cp doc.sh /tmp/rustdoctestX/rust_out
status=0
for binary in $PWD/target/calc-1 $PWD/target/it-2 /tmp/rustdoctestX/rust_out; do
    chmod +x $binary
    $CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER $binary || status=101
done
exit $status
""",
    "lib.sh": '#!/bin/sh\ncase "$*" in\n*--list*) echo "tests::adds: test" ;;\n*"-Z unstable-options --format json"*)\n'
    '[ "$RUSTC_BOOTSTRAP" = 1 ] && cat libtest.jsonl; exit 101 ;;\nesac\n',
    "it.sh": "#!/bin/sh\nexit 139\n",
    "doc.sh": "#!/bin/sh\necho 'test src/lib.rs - (line 1) ... FAILED'\nexit 101\n",
    "libtest.jsonl": (RECORDED / "libtest.jsonl").read_text(),
}


def test_cargo_by_libtests_events(tmp_path: Path, sandbox: Sandbox) -> None:
    workspace = make(tmp_path, CARGO)
    runner = TestRunner(workspace, sandbox, "tools/cargo test --all -- --test-threads 2")
    report = runner.run(timeout=60)
    assert told(report) == {
        "src/lib.rs::tests::good": ("passed", None),
        "src/lib.rs::tests::adds": ("failed", "assertion"),
        "src/lib.rs::tests::left_out": ("skipped", None),
        "src/lib.rs::tests::raises": ("failed", "error"),
        "src/lib.rs::tests::result": ("failed", "assertion"),
        "src/lib.rs::tests::cut": ("crashed", "error"),
        "tests/it.rs": ("crashed", "error"),
        "doctests": ("failed", "error"),
    }
    raises = report.outcomes["src/lib.rs::tests::raises"]
    assert [(f.path, f.line, f.function) for f in raises.frames] == [
        ("src/lib.rs", 4, "calc::tests::raises"),
        ("src/lib.rs", 2, "calc::inner"),
    ]
    assert raises.message == "called `Option::unwrap()` on a `None` value"
    assert report.outcomes["src/lib.rs::tests::good"].duration == 0.25
    assert runner.collect(timeout=60).collected == ("src/lib.rs::tests::adds",)
    one = runner.run(["src/lib.rs::tests::adds"], timeout=60)
    assert set(one.outcomes) == {"src/lib.rs::tests::adds"}
    arguments = workspace.read_file("arguments").decode().split()
    assert arguments == ["test", "--all", "--no-fail-fast", "--", "--test-threads", "2", "--exact", "tests::adds"]


def test_code_that_does_not_compile_is_an_outcome_of_the_session(tmp_path: Path, sandbox: Sandbox) -> None:
    files = {"tools/cargo": "#!/bin/sh\necho 'error[E0308]: mismatched types'\nexit 101\n"}
    (outcome,) = TestRunner(make(tmp_path, files), sandbox, "tools/cargo test").run(timeout=60).failing()
    assert (outcome.nodeid, outcome.by) == (SESSION, "collection") and "E0308" in outcome.message


MAVEN = {
    "shop/src/test/java/com/example/shop/CartTest.java": "//\n",
    "shop/src/main/java/com/example/shop/Cart.java": "//\n",
    "shop/pom.xml": "<project/>",
    "tools/mvn": "#!/bin/sh\nprintf '%s\\n' \"$@\" >arguments\nmkdir -p shop/target/surefire-reports\n"
    "cp surefire.xml shop/target/surefire-reports/TEST-com.example.shop.CartTest.xml\nexit 1\n",
    "surefire.xml": (RECORDED / "surefire.xml").read_text(),
}


def test_maven_by_its_junit_xml(tmp_path: Path, sandbox: Sandbox) -> None:
    workspace = make(tmp_path, MAVEN)
    runner = TestRunner(workspace, sandbox, "tools/mvn -o test")
    workspace.write_file("shop/target/surefire-reports/TEST-Old.xml", b"<testsuite><testcase name='old'/></testsuite>")
    test = "shop/src/test/java/com/example/shop/CartTest.java"
    report = runner.run(timeout=60)
    assert told(report) == {
        f"{test}::adds": ("passed", None),
        f"{test}::totals": ("failed", "assertion"),
        f"{test}::raises": ("failed", "error"),
        f"{test}::later": ("skipped", None),
        f"{test}::unsteady": ("passed", None),
    }
    assert report.flaky == {f"{test}::unsteady"}
    totals, raises = report.outcomes[f"{test}::totals"], report.outcomes[f"{test}::raises"]
    assert (totals.exception, totals.duration) == ("AssertionFailedError", 1000.5)
    assert totals.message == "expected: <3> but was: <-1>"
    assert [(f.path, f.line) for f in totals.frames] == [(test, 12)]
    assert [(f.path, f.line, f.function) for f in raises.frames] == [
        (test, 17, "raises"),
        ("shop/src/main/java/com/example/shop/Cart.java", 7, "first"),
    ]
    runner.run([f"{test}::adds", f"{test}::later"], timeout=60)
    arguments = workspace.read_file("arguments").decode().split()
    assert arguments[2] == "-Dtest=com.example.shop.CartTest#adds,com.example.shop.CartTest#later"
    with pytest.raises(InputError, match="cannot be used"):
        runner.collect(timeout=10)


def test_any_command_that_writes_junit_xml(tmp_path: Path, sandbox: Sandbox) -> None:
    xml = '<testsuites><testsuite name="s"><testcase classname="a" name="x" file="t/a.x" time="1"/>'
    xml += '<testcase name="y"><failure message="no"/></testcase></testsuite></testsuites>'
    files = {"t/a.x": "", "r.xml": xml}
    workspace = make(tmp_path, files)
    command = "sh -c 'mkdir -p out/deep; cp r.xml out/deep/1.xml; exit 1'"
    report = TestRunner(workspace, sandbox, command, junit="out/*.xml").run(timeout=60)
    assert told(report) == {"t/a.x::x": ("passed", None), "s::y": ("failed", "assertion")}
    none = TestRunner(workspace, sandbox, "true", junit="out/*.xml").run(timeout=60)
    assert none.outcomes == {} and not list((workspace.tree / "out").rglob("*.xml"))
    for pattern in ("/etc/*.xml", "../*.xml", "*"):
        with pytest.raises(InputError) as caught:
            TestRunner(workspace, sandbox, "true", junit=pattern)
        assert caught.value.code == "bad_junit_pattern"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<testsuite><testcase>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><testsuite><testcase name="&a;"/></testsuite>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><testsuite/>',
        b"<testsuite>" * 100 + b"</testsuite>" * 100,
        b'<?xml version="1.0" encoding="no-such"?><testsuite/>',
        b"\xff\xfe\x00",
    ],
)
def test_xml_that_is_not_safe_to_read_is_refused(content: bytes) -> None:
    with pytest.raises(BadXML):
        parse(content)


@pytest.mark.parametrize(
    "attack", ["ln -s /etc/hostname out/x.xml", "mkfifo out/x.xml", "echo '<!DOCTYPE a><a/>' >out/x.xml"]
)
def test_hostile_junit_files_break_nothing(tmp_path: Path, sandbox: Sandbox, attack: str) -> None:
    command = ["sh", "-c", f"mkdir -p out; {attack}"]
    report = TestRunner(make(tmp_path, {"a": ""}), sandbox, command, junit="out/*.xml").run(timeout=60)
    assert set(report.outcomes) <= {SESSION} and all(not outcome.ok for outcome in report.outcomes.values())


# ---- real tools, where they are installed


@pytest.mark.skipif(shutil.which("ctest") is None, reason="CMake is not installed")
def test_ctest_itself(tmp_path: Path, sandbox: Sandbox) -> None:
    cmake = "cmake_minimum_required(VERSION 3.21)\nproject(demo NONE)\nenable_testing()\n"
    cmake += 'add_test(NAME good COMMAND true)\nadd_test(NAME bad COMMAND sh -c "echo why; exit 3")\n'
    workspace = make(tmp_path, {"CMakeLists.txt": cmake})
    built = workspace.run(sandbox, ["cmake", "-S", ".", "-B", "build"], timeout=60)
    if built.returncode:
        pytest.skip(f"CMake does not run in the sandbox: {built.output[-200:]!r}")
    runner = TestRunner(workspace, sandbox, "ctest --test-dir build")
    assert told(runner.run(timeout=60)) == {"good": ("passed", None), "bad": ("failed", "assertion")}
    assert told(runner.run(["good"], timeout=60)) == {"good": ("passed", None)}


def node_reports_junit() -> bool:
    node = shutil.which("node")
    if node is None or not node.startswith("/usr/"):
        return False
    version = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    return int(version.lstrip("v").partition(".")[0] or 0) >= 20


@pytest.mark.skipif(not node_reports_junit(), reason="there is no Node 20 or later below /usr")
def test_nodes_own_runner(tmp_path: Path, sandbox: Sandbox) -> None:
    code = "const { test } = require('node:test'); const assert = require('node:assert')\n"
    code += "test('good', () => { console.log('not ok 1 - good') })\n"
    code += "test('bad', () => { assert.strictEqual(1, 2) })\ntest('raises', () => { null.x })\n"
    report = TestRunner(make(tmp_path, {"a.test.js": code}), sandbox, "node --test").run(timeout=60)
    seen = {nodeid.rpartition("::")[2]: outcome for nodeid, outcome in report.outcomes.items()}
    assert {name: (o.outcome, o.by) for name, o in seen.items()} == {
        "good": ("passed", None),
        "bad": ("failed", "assertion"),
        "raises": ("failed", "error"),
    }
    assert [(f.path, f.line) for f in seen["raises"].frames] == [("a.test.js", 4)]


# ---- flaky, related, spectra


def test_a_test_that_fails_and_then_passes_is_flaky(tmp_path: Path, sandbox: Sandbox) -> None:
    content = "import pathlib, unittest\nmark = pathlib.Path('mark')\nclass T(unittest.TestCase):\n"
    content += "    def test_unsteady(self):\n        n = mark.read_text() if mark.exists() else ''\n"
    content += "        mark.write_text(n + 'x')\n        self.assertEqual(len(n), 2)\n"
    content += "    def test_broken(self): self.fail('always')\n    def test_good(self): pass\n"
    workspace = make(tmp_path, {"tests/test_t.py": content})
    runner = TestRunner(workspace, sandbox, UNITTEST)
    report = runner.run(reruns=3, timeout=60)
    test = "tests/test_t.py::T::test_"
    assert report.flaky == {f"{test}unsteady"} and report.starts == 4
    assert {o.nodeid for o in report.failing()} == {f"{test}unsteady", f"{test}broken"}
    (workspace.tree / "mark").unlink()
    assert runner.run(reruns=1, timeout=60).flaky == set()


PROJECT = {
    "src/shop/__init__.py": "",
    "src/shop/cart.py": "from .money import add\n\ndef total(a, b):\n    return add(a, b)\n",
    "src/shop/money.py": "def add(a, b):\n    return a + b\n\ndef unused():\n    return 0\n",
    "src/shop/plain.py": "X = 1\n",
    "tests/conftest.py": "import sys\nsys.path.insert(0, 'src')\n",
    "tests/test_cart.py": "from shop.cart import total\n\ndef test_total():\n    assert total(1, 2) == 3\n",
    "tests/test_money.py": "import pytest\nfrom shop import money\n\n@pytest.fixture\ndef sum_(): "
    "return money.add(1, 1)\n\ndef test_unused(sum_):\n    assert money.unused() == 0\n",
    "tests/test_plain.py": "def test_nothing(): pass\n",
    "web/cart.ts": "import { add } from './money'\n",
    "web/money.ts": "export const add = 1\n",
    "web/cart.test.ts": "import { total } from './cart.js'\n",
    "web/__tests__/util.js": "const m = require('../money')\n",
    "pkg/a.go": "package pkg\n",
    "pkg/b_test.go": "package pkg\n",
    "java/src/main/java/Cart.java": "",
    "java/src/test/java/CartTest.java": "",
}


def test_related_tests_by_imports_and_names(tmp_path: Path) -> None:
    for name, content in PROJECT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)

    def related(*paths: str) -> list[str]:
        return related_tests(tmp_path, paths)

    assert related("src/shop/money.py") == ["tests/test_money.py", "tests/test_cart.py"]
    assert related("src/shop/plain.py") == ["tests/test_plain.py"]
    assert related("tests/test_cart.py") == ["tests/test_cart.py"]
    assert set(related("tests/conftest.py")) == {f"tests/test_{name}.py" for name in ("cart", "money", "plain")}
    assert related("web/money.ts") == ["web/__tests__/util.js", "web/cart.test.ts"]
    assert related("pkg/a.go") == ["pkg/b_test.go"]
    assert "java/src/test/java/CartTest.java" in related("java/src/main/java/Cart.java")
    assert related("README.md", "no/such.py") == [] == related()


def test_spectra_tell_which_tests_are_related(tmp_path: Path, sandbox: Sandbox) -> None:
    plain = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
    runner = TestRunner(make(tmp_path, PROJECT), sandbox, plain)
    spectra = runner.spectra(timeout=60)
    traces = {nodeid: outcome.trace for nodeid, outcome in spectra.outcomes.items()}
    assert traces == {
        "tests/test_cart.py::test_total": {("src/shop/cart.py", 4), ("src/shop/money.py", 2)},
        # The fixture is part of it.
        "tests/test_money.py::test_unused": {("src/shop/money.py", 2), ("src/shop/money.py", 5)},
        "tests/test_plain.py::test_nothing": frozenset(),
    }
    assert spectra.trace_complete
    ran = runner.run_related(["src/shop/cart.py"], spectra=spectra, timeout=60)
    assert told(ran) == {"tests/test_cart.py::test_total": ("passed", None)}
    assert set(runner.run_related(["src/shop/cart.py"], timeout=60).outcomes) == {"tests/test_cart.py::test_total"}
    assert runner.run_related(["web/README"], spectra=spectra, timeout=60).outcomes == {}
