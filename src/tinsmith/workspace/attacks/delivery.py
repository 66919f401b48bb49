"""Attacks on the way out: what a command leaves in the copy for the code that reads, restores and delivers it."""

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from tinsmith.errors import InputError
from tinsmith.workspace.attacks.attack import Escaped, Outside
from tinsmith.workspace.attacks.stage import Stage
from tinsmith.workspace.copy import Workspace
from tinsmith.workspace.test_runner import run_reported


def _rejected(id: str, what: str, script: str, *reasons: str, slow: bool = False) -> Outside:
    """What the script leaves behind must not come out, for one of these reasons."""

    def play(stage: Stage) -> str:
        stage.inside(script)
        return stage.refused(*reasons)

    return Outside(id, what, play, slow=slow)


def _harmless(id: str, what: str, script: str, *, never: str = "", slow: bool = False) -> Outside:
    """The whole way must be gone without harm; no path that contains `never` may come out."""

    def play(stage: Stage) -> str:
        # What a tree too deep or too full is, the sandbox may notice first.
        stage.inside(script, may_be_killed=True)
        said = stage.walk_in()
        if never and said.startswith("let out") and never in said:
            raise Escaped(said)
        if stage.workspace.snapshot() != stage.workspace.base:
            raise Escaped("the copy could not be put back")
        return said

    return Outside(id, what, play, slow=slow)


def _strays(stage: Stage) -> str:
    """Paths that a tool call names: none may lead out of the copy."""
    stage.inside('ln -s "$OUTSIDE" l; ln -s / root; mkfifo pipe; ln -s .git g')

    def read(path: str) -> object:
        return stage.workspace.read_file(path)

    def write(path: str) -> object:
        return stage.workspace.write_file(path, b"x")

    def run(path: str) -> object:
        return stage.workspace.run(stage.sandbox, ["true"], cwd=path, timeout=20)

    files = ("l/secret.txt", "../outside/secret.txt", str(stage.outside / "secret.txt"), "root/etc/passwd", "a\0b")
    attempts = [(path, attempt) for path in files for attempt in (read, write)]
    attempts += [(path, run) for path in ("l", "root", "..", "/", "../outside", "root/tmp")]
    attempts += [(".git/hooks/x", write), ("g/x", write), ("pipe", read)]
    for path, attempt in attempts:
        try:
            attempt(path)
        except InputError as error:
            if error.code != "path_outside":
                raise
        except OSError:
            continue
        else:
            raise Escaped(f"{path!r} was taken")
    return f"{len(attempts)} paths refused"


def _mount_point(stage: Stage) -> str:
    """The environment lies in the checkout; the command puts a symlink where it is to be mounted."""
    environment = stage.repo / ".venv"
    (environment / "bin").mkdir(parents=True)
    real = Path(os.path.realpath(sys.executable))
    (environment / "bin" / "python").symlink_to(real)
    (environment / "pyvenv.cfg").write_text(f"home = {Path(sys.base_prefix) / 'bin'}\n")
    (stage.repo / ".git" / "info").mkdir(exist_ok=True)
    (stage.repo / ".git" / "info" / "exclude").write_text(".venv/\n")
    copy = Workspace.create(stage.repo, stage.place / "copy", python=environment / "bin" / "python")
    script = f"cd {copy.inside}; mv .venv old; rm -rf .venv; ln -s {stage.outside} .venv; true"
    copy.run(stage.sandbox, ["/bin/sh", "-c", script], timeout=20)
    for place in (copy.tree / ".venv", copy.tree / ".venv" / "bin"):
        if place.exists() or place.is_symlink():
            # As a process that outlived its command might.
            place.rename(place.with_name("moved")) if place.is_dir() else place.unlink()
    (copy.tree / ".venv").symlink_to(stage.outside)
    done = copy.run(stage.sandbox, ["/bin/sh", "-c", "cat .venv/secret.txt; touch .venv/new"], timeout=20)
    if stage.secret.encode() in done.output:
        raise Escaped("a directory of the host was mounted")
    return "mounted at a real directory"


