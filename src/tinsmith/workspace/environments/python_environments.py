"""Where Python projects keep their environments, beside `.venv`: what Poetry, conda, tox and plain habit use.

Found by reading.  Names in the checkout only choose among the person's own environments.
"""

import base64
import hashlib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from tinsmith.workspace.tree import read_regular

_CONDA_ROOTS = ("miniconda3", "miniforge3", "mambaforge", "anaconda3", "micromamba", ".conda")


def environments_of(top: Path, environment: Mapping[str, str] = os.environ) -> Iterator[Path]:
    """Environments that may belong to the project at `top`, the likeliest first; `bin/python` need not be there."""
    if named := environment.get("UV_PROJECT_ENVIRONMENT"):
        yield top / named
    home = Path(environment.get("HOME") or "/nonexistent")
    yield from _poetry(top, home, environment)
    yield from _conda(top, home, environment)
    for name in ("venv", "env"):
        if os.path.isfile(top / name / "pyvenv.cfg"):
            yield top / name
    # The newest Python first: py313 before py39.
    found = [path for path in (top / ".tox").glob("py*") if os.path.isfile(path / "pyvenv.cfg")]
    yield from sorted(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)], reverse=True)


def has_pytest(prefix: Path) -> bool:
    """Whether pytest is installed there."""
    return any(prefix.glob("lib/python3*/site-packages/pytest/__init__.py"))


def _poetry(top: Path, home: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """`NAME-HASH-pyX.Y`, as `EnvManager.generate_env_name` of Poetry names them."""
    try:
        tables = tomllib.loads(read_regular(top / "pyproject.toml").decode())
    except (OSError, ValueError, RecursionError):
        return
    tool = tables.get("tool")
    poetry = tool.get("poetry") if isinstance(tool, dict) else None
    name = _name_of(poetry) or _name_of(tables.get("project"))
    if not name or (poetry is None and not os.path.isfile(top / "poetry.lock")):
        return
    cache = environment.get("POETRY_CACHE_DIR") or str(
        Path(environment.get("XDG_CACHE_HOME") or home / ".cache") / "pypoetry"
    )
    place = Path(environment.get("POETRY_VIRTUALENVS_PATH") or f"{cache}/virtualenvs")
    digest = base64.urlsafe_b64encode(hashlib.sha256(os.fsencode(os.path.realpath(top))).digest()).decode()[:8]
    stem = re.sub(r'[ $`!*@"\\\r\n\t/]', "_", name.lower())[:42]
    with suppress(OSError):
        yield from sorted((p for p in place.iterdir() if p.name.startswith(f"{stem}-{digest}-py")), reverse=True)


def _name_of(table: object) -> str:
    name = table.get("name") if isinstance(table, dict) else None
    return name if isinstance(name, str) else ""


def _conda(top: Path, home: Path, environment: Mapping[str, str]) -> Iterator[Path]:
    """The active environment that is not conda's own, then the one that `environment.yml` names."""
    active = environment.get("CONDA_PREFIX")
    if active and environment.get("CONDA_DEFAULT_ENV") != "base":
        yield Path(active)
    for file in ("environment.yml", "environment.yaml"):
        try:
            text = read_regular(top / file).decode(errors="replace")
        except OSError:
            continue
        found = re.search(r"^name:[ \t]*['\"]?([A-Za-z0-9_.-]+)['\"]?[ \t]*$", text, re.MULTILINE)
        if found is None or found[1] in (".", "..", "base"):
            continue
        listed: list[Path] = []
        with suppress(OSError):
            known = (home / ".conda" / "environments.txt").read_text(errors="replace")
            listed = [Path(line.strip()) for line in known.splitlines() if line.strip()]
        yield from (place for place in listed if place.name == found[1])
        yield from (home / root / "envs" / found[1] for root in _CONDA_ROOTS)
