"""Chat endpoints: the virtual vocabulary, messages from ids, streams as servers send them, what errors mean."""

import json
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fake_chat_server import (
    FakeChatServer,
    Fault,
    Handler,
    begin,
    call_deltas,
    chunk,
    drops,
    end,
    event,
    send,
    silent,
    status,
    stream,
    text_deltas,
    usage,
)
from tests.vocabularies import qwen, tekken

from tinsmith.dialects import Call, ChatTranscript, Control, Encoder, WrittenCall, call_id, chat_encoder, messages_of
from tinsmith.dialects.chat_transcript import cut, open_calls
from tinsmith.engines import (
    Cancelled,
    ChatReply,
    ContextExceededError,
    EngineChoice,
    OpenAIChatEngine,
    Patience,
    open_chat_engine,
)
from tinsmith.engines.chat_errors import Busy, NoToolParser, UnknownParameter, refused
from tinsmith.engines.chat_http import is_loopback
from tinsmith.engines.chat_stream import Assembly, NativeCall
from tinsmith.errors import EngineError, InputError
from tinsmith.models import find_endpoint
from tinsmith.resolve.speaking import speak_with_endpoint
from tinsmith.tools import TOOLS

CHAT = ChatTranscript()
HASTY = Patience(busy=0.6, first_wait=0.01, longest_wait=0.05, silence=5.0)
READ = Call("read", {"path": "shop.py", "start": "1", "end": "9"})
MESSAGES = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]


# The virtual vocabulary.


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=4, max_size=4), st.booleans())
def test_messages_are_exactly_what_was_written(texts: list[str], hostile: bool) -> None:
    encoder = chat_encoder()
    marks = [span.text for span in CHAT.system("", ()) if isinstance(span, Control)]
    system, user, said, result = (marks[i % 2] + text + marks[0] if hostile else text for i, text in enumerate(texts))
    arguments = json.dumps({"path": said})
    spans = [
        *CHAT.system(system, TOOLS),
        *CHAT.user(user),
        *CHAT.assistant(said, "thought", [WrittenCall("read", arguments)], unsent="as it came"),
        *CHAT.observation(result),
    ]
    ids = encoder.encode(spans)
    prompt = messages_of(ids)
    assert prompt.tools == [tool.as_json() for tool in TOOLS]
    call = {"id": call_id(0), "type": "function", "function": {"name": "read", "arguments": arguments}}
    assert prompt.messages == [
        {"role": "system", "content": system},
        {"role": "user", "content": user},
        {"role": "assistant", "content": said, "reasoning_content": "thought", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call_id(0), "content": result},
    ]
    assert not encoder.reserved_ids.intersection(encoder.encode_text("".join(texts + marks)))


def test_lone_surrogates_become_what_utf_8_has() -> None:
    (message,) = messages_of(chat_encoder().encode(CHAT.user("a\ud800b"))).messages
    assert message["content"] == "a\ufffdb"


def test_text_goes_on_in_a_turn_that_is_not_ended() -> None:
    """As where the record is written after the brief."""
    encoder = chat_encoder()
    ids = [*encoder.encode(CHAT.user("brief")[:-1]), *encoder.encode([*CHAT.user("x")[1:-1], *CHAT.user_end()])]
    assert messages_of(ids).messages == [{"role": "user", "content": "briefx"}]


def test_results_belong_to_calls_by_their_order() -> None:
    encoder = chat_encoder()
    calls = [WrittenCall("read", "{}"), WrittenCall("run", "{}")]
    ids = encoder.encode([*CHAT.user("u"), *CHAT.assistant("", calls=calls), *CHAT.observation("one")])
    assert open_calls(ids) == 1
    ids += encoder.encode(CHAT.observation("two"))
    assert open_calls(ids) == 0
    tools = [message for message in messages_of(ids).messages if message["role"] == "tool"]
    assert [(tool["tool_call_id"], tool["content"]) for tool in tools] == [(call_id(0), "one"), (call_id(1), "two")]
    with pytest.raises(ValueError, match="without a call"):
        messages_of([*ids, *encoder.encode(CHAT.observation("three"))])


def test_its_length_is_a_careful_estimate_of_real_tokens() -> None:
    """Over all of our own code: more ids than either family's tokenizer makes."""
    source = "".join(path.read_text() for path in sorted(Path("src/tinsmith/tools").rglob("*.py")))
    ours = len(cut(source))
    for encoding in (qwen(), tekken()):
        real = len(encoding.encode_ordinary(source))
        assert real < ours < 2 * real


