"""The errors a person can meet: each has a code for programs, words for people and what to do next.

Exit codes are part of the command line's contract: 2 bad input, 3 the machine lacks something, 5 the engine failed.
"""


class TinsmithError(Exception):
    """An expected failure.

    `code` is a stable identifier, `remedy` one sentence that says what to do next, `exit_code` the cause's class.
    """

    exit_code = 1

    def __init__(self, code: str, message: str, remedy: str) -> None:
        super().__init__(code, message, remedy)  # all three, so that it survives pickling
        self.code = code
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return self.message


class InputError(TinsmithError):
    """What the person gave cannot be used."""

    exit_code = 2


class MachineError(TinsmithError):
    """This machine lacks something that the command needs: a sandbox, memory, a model file."""

    exit_code = 3


class EngineError(TinsmithError):
    """The engine failed or died."""

    exit_code = 5
