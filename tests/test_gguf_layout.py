"""GGUF headers: whole, split, by ranges, and broken in every way that we could think of and some that we could not."""

import os
import re
import struct
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gguf
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.gguf_bytes import (
    ARCHITECTURE,
    METADATA,
    TENSORS,
    FakeHub,
    array,
    entry,
    gguf_bytes,
    serving,
    tensor,
    text,
    u32,
    u64,
)

from tinsmith.errors import InputError
from tinsmith.models import GGUFHeader, find_model, read_layout
from tinsmith.models.gguf_cursor import STRINGS
from tinsmith.models.gguf_layout import KEYS, Layout, part_names
from tinsmith.models.gguf_layout import TENSORS as MOST_TENSORS
from tinsmith.models.gguf_types import TENSOR_TYPES, VALUE_TYPES
from tinsmith.models.random_weights import Shape, write_random

SMALL = gguf_bytes()


def layout_of(path: Path, raw: bytes) -> Layout:
    path = path / "m.gguf"
    path.write_bytes(raw)
    return read_layout(path)


def test_the_types_are_those_of_the_reference() -> None:
    known = {t.value: (t.name, *gguf.GGML_QUANT_SIZES[t]) for t in gguf.GGMLQuantizationType}
    assert known.items() <= TENSOR_TYPES.items()
    assert {t.value: t.name for t in gguf.GGUFValueType} == {number: name for number, (name, *_) in VALUE_TYPES.items()}


@pytest.mark.parametrize("version", [2, 3])
def test_a_small_file(version: int, tmp_path: Path) -> None:
    layout = layout_of(tmp_path, gguf_bytes(version=version))
    assert (layout.version, layout.alignment, layout.architecture) == (version, 32, "llama")
    assert layout.value("llama.block_count") == 1
    assert layout.value("llama.attention.head_count_kv") == [1]
    assert layout.value("llama.rope.freq_base") == 1e4
    assert layout.value("tokenizer.ggml.add_bos_token") is True
    assert layout.value("tokenizer.ggml.tokens") == ["a", "é", ""]
    assert layout.count("tokenizer.ggml.tokens") == 3
    assert layout.value("absent") is None and layout.value("absent", 7) == 7 and layout.count("absent") == 0
    assert [(t.name, t.shape, t.kind, t.size, t.offset) for t in layout.tensors] == [
        ("token_embd.weight", (4, 3), "F32", 48, 0),
        ("blk.0.attn_q.weight", (4, 4), "F16", 32, 64),
    ]
    assert layout.size == len(SMALL)
    assert layout.geometry().layers[0].key_width == 4
    assert layout.weights().total == 80


@pytest.mark.parametrize("name", ["solder", "random"])
def test_files_are_read_as_by_the_reference(name: str, tmp_path: Path) -> None:
    path = find_model("solder").path if name == "solder" else write_random(tmp_path / "m.gguf", shape=Shape())
    layout, reference = read_layout(path), gguf.GGUFReader(path)
    keys = [key for key in reference.fields if not key.startswith("GGUF.")]
    assert list(layout.metadata) == keys
    for key in keys:
        assert layout.value(key) == reference.fields[key].contents(), key
    assert [(t.name, t.shape, t.kind, t.size, layout.parts[0].data_offset + t.offset) for t in layout.tensors] == [
        (t.name, tuple(int(n) for n in t.shape), t.tensor_type.name, int(t.n_bytes), int(t.data_offset))
        for t in reference.tensors
    ]


def test_another_alignment(tmp_path: Path) -> None:
    tensors = [(tensor("a.weight", (4,), 0, 0), bytes(16)), (tensor("b.weight", (4,), 0, 128), bytes(16))]
    metadata = [ARCHITECTURE, entry("general.alignment", 4, u32(128))]
    layout = layout_of(tmp_path, gguf_bytes(metadata, tensors, alignment=128))
    assert (layout.alignment, layout.parts[0].data_offset % 128, layout.tensors[1].offset) == (128, 0, 128)


