"""The diff on its way out: what is let out, and that it means to us what it means to git."""

import base64
import tomllib
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tests.hostile_patches import FILE, LINK, PROGRAM, Bench, Case, Tree, cases, new_file

from tinsmith.errors import InputError
from tinsmith.workspace.binary_patch import BinaryBlock, BinaryPatchError
from tinsmith.workspace.patch import Patch, parse_patch
from tinsmith.workspace.patch_tree import tree_fault
from tinsmith.workspace.patched_file import DoesNotApply, blob_id
from tinsmith.workspace.path_rules import fold, steps
from tinsmith.workspace.sensitive import sensitive_paths

ZEROS, ONES = "0" * 40, "1" * 40


def refusal(text: str, base: dict[str, str] | None = None) -> str:
    """Why a patch is refused, by the parser or beside the files of `base`; "" where it is not."""
    try:
        patch = parse_patch(text)
    except InputError as error:
        assert error.code == "patch_rejected" and error.exit_code == 2 and error.remedy
        return error.message
    return tree_fault(patch.files, base or {}) or ""


def link(path: str, target: str) -> str:
    return new_file(path, "120000", f"+{target}\n\\ No newline at end of file")


def deleted(path: str) -> str:
    return (
        f"diff --git a/{path} b/{path}\ndeleted file mode 100644\nindex {ONES}..{ZEROS}\n--- a/{path}\n+++ /dev/null\n"
        "@@ -1 +0,0 @@\n-x\n"
    )


def modified(path: str, hunks: str = "@@ -1 +1 @@\n-x\n+y\n", mode: str = "100644") -> str:
    return f"diff --git a/{path} b/{path}\nindex {ONES}..{'2' * 40} {mode}\n--- a/{path}\n+++ b/{path}\n{hunks}"


# ---- names


@pytest.mark.parametrize(
    "path",
    [
        *("aux", "AUX.py", "nul.txt", "a/con", "com1", "lpt9.log", "CONIN$", "com¹.x", "prn .txt"),
        *("a.", "a ", "dir./x", "dir /x", "a:b", "x:$DATA", "a\\b", "PROGRA~1", "conft~1.py"),
        *("\udcff.py", "x" * 256, "é" * 128, "d/" * 511 + "xyz"),
    ],
)
def test_a_new_name_that_another_system_reads_differently_is_refused(path: str) -> None:
    assert refusal(new_file(path, "100644", "+x"))


@pytest.mark.parametrize("path", ["aux.py", "ab:c", "com1", "a.", "\udcff.py", "PROGRA~1"])
def test_a_file_that_is_there_may_be_changed_under_such_a_name(path: str) -> None:
    assert refusal(modified(path)) == "" and refusal(deleted(path)) == ""


@pytest.mark.parametrize(
    "path",
    [
        *(".g\u00adit/x", ".\u2060git/x", ".git\ufe0f/x", ".GI\u0054/x", "git~4/x", ".git:x", ".git . /x"),
        *("a\x85b", "a\u202eb", "a\x1b[0m", "a\u2028b"),
    ],
)
def test_a_name_that_hides_something_is_refused_always(path: str) -> None:
    for text in (new_file(path, "100644", "+x"), modified(path), deleted(path)):
        assert refusal(text)


def test_a_name_is_written_in_one_way_only() -> None:
    assert refusal(new_file("\udcc3\udcbc", "100644", "+x"))  # the bytes of "ü"
    assert refusal(new_file("\ud800", "100644", "+x"))
    assert refusal(new_file('a"b', "100644", "+x"))  # git quotes it
    quoted = new_file("Q", "100644", "+x").replace("a/Q", '"a/a\\"b"').replace("b/Q", '"b/a\\"b"')
    assert parse_patch(quoted).paths == ('a"b',)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("A", "a"),
        ("dir/x", "Dir/y"),
        ("ü", "u\u0308"),
        ("straße", "STRASSE"),
        ("a\u200cb", "ab"),
        ("ﬁ/\u212b", "ﬁ/å"),
        ("\u1e9b\u0323", "\u017f\u0323\u0307"),
    ],
)
def test_two_names_for_one_file_are_refused(first: str, second: str) -> None:
    assert fold(first).partition("/")[0] == fold(second).partition("/")[0]
    alone = new_file(first, "100644", "+x")
    assert refusal(alone) == ""
    assert "one name" in refusal(alone + new_file(second, "100644", "+x"))
    assert "one name" in refusal(alone, {second: "100644"})
    assert refusal(deleted(second) + alone) == ""  # a file renamed
    assert refusal(modified("q"), {first: "100644", second: "100644", "q": "100644"}) == ""  # theirs already


