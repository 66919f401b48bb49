"""A private bare git repository that only this module writes: blobs and trees from bytes that Python read.

Loose objects as in git's `gitformat-loose` page: zlib("<type> <size>\\0" + content) at objects/xx/yyyy,
named by its SHA-1.  A tree is the concatenation of "<octal mode> <name>\\0<20 bytes>", sorted as if
directories ended in "/". git never sees the agent's files; it only compares trees that are stored here.

An id is given to others (a log, a state file) only after `sync`: what it names is then on the disk, so a power
cut leaves no id without its object.

A store may stand on another one (git's `objects/info/alternates`), whose objects it then does not hold itself.
"""

import ctypes
import hashlib
import os
import tempfile
import zlib
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tinsmith.errors import InputError
from tinsmith.workspace.git import run_git

FILE, EXECUTABLE, SYMLINK = 0o100644, 0o100755, 0o120000
_DIRECTORY = 0o40000
_CHUNK = 1 << 20
_MANY = 64  # new objects from which on one sync of the file system is cheaper than one of each

Entries = dict[str, tuple[int, str]]
"""{path relative to the top: (mode, object id)}: a whole tree, flat."""


class ObjectStore:
    """Content-addressed blobs and trees."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._unsynced: list[Path] = []
        self._present: set[str] = set()
        self._objects = [directory / "objects"]
        try:
            named = (directory / "objects" / "info" / "alternates").read_bytes()
        except OSError:
            named = b""
        self._objects += [Path(os.fsdecode(line)) for line in named.split(b"\n") if line]

    @classmethod
    def create(cls, directory: Path, on: "ObjectStore | None" = None) -> "ObjectStore":
        """A new store, whose objects are also those of `on`, which must outlive it."""
        made = run_git(
            ["init", "--quiet", "--bare", "--template=", "--object-format=sha1", str(directory)],
            cwd=directory.parent,
        )
        if made.returncode != 0:
            raise OSError(made.stderr.decode(errors="replace"))
        if on is not None:
            (directory / "objects" / "info").mkdir(exist_ok=True)
            alternates = b"".join(os.fsencode(place) + b"\n" for place in on._objects)
            (directory / "objects" / "info" / "alternates").write_bytes(alternates)
        return cls(directory)

    def write_blob(self, content: bytes) -> str:
        return self._write(b"blob", content)

    def write_open_file(self, fd: int) -> str:
        """Store a regular file from its beginning, a piece at a time; for what may be too large for the memory.

        Raises OSError for a file that changes its size meanwhile.
        """
        header = b"blob %d\0" % os.fstat(fd).st_size
        digest = hashlib.sha1(header, usedforsecurity=False)
        for piece in _pieces(fd):
            digest.update(piece)
        name = digest.hexdigest()
        if not self._has(name):
            packer, check = zlib.compressobj(1), hashlib.sha1(header, usedforsecurity=False)
            with self._new_object(name) as stream:
                stream.write(packer.compress(header))
                for piece in _pieces(fd):
                    check.update(piece)
                    stream.write(packer.compress(piece))
                stream.write(packer.flush())
                if check.hexdigest() != name:
                    raise OSError("a file changed while it was read")
        return name

    def read(self, name: str) -> bytes:
        """The content of an object.  Raises InputError `unknown_tree` where there is none of this name."""
        for objects in self._objects:
            try:
                raw = zlib.decompress((objects / name[:2] / name[2:]).read_bytes())
            except (FileNotFoundError, zlib.error):
                continue
            return raw.partition(b"\0")[2]
        raise InputError("unknown_tree", f"the workspace has no object {name}", "Start the run again.")

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

    def amend(self, tree: str, changes: Mapping[str, tuple[int, str] | None]) -> str:
        """A tree like `tree` with entries put in, or taken out where a change is None; reads only what it must."""
        if not changes:
            return tree
        below: dict[str, dict[str, tuple[int, str] | None]] = {}
        level: dict[str, object] = dict(self._read_entries(tree))
        for path, entry in changes.items():
            name, _, rest = path.partition("/")
            if rest:
                below.setdefault(name, {})[rest] = entry
            elif entry is None:
                level.pop(name, None)
            else:
                level[name] = entry
        for name, inner in below.items():
            now = level.get(name)
            if all(entry is None for entry in inner.values()) and not (isinstance(now, tuple) and now[0] == _DIRECTORY):
                continue
            known = now[1] if isinstance(now, tuple) and now[0] == _DIRECTORY else self._write(b"tree", b"")
            amended = self.amend(known, inner)
            if self.read(amended):
                level[name] = (_DIRECTORY, amended)
            else:
                level.pop(name)
        return self._write_level(level)

    def _read_entries(self, tree: str) -> dict[str, tuple[int, str]]:
        content, position = self.read(tree), 0
        found: dict[str, tuple[int, str]] = {}
        while position < len(content):
            end = content.index(b"\0", position)
            mode, _, name = content[position:end].partition(b" ")
            found[os.fsdecode(name)] = (int(mode, 8), content[end + 1 : end + 21].hex())
            position = end + 21
        return found

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

    def changes(self, base: str, tree: str) -> dict[str, tuple[int, str] | None]:
        """{path: its entry in `tree`, or None where `tree` has none} of all that differs from `base`."""
        fields = self._compare(["-z", "--raw", "--no-abbrev"], base, tree).split(b"\0")
        found: dict[str, tuple[int, str] | None] = {}
        # ":<old mode> <new mode> <old id> <new id> <letter>", then the path
        for described, path in zip(fields[:-1:2], fields[1::2], strict=True):
            _, mode, _, identifier, letter = described.split(b" ")
            found[os.fsdecode(path)] = None if letter == b"D" else (int(mode, 8), identifier.decode())
        return found

    def diff(self, base: str, tree: str) -> str:
        """The patch from one tree to the other; bytes that are not UTF-8 are kept as surrogate escapes."""
        arguments = ["-p", "--binary", "--full-index", "--src-prefix=a/", "--dst-prefix=b/"]
        return self._compare([*arguments, "--diff-algorithm=histogram"], base, tree).decode("utf-8", "surrogateescape")

    def _compare(self, arguments: list[str], base: str, tree: str) -> bytes:
        always = ["diff-tree", "-r", "--no-renames", "--no-ext-diff", "--no-textconv"]
        answer = run_git([f"--git-dir={self.directory}", *always, *arguments, base, tree], cwd=self.directory)
        if answer.returncode != 0:
            words = answer.stderr.decode(errors="replace").strip()
            raise InputError("unknown_tree", f"cannot compare {base} and {tree}: {words}", "Start the run again.")
        return answer.stdout

    def _write_level(self, level: Mapping[str, object]) -> str:
        lines: list[tuple[bytes, bytes]] = []
        for name, value in level.items():
            encoded = os.fsencode(name)
            if isinstance(value, dict):
                mode, identifier, key = _DIRECTORY, self._write_level(value), encoded + b"/"
            else:
                assert isinstance(value, tuple)
                (mode, identifier) = value
                key = encoded + b"/" if mode == _DIRECTORY else encoded
            lines.append((key, b"%o %s\0%s" % (mode, encoded, bytes.fromhex(identifier))))
        return self._write(b"tree", b"".join(line for _, line in sorted(lines)))

    def _read_level(self, tree: str, prefix: str, entries: Entries) -> None:
        for name, (mode, identifier) in self._read_entries(tree).items():
            if mode == _DIRECTORY:
                self._read_level(identifier, f"{prefix}{name}/", entries)
            else:
                entries[prefix + name] = (mode, identifier)

    def _has(self, name: str) -> bool:
        if name not in self._present:
            if not any(os.path.exists(f"{objects}/{name[:2]}/{name[2:]}") for objects in self._objects):
                return False
            self._present.add(name)
        return True

    @contextmanager
    def _new_object(self, name: str) -> Generator[IO[bytes]]:
        """A file that becomes object `name` once it is written."""
        path = self._objects[0] / name[:2] / name[2:]
        path.parent.mkdir(exist_ok=True)
        fd, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(fd, "wb") as stream:
                yield stream
            os.rename(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        self._unsynced.append(path)
        self._present.add(name)

    def _write(self, kind: bytes, content: bytes) -> str:
        header = b"%s %d\0" % (kind, len(content))
        digest = hashlib.sha1(header, usedforsecurity=False)
        digest.update(content)
        name = digest.hexdigest()
        if not self._has(name):
            with self._new_object(name) as stream:
                stream.write(zlib.compress(header + content, 1))
        return name


def _pieces(fd: int) -> Iterator[bytes]:
    position = 0
    while piece := os.pread(fd, _CHUNK, position):
        yield piece
        position += len(piece)
