"""Attacks by files that a program on the host would run by itself: Python's start-up, test settings, interpreters."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tinsmith.errors import InputError
from tinsmith.workspace.attacks.attack import Escaped, Outside
from tinsmith.workspace.attacks.stage import Stage
from tinsmith.workspace.copy import Workspace
from tinsmith.workspace.interpreter import find_python, inspect_python


def _planted(
    id: str,
    what: str,
    files: dict[str, str],
    *command: str,
    env: dict[str, str] | None = None,
    approval: bool = True,
    slow: bool = False,
) -> Outside:
    """Files that a command leaves in the copy; TOUCH is Python that fires the trap, TRAP the trap's program.

    With `approval` nothing of it may be delivered before a person says so.
    """

    def plant(stage: Stage) -> None:
        for path, text in files.items():
            text = text.replace("TOUCH", f"open({str(stage.fired)!r}, 'w')").replace("TRAP", str(stage.trap))
            quoted = text.replace("'", "'\\''")
            stage.inside(f"mkdir -p \"$(dirname '{path}')\"; printf '%s' '{quoted}' > '{path}'; chmod +x '{path}'")

    def play(stage: Stage) -> str:
        plant(stage)
        seen = stage.walk_in()
        if approval and not seen.startswith("the patch needs your approval"):
            raise Escaped(f"delivered without approval: {seen}")
        plant(stage)
        Workspace.open(stage.workspace.directory)
        return seen

    def naive(stage: Stage) -> bool:
        argv = [sys.executable if word == "PYTHON" else word for word in command]
        # Where the tests' own pytest is.
        return stage.ordinary(*argv, env={"PYTHONPATH": os.environ.get("PYTHONPATH", ""), **(env or {})})

    return Outside(id, what, play, naive if command else None, slow)


def _trap_interpreter(prepare: Callable[[Stage, Path], None]) -> Callable[[Stage], str]:
    """The checkout has an environment of its own whose Python is a trap."""

    def play(stage: Stage) -> str:
        binaries = stage.repo / ".venv" / "bin"
        binaries.mkdir(parents=True)
        prepare(stage, binaries / "python")
        active = os.environ.pop("VIRTUAL_ENV", None)
        try:
            python = find_python(stage.repo)
            if python != binaries / "python":
                raise RuntimeError(f"{python} was chosen instead")
            inspect_python(python, stage.repo)
            copy = Workspace.create(stage.repo, stage.place / "copy")
        except InputError as error:
            return f"{error.code}: {error.message}"
        finally:
            if active is not None:
                os.environ["VIRTUAL_ENV"] = active
        copy.run(stage.sandbox, [str(copy.python), "-c", "pass"], timeout=20)
        return "ran only inside"

    return play


def _naive_interpreter(stage: Stage) -> bool:
    return stage.ordinary(str(stage.repo / ".venv" / "bin" / "python"), "-c", "pass", cwd=stage.repo)


def _script(stage: Stage, python: Path) -> None:
    python.write_text(f"#!/bin/sh\nexec {stage.trap}\n")
    python.chmod(0o755)


def _link(stage: Stage, python: Path) -> None:
    python.symlink_to(stage.trap)


def _home(stage: Stage, python: Path) -> None:
    """`pyvenv.cfg` names a directory of the checkout as the installation."""
    _script(stage, python)
    base = stage.repo / "base"
    (base / "bin").mkdir(parents=True)
    (base / "lib" / "python3.11").mkdir(parents=True)
    (base / "lib" / "python3.11" / "os.py").touch()
    _script(stage, base / "bin" / "python3")
    (python.parent.parent / "pyvenv.cfg").write_text(f"home = {base / 'bin'}\n")


def _interpreter_in_copy(stage: Stage) -> str:
    """The command replaces the interpreter that the copy shows at the checkout's place."""
    stage.inside(
        'mkdir -p .venv/bin; printf "#!/bin/sh\\nexec %s\\n" "$TRAP" > .venv/bin/python; chmod +x .venv/bin/python'
    )
    stage.walk_in()
    python = find_python(stage.workspace.tree, stage.workspace.python)
    inspect_python(python, stage.repo)
    return "not used"


