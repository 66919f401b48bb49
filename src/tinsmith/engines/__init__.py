"""Who turns token ids into token ids: the engine's interface, the embedded llama.cpp, grammars, exact n-best.

Knows nothing of tools, prompts or turns. An engine takes ids and gives ids; text is split before and joined
after.
"""

from tinsmith.engines.chat import ChatEngine, OpenAIChatEngine, Patience
from tinsmith.engines.chat_errors import ContextExceededError
from tinsmith.engines.chat_http import is_loopback
from tinsmith.engines.chat_open import open_chat_engine
from tinsmith.engines.chat_stream import ChatReply, NativeCall
from tinsmith.engines.doctor import Check, checks
from tinsmith.engines.embedded import EmbeddedEngine, open_engine
from tinsmith.engines.grammar import Grammar, JsonString, Literal, OneOf, Until, can_end, compile_grammar
from tinsmith.engines.llama_server import attach_llama_server, open_llama_server
from tinsmith.engines.nbest import best_first, rank
from tinsmith.engines.opening import (
    EngineChoice,
    Served,
    chosen_binary,
    describe,
    machine_of,
    open_any_engine,
    open_served_engine,
)
from tinsmith.engines.protocol import (
    GREEDY,
    Cancelled,
    Engine,
    Generation,
    Sampling,
    Token,
    TokenEngine,
    TurnUsage,
    Usage,
)
from tinsmith.engines.served_window import Window, served_window
from tinsmith.engines.token_trie import Chosen, TokenTrie, packed
from tinsmith.engines.vllm import open_vllm

__all__ = [
    "GREEDY",
    "Cancelled",
    "ChatEngine",
    "ChatReply",
    "Check",
    "Chosen",
    "ContextExceededError",
    "EmbeddedEngine",
    "Engine",
    "EngineChoice",
    "Generation",
    "Grammar",
    "JsonString",
    "Literal",
    "NativeCall",
    "OneOf",
    "OpenAIChatEngine",
    "Patience",
    "Sampling",
    "Served",
    "Token",
    "TokenEngine",
    "TokenTrie",
    "TurnUsage",
    "Until",
    "Usage",
    "Window",
    "attach_llama_server",
    "best_first",
    "can_end",
    "checks",
    "chosen_binary",
    "compile_grammar",
    "describe",
    "is_loopback",
    "machine_of",
    "open_any_engine",
    "open_chat_engine",
    "open_engine",
    "open_llama_server",
    "open_served_engine",
    "open_vllm",
    "packed",
    "rank",
    "served_window",
]
