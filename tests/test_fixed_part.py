"""The fixed part of every prompt, system text and five tools, in the vocabularies of the models it is for."""

from typing import Any

import pytest
import tiktoken
from tests import vocabularies

from tinsmith.dialects import Control, Dialect, FunctionText, MistralV7, MistralV11, MistralV13, QwenXml
from tinsmith.resolve.opening import DEFAULT_SYSTEM
from tinsmith.tools import TOOLS

BUDGET = 800

FAMILIES = [
    (QwenXml(), vocabularies.qwen),
    *((dialect, vocabularies.tekken) for dialect in (MistralV7(), MistralV11(), MistralV13(), FunctionText())),
]


def tokens_of(dialect: Dialect, vocabulary: tiktoken.Encoding) -> int:
    spans = dialect.system(DEFAULT_SYSTEM, TOOLS)
    return sum(1 if isinstance(span, Control) else len(vocabulary.encode_ordinary(span.text)) for span in spans)


@pytest.mark.parametrize(("dialect", "vocabulary"), FAMILIES, ids=lambda value: getattr(value, "name", ""))
def test_the_fixed_part_fits(dialect: Dialect, vocabulary: Any, record_property: Any) -> None:
    tokens = tokens_of(dialect, vocabulary())
    record_property(f"fixed_part_{dialect.name}_tokens", tokens)
    print(f"fixed part in {dialect.name}: {tokens} tokens")
    assert 100 < tokens < BUDGET
