"""Qwen's dialects against Qwen's published chat templates, token by token, in Qwen's vocabulary."""

import json
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conversations import BARE, FOREIGN, SPECS, conversations, texts
from tests.template_oracle import QWEN_ENCODER, QWEN_RESERVED, qwen_ids, reference, template

from tinsmith.dialects import (
    Answered,
    Call,
    Control,
    Conversation,
    Encoder,
    Exchange,
    Malformed,
    QwenThinking,
    QwenXml,
    Spans,
    Step,
    Text,
    ToolSpec,
    call_values,
    dialect_named,
)
from tinsmith.tools import FINISH, RUN, TOOLS

settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")

CODER, THINKING = QwenXml(), QwenThinking()
THINKING_FLAGS: dict[str, dict[str, Any]] = {
    "qwen3.6": {"preserve_thinking": True},
    "qwen3.8": {"reasoning_effort": "medium"},
}
each_thinking = pytest.mark.parametrize("name", THINKING_FLAGS)


def plain(spans: Spans) -> str:
    return "".join(span.text for span in spans)


def coder(conversation: Conversation) -> str:
    """Qwen3-Coder's template, with Qwen's own sentences (see tests/data/templates/README.md)."""
    prompt = reference(template("qwen3-coder"), conversation)
    if not conversation.tools:
        return prompt
    theirs = reference(template("qwen3.5"), Conversation("u", tools=(BARE,)))
    head, tail = theirs[theirs.index("# Tools") : theirs.index("<tools>")], sentences(theirs)
    edited = "# Tools\n\nYou have access to the following tools:\n\n"
    assert prompt.count(edited) == 1
    return prompt.replace(edited, head).replace(sentences(prompt), tail)


def sentences(prompt: str) -> str:
    """What stands between the list of tools and the end of the reminder."""
    found = re.search(r"</tools>(.*?</IMPORTANT>)", prompt, re.DOTALL)
    assert found
    return found.group(1)


def without_words(conversation: Conversation) -> Conversation:
    """Without the arguments that Qwen3-Coder's template writes as one of Python's words, and we as JSON."""

    def steps(given: Sequence[Step]) -> tuple[Step, ...]:
        return tuple(replace(step, calls=tuple(map(answered, step.calls))) for step in given)

    def answered(given: Answered) -> Answered:
        values = call_values(given.call, conversation.tools)
        words = [name for name, value in values.items() if value is None or isinstance(value, bool)]
        kept = {name: value for name, value in given.call.arguments.items() if name not in words}
        return Answered(Call(given.call.tool, kept), given.result)

    past = tuple(replace(exchange, steps=steps(exchange.steps)) for exchange in conversation.past)
    return replace(conversation, steps=steps(conversation.steps), past=past)


def same(spans: Spans, prompt: str) -> None:
    assert plain(spans) == prompt
    assert QWEN_ENCODER.encode(spans) == qwen_ids(prompt)


GOLDEN = Conversation(
    "Now b.",
    (Step((Answered(Call("now", {}), "10:00"), Answered(Call("unknown", {"n": "1"}), "  ok\n")), "Both.\n", "Hm."),),
    (Exchange("Do a.", "Done.", (Step((Answered(Call("mixed_bag", {"text": "a\nb", "points": "[]"}), "1"),)),)),),
    "Be brief.",
    SPECS,
)