def test_long_values_are_read_when_asked_for(tmp_path: Path) -> None:
    long = "x" * 300_000
    tokens = [str(i) * (i % 50) for i in range(20_000)] + ["y" * 300_000, "z"]
    metadata = [
        ARCHITECTURE,
        entry("a.template", 8, text(long)),
        entry("a.tokens", 9, array(8, len(tokens), b"".join(text(token) for token in tokens))),
        entry("a.scores", 9, array(6, 20_000, struct.pack("<20000f", *range(20_000)))),
        entry("a.after", 4, u32(5)),
    ]
    layout = layout_of(tmp_path, gguf_bytes(metadata))
    assert [layout.metadata[key].read for key in ("a.template", "a.tokens", "a.scores")] == [None] * 3
    assert layout.value("a.after") == 5
    assert layout.value("a.template") == long
    assert layout.value("a.tokens") == tokens
    assert layout.value("a.scores") == list(range(20_000))
    (tmp_path / "m.gguf").write_bytes(SMALL[:40])
    with pytest.raises(InputError):  # it is not the file any more
        layout.value("a.tokens")


# What is broken, and where.

KEY = len("GGUF") + 4 + 8 + 8  # where the first key is


def broken(path: Path, raw: bytes) -> InputError:
    """The error of reading `raw`, which has the code, the exit code and a byte offset."""
    with pytest.raises(InputError) as caught:
        layout_of(path, raw)
    error = caught.value
    assert (error.code, error.exit_code) == ("model_unreadable", 2) and error.remedy
    assert re.search(r"at byte \d+, ", error.message), error.message
    return error


def test_a_file_cut_at_any_byte_is_found(tmp_path: Path) -> None:
    for kept in range(len(SMALL)):
        error = broken(tmp_path, SMALL[:kept])
        told = re.search(r"at byte (\d+)", error.message)
        assert told is not None and int(told[1]) <= kept


@pytest.mark.parametrize(
    ("raw", "at", "word"),
    [
        (gguf_bytes(magic=b"GGML"), 0, "begins with b'GGML'"),
        (gguf_bytes(version=1), 4, "version 1 is not known"),
        (gguf_bytes(version=4), 4, "version 4 is not known"),
        (gguf_bytes(version=3 << 24), 4, "big-endian"),
        (gguf_bytes(tensor_count=1 << 63), 8, "entries of tensors"),
        (gguf_bytes(tensor_count=MOST_TENSORS + 1), 8, "entries of tensors"),
        (gguf_bytes(tensor_count=1000), 8, "bytes can hold"),
        (gguf_bytes(key_count=KEYS + 1), 16, "entries of metadata"),
        (gguf_bytes(key_count=1 << 62), 16, "entries of metadata"),
        (gguf_bytes([u64(1 << 60)]), KEY, "a key claims"),
        (gguf_bytes([entry(b"\xff\xfe", 4, u32(1))]), KEY + 8, "a key is not UTF-8"),
        (gguf_bytes([entry("a", 4, u32(1)), entry("a", 4, u32(1))]), KEY + 17, "'a' is given twice"),
        (gguf_bytes([entry("a", 13, u32(1))]), KEY + 9, "unknown type 13"),
        (gguf_bytes([entry("a", 8, u64((1 << 64) - 1))]), KEY + 13, "a claims 18446744073709551615 bytes"),
        (gguf_bytes([entry("a", 8, text(b"\xc3"))]), KEY + 21, "a is not UTF-8"),
        (gguf_bytes([entry("a", 9, array(9, 1, array(4, 1, u32(1))))]), KEY + 13, "an array of arrays"),
        (gguf_bytes([entry("a", 9, array(77, 1, b""))]), KEY + 13, "unknown type 77"),
        (gguf_bytes([entry("a", 9, array(4, 1 << 62, b""))]), KEY + 25, "an array of 4611686018427387904"),
        (gguf_bytes([entry("a", 9, array(8, 1 << 62, b""))]), KEY + 25, "an array of 4611686018427387904"),
        (gguf_bytes([entry("a", 9, array(8, 2, text("b") + u64(1 << 50)))]), KEY + 34, "a string of a claims"),
        (gguf_bytes([entry("general.alignment", 4, u32(33))]), KEY + 29, "no power of two"),
        (gguf_bytes([entry("general.alignment", 4, u32(0))]), KEY + 29, "no power of two"),
        (gguf_bytes([entry("general.alignment", 10, u64(32))]), KEY + 29, "no power of two"),
    ],
)
def test_broken_metadata(raw: bytes, at: int, word: str, tmp_path: Path) -> None:
    error = broken(tmp_path, raw)
    assert word in error.message and f"at byte {at}," in error.message


