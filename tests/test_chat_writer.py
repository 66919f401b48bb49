"""What is made of an endpoint's answers: a call to run, or a legal conversation in which it is asked again."""

import json
from collections.abc import Mapping, Sequence
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fake_chat_server import check_legal, devstral_text, qwen_text, qwen_text_without_opener
from tests.fake_log import FakeLog

from tinsmith.agent import MAX_LOST, ChatTokens, ChatWriter, LimitReached, Transcript, WindowFull, branches_in
from tinsmith.agent.chat_writer import ONE_CALL
from tinsmith.dialects import Call, ChatTranscript, ToolSpec, call_id, chat_encoder, messages_of
from tinsmith.engines import ChatReply, ContextExceededError, NativeCall, Sampling, TurnUsage, Usage
from tinsmith.tools import TOOLS, Choices

READ = Call("read", {"path": "a.py", "start": "1", "end": "9"})
EDIT = Call("edit", {"path": "a.py", "start": "1", "end": "1", "new": "x = 1"})


class FakeChatEngine:
    """Gives the replies of a script, or raises what stands there; every prompt must be legal."""

    model = "fake"

    def __init__(self, script: Sequence[ChatReply | Exception], window: int = 32_768) -> None:
        self.script = list(script)
        self.context_window = window
        self.usage = Usage()
        self.prompts: list[list[Mapping[str, Any]]] = []
        self.limits: list[int] = []
        self.seeds: list[int] = []

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        *,
        seed: int,
        limit: int,
        cancel: Event | None = None,
    ) -> ChatReply:
        check_legal({"messages": messages})
        self.prompts.append(list(messages))
        self.limits.append(limit)
        self.seeds.append(seed)
        reply = self.script.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def begin_turn(self) -> None:
        pass

    def end_turn(self) -> TurnUsage:
        return TurnUsage(0, 0, 0, 0, 0.0, 0.0)

    def close(self) -> None:
        pass


class FakeTools:
    specs: Sequence[ToolSpec] = TOOLS

    def __init__(self, *names: str) -> None:
        self._names = list(names) or [spec.name for spec in TOOLS]

    def available(self) -> list[str]:
        return self._names

    def choices(self, tool: str, given: Mapping[str, str]) -> Choices:
        raise AssertionError("an endpoint of messages is not asked in stages")


def reply(text: str = "", *calls: Call | tuple[str, str], thinking: str = "", finish: str = "stop") -> ChatReply:
    def native(number: int, call: Call | tuple[str, str]) -> NativeCall:
        if isinstance(call, tuple):
            return NativeCall(f"c{number}", *call)
        spec = next(spec for spec in TOOLS if spec.name == call.tool)
        return NativeCall(f"c{number}", call.tool, json.dumps(call.values(spec)))

    return ChatReply(text, thinking, tuple(native(number, call) for number, call in enumerate(calls)), finish)


class Talk:
    """A writer, its engine and a transcript that begins as a run does."""

    def __init__(self, *script: ChatReply | Exception, window: int = 32_768, tools: Sequence[str] = ()) -> None:
        self.engine = FakeChatEngine(script, window)
        self.tokens = ChatTokens(self.engine)
        self.log = FakeLog()
        self.lines: list[str] = []
        self.writer = ChatWriter(
            self.tokens,
            FakeTools(*tools),
            sampling=Sampling(seed=1),
            reply_tokens=2_000,
            progress=self.lines.append,
        )
        self.transcript = Transcript(chat_encoder(), self.log)
        self.transcript.write(ChatTranscript().system("S", TOOLS), "system")
        self.transcript.write(ChatTranscript().user("U"), "user")

    def call(self) -> Call:
        return self.writer.write(self.transcript).call

    def observe(self, text: str = "done") -> None:
        """As the loop does."""
        number = self.writer.number(self.transcript)
        self.transcript.write(ChatTranscript().observation(text, number), "observation")

    @property
    def messages(self) -> list[dict[str, Any]]:
        assert branches_in(self.log.events)[0] == list(self.transcript.ids)
        return messages_of(self.transcript.ids).messages[2:]


def tool_call(number: int, call: Call) -> dict[str, Any]:
    spec = next(spec for spec in TOOLS if spec.name == call.tool)
    function = {"name": call.tool, "arguments": json.dumps(call.values(spec))}
    return {"id": call_id(number), "type": "function", "function": function}


