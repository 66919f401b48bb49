"""What the embedded engine needs of this machine, for `tinsmith doctor`."""

import importlib.util
from typing import NamedTuple

from tinsmith.engines.threads import usable_cores


class Check(NamedTuple):
    """One line of the doctor's table; `remedy` is empty where `ok`."""

    name: str
    ok: bool
    detail: str
    remedy: str


def checks() -> list[Check]:
    """Whether the wheel is there, and how many cores inference will use. Starts nothing."""
    from importlib.metadata import version  # slow to import, and only the doctor asks

    if importlib.util.find_spec("xllamacpp") is None:
        wheel = Check("engine", False, "xllamacpp is not installed", "Reinstall tinsmith.")
    else:
        wheel = Check("engine", True, f"xllamacpp {version('xllamacpp')} (llama.cpp, CPU)", "")
    return [wheel, Check("threads", True, f"{usable_cores()} physical cores", "")]