INFO = KEY + len(ARCHITECTURE)  # where the first tensor is told


@pytest.mark.parametrize(
    ("tensors", "at", "word"),
    [
        ([tensor("x" * 64, (4,), 0, 0)], INFO, "claims 64 bytes, more than 63"),
        ([tensor(b"\xff", (4,), 0, 0)], INFO + 8, "not UTF-8"),
        ([tensor("a", (1, 1, 1, 1, 4), 0, 0)], INFO + 9, "claims 5 dimensions"),
        ([tensor("a", (4, 0), 0, 0)], INFO + 13, "the shape of 'a' is [4, 0]"),
        ([tensor("a", (1 << 32, 1 << 32), 0, 0)], INFO + 13, "the shape of 'a'"),
        ([tensor("a", (1 << 63,), 0, 0)], INFO + 13, "the shape of 'a'"),
        ([tensor("a", (4,), 4, 0)], INFO + 21, "unknown type 4"),
        ([tensor("a", (4,), 2, 0)], INFO + 21, "no whole number of Q4_0's 32"),
        ([tensor("a", (4,), 0, 32)], INFO + 25, "lie at 32 and not at 0"),
        ([tensor("a", (4,), 0, 0), tensor("b", (4,), 0, 0)], INFO + 58, "lie at 0 and not at 32"),
        ([tensor("a", (4,), 0, 0), tensor("b", (4,), 0, (1 << 64) - 32)], INFO + 58, "and not at 32"),
        ([tensor("a", (4,), 0, 0), tensor("a", (4,), 0, 32)], INFO + 33, "two tensors 'a'"),
    ],
)
def test_broken_tensors(tensors: list[bytes], at: int, word: str, tmp_path: Path) -> None:
    error = broken(tmp_path, gguf_bytes([ARCHITECTURE], [(info, bytes(32)) for info in tensors]))
    assert word in error.message and f"at byte {at}," in error.message


def test_data_that_is_not_there(tmp_path: Path) -> None:
    raw = gguf_bytes([ARCHITECTURE], [(tensor("a", (1 << 40,), 0, 0), bytes(32))])
    assert f"at byte {len(raw)}, the file ends here" in broken(tmp_path, raw).message


def test_no_architecture_or_no_tensors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"general\.architecture"):
        layout_of(tmp_path, gguf_bytes([entry("a", 4, u32(1))])).geometry()
    (tmp_path / "empty.gguf").write_bytes(gguf_bytes(METADATA, []))
    with pytest.raises(InputError, match="tensor data is missing"):
        GGUFHeader(tmp_path / "empty.gguf")


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("tokens", u32(4) + u32(7), "is no array of str"),
        ("tokens", u32(9) + array(4, 1, u32(7)), "is no array of str"),
        ("token_type", u32(9) + array(8, 1, text("a")), "is no array of int"),
        ("token_type", u32(9) + array(5, 1, u32(1)), "its vocabulary"),
    ],
)
def test_a_vocabulary_that_is_none(key: str, value: bytes, word: str, tmp_path: Path) -> None:
    metadata = [entry for entry in METADATA if key.encode() not in entry]
    (tmp_path / "m.gguf").write_bytes(gguf_bytes([*metadata, text(f"tokenizer.ggml.{key}") + value]))
    with pytest.raises(InputError, match=word):
        GGUFHeader(tmp_path / "m.gguf").vocabulary.size  # noqa: B018


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "absent", Path("/dev/zero"), tmp_path / "a\0b"):
        with pytest.raises(InputError) as caught:
            read_layout(path)
        assert caught.value.code == "model_unreadable"


# Hostile files neither crash nor take memory or time.


@contextmanager
def bounded(memory: int) -> Iterator[None]:
    """At most `memory` bytes more, and 10 seconds of processor time (a tenth of it is usual)."""
    tracemalloc.start()
    begun = time.process_time()
    try:
        yield
    finally:
        took = time.process_time() - begun
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < memory, f"{peak} bytes"
    assert took < 10, f"{took} s"


