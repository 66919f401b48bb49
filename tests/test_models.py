"""Cards, the GGUF header, finding a model, random twins."""

from pathlib import Path

import pytest

from tinsmith.errors import InputError, MachineError
from tinsmith.models import CardError, GGUFHeader, cards, find_model, parse_card
from tinsmith.models.random_weights import CONTROL, DELIMITERS, Shape, write_random


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random(tmp_path_factory.mktemp("model") / "random.gguf", shape=Shape(context=2048))


def test_cards_keep_to_the_schema() -> None:
    solder, default = cards()["solder"], cards()["default"]
    assert (solder.edit_domain, solder.tools, solder.preamble_tokens, solder.context) == (
        "candidates",
        "terse",
        0,
        4096,
    )
    assert (default.file, default.edit_domain, default.tools, default.preamble_tokens) == (
        None,
        "free",
        "full",
        512,
    )


CARD = """
id = "x"
name = "X"
licence = "MIT"
dialect = "qwen-xml"
context = 10
tools = "full"
edit_domain = "free"
preamble_tokens = 1
[sampling]
temperature = 0
top_k = 0
top_p = 1.0
"""


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ("context = 10", "", "context"),
        ("context = 10", 'context = "10"', "context"),
        ("context = 10", "context = true", "context"),
        ("context = 10", "context = 0", "context"),
        ('"full"', '"all"', "tools"),
        ("top_p = 1.0", "top_p = 1.5", "sampling.top_p"),
        ("top_p = 1.0", "top_p = 1.0\nmin_p = 0.1", "sampling.min_p"),
        ('id = "x"', 'id = ""', "id"),
        ('id = "x"', 'id = "x"\ncolour = 1', "colour"),
    ],
)
def test_a_faulty_card_names_the_field(before: str, after: str, field: str) -> None:
    assert parse_card(CARD).id == "x"
    with pytest.raises(CardError, match=field):
        parse_card(CARD.replace(before, after))


def test_header(model: Path) -> None:
    header = GGUFHeader(model)
    vocabulary = header.vocabulary
    assert header.context_length == 2048
    assert {t.kind for t in header.tensors} == {"F32"}
    assert set(vocabulary.reserved) == {*CONTROL, *DELIMITERS}
    assert vocabulary.end_of_generation[0] == vocabulary.reserved["<|im_end|>"]
    assert vocabulary.ids_of_kind("control") == [vocabulary.reserved[text] for text in CONTROL]
    assert sorted(piece for piece in vocabulary.pieces if len(piece) == 1) == [bytes([b]) for b in range(256)]
    assert header.merges


def test_twin_has_the_same_vocabulary_and_other_weights(model: Path, tmp_path: Path) -> None:
    twin = write_random(tmp_path / "twin.gguf", like=model, context=4096, seed=1, name="Solder")
    a, b = GGUFHeader(model), GGUFHeader(twin)
    assert (a.vocabulary, a.merges, a.tensors) == (b.vocabulary, b.merges, b.tensors)
    assert b.context_length == 4096
    assert a.path.read_bytes()[-1000:] != b.path.read_bytes()[-1000:]
    assert find_model(str(twin)).card.id == "solder"  # it names the card
    assert find_model(str(model)).card.id == "default"


def test_environment_names_the_model(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINSMITH_MODEL", str(model))
    assert find_model(None).path == model.resolve()


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/file.gguf"])
def test_a_missing_model_exits_3(name: str) -> None:
    with pytest.raises(MachineError) as caught:
        find_model(name)
    assert (caught.value.code, caught.value.exit_code) == ("model_missing", 3)
    assert caught.value.remedy


@pytest.mark.parametrize("kept", [0, 3, 30, 500, 5000, -1000, -1])
def test_a_cut_file_exits_2(model: Path, tmp_path: Path, kept: int) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(model.read_bytes()[:kept])
    with pytest.raises(InputError) as caught:
        find_model(str(cut))
    assert (caught.value.code, caught.value.exit_code) == ("model_unreadable", 2)


def test_what_is_no_gguf_exits_2(tmp_path: Path) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a model " * 100)
    with pytest.raises(InputError):
        find_model(str(other))
