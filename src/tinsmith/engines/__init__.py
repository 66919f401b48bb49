"""Who turns token ids into token ids: the engine's interface, the embedded llama.cpp, grammars, exact n-best.

Knows nothing of tools, prompts or turns. An engine takes ids and gives ids; text is split before and joined
after.
"""

from tinsmith.engines.doctor import Check, checks
from tinsmith.engines.embedded import EmbeddedEngine, open_engine
from tinsmith.engines.grammar import Grammar, JsonString, Literal, OneOf, Until, compile_grammar
from tinsmith.engines.nbest import best_first, rank
from tinsmith.engines.protocol import (
    GREEDY,
    Cancelled,
    Generation,
    Sampling,
    Token,
    TokenEngine,
    TurnUsage,
    Usage,
)

__all__ = [
    "GREEDY",
    "Cancelled",
    "Check",
    "EmbeddedEngine",
    "Generation",
    "Grammar",
    "JsonString",
    "Literal",
    "OneOf",
    "Sampling",
    "Token",
    "TokenEngine",
    "TurnUsage",
    "Until",
    "Usage",
    "best_first",
    "checks",
    "compile_grammar",
    "open_engine",
    "rank",
]