# Streams as servers send them.


def assembled(*events: Any) -> ChatReply:
    assembly = Assembly()
    for each in events:
        for line in (each if isinstance(each, str) else event(each)).encode().split(b"\n"):
            assembly.line(line)
    return assembly.reply(None)


def called(arguments: Any, **fields: Any) -> dict[str, Any]:
    name = fields.pop("name", None)
    function = {"arguments": arguments} | ({"name": name} if name is not None else {})
    return chunk({"tool_calls": [{**fields, "function": function}]})


@pytest.mark.parametrize(
    ("events", "calls"),
    [
        pytest.param(call_deltas(READ, size=1), 1, id="in single characters"),
        pytest.param(call_deltas(READ, size=10_000), 1, id="in one piece"),
        pytest.param(
            [called('{"a": ', index=0, id="x", name="read"), called("1}", index=0, id="x", name="read")],
            [("read", '{"a": 1}')],
            id="the name with every piece",
        ),
        pytest.param(
            [called('{"a": ', name="re"), called("1}", name="read")], [("read", '{"a": 1}')], id="the name growing"
        ),
        pytest.param(
            [called('{"a": ', id="x", name="read"), called("1}")], [("read", '{"a": 1}')], id="no index, one call"
        ),
        pytest.param(
            [called("{}", name="read"), called("{}", name="run")],
            [("read", "{}"), ("run", "{}")],
            id="nothing but names",
        ),
        pytest.param(
            [called("{}", index=0, id="x", name="read"), called("{}", index=0, id="y", name="run")],
            [("read", "{}"), ("run", "{}")],
            id="the same index for all",
        ),
        pytest.param(
            [
                called("", index=0, id="x", name="read"),
                called("", index=1, id="y", name="run"),
                called("{}", index=0),
                called('{"b": 2}', index=1),
            ],
            [("read", "{}"), ("run", '{"b": 2}')],
            id="two at once",
        ),
        pytest.param([called({"a": 1}, index=0, name="read")], [("read", '{"a": 1}')], id="arguments as an object"),
        pytest.param([called(None, index=0, id="x", name="run")], [("run", "")], id="no arguments"),
    ],
)
def test_calls_are_put_together(events: Sequence[Any], calls: int | list[tuple[str, str]]) -> None:
    found = [(call.name, call.arguments) for call in assembled(*events).calls]
    assert found == ([("read", json.dumps(READ.values(TOOLS[1])))] if calls == 1 else calls)


def test_what_is_no_part_of_the_message_is_passed_over() -> None:
    reply = assembled(
        ": ping\n\n",
        "event: message\n",
        "data: ping\n\n",
        {"choices": [], "prompt_progress": {"total": 9, "processed": 4}},
        chunk({"role": "assistant", "content": None}),
        chunk({"reasoning": "hm"}),
        chunk({"content": "a"}),
        {"object": "odd"},
        chunk({"content": "b"}, "stop"),
        "data: [DONE]\n\n",
    )
    assert (reply.text, reply.thinking, reply.calls, reply.finish) == ("ab", "hm", (), "stop")


def test_content_in_parts() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}]
    reply = assembled(chunk({"content": parts}))
    assert (reply.text, reply.thinking) == ("a", "hm")


# The engine over real HTTP.


def ask(server: FakeChatServer, patience: Patience = HASTY, **options: Any) -> tuple[ChatReply, list[str]]:
    lines: list[str] = []
    engine = OpenAIChatEngine(server.url, server.name, 8192, patience=patience, progress=lines.append)
    try:
        given = {"seed": 7, "limit": 64, **options}
        return engine.chat(MESSAGES, [tool.as_json() for tool in TOOLS], **given), lines
    finally:
        engine.close()


def raw(text: str, done: bool = True) -> Fault:
    """Sends `text` as a stream."""

    def fault(server: FakeChatServer, handler: Handler, call: Call) -> None:
        stream(handler, [text], done)

    return fault


def test_a_turn() -> None:
    with FakeChatServer([READ]) as server:
        reply, lines = ask(server)
    assert [call.name for call in reply.calls] == ["read"] and reply.finish == "tool_calls" and not lines
    (body,) = server.requests
    assert body["model"] == "fake-coder" and body["stream"] is True and body["max_tokens"] == 64 and body["seed"] == 7
    assert reply.prompt_tokens == server.tokens(body)


