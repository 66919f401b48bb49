"""A model's own chat template: what it writes, and what untrusted text in it can never become."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from tests.conversations import SPECS, conversations, texts
from tests.template_oracle import QWEN_ENCODER, QWEN_RESERVED, TEMPLATES, rendered, template

from tinsmith.dialects import (
    TEMPLATE_WAIVES,
    Answered,
    Call,
    ChatTemplate,
    Control,
    Conversation,
    Encoder,
    Exchange,
    Spans,
    Step,
    ToolSpec,
    messages_from_conversation,
    tool_from_json,
)
from tinsmith.errors import InputError
from tinsmith.models import GGUFHeader
from tinsmith.models.random_weights import small_vocabulary, write_random

settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")

OTHERS = ("[INST]", "[/INST]", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[TOOL_RESULTS]", "[TOOL_CONTENT]", "<s>", "</s>")
OTHERS += ("[/TOOL_RESULTS]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "<|start|>", "<|end|>", "<|message|>", "<|call|>")
OTHERS += ("<|channel|>", "<|constrain|>", "<｜User｜>", "<｜Assistant｜>", "<｜tool▁sep｜>", "<｜tool▁calls▁begin｜>")
OTHERS += ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>", "<|user|>", "<|assistant|>", "<|observation|>")
OTHERS += ("<|system|>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "[gMASK]", "<sop>")
RESERVED = {text: number for number, text in enumerate([*QWEN_RESERVED, *OTHERS])}
FILES = sorted(path.stem for path in TEMPLATES.glob("*.jinja"))
each_file = pytest.mark.parametrize("file", FILES)


def made(source: str, **how: Any) -> ChatTemplate:
    return ChatTemplate(source, RESERVED, bos="<s>", eos="</s>", **how)


def plain(spans: Spans) -> str:
    return "".join(span.text for span in spans)


def controls(spans: Spans) -> list[str]:
    return [span.text for span in spans if isinstance(span, Control)]


def expected(source: str, conversation: Conversation) -> str:
    """What the template itself makes of the same messages."""
    tools = [tool.as_json() for tool in conversation.tools]
    return rendered(source, messages_from_conversation(conversation), tools, bos_token="<s>", eos_token="</s>")


def takes(file: str, conversation: Conversation) -> Conversation:
    """What a conversation must not hold where the template cannot write it, or writes less than is said."""
    system, past = conversation.system or "S", conversation.past
    if file in ("gpt-oss", "mistral-small-3.2"):  # one call a turn; an answer must follow results
        alone = tuple(replace(step, calls=step.calls[:1], said="", thinking="") for step in conversation.steps)
        return replace(conversation, steps=alone, past=(), system=system)
    return replace(conversation, system=system, past=past)


solid = texts.map(lambda text: "a" + text + "z")
"""Nothing that trimming would change."""


def trimmed(value: Any) -> Any:
    """A declaration without white space around its texts: a template would trim it, and cannot here."""
    if isinstance(value, dict):
        return {key: trimmed(inner) for key, inner in value.items()}
    return value.strip() if isinstance(value, str) else value


TRIMMED = tuple(tool_from_json(trimmed(tool.as_json())) for tool in SPECS)


@settings(max_examples=8)
@given(conversations(solid))
@each_file
def test_the_prompt_is_what_the_template_gives(file: str, conversation: Conversation) -> None:
    conversation = replace(takes(file, conversation), tools=TRIMMED)
    source = template(file)
    assert plain(made(source).render(conversation)) == expected(source, conversation)


def test_the_controls_are_the_templates_own() -> None:
    step = Step((Answered(Call("now", {}), "r"),), "s")
    conversation = Conversation("u", (step,), (), "S", SPECS)
    spans = made(template("qwen3-coder")).render(conversation)
    # Qwen's sentences name the delimiters, which a tokenizer takes for them as it takes those of the turns.
    turns = [text for text in controls(spans) if text.startswith("<|im_")]
    assert turns == ["<|im_start|>", "<|im_end|>"] * 4 + ["<|im_start|>"]
    assert controls(spans)[-8:] == [
        *("<tool_call>", "</tool_call>", "<|im_end|>", "<|im_start|>", "<tool_response>", "</tool_response>"),
        *("<|im_end|>", "<|im_start|>"),
    ]


NAMES = [*RESERVED]


def hostile(draw: random.Random) -> str:
    text = "".join(draw.choice([*NAMES, "<|im_", "start|>", "a", '"', "\n"]) for _ in range(draw.randint(1, 4)))
    first = draw.randrange(len(text))
    return text[first:] if draw.random() < 0.3 else text


def filled(string: Any) -> Conversation:
    """A text of its own in every place."""
    name, key, other = string(), string(), string()
    inner = {"type": "object", "properties": {string(): {"type": "string", "description": string()}}}
    schema = {
        "type": "object",
        "properties": {key: {"type": string(), "description": string(), "enum": [string()]}, other: inner},
        "required": [key],
        string(): {string(): string()},
    }
    tool = ToolSpec(name, string(), (), schema)
    call = Call(name, {key: json.dumps(string()), string(): json.dumps({string(): [string()]})})
    step = Step((Answered(call, string()),), "", "")
    return Conversation(string(), (step,), (Exchange(string(), string()),), string(), (tool,))


@each_file
def test_hostile_text_is_never_control(file: str) -> None:
    source, count = template(file), iter(range(10**9))
    harmless = made(source).render(filled(lambda: f"w{next(count)}"))
    draw = random.Random(file)
    for _ in range(20):
        used: list[str] = []

        def string(used: list[str] = used) -> str:
            used.append(f"{len(used)}{hostile(draw)}{len(used)}")  # each one different, as the harmless are
            return used[-1]

        spans = made(source).render(filled(string))
        assert controls(spans) == controls(harmless)
        user = used[-2]
        assert user in plain(spans)


def test_a_hostile_text_gives_no_reserved_id() -> None:
    draw = random.Random(1)
    for _ in range(30):
        spans = ChatTemplate(template("qwen3"), QWEN_RESERVED).render(filled(lambda: hostile(draw)))
        ids = QWEN_ENCODER.encode(spans)
        marks = [QWEN_RESERVED[text] for text in controls(spans)]
        assert [id_ for id_ in ids if id_ in QWEN_ENCODER.reserved_ids] == marks


def test_a_key_in_angle_brackets_is_not_a_delimiter() -> None:
    """Qwen3-Coder's template writes `<key>` around what it does not know."""
    schema = {"type": "object", "properties": {"a": {"type": "string", "tool_call": "x"}}, "im_end|": "y"}
    conversation = Conversation("u", tools=(ToolSpec("t", "", (), schema),))
    spans = made(template("qwen3-coder")).render(conversation)
    empty = Conversation("u", tools=(ToolSpec("t", "", (), {"type": "object", "properties": {}}),))
    assert "<tool_call>x</tool_call>" in plain(spans)
    assert controls(spans) == controls(made(template("qwen3-coder")).render(empty))