def test_a_new_file_beside_two_spellings_of_its_directory() -> None:
    base = {"src/a": "100644", "SRC/b": "100644"}
    assert refusal(new_file("src/new", "100644", "+x"), base) == ""
    assert "one name" in refusal(new_file("Src/new", "100644", "+x"), base)


# ---- what stands where


def test_files_and_directories_in_each_others_way() -> None:
    base = {"file": "100644", "dir/x": "100644", "link": "120000", "module": "160000"}
    for text in (
        new_file("file/x", "100644", "+x"),
        new_file("dir", "100644", "+x"),
        new_file("link/x", "100644", "+x"),
        new_file("module/x", "100644", "+x"),
        deleted("link/x"),
        deleted("module"),
        modified("module"),
        modified("link"),
        deleted("dir/x") + link("dir", "file"),
        new_file("new", "100644", "+x") + new_file("new/x", "100644", "+x"),
        new_file("n", "100644", "+x") * 2,
        deleted("file") + new_file("file", "100644", "+x"),
        link("file", "dir/x") + deleted("file"),
    ):
        assert refusal(text, base), text
    for text in (
        deleted("file") + new_file("file/x", "100644", "+x"),
        deleted("dir/x") + new_file("dir", "100644", "+x"),
        deleted("file") + link("file", "dir/x"),
    ):
        assert refusal(text, base) == "", text


@pytest.mark.parametrize("target", ["l2", "l2/x", "up/x", "dir/l3/../y", "L2/x", "a/../l2"])
def test_a_symlink_goes_through_no_other(target: str) -> None:
    base = {"up": "120000", "dir/l3": "120000", "dir/x": "100644"}
    assert "through another" in refusal(link("l", target) + link("l2", "dir"), base)


def test_where_symlinks_may_lead() -> None:
    assert refusal(link("a/b/l", "../../dir/./x")) == ""
    assert list(steps("a/b/l", "../../dir/./x")) == ["dir", "dir/x"]
    for target in ("../../../x", "/x", "\\x", "C:/x", "x/../../../..", "", "a\x01", ".git", "x" * 1025):
        assert refusal(link("a/b/l", target)), target
    assert refusal(new_file("l", "120000", "+x"))  # with the end of a line
    assert refusal(new_file("l", "120000", "+x\n+y").replace("+1 @@", "+1,2 @@"))
    for name in (".gitmodules", "sub/.gitattributes", ".GITIGNORE"):
        assert "symlink" in refusal(link(name, "x"))


def test_more_than_a_file_may_be() -> None:
    big = "+" + "x" * (1 << 21)
    assert "bytes" in refusal(new_file("a", "100644", big))
    for text in (
        modified("a").replace("100644", "160000"),
        modified("a").replace(" 100644", ""),
        new_file("a", "100664", "+x"),
        "diff --git a/a b/a\nold mode 100644\nnew mode 120000\n",
        "diff --git a/a b/a\nold mode 100644\nnew mode 100644\n",
        "diff --git a/a b/a\nold mode 100644\n",
        f"diff --git a/a b/a\nindex {ONES}..{'2' * 40} 100644\n",
        f"diff --git a/a b/a\nnew file mode 100644\nindex {ZEROS}..{ONES}\n",
        f"diff --git a/a b/a\nnew file mode 100644\nindex {ONES}..{ZEROS}\n",
        "diff --git a/a b/c\nsimilarity index 100%\nrename from a\nrename to c\n",
        "diff --git a/a b/a\nsimilarity index 100%\ncopy from a\ncopy to c\n",
    ):
        assert refusal(text), text
    assert refusal("diff --git a/a b/a\nold mode 100644\nnew mode 100755\n") == ""


@pytest.mark.parametrize(
    "hunks",
    [
        "@@ -1 +1 @@\n x\n",
        "@@ -2 +1 @@\n-x\n+y\n",
        "@@ -1 +1 @@\n-x\n+y\n@@ -1 +1 @@\n-x\n+y\n",
        "@@ -5,2 +5,2 @@\n-x\n+y\n z\n@@ -1,2 +1,2 @@\n-x\n+y\n z\n",
        "@@ -1,2 +1,2 @@\n-x\n\\ No newline at end of file\n-y\n+a\n+b\n",
        "@@ -1 +1 @@\n\\ No newline at end of file\n-x\n+y\n",
        "@@ -1 +1 @@\n-x\n+y\n\\ no newline\n",
        "@@ -1 +1 @@\n-x\n\n",
        "@@ -0,0 +0,0 @@\n",
        "@@ -1 +1\n-x\n+y\n",
        "@@ -1 +1 @@x\n-x\n+y\n",
        "@@ -" + "9" * 5000 + " +1 @@\n-x\n+y\n",
        "@@ -\u0661 +1 @@\n-x\n+y\n",
    ],
)
def test_hunks_are_as_git_writes_them(hunks: str) -> None:
    assert refusal(modified("a", hunks))


