"""Solder's tokenizer: byte-level BPE, Qwen's pre-tokenizer, digits apart, delimiters as single ids.

The pre-tokenizer is the one llama.cpp knows as `qwen2`; training and inference must cut text alike, which a
test holds.
"""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

PRE_TOKENIZER = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2's pre-tokenizer, as published in its tokenizer.json."""

CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
DELIMITERS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """A tokenizer of `vocabulary` ids in all; the control tokens and delimiters are the last seven."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKENIZER), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    reserved = [*CONTROL, *DELIMITERS]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(reserved),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=2,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocabulary - len(reserved):
        raise ValueError(f"too little text for a vocabulary of {vocabulary}: {tokenizer.get_vocab_size()}")
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in CONTROL])
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in DELIMITERS])
    return tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer saved at `path` (tokenizer.json)."""
    return Tokenizer.from_file(str(path))


def plain_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids of ordinary text, as `TokenEngine.tokenize` would give them for text without delimiters."""
    return tokenizer.encode(text, add_special_tokens=False).ids


def reserved_of(tokenizer: Tokenizer) -> dict[str, int]:
    """Text and id of every control token and delimiter."""
    return {text: token_id(tokenizer, text) for text in (*CONTROL, *DELIMITERS)}


def token_id(tokenizer: Tokenizer, text: str) -> int:
    """The id of the token `text`. Raises KeyError where there is none."""
    found = tokenizer.token_to_id(text)
    if found is None:
        raise KeyError(text)
    return found