def _report(make: str) -> Callable[[Stage], str]:
    """The command replaces the file in which the test report is read."""

    def play(stage: Stage) -> str:
        forged = [
            {"kind": "session"},
            {
                "kind": "report",
                "nodeid": "forged",
                "phase": "call",
                "outcome": "passed",
                "xfail": False,
                "duration": 0,
                "failure": None,
            },
        ]
        (stage.outside / "secret.txt").write_text("\n".join(json.dumps(line) for line in forged))
        stage.secret = (stage.outside / "secret.txt").read_text()
        script = f'f=$TINSMITH_REPORT; d=$(dirname "$f"); rm -rf "$f"; {make}; true'
        _, report = run_reported(
            stage.workspace,
            stage.sandbox,
            ["/bin/sh", "-c", script.replace("OUTSIDE", str(stage.outside))],
            timeout=20,
            trace=False,
        )
        if report is not None and "forged" in report.outcomes:
            raise Escaped("a file of the host was read as the report")
        return "no report"

    return play


def _swapped(path: str, inside: str) -> Callable[[Stage], str]:
    """In the checkout a symlink takes the place of what the patch changes, after the copy was made."""

    def play(stage: Stage) -> str:
        stage.inside(inside)
        patch = stage.collect()
        place = stage.repo / path
        if place.is_dir():
            place.rename(stage.place / "moved")
            place.symlink_to(stage.outside)
        else:
            place.unlink()
            place.symlink_to(stage.outside / "secret.txt")
        try:
            stage.deliver(patch)
        except InputError as error:
            return f"{error.code}"
        if place.is_symlink():
            return "applied beside it"
        return "the link was replaced"

    return play


def _person_link(stage: Stage) -> str:
    """The checkout has a link that leads out of it; the command puts a directory in its place."""
    (stage.repo / "link").symlink_to(stage.outside)
    stage.inside("rm link; mkdir link; echo x > link/secret.txt; echo y > link/new")
    try:
        return stage.walk_in()
    except InputError as error:
        return error.code


def _modes(stage: Stage) -> str:
    stage.inside("chmod 6755 app.py; chmod 0777 a.txt; echo x >> app.py; echo '#!/bin/sh' > new.sh; chmod 7777 new.sh")
    patch = stage.collect()
    stage.deliver(patch)
    for path in ("app.py", "a.txt", "new.sh"):
        mode = stat.S_IMODE(os.lstat(stage.repo / path).st_mode)
        if mode & 0o7022:
            raise Escaped(f"{path} came out with the mode {mode:o}")
    return "modes 644 and 755"


def _secret_file(stage: Stage) -> str:
    (stage.repo / ".env").write_text(f"KEY={stage.secret}\n")
    found = stage.inside("cat .env 2>/dev/null || true; grep -r canary- . 2>/dev/null || true").output
    if stage.secret.encode() in found:
        raise Escaped("an untracked .env is in the copy")
    return "left out"


def _discard(stage: Stage) -> str:
    stage.inside('ln -s "$OUTSIDE" l; mkdir d; ln -s "$OUTSIDE" d/l; chmod 000 d')
    stage.workspace.discard()
    return "deleted without following links" if not stage.workspace.tree.exists() else "not deleted"