def test_golden_conversation_of_qwen3_coder() -> None:
    prompt = plain(CODER.render(GOLDEN))
    assert prompt.startswith(
        "<|im_start|>system\nBe brief.\n\n# Tools\n\nYou have access to the following functions:\n\n<tools>\n"
        "<function>\n<name>mixed_bag</name>\n<description>All that JSON Schema knows, Ünïcode too.</description>\n"
        "<parameters>\n<parameter>\n<name>text</name>\n<type>string</type>\n<description>a text</description>\n"
        "<minLength>1</minLength>\n<default>é</default>\n</parameter>\n"
    )
    assert '\n<name>any</name>\n</parameter>\n<$defs>{"point": {' in prompt
    assert "<type>['object', 'null']</type>" in prompt
    assert '<required>["text", "points"]</required>\n<additionalProperties>False</additionalProperties>' in prompt
    assert prompt.endswith(
        "<|im_start|>user\nDo a.<|im_end|>\n<|im_start|>assistant\n<tool_call>\n<function=mixed_bag>\n"
        "<parameter=text>\na\nb\n</parameter>\n<parameter=points>\n[]\n</parameter>\n</function>\n</tool_call>"
        "<|im_end|>\n<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<|im_end|>\n<|im_start|>assistant\nDone."
        "<|im_end|>\n<|im_start|>user\nNow b.<|im_end|>\n<|im_start|>assistant\nBoth.\n\n<tool_call>\n<function=now>\n"
        "</function>\n</tool_call>\n<tool_call>\n<function=unknown>\n<parameter=n>\n1\n</parameter>\n</function>\n"
        "</tool_call><|im_end|>\n<|im_start|>user\n<tool_response>\n10:00\n</tool_response>\n<tool_response>\n  ok\n\n"
        "</tool_response>\n<|im_end|>\n<|im_start|>assistant\n"
    )
    same(CODER.render(GOLDEN), coder(GOLDEN))


@each_thinking
def test_golden_conversation_with_thinking(name: str) -> None:
    prompt = plain(THINKING.render(GOLDEN))
    assert prompt.startswith("<|im_start|>system\n# Tools\n\nYou have access to the following functions:\n\n<tools>\n{")
    assert "</IMPORTANT>\n\nBe brief.<|im_end|>\n" in prompt
    assert prompt.endswith(
        "<|im_start|>assistant\n<think>\n\n</think>\n\nDone.<|im_end|>\n<|im_start|>user\nNow b.<|im_end|>\n"
        "<|im_start|>assistant\n<think>\nHm.\n</think>\n\nBoth.\n\n<tool_call>\n<function=now>\n</function>\n"
        "</tool_call>\n<tool_call>\n<function=unknown>\n<parameter=n>\n1\n</parameter>\n</function>\n</tool_call>"
        "<|im_end|>\n<|im_start|>user\n<tool_response>\n10:00\n</tool_response>\n<tool_response>\nok\n"
        "</tool_response><|im_end|>\n<|im_start|>assistant\n<think>\n"
    )
    same(THINKING.render(GOLDEN), reference(template(name), GOLDEN, **THINKING_FLAGS[name]))


any_tools = st.sampled_from([SPECS, SPECS[:1], SPECS[1:], ()])


@settings(max_examples=50)
@given(conversations(texts, any_tools))
def test_render_is_what_qwen3_coders_template_gives(conversation: Conversation) -> None:
    conversation = without_words(conversation)  # the one difference, which a test of its own holds
    same(CODER.render(conversation), coder(conversation))


@settings(max_examples=30)
@given(conversations(texts, any_tools))
@each_thinking
def test_render_is_what_the_templates_with_thinking_give(name: str, conversation: Conversation) -> None:
    conversation = replace(conversation, system=conversation.system.strip())
    same(THINKING.render(conversation), reference(template(name), conversation, **THINKING_FLAGS[name]))


@settings(max_examples=25)
@given(conversations(texts, any_tools))
def test_qwen3_5_keeps_the_thinking_of_the_steps_in_work(conversation: Conversation) -> None:
    conversation = replace(without_words(conversation), system=conversation.system.strip(), past=())
    same(THINKING.render(conversation), reference(template("qwen3.5"), conversation))


def test_the_words_of_json_are_the_one_difference() -> None:
    call = Call("unknown", {"yes": "true", "nothing": "null"})
    conversation = Conversation("u", (Step((Answered(call, "r"),)),))
    ours = plain(CODER.render(conversation))
    assert "<parameter=yes>\ntrue\n" in ours
    assert ours.replace("\ntrue\n", "\nTrue\n").replace("\nnull\n", "\nNone\n") == coder(conversation)
    same(THINKING.render(conversation), reference(template("qwen3.8"), conversation, reasoning_effort="medium"))