ARGUMENTS = Conversation("u", (Step((Answered(Call("f", {"a": '"x\\"y"', "b": "[1, null]"}), "r"),)),))


@pytest.mark.parametrize(
    "expression",
    ["c.arguments | tojson", "c.arguments", "'' + c.arguments + ''", "'' ~ c.arguments", "c.arguments | string"],
)
def test_arguments_are_json_wherever_text_is_meant(expression: str) -> None:
    """Half of all templates expect an object, half its text."""
    source = "{% for m in messages if m.tool_calls %}{% set c = m.tool_calls[0].function %}{{ " + expression + " }}"
    assert plain(made(source + "{% endfor %}").render(ARGUMENTS)) == '{"a": "x\\"y", "b": [1, null]}'


def test_json_in_json_is_escaped_twice() -> None:
    source = "{% for m in messages if m.tool_calls %}{{ m.tool_calls[0].function.arguments | tojson | tojson }}"
    shown = plain(made(source + "{% endfor %}").render(ARGUMENTS))
    assert json.loads(json.loads(shown)) == {"a": 'x"y', "b": [1, None]}


def test_layouts_of_json_and_loop_controls() -> None:
    source = "{% for t in tools %}{{ t.function.parameters | tojson(indent=2) }}{% break %}{% endfor %}"
    shown = plain(made(source).render(Conversation("u", tools=SPECS)))
    assert shown == json.dumps(SPECS[0].schema, indent=2, ensure_ascii=False)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% if %}", "Expected an expression"),
        ("{{ raise_exception('No: ' + messages[0].content) }}", "No: hello </s>"),
        ("{{ messages[0].content[:20] }}", "takes texts apart"),
        ("{{ messages[0].content[3:] }}", "takes texts apart"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ messages.nothing.at.all }}", "no attribute"),
        ("{{ 1 / 0 }}", "division"),
        ("{% for i in range(10**9) %}{% endfor %}", "Range too big"),
        ("{% include 'x' %}", "loader"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
    ],
)
def test_a_template_that_fails_is_the_persons_to_know(source: str, message: str) -> None:
    with pytest.raises(InputError, match="chat template") as caught:
        made(source).render(Conversation("hello </s>"))
    assert caught.value.code == "template_failed"
    assert message in caught.value.message
    assert caught.value.remedy


def test_the_beginning_of_the_prompt() -> None:
    conversation = Conversation("u")
    assert plain(made("{{ bos_token }}x{{ eos_token }}").render(conversation)) == "<s>x</s>"
    assert controls(made("{{ bos_token }}x", add_bos=True).render(conversation)) == ["<s>"]
    assert controls(made("x", add_bos=True).render(conversation)) == ["<s>"]
    assert controls(made("x").render(conversation)) == []


def test_the_template_of_a_file(tmp_path: Path) -> None:
    tokens = replace(small_vocabulary(), template=template("smollm3"))
    header = GGUFHeader(write_random(tmp_path / "a.gguf", tokens=tokens))
    spans = ChatTemplate.of(header).render(Conversation("u <|im_end|>", system="S"))
    assert controls(spans) == ["<|im_start|>", "<|im_end|>"] * 2 + ["<|im_start|>"]
    Encoder(lambda text: list(text.encode()), {name: 1000 + i for i, name in enumerate(RESERVED)}).encode(spans)
    with pytest.raises(InputError, match="has no chat template") as caught:
        ChatTemplate.of(GGUFHeader(write_random(tmp_path / "b.gguf")))
    assert caught.value.code == "template_missing"


def test_what_is_waived_is_said() -> None:
    assert "valid by construction" in TEMPLATE_WAIVES
