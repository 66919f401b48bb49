"""The private copy of a checkout that the agent works in.

    DIRECTORY/tree           the files, mounted inside the sandbox at the checkout's own absolute path
    DIRECTORY/upper, work    with an overlay: what was changed, over a cached tree (`tree` is then empty, and
                             the files are seen at `Workspace.tree`, as long as this process has it open)
    DIRECTORY/objects.git    snapshots, in a bare repository that the sandbox never sees
    DIRECTORY/rules          the `.gitignore` files as they were
    DIRECTORY/workspace.json

A snapshot holds what git would track.  Beside it the copy has *extras*: ignored files that imports need
(generated modules, compiled extensions, package metadata) and the contents of submodules.  They are visible
to tests and never part of a patch.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tinsmith.errors import InputError, MachineError
from tinsmith.workspace.beneath import Beneath
from tinsmith.workspace.checkout import Checkout, open_checkout
from tinsmith.workspace.environments import Environment, detect, installed_in_tree, load_recipes
from tinsmith.workspace.ignore_rules import IgnoreRules
from tinsmith.workspace.interpreter import Interpreter, find_python, inspect_python
from tinsmith.workspace.layers import begin, lay_out
from tinsmith.workspace.mount_points import make_mount_point, mount_points
from tinsmith.workspace.network import Proxy
from tinsmith.workspace.object_store import FILE, SYMLINK, Entries, ObjectStore
from tinsmith.workspace.overlay import Overlay
from tinsmith.workspace.sandbox import Bind, CommandSandbox, Completed, Sandbox
from tinsmith.workspace.tree import (
    TreeScanner,
    make_parents,
    materialise,
    prune_empty,
    read_inside,
    remove,
    resolve_inside,
    walk,
    write_inside,
    write_regular,
)
from tinsmith.workspace.tree_cache import CachedTree, TreeCache
from tinsmith.workspace.unprivileged_uid import hand_over


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
    cached: str = ""
    """The cached tree that the copy began with."""
    overlay: bool = False
    installed: list[str] = field(default_factory=list[str])
    """Directories of installed packages in the checkout, which are mounted."""


class TreeFile(NamedTuple):
    """A file of a snapshot; of a symlink the content is its target."""

    is_symlink: bool
    content: bytes


class Workspace:
    """A private copy of a checkout."""

    def __init__(
        self,
        directory: Path,
        state: _State,
        store: ObjectStore,
        interpreter: Interpreter,
        cached: CachedTree | None = None,
        overlay: Overlay | None = None,
    ) -> None:
        self.directory = directory
        self._overlay = overlay
        self.tree = directory / "tree" if overlay is None else overlay.tree
        """The copy, on the host.  Not to be resolved (see `Overlay.tree`)."""
        self.checkout = Checkout(Path(state.top), Path(state.git_dir), state.head)
        self.inside = self.checkout.top
        """Where the copy stands inside the sandbox: the checkout's own path."""
        self.interpreter = interpreter
        self.base = state.base
        """The snapshot of the checkout as it was, the person's uncommitted changes included."""
        self._state = state
        self._store = store
        self._cached = cached
        self._inner = tuple(path + "/" for path in state.inner)
        self._places = mount_points(interpreter, self.inside) | frozenset(state.installed)
        self._rules = IgnoreRules(store.directory.parent / "rules", store, state.excludes_file)
        self._scanner = TreeScanner(self.tree, store)
        if cached is not None and overlay is not None:
            known = {path: (file.identity, (file.mode, file.name)) for path, file in cached.files.items()}
            self._scanner.know(known, cached.when)
        self._copies = 0
        self._environments: dict[str, Environment] = {}

    @cached_property
    def _base(self) -> Entries:
        if self._cached is not None and self._cached.base == self.base:
            return self._cached.entries(extra=False)
        return self._store.read_tree(self.base)

    @cached_property
    def _extras(self) -> Entries:
        if self._cached is not None and self._cached.extras == self._state.extras:
            return self._cached.entries(extra=True)
        return self._store.read_tree(self._state.extras)

    def environment(self, package: str = ".") -> Environment:
        """The toolchains beside Python of the tests that run in `package`, relative to the top.

        Raises InputError `bad_recipe`.
        """
        if package not in self._environments:
            self._environments[package] = detect(self.inside, package, in_tree=self._state.installed)
        return self._environments[package]

    @property
    def is_overlay(self) -> bool:
        """Whether the copy holds only what differs from a cached tree."""
        return self._overlay is not None

    @property
    def python(self) -> Path:
        """The interpreter of the tests; the same path inside and outside."""
        return self.interpreter.path

    @classmethod
    def create(
        cls,
        repo: Path,
        directory: Path,
        *,
        python: Path | None = None,
        leave_out: Sequence[Path] = (),
        trees: TreeCache | None = None,
        overlay: bool | None = None,
    ) -> "Workspace":
        """Copy the checkout that `repo` lies in to `directory`, which must not exist or be empty.

        The checkout is only read.  Not copied are `directory` and the places of `leave_out` (the state
        directory) where they lie in the checkout, and the interpreter's environment, which is mounted.

        With `trees` the copy begins with a cached tree: as an overlay where the kernel can (`overlay=False`: never,
        `overlay=True`: or MachineError `no_overlay`), with shared blocks where the file system can, else as a copy.

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
        apart = (place.resolve() for place in (directory, *leave_out, *([trees.directory] if trees else [])))
        inside = {str(place.relative_to(checkout.top)) for place in apart if checkout.top in place.parents}
        installed = installed_in_tree(checkout.top, load_recipes(top=checkout.top))
        inside |= mount_points(interpreter, checkout.top) | set(installed)
        laid = lay_out(checkout.top, directory, inside, trees, overlay)
        store = laid.store
        excludes = store.directory / "info" / "exclude"
        excludes.parent.mkdir(exist_ok=True)
        if (person := checkout.git_dir / "info" / "exclude").is_file():
            excludes.write_bytes(person.read_bytes())
        IgnoreRules.write(directory / "rules", store, laid.base_entries)
        state = _State(
            top=str(checkout.top),
            git_dir=str(checkout.git_dir),
            head=checkout.head,
            python=str(interpreter.path),
            base=laid.base,
            extras=laid.extras,
            inner=list(laid.inner),
            excludes_file=laid.excludes,
            cached=str(laid.cached.directory) if laid.cached else "",
            overlay=laid.overlay is not None,
            installed=list(installed),
        )
        store.sync()
        write_regular(directory / "workspace.json", json.dumps(asdict(state)).encode(), 0o644)
        return cls(directory, state, store, interpreter, laid.cached, laid.overlay)

    @classmethod
    def open(cls, directory: Path) -> "Workspace":
        """A copy that an earlier process made, as that process left it.

        Raises InputError `no_workspace`, `no_tree`; MachineError `no_overlay`.
        """
        directory = directory.absolute()
        try:
            state = _State(**json.loads((directory / "workspace.json").read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise InputError("no_workspace", f"{directory} holds no copy", "Start the run again.") from error
        interpreter = inspect_python(Path(state.python), Path(state.top))
        cached = CachedTree.open(Path(state.cached)) if state.cached else None
        overlay = Overlay.mount(cached.tree, directory) if cached is not None and state.overlay else None
        return cls(directory, state, ObjectStore(directory / "objects.git"), interpreter, cached, overlay)

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

        def read(entry: tuple[int, str] | None) -> TreeFile | None:
            return TreeFile(entry[0] == SYMLINK, self._store.read(entry[1])) if entry else None

        different = sorted(self._store.changes(self.base, tree).items())
        return {path: (read(self._base.get(path)), read(after)) for path, after in different}

    def read_base(self, path: str) -> bytes | None:
        """A file as the checkout had it; None where it had none."""
        entry = self._base.get(path)
        return self._store.read(entry[1]) if entry else None

    def compose(self, tree: str, from_base: Callable[[str], bool], files: Mapping[str, bytes]) -> str:
        """A snapshot like `tree`, but what `from_base` names is as the base has it (or is not there).

        `files` are written on top. What `tree` put in the way of either, as a file where a directory
        belongs, is left out.
        """
        kept = {path: entry for path, entry in self._base.items() if from_base(path)}
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
        cached = self._cached
        if cached is None:
            (directory / "tree").mkdir()
            copy = Workspace(directory, self._state, self._store, self.interpreter)
            copy.restore(tree)
            return copy
        overlay = begin(cached, directory, self.is_overlay)
        copy = Workspace(directory, self._state, self._store, self.interpreter, cached, overlay)
        different = self._store.changes(cached.base, tree)
        different.update(self._store.changes(cached.extras, self._state.extras))
        for path, entry in different.items():
            if entry is None:
                remove(copy.tree / path)
        present = {path: entry for path, entry in different.items() if entry is not None}
        materialise(copy.tree, self._store, present, present)
        return copy

    def discard(self) -> None:
        """Delete this copy's files."""
        if self._overlay is not None:
            self._overlay.close()
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
        return read_inside(self.tree, path)

    def write_file(self, path: str, content: bytes) -> None:
        """Write a file of the copy in one step; parents are made, an existing file keeps its mode.

        Raises InputError `path_outside`, OSError.
        """
        write_inside(self.tree, path, content)

    def run(
        self,
        sandbox: CommandSandbox,
        argv: Sequence[str],
        *,
        cwd: str = ".",
        timeout: float,
        extra_ro_binds: Sequence[Bind] = (),
        extra_rw_binds: Sequence[Bind] = (),
        env: Mapping[str, str] | None = None,
        network: Proxy | None = None,
    ) -> Completed:
        """Run a command in the copy; `cwd` is relative to the top.  `python` and `pytest` are the
        interpreter's.  With `network` it reaches the hosts that this proxy allows, else none.

        Raises as `Sandbox.run` does, and InputError `path_outside`.
        """
        for place in self._places:
            make_mount_point(make_parents(self.tree, place), is_directory=(self.inside / place).is_dir())
        below = resolve_inside(self.tree, cwd).relative_to(self.tree)
        tools = self.environment(str(below))
        environment = tools.variables(self.python.parent, online=network is not None)
        if (self.interpreter.prefix / "pyvenv.cfg").is_file():
            environment["VIRTUAL_ENV"] = str(self.interpreter.prefix)
        if network is not None:
            argv, extra_ro_binds = network.wrap(argv, self.python), [*extra_ro_binds, *network.mounts()]
        if isinstance(sandbox, Sandbox) and tools.address_space > sandbox.limits.address_space:
            sandbox = replace(sandbox, limits=replace(sandbox.limits, address_space=tools.address_space))
        source = self.tree
        if self._overlay is not None:
            if not isinstance(sandbox, Sandbox):
                raise MachineError("overlay_elsewhere", sandbox.waived, "Make the copy without an overlay for it.")
            if sandbox.host_uid is not None:
                hand_over([self.tree], sandbox.host_uid)
            watched = (self._overlay.upper, *(place for place, _ in extra_rw_binds))
            sandbox = replace(sandbox, enter=self._overlay.enter, watched=watched)
            source = self._overlay.mount_point
        return sandbox.run(
            argv,
            cwd=self.inside / below,
            timeout=timeout,
            extra_ro_binds=[*tools.mounts, *((mount, mount) for mount in self.interpreter.mounts), *extra_ro_binds],
            extra_rw_binds=[(source, self.inside), *extra_rw_binds],
            symlinks=self.interpreter.symlinks,
            env={**environment, **(env or {})},
        )

    def _scan(self) -> Entries:
        def keep(paths: list[str]) -> list[str]:
            new = [p for p in paths if p not in self._base and not self._is_extra(p)]
            ignored = self._rules.ignored(new)
            return [path for path in paths if path not in ignored]

        return self._scanner.scan(self._places, keep)

    def _fill(self, entries: Entries) -> None:
        target = {**self._extras, **entries}
        present = self._scan()
        with Beneath(self.tree) as tree:
            for path, _ in list(walk(self.tree, self._places)):
                if path not in target:
                    tree.remove_all(path)
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
