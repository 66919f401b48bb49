"""Attacks by a diff: written by hand as no git would write it, given to the check that all diffs pass."""

from collections.abc import Callable

from tinsmith.errors import InputError
from tinsmith.workspace.attacks.attack import Escaped, Outside
from tinsmith.workspace.attacks.stage import Stage
from tinsmith.workspace.patch import parse_patch

_OLD, _NEW = "0" * 40, "587be6b4c3f93f93c489c0111bba5596147a26cb"  # of nothing, and of "x\n"
_A, _B = "78981922613b2afb6025042ff6bd878ac1994e85", "61780798228d17af2d34fce4cfbdf35556832472"  # of "a\n" and "b\n"


def added(path: str, mode: str = "100644", content: str = "x", *, header: str | None = None) -> str:
    """A diff that adds one file of one line."""
    end = "\n\\ No newline at end of file" if mode == "120000" else ""
    return (
        f"diff --git {header or f'a/{path} b/{path}'}\nnew file mode {mode}\nindex {_OLD}..{_NEW}\n"
        f"--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+{content}{end}\n"
    )


def _changed(path: str, more: str = "") -> str:
    names = f"--- a/{path}\n+++ b/{path}\n"
    return f"diff --git a/{path} b/{path}\n{more}index {_A}..{_B} 100644\n{names}@@ -1 +1 @@\n-a\n+b\n"


def _case(id: str, what: str, text: str | Callable[[Stage], str], *reasons: str) -> Outside:
    def play(stage: Stage) -> str:
        diff = text if isinstance(text, str) else text(stage)
        try:
            patch = parse_patch(diff)
        except InputError as error:
            if error.code == "patch_rejected" and any(reason in error.message for reason in reasons):
                return error.message.removeprefix("the patch was not let out: ")
            raise RuntimeError(f"refused for another reason: {error.message}") from error
        raise Escaped(f"let through: {', '.join(patch.paths)}")

    return Outside(id, what, play)


PATCHES = (
    _case("D40", "a path that climbs out", added("a/../../.bashrc"), "relative"),
    _case("D41", "a path that climbs out by the first step", added("../.ssh/authorized_keys"), "relative"),
    _case("D42", "an absolute path", added("/etc/cron.d/x"), "absolute"),
    _case("D43", "a drive of Windows", added("C:/Windows/x"), "absolute"),
    _case("D44", "a path with an empty part", added("a//b"), "relative"),
    _case("D45", "a hook in .git", added(".git/hooks/pre-commit", "100755"), ".git"),
    _case("D46", "a hook in .GIT", added(".GIT/hooks/pre-commit", "100755"), ".git"),
    _case("D47", "a short name of .git on NTFS", added("sub/GIT~1/config"), ".git"),
    _case("D48", "a stream of .git on NTFS", added(".git::$INDEX_ALLOCATION/config"), ".git"),
    _case("D49", ".git with dots and spaces at its end", added(".git . ./config"), ".git"),
    _case("D50", ".git in full width and with ignored characters", added(".g\u200di\u200ct/config"), ".git"),
    _case("D51", "a submodule", added("sub", "160000", f"Subproject commit {_NEW}"), "submodule"),
    _case("D52", "a symlink out of the repository", added("l", "120000", "../../etc/passwd"), "leaves"),
    _case("D53", "a symlink with an absolute target", added("l", "120000", "/etc/passwd"), "absolute"),
    _case(
        "D54", "a file behind a symlink of the same patch", added("l", "120000", "pkg") + added("l/x"), "behind", "way"
    ),
    _case("D55", "a set-user-id mode", added("x", "104755"), "mode"),
    _case("D56", "a mode of a directory", added("x", "040000"), "mode"),
    _case("D57", "two names in one header", added("x", header="a/x b/../../y"), "header", "names"),
    _case(
        "D58", "names that differ from the header", added("x").replace("+++ b/x", "+++ b/../../y"), "names", "differ"
    ),
    _case(
        "D59",
        "a rename",
        "diff --git a/x b/y\nsimilarity index 100%\nrename from x\nrename to ../../y\n",
        "header",
        "names",
    ),
    _case(
        "D60",
        "a hunk that is longer than it says",
        _changed("x").replace("@@ -1 +1 @@", "@@ -1,0 +1,0 @@"),
        "unexpected",
        "hunk",
        "malformed",
    ),
    _case(
        "D61",
        "content that poses as another file",
        _changed("x").replace("+b", "+b\ndiff --git a/../y b/../y"),
        "relative",
    ),
    _case(
        "D62",
        "a quoted name with a terminal sequence",
        added('"b/a\\033[2J"', header='"a/a\\033[2J" "b/a\\033[2J"').replace("+++ b/", "+++ "),
        "control",
    ),
    _case("D63", "a quoted name that hides ..", added("x", header='"a/\\056\\056/x" "b/\\056\\056/x"'), "relative"),
    _case("D64", "a file twice", added("x") + added("x"), "twice", "way"),
    _case(
        "D65", "a file where another needs a directory", added("x") + added("x/y"), "way", "behind", "directory", "file"
    ),
    _case(
        "D66", "two names that are one where case is ignored", added("README") + added("readme"), "case", "one", "same"
    ),
    _case("D67", "a device of Windows", added("src/aux.py"), "device"),
    _case(
        "D68",
        "two names that are one where letters fold",
        added("Kernel") + added("\u212aernel"),
        "case",
        "one",
        "same",
    ),
    _case("D69", "a patch larger than any", added("x", content="x" * (5 << 20)), "bytes"),
    _case("D70", "more files than any", "".join(added(f"f{n}") for n in range(600)), "files"),
    _case("D71", "text before the diff", "From: x\nSubject: y\n\n" + added("x"), "unexpected"),
    _case(
        "D72",
        "a binary part that unpacks to more than any",
        added("x").split("---")[0] + "GIT binary patch\nliteral 999999999\nzcmV<L\n\nliteral 0\nHcmV?d00001\n\n",
        "binary",
        "bytes",
    ),
    _case("D73", ".gitmodules as a symlink", added(".gitmodules", "120000", "a.txt"), "symlink", "link"),
    _case("D74", "a name that turns the order of letters", added("doc\u202etxt.exe"), "control"),
)
