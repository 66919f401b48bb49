"""The loop: ask, act, observe, until a gate says done. Knows neither the model nor the repository."""

from tinsmith.agent.loop import Copy, End, Judge, LimitReached, Limits, Loop, Verdict
from tinsmith.agent.transcript import EventSink, Transcript
from tinsmith.agent.writer import CallWriter, Option, Order, WindowFull, Written, as_options, by_likelihood

__all__ = [
    "CallWriter",
    "Copy",
    "End",
    "EventSink",
    "Judge",
    "LimitReached",
    "Limits",
    "Loop",
    "Option",
    "Order",
    "Transcript",
    "Verdict",
    "WindowFull",
    "Written",
    "as_options",
    "by_likelihood",
]
