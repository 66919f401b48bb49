"""Which dialect a model file speaks, from what the file says of itself."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from tests.template_oracle import QWEN_RESERVED, TEMPLATES, template

from tinsmith.dialects import Detected, QwenThinking, QwenXml, detect_dialect, dialect_named, dialect_of
from tinsmith.models import CardError, GGUFHeader, cards, parse_card
from tinsmith.models.card import DialectName
from tinsmith.models.random_weights import TokenList, small_vocabulary, write_random

QWEN = frozenset(QWEN_RESERVED)
V7 = frozenset({"<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[TOOL_CONTENT]"})
V11 = V7 | {"[ARGS]", "[CALL_ID]"}
V13 = V7 | {"[ARGS]"}

V13_TEMPLATE = "{{ '[INST]' }}{{ '[TOOL_CALLS]' + f.name + '[ARGS]' + f.arguments|tojson }}"
V7_TEMPLATE = "{{ '[TOOL_CALLS]' }}{{ '[TOOL_RESULTS]' + id + '[TOOL_CONTENT]' + content }}"


PUBLISHED = {
    "qwen3-coder": "qwen-xml",
    "qwen3.5": "qwen-thinking",
    "qwen3.6": "qwen-thinking",
    "qwen3.8": "qwen-thinking",
    "mistral-small-3.2": "mistral-v11",
    "qwen3": "template",
    "smollm3": "template",
    "granite-4.0": "template",
    "gpt-oss": "template",
    "glm-4.7-flash": "template",
    "deepseek-v3.1": "template",
}


@pytest.mark.parametrize(("file", "dialect"), PUBLISHED.items())
def test_published_templates(file: str, dialect: str) -> None:
    """The vocabulary has every token there is: the template decides."""
    found = detect_dialect(template(file), QWEN | V11)
    assert found.name == dialect
    assert found.reason


def test_every_template_file_has_its_row() -> None:
    assert {path.stem for path in TEMPLATES.glob("*.jinja")} == PUBLISHED.keys()


@pytest.mark.parametrize(
    ("text", "tokens", "name", "dialect"),
    [
        (V13_TEMPLATE, V11, "", "mistral-v13"),
        (V7_TEMPLATE, V11, "", "mistral-v7"),
        (V7_TEMPLATE, V7, "Devstral Small 2505", "function-text"),
        (V7_TEMPLATE, V7, "mistralai_Devstral-Small-2505", "function-text"),
        ("", V7, "devstral small 2505", "function-text"),
        (V13_TEMPLATE, V13, "Devstral Small 2507", "mistral-v13"),
        ("", V7, "", "mistral-v7"),
        ("", V11, "", "mistral-v11"),
        ("", V13, "", "mistral-v13"),
        ("", QWEN, "", "qwen-xml"),
        ("", frozenset(QwenXml.controls), "random", "qwen-xml"),
        ("", {"<bos>"}, "", "template"),
        ("{{ messages }}", QWEN | V13, "", "template"),
    ],
)
def test_what_decides(text: str, tokens: Collection[str], name: str, dialect: str) -> None:
    assert detect_dialect(text, tokens, name).name == dialect


def test_a_vocabulary_that_lacks_what_the_dialect_writes() -> None:
    found = detect_dialect(template("qwen3-coder"), QWEN - {"<tool_response>"})
    assert found == Detected("template", "its vocabulary lacks <tool_response>")
    assert detect_dialect(template("qwen3.5"), QWEN - {"<think>"}).name == "template"


def test_the_xml_of_other_families_is_not_qwens() -> None:
    """Nemotron's calls are Qwen's, and its tools are declared as XML although it thinks; Step's stand elsewhere."""
    nemotron = template("qwen3-coder").replace("following tools:", "following functions:") + "{{ '<think>' }}"
    step = template("qwen3.5").replace("following functions:", "following functions in JSONSchema format:")
    for other in (nemotron, step):
        assert detect_dialect(other, QWEN).name == "template"


def with_template(path: Path, text: str | None, name: str = "m") -> GGUFHeader:
    small = small_vocabulary()
    tokens = TokenList([*small.texts, "<think>", "</think>"], small.merges, template=text)
    tokens = replace(tokens, delimiters=(*tokens.delimiters, "<think>", "</think>"))
    return GGUFHeader(write_random(path / "m.gguf", tokens=tokens, name=name))


@pytest.mark.parametrize(
    ("text", "name", "dialect"),
    [
        (None, "m", "qwen-xml"),
        ("qwen3.8", "m", "qwen-thinking"),
        ("qwen3-coder", "m", "qwen-xml"),
        ("smollm3", "m", "template"),
        (None, "Devstral Small 2505", "function-text"),
    ],
)
def test_a_file_says_which(tmp_path: Path, text: str | None, name: str, dialect: str) -> None:
    header = with_template(tmp_path, template(text) if text else None, name)
    auto = replace(cards()["default"], dialect="auto")
    assert dialect_of(auto, header).name == dialect
    fixed = replace(auto, dialect="mistral-v7")
    assert dialect_of(fixed, header) == Detected("mistral-v7", "its model card says so")


def test_solder_is_what_it_was() -> None:
    solder = cards()["solder"]
    assert solder.dialect == "qwen-xml"


def test_a_card_names_a_dialect_or_auto() -> None:
    for name in get_args(DialectName):
        if name not in ("auto", "template"):
            assert dialect_named(name).name == name
    assert isinstance(dialect_named(QwenThinking.name), QwenThinking)
    text = (Path(__file__).parent.parent / "src/tinsmith/models/default_card.toml").read_text()
    given = f'dialect = "{cards()["default"].dialect}"'
    assert parse_card(text.replace(given, 'dialect = "auto"')).dialect == "auto"
    with pytest.raises(CardError, match="dialect"):
        parse_card(text.replace(given, 'dialect = "latin"'))
