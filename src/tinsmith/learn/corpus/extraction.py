"""From an archive to its files, and from a file to its functions."""

import ast
import hashlib
import re
import textwrap
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tinsmith.learn.corpus.policy import excluded

_MIN_LINES, _MAX_LINES, _MAX_CHARACTERS = 3, 60, 3000


def files_of(source: Path) -> Iterator[tuple[str, str]]:
    """Python files (path, text) of a wheel or a directory, in the order of their paths."""
    if source.is_dir():
        for path in sorted(source.rglob("*.py")):
            yield path.relative_to(source).as_posix(), path.read_bytes().decode("utf-8", "replace")
        return
    with zipfile.ZipFile(source) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".py") and ".data/" not in name:
                yield name, archive.read(name).decode("utf-8", "replace")


def functions_of(text: str) -> Iterator[dict[str, object]]:
    """Functions and methods of a file (not those inside functions): {qualname, first_line, source, doc,
    hash}.

    `source` is the text as it stands in the file, with decorators and indentation. Left out are those of
    fewer than 3 or more than 60 lines or more than 3,000 characters, without a statement that does
    something, that do not parse when dedented, or of an excluded name.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    lines = text.split("\n")
    for qualname, node in _definitions(tree, ""):
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
        last = node.end_lineno or node.lineno
        source = "\n".join(lines[first - 1 : last])
        if not _MIN_LINES <= last - first + 1 <= _MAX_LINES or len(source) > _MAX_CHARACTERS or "\0" in source:
            continue
        if node.name in excluded()[1] or _empty(node):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ast.parse(textwrap.dedent(source))
        except (SyntaxError, ValueError):
            continue
        yield {
            "qualname": qualname,
            "first_line": first,
            "source": source,
            "doc": ast.get_docstring(node) or "",
            "hash": _token_hash(node, lines),
        }


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield prefix + child.name, child
        elif isinstance(child, ast.ClassDef):
            yield from _definitions(child, f"{prefix}{child.name}.")
        elif isinstance(child, (ast.If, ast.Try, ast.With)):
            yield from _definitions(child, prefix)


def _empty(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether the body does nothing: a docstring, `pass`, `...`, `raise NotImplementedError`."""

    def idle(statement: ast.stmt) -> bool:
        if isinstance(statement, ast.Expr):
            return isinstance(statement.value, ast.Constant)
        return isinstance(statement, (ast.Pass, ast.Raise))

    return all(idle(statement) for statement in node.body)


def _token_hash(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    """Hash of a function's tokens without its name, docstring, decorators and comments.

    Class names are taken as equal, so that one method copied for a dozen classes counts once.
    """
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    header = lines[node.lineno - 1 : max(node.body[0].lineno - 1, node.lineno)]
    kept = [*header, *lines[body[0].lineno - 1 : node.end_lineno]] if body else header
    text = re.sub(r"#[^\n]*", "", "\n".join(kept).replace(node.name, "_", 1))
    words = re.findall(r"\w+|[^\w\s]", re.sub(r"\b[A-Z]\w*[a-z]\w*", "C", text))
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:24]
