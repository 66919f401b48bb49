"""Generated trees, the diffs between them, and what an attacker would make of those diffs.

A `Case` is a tree and the changes of it; `Bench.patch` has git write the diff, then mutates its text.  `Bench.judge`
puts a patch into two checkouts with the same files, by `apply_patch` and by `git apply`, and compares everything.
"""

import hashlib
import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from tinsmith.errors import InputError
from tinsmith.workspace.deliver import apply_patch
from tinsmith.workspace.git import run_git
from tinsmith.workspace.object_store import ObjectStore
from tinsmith.workspace.patch import parse_patch

Tree = dict[str, tuple[int, bytes]]
"""{path: (mode, content)}; modes as git's, of a symlink the content is its target."""
FILE, PROGRAM, LINK = 0o100644, 0o100755, 0o120000

_NAMES = [
    "a",
    "b.py",
    "c d",
    "e",
    "grün.txt",
    "deep/f",
    "deep/g.py",
    "deep/er/h",
    "i/j/k",
    "naïve/l.md",
    "m",
    'qu"o',
    "n~x",
]
_LINES = [
    "",
    "x",
    "y",
    "x = 1",
    "    return x",
    "-- a",
    "++ b",
    "@@ -1 +1 @@",
    "diff --git a/x b/x",
    "é",
    "\ttab",
    "end\r",
    "z ",
]
_BINARY = [b"\0", b"\0\1\2" * 40, bytes(range(256)) * 4, b"\0" * 5000 + b"x", bytes(range(255, -1, -1)) * 4]
HOSTILE_PATHS = [
    "../x", "/etc/x", "a/../../x", ".git/config", ".GIT/hooks/x", "GIT~1/x", ".g\u200cit/x",
    ".git::$INDEX_ALLOCATION/x",
    ".git./x", ".git /x", "deep/.git/x", "a\\..\\x", "C:x", "aux", "nul.txt", "com1.py", "x.", "x ", "A",
    "DEEP/new", "deep",
    "deep/F", "gru\u0308n.txt", "out/x", "in/x", "a/x", "x" * 256, "d/" * 500 + "x", "x\x1b[31m", "./x", "x//y",
    "x/", "",
    "conftest.py", ".github/x.yml", "PROGRA~1", "x:y", "\udcff", "\u202ex", "link/x", "new",
]  # fmt: skip
HOSTILE_TARGETS = [
    "../x",
    "/etc/passwd",
    "..",
    "deep/../../x",
    ".git/config",
    "out",
    "out/x",
    "in/x",
    "loop",
    "a",
    "deep/f",
]
HOSTILE_LINES = [
    "rename from a", "rename to ../x", "copy from a", "copy to x", "similarity index 100%", "new file mode 160000",
    "old mode 100644", "new mode 104755", "new mode 100755", "new file mode 120000", "deleted file mode 100644",
    "GIT binary patch", "literal 0", "literal 999999999", "HcmV?d00001", "delta 4", "--- a/a", "+++ b/../x",
    "--- /dev/null", "+++ /dev/null", "@@ -0,0 +1 @@", "@@ -1 +0,0 @@", "@@ -1,2 +1,2 @@",
    "@@ -99999999999999999999 +1 @@",
    "+x", "-x", " x",
    "\\ No newline at end of file", "", "Binary files a/a and b/a differ", "diff --git a/a b/a", "-- ", "2.39.0",
    "index " + "0" * 40 + ".." + "1" * 40, "index 1..2", "Subproject commit " + "1" * 40,
]  # fmt: skip

_MODES = ["100664", "104755", "160000", "040000", "120000", "100755"]


@dataclass(frozen=True)
class Mutation:
    """One change of a patch's text; `where` in [0, 1) says at what line of those that it could take."""

    kind: str
    where: float
    text: str = ""
    number: int = 0


@dataclass(frozen=True)
class Case:
    """A tree, what it becomes, how the text of the diff is mutated, and what the person changed meanwhile."""

    before: Tree
    after: Tree
    mutations: tuple[Mutation, ...]
    moved: int
    """So many lines come in at the head of the person's text files: hunks must be searched for."""


def texts() -> st.SearchStrategy[bytes]:
    lines = st.lists(st.sampled_from(_LINES), max_size=30)
    ends = st.sampled_from(["\n", ""])
    text = st.builds(_joined, lines, ends)
    return st.one_of(text, text, text, st.sampled_from(_BINARY), st.just(b""))


def _joined(lines: list[str], end: str) -> bytes:
    return ("\n".join(lines) + end if lines else "").encode()


def _entries() -> st.SearchStrategy[tuple[int, bytes]]:
    file = st.tuples(st.sampled_from([FILE, FILE, FILE, PROGRAM]), texts())
    link = st.tuples(st.just(LINK), st.sampled_from([b"a", b"m", b"deep"]))
    return st.one_of(file, file, file, file, link)