def test_the_account_is_the_servers() -> None:
    def fault(server: FakeChatServer, handler: Handler, call: Call) -> None:
        stream(handler, [*call_deltas(call), usage(1000, 20, cached=900)])

    with FakeChatServer([READ], {0: fault, 1: fault}) as server:
        engine = OpenAIChatEngine(server.url, "m", 8192, patience=HASTY)
        engine.begin_turn()
        for _ in range(2):
            engine.chat(MESSAGES, [], seed=1, limit=9)
        turn = engine.end_turn()
        engine.close()
    assert (turn.prefilled, turn.reused, turn.decoded, turn.requests) == (200, 900, 40, 2)
    assert (engine.usage.prefilled, engine.usage.reused) == (200, 1800)
    assert "tools" not in server.requests[0] and "tool_choice" not in server.requests[0]


def test_llama_cpps_timings_are_an_account_too() -> None:
    def fault(server: FakeChatServer, handler: Handler, call: Call) -> None:
        timings = {"prompt_n": 10, "cache_n": 90, "predicted_n": 5, "prompt_ms": 200.0, "predicted_ms": 50.0}
        stream(handler, [*text_deltas("a"), {"choices": [], "timings": timings}])

    with FakeChatServer([READ], {0: fault}) as server:
        engine = OpenAIChatEngine(server.url, "m", 8192, patience=HASTY)
        engine.begin_turn()
        assert engine.chat(MESSAGES, [], seed=1, limit=9).prompt_tokens == 100
        turn = engine.end_turn()
        engine.close()
    assert (turn.prefilled, turn.reused, turn.decoded) == (10, 90, 5)
    assert (turn.prefill_seconds, turn.decode_seconds) == (0.2, 0.05)


def test_thinking_goes_back_under_the_name_that_the_server_gave_it() -> None:
    def fault(server: FakeChatServer, handler: Handler, call: Call) -> None:
        stream(handler, [chunk({"reasoning": "hm"}), *call_deltas(call)])

    with FakeChatServer([READ], {0: fault}) as server:
        engine = OpenAIChatEngine(server.url, "m", 8192, patience=HASTY)
        engine.chat(MESSAGES, [], seed=1, limit=9)
        answered = {"role": "assistant", "content": "a", "reasoning_content": "hm"}
        engine.chat([*MESSAGES, answered, {"role": "user", "content": "go on"}], [], seed=1, limit=9)
        engine.close()
    assert server.requests[1]["messages"][2] == {"role": "assistant", "content": "a", "reasoning": "hm"}


@pytest.mark.parametrize("done", [True, False])
def test_line_ends_of_unicode_inside_json_and_a_missing_done(done: bool) -> None:
    text = 'data: {"choices": [{"delta": {"content": "a\u2028b\x85c"}, "finish_reason": "stop"}]}\n\n'
    with FakeChatServer([READ], {0: raw(text, done)}) as server:
        reply, lines = ask(server)
    assert reply.text == "a\u2028b\x85c" and not lines


def test_a_server_that_does_not_stream_and_writes_its_json_in_lines() -> None:
    def fault(server: FakeChatServer, handler: Handler, call: Call) -> None:
        message = {"role": "assistant", "content": "hello", "tool_calls": None}
        body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}, indent=2).encode()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    with FakeChatServer([READ], {0: fault}) as server:
        reply, _ = ask(server)
    assert reply.text == "hello"


def test_a_server_that_does_not_let_go_after_the_end() -> None:
    def fault(server: FakeChatServer, handler: Handler, call: Call) -> None:
        begin(handler)
        send(handler, event(chunk({"content": "whole"}, "stop")))
        time.sleep(4.5)
        end(handler)

    with FakeChatServer([READ], {0: fault}) as server:
        started = time.monotonic()
        reply, _ = ask(server)
        assert time.monotonic() - started < 4.0
    assert reply.text == "whole"


def breaks_an_event(server: FakeChatServer, handler: Handler, call: Call) -> None:
    """A hole in the arguments that leaves them JSON."""
    stream(handler, [*call_deltas(call)[:3], 'data: {"choices": [{"delta"\n\n', *call_deltas(call)[4:]])


def error_inside(server: FakeChatServer, handler: Handler, call: Call) -> None:
    stream(handler, [chunk({"content": "a"}), {"error": {"code": 500, "message": "out of memory"}}])


