"""The loop: ask, act, observe, until a gate says done. Knows neither the model nor the repository."""

from tinsmith.agent.arguments import Tools, write_arguments
from tinsmith.agent.limits import LimitReached, Limits
from tinsmith.agent.loop import MIN_OBSERVATION, Copy, End, Judge, Loop, Opening, State, Verdict
from tinsmith.agent.record import Record, within
from tinsmith.agent.stages import CLOSING_RESERVE, EngineStages, Stages, WindowFull
from tinsmith.agent.transcript import EventSink, Transcript, branches_in
from tinsmith.agent.writer import (
    CallWriter,
    Option,
    Options,
    Order,
    Written,
    as_options,
    by_likelihood,
)

__all__ = [
    "CLOSING_RESERVE",
    "MIN_OBSERVATION",
    "CallWriter",
    "Copy",
    "End",
    "EngineStages",
    "EventSink",
    "Judge",
    "LimitReached",
    "Limits",
    "Loop",
    "Opening",
    "Option",
    "Options",
    "Order",
    "Record",
    "Stages",
    "State",
    "Tools",
    "Transcript",
    "Verdict",
    "WindowFull",
    "Written",
    "as_options",
    "branches_in",
    "by_likelihood",
    "within",
    "write_arguments",
]