def _fitting(tree: Tree) -> Tree:
    """Without what lies below a file, and without links that the rules refuse for where they lead."""
    kept: Tree = {}
    for path, (mode, content) in sorted(tree.items()):
        if any(path.startswith(other + "/") for other in kept):
            continue
        kept[path] = (FILE, content) if mode == LINK and "/" in path else (mode, content)
    return kept


@st.composite
def cases(draw: st.DrawFn, hostile: bool = True) -> Case:
    names = st.sampled_from(_NAMES)
    before = _fitting(draw(st.dictionaries(names, _entries(), min_size=2, max_size=7)))
    after = dict(before)
    for path in draw(st.lists(st.sampled_from(sorted(before)), min_size=1, max_size=4, unique=True)):
        mode, content = before[path]
        how = draw(st.sampled_from(["edit", "edit", "edit", "replace", "delete", "mode"]))
        if how == "edit" and mode != LINK:
            lines = content.split(b"\n")
            place = draw(st.integers(0, len(lines)))
            lines[place : place + draw(st.integers(0, 3))] = [b"new"] * draw(st.integers(0, 3))
            after[path] = (mode, b"\n".join(lines))
        elif how == "delete":
            del after[path]
        elif how == "mode" and mode != LINK:
            after[path] = (FILE + PROGRAM - mode, content)
        else:
            after[path] = draw(_entries())
    after.update(draw(st.dictionaries(names, _entries(), max_size=2)))
    mutations = draw(st.lists(_mutations(), min_size=1, max_size=3)) if hostile and draw(st.booleans()) else []
    return Case(before, _fitting(after), tuple(mutations), draw(st.sampled_from([0, 0, 0, 1, 3])))


def _mutations() -> st.SearchStrategy[Mutation]:
    where = st.floats(0, 0.999)
    return st.one_of(
        st.builds(Mutation, st.sampled_from(["path", "path everywhere"]), where, st.sampled_from(HOSTILE_PATHS)),
        st.builds(Mutation, st.just("line"), where, st.sampled_from(HOSTILE_LINES)),
        st.builds(Mutation, st.just("instead"), where, st.sampled_from(HOSTILE_LINES)),
        st.builds(Mutation, st.sampled_from(["drop", "double", "swap", "cut", "crlf", "section twice"]), where),
        st.builds(Mutation, st.sampled_from(["number", "character"]), where, number=st.integers(0, 300)),
        st.builds(Mutation, st.just("new file"), where, st.sampled_from(HOSTILE_PATHS)),
        st.builds(Mutation, st.just("link"), where, st.sampled_from(HOSTILE_TARGETS)),
        st.builds(
            Mutation,
            st.just("mode"),
            where,
            st.sampled_from(["100664", "104755", "160000", "040000", "120000", "100755"]),
        ),
    )


def mutated(text: str, mutation: Mutation) -> str:
    lines = text.split("\n")
    at = int(mutation.where * len(lines))
    kind = mutation.kind
    if kind == "line":
        lines.insert(at, mutation.text)
    elif kind == "instead":
        lines[at] = mutation.text
    elif kind == "drop":
        del lines[at]
    elif kind == "double":
        lines.insert(at, lines[at])
    elif kind == "swap":
        other = (at + 1) % len(lines)
        lines[at], lines[other] = lines[other], lines[at]
    elif kind == "cut":
        return text[: int(mutation.where * len(text))]
    elif kind == "crlf":
        lines[at] += "\r"
    elif kind == "section twice":
        sections = [part for part in ("\n" + text).split("\ndiff --git ") if part]
        if sections:
            part = sections[int(mutation.where * len(sections))]
            return text + "diff --git " + part + ("" if part.endswith("\n") else "\n")
    elif kind == "number":
        digits = [i for i, character in enumerate(text) if character.isdigit()]
        if digits:
            place = digits[int(mutation.where * len(digits))]
            return f"{text[:place]}{mutation.number % 10}{text[place + 1 :]}"
    elif kind == "character":
        place = int(mutation.where * len(text))
        return text[:place] + chr(mutation.number) + text[place + 1 :]
    elif kind == "new file":
        return text + new_file(mutation.text, "100644", "+x")
    elif kind == "link":
        return text + new_file("link", "120000", f"+{mutation.text}\n\\ No newline at end of file")
    elif kind == "mode":
        modes = [i for i, line in enumerate(lines) if " mode 1" in line or line.startswith("index ")]
        if modes:
            place = modes[int(mutation.where * len(modes))]
            lines[place] = lines[place].rpartition(" ")[0] + " " + mutation.text
    else:
        headers = [line for line in lines if line.startswith("diff --git ")]
        if headers:
            header = headers[int(mutation.where * len(headers))]
            old = header.removeprefix("diff --git a/").partition(" b/")[0]
            if kind == "path":
                place = lines.index(header)
                lines[place] = f"diff --git a/{mutation.text} b/{mutation.text}"
            elif old:
                return text.replace(f"a/{old}", f"a/{mutation.text}").replace(f"b/{old}", f"b/{mutation.text}")
    return "\n".join(lines)