def hangs_up(server: FakeChatServer, handler: Handler, call: Call) -> None:
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    "faults",
    [
        {0: status(503), 1: status(500), 2: status(429, "slow", {"Retry-After": "0.02"}), 3: status(502)},
        {0: drops, 1: drops},
        {0: breaks_an_event},
        {0: error_inside, 1: hangs_up},
        {0: status(400, "[json.exception.type_error.316] invalid UTF-8 byte at index 9")},
    ],
)
def test_asked_again_until_there_is_a_whole_answer(faults: dict[int, Fault]) -> None:
    with FakeChatServer([READ], faults) as server:
        reply, lines = ask(server)
    assert [call.arguments for call in reply.calls] == [json.dumps(READ.values(TOOLS[1]))]
    assert len(lines) == len(faults)
    # Another draw each time: the same one could end the same way.
    assert [body["seed"] for body in server.requests] == [7 + at for at in range(len(faults) + 1)]


def test_both_kinds_of_trying_again_are_bounded() -> None:
    for fault, code in ((drops, "engine_died"), (status(503, "Loading model"), "engine_unreachable")):
        with FakeChatServer([READ], dict.fromkeys(range(999), fault)) as server:
            with pytest.raises(EngineError) as caught:
                ask(server)
            assert caught.value.code == code and "--resume" in caught.value.remedy
            assert len(server.requests) >= 3
            assert code == "engine_unreachable" or len(server.requests) == 3


def test_a_server_that_is_away_and_comes_back() -> None:
    with FakeChatServer([READ]) as server:
        port = int(server.url.rsplit(":", 1)[1].split("/")[0])
    lines: list[str] = []
    back: list[FakeChatServer] = []

    def progress(line: str) -> None:
        lines.append(line)
        if len(lines) == 4:
            back.append(FakeChatServer([READ], port=port).__enter__())

    engine = OpenAIChatEngine(server.url, "m", 8192, patience=HASTY, progress=progress)
    assert engine.chat(MESSAGES, [], seed=1, limit=9).calls
    engine.close()
    back[0].__exit__()
    assert len(lines) == 4 and all("asking again" in line for line in lines)


def test_retry_after_is_honoured_and_not_beyond_patience() -> None:
    with FakeChatServer([READ], {0: status(429, "slow", {"Retry-After": "0.3"})}) as server:
        started = time.monotonic()
        ask(server)
        assert time.monotonic() - started >= 0.3
    late = {0: status(429, "come back tomorrow", {"Retry-After": "86400"})}
    with FakeChatServer([READ], late) as server, pytest.raises(EngineError, match="come back tomorrow"):
        ask(server)


def test_silence_is_limited_and_nothing_else_is() -> None:
    """At a thousandth: ten minutes of silence are waited for, more than thirty are not; and an answer that drips for
    longer than that is read to its end."""
    patience = Patience(silence=1.8)
    with FakeChatServer([READ], {0: silent(0.6)}) as server:
        assert ask(server, patience)[0].calls
    with FakeChatServer([READ], {0: silent(30.0)}) as server:
        started = time.monotonic()
        with pytest.raises(EngineError) as caught:
            ask(server, patience)
        assert caught.value.code == "engine_silent" and 1.7 < time.monotonic() - started < 10
        assert len(server.requests) == 1  # whoever is silent is not asked the same once more

    def drips(server: FakeChatServer, handler: Handler, call: Call) -> None:
        begin(handler)
        for letter in "abcdefgh":
            send(handler, ": ping\n\n")
            time.sleep(0.3)
            send(handler, event(chunk({"content": letter})))
        send(handler, event(chunk({}, "stop")))
        end(handler)

    with FakeChatServer([READ], {0: drips}) as server:
        assert ask(server, Patience(silence=1.0))[0].text == "abcdefgh"


@pytest.mark.parametrize("bytes_first", [True, False])
def test_cancelling_closes_the_connection_at_once(bytes_first: bool) -> None:
    cancel = threading.Event()
    gone: list[float] = []

    def waits(server: FakeChatServer, handler: Handler, call: Call) -> None:
        if bytes_first:
            begin(handler)
            send(handler, event(chunk({"content": "a"})))
        cancel.set()
        handler.connection.settimeout(10)
        assert handler.connection.recv(1) == b""
        gone.append(time.monotonic())
        server.gone.set()

    with FakeChatServer([READ], {0: waits}) as server:
        with pytest.raises(Cancelled):
            ask(server, cancel=cancel)
        raised = time.monotonic()
        assert server.gone.wait(5)
    assert gone[0] - raised < 1.0


