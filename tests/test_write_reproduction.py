"""A model writes the failing test: what counts as a reproduction and what does not, on real copies with real pytest."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from tests.fake_engine import FakeEngine
from tests.fake_log import FakeLog

from tinsmith.agent import CLOSING_RESERVE, TokenSpeaker, Transcript, branches_in
from tinsmith.dialects import Call, Encoder, QwenXml
from tinsmith.engines import Cancelled, Sampling, TokenEngine, open_engine
from tinsmith.models.random_weights import Shape, write_random
from tinsmith.resolve.reproduction_place import imports_beside, new_test_path, own_modules
from tinsmith.resolve.reproduction_source import Unproven
from tinsmith.resolve.reproduction_trial import Trials
from tinsmith.resolve.write_reproduction import WrittenReproduction, write_reproduction
from tinsmith.tools import TOOLS
from tinsmith.workspace import Sandbox, TestRunner, Workspace

QWEN = QwenXml()
HOT = Sampling(temperature=1.5, seed=3)

PRICES = '''\
"""Prices in a shop."""

import random
import string


def discount(count, price):
    """Ten and more cost a tenth less."""
    total = count * price
    if count > 10:
        total = total - total // 10
    return total


def quantity(text):
    """The number in a text such as "7 pieces"."""
    return int(text)


def find(name):
    """The price of something, by name."""


def halve(number):
    while number != 0:
        number -= 2
    return number


def save(path, text):
    with open(path, "w") as stream:
        stream.write(text)
    return len(text) + 1


def ticket():
    return "".join(random.choices(string.ascii_lowercase, k=12))
'''
TESTS = """\
import pytest

from shop.prices import discount
from shop import prices


@pytest.mark.parametrize("count, total", [(9, 90), (20, 180)])
def test_others(count, total):
    assert discount(count, 10) == total
"""
BASE = {
    "shop/__init__.py": "",
    "shop/prices.py": PRICES,
    "tests/test_prices.py": TESTS,
    "tests/check.py": "from shop.prices import discount\n\n\ndef total(count):\n    return discount(count, 10)\n",
    "conftest.py": "",
}
ISSUE = """\
discount gives no discount for exactly ten

