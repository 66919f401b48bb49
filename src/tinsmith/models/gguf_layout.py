"""What lies where in a GGUF file: metadata, tensors, bytes. Versions 2 and 3, local or by HTTP ranges, whole or split.

Format: `docs/gguf.md` of ggml; split files: `gguf-split` of llama.cpp. Nothing here trusts the file: counts and
lengths are held against its bytes (or against a cap named here) before anything is allocated, arrays and long strings
are skipped and read when asked for, and what breaks the format is InputError `model_unreadable` with the byte offset.
The rules are llama.cpp's, which would refuse such a file later: no nested arrays, no key or name twice, tensor data
in order without gaps.
"""

import re
import struct
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from tinsmith.errors import InputError
from tinsmith.models.byte_source import ByteSource, is_url, open_source
from tinsmith.models.gguf_cursor import STRINGS, Cursor, MalformedError
from tinsmith.models.gguf_types import ARRAY, STRING, TENSOR_TYPES, VALUE_TYPES

if TYPE_CHECKING:
    from tinsmith.models.geometry import Geometry
    from tinsmith.models.weights import Weights

KEYS: Final = 4_096
TENSORS: Final = 65_536
KEY_BYTES: Final = 65_535
NAME_BYTES: Final = 63
TEXT_BYTES: Final = 16 << 20
PARTS: Final = 1_000
"""Caps: entries of metadata, tensors of one part, bytes of a key, of a tensor's name, of a text value; parts."""
_DIMENSIONS = 4
_INLINE, _INLINES = 4096, 1 << 20  # bytes of a value that is read at once, and of all such values
_LEAST_KEY, _LEAST_TENSOR = 8 + 4 + 1, 8 + 4 + 4 + 8  # bytes that an entry takes at least
_MOST_ELEMENTS = 1 << 63


@dataclass(frozen=True, slots=True)
class Value:
    """An entry of the metadata: `kind` and `element` are GGUF's type names, `element` of an array. `count` elements lie
    in `size` bytes from `offset`; `read` holds them where they are short.
    """

    kind: str
    element: str | None
    count: int
    offset: int
    size: int
    read: Any = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: `shape` in GGUF's order (fastest first), `kind` the ggml type's name, `size` in bytes, `offset` bytes
    from where the data of its part begins.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    size: int
    offset: int = 0
    part: int = 0


@dataclass(frozen=True)
class Part:
    """One file: where its tensor data begins and how many bytes it has."""

    source: Path | str
    data_offset: int
    size: int


@dataclass(frozen=True)
class Layout:
    """What a GGUF says of itself. `metadata` is of the first part, `tensors` of all. `alignment` in bytes."""

    source: Path | str
    version: int
    alignment: int
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...]
    parts: tuple[Part, ...]
    token: str | None = field(default=None, repr=False, compare=False)

    @property
    def architecture(self) -> str:
        """`general.architecture`."""
        return str(self.value("general.architecture"))

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(part.size for part in self.parts)

    def count(self, key: str) -> int:
        """Elements of the array `key`, without reading it; 0 where it is absent or no array."""
        value = self.metadata.get(key)
        return value.count if value is not None and value.element is not None else 0

    def value(self, key: str, default: Any = None) -> Any:
        """The value of `key` as Python has it (an array as a list), `default` where it is absent.

        Raises InputError `model_unreadable` where a text is not UTF-8, and as the source does where it must be read.
        """
        value = self.metadata.get(key)
        if value is None:
            return default
        if value.read is not None:
            return value.read
        with open_source(self.parts[0].source, token=self.token) as source, _reported(source.name):
            return _read(Cursor(source, value.offset), key, value)

    def geometry(self) -> "Geometry":
        """The shape of the model. Raises InputError `model_unreadable` where the metadata does not say it."""
        from tinsmith.models.gguf_geometry import geometry_of

        return geometry_of(self)

    def weights(self) -> "Weights":
        """The bytes of the model by where they can lie."""
        from tinsmith.models.weights import Weights

        return Weights.of_tensors(self.tensors, self.geometry())


def read_layout(source: Path | str, *, token: str | None = None) -> Layout:
    """The layout of the GGUF at a path or an http(s) URL; of a split file any part will do.

    `token` is sent to the host of the URL. Raises InputError `model_unreadable` (with the byte offset) or
    `url_unreadable`.
    """
    layout = _read_part(source, token, 0)
    number, count = layout.value("split.no", 0), layout.value("split.count", 0)
    if not (isinstance(count, int) and count > 1):
        return layout
    return _joined(source, token, layout, number, count)


def unreadable(source: Path | str, reason: str) -> InputError:
    """The error for a model file that is not whole or not a GGUF."""
    return InputError(
        "model_unreadable",
        f"{source} is not a complete GGUF file that can be used: {reason}",
        "Get the file again; if it was converted, convert it again to GGUF.",
    )


