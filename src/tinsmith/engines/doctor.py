"""Which engine computes on this machine and what it needs, for `tinsmith doctor`."""

import importlib.util
from typing import NamedTuple

from tinsmith.engines.llama_server import start_of_binary
from tinsmith.engines.opening import EngineChoice, chosen_binary
from tinsmith.errors import TinsmithError
from tinsmith.models import usable_cores


class Check(NamedTuple):
    """One line of the doctor's table; `remedy` is empty where `ok`."""

    name: str
    ok: bool
    detail: str
    remedy: str


def checks(choice: EngineChoice | None = None, server: str = "") -> list[Check]:
    """Which engine computes and why, whether the built-in one is there, how many cores inference will use.

    `server`: the URL that is named in the place of a model, empty for none. Starts and asks nothing.
    """
    from importlib.metadata import version  # slow to import, and only the doctor asks

    if importlib.util.find_spec("xllamacpp") is None:
        wheel = Check("built-in llama.cpp", False, "xllamacpp is not installed", "Reinstall tinsmith.")
    else:
        wheel = Check("built-in llama.cpp", True, f"xllamacpp {version('xllamacpp')} (CPU)", "")
    engine = _engine(choice or EngineChoice(), server)
    return [engine, wheel, Check("threads", True, f"{usable_cores()} physical cores", "")]


def _engine(choice: EngineChoice, server: str) -> Check:
    if server:
        return Check("engine", True, f"the server at {server}, since the setting model names it", "")
    binary, reason = chosen_binary(choice)
    if binary is None:
        return Check("engine", True, f"the built-in llama.cpp, since {reason}", "")
    try:
        found = start_of_binary(binary, choice.arguments).orders["binary"]
    except TinsmithError as error:
        return Check("engine", False, error.message, error.remedy)
    return Check("engine", True, f"llama-server at {found}, since {reason}", "")
