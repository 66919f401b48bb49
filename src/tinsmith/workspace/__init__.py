"""A private, sandboxed copy of a repository: commands, tests, snapshots, the diff out.

The person's checkout is read once and never changed.  Commands run in a sandbox without network, secrets or a
writable `.git`, in which the copy stands at the checkout's own path.  What comes out is a diff that was
parsed and checked, and, only when asked for, one new branch.

    workspace = Workspace.create(repo, directory)
    sandbox = Sandbox.find()
    workspace.run(sandbox, ["make"], timeout=60)
    patch = parse_patch(workspace.diff(workspace.base, workspace.snapshot()))
    commit_branch(repo, patch, "fix-it", "Fix it", workspace.checkout.head)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinsmith.workspace.attack_table import AuditRow, audit
    from tinsmith.workspace.checkout import Checkout, Fingerprint, fingerprint, open_checkout
    from tinsmith.workspace.copy import Workspace
    from tinsmith.workspace.deliver import apply_patch, branch_commit, commit_branch, slug
    from tinsmith.workspace.interpreter import find_python
    from tinsmith.workspace.limits import Limits
    from tinsmith.workspace.machine_checks import checks
    from tinsmith.workspace.patch import Patch, PatchedFile, parse_patch
    from tinsmith.workspace.sandbox import Completed, Sandbox
    from tinsmith.workspace.terminal_text import Capture
    from tinsmith.workspace.test_runner import SESSION, Frame, TestOutcome, TestReport, TestRunner, run_reported

_HOME = {
    "AuditRow": "attack_table",
    "audit": "attack_table",
    "Checkout": "checkout",
    "Fingerprint": "checkout",
    "fingerprint": "checkout",
    "open_checkout": "checkout",
    "checks": "machine_checks",
    "Workspace": "copy",
    "apply_patch": "deliver",
    "branch_commit": "deliver",
    "commit_branch": "deliver",
    "slug": "deliver",
    "find_python": "interpreter",
    "Limits": "limits",
    "Patch": "patch",
    "PatchedFile": "patch",
    "parse_patch": "patch",
    "Completed": "sandbox",
    "Sandbox": "sandbox",
    "Capture": "terminal_text",
    "Frame": "test_runner",
    "SESSION": "test_runner",
    "TestOutcome": "test_runner",
    "TestReport": "test_runner",
    "TestRunner": "test_runner",
    "run_reported": "test_runner",
}

__all__ = [
    "SESSION",
    "AuditRow",
    "Capture",
    "Checkout",
    "Completed",
    "Fingerprint",
    "Frame",
    "Limits",
    "Patch",
    "PatchedFile",
    "Sandbox",
    "TestOutcome",
    "TestReport",
    "TestRunner",
    "Workspace",
    "apply_patch",
    "audit",
    "branch_commit",
    "checks",
    "commit_branch",
    "find_python",
    "fingerprint",
    "open_checkout",
    "parse_patch",
    "run_reported",
    "slug",
]


def __getattr__(name: str) -> Any:
    # Lazily, so that `tinsmith --help` does not pay for this room.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"tinsmith.workspace.{_HOME[name]}"), name)