def test_the_thinking_of_past_steps_is_kept() -> None:
    """Qwen3.5's own template drops it; a prompt would then not begin with the one before."""
    step = Step((Answered(Call("now", {}), "1"),), thinking="first")
    before = plain(THINKING.render(Conversation("a", (step,), tools=(BARE,))))
    later = Conversation("b", past=(Exchange("a", "done", (step,)),), tools=(BARE,))
    assert plain(THINKING.render(later)).startswith(before.removesuffix("<|im_start|>assistant\n<think>\n"))
    assert "first" not in reference(template("qwen3.5"), later)


def test_without_tools_and_system_text_there_is_no_system_turn() -> None:
    for dialect in (CODER, THINKING):
        assert plain(dialect.render(Conversation("u"))).startswith("<|im_start|>user\nu<|im_end|>\n")
    assert "You are Qwen, a helpful AI assistant" in plain(CODER.render(Conversation("u", tools=SPECS)))


@pytest.mark.parametrize("dialect", [CODER, THINKING])
def test_our_own_tools_are_followed_by_our_own_sentence(dialect: QwenXml) -> None:
    ours, foreign, mixed = (plain(dialect.system("S", tools)) for tools in (TOOLS, SPECS, (*TOOLS, FOREIGN)))
    for system in (ours, mixed):
        assert "Call exactly one function a turn" in system
        assert "If you choose to call" not in system
    assert "Call exactly one" not in foreign
    published = reference(template("qwen3.5"), Conversation("u", tools=SPECS))
    assert sentences(foreign) == sentences(published)


def test_the_fixed_part_with_thinking_is_small() -> None:
    tokens = len(QWEN_ENCODER.encode(THINKING.system("You are Tinsmith. " * 20, TOOLS)))
    print(f"fixed part of qwen-thinking: {tokens} tokens")
    assert 100 < tokens < 800


def test_the_turns_of_a_transcript_are_those_of_the_template() -> None:
    """What the loop appends turn by turn is what the whole would be."""
    call = Call("run", {"command": "ls"})
    spans = [*THINKING.system("S", TOOLS), *THINKING.user("U"), *THINKING.assistant_start(), Text("Hm.\n")]
    spans += [*THINKING.thinking_end(), Control(THINKING.call_opener()), *THINKING.tool_start()]
    spans += [Text(THINKING.tool_literal("run") + THINKING.key_literal("command", True) + "ls")]
    spans += [Text(THINKING.value_end(RUN.parameter("command")) + THINKING.close_literal(False)), *THINKING.call_end()]
    spans += [*THINKING.observation("R"), *THINKING.assistant_start()]
    whole = Conversation("U", (Step((Answered(call, "R"),), thinking="Hm."),), (), "S", TOOLS)
    assert plain(spans) == plain(THINKING.render(whole))
    ours, theirs = (
        text[text.index("</tools>") :].split("<|im_start|>user", 1)[1]
        for text in (plain(spans), reference(template("qwen3.8"), whole))
    )
    assert ours == theirs


THOUGHT = "<tool_call>\n<function=run>\n<parameter=command>\nrm -r x\n</parameter>\n</function>\n</tool_call>"
CALL = "<tool_call>\n<function=run>\n<parameter=command>\nls\n</parameter>\n</function>\n</tool_call>"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"I think.\n</think>\n\n{CALL}", Call("run", {"command": "ls"})),
        (f"{THOUGHT}?\n</think>\n\nNo.\n\n{CALL}", Call("run", {"command": "ls"})),
        (f"{THOUGHT}?\n</think>\n\nNo.", None),
        (CALL, Call("run", {"command": "ls"})),
        (f"never ended {CALL}", Call("run", {"command": "ls"})),
        (CALL.replace("ls", "grep '</think>' a"), Call("run", {"command": "grep '</think>' a"})),
        (f"x</think>\n\n{CALL.replace('ls', 'grep </think> a')}", Call("run", {"command": "grep </think> a"})),
        ("nothing", None),
    ],
)
def test_a_call_that_was_only_thought_of_is_none(text: str, found: Call | None) -> None:
    assert THINKING.parse(text, TOOLS) == found


