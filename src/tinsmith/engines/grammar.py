"""The four kinds of place a model may fill, and their compilation to GBNF.

Small and ours: a list of values becomes a trie (a rule for each branching node, chains of single children
folded), free text up to a terminator becomes a deterministic automaton in right-linear rules. So the engine's
parser never follows more than one stack for long, and no repetition is ambiguous. Syntax: llama.cpp
`grammars/README.md`.

Free text has no NUL, no surrogates, and does not contain its terminator. The terminator must be written in
full: the empty text before `"\\n</parameter>\\n"` is that terminator alone, even where the literal before the
place ended in a newline.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Literal:
    """Exactly `text`."""

    text: str


@dataclass(frozen=True)
class OneOf:
    """One of `values`, followed by `end`. Where one value begins another, `end` tells them apart."""

    values: Sequence[str]
    end: str = ""


@dataclass(frozen=True)
class Until:
    """Any text that does not contain `end`, then `end`. Its bound is the caller's limit in tokens."""

    end: str


@dataclass(frozen=True)
class JsonString:
    """The body of a JSON string (after its quote), then `end`, which begins with the closing quote.

    The string has `least` to `most` characters. A bound beyond MAX_COUNTED is taken to be that.
    """

    end: str = '"'
    least: int = 0
    most: int | None = None


MAX_COUNTED = 8_000
"""The longest JSON string whose characters a grammar counts, with a rule for each."""

Grammar = Literal | OneOf | Until | JsonString


def compile_grammar(grammar: Grammar, *, ends_in_token: bool = False) -> str:
    """The GBNF of `grammar`. Raises ValueError where it admits nothing or holds NUL or surrogates.

    `ends_in_token`: the token that ends a JSON string may go on as JSON does after it. Models write `",` and `"}` as
    one token, and would write on where it were refused them.
    """
    match grammar:
        case Literal(text):
            return f"root ::= {_quoted(text)}\n"
        case OneOf(values, end):
            return _trie([value + end for value in dict.fromkeys(values)])
        case Until(end):
            return _until(end)
        case JsonString():
            return _json_string(grammar, ends_in_token)


_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|[^u])")
_BODY = re.compile(rb'(?:[^"\\]|\\.)*', re.DOTALL)


def can_end(grammar: Until | JsonString, written: str) -> bool:
    """Whether a text under `grammar` that begins with `written` may be cut there, and its end would be taken for it.

    Where a JSON string is too short by then, the rest is the caller's to add.
    """
    if isinstance(grammar, Until):
        return (written + grammar.end).index(grammar.end) == len(written)
    plain = _ESCAPE.sub("", written)
    return "\\" not in plain and '"' not in plain  # of an end of two characters the first may be there


def end_of(grammar: JsonString, written: bytes) -> int | None:
    """How many bytes of `written` are a whole text under `grammar`, its end included; None where that is missing."""
    found = _BODY.match(written)
    assert found is not None, "it matches nothing, too"
    return found.end() + len(grammar.end) if written.startswith(grammar.end.encode(), found.end()) else None


# Escapes of surrogates and of NUL are left out: no file can hold the first, none should hold the second.
_JSON_BODY = r"""char ::= [ !#-\[\]-\uD7FF\uE000-\U0010FFFF] | "\\" escape
escape ::= ["\\/bfnrt] | "u" unicode
unicode ::= "0" low | [1-9a-cA-CeEfF] hex hex hex | [dD] [0-7] hex hex
low ::= "0" ("0" digit | digit hex) | digit hex hex
digit ::= [1-9a-fA-F]
hex ::= [0-9a-fA-F]
"""


_AFTER = r"""after ::= ([,:{}\[\]" \t\n] after)?
"""
"""JSON's syntax between two values."""


def _json_string(grammar: JsonString, ends_in_token: bool) -> str:
    """Characters that are counted are a chain of rules, so that the parser is in one place at a time."""
    least, most, end = grammar.least, grammar.most, _quoted(grammar.end) + " after" * ends_in_token
    if not grammar.end.startswith('"') or (most is not None and most < least) or least > MAX_COUNTED:
        raise ValueError("a JSON string ends with its quote and has least to most characters")
    counted = least if most is None else min(most, MAX_COUNTED)
    rules = [f"c{i} ::= char c{i + 1}" + f" | {end}" * (i >= least) + "\n" for i in range(counted)]
    last = f"char* {end}" if most is None else end
    after = _AFTER * ends_in_token
    return _JSON_BODY + after + "root ::= c0\n" + "".join(rules) + f"c{counted} ::= {last}\n"


