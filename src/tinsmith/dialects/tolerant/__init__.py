"""The tolerant parser: what stands behind engines that decode without our grammars.

Models write calls in the dialect they were trained on, now and then damaged, and servers pass some of them on as text.
`TolerantParser` reads a turn in any dialect: Qwen's XML (with thinking), Devstral-Small-2505's, Mistral v7, v11 and
v13, Hermes' JSON, GLM's tags, DeepSeek's and Kimi's marks, and what gpt-oss writes. `native_calls` does the same for
calls that a server parsed. A call is clean, repaired or a problem; `is_safe_to_run` says which may be executed,
`complaint` what the model is told of the others. docs/lost-calls.md lists the damages and the test of each.
"""

from tinsmith.dialects.tolerant.harmony import split_channels
from tinsmith.dialects.tolerant.native import native_calls
from tinsmith.dialects.tolerant.parsed import (
    ArgumentDelta,
    CallStarted,
    Event,
    Parsed,
    ParsedCall,
    Repair,
    TextDelta,
    ThinkingDelta,
    is_damaged,
    is_safe_to_run,
)
from tinsmith.dialects.tolerant.stream import TolerantParser, complaint, parse_text

__all__ = [
    "ArgumentDelta",
    "CallStarted",
    "Event",
    "Parsed",
    "ParsedCall",
    "Repair",
    "TextDelta",
    "ThinkingDelta",
    "TolerantParser",
    "complaint",
    "is_damaged",
    "is_safe_to_run",
    "native_calls",
    "parse_text",
    "split_channels",
]