def sparse(path: Path, head: bytes, size: int = 1 << 40) -> Path:
    """A file of `size` bytes that takes no disk: `head`, then zeros."""
    path = path / "sparse.gguf"
    path.write_bytes(head)
    os.truncate(path, size)
    return path


@pytest.mark.parametrize(
    "head",
    [
        gguf_bytes([ARCHITECTURE, entry("a", 9, array(8, STRINGS + 1, b""))], []),
        gguf_bytes([ARCHITECTURE, entry("a", 9, array(8, STRINGS // 8, b""))], [], key_count=64),
        gguf_bytes([ARCHITECTURE, entry("a", 9, array(0, 1 << 39, b""))], []),
        gguf_bytes([ARCHITECTURE, entry("a", 8, u64(1 << 39))], []),
        gguf_bytes([ARCHITECTURE, entry("a", 9, array(12, 1 << 26, b""))], []),
        gguf_bytes([], [], key_count=KEYS),
        gguf_bytes([ARCHITECTURE], [], tensor_count=MOST_TENSORS),
        gguf_bytes([ARCHITECTURE], [(tensor("a", (1 << 62,), 0, 0), b"")]),
    ],
    ids=["strings", "more strings", "bytes", "text", "doubles", "keys", "tensors", "data"],
)
def test_a_terabyte_of_zeros(head: bytes, tmp_path: Path) -> None:
    path = sparse(tmp_path, head)
    with bounded(24 << 20), pytest.raises(InputError, match="at byte"):
        read_layout(path)


def test_many_small_values_stay_small(tmp_path: Path) -> None:
    """Values read at once are bounded together: four thousand arrays of four thousand bytes are 16 MB."""
    entries = [entry(f"k{i}", 9, array(0, 4000, bytes(4000))) for i in range(KEYS)]
    path = tmp_path / "m.gguf"
    path.write_bytes(gguf_bytes(entries))
    with bounded(24 << 20):
        layout = read_layout(path)
    assert sum(value.read is not None for value in layout.metadata.values()) < 300
    assert layout.value("k4000") == [0] * 4000


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid file with some bytes or numbers replaced, stretches removed, doubled or cut off."""
    raw = bytearray(SMALL)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw) - 1))
        match draw(st.sampled_from(["byte", "number", "remove", "double", "cut"])):
            case "byte":
                raw[at] = draw(st.integers(0, 255))
            case "number":
                number = draw(st.sampled_from([0, 1, 2, 31, 255, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 64) - 1]))
                raw[at : at + 8] = u64(number)
            case "remove":
                del raw[at : at + draw(st.integers(1, 16))]
            case "double":
                raw[at:at] = raw[at : at + draw(st.integers(1, 32))]
            case _:
                del raw[at + 1 :]
    return bytes(raw)


@st.composite
def composed(draw: st.DrawFn) -> bytes:
    """A file put together of well-formed parts that need not fit."""
    numbers = st.one_of(st.integers(0, 40), st.sampled_from([1 << 16, 1 << 31, 1 << 32, 1 << 62, (1 << 64) - 1]))
    names = st.one_of(st.binary(max_size=70), st.sampled_from([b"llama.block_count", b"split.count", b"split.no"]))
    values = st.one_of(
        st.binary(max_size=16),
        st.builds(text, st.binary(max_size=40)),
        st.builds(array, st.integers(0, 14), numbers, st.binary(max_size=64)),
    )
    entries = draw(st.lists(st.builds(entry, names, st.integers(0, 13), values), max_size=6))
    infos = st.builds(tensor, names, st.lists(numbers, max_size=5), st.integers(0, 42), numbers)
    tensors = draw(st.lists(st.tuples(infos, st.binary(max_size=64)), max_size=3))
    counts = st.one_of(st.none(), numbers)
    whole = draw(st.booleans())
    return gguf_bytes(
        [*(METADATA if whole else ()), *entries],
        [*(TENSORS if whole else ()), *tensors],
        version=draw(st.sampled_from([2, 3, 3, 3, 0])),
        tensor_count=draw(counts),
        key_count=draw(counts),
    )


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.one_of(mutated(), composed(), st.binary(max_size=300), st.builds(SMALL.__add__, st.binary(max_size=40))))
@example(raw=SMALL)
def test_hostile_files_are_read_or_refused(raw: bytes, tmp_path: Path) -> None:
    with bounded(4 << 20):
        try:
            layout = layout_of(tmp_path, raw)
            for key in layout.metadata:
                layout.value(key)
            layout.geometry()
            layout.weights()
            header = GGUFHeader(tmp_path / "m.gguf")
            assert header.vocabulary.size and header.merges is not None
        except InputError as error:
            assert error.code == "model_unreadable"
            assert len(error.message) < 1000


# Split files.


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """The parts of a small model, split by the reference's writer."""
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "qwen3", split_max_tensors=10)
    whole = gguf.GGUFReader(write_random(tmp_path / "whole.gguf"))
    for field in whole.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            writer.add_key_value(
                field.name, field.contents(), field.types[0], field.types[-1] if len(field.types) > 1 else None
            )
    for t in whole.tensors:
        writer.add_tensor(t.name, t.data, raw_dtype=t.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found = sorted(tmp_path.glob("m-*.gguf"))
    assert len(found) > 2
    return found


def test_a_split_file_is_one_model(parts: list[Path], tmp_path: Path) -> None:
    whole = read_layout(tmp_path / "whole.gguf")
    for part in parts:  # any will do
        layout = read_layout(part)
        assert layout.geometry() == whole.geometry()
        assert layout.weights() == whole.weights()
        assert layout.value("tokenizer.ggml.tokens") == whole.value("tokenizer.ggml.tokens")
        assert [t.name for t in layout.tensors] == [t.name for t in whole.tensors]
        assert [p.source for p in layout.parts] == parts
        assert layout.size == sum(p.stat().st_size for p in parts)
    first = layout.tensors[0]
    last = layout.tensors[-1]
    assert (first.part, last.part) == (0, len(parts) - 1)
    assert GGUFHeader(parts[0]).vocabulary.size == whole.count("tokenizer.ggml.tokens")


def test_a_missing_part_is_named(parts: list[Path]) -> None:
    parts[1].unlink()
    with pytest.raises(InputError, match=rf"part 2 of {len(parts)} is missing: {re.escape(str(parts[1]))}") as caught:
        read_layout(parts[0])
    assert (caught.value.code, caught.value.exit_code) == ("model_unreadable", 2)


def test_parts_that_are_not_what_they_say(parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not end in"):
        read_layout(parts[0].rename(tmp_path / "renamed.gguf"))
    (tmp_path / "renamed.gguf").rename(parts[0])
    second = parts[1].read_bytes()
    parts[1].write_bytes(parts[2].read_bytes())
    with pytest.raises(InputError, match="it does not say that it is part 1"):
        read_layout(parts[0])
    with pytest.raises(InputError, match="says it is part 2"):
        read_layout(parts[1])
    parts[1].write_bytes(second[:-1000])
    with pytest.raises(InputError, match="the file ends here"):
        read_layout(parts[0])


@pytest.mark.parametrize("count", [1 << 15, 3])
def test_a_split_that_cannot_be(count: int, tmp_path: Path) -> None:
    name = tmp_path / f"m-00001-of-{count:05d}.gguf"
    name.write_bytes(
        gguf_bytes([ARCHITECTURE, entry("split.no", 2, b"\0\0"), entry("split.count", 4, u32(count))], TENSORS)
    )
    with pytest.raises(InputError, match="more than 1000" if count > 3 else "part 2 of 3 is missing"):
        read_layout(name)


def test_names_of_parts() -> None:
    assert part_names("/a/b-00002-of-00002.gguf", 2) == ["/a/b-00001-of-00002.gguf", "/a/b-00002-of-00002.gguf"]
    assert part_names("/a/b-00002-of-00003.gguf", 2) is None
    assert part_names("/a/b.gguf", 2) is None


# By ranges.


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever proxy the environment names, loopback is not behind it."""
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serving({"/m.gguf": SMALL}) as server:
        yield server


def refused(url: str, word: str) -> None:
    with pytest.raises(InputError, match=word) as caught:
        read_layout(url)
    assert (caught.value.code, caught.value.exit_code) == ("url_unreadable", 2)


def test_a_header_is_read_by_ranges(tmp_path: Path) -> None:
    """Of 40 MB with a header of 6 only the header is fetched, in few requests."""
    tokens = b"".join(text(f"token {i}") for i in range(320_000))
    metadata = [*METADATA[:-1], entry("tokenizer.ggml.tokens", 9, array(8, 320_000, tokens))]
    raw = gguf_bytes(metadata, [(tensor("a", (32_000_000,), 24, 0), bytes(32_000_000))])
    with serving({"/m.gguf": raw}) as server:
        layout = read_layout(f"{server.url}/m.gguf?sig=secret")
        assert layout.size == len(raw)
        assert len(server.requests) <= 4
        assert sum(b - a + 1 for a, b in (map(int, r[1]["range"][6:].split("-")) for r in server.requests)) < 12e6
        assert layout.count("tokenizer.ggml.tokens") == 320_000
        before = len(server.requests)
        assert layout.geometry().vocabulary == 320_000
        assert len(server.requests) == before  # nothing more is fetched for that
        assert layout.value("tokenizer.ggml.tokens")[-1] == "token 319999"


def test_split_files_by_ranges(parts: list[Path]) -> None:
    with serving({f"/a/{part.name}": part.read_bytes() for part in parts}) as server:
        layout = read_layout(f"{server.url}/a/{parts[1].name}")
        assert layout.weights() == read_layout(parts[0]).weights()
        del server.files[f"/a/{parts[2].name}"]
        refused(f"{server.url}/a/{parts[0].name}", parts[2].name + ".*404")


def test_a_token_stays_with_its_host(hub: FakeHub) -> None:
    with serving({"/elsewhere": SMALL}) as other:
        hub.moved["/r.gguf"] = f"{other.url}/elsewhere"  # another port is another host too
        layout = read_layout(f"{hub.url}/r.gguf", token="secret")
        assert layout.size == len(SMALL)
        assert hub.requests[0][1]["authorization"] == "Bearer secret"
        assert all("secret" not in str(headers) for _, headers in other.requests) and other.requests
        assert "secret" not in repr(layout)
    hub.moved["/round.gguf"] = "/round.gguf"
    refused(f"{hub.url}/round.gguf", "redirects")


def test_what_a_server_can_do_wrong(hub: FakeHub) -> None:
    url = f"{hub.url}/m.gguf"
    refused(f"{hub.url}/other.gguf", "answers 404")
    hub.ranges = False
    refused(url, "does not give ranges")
    hub.ranges = True
    hub.cut = 10
    refused(url, "cannot be read")
    hub.cut = 0
    for told in ("bytes 5-9/100", "bytes 0-1/*", "bytes 0-999999/20", "nonsense", f"bytes 0-{(1 << 62)}/{1 << 63}"):
        hub.told = told
        refused(url, "range|gives bytes")
    hub.told = None
    assert read_layout(url).size == len(SMALL)
    refused("http://127.0.0.1:1/m.gguf", "ConnectError")
    refused("http://", "cannot be read")
    refused("http://user:secret@127.0.0.1:1/m.gguf?key=secret", r"^http://127.0.0.1:1/m.gguf cannot")


@pytest.mark.parametrize("tag", ['"one"', 'W/"one"', None])
def test_a_file_that_changes_between_two_ranges_is_found(tag: str | None) -> None:
    tokens = b"".join(text(f"token {i}") for i in range(150_000))
    metadata = [*METADATA[:-1], entry("tokenizer.ggml.tokens", 9, array(8, 150_000, tokens))]
    raw = gguf_bytes(metadata)
    with serving({"/m.gguf": raw}) as server:
        server.tag, server.after, server.changed = tag, 1, {"/m.gguf": raw + b"more"}
        refused(f"{server.url}/m.gguf", "changed between two requests")
        assert len(server.requests) == 2


def test_a_broken_file_behind_a_url_says_where(hub: FakeHub) -> None:
    hub.files["/m.gguf"] = SMALL[:100]
    with pytest.raises(InputError, match=r"at byte \d+") as caught:
        read_layout(f"{hub.url}/m.gguf")
    assert caught.value.code == "model_unreadable"
