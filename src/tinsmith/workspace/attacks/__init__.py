"""The attack suite: what hostile code would try, run for real on this machine against canaries.

An attack aims at a canary: a secret file, a listening socket, a process, a program that must not run.  It
*holds* only where the canary proves that it was refused for the right reason; an attack that breaks for
another reason has shown nothing and does not hold.  The tables are data, one module a class.

    rows = audit(Sandbox.find())             # the quick part; about fifteen seconds
    rows = audit(sandbox, everything=True)   # with what fills memory, disk and the process table
"""

from tinsmith.workspace.attacks.audit import TABLE, AuditRow, audit, audit_summary, run_attacks
from tinsmith.workspace.attacks.inside import CommandSandbox

__all__ = ["TABLE", "AuditRow", "CommandSandbox", "audit", "audit_summary", "run_attacks"]