def test_a_parameter_that_the_server_does_not_know_is_left_out_from_then_on() -> None:
    faults = {
        0: status(400, "Unrecognized request argument supplied: return_progress"),
        1: status(422, "{'loc': ['body', 'stream_options'], 'msg': 'Extra inputs are not permitted'}"),
    }
    with FakeChatServer([READ], faults) as server:
        reply, lines = ask(server)
    assert reply.calls and not lines
    assert "return_progress" not in server.requests[1] and "stream_options" in server.requests[1]
    assert "return_progress" not in server.requests[2] and "stream_options" not in server.requests[2]


def test_a_vllm_without_a_tool_parser_is_asked_for_text() -> None:
    words = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
    with FakeChatServer([READ], {0: status(400, words)}) as server:
        ask(server)
    assert [body["tool_choice"] for body in server.requests] == ["auto", "none"]
    assert server.requests[1]["tools"]
    always = dict.fromkeys(range(9), status(400, words))
    with FakeChatServer([READ], always) as server, pytest.raises(EngineError, match="takes no tools"):
        ask(server)
    assert len(server.requests) == 2


def test_a_refusal_that_goes_on_naming_a_parameter_ends() -> None:
    always = dict.fromkeys(range(9), status(400, "bad seed"))
    with FakeChatServer([READ], always) as server, pytest.raises(EngineError, match="bad seed"):
        ask(server)
    assert ["seed" in body for body in server.requests] == [True, False]


# What refusals mean.

TOO_LONG = [
    ("This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.", 9001, 8192),
    (
        "This model's maximum context length is 32768 tokens. However, you requested 33000 tokens (32000 in the "
        "messages, 1000 in the completion). Please reduce the length of the messages or completion.",
        32000,
        32768,
    ),
    (
        "'max_tokens' or 'max_completion_tokens' is too large: 6000. This model's maximum context length is 32768 "
        "tokens and your request has 30000 input tokens (6000 > 32768 - 30000).",
        30000,
        32768,
    ),
    ("The decoder prompt (length 40000) is longer than the maximum model length of 32768.", 40000, 32768),
    (
        "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
        40000,
        32768,
    ),
    ("Input length (40000 tokens) exceeds the maximum allowed length (32768 tokens).", 40000, 32768),
    ("Range of input length should be [1, 258048]", None, 258048),
    (
        "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded with context "
        "length of only 4096 tokens, which is not enough.",
        9000,
        4096,
    ),
    ("request (40000 tokens) exceeds the available context size (32768 tokens), try increasing it", 40000, 32768),
    ("prompt is too long: 210,000 tokens > 200,000 maximum", 210000, 200000),
    ("prompt too long; exceeded max context length by 12 tokens", None, None),
    ("the input length exceeds the context length", None, None),
]


def meaning(code: int, body: Any, retry_after: str = "") -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return refused(code, retry_after, data, "http://h/v1", "m", ("seed",))


@pytest.mark.parametrize(("words", "prompt", "window"), TOO_LONG)
def test_a_prompt_that_is_too_long(words: str, prompt: int | None, window: int | None) -> None:
    for body in (
        {"error": {"message": words, "type": "BadRequestError"}},
        {"error": words},
        {"detail": words},
        words.encode(),
    ):
        error = meaning(400, body)
        assert isinstance(error, ContextExceededError), error
        assert (error.prompt_tokens, error.window) == (prompt, window)
    assert error.code == "context_exceeded" and error.exit_code == 5


def test_llama_cpps_own_words_for_it_and_openais_code() -> None:
    error = meaning(
        400, {"error": {"type": "exceed_context_size_error", "n_prompt_tokens": 40, "n_ctx": 32, "message": ""}}
    )
    assert isinstance(error, ContextExceededError) and (error.prompt_tokens, error.window) == (40, 32)
    error = meaning(400, {"error": {"code": "context_length_exceeded", "message": "no"}})
    assert isinstance(error, ContextExceededError) and (error.prompt_tokens, error.window) == (None, None)


@pytest.mark.parametrize("code", [401, 403])
def test_a_wrong_key(code: int) -> None:
    error = meaning(code, {"error": {"message": "bad key"}})
    assert isinstance(error, InputError) and error.code == "key_refused" and "TINSMITH_API_KEY" in error.remedy