def new_file(path: str, mode: str, body: str) -> str:
    return (
        f"diff --git a/{path} b/{path}\nnew file mode {mode}\nindex {'0' * 40}..{'1' * 40}\n"
        f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n{body}\n"
    )


@dataclass
class Tally:
    """What became of the patches so far."""

    patches: int = 0
    accepted: int = 0
    """By the parser."""
    applied: int = 0
    only_git: int = 0
    """Taken by the parser and refused by `apply_patch`, where git applies it."""


class Bench:
    """Two checkouts in a directory each, whose files are put there anew for every patch."""

    def __init__(self, place: Path) -> None:
        self._ours, self._gits = place / "ours", place / "gits"
        for side in (self._ours, self._gits):
            (side / "repo").mkdir(parents=True)
            run_git(["init", "--quiet", "--template=", "."], cwd=side / "repo")
            (side / "outside").mkdir()
            (side / "outside" / "x").write_text("x\n")
        self._store = ObjectStore.create(place / "objects.git")
        self.tally = Tally()

    def patch(self, case: Case) -> str:
        def write(tree: Tree) -> str:
            return self._store.write_tree({p: (mode, self._store.write_blob(data)) for p, (mode, data) in tree.items()})

        text = self._store.diff(write(case.before), write(case.after))
        for mutation in case.mutations:
            text = mutated(text, mutation)
        return text

    def judge(self, case: Case, text: str) -> str:
        """`rejected`, `refused` or `applied`; AssertionError where anything is not as it must be."""
        self.tally.patches += 1
        try:
            patch = parse_patch(text)
        except InputError as error:
            assert error.code == "patch_rejected", error
            return "rejected"
        self.tally.accepted += 1
        tree = {p: (m, _moved(m, data, case.moved)) for p, (m, data) in case.before.items()}
        for side in (self._ours, self._gits):
            _fill(side / "repo", tree)
        before = contents(self._ours)
        git = run_git(["apply", "--whitespace=nowarn", "-"], cwd=self._gits / "repo", stdin=patch.content)
        try:
            apply_patch(self._ours / "repo", patch, approve_sensitive=True)
        except InputError as error:
            assert error.code in ("patch_does_not_apply", "patch_rejected", "patch_not_written"), error
            assert contents(self._ours) == before, "a refused patch changed something"
            self.tally.only_git += git.returncode == 0
            assert git.returncode != 0 or case.mutations, f"git applies what we refuse: {error}"
            return "refused"
        assert git.returncode == 0, f"git refuses what we apply: {git.stderr!r}"
        after = contents(self._ours)
        assert after == contents(self._gits), "git makes another tree"
        assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} <= {
            f"repo/{path}" for path in patch.paths
        }, "a file changed that the patch does not name"
        apply_patch(self._ours / "repo", patch, reverse=True)
        assert contents(self._ours) == before, "the patch does not come out again"
        self.tally.applied += 1
        return "applied"


def contents(top: Path) -> dict[str, tuple[str, str]]:
    """Every file and link below `top`, git's own too: {path: (kind, hash)}."""
    found: dict[str, tuple[str, str]] = {}
    for directory, directories, files in os.walk(top):
        for name in [*files, *(name for name in directories if os.path.islink(os.path.join(directory, name)))]:
            place = os.path.join(directory, name)
            status = os.lstat(place)
            if stat.S_ISLNK(status.st_mode):
                kind, content = "link", os.fsencode(os.readlink(place))
            else:
                kind, content = ("program" if status.st_mode & 0o100 else "file"), Path(place).read_bytes()
            path = os.path.relpath(place, top)
            if "/tinsmith-apply/" not in path:
                found[path] = (kind, hashlib.sha256(content).hexdigest())
    return found


def _moved(mode: int, content: bytes, lines: int) -> bytes:
    return content if mode == LINK or b"\0" in content else b"moved\n" * lines + content


def _fill(repo: Path, tree: Tree) -> None:
    for entry in os.scandir(repo):
        if entry.name != ".git":
            shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)
    for path, (mode, content) in tree.items():
        place = repo / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if mode == LINK:
            place.symlink_to(os.fsdecode(content))
        else:
            place.write_bytes(content)
            place.chmod(mode & 0o777)
    for name, target in (("out", "../outside"), ("in", "deep"), ("loop", "loop")):
        (repo / name).symlink_to(target)
