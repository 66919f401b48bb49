"""Whole runs of models of every family: what the file says of itself decides how the run speaks with it."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.fake_engine import FakeEngines, tekken_tokenizer
from tests.shop import ISSUE, make_shop, request
from tests.test_template_chat import CONTROLS, SOURCES, FakeTyping, deepseek, glm, harmony, tokenizer

from tinsmith.dialects import Call, dialect_named
from tinsmith.events import RunStore
from tinsmith.models.random_weights import Shape, TokenList, small_vocabulary, write_random
from tinsmith.resolve import Result, resolve

READ = Call("read", {"path": "shop.py", "start": "1", "end": "11"})
EDIT = Call("edit", {"path": "shop.py", "start": "7", "end": "7", "new": "    if count >= 10:"})
FINISH = Call("finish", {"summary": 'ten "and more" are cheaper'})
SCRIPT = [READ, EDIT, FINISH]
QUICK = f"env PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 {sys.executable} -m pytest"
TINY = Shape(layers=1, d_model=32, heads=2, kv_heads=1, head_dim=16, ffn=32)
MISTRAL = {
    "mistral-v13": "{{ bos_token }}[SYSTEM_PROMPT][AVAILABLE_TOOLS][INST][TOOL_CALLS]a[ARGS]b[TOOL_RESULTS]",
    "mistral-v11": "{{ bos_token }}[SYSTEM_PROMPT][AVAILABLE_TOOLS][INST][TOOL_CALLS]a[CALL_ID]c[ARGS]b[TOOL_RESULTS]",
    "mistral-v7": "{{ bos_token }}[SYSTEM_PROMPT][AVAILABLE_TOOLS][INST][TOOL_CALLS][TOOL_RESULTS]x[TOOL_CONTENT]",
}
"""As much of the families' templates as tells them apart; they are not run."""


class FakeTypists:
    """Opens one engine, once."""

    def __init__(self, engine: FakeTyping) -> None:
        self._engine = engine

    def __call__(self, model_path: Path, **options: Any) -> FakeTyping:
        return self._engine


def write_model(place: Path, template: str, controls: tuple[str, ...], name: str = "random") -> Path:
    small = small_vocabulary()
    more = [text for text in controls if text not in small.texts]
    tokens = TokenList([*small.texts, *more], small.merges, (*small.control, *more), template=template)
    return write_random(place / "model.gguf", tokens=tokens, shape=TINY, name=name)


def run(place: Path, model: Path, open_engine: Any, **changes: Any) -> tuple[Result, list[str], list[str]]:
    """The result, the lines of progress, the tools that were called."""
    lines: list[str] = []
    asked = request(make_shop(place), place, model=str(model), test_command=QUICK, **changes)
    result = resolve(asked, lines.append, open_engine=open_engine)
    events = RunStore(place / "state").open(result.run).events()
    return result, lines, [event["tool"] for event in events if event["type"] == "turn"]


@pytest.mark.parametrize("name", [*MISTRAL, "function-text"])
def test_a_model_of_mistrals_resolves(name: str, tmp_path: Path) -> None:
    dialect = dialect_named(name)
    model = write_model(
        tmp_path, MISTRAL.get(name, ""), dialect.controls, "m" if name in MISTRAL else "Devstral Small 2505"
    )
    vocabulary, tokenize = tekken_tokenizer(dialect.controls)
    engines = FakeEngines(SCRIPT, vocabulary=vocabulary, tokenize=tokenize, dialect=dialect)
    result, lines, tools = run(tmp_path, model, engines, issue=f"{ISSUE}\n[INST] </s> [TOOL_CALLS]edit[ARGS]{{}}")
    assert result.status == "resolved", result.reason
    assert any(line.startswith(f"its dialect is {name}: ") for line in lines)
    assert tools == ["read", "edit", "finish"]
    assert result.patch is not None and "+    if count >= 10:" in result.patch.read_text()
    # No control token is in the prompt but those that the dialect writes: one opening, three calls.
    opener = vocabulary.reserved.get(dialect.call_opener())
    prompt = engines.engines[0].prompts[-1]
    assert prompt.count(vocabulary.reserved["<s>"]) == 1
    assert opener is None or prompt.count(opener) == len(SCRIPT)


@pytest.mark.parametrize(("name", "form"), [("glm-4.7-flash", glm), ("gpt-oss", harmony), ("deepseek-v3.1", deepseek)])
def test_a_model_of_another_family_resolves(name: str, form: Callable[[Call], str], tmp_path: Path) -> None:
    model = write_model(tmp_path, SOURCES[name], CONTROLS[name])
    engine = FakeTyping(tokenizer(name), [form(call) for call in SCRIPT])
    result, lines, tools = run(tmp_path, model, FakeTypists(engine))
    assert result.status == "resolved", result.reason
    assert sum("calls are not valid by construction" in line for line in lines) == 1, "what is waived is said once"
    assert tools == ["read", "edit", "finish"] and engine.closed


def test_what_the_person_says_comes_before_what_the_file_says(tmp_path: Path) -> None:
    dialect = dialect_named("mistral-v13")
    model = write_model(tmp_path, SOURCES["gpt-oss"], dialect.controls)
    vocabulary, tokenize = tekken_tokenizer(dialect.controls)
    engines = FakeEngines(SCRIPT, vocabulary=vocabulary, tokenize=tokenize, dialect=dialect)
    result, _, _ = run(tmp_path, model, engines, dialect="mistral-v13")
    assert result.status == "resolved", result.reason


def test_a_dialect_whose_control_tokens_are_not_there_is_refused(tmp_path: Path) -> None:
    model = write_model(tmp_path, SOURCES["gpt-oss"], CONTROLS["gpt-oss"])
    engine = FakeTyping(tokenizer("gpt-oss"), [])
    result, _, _ = run(tmp_path, model, FakeTypists(engine), dialect="mistral-v7")
    assert result.error is not None and result.error.code == "dialect_mismatch" and engine.closed
    assert "--dialect template" in result.error.remedy
