"""JSON strings as models write them: the token of the closing quote may go on with what comes after it (`",`, `"}`).

A grammar that refused such a token would leave the model its second best, and that is often to write on. So it is let
in, what it holds beyond the string is cut off, and what belongs to the string is put in ids of its own. The quote is
told by a stop string, by which an escaped one stops too: then the rest of the string is asked for.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tinsmith.engines.grammar import JsonString, can_end, compile_grammar, end_of
from tinsmith.engines.protocol import Token
from tinsmith.models import Vocabulary

Ask = Callable[[Sequence[int], int, dict[str, Any]], tuple[list[Token], bool]]
"""(prompt, limit, {"grammar": GBNF, "stop": texts}) -> (the tokens, whether a stop text ended them)."""


class _Tokenizer(Protocol):
    vocabulary: Vocabulary

    def tokenize(self, text: str) -> list[int]: ...


def write_string(
    grammar: JsonString, ids: Sequence[int], limit: int, ask: Ask, tokenizer: _Tokenizer
) -> tuple[list[Token], bool] | None:
    """At most `limit` tokens of a string after `ids`, and whether it has its end.

    None where an escaped quote stopped it and the same token begins the next escape: no grammar is made for that.
    """
    tokens: list[Token] = []
    rest = grammar
    while True:
        under = {"grammar": compile_grammar(rest, ends_in_token=True), "stop": [grammar.end]}
        more, is_stopped = ask([*ids, *(token.id for token in tokens)], limit - len(tokens), under)
        tokens += more
        before, written = _texts(tokens, tokenizer.vocabulary)
        if (end := end_of(grammar, written)) is not None:
            if end < len(written):
                last = tokenizer.tokenize(written[len(before) : end].decode(errors="replace"))
                tokens = [*tokens[:-1], *(Token(token, None) for token in last)]
            return tokens[:limit], len(tokens) <= limit
        if not is_stopped or len(tokens) == limit:
            return tokens, False
        text = written.decode(errors="replace")
        if not can_end(grammar, text):
            return None
        count = len(json.loads(f'"{text}"'))
        rest = JsonString(grammar.end, max(0, grammar.least - count), grammar.most and grammar.most - count)


def _texts(tokens: Sequence[Token], vocabulary: Vocabulary) -> tuple[bytes, bytes]:
    """What was written before the last token, and with it."""
    ids = [token.id for token in tokens]
    return vocabulary.detokenize(ids[:-1]), vocabulary.detokenize(ids)
