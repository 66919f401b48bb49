"""Which new files git would ignore, by the person's rules and without git looking at the agent's files."""

import os
from collections.abc import Iterable
from pathlib import Path

from tinsmith.errors import InputError
from tinsmith.workspace.git import run_git
from tinsmith.workspace.object_store import SYMLINK, Entries, ObjectStore
from tinsmith.workspace.tree import is_litter, materialise


class IgnoreRules:
    """The rules as they were when the copy was made: a directory of `.gitignore` files alone."""

    def __init__(self, directory: Path, store: ObjectStore, excludes_file: str) -> None:
        self._directory = directory
        self._store = store
        self._excludes_file = excludes_file
        self._answers: dict[str, bool] = {}

    @staticmethod
    def write(directory: Path, store: ObjectStore, base: Entries) -> None:
        directory.mkdir()
        rules = [p for p, (mode, _) in base.items() if p.rpartition("/")[2] == ".gitignore" and mode != SYMLINK]
        materialise(directory, store, base, rules)

    def ignored(self, paths: Iterable[str]) -> set[str]:
        """Those of `paths` (files, relative to the top) that git would ignore, or any Python project."""
        asked = list(paths)
        for path in asked:
            if path not in self._answers and is_litter(path):
                self._answers[path] = True
        unknown = [path for path in asked if path not in self._answers]
        if unknown:
            answer = run_git(
                [
                    f"--git-dir={self._store.directory}",
                    f"--work-tree={self._directory}",
                    *("check-ignore", "-z", "--stdin", "--no-index"),
                ],
                cwd=self._directory,
                stdin=b"".join(os.fsencode(path) + b"\0" for path in unknown),
                config=[f"core.excludesFile={self._excludes_file}"] if self._excludes_file else [],
            )
            if answer.returncode not in (0, 1):
                words = answer.stderr.decode(errors="replace").strip()
                raise InputError("unreadable_ignore_rules", f"git cannot apply .gitignore: {words}", "Check them.")
            matched = {os.fsdecode(path) for path in answer.stdout.split(b"\0")}
            self._answers.update((path, path in matched) for path in unknown)
        return {path for path in asked if self._answers[path]}