_CONFTEST = "import sys\nTOUCH\n"
_PYTEST: Sequence[str] = ("PYTHON", "-m", "pytest", "-q", "-p", "no:cacheprovider", ".")

PLANTED = (
    _planted("T01", "conftest.py for a test run on the host", {"conftest.py": _CONFTEST}, *_PYTEST),
    _planted(
        "T02",
        "a .pth file for Python on the host",
        {"evil.pth": "import os; TOUCH\n"},
        "PYTHON",
        "-c",
        "import site; site.addsitedir('.')",
    ),
    _planted(
        "T03",
        "sitecustomize.py for Python on the host",
        {"sitecustomize.py": "TOUCH\n"},
        "PYTHON",
        "-c",
        "pass",
        env={"PYTHONPATH": "."},
    ),
    _planted(
        "T04",
        "usercustomize.py for Python on the host",
        {"usercustomize.py": "TOUCH\n"},
        "PYTHON",
        "-c",
        "import usercustomize",
        slow=True,
    ),
    _planted(
        "T05",
        "a module in the place of the standard library's",
        {"json.py": "TOUCH\n", "tinsmith.py": "TOUCH\n"},
        "PYTHON",
        "-c",
        "import json",
        approval=False,
        slow=True,
    ),
    _planted(
        "T06",
        "a pytest plugin by pytest.ini",
        {"pytest.ini": "[pytest]\naddopts = -p evil_plugin\n", "evil_plugin.py": "TOUCH\n"},
        *_PYTEST,
        slow=True,
    ),
    _planted(
        "T07", "a build that runs on the host", {"setup.py": "TOUCH\n"}, "PYTHON", "setup.py", "--version", slow=True
    ),
    _planted(
        "T08",
        "a program named git, python or bwrap at the top",
        dict.fromkeys(("git", "python", "bwrap", "sh"), "#!/bin/sh\nexec TRAP\n"),
        "sh",
        "-c",
        "PATH=.:$PATH git status",
        approval=False,
        slow=True,
    ),
    _planted(
        "T09",
        "a Makefile and a shell start-up",
        {"Makefile": "all:\n\tTRAP\n", ".envrc": "TRAP\n", ".bashrc": "TRAP\n"},
        "sh",
        "-c",
        ". ./.bashrc",
        slow=True,
    ),
    Outside("T10", "an interpreter in the checkout that is a script", _trap_interpreter(_script), _naive_interpreter),
    Outside("T11", "an interpreter in the checkout that leads out of it", _trap_interpreter(_link), _naive_interpreter),
    Outside(
        "T12", "an environment whose installation is in the checkout", _trap_interpreter(_home), _naive_interpreter
    ),
    Outside("T13", "an interpreter planted in the copy", _interpreter_in_copy),
    _planted("T14", "tasks that an editor runs", {".vscode/tasks.json": "{}\n", ".idea/workspace.xml": "x\n"}),
    _planted(
        "T15", "servers and hooks of a coding agent", {".mcp.json": "{}\n", ".claude/settings.json": "{}\n"}, slow=True
    ),
    _planted("T16", "a step of continuous integration", {".github/workflows/x.yml": "on: push\n"}, slow=True),
    _planted(
        "T17",
        "a hook by a manager of hooks",
        {".pre-commit-config.yaml": "repos: []\n", ".husky/pre-commit": "x\n"},
        slow=True,
    ),
    _planted(
        "T18",
        "a build by pyproject.toml, package.json or build.rs",
        {"pyproject.toml": "", "package.json": "{}\n", "build.rs": ""},
        slow=True,
    ),
)
