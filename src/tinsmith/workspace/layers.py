"""How the files of a new copy get to their place: over a cached tree, copied from one, or from the checkout itself."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tinsmith.errors import MachineError
from tinsmith.workspace.copy_in import copy_file, select_files
from tinsmith.workspace.object_store import Entries, ObjectStore
from tinsmith.workspace.overlay import Overlay
from tinsmith.workspace.tree import remove
from tinsmith.workspace.tree_cache import CachedTree, TreeCache, copy_tree


@dataclass(frozen=True)
class LaidOut:
    """The files of a new copy."""

    store: ObjectStore
    base: str
    """The id of the tree of files that count."""
    base_entries: Entries
    extras: str
    inner: tuple[str, ...]
    excludes: str
    """The person's global ignore file; empty for none."""
    cached: CachedTree | None
    overlay: Overlay | None


def lay_out(
    top: Path, directory: Path, leave_out: Collection[str], trees: TreeCache | None, overlay: bool | None
) -> LaidOut:
    """Put the files of the checkout at `top` into DIRECTORY/tree, and their contents into DIRECTORY/objects.git.

    `overlay` and errors are those of `Workspace.create`.
    """
    if trees is None:
        return _from_checkout(top, directory, leave_out)
    cached, different = trees.take(top, directory, leave_out)
    mounted = begin(cached, directory, overlay)
    tree = mounted.tree if mounted is not None else directory / "tree"
    store = ObjectStore.create(directory / "objects.git", on=cached.store)
    base, extras = cached.entries(extra=False), cached.entries(extra=True)
    named = set(different.selection.extras)
    for path in (*different.gone, *different.changed):
        base.pop(path, None)
        extras.pop(path, None)
        remove(tree / path)
    for path in different.changed:
        if (copied := copy_file(top, tree, path, store, optional=path in named)) is not None:
            (extras if path in named else base)[path] = copied.entry
    as_cached = not different.changed and not different.gone
    return LaidOut(
        store,
        cached.base if as_cached else store.write_tree(base),
        base,
        cached.extras if as_cached else store.write_tree(extras),
        different.selection.inner,
        different.selection.excludes,
        cached,
        mounted,
    )


def begin(cached: CachedTree, directory: Path, overlay: bool | None) -> Overlay | None:
    """Let DIRECTORY/tree be a cached tree: an overlay, or a copy where that is asked for or cannot be.

    Raises MachineError `no_overlay` where `overlay` is True.
    """
    (directory / "tree").mkdir(exist_ok=True)
    if overlay is not False:
        try:
            return Overlay.mount(cached.tree, directory)
        except MachineError:
            if overlay:
                raise
    copy_tree(cached, directory / "tree")
    return None


def _from_checkout(top: Path, directory: Path, leave_out: Collection[str]) -> LaidOut:
    store = ObjectStore.create(directory / "objects.git")
    selection = select_files(top, leave_out)
    base: Entries = {}
    extras: Entries = {}
    for paths, entries in ((selection.base, base), (selection.extras, extras)):
        for path in paths:
            if (copied := copy_file(top, directory / "tree", path, store, optional=entries is extras)) is not None:
                entries[path] = copied.entry
    tree, more = store.write_tree(base), store.write_tree(extras)
    return LaidOut(store, tree, base, more, selection.inner, selection.excludes, None, None)
