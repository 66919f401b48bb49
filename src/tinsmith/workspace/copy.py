"""The private copy of a checkout that the agent works in.

    DIRECTORY/tree          the files, mounted inside the sandbox at the checkout's own absolute path; no
    `.git` DIRECTORY/objects.git   snapshots, in a bare repository that the sandbox never sees
    DIRECTORY/rules         the `.gitignore` files as they were
    DIRECTORY/workspace.json

A snapshot holds what git would track.  Beside it the copy has *extras*: ignored files that imports need
(generated modules, compiled extensions, package metadata) and the contents of submodules.  They are visible
to tests and never part of a patch.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from tinsmith.errors import InputError
from tinsmith.workspace.checkout import Checkout, open_checkout
from tinsmith.workspace.copy_in import copy_files
from tinsmith.workspace.git import person_setting
from tinsmith.workspace.ignore_rules import IgnoreRules
from tinsmith.workspace.interpreter import Interpreter, find_python, inspect_python
from tinsmith.workspace.object_store import FILE, SYMLINK, Entries, ObjectStore
from tinsmith.workspace.sandbox import Bind, Completed, Sandbox
from tinsmith.workspace.tree import (
    TreeScanner,
    make_parents,
    materialise,
    prune_empty,
    read_regular,
    remove,
    resolve_inside,
    walk,
    write_regular,
)


@dataclass(frozen=True)
class _State:
    """What must survive a restart; written once."""

    top: str
    git_dir: str
    head: str | None
    python: str
    base: str
    extras: str
    inner: list[str]
    excludes_file: str


class TreeFile(NamedTuple):
    """A file of a snapshot; of a symlink the content is its target."""

    is_symlink: bool
    content: bytes


class Workspace:
    """A private copy of a checkout."""

    def __init__(self, directory: Path, state: _State, store: ObjectStore, interpreter: Interpreter) -> None:
        self.directory = directory
        self.tree = directory / "tree"
        """The copy, on the host."""
        self.checkout = Checkout(Path(state.top), Path(state.git_dir), state.head)
        self.inside = self.checkout.top
        """Where the copy stands inside the sandbox: the checkout's own path."""
        self.interpreter = interpreter
        self.base = state.base
        """The snapshot of the checkout as it was, the person's uncommitted changes included."""
        self._state = state
        self._store = store
        self._extras = store.read_tree(state.extras)
        self._base_paths = frozenset(store.read_tree(state.base))
        self._inner = tuple(path + "/" for path in state.inner)
        self._places = _mount_points(interpreter, self.inside)
        self._rules = IgnoreRules(store.directory.parent / "rules", store, state.excludes_file)
        self._scanner = TreeScanner(self.tree, store)
        self._copies = 0

    @property
    def python(self) -> Path:
        """The interpreter of the tests; the same path inside and outside."""
        return self.interpreter.path

    @classmethod
    def create(
        cls, repo: Path, directory: Path, *, python: Path | None = None, leave_out: Sequence[Path] = ()
    ) -> "Workspace":
        """Copy the checkout that `repo` lies in to `directory`, which must not exist or be empty.

        The checkout is only read.  Not copied are `directory` and the places of `leave_out` (the state
        directory) where they lie in the checkout, and the interpreter's environment, which is mounted.

        Raises InputError as `open_checkout` does, `unreadable_file`, `python_unusable`, `workspace_exists`.
        """
        checkout = open_checkout(repo)
        directory = directory.absolute()
        interpreter = inspect_python(find_python(checkout.top, python), checkout.top)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            (directory / "tree").mkdir()
        except FileExistsError:
            raise InputError(
                "workspace_exists", f"{directory} already holds a copy", "Name another directory."
            ) from None
        store = ObjectStore.create(directory / "objects.git")
        excludes = directory / "objects.git" / "info" / "exclude"
        excludes.parent.mkdir(exist_ok=True)
        if (person := checkout.git_dir / "info" / "exclude").is_file():
            excludes.write_bytes(person.read_bytes())
        apart = (place.resolve() for place in (directory, *leave_out))
        inside = {str(place.relative_to(checkout.top)) for place in apart if checkout.top in place.parents}
        inside |= _mount_points(interpreter, checkout.top)
        base, extras, inner = copy_files(checkout.top, directory / "tree", store, inside)
        IgnoreRules.write(directory / "rules", store, base)
        named = person_setting("core.excludesFile", checkout.top)
        state = _State(
            top=str(checkout.top),
            git_dir=str(checkout.git_dir),
            head=checkout.head,
            python=str(interpreter.path),
            base=store.write_tree(base),
            extras=store.write_tree(extras),
            inner=inner,
            excludes_file=os.path.expanduser(named) if named else "",
        )
        store.sync()
        write_regular(directory / "workspace.json", json.dumps(asdict(state)).encode(), 0o644)
        return cls(directory, state, store, interpreter)

    @classmethod
    def open(cls, directory: Path) -> "Workspace":
        """A copy that an earlier process made, as that process left it.  Raises InputError `no_workspace`."""
        directory = directory.absolute()
        try:
            state = _State(**json.loads((directory / "workspace.json").read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise InputError("no_workspace", f"{directory} holds no copy", "Start the run again.") from error
        interpreter = inspect_python(Path(state.python), Path(state.top))
        return cls(directory, state, ObjectStore(directory / "objects.git"), interpreter)

    def snapshot(self) -> str:
        """The id of the tree as it stands: everything but ignored files, extras and `.git`."""
        entries = self._scan()
        tree = self._store.write_tree({p: e for p, e in entries.items() if not self._is_extra(p)})
        self._store.sync()
        return tree

    def restore(self, tree: str) -> None:
        """Put the copy back to a snapshot; what commands left behind, ignored or not, is removed."""
        self._fill(self._store.read_tree(tree))

    def diff(self, base: str, tree: str) -> str:
        """The patch from one snapshot to another, in git's format (see `tinsmith.workspace.patch`)."""
        return self._store.diff(base, tree)

    def paths(self, tree: str) -> tuple[str, ...]:
        """Every path of a snapshot, sorted."""
        return tuple(sorted(self._store.read_tree(tree)))

    def changed(self, tree: str) -> dict[str, tuple[TreeFile | None, TreeFile | None]]:
        """{path: (before, after)} of what a snapshot changes in the base; None where there is no such file."""
        before, after = self._store.read_tree(self.base), self._store.read_tree(tree)

        def read(entry: tuple[int, str] | None) -> TreeFile | None:
            return TreeFile(entry[0] == SYMLINK, self._store.read(entry[1])) if entry else None

        paths = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        return {path: (read(before.get(path)), read(after.get(path))) for path in paths}

    def read_base(self, path: str) -> bytes | None:
        """A file as the checkout had it; None where it had none."""
        entry = self._store.read_tree(self.base).get(path)
        return self._store.read(entry[1]) if entry else None

    def compose(self, tree: str, from_base: Callable[[str], bool], files: Mapping[str, bytes]) -> str:
        """A snapshot like `tree`, but what `from_base` names is as the base has it (or is not there).

        `files` are written on top. What `tree` put in the way of either, as a file where a directory
        belongs, is left out.
        """
        kept = {path: entry for path, entry in self._store.read_tree(self.base).items() if from_base(path)}
        kept.update({path: (FILE, self._store.write_blob(content)) for path, content in files.items()})
        directories = {parent for path in kept for parent in _parents_of(path)}
        entries = {
            path: entry
            for path, entry in self._store.read_tree(tree).items()
            if not from_base(path) and path not in directories and kept.keys().isdisjoint(_parents_of(path))
        }
        return self._store.write_tree({**entries, **kept})

    def clean_copy(self, tree: str) -> "Workspace":
        """A second copy of a snapshot, at the same path inside, untouched by what ran in this one."""
        while True:
            self._copies += 1
            directory = self.directory / f"copy-{self._copies}"
            try:
                directory.mkdir()
                break
            except FileExistsError:
                continue
        copy = Workspace(directory, self._state, self._store, self.interpreter)
        copy.tree.mkdir()
        copy.restore(tree)
        return copy

    def discard(self) -> None:
        """Delete this copy's files."""
        remove(self.directory)

    @staticmethod
    def remove(directory: Path) -> None:
        """Delete a copy that may not be whole, as after a kill; nothing where there is none."""
        if directory.exists():
            remove(directory)

    def read_file(self, path: str) -> bytes:
        """A file of the copy by its relative path; symlinks are followed inside the copy only.

        Raises InputError `path_outside`, OSError.
        """
        return read_regular(resolve_inside(self.tree, path))

    def write_file(self, path: str, content: bytes) -> None:
        """Write a file of the copy in one step; parents are made, an existing file keeps its mode.

        Raises InputError `path_outside`, OSError.
        """
        place = resolve_inside(self.tree, path)
        mode = place.stat().st_mode & 0o777 if place.is_file() else 0o644
        make_parents(self.tree.resolve(), str(place.relative_to(self.tree.resolve())))
        write_regular(place, content, mode)

    def run(
        self,
        sandbox: Sandbox,
        argv: Sequence[str],
        *,
        cwd: str = ".",
        timeout: float,
        extra_ro_binds: Sequence[Bind] = (),
        extra_rw_binds: Sequence[Bind] = (),
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a command in the copy; `cwd` is relative to the top.  `python` and `pytest` are the
        interpreter's.

        Raises as `Sandbox.run` does, and InputError `path_outside`.
        """
        for place in self._places:
            _make_mount_point(make_parents(self.tree, place), is_directory=(self.inside / place).is_dir())
        below = resolve_inside(self.tree, cwd).relative_to(self.tree.resolve())
        environment = {"PATH": f"{self.python.parent}:/usr/local/bin:/usr/bin:/bin"}
        if (self.interpreter.prefix / "pyvenv.cfg").is_file():
            environment["VIRTUAL_ENV"] = str(self.interpreter.prefix)
        return sandbox.run(
            argv,
            cwd=self.inside / below,
            timeout=timeout,
            extra_ro_binds=[*((mount, mount) for mount in self.interpreter.mounts), *extra_ro_binds],
            extra_rw_binds=[(self.tree, self.inside), *extra_rw_binds],
            symlinks=self.interpreter.symlinks,
            env={**environment, **(env or {})},
        )

    def _scan(self) -> Entries:
        def keep(paths: list[str]) -> list[str]:
            new = [p for p in paths if p not in self._base_paths and not self._is_extra(p)]
            ignored = self._rules.ignored(new)
            return [path for path in paths if path not in ignored]

        return self._scanner.scan(self._places, keep)

    def _fill(self, entries: Entries) -> None:
        target = {**self._extras, **entries}
        present = self._scan()
        for path, _ in list(walk(self.tree, self._places)):
            if path not in target:
                remove(self.tree / path)
        materialise(
            self.tree,
            self._store,
            target,
            [path for path, entry in target.items() if present.get(path) != entry],
        )
        prune_empty(self.tree, self._places)

    def _is_extra(self, path: str) -> bool:
        return path in self._extras or path.startswith(self._inner)


def _parents_of(path: str) -> Iterator[str]:
    """Every directory above `path`, the top left out."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _make_mount_point(place: Path, *, is_directory: bool) -> None:
    """Put right what a command may have replaced: a symlink here would lead the mount elsewhere."""
    if place.is_symlink() or (place.exists() and place.is_dir() != is_directory):
        remove(place)
    if is_directory:
        place.mkdir(exist_ok=True)
    else:
        place.touch()


def _mount_points(interpreter: Interpreter, top: Path) -> frozenset[str]:
    """The parts of the interpreter that lie in the checkout, relative to its top."""
    inside = [mount for mount in interpreter.mounts if mount.is_relative_to(top) and mount != top]
    return frozenset(str(mount.relative_to(top)) for mount in inside)