def part_names(name: str, count: int) -> list[str] | None:
    """The names of all parts, of the name of one (`…-00001-of-00003.gguf`); None where it is no such name."""
    told = re.fullmatch(r"(.*-)(\d{5})(-of-)(\d{5})(\.gguf)", name, re.DOTALL)
    if told is None or int(told[4]) != count:
        return None
    return [f"{told[1]}{number:05d}{told[3]}{told[4]}{told[5]}" for number in range(1, count + 1)]


def _joined(source: Path | str, token: str | None, layout: Layout, number: Any, count: int) -> Layout:
    """The layout of all parts, `layout` being that of one of them."""
    if count > PARTS:
        raise unreadable(source, f"split.count is {count}, more than {PARTS}")
    name = urlsplit(source).path if is_url(source) else str(source)
    names = part_names(name, count)
    if names is None:
        raise unreadable(source, f"it is one of {count} parts, and its name does not end in -0000N-of-{count:05d}.gguf")
    if names[number if isinstance(number, int) and 0 <= number < count else 0] != name:
        raise unreadable(source, f"it says it is part {number} (from 0), and its name says otherwise")
    parts: list[Layout] = []
    for i, part_name in enumerate(names):
        place = source.replace(name, part_name, 1) if is_url(source) else Path(part_name)
        if isinstance(place, Path) and not place.exists():
            raise unreadable(source, f"part {i + 1} of {count} is missing: {place}")
        part = layout if part_name == name else _read_part(place, token, i)
        if (part.value("split.no"), part.value("split.count")) != (i, count):
            raise unreadable(place, f"it does not say that it is part {i} (from 0) of {count}")
        parts.append(part)
    tensors = [
        Tensor(t.name, t.shape, t.kind, t.size, t.offset, i) for i, part in enumerate(parts) for t in part.tensors
    ]
    said = parts[0].value("split.tensors.count")
    if said != len(tensors):
        raise unreadable(source, f"split.tensors.count is {said}, and the {count} parts have {len(tensors)} tensors")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise unreadable(source, "a tensor lies in more than one part")
    first = parts[0]
    files = tuple(file for part in parts for file in part.parts)
    return Layout(source, first.version, first.alignment, first.metadata, tuple(tensors), files, token)


