"""A private bare git repository that only this module writes: blobs and trees from bytes that Python read.

Loose objects as in git's `gitformat-loose` page: zlib("<type> <size>\\0" + content) at objects/xx/yyyy,
named by its SHA-1.  A tree is the concatenation of "<octal mode> <name>\\0<20 bytes>", sorted as if
directories ended in "/". git never sees the agent's files; it only compares trees that are stored here.

An id is given to others (a log, a state file) only after `sync`: what it names is then on the disk, so a power
cut leaves no id without its object.
"""

import ctypes
import hashlib
import os
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from tinsmith.errors import InputError
from tinsmith.workspace.git import run_git

FILE, EXECUTABLE, SYMLINK = 0o100644, 0o100755, 0o120000
_DIRECTORY = 0o40000
_MANY = 64  # new objects from which on one sync of the file system is cheaper than one of each

Entries = dict[str, tuple[int, str]]
"""{path relative to the top: (mode, object id)}: a whole tree, flat."""


class ObjectStore:
    """Content-addressed blobs and trees."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._unsynced: list[Path] = []

    @classmethod
    def create(cls, directory: Path) -> "ObjectStore":
        made = run_git(
            ["init", "--quiet", "--bare", "--template=", "--object-format=sha1", str(directory)],
            cwd=directory.parent,
        )
        if made.returncode != 0:
            raise OSError(made.stderr.decode(errors="replace"))
        return cls(directory)

    def write_blob(self, content: bytes) -> str:
        return self._write(b"blob", content)

    def read(self, name: str) -> bytes:
        """The content of an object.  Raises InputError `unknown_tree` where there is none of this name."""
        try:
            raw = zlib.decompress(self._path(name).read_bytes())
        except (FileNotFoundError, zlib.error) as error:
            raise InputError("unknown_tree", f"the workspace has no object {name}", "Start the run again.") from error
        return raw.partition(b"\0")[2]

    def write_tree(self, entries: Mapping[str, tuple[int, str]]) -> str:
        """Store a flat tree; returns its id."""
        root: dict[str, object] = {}
        for path, entry in entries.items():
            *parents, name = path.split("/")
            level = root
            for parent in parents:
                child = level.setdefault(parent, {})
                assert isinstance(child, dict)
                level = child
            level[name] = entry
        return self._write_level(root)

    def read_tree(self, tree: str) -> Entries:
        """The flat tree of an id.  Raises InputError `unknown_tree`."""
        entries: Entries = {}
        self._read_level(tree, "", entries)
        return entries

    def sync(self) -> None:
        """Every object written so far is on the disk when this returns."""
        written, self._unsynced = self._unsynced, []
        if len(written) > _MANY:
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                if ctypes.CDLL(None, use_errno=True).syncfs(fd) != 0:
                    raise OSError(ctypes.get_errno(), "syncfs")
            finally:
                os.close(fd)
            return
        for place in [*written, *dict.fromkeys(path.parent for path in written)]:
            fd = os.open(place, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def diff(self, base: str, tree: str) -> str:
        """The patch from one tree to the other; bytes that are not UTF-8 are kept as surrogate escapes."""
        arguments = ["diff-tree", "-r", "-p", "--no-renames", "--no-ext-diff", "--no-textconv", "--binary"]
        arguments += [
            "--full-index",
            "--src-prefix=a/",
            "--dst-prefix=b/",
            "--diff-algorithm=histogram",
            base,
            tree,
        ]
        answer = run_git([f"--git-dir={self.directory}", *arguments], cwd=self.directory)
        if answer.returncode != 0:
            words = answer.stderr.decode(errors="replace").strip()
            raise InputError("unknown_tree", f"cannot compare {base} and {tree}: {words}", "Start the run again.")
        return answer.stdout.decode("utf-8", "surrogateescape")

    def _write_level(self, level: Mapping[str, object]) -> str:
        lines: list[tuple[bytes, bytes]] = []
        for name, value in level.items():
            encoded = os.fsencode(name)
            if isinstance(value, dict):
                mode, identifier, key = _DIRECTORY, self._write_level(value), encoded + b"/"
            else:
                assert isinstance(value, tuple)
                (mode, identifier), key = value, encoded
            lines.append((key, b"%o %s\0%s" % (mode, encoded, bytes.fromhex(identifier))))
        return self._write(b"tree", b"".join(line for _, line in sorted(lines)))

    def _read_level(self, tree: str, prefix: str, entries: Entries) -> None:
        content = self.read(tree)
        position = 0
        while position < len(content):
            end = content.index(b"\0", position)
            mode, _, name = content[position:end].partition(b" ")
            identifier = content[end + 1 : end + 21].hex()
            path = prefix + os.fsdecode(name)
            if int(mode, 8) == _DIRECTORY:
                self._read_level(identifier, path + "/", entries)
            else:
                entries[path] = (int(mode, 8), identifier)
            position = end + 21

    def _path(self, name: str) -> Path:
        return self.directory / "objects" / name[:2] / name[2:]

    def _write(self, kind: bytes, content: bytes) -> str:
        header = b"%s %d\0" % (kind, len(content))
        digest = hashlib.sha1(header, usedforsecurity=False)
        digest.update(content)
        name = digest.hexdigest()
        path = self._path(name)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            fd, temporary = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(fd, "wb") as stream:
                stream.write(zlib.compress(header + content, 1))
            os.rename(temporary, path)
            self._unsynced.append(path)
        return name
