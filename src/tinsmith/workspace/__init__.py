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
    from tinsmith.workspace.attacks import AuditRow, audit, audit_summary
    from tinsmith.workspace.checkout import Checkout, Fingerprint, fingerprint, open_checkout
    from tinsmith.workspace.copy import Workspace
    from tinsmith.workspace.deliver import apply_patch, branch_commit, commit_branch, recover_apply, slug
    from tinsmith.workspace.interpreter import find_python
    from tinsmith.workspace.landlock import LandlockSandbox
    from tinsmith.workspace.limits import Limits
    from tinsmith.workspace.machine_checks import checks
    from tinsmith.workspace.network import Allowlist, Proxy
    from tinsmith.workspace.overlay import can_overlay
    from tinsmith.workspace.patch import Patch, parse_patch
    from tinsmith.workspace.patched_file import PatchedFile
    from tinsmith.workspace.pool import Pool
    from tinsmith.workspace.pooled_copy import PooledCopy
    from tinsmith.workspace.rungs import UnsafeNoSandbox, find_sandbox
    from tinsmith.workspace.sandbox import CommandSandbox, Completed, Sandbox
    from tinsmith.workspace.sensitive import SensitivePath, describe_sensitive, sensitive_paths
    from tinsmith.workspace.terminal_text import Capture
    from tinsmith.workspace.test_outcomes import SESSION, Frame, TestOutcome, TestReport
    from tinsmith.workspace.test_runner import TestRunner, run_reported
    from tinsmith.workspace.tree import resolve_inside
    from tinsmith.workspace.tree_cache import TreeCache
    from tinsmith.workspace.work_tree import file_prints

_HOME = {
    "AuditRow": "attacks",
    "audit": "attacks",
    "audit_summary": "attacks",
    "Checkout": "checkout",
    "Fingerprint": "checkout",
    "fingerprint": "checkout",
    "open_checkout": "checkout",
    "checks": "machine_checks",
    "Workspace": "copy",
    "can_overlay": "overlay",
    "resolve_inside": "tree",
    "TreeCache": "tree_cache",
    "apply_patch": "deliver",
    "branch_commit": "deliver",
    "commit_branch": "deliver",
    "recover_apply": "deliver",
    "slug": "deliver",
    "find_python": "interpreter",
    "Limits": "limits",
    "Pool": "pool",
    "PooledCopy": "pooled_copy",
    "Patch": "patch",
    "PatchedFile": "patched_file",
    "parse_patch": "patch",
    "Allowlist": "network",
    "Proxy": "network",
    "Completed": "sandbox",
    "Sandbox": "sandbox",
    "CommandSandbox": "sandbox",
    "LandlockSandbox": "landlock",
    "UnsafeNoSandbox": "rungs",
    "find_sandbox": "rungs",
    "Capture": "terminal_text",
    "Frame": "test_outcomes",
    "SESSION": "test_outcomes",
    "TestOutcome": "test_outcomes",
    "TestReport": "test_outcomes",
    "TestRunner": "test_runner",
    "SensitivePath": "sensitive",
    "describe_sensitive": "sensitive",
    "sensitive_paths": "sensitive",
    "run_reported": "test_runner",
    "file_prints": "work_tree",
}

__all__ = [
    "SESSION",
    "Allowlist",
    "AuditRow",
    "Capture",
    "Checkout",
    "CommandSandbox",
    "Completed",
    "Fingerprint",
    "Frame",
    "LandlockSandbox",
    "Limits",
    "Patch",
    "PatchedFile",
    "Pool",
    "PooledCopy",
    "Proxy",
    "Sandbox",
    "SensitivePath",
    "TestOutcome",
    "TestReport",
    "TestRunner",
    "TreeCache",
    "UnsafeNoSandbox",
    "Workspace",
    "apply_patch",
    "audit",
    "audit_summary",
    "branch_commit",
    "can_overlay",
    "checks",
    "commit_branch",
    "describe_sensitive",
    "file_prints",
    "find_python",
    "find_sandbox",
    "fingerprint",
    "open_checkout",
    "parse_patch",
    "recover_apply",
    "resolve_inside",
    "run_reported",
    "sensitive_paths",
    "slug",
]


def __getattr__(name: str) -> Any:
    # Lazily, so that `tinsmith --help` does not pay for this room.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"tinsmith.workspace.{_HOME[name]}"), name)