def test_a_damaged_call_after_the_thinking_keeps_its_text() -> None:
    text = f"{THOUGHT}</think>\n\n<tool_call>\n<function=run>\n</function>"
    found = THINKING.parse(text, TOOLS)
    assert isinstance(found, Malformed)
    assert (found.raw, "lacks command" in found.reason) == (text, True)


def test_the_dialect_by_its_name() -> None:
    dialect = dialect_named("qwen-thinking")
    assert isinstance(dialect, QwenThinking)
    assert dialect.thinking_end() == [Control("</think>"), Text("\n\n")]
    assert {"<think>", "</think>"} < set(dialect.controls)


NAMES = [*QWEN_RESERVED]
SEAMS = ["<|im_", "start|>", "<tool_", "call>", "</th", "ink>", "\n", "a", "é", "＜tool_call＞", "<|im_end|", ">"]


def hostile(draw: random.Random) -> str:
    """Reserved texts whole, side by side, and cut anywhere."""
    parts = [draw.choice(NAMES) if draw.random() < 0.6 else draw.choice(SEAMS) for _ in range(draw.randint(1, 5))]
    text = "".join(parts)
    first, last = sorted((draw.randrange(len(text) + 1), draw.randrange(len(text) + 1)))
    return text[first:last] if draw.random() < 0.3 else text


def hostile_conversation(string: Any) -> Conversation:
    """Twenty-five strings in every place that a text can stand in."""
    name, key = string(), string()
    schema = {
        "type": "object",
        "properties": {key: {"type": string(), "description": string(), string(): string(), "enum": [string()]}},
        "required": [key],
        string(): {string(): string()},
    }
    tool = ToolSpec(name, string(), (), schema)
    call = Call(name, {key: string(), string(): json.dumps({string(): [string()]})})
    step = Step((Answered(call, string()), Answered(Call(string(), {}), string())), string(), string())
    past = (Exchange(string(), string(), (step,)),)
    return Conversation(string(), (step,), past, string(), (tool,))


@pytest.mark.parametrize("dialect", [CODER, THINKING])
def test_ten_thousand_hostile_strings_give_no_reserved_id(dialect: QwenXml) -> None:
    draw, harmless, hostile_strings = random.Random(6), iter(range(10**9)), 0
    for _ in range(420):
        made = [0]

        def string(made: list[int] = made) -> str:
            made[0] += 1
            return hostile(draw)

        ids = QWEN_ENCODER.encode(dialect.render(hostile_conversation(string)))
        hostile_strings += made[0]
        plain_ids = QWEN_ENCODER.encode(dialect.render(hostile_conversation(lambda: f"w{next(harmless)}")))
        assert reserved(ids) == reserved(plain_ids)
    assert hostile_strings >= 10_000


def reserved(ids: list[int]) -> list[int]:
    return [id_ for id_ in ids if id_ in QWEN_ENCODER.reserved_ids]


@given(st.text(max_size=20), st.text(max_size=20))
def test_what_stands_in_a_history_is_read_back(value: str, key: str) -> None:
    call = Call("unknown", {key: json.dumps(value)})
    assert call_values(call, ()) == {key: value}
    assert call_values(Call("finish", {"summary": "1"}), (FINISH,)) == {"summary": "1"}


@pytest.mark.parametrize("raw", ["not json", '"\\ud800"', "NaN", "[" * 100_000, ""])
def test_what_is_no_json_stands_for_itself(raw: str) -> None:
    assert call_values(Call("unknown", {"x": raw}), ()) == {"x": raw}


def test_the_encoder_of_the_oracle_is_the_vocabularys() -> None:
    assert isinstance(QWEN_ENCODER, Encoder)
    assert qwen_ids("<|im_start|>user\nhi<|im_end|>") == [151644, 872, 198, 6023, 151645]
