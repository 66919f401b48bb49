"""Makes a copy, runs a command, takes snapshots and a patch, and says where it stands.  `proofs.copies` kills it."""

import sys
from pathlib import Path

from tinsmith.workspace import Sandbox, TreeCache, Workspace, parse_patch

STAGES = ("copy-in", "run", "snapshot", "restore", "clean copy", "diff-out")
_COMMAND = """
(setsid sleep 600 &) ; sleep 600 &
i=0
while [ $i -lt 150 ]; do echo "line $i" >> "package$((i % 20))/module$i.py"; i=$((i + 1)); done
rm -r package3; mkdir package3; ln -s /etc package3/link; mkdir -p new/deep; echo x > new/deep/file.py
"""


def main() -> None:
    """argv: the repository, the directory of the copy, the cache of trees, `overlay` or `copy`.

    Each stage's name is printed when it begins, and `end` at the end.
    """
    repo, directory, trees, mode = sys.argv[1:]
    _say("start")
    sandbox = Sandbox.find()
    _say("copy-in")
    overlay = mode == "overlay"
    workspace = Workspace.create(Path(repo), Path(directory), trees=TreeCache(Path(trees)), overlay=overlay)
    _say("run")
    done = workspace.run(sandbox, ["sh", "-c", _COMMAND], timeout=60)
    assert done.returncode == 0, done.output
    _say("snapshot")
    tree = workspace.snapshot()
    (Path(directory) / "snapshot").write_text(tree)
    _say("restore")
    workspace.restore(workspace.base)
    workspace.restore(tree)
    _say("clean copy")
    workspace.clean_copy(tree).discard()
    _say("diff-out")
    patch = parse_patch(workspace.diff(workspace.base, tree).replace("/etc", "../run.sh"))
    assert len(patch.files) > 100
    _say("end")


def _say(word: str) -> None:
    print(word, flush=True)


if __name__ == "__main__":
    main()
