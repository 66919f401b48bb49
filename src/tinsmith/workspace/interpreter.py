"""Which Python runs the tests, and what of the machine must be visible inside for it to start."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tinsmith.errors import InputError

_QUESTION = (
    "import json, sys; print(json.dumps([sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix, "
    "sys.base_exec_prefix]))"
)
_PARTS = ("bin", "lib", "lib64", "include", "pyvenv.cfg")


@dataclass(frozen=True)
class Interpreter:
    """A Python and what it needs.  All paths are absolute and the same inside and outside."""

    path: Path
    prefix: Path
    """The virtual environment, or the installation itself."""
    mounts: tuple[Path, ...]
    """To be mounted read-only."""
    symlinks: tuple[tuple[str, Path], ...]
    """(target, path) of the links that lead to the executable from outside all mounts."""


def find_python(repo: Path, explicit: Path | None = None) -> Path:
    """`explicit` (a path or a name on PATH), else the active virtual environment's, else the repository's
    `.venv`, else the one that runs Tinsmith (which has pytest).
    """
    if explicit is not None:
        named = shutil.which(str(explicit)) if os.sep not in str(explicit) else str(explicit)
        if named is None or not os.access(named, os.X_OK) or os.path.isdir(named):
            raise InputError("python_unusable", f"there is no Python at {explicit}", "Give --python a path to one.")
        return Path(os.path.abspath(named))
    active = os.environ.get("VIRTUAL_ENV")
    for environment in ([Path(active)] if active else []) + [repo / ".venv"]:
        python = environment / "bin" / "python"
        if os.access(python, os.X_OK):
            return Path(os.path.abspath(python))
    return Path(sys.executable)


def inspect_python(python: Path, top: Path) -> Interpreter:
    """Ask an interpreter where it lives, for the checkout at `top`.  Raises InputError `python_unusable`."""
    try:
        answer = subprocess.run(
            [str(python), "-I", "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": os.environ.get("PATH", os.defpath)},
            cwd="/",
            timeout=60,
        )
        executable, *prefixes = [Path(value) for value in json.loads(answer.stdout)]
    except (OSError, ValueError, TypeError, subprocess.TimeoutExpired) as error:
        raise InputError(
            "python_unusable", f"{python} does not work as a Python interpreter", "Give --python another one."
        ) from error
    mounts: list[Path] = []
    for prefix in [*prefixes, *(Path(os.path.realpath(prefix)) for prefix in prefixes)]:
        mounts += [part for part in _narrowed(prefix, top) if not _covered(part, mounts)]
    symlinks: list[tuple[str, Path]] = []
    link = executable
    for _ in range(40):
        if not link.is_symlink():
            break
        target = os.readlink(link)
        if not _covered(link, mounts):
            symlinks.append((target, link))
        link = Path(os.path.normpath(link.parent / target))
    else:
        raise InputError("python_unusable", f"{python} is a loop of symlinks", "Give --python another one.")
    if not _covered(link, mounts):
        mounts.append(link)
    return Interpreter(executable, prefixes[0], tuple(mounts), tuple(symlinks))


def _narrowed(prefix: Path, top: Path) -> list[Path]:
    """The prefix, or its Python parts alone where it contains a home directory or the checkout."""
    if prefix == Path("/"):
        return []
    if Path.home().is_relative_to(prefix) or top.is_relative_to(prefix):
        return [prefix / part for part in _PARTS if (prefix / part).exists()]
    return [prefix]


def _covered(path: Path, mounts: list[Path]) -> bool:
    return path.is_relative_to("/usr") or any(path.is_relative_to(mount) for mount in mounts)
