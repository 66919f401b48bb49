"""JSON values in stages: valid under a JSON Schema by construction, and always ended.

No grammar of the whole schema is compiled. At every place what may come next is a short list of texts (`{`, the keys
that are left, a digit) of which the model chooses one, or the free body of a string. Where a value may be of several
kinds (`anyOf`), all that fit what was written so far stay alive: the model tells by what it writes which it means.

What the model chooses and writes freely is counted; what follows without choice is not. When the limit is reached, or
only just enough room is left to end the value, the shortest way out is appended.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from tinsmith.agent.stages import Stages, WindowFull
from tinsmith.dialects import (
    Arrays,
    Finite,
    JsonSchemas,
    Numbers,
    Objects,
    Schema,
    Shortest,
    Spans,
    Strings,
    Text,
    any_of,
    as_json,
)
from tinsmith.engines import JsonString, can_end

MAX_DEPTH = 32
"""Containers in each other, beyond which nothing more is chosen."""
MAX_KEY_TOKENS = 16
"""Of a key that the schema does not name."""

_FILLER = "x"
_TOKEN = 4
"""Characters of a token of syntax, about."""
_LONGEST_NUMBER = 24
_LONGEST_KEY = 128
"""Bytes of a key that the schema does not name, at most, and what stands around it."""
_IN_ARRAY = (Text(","), Text("]"))
_IN_OBJECT = (Text(","), Text("}"))
_CLOSED = object()


def write_json(
    stages: Stages, schema: Schema, root: Mapping[str, Any], limit: int, follow: Spans, start: str = ""
) -> str:
    """Writes one JSON value valid under `schema`, with about `limit` tokens chosen or free, and returns its text.

    `$ref` point into `root`. `start` is written before the value, `follow` are the beginnings of what may come after
    it. Raises WindowFull, with nothing written, where the shortest value does not fit the window, and ValueError for a
    schema that has no value (`tinsmith.dialects.shortest` says so beforehand).
    """
    return _Writer(stages, Shortest(JsonSchemas(root)), limit, start).write(schema, follow)


class _Writer:
    def __init__(self, stages: Stages, shortest: Shortest, limit: int, start: str) -> None:
        self._stages = stages
        self._shortest = shortest
        self._left = limit
        self._text = ""
        self._held = start  # decided, but appended with the next choice: so it is cut into tokens as a model would
        self._owed = 0  # bytes that end the containers around; a token is at least a byte
        self._depth = 0

    def write(self, schema: Schema, follow: Spans) -> str:
        shortest = self._shortest.value(schema)
        if shortest is None:
            raise ValueError("no finite value is valid under the schema")
        if self._stages.room() < _size(shortest):
            raise WindowFull(f"the shortest value has {_size(shortest)} bytes")
        self._value(schema, follow)
        self._append_held()
        return self._text

    def _value(self, schema: Schema, follow: Spans, close: str = "") -> Any:
        """Writes a value and returns it, or _CLOSED where `close` was written instead."""
        shortest = self._shortest.value(schema)
        assert shortest is not None, "only what has a value is offered"
        if self._is_over(close or shortest, self._shortest.most(schema)):
            self._say(close or shortest)
            return _CLOSED if close else json.loads(shortest)
        kinds = self._shortest.kinds(schema)
        strings = [kind for kind in kinds if isinstance(kind, Strings)]
        numbers = [kind for kind in kinds if isinstance(kind, Numbers)]
        arrays = [kind for kind in kinds if isinstance(kind, Arrays)]
        objects = [kind for kind in kinds if isinstance(kind, Objects)]
        # Beside any string, list or object a single one is not told apart.
        covered = (str,) * bool(strings) + (list,) * bool(arrays) + (dict,) * bool(objects)
        finite = [value for kind in kinds if isinstance(kind, Finite) for value in kind.values]
        ways: dict[str, Callable[[], Any]] = {
            as_json(value): partial(_same, value) for value in finite if not isinstance(value, covered)
        }
        if strings:
            ways['"'] = partial(self._string, strings)
        if arrays:
            ways["["] = partial(self._array, arrays)
        if objects:
            ways["{"] = partial(self._object, objects)
        for first in (first for kind in numbers for first in kind.next("")):
            ways[first] = partial(self._number, numbers, first, follow)
        if close:
            ways[close] = partial(_same, _CLOSED)
        return ways[self._choose(list(ways))]()

    def _string(self, kinds: Sequence[Strings]) -> str:
        kind = max(kinds, key=lambda kind: float("inf") if kind.most is None else kind.most)
        # One that is cut too short is filled up, so it is not closed at once.
        abort = "" if kind.least else '"'
        text = self._free(JsonString('"', kind.least, kind.most), self._left, abort, kind.least + len('"'))
        if not text.endswith('"') or not can_end(JsonString(), text[:-1]):
            rest = _FILLER * (kind.least - len(json.loads(f'"{text}"'))) + '"'
            self._say(rest)
            text += rest
        return json.loads('"' + text)

    def _number(self, kinds: Sequence[Numbers], written: str, follow: Spans) -> Any:
        while following := list(dict.fromkeys(character for kind in kinds for character in kind.next(written))):
            rest = min((rest for kind in kinds if (rest := kind.finish(written)) is not None), key=len)
            if self._is_over(rest, _LONGEST_NUMBER):
                self._say(rest)
                return json.loads(written + rest)
            chosen = self._choose([""] * any(kind.ends(written) for kind in kinds) + following, follow)
            if not chosen:
                break
            written += chosen
        return json.loads(written)

    def _array(self, alive: Sequence[Arrays]) -> list[Any]:
        shortest, written = self._shortest, list[Any]()
        while True:
            rests = [rest for kind in alive if (rest := shortest.items(kind, written)) is not None]
            grown = [(kind, rest) for kind in alive if (rest := shortest.items(kind, written, 1)) is not None]
            rest = min(rests, key=lambda rest: _size(_items(rest)))
            more = max((_size(_items(rest)) for _, rest in grown), default=0)
            if not grown or self._is_over(_items(rest), more):
                self._say(_items(rest, first=not written))
                return written + [json.loads(item) for item in rest]
            if written and self._choose([","] + ["]"] * ([] in rests)) == "]":
                return written
            self._say(" " * bool(written))
            item = any_of(shortest.item(kind, written) for kind, _ in grown)
            owed = max(_size(_items(rest[1:])) for _, rest in grown)
            value = self._inside(owed, item, _IN_ARRAY, "]" * (not written and [] in rests))
            if value is _CLOSED:
                return written
            alive = [kind for kind, _ in grown if shortest.schemas.admits(shortest.item(kind, written), value)]
            written.append(value)

    def _object(self, alive: Sequence[Objects]) -> dict[str, Any]:
        shortest, written = self._shortest, dict[str, Any]()
        while True:
            rests = [rest for kind in alive if (rest := shortest.members(kind, written)) is not None]
            rest = min(rests, key=lambda rest: _size(_members(rest)))
            free = any(self._takes_any(kind, written) for kind in alive)
            offered = [] if free else _declared(alive, written)
            takes = {key: taking for key in offered if (taking := self._taking(alive, written, key))}
            more = max((self._more(taking, written, key) for key, taking in takes.items()), default=0)
            if free:
                more = _LONGEST_KEY + _size(_members(rest)) + max(self._least_sizes(alive))
            if not (takes or free) or self._is_over(_members(rest), more):
                self._say(_members(rest, first=not written))
                return written | {key: json.loads(value) for key, value in rest.items()}
            lead = ", " if written else ""
            # A free key may be any of the declared ones, so these are not offered beside it.
            names = {f"{lead}{as_json(key)}:": key for key in takes}
            chosen = self._choose([f'{lead}"'] * free + list(names) + ["}"] * ({} in rests))
            if chosen == "}":
                return written
            key = self._free_key() if free else names[chosen]
            self._say(" ")
            alive = self._taking(alive, written, key)
            owed = max(_size(_members(shortest.members(kind, [*written, key]) or {})) for kind in alive)
            value = self._inside(owed, any_of(kind.member(key) for kind in alive), _IN_OBJECT)
            alive = [kind for kind in alive if shortest.schemas.admits(kind.member(key), value)]
            written[key] = value

    def _taking(self, alive: Sequence[Objects], written: Mapping[str, Any], key: str) -> list[Objects]:
        """Which of `alive` may have the member `key` beside those written; one that is there may be written again."""
        return [
            kind
            for kind in alive
            if self._shortest.value(kind.member(key)) is not None
            and self._shortest.members(kind, [*written, key]) is not None
        ]

    def _takes_any(self, kind: Objects, written: Mapping[str, Any]) -> bool:
        """Whether any key may come next: the required ones are there, and no key is forbidden or needs another."""
        if not kind.open or kind.needs or any(key not in written for key in kind.required):
            return False
        members = [*kind.properties.values(), kind.others]
        room = kind.most is None or len(written) < kind.most
        return room and all(self._shortest.value(schema) is not None for schema in members)

    def _least_sizes(self, alive: Sequence[Objects]) -> Iterator[int]:
        """The bytes of the shortest values of all members that there may be."""
        for schema in (schema for kind in alive for schema in (kind.others, *kind.properties.values())):
            yield _size(self._shortest.value(schema) or "")

    def _more(self, alive: Sequence[Objects], written: Mapping[str, Any], key: str) -> int:
        """The most bytes that it takes to write the member `key` and to end the object after it."""
        ends = max(_size(_members(self._shortest.members(kind, [*written, key]) or {})) for kind in alive)
        values = max(_size(self._shortest.value(kind.member(key)) or "") for kind in alive)
        return _size(as_json(key)) + len(", : ") + values + ends

    def _inside(self, owed: int, schema: Schema, follow: Spans, close: str = "") -> Any:
        """Writes a value inside a container that it takes `owed` more bytes to end."""
        self._depth += 1
        self._owed += owed
        value = self._value(schema, follow, close)
        self._owed -= owed
        self._depth -= 1
        return value

    def _free_key(self) -> str:
        text = self._free(JsonString('":'), min(self._left, MAX_KEY_TOKENS), '":', _LONGEST_KEY // 2)
        return json.loads('"' + text.removesuffix(":"))

    def _is_over(self, rest: str, more: int) -> bool:
        """Whether nothing more is chosen and `rest` ends what is in work; else there is room for a choice that takes
        up to `more` bytes to get out of again."""
        if self._left <= 0 or self._depth >= MAX_DEPTH:
            return True
        return self._room() < self._owed + _size(self._held) + max(_size(rest), more)

    def _room(self) -> int:
        try:
            return self._stages.room()
        except WindowFull:
            return 0

    def _say(self, text: str) -> None:
        self._text += text
        self._held += text

    def _append_held(self) -> None:
        if self._held:
            self._stages.literal(self._held)
        self._held = ""

    def _choose(self, texts: Sequence[str], follow: Spans = ()) -> str:
        if len(texts) == 1:
            self._say(texts[0])
            return texts[0]
        held, self._held = self._held, ""
        chosen = self._stages.choose([held + text for text in texts], follow)[len(held) :]
        self._left -= max(1, len(chosen) // _TOKEN)
        self._text += chosen
        return chosen

    def _free(self, grammar: JsonString, limit: int, abort: str, end: int) -> str:
        """Has text written that it takes up to `end` bytes to end, beside what is owed."""
        self._append_held()
        before = self._room()
        limit = min(limit, before - self._owed - end)
        if limit < 1:
            self._say(abort)
            return abort
        text = self._stages.free(grammar, limit, abort)
        self._left -= before - self._room()
        self._text += text
        return text


def _same(value: Any) -> Any:
    return value


def _declared(alive: Sequence[Objects], written: Mapping[str, Any]) -> Iterable[str]:
    """The declared keys that are not written yet."""
    return dict.fromkeys(key for kind in alive for key in kind.properties if key not in written)


def _items(rest: Sequence[str], first: bool = False) -> str:
    return "".join(("" if first and not place else ", ") + item for place, item in enumerate(rest)) + "]"


def _members(rest: Mapping[str, str], first: bool = False) -> str:
    return _items([f"{as_json(key)}: {value}" for key, value in rest.items()], first)[:-1] + "}"


def _size(text: str) -> int:
    return len(text.encode())