def test_other_refusals() -> None:
    assert isinstance(meaning(404, {"error": {"message": "no model m"}}), InputError)
    assert isinstance(meaning(307, b""), InputError)
    busy = meaning(503, {"error": "Loading model"}, "12")
    assert isinstance(busy, Busy) and busy.wait == 12.0 and "Loading model" in str(busy)
    assert isinstance(meaning(429, b"<html>", "Wed, 21 Oct 2026 07:28:00 GMT"), Busy)
    assert isinstance(meaning(400, {"message": "seed is not supported"}), UnknownParameter)
    assert isinstance(meaning(400, {"message": "auto tool choice requires a parser"}), NoToolParser)
    error = meaning(400, [{"error": {"message": "who knows"}}])
    assert isinstance(error, EngineError) and error.code == "engine_refused" and "who knows" in error.message


# What is served.


def test_the_first_model_that_is_served_and_its_window() -> None:
    with FakeChatServer([READ], window=20_000) as server:
        engine = open_chat_engine(server.url)
        assert (engine.model, engine.context_window) == ("fake-coder", 20_000)
        engine.close()
        engine = open_chat_engine(server.url.removesuffix("/v1"), context=16_000)
        assert engine.context_window == 16_000
        engine.close()
        with pytest.raises(InputError, match="does not serve 'other'") as caught:
            open_chat_engine(server.url, served="other")
        assert "fake-coder" in caught.value.remedy


def test_a_window_that_nobody_tells_is_asked_for() -> None:
    with FakeChatServer([READ], tells_window=False) as server:
        with pytest.raises(EngineError) as caught:
            open_chat_engine(server.url)
        assert caught.value.code == "window_unknown" and "--context" in caught.value.remedy
        engine = open_chat_engine(server.url, context=9_000)
        assert engine.context_window == 9_000
        engine.close()


def test_a_server_that_is_not_there() -> None:
    with FakeChatServer([READ]) as server:
        url = server.url
    with pytest.raises(EngineError) as caught:
        open_chat_engine(url)
    assert caught.value.code == "engine_unreachable"
    for odd in ("ftp://h/v1", "http:///v1", "http://me:secret@h/v1"):
        with pytest.raises(InputError):
            open_chat_engine(odd)


def test_solder_ranks_and_so_cannot_be_used_through_a_chat_endpoint() -> None:
    with FakeChatServer([READ], name="models/solder.gguf") as server:
        endpoint = find_endpoint(server.url)
        assert endpoint is not None
        with pytest.raises(InputError) as caught:
            speak_with_endpoint(endpoint, EngineChoice(), None, "auto", lambda line: None, lambda reason: None, None)
    assert caught.value.code == "cannot_rank" and "--model solder" in caught.value.remedy


def test_what_names_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_endpoint("solder") is None and find_endpoint("/models/a.gguf") is None
    found = find_endpoint("https://host.example/v1/#qwen3-coder-plus")
    assert found is not None and (found.url, found.served) == ("https://host.example/v1", "qwen3-coder-plus")
    assert found.source == "https://host.example/v1#qwen3-coder-plus" and found.card.edit_domain == "free"
    monkeypatch.setenv("TINSMITH_MODEL", "http://127.0.0.1:8000/v1")
    assert (found := find_endpoint(None)) is not None and found.served is None


def test_a_password_in_a_url_is_refused_before_it_is_written_anywhere() -> None:
    with pytest.raises(InputError) as caught:
        find_endpoint("https://me:s3cret-of-mine@host.example/v1")
    assert "s3cret" not in str(caught.value) and caught.value.code == "bad_base_url"


def test_what_is_this_machine() -> None:
    for url in ("http://127.0.0.1:1/v1", "http://localhost/v1", "http://[::1]:80", "http://127.9.9.9"):
        assert is_loopback(url)
    for url in ("http://127.0.0.1.example/v1", "http://10.0.0.1", "https://host.example", "http://[::2]"):
        assert not is_loopback(url)


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with FakeChatServer([READ]) as server:
        assert ask(server)[0].calls == (NativeCall("call_1", "read", json.dumps(READ.values(TOOLS[1]))),)


def test_the_encoder_keeps_to_its_vocabulary() -> None:
    encoder = chat_encoder()
    assert isinstance(encoder, Encoder) and encoder.count("abcdefg") == 3
