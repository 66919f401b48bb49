"""OpenAI's messages become a conversation, whatever other programs send."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conversations import FOREIGN, SPECS, conversations, texts
from tests.template_oracle import QWEN_ENCODER

from tinsmith.dialects import (
    Answered,
    Call,
    Conversation,
    Exchange,
    QwenThinking,
    QwenXml,
    Step,
    call_values,
    conversation_from_messages,
    dialect_named,
    messages_from_conversation,
)
from tinsmith.errors import InputError
from tinsmith.tools import TOOLS

settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")


def user(text: Any = "u") -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: Any = "", *calls: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **({"tool_calls": list(calls)} if calls else {}), **more}


def call(id_: str, arguments: Any = "{}", name: str = "now") -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(id_: str | None, text: Any) -> dict[str, Any]:
    return {"role": "tool", "content": text} | ({"tool_call_id": id_} if id_ is not None else {})


def read(*messages: dict[str, Any]) -> Conversation:
    return conversation_from_messages(messages, SPECS)


def results(conversation: Conversation) -> list[str]:
    return [answered.result for step in conversation.steps for answered in step.calls]


def normal(text: str) -> str:
    """Texts that are not empty stay apart."""
    return text or "."


@settings(max_examples=80)
@given(conversations(texts.map(normal)))
def test_messages_and_back(conversation: Conversation) -> None:
    assert conversation_from_messages(messages_from_conversation(conversation), conversation.tools) == conversation


@settings(max_examples=60)
@given(conversations(texts.map(normal)), st.randoms(use_true_random=False))
def test_the_order_of_results_does_not_matter(conversation: Conversation, draw: Any) -> None:
    messages, shuffled = messages_from_conversation(conversation), list[dict[str, Any]]()
    block: list[dict[str, Any]] = []
    for message in [*messages, None]:
        if message is not None and message["role"] == "tool":
            block.append(message)
            continue
        draw.shuffle(block)
        shuffled += block
        block = []
        if message is not None:
            shuffled.append(message)
    for message in shuffled:
        for made in message.get("tool_calls", ()):
            made["function"]["arguments"] = json.dumps(made["function"]["arguments"])  # as text, as OpenAI has it
    assert conversation_from_messages(shuffled, conversation.tools) == conversation


def test_neighbours_of_the_same_role_become_one() -> None:
    conversation = read(
        {"role": "system", "content": "a"},
        user("b"),
        {"role": "developer", "content": "c"},
        user("d"),
        said("e"),
        said("f"),
        user("g"),
    )
    assert conversation == Conversation("g", (), (Exchange("b\n\nd", "e\n\nf"),), "a\n\nc", SPECS)


def test_calls_of_neighbours_are_one_step() -> None:
    conversation = read(user(), said("a", call("1")), said("b", call("2")), result("2", "two"), result("1", "one"))
    assert [step.said for step in conversation.steps] == ["a\n\nb"]
    assert results(conversation) == ["one", "two"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"text": "1", "count": 1, "points": []}, {"text": "1", "count": "1", "points": "[]"}),
        ('{"text": "a\\nb", "either": "x"}', {"text": "a\nb", "either": '"x"'}),
        ('"{\\"text\\": \\"twice\\"}"', {"text": "twice"}),
        ({"text": 3, "any": True}, {"text": "3", "any": "true"}),
        ("", {}),
        (None, {}),
        ({"new": "é", "other": None}, {"new": '"é"', "other": "null"}),
    ],
)
def test_arguments_as_text_or_object(arguments: Any, expected: dict[str, str]) -> None:
    conversation = read(user(), said("", call("1", arguments, FOREIGN.name)), result("1", "r"))
    assert conversation.steps[0].calls[0].call == Call(FOREIGN.name, expected)


@pytest.mark.parametrize("arguments", ["{broken", "[1]", "3", 7, ["a"]])
def test_a_call_without_arguments_that_can_be_read_is_kept_as_text(arguments: Any) -> None:
    conversation = read(user(), said("I call.", call("1", arguments)), result("1", "That is no JSON."))
    assert conversation.user == "That is no JSON."
    assert conversation.past[0].answer.startswith("I call.\n\n{")
    assert json.loads(conversation.past[0].answer.removeprefix("I call.\n\n"))["function"]["arguments"] == arguments


def test_content_as_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}, "b"]
    assert read(user(parts)).user == "a\n(image_url)\nb"
    assert read(user(), said(None, call("1")), result("1", parts)).steps[0].calls[0].result == "a\n(image_url)\nb"
    assert read(user({"text": "odd"})).user == '{"text": "odd"}'


def test_results_that_are_missing_or_unasked() -> None:
    conversation = read(user(), said("", call("1"), call("2")), result("2", "two"), said("", call("3")))
    assert results(conversation) == ["(no result)", "two", "(no result)"]
    conversation = read(user("a"), said("", call("1")), result("1", "one"), result("x", "stray"), result("1", "again"))
    assert conversation.past == (Exchange("a", "(interrupted)", (Step((Answered(Call("now"), "one"),)),)),)
    assert conversation.user == "stray\n\nagain"


def test_a_late_result_still_belongs_to_its_call() -> None:
    conversation = read(user("a"), said("", call("1")), user("b"), result("1", "late"), user("c"))
    assert conversation.user == "b\n\nc"
    assert conversation.past[0].steps[0].calls[0].result == "late"
    conversation = read(user(), said("", call("1")), user("b"), said("c"), result("1", "late"), said("d"), user("e"))
    assert [exchange.answer for exchange in conversation.past] == ["(interrupted)", "c\n\nd"]


def test_results_without_ids_and_ids_that_repeat() -> None:
    assert results(read(user(), said("", call("1"), call("2")), result(None, "a"), result(None, "b"))) == ["a", "b"]
    old = {"role": "assistant", "content": None, "function_call": {"name": "now", "arguments": "{}"}}
    assert results(read(user(), old, {"role": "function", "name": "now", "content": "r"})) == ["r"]
    twice = [said("", call("call_0")), result("call_0", "a"), said("", call("call_0")), result("call_0", "b")]
    assert results(read(user(), *twice)) == ["a", "b"]
    open_ = read(user(), said("", call("0")), user(), said("", call("0")), result("0", "the last one's"))
    assert (results(open_), open_.past[0].steps[0].calls[0].result) == (["the last one's"], "(no result)")
    stray = read(user(), said("", call("0"), call("1")), result("1", "r"), said("", call("0")), result("0", "mine"))
    assert results(stray) == ["(no result)", "r", "mine"]
    assert results(read(user(), said("", call("")), result("x", "by order"))) == ["by order"]


def test_who_speaks_first_and_last() -> None:
    conversation = read(said("Hello."), user("a"), said("b"))
    assert conversation.past == (Exchange("(no message)", "Hello."), Exchange("a", "b"))
    assert conversation.user == "(continue)"


def test_thinking_is_kept_with_its_step() -> None:
    conversation = read(user(), said("", call("1"), reasoning_content="Hm."), result("1", "r"))
    assert conversation.steps[0].thinking == "Hm."
    assert read(user(), said("", call("1"), reasoning="Hm.")).steps[0].thinking == "Hm."


def test_halves_of_surrogate_pairs_do_not_come_through() -> None:
    conversation = read(user("a\ud83d"), said("", call("1", {"text": "\ude00"}, FOREIGN.name)), result("1", "\ud800"))
    assert (conversation.user, results(conversation)) == ("a\ufffd", ["\ufffd"])
    QWEN_ENCODER.encode(QwenXml().render(conversation))


@pytest.mark.parametrize(
    "messages",
    [[], [said("only the model")], [{"role": "system", "content": "s"}], [result("1", "r")], ["text"], [user(), None]],
)
def test_nothing_sensible_can_be_made(messages: Any) -> None:
    with pytest.raises(InputError) as caught:
        conversation_from_messages(messages)
    assert caught.value.code == "bad_messages"
    assert "`user`" in caught.value.remedy


odd = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ("role", "content", "tool_calls", "tool_call_id", "name", "function", "arguments", "id", "type", "text")
roles = st.sampled_from(["user", "assistant", "tool", "system", "function", "critic"])
ids = st.sampled_from(["1", "2", "call_0", ""])


@st.composite
def odd_calls(draw: st.DrawFn) -> Any:
    function = {"name": draw(st.sampled_from(["now", "mixed_bag", "x", ""]) | odd), "arguments": draw(odd)}
    return draw(st.sampled_from([{"id": draw(ids | odd), "function": function}, function, draw(odd)]))


odd_messages = st.lists(
    st.fixed_dictionaries(
        {"role": roles},
        optional={
            "content": odd | st.text(max_size=6),
            "tool_calls": st.lists(odd_calls(), max_size=3) | odd,
            "tool_call_id": ids | odd,
            "reasoning_content": odd,
            "function_call": odd_calls(),
        },
    )
    | st.dictionaries(st.sampled_from(FIELDS), odd, max_size=4),
    max_size=8,
)


@settings(max_examples=200)
@given(odd_messages, st.sampled_from([(), SPECS, TOOLS]))
def test_strange_messages_never_raise_anything_else(messages: list[dict[str, Any]], tools: Any) -> None:
    try:
        conversation = conversation_from_messages(messages, tools)
    except InputError as error:
        assert error.code == "bad_messages"
        return
    for dialect in (QwenXml(), QwenThinking()):
        QWEN_ENCODER.encode(dialect.render(conversation))
    made = messages_from_conversation(conversation)
    json.dumps(made).encode()
    # Nothing that somebody said is lost.
    everything = json.dumps(made, ensure_ascii=False)
    for message in messages:
        text = message.get("content")
        if isinstance(text, str) and text.strip() and message.get("role") in ("user", "tool", "system", "assistant"):
            shown = json.dumps(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), ensure_ascii=False)
            assert shown[1:-1] in everything


def test_a_deep_object_does_not_raise() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    assert read(user(), said("", call("1", {"any": deep}, FOREIGN.name))).steps[0].calls[0].call.arguments == {
        "any": "(list)"
    }


def test_undeclared_tools_and_arguments_can_be_rendered() -> None:
    conversation = read(user(), said("", call("1", {"a": "1", "b": 1}, "gone")), result("1", "r"))
    assert call_values(conversation.steps[0].calls[0].call, conversation.tools) == {"a": "1", "b": 1}
    text = "".join(span.text for span in QwenXml().render(conversation))
    assert "<function=gone>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n1\n</parameter>\n</function>" in text
    for version, written in (("mistral-v13", '{"a": "1", "b": 1}'), ("mistral-v7", '{"a": "1", "b": 1}')):
        assert written in "".join(span.text for span in dialect_named(version).render(conversation))
    text = "".join(span.text for span in dialect_named("function-text").render(conversation))
    assert "<function=gone>\n<parameter=a>1</parameter>\n<parameter=b>1</parameter>\n</function>" in text