def _escaped(character: str) -> str:
    point = ord(character)
    if point == 0 or 0xD800 <= point <= 0xDFFF:
        raise ValueError(f"U+{point:04X} cannot stand in a grammar")
    if character.isascii() and (character.isalnum() or character in " _<>/=.,:;()+*#@!?%&|~{}"):
        return character
    if point <= 0xFF:
        return f"\\x{point:02X}"
    return f"\\u{point:04X}" if point <= 0xFFFF else f"\\U{point:08X}"


def _quoted(text: str) -> str:
    return '"' + "".join(map(_escaped, text)) + '"'


def _trie(values: Sequence[str]) -> str:
    """Rules over sorted `values`: the children of a node are neighbours, so a node is a slice of the list."""
    if not values:
        raise ValueError("a choice of nothing")
    rules: list[str] = []
    ordered = sorted(set(values))
    # (rule name, first, past the last, depth in characters); an explicit stack, as values may be long
    stack = [("root", 0, len(ordered), 0)]
    named = 0
    while stack:
        name, low, high, depth = stack.pop()
        shared = _shared_length(ordered[low], ordered[high - 1], depth)
        head = ordered[low][depth:shared]
        branches: list[str] = []
        start = low
        if len(ordered[low]) == shared:  # a value ends here
            start += 1
            if start < high:
                branches.append('""')
        while start < high:
            stop = start + 1
            while stop < high and ordered[stop][shared] == ordered[start][shared]:
                stop += 1
            if stop - start == 1:
                branches.append(_quoted(ordered[start][shared:]))
            else:
                named += 1
                branches.append(f"n{named}")
                stack.append((f"n{named}", start, stop, shared))
            start = stop
        body = " | ".join(branches)
        parts = ([_quoted(head)] if head or not body else []) + ([f"({body})"] if body else [])
        rules.append(f"{name} ::= {' '.join(parts)}\n")
    return "".join(rules)


def _shared_length(first: str, last: str, depth: int) -> int:
    """Length of the common prefix of the two, known to be at least `depth`."""
    most = min(len(first), len(last))
    while depth < most and first[depth] == last[depth]:
        depth += 1
    return depth


def _until(end: str) -> str:
    """The Knuth-Morris-Pratt automaton of `end`: rule s<i> is the state after `i` of its characters."""
    if not end:
        raise ValueError("free text needs a terminator")
    alphabet = sorted(set(end))
    others = "[" + _complement(alphabet) + "]"
    rules = ["root ::= s0\n"]
    for state, targets in enumerate(_automaton(end, alphabet)):
        branches: list[str] = []
        for target in sorted(set(targets.values())):
            read = "[" + "".join(_escaped(c) for c in alphabet if targets[c] == target) + "]"
            branches.append(read if target == len(end) else f"{read} s{target}")
        rules.append(f"s{state} ::= {' | '.join([*branches, f'{others} s0'])}\n")
    return "".join(rules)


def _automaton(end: str, alphabet: Sequence[str]) -> list[dict[str, int]]:
    """For each state but the last, the next one on each character (Knuth, Morris, Pratt 1977)."""
    table = [dict.fromkeys(alphabet, 0) | {end[0]: 1}]
    restart = 0  # the state after reading end[1:i], which is where state i goes on a mismatch
    for i in range(1, len(end)):
        table.append(table[restart] | {end[i]: i + 1})
        restart = table[restart][end[i]]
    return table


def _complement(excluded: Sequence[str]) -> str:
    """Ranges of all characters but NUL, surrogates and `excluded` (sorted), as the inside of a GBNF class."""
    ranges: list[str] = []
    for first, last in ((1, 0xD7FF), (0xE000, 0x10FFFF)):
        for point in [*(p for p in map(ord, excluded) if first <= p <= last), last + 1]:
            if first < point:
                ranges.append(f"\\U{first:08X}-\\U{point - 1:08X}")
            first = point + 1
    return "".join(ranges)
