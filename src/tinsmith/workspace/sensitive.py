"""Files that act without anybody running the project; a patch that touches one needs a person's word.

Which they are stands in `sensitive_paths.toml`, with the reasons.
"""

import re
import tomllib
from dataclasses import dataclass
from fnmatch import translate
from functools import cache
from importlib.resources import files

from tinsmith.errors import InputError
from tinsmith.workspace.patch import Patch
from tinsmith.workspace.path_rules import fold


@dataclass(frozen=True)
class SensitivePath:
    """A path of a patch, and why it needs approval, as the end of a sentence about it."""

    path: str
    reason: str


def sensitive_paths(patch: Patch) -> tuple[SensitivePath, ...]:
    """The files of a patch that act by themselves, in its order."""
    found = ((path, _reason(path)) for path in patch.paths)
    return tuple(SensitivePath(path, reason) for path, reason in found if reason)


def require_approval(patch: Patch, approved: bool) -> None:
    """Raises InputError `sensitive_paths` where a patch touches some and nobody `approved`."""
    if approved or not (found := sensitive_paths(patch)):
        return
    raise InputError(
        "sensitive_paths",
        f"the patch needs your approval: {describe_sensitive(found)}",
        "Read these changes; --approve-sensitive takes them.",
    )


def describe_sensitive(found: tuple[SensitivePath, ...], most: int = 5) -> str:
    """In words, for a message."""
    words = [f"{each.path} {each.reason}" for each in found[:most]]
    return "; ".join([*words, *([f"and {len(found) - most} more"] if len(found) > most else [])])


def _reason(path: str) -> str:
    parts = fold(path).split("/")
    for reason, names, directories in _kinds():
        if names.fullmatch(parts[-1]) or any(map(directories.fullmatch, parts)):
            return reason
    return ""


@cache
def _kinds() -> tuple[tuple[str, re.Pattern[str], re.Pattern[str]], ...]:
    data = tomllib.loads((files("tinsmith.workspace") / "sensitive_paths.toml").read_text(encoding="utf-8"))

    def any_of(patterns: list[str]) -> re.Pattern[str]:
        return re.compile("|".join(translate(fold(pattern)) for pattern in patterns))

    return tuple((kind["reason"], any_of(kind["names"]), any_of(kind["directories"])) for kind in data["kind"])