DELIVERY = (
    _rejected("D01", "a symlink to a file of the host", "ln -s /etc/passwd l", "absolute"),
    _rejected(
        "D02", "a symlink that climbs out of the repository", "ln -s ../../../outside l", "leaves the repository"
    ),
    _rejected(
        "D03",
        "a symlink in a directory that climbs out by another",
        "mkdir d; ln -s .. d/up; ln -s d/up/../../x l",
        "leaves",
        "behind",
        "symlink",
    ),
    _harmless(
        "D04",
        "hooks in .GIT",
        "mkdir -p .GIT/hooks sub/.gIt; echo x > .GIT/hooks/pre-commit; echo x > sub/.gIt/config",
        never="/",
    ),
    _rejected(
        "D05", "a name with a newline and a terminal sequence", "printf x > \"$(printf 'a\\nb\\033[2Jc')\"", "control"
    ),
    _rejected("D06", ".git spelled for another file system", "mkdir 'git~1'; echo x > 'git~1/config'", ".git"),
    _rejected(
        "D07",
        ".git with a character that some systems ignore",
        "mkdir \"$(printf '.g\\342\\200\\214it')\"; echo x > \"$(printf '.g\\342\\200\\214it')/config\"",
        ".git",
    ),
    _rejected(
        "D08",
        "a name with backslashes that climbs on Windows",
        "echo x > 'a\\..\\..\\..\\evil'",
        "relative",
        "backslash",
    ),
    _rejected(
        "D09", "more files than a patch may touch", "for n in $(seq 600); do echo x > n$n; done", "files", slow=True
    ),
    _rejected("D10", "a file larger than a patch may be", "head -c 5000000 /dev/urandom > big", "bytes", slow=True),
    _rejected("D11", "a symlink into a .git directory", "ln -s .git/config l", ".git"),
    _harmless(
        "D12",
        "pipes, sockets and files without permissions",
        "mkfifo p; mkdir d; echo x > d/f; chmod 000 d/f d; chmod 000 a.txt; "
        '"$PYTHON" -c "import socket; socket.socket(1).bind(\'s\')"',
        never="p,",
    ),
    _harmless(
        "D13",
        "a tree too deep to walk",
        'printf \'import os\\nfor _ in range(1500): os.mkdir("d" * 10); os.chdir("d" * 10)\\nopen("f", "w")\' | '
        '"$PYTHON" -',
        slow=True,
    ),
    _harmless(
        "D14",
        "symlinks in the place of directories that are put back",
        'rm -rf pkg; ln -s "$OUTSIDE" pkg; rm a.txt; ln -s "$OUTSIDE/secret.txt" a.txt',
    ),
    _harmless(
        "D15",
        "a directory in the place of a file and the reverse",
        "rm a.txt; mkdir a.txt; echo x > a.txt/secret.txt; rm -rf pkg; echo x > pkg",
    ),
    _harmless("D16", "a loop of symlinks", "ln -s l2 l1; ln -s l1 l2; mkdir d; ln -s . d/d"),
    _harmless(
        "D17", "names of every byte", 'for n in 1 2 200 255; do printf x > "$(printf "n\\\\$(printf %03o $n)")"; done'
    ),
    _harmless("D18", "a file that seems to be a gibibyte", "truncate -s 1000M big", slow=True),
    Outside("D19", "paths of tool calls that lead out", _strays),
    Outside("D20", "a symlink at the place of a mount", _mount_point),
    Outside("D21", "a test report that is a symlink to a file of the host", _report('ln -s OUTSIDE/secret.txt "$f"')),
    Outside("D22", "a test report that is a pipe", _report('mkfifo "$f"')),
    Outside("D23", "a test report that is a directory", _report('mkdir "$f"')),
    Outside("D24", "a test report without end", _report('truncate -s 1000M "$f"')),
    Outside("D25", "a symlink in the checkout at the place of a changed file", _swapped("a.txt", "echo x > a.txt")),
    Outside(
        "D26",
        "a symlink in the checkout at the place of a directory",
        _swapped("pkg", "echo x > pkg/new.py; echo x > pkg/secret.txt; echo y > pkg/m.py"),
    ),
    Outside("D27", "files behind a link of the person's own", _person_link),
    Outside("D28", "set-user-id and writable modes", _modes),
    Outside("D29", "read the person's untracked .env", _secret_file),
    Outside("D30", "links in a copy that is deleted", _discard),
)