# ---- content


def applied(text: str, old: bytes) -> bytes:
    (file,) = parse_patch(text).files
    new = file.apply(old)
    assert file.reversed().apply(new) == old
    return new


def test_hunks_find_their_place_as_gits_do() -> None:
    hunk = "@@ -4,3 +4,3 @@\n a\n-b\n+B\n c\n"
    lines = b"1\n2\n3\na\nb\nc\nz\n"
    assert applied(modified("f", hunk), lines) == lines.replace(b"b", b"B")
    assert applied(modified("f", hunk), b"0\n" + lines) == b"0\n" + lines.replace(b"b", b"B")
    twice = b"a\nb\nc\n1\n2\n3\na\nb\nc\n"  # as far before as after: git looks after first
    assert parse_patch(modified("f", hunk)).files[0].apply(twice) == b"a\nb\nc\n1\n2\n3\na\nB\nc\n"
    for wrong in (b"", b"a\nb\n", b"a\nb\nd\n", b"a\r\nb\r\nc\r\n"):
        with pytest.raises(DoesNotApply):
            applied(modified("f", hunk), wrong)
    with pytest.raises(DoesNotApply):
        parse_patch(deleted("f")).files[0].apply(b"x\ny\n")


def binary(data: bytes, blob: str, size: int | None = None, kind: str = "literal") -> str:
    packed = zlib.compress(data)
    lines: list[str] = []
    for start in range(0, len(packed), 52):
        piece = packed[start : start + 52]
        length = chr(len(piece) + (64 if len(piece) <= 26 else 70))
        lines.append(length + base64.b85encode(piece, pad=True).decode())
    block = "\n".join([f"{kind} {len(data) if size is None else size}", *lines]) + "\n\n"
    head = f"diff --git a/b b/b\nnew file mode 100644\nindex {ZEROS}..{blob}\nGIT binary patch\n"
    return f"{head}{block}literal 0\nHcmV?d00001\n\n"


def test_a_binary_patch_cannot_lie_about_what_it_makes() -> None:
    data = b"\0\1\2"
    (file,) = parse_patch(binary(data, ONES)).files
    assert file.binary
    with pytest.raises(DoesNotApply, match="index line"):
        file.apply(b"")
    assert parse_patch(binary(data, blob_id(data))).files[0].apply(b"") == data
    for text in (
        binary(data, ONES, size=2),
        binary(data, ONES, size=4),
        binary(data, ONES, size=1 << 24),
        binary(bytes(1 << 23), ONES, size=3),  # a bomb
        binary(data, ONES).replace("HcmV?d00001", "HcmV?d0000"),
        binary(data, ONES).replace("HcmV?d00001", "~cmV?d00001"),
        binary(data, ONES).removesuffix("literal 0\nHcmV?d00001\n\n"),
    ):
        assert refusal(text), text[:300]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=60))
def test_a_damaged_delta_is_told_and_never_too_much(old: bytes, delta: bytes) -> None:
    with suppress(BinaryPatchError):
        assert len(BinaryBlock(True, delta).apply(old, 1000)) <= 1000


# ---- against git


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("bench"))
    yield bench
    tally = bench.tally
    assert tally.patches < 100 or tally.applied / tally.patches >= 0.3, tally


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(case=cases())
def test_what_is_accepted_makes_gits_tree_and_goes_out_again(bench: Bench, case: Case) -> None:
    text = bench.patch(case)
    assume(text)
    bench.judge(case, text)