def test_a_native_call_and_its_result() -> None:
    talk = Talk(reply("I look.", READ), reply("", EDIT))
    assert talk.call() == READ
    talk.observe("lines")
    assert talk.call() == EDIT
    assert talk.messages == [
        {"role": "assistant", "content": "I look.", "tool_calls": [tool_call(0, READ)]},
        {"role": "tool", "tool_call_id": call_id(0), "content": "lines"},
        {"role": "assistant", "content": "", "tool_calls": [tool_call(1, EDIT)]},
    ]
    assert len(set(talk.engine.seeds)) == 2 and not talk.lines


@pytest.mark.parametrize("text", [qwen_text, devstral_text])
@pytest.mark.parametrize("call", [READ, EDIT])
def test_a_clean_call_in_the_text_is_run_and_sent_on_as_a_call(text: Any, call: Call) -> None:
    talk = Talk(reply(text(call)))
    assert talk.call() == call
    (message,) = talk.messages
    assert message["content"] == "I look." and message["tool_calls"] == [tool_call(0, call)]
    # As it came it is in the transcript too.
    kept = chat_encoder().encode_text(text(call))
    ids = list(talk.transcript.ids)
    assert any(ids[at : at + len(kept)] == kept for at in range(len(ids)))


def test_a_repaired_call_is_run_where_it_changes_nothing_and_shown_back_where_it_does() -> None:
    talk = Talk(reply(qwen_text_without_opener(READ)))
    assert talk.call() == READ and not talk.lines
    talk = Talk(reply(qwen_text_without_opener(EDIT)), reply("", EDIT))
    assert talk.call() == EDIT
    first, result, second = talk.messages
    assert first["tool_calls"] == [tool_call(0, EDIT)] and second["tool_calls"] == [tool_call(1, EDIT)]
    assert "repaired" in result["content"] and len(talk.lines) == 1


def test_of_several_calls_the_first_is_done_and_the_others_are_answered() -> None:
    talk = Talk(reply("", READ, EDIT, READ), reply("", EDIT))
    assert talk.call() == READ
    talk.observe("lines")
    assert talk.call() == EDIT
    assert [m["content"] for m in talk.messages if m["role"] == "tool"] == ["lines", ONE_CALL, ONE_CALL]
    assert [m["tool_call_id"] for m in talk.messages if m["role"] == "tool"] == [call_id(n) for n in range(3)]
    assert talk.writer.number(talk.transcript) == 3


def test_a_later_call_that_cannot_be_sent_back_is_left_out() -> None:
    talk = Talk(reply("", READ, ("edit", '{"path": a')), reply("", EDIT))
    assert talk.call() == READ
    talk.observe()
    assert talk.call() == EDIT
    assert [len(m["tool_calls"]) for m in talk.messages if m["role"] == "assistant"] == [1, 1]


def test_cut_arguments_are_shown_back_and_not_run() -> None:
    """What could be read of them is sent back as a call, as a server takes only arguments that are JSON."""
    talk = Talk(reply("Now.", ("edit", '{"path": "a.py", "new": "x')), reply("", EDIT))
    assert talk.call() == EDIT
    said, result, _ = talk.messages
    assert said["content"] == "Now."
    assert json.loads(said["tool_calls"][0]["function"]["arguments"]) == {"path": "a.py", "new": "x"}
    assert result["role"] == "tool" and "edit(path: string" in result["content"]


def test_arguments_that_cannot_be_read_are_shown_back_as_text() -> None:
    talk = Talk(reply("Now.", ("edit", '{"path": a.py, "new')), reply("", EDIT))
    assert talk.call() == EDIT
    said, asked, _ = talk.messages
    assert said == {"role": "assistant", "content": 'Now.\nedit({"path": a.py, "new)'}
    assert asked["role"] == "user" and "was not run" in asked["content"]


def test_an_answer_cut_at_its_limit_is_asked_for_shorter() -> None:
    cut = reply("", ("edit", '{"path": "a.py", "new": "x'), finish="length")
    talk = Talk(cut, reply("long", finish="length"), reply("", EDIT))
    assert talk.call() == EDIT
    asked = [m["content"] for m in talk.messages if m["role"] in ("tool", "user")]
    assert "make a shorter call" in asked[0] and "cut at its limit" in asked[1]


def test_unknown_tools_and_wrong_arguments_get_a_result() -> None:
    talk = Talk(reply("", ("write_file", "{}")), reply("", ("read", '{"file": "a.py"}'), READ), reply("", READ))
    assert talk.call() == READ
    results = [m["content"] for m in talk.messages if m["role"] == "tool"]
    assert len(results) == 3 and results[2] == ONE_CALL
    assert "write_file" in results[0] and "path" in results[1]


