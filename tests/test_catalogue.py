"""The catalogue: every entry sound, every number vouched for, names that mean one model and no other."""

import re
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tinsmith.errors import InputError, MachineError
from tinsmith.models import (
    CardError,
    Entry,
    card_of_file,
    card_of_served,
    cards,
    claims,
    claims_about,
    comparison,
    entries,
    entry_named,
    find_entry,
    find_model,
    quant_memory,
    quant_sizes,
    usual_quant,
)
from tinsmith.models.catalogue_schema import parse_entry
from tinsmith.models.claims import parse_claims
from tinsmith.models.random_weights import Shape, write_random

FOLDER = files("tinsmith.models").joinpath("catalogue")
EVERY = pytest.mark.parametrize("entry", entries().values(), ids=list(entries()))

KV = {
    # Bytes per token at f16, state in MiB, GiB at 32K, 64K, 128K, 256K: research on the models, October 2026.
    "devstral-small-2505": (163_840, 0, 5.0, 10.0, 20.0, 40.0),
    "devstral-small-2507": (163_840, 0, 5.0, 10.0, 20.0, 40.0),
    "devstral-small-2-24b": (163_840, 0, 5.0, 10.0, 20.0, 40.0),
    "devstral-2-123b": (360_448, 0, 11.0, 22.0, 44.0, 88.0),
    "qwen3-coder-30b-a3b": (98_304, 0, 3.0, 6.0, 12.0, 24.0),
    "qwen3-coder-480b-a35b": (253_952, 0, 7.75, 15.5, 31.0, 62.0),
    "qwen3-coder-next": (24_576, 72, 0.75, 1.5, 3.0, 6.0),
    "qwen3.6-35b-a3b": (20_480, 60, 0.63, 1.25, 2.5, 5.0),
    "qwen3.6-27b": (65_536, 144, 2.0, 4.0, 8.0, 16.0),
    "qwen3.8-27b": (65_536, 144, 2.0, 4.0, 8.0, 16.0),
    "glm-4.7-flash": (54_144, 0, 1.65, 3.3, 6.6),
    "gpt-oss-20b": (24_576, 0, 0.75, 1.5, 3.0),
}
PARAMETERS = {"qwen3-coder-30b-a3b": 30.532, "qwen3-coder-480b-a35b": 480.15, "gpt-oss-20b": 20.9}
"""Thousand millions, as published."""


@EVERY
def test_an_entry_is_sound(entry: Entry) -> None:
    assert entry.id == entry.id.lower() and FOLDER.joinpath(f"{entry.id}.toml").is_file()
    assert entry.parameters is not None and entry.parameters.active <= entry.parameters.total
    assert entry.window.extended == 0 or entry.window.extended > entry.window.native
    assert entry.is_built_in == (entry.id == "solder")
    assert entry.is_built_in or (entry.released and entry.scores), "a model without a score is no choice"
    card = cards()[entry.id]
    assert (card.id, card.name, card.licence, card.file) == (entry.id, entry.name, entry.licence, entry.run.file)
    assert card.context_trained == entry.context_native and (not card.context_trained or card.context <= 262_144)
    assert all(use and why for use, why in entry.uses.items())


