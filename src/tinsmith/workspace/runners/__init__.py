"""How each test runner is started and how its report becomes outcomes.

A runner is a small class (see `runner.Runner`) bound to the place where the command runs.  `recognise` finds the one
for a command; what no runner knows is one test, judged by its exit status, unless pytest starts somewhere in it.

What the tests print decides nothing.  Reports are written by a plugin or by the runner itself, to files; a test
runs as the same user and can write to those files, so a report is never trusted further than: a failure that it
tells outweighs a pass, and a command that fails while all tests pass is told as the failure of the session.
"""

from collections.abc import Sequence

from tinsmith.workspace.runners.runner import Launch, Place, Runner


def recognise(command: Sequence[str], place: Place, junit: str | None = None) -> Runner:
    """The runner for `command`; with `junit` the one that reads the JUnit XML files of that pattern."""
    from tinsmith.workspace.runners.cargo_command import CargoRunner
    from tinsmith.workspace.runners.go_command import GoRunner
    from tinsmith.workspace.runners.javascript_command import JavaScriptRunner
    from tinsmith.workspace.runners.junit_command import JUnitRunner
    from tinsmith.workspace.runners.pytest_command import PytestRunner
    from tinsmith.workspace.runners.unittest_command import UnittestRunner

    if junit is not None:
        return JUnitRunner.of_pattern(command, place, junit)
    for kind in (UnittestRunner, JavaScriptRunner, GoRunner, CargoRunner, JUnitRunner):
        runner = kind.recognise(command, place)
        if runner is not None:
            return runner
    return PytestRunner(command, place)


__all__ = ["Launch", "Place", "Runner", "recognise"]
