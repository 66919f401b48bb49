"""The packages that are measured on. None is in the training text; a test holds that."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from tinsmith.codebase import is_test_file, source_files
from tinsmith.evals.archives import Archive

_NOT_THE_PACKAGE = frozenset({"docs", "doc", "examples", "example", "benchmarks", "bench", "scripts", "tools"})


@dataclass(frozen=True)
class HeldOut(Archive):
    """A held-out package. `runnable`: its archive holds a quick pytest suite that needs nothing else."""

    licence: str
    runnable: bool = False


@cache
def held_out() -> tuple[HeldOut, ...]:
    """Every held-out package, by name."""
    text = files("tinsmith.evals").joinpath("held_out.toml").read_text(encoding="utf-8")
    return tuple(HeldOut(**row) for row in tomllib.loads(text)["package"])


def package_named(name: str) -> HeldOut:
    """The held-out package of that name. Raises KeyError."""
    return {package.name: package for package in held_out()}[name]


def own_sources(root: Path) -> list[str]:
    """The Python files of an unpacked package that are its code: no tests, documentation or set-up."""
    return [
        path
        for path in source_files(root, ".py")
        if not is_test_file(path)
        and _NOT_THE_PACKAGE.isdisjoint(path.split("/")[:-1])
        and path not in ("setup.py", "noxfile.py", "tasks.py")
    ]
