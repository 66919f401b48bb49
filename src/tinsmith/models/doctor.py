"""What this machine has for a model, for `tinsmith doctor`."""

from typing import NamedTuple

from tinsmith.errors import MachineError
from tinsmith.events import default_state_dir
from tinsmith.models.machine import this_machine


class Check(NamedTuple):
    """One line of the doctor's table; `remedy` is empty where `ok`."""

    name: str
    ok: bool
    detail: str
    remedy: str


def checks() -> list[Check]:
    """Memory, cores, speed and GPUs of this machine. Measures nothing: `tinsmith models fit` does that once."""
    try:
        return [Check("machine", True, this_machine(state_dir=default_state_dir()).described(), "")]
    except MachineError as error:
        return [Check("machine", False, error.message, error.remedy)]