def test_a_name_that_no_server_takes_back_is_sent_as_text() -> None:
    talk = Talk(reply("", ("read the file!", "{}")), reply("", READ))
    assert talk.call() == READ
    assert [m["role"] for m in talk.messages] == ["assistant", "user", "assistant"]


def test_a_tool_that_cannot_be_called_now() -> None:
    talk = Talk(reply("", READ), reply("", EDIT), tools=["edit"])
    assert talk.call() == EDIT
    assert talk.messages[1]["content"] == "read cannot be called now, only edit."


def test_nothing_said() -> None:
    talk = Talk(reply(""), reply("", READ))
    assert talk.call() == READ
    assert [m["content"] for m in talk.messages[:1]] == ["(nothing)"]


def test_a_call_inside_the_thinking_is_found_and_changes_nothing() -> None:
    talk = Talk(reply("", thinking=qwen_text(READ)))
    assert talk.call() == READ
    talk = Talk(reply("", thinking=qwen_text(EDIT)), reply("", EDIT, thinking="hm"))
    assert talk.call() == EDIT and len(talk.lines) == 1
    assert talk.messages[-1]["reasoning_content"] == "hm"


def test_after_a_few_the_turn_ends() -> None:
    talk = Talk(*[reply("I will now read.")] * 9)
    with pytest.raises(LimitReached, match="3 answers in a row without a call that can be run"):
        talk.call()
    assert len(talk.engine.prompts) == MAX_LOST


def test_no_answer_is_asked_for_where_there_is_no_room() -> None:
    talk = Talk(reply("", READ), window=700)
    with pytest.raises(WindowFull):
        talk.call()
    assert not talk.engine.prompts


def test_the_window_is_what_the_server_counts() -> None:
    talk = Talk(reply("", READ), window=10_000)
    talk.engine.script = [ChatReply("", "", reply("", READ).calls, "stop", prompt_tokens=2 * len(talk.transcript))]
    talk.call()
    assert talk.tokens.context_window == 5_000  # each of our ids is two of the server's tokens
    talk.engine.script = [ContextExceededError(20_000, 8_000)]
    with pytest.raises(WindowFull, match="20000 tokens"):
        talk.call()
    assert talk.tokens.context_window == int(8_000 * len(talk.transcript) / 20_000)


def test_a_server_that_tells_no_figures_is_believed_all_the_same() -> None:
    talk = Talk(ContextExceededError(None, None))
    with pytest.raises(WindowFull):
        talk.call()
    assert talk.tokens.context_window < len(talk.transcript)


FRAGMENTS = st.sampled_from(
    [
        "I will now read.",
        "<tool_call>\n<function=read>\n<parameter=path>\na.py\n</parameter>\n</function>\n</tool_call>",
        "<function=edit>\n<parameter=path>\na.py\n",
        "[TOOL_CALLS]edit[ARGS]{",
        '{"name": "read", "arguments": {"path": "a.py"}}',
        "<think>",
        "</think>",
        " ",
        "\ud800",
        "<|chat:call|>",
    ]
)
TEXTS = st.one_of(st.text(max_size=30), st.lists(FRAGMENTS, max_size=4).map("".join))
NAMES = st.sampled_from(["read", "edit", "run", "finish", "write", "", "a b", "read[ARGS]"])
ARGUMENTS = st.one_of(
    st.sampled_from(["", "{}", "[]", "null", '{"path": "a.py", "start": 1, "end": 2}', '{"command": "ls', "{'a': 1}"]),
    st.text(max_size=20),
)
REPLIES = st.builds(
    ChatReply,
    TEXTS,
    TEXTS,
    st.lists(st.builds(NativeCall, st.just("x"), NAMES, ARGUMENTS), max_size=3).map(tuple),
    st.sampled_from(["stop", "length", "tool_calls", ""]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(REPLIES, min_size=1, max_size=8))
def test_whatever_comes_the_conversation_stays_legal(script: list[ChatReply]) -> None:
    talk = Talk(*script, reply("", READ), reply("", READ), reply("", READ))
    try:
        while talk.engine.script:
            talk.call()  # FakeChatEngine holds every prompt to be legal
            talk.observe()
    except LimitReached:
        pass
    assert talk.engine.prompts
