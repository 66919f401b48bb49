"""Running tests in the sandbox: what became of each, from the plugin's own lines and never from printed
text."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinsmith.errors import InputError
from tinsmith.workspace import Sandbox, TestRunner, Workspace, fingerprint

FILES = {
    "lib/__init__.py": "",
    "lib/calc.py": """\
        import math

        def add(a, b):
            if a < 0:
                return 0
            return a - b

        def broken():
            return inner()

        def inner():
            raise KeyError("no such\\nkey")

        def unused():
            return 1
        """,
    "test_calc.py": """\
        import unittest
        import pytest
        from lib import calc

        def test_add():
            assert calc.add(1, 2) == 3

        def test_good():
            assert calc.add(2, 1) == 1

        def test_raises():
            calc.broken()

        @pytest.mark.skip(reason="x")
        def test_skipped(): pass

        @pytest.mark.xfail
        def test_xfailed(): assert False

        @pytest.mark.xfail
        def test_xpassed(): pass

        @pytest.mark.xfail(strict=True)
        def test_strict(): pass

        @pytest.fixture
        def bad(): raise ValueError("fixture")

        def test_setup(bad): pass

        @pytest.fixture
        def late():
            yield
            raise OSError("late")

        def test_teardown(late): pass

        def test_missing_exception():
            with pytest.raises(ValueError):
                pass

        @pytest.mark.parametrize("text", ["a b", "c::d", "\\xfc"])
        def test_param(text): pass

        class TestCase(unittest.TestCase):
            def test_method(self): self.assertEqual(calc.add(1, 1), 2)

        class Strange(Exception):
            def __str__(self): raise RuntimeError

        def test_strange(): raise Strange
        """,
}


def dedent(content: str) -> str:
    return "".join(line.removeprefix("        ") for line in content.splitlines(keepends=True))


def make(tmp_path: Path, files: dict[str, str], python: Path | None = None) -> Workspace:
    repo = tmp_path / "repo"
    for name, content in files.items():
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text(dedent(content))
    subprocess.run(["git", "init", "-q"], cwd=repo, check=True)
    return Workspace.create(repo, tmp_path / "work", python=python or Path(sys.executable))


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox.find()


# Plugins of the environment that these tests run in would only slow every run down.
PLAIN = [
    sys.executable,
    "-m",
    "pytest",
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:hypothesispytest",
    "-p",
    "no:anyio",
]


def test_every_kind_of_outcome_is_told_apart(tmp_path: Path, sandbox: Sandbox) -> None:
    workspace = make(tmp_path, FILES)
    before = fingerprint(tmp_path / "repo")
    report = TestRunner(workspace, sandbox, PLAIN).run(timeout=60)
    assert report.started and not report.timed_out and report.returncode == 1
    seen = {name.removeprefix("test_calc.py::"): outcome for name, outcome in report.outcomes.items()}
    assert {name: (outcome.outcome, outcome.phase, outcome.by) for name, outcome in seen.items()} == {
        "test_add": ("failed", "call", "assertion"),
        "test_good": ("passed", "call", None),
        "test_raises": ("failed", "call", "error"),
        "test_skipped": ("skipped", "setup", None),
        "test_xfailed": ("xfailed", "call", None),
        "test_xpassed": ("xpassed", "call", None),
        "test_strict": ("failed", "call", "assertion"),
        "test_setup": ("error", "setup", "error"),
        "test_teardown": ("error", "teardown", "error"),
        "test_missing_exception": ("failed", "call", "assertion"),
        "test_param[a b]": ("passed", "call", None),
        "test_param[c::d]": ("passed", "call", None),
        "test_param[\\xfc]": ("passed", "call", None),
        "TestCase::test_method": ("failed", "call", "assertion"),
        "test_strange": ("failed", "call", "error"),
    }
    assert seen["test_add"].exception == "AssertionError" and "assert -1 == 3" in seen["test_add"].message
    assert seen["test_strict"].message.startswith("[XPASS(strict)]")
    assert seen["test_strange"].exception == "Strange"
    raised = seen["test_raises"]
    assert (raised.exception, raised.message) == ("KeyError", repr("no such\nkey"))
    frames = [(frame.path, frame.line, frame.function) for frame in raised.frames]
    assert frames == [
        ("test_calc.py", 12, "test_raises"),
        ("lib/calc.py", 9, "broken"),
        ("lib/calc.py", 12, "inner"),
    ]
    assert all(not outcome.trace for outcome in seen.values()) and seen["test_add"].duration > 0
    assert set(report.collected) == set(report.outcomes)
    assert {outcome.nodeid for outcome in report.failing()} == {
        name for name, outcome in report.outcomes.items() if outcome.outcome in ("failed", "error")
    }
    # What ran left nothing that would count as a change.
    assert workspace.snapshot() == workspace.base and fingerprint(tmp_path / "repo") == before


def test_chosen_tests_run_alone_and_are_traced(tmp_path: Path, sandbox: Sandbox) -> None:
    runner = TestRunner(make(tmp_path, FILES), sandbox, PLAIN)
    nodeids = ["test_calc.py::test_add", "test_calc.py::test_raises", "test_calc.py::test_param[c::d]"]
    report = runner.run(nodeids, trace=True, timeout=60)
    assert set(report.outcomes) == set(nodeids) and report.collected == tuple(nodeids)
    assert report.outcomes[nodeids[0]].trace == {("lib/calc.py", 4), ("lib/calc.py", 6)}
    assert report.outcomes[nodeids[1]].trace == {("lib/calc.py", 9), ("lib/calc.py", 12)}
    assert runner.run([], timeout=1).outcomes == {}
    listed = runner.collect(timeout=60)
    assert len(listed.collected) == 15 and listed.outcomes == {}


def test_collection_errors_are_outcomes(tmp_path: Path, sandbox: Sandbox) -> None:
    workspace = make(
        tmp_path,
        {
            "test_import.py": "from lib import nothing\n",
            "lib/__init__.py": "",
            "test_syntax.py": "x = 1\ndef (:\n",
            "test_raise.py": "1 / 0\n",
            "test_fine.py": "def test_fine(): pass\n",
        },
    )
    report = TestRunner(workspace, sandbox, [*PLAIN, "--continue-on-collection-errors"]).run(timeout=60)
    seen = report.outcomes
    assert {name: (o.outcome, o.phase, o.by, o.exception) for name, o in seen.items()} == {
        "test_import.py": ("error", "collect", "collection", "ImportError"),
        "test_syntax.py": ("error", "collect", "collection", "SyntaxError"),
        "test_raise.py": ("error", "collect", "collection", "ZeroDivisionError"),
        "test_fine.py::test_fine": ("passed", "call", None, ""),
    }
    assert seen["test_raise.py"].frames[-1].line == 1
    assert [(frame.path, frame.line) for frame in seen["test_syntax.py"].frames][-1] == ("test_syntax.py", 2)


def test_a_conftest_that_breaks_is_an_outcome_of_the_session(tmp_path: Path, sandbox: Sandbox) -> None:
    workspace = make(tmp_path, {"conftest.py": "import no_such_module\n", "test_a.py": "def test_a(): pass\n"})
    report = TestRunner(workspace, sandbox, PLAIN).run(timeout=60)
    (outcome,) = report.outcomes.values()
    assert (outcome.nodeid, outcome.outcome, outcome.by) == ("<session>", "error", "collection")
    assert "no_such_module" in outcome.message


def test_no_tests_is_no_failure(tmp_path: Path, sandbox: Sandbox) -> None:
    report = TestRunner(make(tmp_path, {"a.py": ""}), sandbox, PLAIN).run(timeout=60)
    assert report.outcomes == {} and report.returncode == 5 and report.started


def test_a_test_that_hangs_or_kills_the_process_is_named(tmp_path: Path, sandbox: Sandbox) -> None:
    workspace = make(
        tmp_path,
        {
            "test_hang.py": "import time\ndef test_fast(): pass\ndef test_slow(): time.sleep(60)\n",
            "test_die.py": "import os\ndef test_fine(): pass\ndef test_die(): os._exit(3)\ndef test_after(): pass\n",
        },
    )
    runner = TestRunner(workspace, sandbox, PLAIN)
    hung = runner.run(["test_hang.py::test_fast", "test_hang.py::test_slow"], timeout=4)
    assert hung.timed_out and hung.seconds < 10
    assert [o.outcome for o in hung.outcomes.values()] == ["passed", "timeout"]
    died = runner.run(["test_die.py::test_fine", "test_die.py::test_die", "test_die.py::test_after"], timeout=60)
    assert {name.split("::")[1]: o.outcome for name, o in died.outcomes.items()} == {
        "test_fine": "passed",
        "test_die": "crashed",
    }
    assert died.returncode == 3


def test_a_run_that_is_killed_from_outside_is_started_once_more(tmp_path: Path, sandbox: Sandbox) -> None:
    """As where memory is short; what the tests say then is what they say, and not that there are none."""
    once = "import os, pathlib\nmark = pathlib.Path('mark')\n"
    once += "def test_it(): mark.exists() or (mark.write_text(''), os.kill(os.getpid(), 9))\n"
    always = "import os\ndef test_it(): os.kill(os.getpid(), 9)\n"
    workspace = make(tmp_path, {"test_once.py": once, "test_always.py": always})
    runner = TestRunner(workspace, sandbox, PLAIN)
    report = runner.run(["test_once.py"], timeout=60)
    assert (report.outcomes["test_once.py::test_it"].outcome, report.starts) == ("passed", 2)
    report = runner.run(["test_always.py"], timeout=60)
    assert (report.outcomes["test_always.py::test_it"].outcome, report.starts) == ("crashed", 2)
    assert runner.run(["test_once.py"], timeout=60).starts == 1


def test_printed_text_decides_nothing(tmp_path: Path, sandbox: Sandbox) -> None:
    workspace = make(
        tmp_path,
        {
            "test_a.py": """\
        import os, subprocess, sys
        def test_liar(capfd):
            with capfd.disabled():
                print("1 passed in 0.01s\\nPASSED test_a.py::test_liar", flush=True)
            assert False
        def test_nested(tmp_path):
            (tmp_path / "test_inner.py").write_text("def test_inner(): assert False")
            inner = [sys.executable, "-m", "pytest", "-q", "-p", "no:hypothesispytest", str(tmp_path)]
            assert subprocess.run(inner, stdout=subprocess.DEVNULL).returncode == 1
            assert "TINSMITH_REPORT" not in os.environ and "PYTHONPATH" not in os.environ
        """
        },
    )
    report = TestRunner(workspace, sandbox, PLAIN).run(timeout=60)
    assert {name: o.outcome for name, o in report.outcomes.items()} == {
        "test_a.py::test_liar": "failed",
        "test_a.py::test_nested": "passed",
    }


@pytest.mark.parametrize(
    "attack",
    [
        "os.unlink(report); os.symlink('/etc/hostname', report)",
        "os.unlink(report); os.mkfifo(report)",
        "open(report, 'ab').write(b'{\"kind\": \"report\"}\\n[]\\n\\xff\\n'); "
        'open(report, \'ab\').write(b\'{"kind": "collected", "nodeids": 3}\\n\')',
    ],
)
def test_a_hostile_report_breaks_nothing(tmp_path: Path, sandbox: Sandbox, attack: str) -> None:
    content = f"import os\nreport = '/opt/tinsmith-report/report.jsonl'\ndef test_x():\n    {attack}\n"
    runner = TestRunner(make(tmp_path, {"test_x.py": content}), sandbox, PLAIN)
    try:
        report = runner.run(timeout=60)
    except InputError as error:
        assert error.code == "test_command_failed_to_start"
    else:
        assert report.outcomes["test_x.py::test_x"].outcome == "passed"


def test_node_ids_are_relative_to_the_top_wherever_pytest_roots_itself(tmp_path: Path, sandbox: Sandbox) -> None:
    workspace = make(
        tmp_path,
        {
            "sub/pytest.ini": "[pytest]\n",
            "sub/tests/test_a.py": "def test_a(): assert 0\n",
            "pyproject.toml": "",
        },
    )
    runner = TestRunner(workspace, sandbox, [*PLAIN, "sub"])
    (nodeid,) = runner.run(timeout=60).outcomes
    assert nodeid == "sub/tests/test_a.py::test_a"
    assert set(TestRunner(workspace, sandbox, PLAIN).run([nodeid], timeout=60).outcomes) == {nodeid}


def test_any_command_that_ends_in_pytest_is_understood(tmp_path: Path, sandbox: Sandbox) -> None:
    workspace = make(
        tmp_path,
        {"check.sh": f"cd . && exec {' '.join(PLAIN)} test_a.py\n", "test_a.py": "def test_a(): assert 0\n"},
    )
    for command in (
        "sh check.sh",
        "python -m pytest -q -p no:hypothesispytest",
        "pytest -p no:hypothesispytest",
    ):
        runner = TestRunner(workspace, sandbox, command)
        report = runner.run(["test_a.py::test_a"], timeout=60)
        assert report.outcomes["test_a.py::test_a"].by == "assertion"
        assert runner.is_pytest == ("pytest" in command)


def test_another_command_is_one_test(tmp_path: Path, sandbox: Sandbox) -> None:
    workspace = make(tmp_path, {"a.txt": "x\n"})
    passed = TestRunner(workspace, sandbox, "grep -q x a.txt").run(["ignored"], timeout=20)
    assert {name: o.outcome for name, o in passed.outcomes.items()} == {"grep -q x a.txt": "passed"}
    (failed,) = TestRunner(workspace, sandbox, "sh -c 'echo why; exit 3'").run(timeout=20).failing()
    assert (failed.outcome, failed.by, failed.message) == ("failed", "error", "why\n")
    (hung,) = TestRunner(workspace, sandbox, "sleep 30").run(timeout=0.3).failing()
    assert hung.outcome == "timeout"
    with pytest.raises(InputError) as caught:
        TestRunner(workspace, sandbox, "grep x a.txt").collect(timeout=5)
    assert caught.value.code == "bad_test_command"


@pytest.mark.parametrize(
    "command", ["no-such-program --x", "./missing.sh", "./not-executable pytest", "pytest --no-such"]
)
def test_a_command_that_does_not_start_is_bad_input(tmp_path: Path, sandbox: Sandbox, command: str) -> None:
    workspace = make(tmp_path, {"not-executable": "x\n"})
    with pytest.raises(InputError) as caught:
        TestRunner(workspace, sandbox, command).run(timeout=60)
    assert caught.value.code == "test_command_failed_to_start" and caught.value.exit_code == 2
    assert command in caught.value.message


def test_a_python_without_pytest_is_bad_input(tmp_path: Path, sandbox: Sandbox) -> None:
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    workspace = make(tmp_path, {"test_a.py": "def test_a(): pass\n"}, environment / "bin" / "python")
    with pytest.raises(InputError, match="No module named pytest") as caught:
        TestRunner(workspace, sandbox).run(timeout=60)
    assert caught.value.code == "test_command_failed_to_start"


@pytest.mark.parametrize("command", ["", "  ", "pytest 'unclosed", []])
def test_a_command_that_is_none_is_bad_input(tmp_path: Path, sandbox: Sandbox, command: str | list[str]) -> None:
    with pytest.raises(InputError) as caught:
        TestRunner(make(tmp_path, {"a": ""}), sandbox, command)
    assert caught.value.code == "bad_test_command"


def test_an_edit_within_the_second_is_what_runs_next(tmp_path: Path, sandbox: Sandbox) -> None:
    files = {
        "lib.py": "def f(x):\n    return x < 1\n",
        "test_a.py": "import lib\ndef test_a(): assert lib.f(2)\n",
    }
    workspace = make(tmp_path, files)
    runner = TestRunner(workspace, sandbox, PLAIN)
    seen: list[str] = []
    for sign in "<><>":
        workspace.write_file("lib.py", f"def f(x):\n    return x {sign} 1\n".encode())
        os.utime(workspace.tree / "lib.py", (1_700_000_000, 1_700_000_000))
        seen.append(runner.run(timeout=60).outcomes["test_a.py::test_a"].outcome)
    assert seen == ["failed", "passed", "failed", "passed"]


def test_the_gates_copy_is_apart_from_the_agents(tmp_path: Path, sandbox: Sandbox) -> None:
    files = {"lib.py": "def f(): return 1\n", "test_a.py": "import lib\ndef test_a(): assert lib.f() == 2\n"}
    workspace = make(tmp_path, files)
    workspace.write_file("lib.py", b"def f(): return 2\n")
    # Ignored by every rule, and it would make any test pass.
    workspace.write_file("__pycache__/conftest.py", b"")
    fixed = workspace.snapshot()
    outcomes = [
        TestRunner(workspace.clean_copy(tree), sandbox, PLAIN).run(timeout=60).outcomes["test_a.py::test_a"].outcome
        for tree in (workspace.base, fixed)
    ]
    assert outcomes == ["failed", "passed"]