TREES: list[tuple[Tree, Tree]] = [
    ({"a": (FILE, b"x")}, {"a": (FILE, b"x\n")}),
    ({"a": (FILE, b"")}, {"a": (FILE, b"x")}),
    ({"a": (FILE, b"x\n")}, {"a": (FILE, b"")}),
    ({"a": (FILE, b"")}, {}),
    ({}, {"d/e/a": (FILE, b"")}),
    ({"a": (FILE, b"a\r\nb\r\n")}, {"a": (FILE, b"a\r\nc\r\n")}),
    ({"a": (FILE, b"a\r\n")}, {"a": (FILE, b"a\n")}),
    ({"a": (FILE, b"x\n")}, {"a": (PROGRAM, b"x\n")}),
    ({"a": (PROGRAM, b"x\n")}, {"a": (FILE, b"y\n")}),
    ({"a": (FILE, b"x\n")}, {"a": (LINK, b"m"), "m": (FILE, b"")}),
    ({"a": (LINK, b"m"), "m": (FILE, b"")}, {"a": (FILE, b"m"), "m": (FILE, b"")}),
    ({"a": (LINK, b"m"), "m": (FILE, b"")}, {"a": (LINK, b"n"), "m": (FILE, b"")}),
    ({"a": (FILE, b"x\n")}, {"a/b": (FILE, b"x\n")}),
    ({"a/b": (FILE, b"x\n")}, {"a": (FILE, b"x\n")}),
    ({"a": (FILE, b"\0" * 3000)}, {"a": (FILE, b"\0" * 3000 + b"1")}),
    ({"a": (FILE, b"\0")}, {"a": (FILE, b"text\n")}),
    ({"a": (FILE, b"\0"), "b": (FILE, b"")}, {}),
    ({'q"u\\o'.replace("\\", ""): (FILE, b"x\n")}, {}),
    ({"a b": (FILE, b"x\n")}, {"a b": (PROGRAM, b"x\n"), " c": (FILE, b"")}),
    ({"l\udce8": (FILE, b"x\n")}, {"l\udce8": (FILE, b"y\n")}),
]


@pytest.mark.parametrize("number", range(len(TREES)))
def test_every_kind_of_change_is_accepted(bench: Bench, number: int) -> None:
    before, after = TREES[number]
    case = Case(before, after, (), 0)
    assert bench.judge(case, bench.patch(case)) == "applied"


# ---- sensitive paths


@pytest.mark.parametrize(
    "path",
    [
        *(
            ".github/workflows/ci.yml",
            ".gitlab-ci.yml",
            "ci/x.gitlab-ci.yml",
            ".forgejo/workflows/x.yml",
            "Jenkinsfile",
        ),
        *(
            ".circleci/config.yml",
            "azure-pipelines.yml",
            ".husky/pre-commit",
            ".pre-commit-config.yaml",
            ".gitattributes",
        ),
        *(
            ".gitmodules",
            ".vscode/settings.json",
            "sub/.idea/x.xml",
            ".devcontainer/devcontainer.json",
            "tests/conftest.py",
        ),
        *("src/evil.pth", "sitecustomize.py", "usercustomize/__init__.py", "setup.py", "setup.cfg", "pyproject.toml"),
        *(
            "package.json",
            "web/package.json",
            "CLAUDE.md",
            "docs/AGENTS.md",
            ".mcp.json",
            ".cursor/rules/x.mdc",
            ".envrc",
        ),
        *(".claude/settings.json", ".qwen/settings.json", "tinsmith.toml", "build.rs", ".cargo/config.toml"),
        *(".GitHub/Workflows/ci.yml", "CONFTEST.PY", "Sitecustomize.py", ".vs\u200ccode/tasks.json", "claude.md"),
    ],
)
def test_files_that_act_by_themselves(path: str) -> None:
    for text in (new_file(path, "100644", "+x"), deleted(path)):
        (found,) = sensitive_paths(parse_patch(text))
        assert found.path == path and found.reason


def test_a_link_in_the_place_of_such_a_directory() -> None:
    assert sensitive_paths(parse_patch(link(".vscode", "data")))


def test_files_that_act_only_when_somebody_runs_them() -> None:
    paths = ["src/setup/a.py", "tests/test_x.py", "Makefile", ".editorconfig", "conftest.md", "github/x", "a.pth.py"]
    paths += [
        "docs/claude.rst",
        "README.md",
        "src/package.py",
        "tox.ini",
        "vscode/x",
        "src/hooks/x.py",
        "src/update.py",
    ]
    text = "".join(new_file(path, "100644", "+x") for path in paths)
    patch = parse_patch(text)
    assert isinstance(patch, Patch) and len(patch.paths) == len(paths) and sensitive_paths(patch) == ()


def test_the_table_has_no_pattern_twice_and_each_finds_itself() -> None:
    place = Path(__file__).parents[1] / "src" / "tinsmith" / "workspace" / "sensitive_paths.toml"
    kinds = tomllib.loads(place.read_text())["kind"]
    for word in ("names", "directories"):
        patterns = [pattern for kind in kinds for pattern in kind.get(word, [])]
        assert len({pattern.casefold() for pattern in patterns}) == len(patterns)
        for pattern in patterns:
            name = pattern.replace("*", "q")
            path = name if word == "names" else f"a/{name}/b"
            assert sensitive_paths(parse_patch(new_file(path, "100644", "+x"))), pattern