`discount(10, 10)` is 100. It should be 90: ten and more are cheaper.
"""
PATH = "tests/test_discount_gives_no_discount_for_exactly.py"
GOOD = "from shop.prices import discount\n\n\ndef test_ten():\n    assert discount(10, 10) == 90\n"
PASSES = GOOD.replace("90", "100")
# Plugins that happen to be installed here cost a second a run.
COMMAND = f"env PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {sys.executable} -m pytest -q -p no:cacheprovider"


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return Sandbox.find()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    repo = tmp_path_factory.mktemp("repo")
    for path, text in BASE.items():
        (repo / path).parent.mkdir(exist_ok=True)
        (repo / path).write_text(text)
    for arguments in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *arguments], cwd=repo, check=True)
    return Workspace.create(repo, tmp_path_factory.mktemp("run") / "workspace", python=Path(sys.executable))


def judge(
    workspace: Workspace, sandbox: Sandbox, text: str, issue: str = ISSUE, timeout: float = 30
) -> list[tuple[str, str, str]]:
    """(test, outcome, exception) of what reproduces the issue; the workspace itself must not change."""
    trials = Trials(workspace, sandbox, COMMAND, package="", issue=issue, timeout=timeout)
    try:
        outcomes = trials.judge(PATH, text)
    finally:
        assert workspace.snapshot() == workspace.base
        assert not list(workspace.directory.glob("copy-*"))
    return [(outcome.nodeid.rpartition("::")[2], outcome.outcome, outcome.exception) for outcome in outcomes]


def body(*lines: str, arguments: str = "", head: str = "import shop.prices as prices", mark: str = "") -> str:
    """A file with one test."""
    return "\n".join([head, "", mark, f"def test_it({arguments}):", *(f"    {line}" for line in lines), ""])


TEN = "assert prices.discount(10, 10) == 90"

REFUSED_UNREAD = {
    "syntax error": ("def test_it(:\n    pass\n", "not valid Python: invalid syntax, line 1"),
    "fences": (f"```python\n{GOOD}```\n", "not valid Python"),
    "NUL": ("def test_it():\n    '\0'\n", "not valid Python"),
    "lone surrogate": ("def test_it():\n    '\ud800'\n", "not valid Python"),
    "nested without end": ("(" * 2000, "not valid Python"),
    "empty": ("\n", "no test in it"),
    "no test": ("from shop.prices import discount\n\nassert discount(10, 10) == 90\n", "no test in it"),
    "assert False": (body("prices.discount(10, 10)", "assert False"), "`assert False` does not depend on the code"),
    "assert on constants": (body("prices.discount(10, 10)", "assert 100 == 90"), "does not depend"),
    "raises": (body("prices.discount(10, 10)", "raise ValueError"), "fails whatever the code does"),
    "fails": (body("pytest.fail('no')", head="import pytest"), "fails whatever the code does"),
    "skip": (body("pytest.skip('later')", TEN, head="import pytest"), "skips itself"),
    "skip mark": (body(TEN, head="import pytest", mark="@pytest.mark.skip"), "skips itself"),
    "xfail": (body(TEN, head="from pytest import mark", mark="@mark.xfail(strict=True)"), "skips itself"),
    "random": (body("assert prices.discount(randint(9, 10), 10) == 90", head="from random import *"), "use fixed"),
    "random by another name": (body("assert r.random() > 2", head="import random as r"), "is random: `r.random`"),
    "numpy's": (body("assert np.random.rand() > 2", head="import numpy as np"), "is random"),
    "clock": (body("assert time.time() % 2 < 1", head="import time"), "reads the clock: `time.time`, line 5"),
    "today": (body("assert date.today().day", head="from datetime import date"), "reads the clock"),
    "now": (body("assert pd.Timestamp.now()", head="import pandas as pd"), "reads the clock"),
    "environment": (body("assert os.environ['HOME'] == 1", head="import os"), "reads the environment"),
    "network": (body("assert requests.get('http://x')", head="import requests"), "uses the network"),
    "process": (body("assert subprocess.run(['x'])", head="import subprocess"), "starts processes"),
    "sys.exit": (body("sys.exit(1)", head="import sys"), "ends the test run"),
    "counter file": (
        body("n = len(open('n').read())", "open('n', 'a').write('x')", "assert n % 2", head=""),
        "outside a temporary directory",
    ),
    "deletes files": (body("os.remove('shop/prices.py')", TEN, head="import os"), "outside a temporary directory"),
    "deletes by path": (body("Path('x').unlink()", head="from pathlib import Path"), "outside a temporary directory"),
    "conftest": (body("Path('conftest.py').write_text('')", head="from pathlib import Path"), "outside a temporary"),
    "plugin": ("pytest_plugins = ['x']\n" + body(TEN), "changes how tests run"),
    "hook": ("def pytest_runtest_call(item):\n    assert item is None\n" + body(TEN), "changes how tests run"),
    "sys.modules": (body("sys.modules['shop'] = 1", head="import sys"), "changes how tests run"),
    "exec": (body("exec('assert not 1')"), "changes how tests run"),
    "monkeypatch": (
        body("monkeypatch.setattr(prices, 'discount', lambda *a: 0)", TEN, arguments="monkeypatch"),
        "changes the code that it tests",
    ),
    "monkeypatch by name": (
        body("monkeypatch.setattr('shop.prices.discount', lambda *a: 0)", TEN, arguments="monkeypatch"),
        "changes the code that it tests",
    ),
    "monkeypatch a builtin": (
        body("monkeypatch.setattr('builtins.int', lambda text: 0)", TEN, arguments="monkeypatch"),
        "changes the code that it tests",
    ),
    "mock.patch": (
        body(TEN, head="from unittest import mock", mark="@mock.patch('shop.prices.discount')", arguments="fake"),
        "changes the code that it tests",
    ),
    "patch.object": (
        body("with patch.object(prices, 'discount'): assert prices.discount()", head="from unittest.mock import patch")
        + "import shop.prices as prices\n",
        "changes the code that it tests",
    ),
    "assignment": (body("prices.discount = lambda *a: 0", TEN), "changes the code that it tests"),
}


@pytest.mark.parametrize("kind", REFUSED_UNREAD)
def test_a_bad_text_is_refused_before_it_runs(workspace: Workspace, sandbox: Sandbox, kind: str) -> None:
    text, reason = REFUSED_UNREAD[kind]
    trials = Trials(workspace, sandbox, COMMAND, package="", issue=ISSUE, timeout=30)
    with pytest.raises(Unproven) as refused:
        trials.judge(PATH, text)
    assert reason in str(refused.value)
    assert str(refused.value).count("\n") == 0
    assert trials.runs == 0


REFUSED_AFTER_A_RUN = {
    "passes": (PASSES, "pass on the code as it is"),
    "import error": ("from shop.prices import rebate\n" + body("assert rebate()"), "cannot be imported: ImportError"),
    "import within": (body("from shop.prices import rebate", "assert rebate()"), "the test's own lines: ImportError"),
    "NameError": (body("prices.discount(9, 1)", "assert total == 90"), "own lines: NameError: name 'total'"),
    "wrong call": (body("assert prices.discount(10) == 90"), "own lines: TypeError"),
    "wrong attribute": (body("assert prices.discount(10, 10).total == 90"), "own lines: AttributeError"),
    "raises itself": (
        body("if prices.discount(10, 10) != 90:", "    raise ValueError('100')"),
        "raises ValueError itself",
    ),
    "fixture": (body(TEN, arguments="basket"), "outside its own body"),
    "no code of the repository": (
        body("total = sum([100])", "assert total == 90", head="import shop.prices"),
        "runs no code of the repository",
    ),
    "one good, one bad": (GOOD + "\n\ndef test_more():\n    assert discount(10, 10) == total\n", "NameError"),
    "dies": (body("signal.raise_signal(9)", head="import signal"), "ended the whole test run"),
    "varies": (body("assert prices.ticket() == ''"), "does not come out alike twice"),
    "litters": (body("assert prices.save('left.txt', 'x') == 1"), "changes files of the repository: left.txt"),
    "changes a file": (body("assert prices.save(prices.__file__, '') == 1"), "changes files of the repository"),
    "ends at import": ("raise SystemExit\n" + body(TEN), "ended before a test of it did"),
    "hangs": (body("while prices.find('pin') is None: pass"), "did not end in 2 seconds"),
    "nothing collected": (
        "class Helper:\n    def test_it(self):\n        assert self is None\n",
        "No test was collected",
    ),
}


@pytest.mark.parametrize("kind", REFUSED_AFTER_A_RUN)
def test_a_test_that_shows_nothing_is_refused(workspace: Workspace, sandbox: Sandbox, kind: str) -> None:
    text, reason = REFUSED_AFTER_A_RUN[kind]
    with pytest.raises(Unproven) as refused:
        judge(workspace, sandbox, text, timeout=2 if kind == "hangs" else 30)
    assert reason in str(refused.value)


ACCEPTED = {
    "assertion": (GOOD, ISSUE, [("test_ten", "failed", "AssertionError")]),
    "with tests that pass": (
        GOOD + "\n\ndef test_nine():\n    assert discount(9, 10) == 90\n",
        ISSUE,
        [("test_ten", "failed", "AssertionError")],
    ),
    "pytest.raises": (
        body("with pytest.raises(KeyError):", "    prices.find('')", head="import pytest\nfrom shop import prices"),
        ISSUE,
        [("test_it", "failed", "Failed")],
    ),
    "unittest": (
        "import unittest\nfrom shop.prices import discount\n\n\nclass TestTen(unittest.TestCase):\n"
        "    def test_ten(self):\n        self.assertEqual(discount(10, 10), 90)\n",
        ISSUE,
        [("test_ten", "failed", "AssertionError")],
    ),
    "error in the code": (
        body("assert prices.quantity('7 pieces') == 7"),
        ISSUE,
        [("test_it", "failed", "ValueError")],
    ),
    "reported error in the test": (
        body("assert {None: 1}[prices.find('pin') or 'pin'] == 1"),
        "find gives a name that leads to a KeyError",
        [("test_it", "failed", "KeyError")],
    ),
    "reported misuse, word for word": (
        body("assert prices.find('pin').price == 1"),
        "find('pin').price: AttributeError: 'NoneType' object has no attribute 'price'",
        [("test_it", "failed", "AttributeError")],
    ),
    "files below tmp_path": (
        body(
            "place = tmp_path / 'a'",
            "place.write_text('x')",
            "assert prices.save(place, 'y') == 1",
            arguments="tmp_path",
        ),
        ISSUE,
        [("test_it", "failed", "AssertionError")],
    ),
    "a seed, a fixed time, a patched library": (
        body(
            "monkeypatch.setattr(time, 'time', lambda: 9.5)",
            "number = random.Random(0).randint(10, 10) + datetime(2020, 1, 1).day - 1",
            "assert prices.discount(number, 10) == 90",
            arguments="monkeypatch",
            head="import random\nimport time\nfrom datetime import datetime\nfrom shop import prices",
        ),
        ISSUE,
        [("test_it", "failed", "AssertionError")],
    ),
    "what it leaves without a word": (
        body("assert prices.save('left' + '.txt', 'x') == 1"),
        ISSUE,
        [("test_it", "failed", "AssertionError")],
    ),
    "numbers that vary": (
        body("assert prices.discount(10, 10) == 90, object()"),
        ISSUE,
        [("test_it", "failed", "AssertionError")],
    ),
}


@pytest.mark.parametrize("kind", ACCEPTED)
def test_a_reproduction_is_accepted(workspace: Workspace, sandbox: Sandbox, kind: str) -> None:
    text, issue, expected = ACCEPTED[kind]
    assert judge(workspace, sandbox, text, issue) == expected


HANGS = "halve(3) hangs\n\n`halve(3)` never ends."


def test_a_test_that_never_ends(workspace: Workspace, sandbox: Sandbox) -> None:
    """Accepted where the issue reports it, with the place; not where the test itself does not end."""
    trials = Trials(workspace, sandbox, COMMAND, package="", issue=HANGS, timeout=1.5)
    (outcome,) = trials.judge(PATH, body("assert prices.halve(3) == 0"))
    assert (outcome.nodeid, outcome.outcome, trials.runs) == (f"{PATH}::test_it", "timeout", 3)
    assert [frame.function for frame in outcome.frames] == ["test_it", "halve"]
    for loop in ("while True: pass", "while prices.find('pin') is None: pass"):
        with pytest.raises(Unproven, match="does not end in its own lines"):
            trials.judge(PATH, body(loop))
    assert workspace.snapshot() == workspace.base


def test_what_else_was_collected_still_is(workspace: Workspace, sandbox: Sandbox) -> None:
    trials = Trials(workspace, sandbox, COMMAND, package="", issue=ISSUE, timeout=30)
    assert trials.listed() == ("tests/test_prices.py::test_others[9-90]", "tests/test_prices.py::test_others[20-180]")
    with pytest.raises(Unproven, match=r"tests/test_prices\.py is not collected any more"):
        # Collected before its neighbour, it takes away what that imports.
        trials.judge("tests/test_a.py", GOOD + "import shop.prices\nvars(shop.prices).pop('discount')\n")
    assert trials.runs == 4


@pytest.mark.parametrize(
    ("paths", "nodeids", "package", "expected"),
    [
        (["shop.py", "tests/test_a.py"], ["tests/test_a.py::test_a"], "", "tests/test_ten_gets_100.py"),
        (["shop.py"], [], "", "test_ten_gets_100.py"),
        (["shop.py", "tests/data.txt"], [], "", "tests/test_ten_gets_100.py"),
        (["a/s.py", "b/tests/x.txt"], [], "b", "b/tests/test_ten_gets_100.py"),
        (["a/x_test.py", "a/b.py"], ["a/x_test.py::test_a"], "", "a/ten_gets_100_test.py"),
        (["tests/test_ten_gets_100.py"], [], "", "tests/test_ten_gets_100_2.py"),
        (["t/test_a.py", "u/test_b.py", "u/test_c.py"], ["t/test_a.py::test_a"], "", "t/test_ten_gets_100.py"),
        (["a/tests/test_a.py", "b/tests/test_b.py", "a/tests/test_c.py"], [], "b", "b/tests/test_ten_gets_100.py"),
        (["README.md", "tests/test_a.py"], ["README.md::README.md"], "", "tests/test_ten_gets_100.py"),
    ],
)
def test_where_a_new_test_goes(paths: list[str], nodeids: list[str], package: str, expected: str) -> None:
    assert new_test_path("Ten gets 100!\n\nMore.", paths, nodeids, package) == expected


def test_what_the_repository_has() -> None:
    assert own_modules(["src/a/__init__.py", "src/a/json.py", "b.py", "tests/test_a.py"]) == {"src", "a", "b"}
    texts = {
        "t/test_a.py": b"import a\n",
        "t/test_b.py": b"# ten\nfrom shop import b\nX = 1\n",
        "t/c.py": b"import c\n",
    }
    assert imports_beside("t/test_new.py", "Ten", list(texts), texts.get) == ["from shop import b"]
    assert imports_beside("u/test_new.py", "Ten", list(texts), texts.get) == []


def edit(text: str, path: str = PATH) -> Call:
    return Call("edit", {"path": path, "new": text.removesuffix("\n")})


class Stage:
    """The stage after a brief, as the pipeline runs it."""

    def __init__(self, engine: TokenEngine, workspace: Workspace, sandbox: Sandbox) -> None:
        self.engine, self.workspace, self.sandbox = engine, workspace, sandbox
        self.sink = FakeLog()
        self.encoder = Encoder(engine.tokenize, engine.vocabulary.reserved)
        opening = Transcript(self.encoder, self.sink)
        opening.write(QWEN.system("S", ()), "system")
        opening.write(QWEN.user("Issue: " + ISSUE)[: -len(QWEN.user_end())], "user")
        self.transcript = opening.fork(len(opening))

    def run(self, **changes: Any) -> tuple[WrittenReproduction | None, int]:
        preamble, free = changes.pop("preamble_tokens", 0), changes.get("free_tokens", 512)
        options: dict[str, Any] = {
            "issue": ISSUE,
            "test_command": COMMAND,
            "sampling": HOT,
            "free_tokens": 512,
            "reply_tokens": preamble + free + CLOSING_RESERVE,
            "timeout": 30.0,
            "sink": self.sink,
        }
        written = write_reproduction(
            TokenSpeaker(self.engine, QWEN, self.encoder, preamble, changes.get("cancel")),
            self.transcript,
            self.workspace,
            self.sandbox,
            **{**options, **changes},
        )
        # Whatever came of it, the log tells every id, and neither the copy nor its neighbours hold anything new.
        assert branches_in(self.sink.events)[self.transcript.branch] == list(self.transcript.ids)
        assert self.workspace.snapshot() == self.workspace.base
        assert not list(self.workspace.directory.glob("copy-*"))
        return written

    def text(self) -> str:
        return self.engine.detokenize(self.transcript.ids).decode(errors="replace")


def scripted(calls: Sequence[Call], **options: Any) -> FakeEngine:
    return FakeEngine(None, calls, QWEN, **options)


def test_the_second_attempt_is_accepted(workspace: Workspace, sandbox: Sandbox) -> None:
    stage = Stage(scripted([edit(PASSES), edit(GOOD)]), workspace, sandbox)
    lines: list[str] = []
    written, runs = stage.run(progress=lines.append)
    assert written is not None
    assert (written.path, written.text) == (PATH, GOOD)
    assert [(o.nodeid, o.by, o.trace) for o in written.outcomes] == [(f"{PATH}::test_ten", "assertion", frozenset())]
    assert WrittenReproduction.from_json(json.loads(json.dumps(written.as_json()))) == written
    first, second = stage.sink.of("reproduction_attempt")
    assert (first["number"], first["accepted"], second["number"], second["accepted"]) == (1, False, 2, True)
    assert "pass on the code as it is" in first["reason"] and second["reason"] == ""
    # The base is listed once; the first attempt is run once, the second twice, and listed with all others.
    assert (first["runs"], second["runs"], runs) == (1, 3, 5)
    assert second["usage"]["decoded"] > 0
    (event,) = stage.sink.of("reproduction_written")
    assert (event["path"], event["text"], event["attempts"]) == (PATH, GOOD, 2)
    assert len(lines) == 2
    text = stage.text()
    # One user turn holds brief and instruction; the reason is what the model is told.
    assert f"cheaper.\n\n\nNo test fails yet. First write the new file {PATH}" in text
    assert "from shop.prices import discount\nfrom shop import prices<|im_end|>" in text
    assert f"{first['reason']}\nWrite the whole file again." in text
    calls = [QWEN.parse(part, TOOLS) for part in text.split("<|im_start|>assistant\n")[1:]]
    assert calls == [edit(PASSES), edit(GOOD)]


def test_three_refusals_end_the_stage(workspace: Workspace, sandbox: Sandbox) -> None:
    stage = Stage(scripted([edit("def test_it(:"), edit(""), edit("import os")]), workspace, sandbox)
    assert stage.run() == (None, 1)
    assert [event["accepted"] for event in stage.sink.of("reproduction_attempt")] == [False] * 3
    assert not stage.sink.of("reproduction_written")


def test_a_secret_in_a_reason_is_not_shown(workspace: Workspace, sandbox: Sandbox) -> None:
    key = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"
    stage = Stage(scripted([edit(body(f"assert '{key}' == 1"))]), workspace, sandbox)
    stage.run(attempts=1)
    (event,) = stage.sink.of("reproduction_attempt")
    assert key not in event["reason"] and "redacted" in event["reason"]
    assert key not in stage.text().split("<|im_start|>")[-1]


def test_a_window_too_small_ends_the_stage(workspace: Workspace, sandbox: Sandbox) -> None:
    tight = len(Stage(scripted([]), workspace, sandbox).transcript) + 100
    stage = Stage(scripted([edit(GOOD)], context_window=tight), workspace, sandbox)
    assert stage.run() == (None, 1)
    assert not stage.sink.of("reproduction_attempt")


def test_a_window_that_fills_up_ends_the_stage(workspace: Workspace, sandbox: Sandbox) -> None:
    calls = [edit(PASSES + "# " + "word " * 40)] * 20
    stage = Stage(scripted(calls, context_window=1600), workspace, sandbox)
    written, _ = stage.run(attempts=20)  # the engine asserts that no prompt exceeds the window
    assert written is None
    assert 1 < len(stage.sink.of("reproduction_attempt")) < 20


def test_a_cancelled_run_ends_at_once(workspace: Workspace, sandbox: Sandbox) -> None:
    cancel = Event()
    cancel.set()
    stage = Stage(scripted([edit(GOOD)]), workspace, sandbox)
    with pytest.raises(Cancelled):
        stage.run(cancel=cancel)
    assert not stage.sink.of("reproduction_attempt")
    assert not list(workspace.directory.glob("copy-*"))


@pytest.fixture(scope="module")
def ignorant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenEngine]:
    tiny = Shape(layers=1, d_model=32, heads=2, kv_heads=1, head_dim=16, ffn=32)
    with open_engine(write_random(tmp_path_factory.mktemp("model") / "r.gguf", shape=tiny, scale=0.15)) as engine:
        yield engine


def test_random_weights_write_no_reproduction(workspace: Workspace, sandbox: Sandbox, ignorant: TokenEngine) -> None:
    for seed in range(4):
        stage = Stage(ignorant, workspace, sandbox)
        written, _ = stage.run(sampling=Sampling(temperature=1.5, seed=seed), preamble_tokens=4, free_tokens=60)
        assert written is None
        attempts = stage.sink.of("reproduction_attempt")
        assert [event["accepted"] for event in attempts] == [False] * 3
        for part in stage.text().split("<|im_start|>assistant\n")[1:]:
            call = QWEN.parse(part[part.index("<tool_call>") :], TOOLS)
            assert isinstance(call, Call)
            assert (call.tool, call.arguments["path"]) == ("edit", PATH)


def test_a_package_and_a_command_that_is_not_pytest(tmp_path: Path, sandbox: Sandbox) -> None:
    """In a monorepo the test lies in the package; `make test` will do where pytest tells its tests, `true` will not."""
    repo = tmp_path / "repo"
    for path, text in BASE.items():
        place = repo / "services" / "till" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    (repo / "services" / "till" / "run.sh").write_text(f"{COMMAND}\n")
    subprocess.run(["git", "init", "--quiet"], cwd=repo, check=True)
    workspace = Workspace.create(repo, tmp_path / "workspace", python=Path(sys.executable))
    path = f"services/till/{PATH}"
    for command, runs in ((COMMAND, 4), ("sh run.sh", 4)):
        stage = Stage(scripted([edit(GOOD, path)]), workspace, sandbox)
        written, started = stage.run(package="services/till", test_command=command)
        assert written is not None and started == runs
        assert [outcome.nodeid for outcome in written.outcomes] == [f"{path}::test_ten"]
    # What was written is a test like any other, for whoever runs the whole suite.
    workspace.write_file(path, written.text.encode())
    report = TestRunner(workspace, sandbox, COMMAND, cwd="services/till").run(None, timeout=30)
    assert [outcome.nodeid for outcome in report.failing()] == [f"{path}::test_ten"]
    workspace.restore(workspace.base)
    stage = Stage(scripted([]), workspace, sandbox)
    assert stage.run(package="services/till", test_command="true") == (None, 1)
