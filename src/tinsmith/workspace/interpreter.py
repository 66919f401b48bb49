"""Which Python runs the tests, and what of the machine must be visible inside for it to start."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tinsmith.errors import InputError
from tinsmith.workspace.environments.python_environments import environments_of, has_pytest
from tinsmith.workspace.tree import Identity, identity, read_regular

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
    """`explicit` (a path or a name on PATH), else the active virtual environment's, else the `.venv` of `repo`
    or of a directory above it in its checkout, else one that has pytest of those that Poetry, conda, tox or habit
    (`venv`) made for it, else the one that runs Tinsmith (which has pytest).
    """
    if explicit is not None:
        named = shutil.which(str(explicit)) if os.sep not in str(explicit) else str(explicit)
        if named is None or not os.access(named, os.X_OK) or os.path.isdir(named):
            raise InputError("python_unusable", f"there is no Python at {explicit}", "Give --python a path to one.")
        return Path(os.path.abspath(named))
    active = os.environ.get("VIRTUAL_ENV")
    for environment in [*([Path(active)] if active else []), *_own_environments(repo)]:
        python = environment / "bin" / "python"
        if os.access(python, os.X_OK):
            return Path(os.path.abspath(python))
    for environment in environments_of(repo.resolve()):
        python = environment / "bin" / "python"
        if os.access(python, os.X_OK) and has_pytest(environment):
            return Path(os.path.abspath(python))
    return Path(sys.executable)


def _own_environments(repo: Path) -> Iterator[Path]:
    """`.venv` from `repo` up to the top of its checkout."""
    real = repo.resolve()
    for place in (real, *real.parents):
        yield place / ".venv"
        if (place / ".git").exists():
            return


def inspect_python(python: Path, top: Path) -> Interpreter:
    """Where an interpreter lives, for the checkout at `top`.  Raises InputError `python_unusable`.

    One that lies in the checkout is a stranger's program: it is never run here, only in the sandbox, and what the
    sandbox gets to see for it is found by reading.
    """
    inside = any(path.is_relative_to(top) or _real_place(path).is_relative_to(top) for path in _chain(python))
    executable, prefixes = _read(python, top) if inside else _ask(python, _state(python))
    mounts: list[Path] = []
    for prefix in [*prefixes, *(Path(os.path.realpath(prefix)) for prefix in prefixes)]:
        mounts += [part for part in _narrowed(prefix, top) if not _covered(part, mounts)]
    *links, last = _chain(executable)
    symlinks = [(os.readlink(link), link) for link in links if not _covered(link, mounts)]
    if not _covered(last, mounts):
        if inside:
            raise _unusable(python, f"it leads to {last}, which is no part of a Python installation")
        mounts.append(last)
    return Interpreter(executable, prefixes[0], tuple(mounts), tuple(symlinks))


def _state(python: Path) -> tuple[Identity | None, ...]:
    """What changes when another interpreter is put at this path."""
    files = (python, Path(os.path.realpath(python)), python.parent.parent / "pyvenv.cfg")
    return tuple(identity(os.lstat(file)) if os.path.lexists(file) else None for file in files)


@lru_cache
def _ask(python: Path, state: tuple[Identity | None, ...]) -> tuple[Path, Sequence[Path]]:
    """Executable and prefixes as the interpreter itself says, once as long as `state` is what it is."""
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
        raise _unusable(python, "it does not answer as a Python interpreter") from error
    return executable, prefixes


def _read(python: Path, top: Path) -> tuple[Path, Sequence[Path]]:
    """Executable and prefixes by the rules of Python's `getpath`, of a directory that may be a trap.

    A `pyvenv.cfg` says where the installation's `bin` is (`home`); that must be a real installation outside the
    checkout.  Without one (conda) the environment is an installation itself.
    """
    prefix = python.parent.parent
    try:
        settings = read_regular(prefix / "pyvenv.cfg").decode(errors="replace")
    except OSError as error:
        if not _is_installation(prefix) or not _chain(python)[-1].is_relative_to(prefix):
            raise _unusable(python, "it belongs to no virtual environment and no Python installation") from error
        return python, [prefix]
    homes: list[str] = []
    for line in settings.splitlines():
        key, _, value = line.partition("=")
        if key.strip().lower() == "home":
            homes.append(value.strip())
    if len(homes) != 1 or not os.path.isabs(homes[0]):
        raise _unusable(python, f"{prefix / 'pyvenv.cfg'} does not say where its Python is installed")
    base = Path(os.path.normpath(homes[0])).parent
    for place in (base, Path(os.path.realpath(base))):
        if place.is_relative_to(top) or not _is_installation(place):
            raise _unusable(python, f"there is no Python installation at {place}")
    return python, [prefix, base]


def _is_installation(prefix: Path) -> bool:
    """Whether the standard library's landmark is there (distributions may keep it in `lib64`)."""
    found = (place for lib in ("lib", "lib64") for place in prefix.glob(f"{lib}/py*3*/os.py"))
    return any(place.is_file() for place in found)


def _chain(path: Path) -> list[Path]:
    """`path` and what it leads to, link by link; the last is no symlink."""
    found = [path]
    while found[-1].is_symlink():
        if len(found) > 40:
            raise _unusable(path, "it is a loop of symlinks")
        found.append(Path(os.path.normpath(found[-1].parent / os.readlink(found[-1]))))
    return found


def _real_place(path: Path) -> Path:
    """Where a link itself lies, the symlinks above it followed."""
    return Path(os.path.realpath(path.parent)) / path.name


def _unusable(python: Path, words: str) -> InputError:
    return InputError("python_unusable", f"{python} cannot run the tests: {words}", "Give --python another one.")


def _narrowed(prefix: Path, top: Path) -> list[Path]:
    """The prefix, or its Python parts alone where it contains a home directory or the checkout."""
    if prefix == Path("/"):
        return []
    if Path.home().is_relative_to(prefix) or top.is_relative_to(prefix):
        real = prefix.resolve()
        # A link would be followed by the mount, to wherever it was planted to lead.
        parts = (prefix / part for part in _PARTS if (prefix / part).exists())
        return [part for part in parts if part.resolve().is_relative_to(real)]
    return [prefix]


def _covered(path: Path, mounts: list[Path]) -> bool:
    return path.is_relative_to("/usr") or any(path.is_relative_to(mount) for mount in mounts)
