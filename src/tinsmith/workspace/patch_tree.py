"""The files that a patch leaves, beside those that are there: none in another's way, on any file system.

Where case or Unicode form is ignored, two names are one file, and a directory may be the symlink that another file
of the same patch brings in (CVE-2021-21300 is one such).
"""

from collections.abc import Mapping, Sequence

from tinsmith.workspace.patched_file import PatchedFile, link_target
from tinsmith.workspace.path_rules import fold, parents, steps

SYMLINK = "120000"
SUBMODULE = "160000"


def tree_fault(files: Sequence[PatchedFile], base: Mapping[str, str]) -> str | None:
    """What is wrong with the tree that a patch makes of `base` ({path: octal mode}); None where nothing is.

    Whether the patch fits is not asked: a file that it changes and that `base` lacks is taken as being there.
    """
    if fault := _repeated(files):
        return fault
    before = {**{file.path: SYMLINK if file.is_link else "" for file in files if file.change == "modified"}, **base}
    gone = {file.path for file in files if file.change == "deleted"}
    added = {file.path: file for file in files if file.change == "added"}
    kept = {path: mode for path, mode in before.items() if path not in gone}
    for file in files:
        if file.change != "added" and base.get(file.path) == SUBMODULE:
            return f"{file.path!r} is a submodule"
        if file.change == "modified" and file.path in base and (base[file.path] == SYMLINK) != file.is_link:
            return f"{file.path!r} is not of the kind that the patch says"
    after = {**kept, **{path: SYMLINK if file.is_link else "" for path, file in added.items()}}
    links = {path for path, mode in after.items() if mode == SYMLINK}
    for file in files:
        there = before if file.change == "deleted" else after
        for parent in parents(file.path):
            if parent in there:
                return f"{file.path!r} lies behind {parent!r}, which is no directory"
    if fault := _unlike_what_is_there(added, kept, before):
        return fault
    folded_links = {fold(path) for path in links}
    for file in files:
        if file.is_link and file.change != "deleted":
            target = link_target(file) or ""
            through = next((step for step in steps(file.path, target) if fold(step) in folded_links), None)
            if through is not None:
                return f"the symlink {file.path!r} goes through another, {through!r}"
    return None


def _repeated(files: Sequence[PatchedFile]) -> str | None:
    """A path stands once, or twice in a row where it becomes another kind of file."""
    seen: dict[str, int] = {}
    for number, file in enumerate(files):
        before = seen.setdefault(file.path, number)
        if before == number:
            continue
        other = files[before]
        kinds = (other.change, file.change) == ("deleted", "added") and other.is_link != file.is_link
        if not kinds or before != number - 1:
            return f"it names {file.path!r} twice"
    return None


def _unlike_what_is_there(
    added: Mapping[str, PatchedFile], kept: Mapping[str, str], before: Mapping[str, str]
) -> str | None:
    """A new path, or a directory of one, that is another name of something that is there or comes too."""
    if not added:
        return None
    there: dict[str, set[str]] = {}
    for path in kept:
        for place in (path, *parents(path)):
            spellings = there.setdefault(fold(place), set())
            if place in spellings:
                break
            spellings.add(place)
    directories = {parent for path in kept for parent in parents(path)}
    # A base link that was checked beside this directory could leave the tree through a link in its place.
    were_directories = {parent for path in before for parent in parents(path)}
    for path, file in added.items():
        if path in directories or (file.is_link and path in were_directories):
            return f"{path!r} stands where a directory is"
        for place in (path, *parents(path)):
            spellings = there.setdefault(fold(place), set())
            if spellings and place not in spellings:
                other = sorted(spellings)[0]
                return f"{place!r} and {other!r} are one name where case or Unicode form is ignored"
            spellings.add(place)
    return None
