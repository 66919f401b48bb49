"""Reading and writing the files of the private copy, by paths that cannot leave it."""

import ast
import os
from dataclasses import dataclass
from pathlib import Path

from tinsmith.codebase import source_files


class Refused(Exception):
    """The model asked for something that is not done; the text tells it why and what would be."""


@dataclass
class Files:
    """The text files under `root`. Lines are without their newline; what ends a file is kept on writing."""

    root: Path

    def paths(self) -> list[str]:
        """The text files there are now."""
        return source_files(self.root)

    def lines(self, path: str) -> list[str]:
        """The lines of `path`. Raises Refused where there is no such text file."""
        file = self._inside(path)
        if not file.is_file():
            raise Refused(f"There is no file {path}.")
        return self._text(file).split("\n")

    def exists(self, path: str) -> bool:
        """Whether something is at `path`."""
        return os.path.lexists(self._inside(path))

    def replace(self, path: str, start: int, end: int, new: list[str]) -> None:
        """Puts `new` in the place of lines start..end. Raises Refused if a Python file that parsed no longer would."""
        file = self._inside(path)
        before = self.lines(path)
        after = [*before[: start - 1], *new, *before[end:]]
        self._check(path, "\n".join(before), "\n".join(after))
        self._write(file, "\n".join(after))

    def create(self, path: str, text: str) -> None:
        """Writes a new file. Raises Refused where one is."""
        file = self._inside(path)
        if os.path.lexists(file):
            raise Refused(f"{path} exists; an existing file is never rewritten whole. Name lines or old.")
        self._check(path, "", text)
        file.parent.mkdir(parents=True, exist_ok=True)
        self._write(file, text if text.endswith("\n") else text + "\n")

    def _inside(self, path: str) -> Path:
        parts = path.split("/")
        if not path or path.startswith("/") or "\0" in path or any(p in ("", ".", "..") for p in parts):
            raise Refused(f"{path!r} is not a path from the repository's root.")
        if parts[0].lower() == ".git":
            raise Refused("The .git directory is not part of the work.")
        file = self.root
        for part in parts:
            file = file / part
            if file.is_symlink():
                raise Refused(f"{path} goes through a symbolic link.")
        return file

    @staticmethod
    def _text(file: Path) -> str:
        try:
            with file.open(encoding="utf-8", newline="") as stream:
                return stream.read()
        except UnicodeDecodeError as error:
            raise Refused(f"{file.name} is not UTF-8 text.") from error

    @staticmethod
    def _write(file: Path, text: str) -> None:
        with file.open("w", encoding="utf-8", newline="") as stream:
            stream.write(text)

    @staticmethod
    def _check(path: str, before: str, after: str) -> None:
        """The result is parsed before it is written; a file that was broken before may stay so."""
        if not path.endswith(".py"):
            return
        try:
            ast.parse(after)
        except (SyntaxError, ValueError) as error:
            try:
                ast.parse(before)
            except (SyntaxError, ValueError):
                return
            where = f"line {error.lineno}" if isinstance(error, SyntaxError) else "the file"
            raise Refused(f"Not written: {path} would not parse ({error.args[0]}, {where}).") from error
