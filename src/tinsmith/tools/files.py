"""Reading and writing the files of the private copy, by paths that cannot leave it."""

import ast
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinsmith.codebase import source_files


class Refused(Exception):
    """The model asked for something that is not done; the text tells it why and what would be."""


@dataclass
class Files:
    """The text files under `root`.

    Lines are without what ends them. How a file ends its lines (CRLF where all are) and whether it ends its
    last one is kept on writing. An empty file has one empty line, so that something can be put into it.
    """

    root: Path

    def paths(self) -> list[str]:
        """The text files there are now."""
        return source_files(self.root)

    def lines(self, path: str) -> list[str]:
        """The lines of `path`. Raises Refused where there is no such text file."""
        return _Layout.of(self._text(path)).lines

    def replace(self, path: str, start: int, end: int, new: Sequence[str]) -> list[str]:
        """Puts `new` in the place of lines start..end; what was written of it.

        Raises Refused if a Python file that parsed no longer would.
        """
        layout = _Layout.of(self._text(path))
        if layout.newline == "\r\n":
            new = [line.removesuffix("\r") for line in new]
        after = [*layout.lines[: start - 1], *new, *layout.lines[end:]]
        _check(path, "\n".join(layout.lines), "\n".join(after))
        self._write(path, layout.text(after))
        return list(new)

    def create(self, path: str, text: str) -> None:
        """Writes a new file. Raises Refused where one is."""
        if os.path.lexists(self._inside(path)):
            raise Refused(f"{path} exists; an existing file is never rewritten whole. Name lines or old.")
        _check(path, "", text)
        self._write(path, text if not text or text.endswith("\n") else text + "\n")

    def _inside(self, path: str) -> Path:
        parts = path.split("/")
        odd = any(c < " " or "\ud800" <= c <= "\udfff" for c in path)
        if odd or any(part in ("", ".", "..") for part in parts):
            raise Refused(f"{path!r} is not a path from the repository's root.")
        if any(part.lower() == ".git" for part in parts):
            raise Refused("The .git directory is not part of the work.")
        file = self.root
        try:
            for part in parts:
                file = file / part
                if file.is_symlink():
                    raise Refused(f"{path} goes through a symbolic link.")
        except OSError as error:
            raise Refused(f"{path[:100]} cannot be a path: {error.strerror}.") from error
        return file

    def _text(self, path: str) -> str:
        file = self._inside(path)
        if not file.is_file():
            raise Refused(f"There is no file {path}.")
        try:
            return file.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise Refused(f"{path} is not UTF-8 text.") from error
        except OSError as error:
            raise Refused(f"{path} cannot be read: {error.strerror}.") from error

    def _write(self, path: str, text: str) -> None:
        file = self._inside(path)
        try:
            data = text.encode()  # before the file is opened: what fails leaves it as it was
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        except UnicodeEncodeError as error:
            raise Refused(f"Not written: the text for {path} holds half of a surrogate pair.") from error
        except OSError as error:
            raise Refused(f"{path} cannot be written: {error.strerror}.") from error


@dataclass(frozen=True)
class _Layout:
    """A file's lines, what ends them, and whether the last one is ended."""

    lines: list[str]
    newline: str
    ended: bool

    @staticmethod
    def of(text: str) -> "_Layout":
        newline = "\r\n" if 0 < text.count("\n") == text.count("\r\n") else "\n"
        ended = text.endswith(newline) or not text
        return _Layout(text.removesuffix(newline).split(newline), newline, ended)

    def text(self, lines: Sequence[str]) -> str:
        return self.newline.join(lines) + (self.newline if self.ended and lines else "")


def _check(path: str, before: str, after: str) -> None:
    """The result is parsed before it is written; a file that was broken before may stay so."""
    if path.endswith(".py") and (fault := _fault(after)) and not _fault(before):
        raise Refused(f"Not written: {path} would not parse ({fault}).")


def _fault(source: str) -> str:
    """Why `source` is not Python; nothing where it is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(source.removeprefix("\ufeff"))
    except SyntaxError as error:
        return f"{error.msg}, line {error.lineno}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"{error or 'nested too deeply'}, the file"
    return ""
