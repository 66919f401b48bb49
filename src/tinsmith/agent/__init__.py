"""The loop: ask, act, observe, until a gate says done. Knows neither the model nor the repository."""

from tinsmith.agent.limits import LimitReached, Limits
from tinsmith.agent.loop import MIN_OBSERVATION, Copy, End, Judge, Loop, Opening, State, Verdict
from tinsmith.agent.record import Record, within
from tinsmith.agent.transcript import EventSink, Transcript, branches_in
from tinsmith.agent.writer import (
    CLOSING_RESERVE,
    CallWriter,
    Option,
    Options,
    Order,
    Tools,
    WindowFull,
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
]