def _read_part(place: Path | str, token: str | None, number: int) -> Layout:
    with open_source(place, token=token) as source, _reported(source.name):
        cursor = Cursor(source)
        version, tensor_count, key_count = _start(cursor, source)
        metadata = _metadata(cursor, key_count)
        alignment = _alignment(metadata)
        tensors, end = _tensors(cursor, tensor_count, alignment, number)
        data = -(-cursor.offset // alignment) * alignment
        if end > max(0, source.size - data):
            last = tensors[-1]
            raise MalformedError(
                source.size, f"the file ends here, {end - (source.size - data)} bytes before the end of {last.name!r}"
            )
        return Layout(place, version, alignment, metadata, tensors, (Part(place, data, source.size),), token)


def _start(cursor: Cursor, source: ByteSource) -> tuple[int, int, int]:
    """The version, the number of tensors and of entries of metadata."""
    magic = cursor.raw(4, "the magic number")
    if magic != b"GGUF":
        raise MalformedError(0, f"it begins with {magic!r} and not with GGUF")
    version = cursor.u32("the version")
    if version not in (2, 3):
        big_endian = version in (2 << 24, 3 << 24)
        raise MalformedError(4, "it is big-endian" if big_endian else f"version {version} is not known, only 2 and 3")
    counts: list[int] = []
    for what, most, least in (("tensors", TENSORS, _LEAST_TENSOR), ("metadata", KEYS, _LEAST_KEY)):
        at = cursor.offset
        count = cursor.u64(f"the number of {what}")
        if count > most:
            raise MalformedError(at, f"it claims {count} entries of {what}, more than {most}")
        if count * least > source.size:
            raise MalformedError(at, f"it claims {count} entries of {what}, more than {source.size} bytes can hold")
        counts.append(count)
    return version, counts[0], counts[1]


def _metadata(cursor: Cursor, count: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    inlines = _INLINES
    for _ in range(count):
        start = cursor.offset
        key = cursor.text("a key", KEY_BYTES)
        if key in metadata:
            raise MalformedError(start, f"the key {key!r} is given twice")
        value = _value(cursor, key)
        end = cursor.offset
        if value.element != "STRING" and value.size <= min(_INLINE, inlines):
            cursor.offset = value.offset
            value = Value(value.kind, value.element, value.count, value.offset, value.size, _read(cursor, key, value))
            cursor.offset = end
            inlines -= value.size
        metadata[key] = value
    return metadata


def _value(cursor: Cursor, key: str) -> Value:
    """The entry whose type is at the cursor, which then stands behind it."""
    kind = _value_type(cursor, key)
    if kind == STRING:
        size = cursor.length(key)
        value = Value("STRING", None, 1, cursor.offset, size)
        cursor.skip(size, key)
        return value
    if kind != ARRAY:
        name, _, size = VALUE_TYPES[kind]
        value = Value(name, None, 1, cursor.offset, size)
        cursor.skip(size, key)
        return value
    start = cursor.offset
    element = _value_type(cursor, f"the elements of {key}")
    if element == ARRAY:
        raise MalformedError(start, f"{key} is an array of arrays")
    name, _, width = VALUE_TYPES[element]
    start = cursor.offset
    count = cursor.u64(f"the length of {key}")
    cursor.need(count * width, f"{key}, an array of {count}")
    offset = cursor.offset
    if element == STRING:
        cursor.skip_strings(count, key)
    else:
        cursor.skip(count * width, key)
    return Value("ARRAY", name, count, offset, cursor.offset - offset)


def _value_type(cursor: Cursor, what: str) -> int:
    start = cursor.offset
    kind = cursor.u32(f"the type of {what}")
    if kind not in VALUE_TYPES:
        raise MalformedError(start, f"{what} is of the unknown type {kind}")
    return kind


def _read(cursor: Cursor, key: str, value: Value) -> Any:
    """The value as Python has it, the cursor standing at its first byte."""
    if value.count > STRINGS:
        raise MalformedError(value.offset, f"{key} has {value.count} elements: more than {STRINGS} are not read")
    if value.element == "STRING":
        return cursor.texts(value.count, key, TEXT_BYTES)
    if value.kind == "STRING":
        if value.size > TEXT_BYTES:
            raise MalformedError(value.offset, f"{key} has {value.size} bytes, more than {TEXT_BYTES}")
        return _decoded(cursor.raw(value.size, key), value.offset, key)
    layout = _LAYOUTS[value.element or value.kind]
    elements = list(struct.unpack(f"<{value.count}{layout}", cursor.raw(value.size, key)))
    return elements if value.element else elements[0]


def _decoded(raw: bytes, offset: int, key: str) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise MalformedError(offset + error.start, f"{key} is not UTF-8") from error


def _alignment(metadata: Mapping[str, Value]) -> int:
    value = metadata.get("general.alignment")
    if value is None:
        return 32
    alignment = value.read
    if value.kind != "UINT32" or alignment & (alignment - 1) or not alignment:
        raise MalformedError(value.offset, f"general.alignment is {alignment!r} and no power of two (UINT32)")
    return int(alignment)


def _tensors(cursor: Cursor, count: int, alignment: int, part: int) -> tuple[tuple[Tensor, ...], int]:
    """The tensors, and how many bytes of data they need."""
    tensors: list[Tensor] = []
    names: set[str] = set()
    expected = end = 0
    for _ in range(count):
        start = cursor.offset
        name = cursor.text("the name of a tensor", NAME_BYTES)
        if name in names:
            raise MalformedError(start, f"there are two tensors {name!r}")
        names.add(name)
        shape = _shape(cursor, name)
        start = cursor.offset
        number = cursor.u32(f"the type of {name}")
        if number not in TENSOR_TYPES:
            raise MalformedError(start, f"{name!r} is of the unknown type {number}")
        kind, block, width = TENSOR_TYPES[number]
        row = shape[0] if shape else 1
        if row % block:
            raise MalformedError(start, f"a row of {name!r} has {row} elements, no whole number of {kind}'s {block}")
        size = _product(shape) // block * width
        start = cursor.offset
        offset = cursor.u64(f"the place of {name}")
        if offset != expected:
            raise MalformedError(start, f"the data of {name!r} is said to lie at {offset} and not at {expected}")
        end = offset + size
        expected = -(-end // alignment) * alignment
        tensors.append(Tensor(name, shape, kind, size, offset, part))
    return tuple(tensors), end


def _shape(cursor: Cursor, name: str) -> tuple[int, ...]:
    start = cursor.offset
    dimensions = cursor.u32(f"the number of dimensions of {name}")
    if dimensions > _DIMENSIONS:
        raise MalformedError(start, f"{name!r} claims {dimensions} dimensions, more than {_DIMENSIONS}")
    start = cursor.offset
    shape = tuple(cursor.u64(f"the shape of {name}") for _ in range(dimensions))
    if not all(shape) or _product(shape) >= _MOST_ELEMENTS:
        raise MalformedError(start, f"the shape of {name!r} is {list(shape)}")
    return shape


def _product(shape: tuple[int, ...]) -> int:
    elements = 1
    for size in shape:
        elements *= size
    return elements


_LAYOUTS = {name: layout for name, layout, _ in VALUE_TYPES.values()}


@contextmanager
def _reported(name: str) -> Generator[None]:
    try:
        yield
    except MalformedError as error:
        raise unreadable(name, f"at byte {error.offset}, {error.reason}") from error
