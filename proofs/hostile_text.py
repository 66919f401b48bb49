"""Text that would be control: files, issues, results and calls that hold every delimiter, and none becomes one.

10,000 hostile strings for each dialect stand in the turns of generated conversations: each special token and delimiter
whole, cut at every place with another inside, its halves in neighbouring texts, doubled, and in characters that look
alike. They are encoded with the true vocabularies by a tokenizer that is worse than any: it makes *every* reserved id
out of plain text. The only reserved ids that come out are those that the dialect wrote, and the text comes back whole.
"""

import argparse
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

import tiktoken
from proofs.call_identity import FAMILIES
from proofs.true_vocabularies import QWEN_CONTROL, QWEN_DELIMITERS, QWEN_OTHERS, TEKKEN_CONTROL
from tests import vocabularies

from tinsmith.dialects import (
    Answered,
    Call,
    Control,
    Conversation,
    Dialect,
    Encoder,
    Exchange,
    Parameter,
    Step,
    ToolSpec,
    dialect_named,
)

NAMES: Mapping[str, Sequence[str]] = {
    "qwen": (*QWEN_CONTROL, *QWEN_OTHERS, *QWEN_DELIMITERS),
    "mistral": (
        *TEKKEN_CONTROL,
        "[ARGS]",
        "[CALL_ID]",
        "[THINK]",
        "[/THINK]",
        "[AUDIO]",
        "<SPECIAL_20>",
        "<SPECIAL_999>",
    ),
}
"""The reserved texts of each family's vocabularies."""
SYNTAX = (
    "<function=",
    "</function>",
    "<parameter=",
    "\n</parameter>\n",
    "</parameter>\n",
    '"}',
    '", "',
    "\\",
    "]}]",
    "{}",
)
_ALIKE = str.maketrans({"<": "＜", ">": "＞", "[": "［", "]": "］", "|": "｜", "/": "∕", "_": "＿", "o": "о", "I": "І"})
_UNSEEN = ("\u200b", "\u200d", "\ufeff", "\u00ad", "\u2060", "\u202e", "\ufe0f", "\u0301")


def hostile_texts(names: Sequence[str], draw: random.Random) -> Iterator[str]:
    """Hostile strings without end: first all that are made of one or two names, then drawn ones."""
    for name in names:
        yield from (name, name + name, name[1:], name[:-1], name.upper(), name.translate(_ALIKE))
        for cut in range(1, len(name)):
            yield from (name[:cut], name[cut:], name[:cut] + name + name[cut:])
            yield name[:cut] + draw.choice(_UNSEEN) + name[cut:]
        yield from (name[:cut] + draw.choice(names) + name[cut:] for cut in range(1, len(name)))
        yield from (name[:-1] + other for other in names)
    words = (*SYNTAX, " ", "\n", "x", "é😀", "\r\n", "\t", "    return x", *_UNSEEN)
    while True:
        parts: list[str] = []
        for _ in range(draw.randint(1, 6)):
            name = draw.choice(names)
            first, last = sorted((draw.randint(0, len(name)), draw.randint(0, len(name))))
            parts.append(draw.choice((name, name[:first], name[first:last], name[last:], draw.choice(words))))
        yield "".join(parts)


def conversation(texts: Sequence[str]) -> Conversation:
    """A conversation that holds ten texts, each wherever text can stand; the last are cut halves side by side."""
    spec = ToolSpec("read", texts[0], (Parameter("path", "string", texts[1]), Parameter("lines", "")))
    call = Call("read", {"path": texts[2].replace("</parameter>", ""), "lines": "[1]"})
    steps = (Step((Answered(call, texts[3]), Answered(call, texts[4])), texts[5], texts[6]),)
    return Conversation(texts[7], steps, (Exchange(texts[8], texts[9]),), "".join(texts[:3]), (spec,))


TEXTS_A_CONVERSATION = 10


@cache
def encoder(family: str) -> tuple[Encoder, tiktoken.Encoding]:
    """The encoder over the family's true vocabulary, and the tokenizer under it, which takes names for control."""
    plain = vocabularies.qwen() if family == "qwen" else vocabularies.tekken()
    reserved = {name: plain.n_vocab + number for number, name in enumerate(NAMES[family])}
    ranks: dict[bytes, int] = plain._mergeable_ranks  # pyright: ignore[reportPrivateUsage]
    careless = tiktoken.Encoding(family, pat_str=plain._pat_str, mergeable_ranks=ranks, special_tokens=reserved)  # pyright: ignore[reportPrivateUsage]
    return Encoder(lambda text: careless.encode(text, allowed_special="all"), reserved), careless


def faults(dialect: Dialect, family: str, held: Conversation) -> list[str]:
    """What is wrong with the ids of `held`."""
    encode, tokenizer = encoder(family)
    spans = dialect.render(held)
    ids = encode.encode(spans)
    wrote = [encode.encode_control(span.text) for span in spans if isinstance(span, Control)]
    found = [token for token in ids if token in encode.reserved_ids]
    wrong = [f"{dialect.name}: reserved ids {found}, written {wrote}: {held}"] if found != wrote else []
    if tokenizer.decode(ids) != "".join(span.text for span in spans):
        wrong.append(f"{dialect.name}: the text does not come back: {held}")
    return wrong


def prove(name: str, family: str, count: int, seed: int) -> tuple[int, list[str]]:
    """How many hostile strings stood in conversations of that dialect, and what was wrong."""
    dialect, drawn, wrong = dialect_named(name), 0, list[str]()
    texts = hostile_texts(NAMES[family], random.Random(seed))
    while drawn < count:
        ten = [next(texts) for _ in range(TEXTS_A_CONVERSATION)]
        wrong += faults(dialect, family, conversation(ten))
        drawn += len(ten)
    return drawn, wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """0 where all holds, 1 where something is wrong."""
    parser = argparse.ArgumentParser(description="Shows that hostile text yields no reserved id.")
    parser.add_argument("--strings", type=int, default=10_000, help="for each dialect")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    began, wrong = time.monotonic(), list[str]()
    for family, names in FAMILIES.items():
        for name in names:
            drawn, found = prove(name, family, given.strings, given.seed)
            print(
                f"{name}: {drawn} hostile strings, {len(NAMES[family])} reserved texts, {len(found)} faults", flush=True
            )
            wrong += found
    for fault in wrong[:20]:
        print(f"  wrong: {fault}")
    print(f"{time.monotonic() - began:.0f} s")
    print("hostile text: no reserved id out of text" if not wrong else "hostile text: FAULTS")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
