"""The loop: ask, act, observe, until a gate says done. Knows neither the model nor the repository."""

from tinsmith.agent.arguments import Tools, write_arguments
from tinsmith.agent.chat_tokens import ChatTokens
from tinsmith.agent.chat_writer import MAX_LOST, ChatWriter
from tinsmith.agent.json_writer import write_json
from tinsmith.agent.limits import LimitReached, Limits
from tinsmith.agent.loop import MIN_OBSERVATION, Copy, End, Judge, Loop, Opening, State, Verdict
from tinsmith.agent.record import Record, within
from tinsmith.agent.speaker import ChatSpeaker, Speaker, TokenSpeaker, Writer
from tinsmith.agent.stages import CLOSING_RESERVE, ChoiceTries, EngineStages, Stages, WindowFull
from tinsmith.agent.template_chat import TemplateChat
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
    "MAX_LOST",
    "MIN_OBSERVATION",
    "CallWriter",
    "ChatSpeaker",
    "ChatTokens",
    "ChatWriter",
    "ChoiceTries",
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
    "Speaker",
    "Stages",
    "State",
    "TemplateChat",
    "TokenSpeaker",
    "Tools",
    "Transcript",
    "Verdict",
    "WindowFull",
    "Writer",
    "Written",
    "as_options",
    "branches_in",
    "by_likelihood",
    "within",
    "write_arguments",
    "write_json",
]