def vouched(table: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every table with numbers in it, but those whose numbers its parent vouches for."""
    if isinstance(table, dict):
        inside = path.startswith(("geometry.", "run.")) and not path.startswith("run.sampling")
        if path and not inside and any(isinstance(v, (int, float)) and v is not True for v in table.values()):
            yield path, table
        for key, value in table.items():
            yield from vouched(value, f"{path}.{key}" if path else key)
    elif isinstance(table, list):
        for row in table:
            yield from vouched(row, path)


@EVERY
def test_every_number_says_who_when_and_where(entry: Entry) -> None:
    raw = tomllib.loads(FOLDER.joinpath(f"{entry.id}.toml").read_text())
    tables = [(path, table) for path, table in vouched(raw, "") if path != "run"]
    assert {"parameters"} <= {path for path, _ in tables}
    for path, table in tables:
        assert {"by", "date", "source"} <= table.keys(), path
        assert re.fullmatch(r"(seen )?20\d\d-\d\d(-\d\d)?", table["date"]), path
    assert all(trap.source for trap in entry.traps)


@pytest.mark.parametrize(("name", "row"), KV.items())
def test_the_cache_is_that_of_the_research(name: str, row: tuple[float, ...]) -> None:
    geometry = entries()[name].geometry
    assert geometry is not None
    per_token, state, *sizes = row
    assert geometry.cache_bytes_per_token() == per_token
    # The research rounds the state of the delta net down to its squares, without the convolution.
    assert state <= geometry.state_bytes() / 2**20 <= state * 1.06
    sliding = sum(
        2 * 1024 * (layer.key_width + layer.value_width) for layer in geometry.layers if layer.kind == "sliding"
    )
    for tokens, size in zip((32, 64, 128, 256), sizes, strict=False):
        grown = geometry.cache_bytes(tokens * 1024) - geometry.state_bytes()
        assert size - 0.01 <= grown / 2**30 <= size + 0.01 + sliding / 2**30, f"{tokens}K"
    assert set(entries()) - KV.keys() == {"kat-coder-v2.5-dev", "laguna-xs-2.1", "muse-glimmer-30b", "solder"}


@pytest.mark.parametrize(("name", "parameters"), PARAMETERS.items())
def test_the_geometry_gives_the_published_parameters(name: str, parameters: float) -> None:
    found = dict(comparison([entries()[name]]))["Parameters"][0]
    assert abs(float(found.split()[0]) - parameters) < 0.06


def test_published_sizes_stand_and_the_others_are_computed() -> None:
    coder, devstral = (quant_sizes(entries()[name]) for name in ("qwen3-coder-30b-a3b", "devstral-small-2-24b"))
    assert (coder["Q4_K_M"].bytes, coder["Q6_K"].bytes, devstral["Q4_K_M"].bytes) == (
        18_556_689_568,
        25_092_535_456,
        14_334_438_272,
    )
    assert coder["Q4_K_M"].exact and (coder["Q2_K"].by, coder["Q2_K"].exact) == ("computed", False)
    for name, size in {"Q2_K": 11.26, "IQ4_XS": 16.37, "Q4_K_S": 17.46, "BF16": 61.1}.items():
        assert abs(coder[name].bytes / 1e9 / size - 1) < 0.005, name
    assert list(coder) == sorted(coder, key=lambda name: coder[name].bytes)
    assert list(quant_sizes(entries()["gpt-oss-20b"])) == ["MXFP4"], "it was trained in MXFP4"
    assert usual_quant(entries()["qwen3.6-35b-a3b"]) == "UD-Q4_K_M"


def test_memory_is_more_than_file_and_cache_and_not_much_more() -> None:
    entry = entries()["devstral-small-2-24b"]
    needed = quant_memory(entry, "Q4_K_M", 16_384)
    known = 14_334_438_272 + 16_384 * 163_840
    assert known < needed < known * 1.06
    assert quant_memory(entries()["laguna-xs-2.1"], "Q4_K_M", 16_384) == 0, "its shape is not known"
    assert quant_memory(entry, "no-such", 16_384) == 0


NAMES = {
    "Devstral-Small-2-24B-Instruct-2512": "devstral-small-2-24b",
    "Devstral Small 2 24B Instruct 2512": "devstral-small-2-24b",
    "mistralai/Devstral-Small-2-24B-Instruct-2512": "devstral-small-2-24b",
    "mistralai_Devstral-Small-2-24B-Instruct-2512-Q4_K_M.gguf": "devstral-small-2-24b",
    "Devstral-Small-2-24B-Instruct-2512-UD-Q4_K_XL.gguf": "devstral-small-2-24b",
    "Devstral-Small-2-24B-Instruct-2512-IQ3_S-2.67bpw.gguf": "devstral-small-2-24b",
    "unsloth/Devstral-Small-2-24B-Instruct-2512-GGUF": "devstral-small-2-24b",
    "devstral-small-2:24b": "devstral-small-2-24b",
    "devstral-small-2:24b-instruct-2512-q4_K_M": "devstral-small-2-24b",
    "Devstral-Small-2507": "devstral-small-2507",
    "Devstral-Small-2507-Q4_K_M.gguf": "devstral-small-2507",
    "mistralai/Devstral-Small-2507_gguf": "devstral-small-2507",
    "Devstral Small 2505": "devstral-small-2505",
    "mistralai_Devstral-Small-2505-Q6_K.gguf": "devstral-small-2505",
    "devstral:24b": "devstral-small-2505",
    "Devstral-2-123B-Instruct-2512-Q4_K_M-00001-of-00002.gguf": "devstral-2-123b",
    "Qwen3-Coder-30B-A3B-Instruct": "qwen3-coder-30b-a3b",
    "Qwen3 Coder 30B A3B Instruct": "qwen3-coder-30b-a3b",
    "Qwen_Qwen3-Coder-30B-A3B-Instruct-IQ4_XS.gguf": "qwen3-coder-30b-a3b",
    "hf.co/unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF:UD-Q4_K_XL": "qwen3-coder-30b-a3b",
    "Qwen3-Coder-30B-A3B-Instruct-Q3_K_S-2.69bpw.gguf": "qwen3-coder-30b-a3b",
    "/models/Qwen3-Coder-30B-A3B-Instruct.i1-Q4_K_M.gguf": "qwen3-coder-30b-a3b",
    "qwen3-coder:30b": "qwen3-coder-30b-a3b",
    "Qwen3-Coder-480B-A35B-Instruct-Q4_K_M-00001-of-00008.gguf": "qwen3-coder-480b-a35b",
    "Qwen/Qwen3-Coder-Next": "qwen3-coder-next",
    "Qwen3.6-35B-A3B-UD-Q4_K_M.gguf": "qwen3.6-35b-a3b",
    "Qwen3.8-27B": "qwen3.8-27b",
    "GLM-4.7-Flash-Q4_K_M.gguf": "glm-4.7-flash",
    "zai-org/GLM-4.7-Flash": "glm-4.7-flash",
    "openai/gpt-oss-20b": "gpt-oss-20b",
    "gpt-oss-20b-MXFP4.gguf": "gpt-oss-20b",
    "Kwaipilot_KAT-Coder-V2.5-Dev-Q8_0.gguf": "kat-coder-v2.5-dev",
    "poolside/Laguna-XS-2.1-GGUF": "laguna-xs-2.1",
    "Muse-Glimmer-30B-UD-Q4_K_XL.gguf": "muse-glimmer-30b",
    "solder": "solder",
}
STRANGERS = (
    "Devstral-Small-2509",
    "Devstral-Small",
    "devstral",
    "Devstral-Small-2-24B-Instruct-2512-abliterated-Q4_K_M.gguf",
    "mmproj-Devstral-Small-2-24B-Instruct-2512-F16.gguf",
    "Devstral-Medium-2507",
    "Mistral-Small-3.1-24B-Instruct-2503",
    "Qwen3-30B-A3B-Instruct-2507",
    "Qwen3-Coder-REAP-25B-A3B",
    "Qwen3-Coder-30B-A3B-Instruct-Distill",
    "Qwen3-Coder",
    "Qwen3.5-27B",
    "Qwen3.6-27B-DFlash-Q8_0.gguf",
    "Qwen3-Next-80B-A3B-Instruct",
    "gpt-oss-120b",
    "GLM-4.7",
    "Laguna-S-2.1",
    "model.gguf",
    "Q4_K_M.gguf",
    "",
)


@pytest.mark.parametrize(("name", "id"), NAMES.items())
def test_a_name_means_its_model(name: str, id: str) -> None:
    found = entry_named(name)
    assert found is not None and found.id == id
    card = card_of_served("no-such-model", name)
    assert card is not None and card.id == id


@pytest.mark.parametrize("name", STRANGERS)
def test_a_name_means_no_other_model(name: str) -> None:
    assert entry_named(name) is None


def test_no_name_means_two_models() -> None:
    names = [name for entry in entries().values() for name in (entry.id, *entry.names)]
    tags = [tag for entry in entries().values() for tag in entry.ollama]
    assert len(set(names)) == len(names) and len(set(tags)) == len(tags)
    assert all(entry_named(name) is not None for name in (*names, *tags))


@pytest.mark.parametrize(
    ("name", "file", "id"),
    [
        ("Devstral-Small-2-24B-Instruct-2512", "model.gguf", "devstral-small-2-24b"),
        ("Devstral Small 2507", "Devstral-Small-2507-Q4_K_M.gguf", "devstral-small-2507"),
        ("model", "Qwen3-Coder-30B-A3B-Instruct-Q4_K_M.gguf", "qwen3-coder-30b-a3b"),
        ("Devstral Small 2507", "Devstral-Small-2505-Q4_K_M.gguf", "default"),
        ("my fine-tune", "fine-tune.gguf", "default"),
        ("random", "solder.gguf", "default"),
        ("Solder", "random.gguf", "solder"),
    ],
)
def test_a_file_gets_the_card_of_its_model(tmp_path: Path, name: str, file: str, id: str) -> None:
    path = write_random(tmp_path / file, shape=Shape(layers=1, d_model=32, heads=2, kv_heads=1, ffn=32), name=name)
    card = card_of_file(path)
    assert card.id == id and find_model(str(path)).card == card
    if id == "devstral-small-2-24b":
        assert (card.sampling.temperature, card.dialect, card.edit_domain, card.file) == (
            0.15,
            "mistral-v13",
            "free",
            None,
        )


def test_an_unknown_model_is_told_what_is_like_it() -> None:
    with pytest.raises(InputError) as caught:
        find_entry("qwen3-codr-30b")
    assert (caught.value.code, caught.value.exit_code) == ("model_unknown", 2)
    assert "qwen3-coder-30b-a3b" in caught.value.remedy
    assert find_entry("qwen3-coder-30b").id == "qwen3-coder-30b-a3b"


def test_a_known_model_without_a_file_says_what_to_pull(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINSMITH_STATE_DIR", str(tmp_path))
    with pytest.raises(MachineError) as caught:
        find_model("qwen3-coder-30b-a3b")
    assert (caught.value.code, caught.value.exit_code) == ("model_missing", 3)
    assert "models pull qwen3-coder-30b-a3b" in caught.value.remedy
    assert re.search(r"\([\w.-]+, [\d.]+ GB\), (which fits|but no quant of it is of use) here", caught.value.remedy)


def test_claims_are_tied_to_models() -> None:
    assert all(set(claim.models) <= entries().keys() and claim.truth and claim.source for claim in claims())
    assert {claim.verdict for claim in claims()} == {"wrong", "wrong model", "imprecise", "true"}
    assert len(claims()) == 14 and len({claim.id for claim in claims()}) == 14
    about = {claim.id for claim in claims_about("qwen3-coder-30b-a3b")}
    assert "4-gb-since-3b-active" in about and "46.8-is-2505" not in about
    with pytest.raises(CardError, match=r"claims\[0\].verdict"):
        parse_claims('[[claims]]\nid = "x"\nclaim = "c"\nverdict = "maybe"\ntruth = "t"\nmodels = ["m"]\nsource = "s"')


ENTRY = """
id = "x"
name = "X"
family = "x"
vendor = "V"
released = "2026-01-02"
licence = "MIT"
summary = "S."
thinking = "no"
names = ["x-1"]
[context]
native = 1024
by = "vendor"
date = "2026-01"
source = "card"
[geometry]
architecture = "llama"
d_model = 64
heads = 2
head_size = 32
vocabulary = 100
feed_forward = 128
by = "computed"
date = "seen 2026-10"
source = "config"
[[geometry.layers]]
count = 2
kind = "sliding"
key_width = 32
value_width = 32
window = 128
[run]
dialect = "auto"
[[quants]]
name = "Q4_K_M"
bytes = 100
by = "vendor"
date = "2026-01"
source = "hub"
[[scores]]
benchmark = "B"
value = 50.0
scaffold = "none"
by = "vendor"
date = "2026-01"
source = "card"
[[uses]]
use = "local"
why = "because"
"""


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ("native = 1024", "native = 0", "context.native"),
        ("native = 1024", 'native = "1024"', "context.native"),
        ('by = "vendor"\ndate = "2026-01"\nsource = "card"\n[geometry]', "[geometry]", "context.by"),
        ('date = "seen 2026-10"', 'date = "lately"', "geometry.date"),
        ('released = "2026-01-02"', 'released = "2026-13"', "released"),
        ('kind = "sliding"', 'kind = "round"', r"geometry.layers\[0\].kind"),
        ("window = 128", "", r"geometry.layers\[0\].window"),
        ('kind = "sliding"\nkey_width = 32\nvalue_width = 32\nwindow = 128', 'kind = "recurrent"', "geometry.delta"),
        ("count = 2", "count = 2\ncolour = 1", r"geometry.layers\[0\].colour"),
        ('dialect = "auto"', 'dialect = "latin"', "run.dialect"),
        ("bytes = 100", "bytes = 100\nsha256 = 'abc'", r"quants\[0\].sha256"),
        ("value = 50.0", "value = 150.0", r"scores\[0\].value"),
        ('scaffold = "none"\n', "", r"scores\[0\].scaffold"),
        ('use = "local"', 'use = "fun"', r"uses\[0\].use"),
        ('names = ["x-1"]', "names = [1]", "names"),
        ('thinking = "no"', 'thinking = "often"', "thinking"),
        ('name = "X"', 'name = "X"\nmood = "good"', "mood"),
        ('id = "x"', 'id = "X y"', "id"),
        ('id = "x"', "id = ", "line"),
    ],
)
def test_a_faulty_entry_names_the_field(before: str, after: str, field: str) -> None:
    assert before in ENTRY and parse_entry(ENTRY).id == "x"
    with pytest.raises(CardError, match=field):
        parse_entry(ENTRY.replace(before, after, 1))


def test_the_place_of_a_quant_is_the_known_file_else_the_hubs_pattern() -> None:
    entry = entries()["qwen3-coder-30b-a3b"]
    known, guessed = entry.place_of("Q4_K_M"), entry.place_of("Q4_K_S")
    assert known is not None and known.sha256.startswith("fadc3e5f") and known.revision
    assert guessed is not None and (guessed.file, guessed.sha256) == (
        "Qwen3-Coder-30B-A3B-Instruct-Q4_K_S.gguf",
        "",
    )
    assert entries()["solder"].place_of("Q8_0") is None
