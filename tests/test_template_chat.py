"""A model that is asked through its own chat template: whatever it answers is a call to run, or is asked again."""

import json
import random
import re
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fake_engine import Tokenizer, qwen_tokenizer
from tests.fake_log import FakeLog
from tests.template_oracle import TEMPLATES, template
from tests.test_agent import FakeCopy, FakeJudge, FakeShell
from tests.test_chat_writer import FakeTools

from tinsmith.agent import (
    MAX_LOST,
    ChatSpeaker,
    LimitReached,
    Limits,
    Loop,
    Opening,
    State,
    TemplateChat,
    Transcript,
)
from tinsmith.dialects import Call, ChatTemplate, Conversation, Exchange, calls_as_text, messages_of, without_system
from tinsmith.dialects.tolerant import (
    CallStarted,
    TextDelta,
    TolerantParser,
    is_safe_to_run,
    parse_text,
    split_channels,
)
from tinsmith.engines import (
    GREEDY,
    Cancelled,
    ContextExceededError,
    Generation,
    Grammar,
    Sampling,
    Token,
    TokenEngine,
    TurnUsage,
    Usage,
    open_engine,
)
from tinsmith.errors import InputError
from tinsmith.models import GGUFHeader
from tinsmith.models.random_weights import Shape, TokenList, small_vocabulary, write_random
from tinsmith.tools import TOOLS, Files, Toolbox

READ = Call("read", {"path": "a.py", "start": "1", "end": "2"})
EDIT = Call("edit", {"path": "a.py", "start": "2", "end": "2", "new": '    y = "1" < 2\n\n    # é'})

LLAMA = """\
{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + ('ipython' if m.role == 'tool' else m.role) }}\
<|end_header_id|>

{% if m.role == 'system' %}{% for t in tools or [] %}{{ t | tojson }}
{% endfor %}{% endif %}{% if m.tool_calls %}{% if m.tool_calls | length != 1 %}{{ raise_exception('one call') }}\
{% endif %}{{ '{"name": "' + m.tool_calls[0].function.name + '", "parameters": ' }}\
{{ m.tool_calls[0].function.arguments | tojson }}}{% else %}{{ m.content }}{% endif %}<|eot_id|>{% endfor %}\
{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"""
"""As Llama 3's template: one call a turn, as bare JSON."""

STRICT = """\
{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}\
{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}\
{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}\
{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content + '<end_of_turn>\n' }}\
{% endfor %}{{ '<start_of_turn>model\n' }}"""
"""As Gemma 2's: no system text, no tools, strict alternation."""

NO_SYSTEM = template("granite-4.0").replace(
    "{%- set ns =", "{%- if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{%- set ns =", 1
)
LOSES = "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}"

SOURCES = {path.stem: path.read_text(encoding="utf-8") for path in sorted(TEMPLATES.glob("*.jinja"))} | {
    "llama": LLAMA,
    "strict": STRICT,
    "no-system": NO_SYSTEM,
}
each_template = pytest.mark.parametrize("name", SOURCES)

_CHATML = ("<|endoftext|>", "<|im_start|>", "<think>", "</think>", "<tool_call>", "</tool_call>", "<tool_response>")
CONTROLS: dict[str, tuple[str, ...]] = {  # the last one ends an answer
    "gpt-oss": ("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|constrain|>", "<|return|>", "<|call|>"),
    "granite-4.0": ("<|start_of_role|>", "<|end_of_role|>", "<tool_call>", "</tool_call>", "<|end_of_text|>"),
    "glm-4.7-flash": (
        *("[gMASK]", "<sop>", "<|system|>", "<|user|>", "<|assistant|>", "<think>", "</think>", "<tool_call>"),
        *("</tool_call>", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<tool_response>"),
        *("</tool_response>", "<|observation|>"),
    ),
    "deepseek-v3.1": (
        *(
            "<s>",
            "<｜User｜>",
            "<｜Assistant｜>",
            "<think>",
            "</think>",
            "<｜tool▁calls▁begin｜>",
            "<｜tool▁call▁begin｜>",
        ),
        *("<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>", "<｜end▁of▁sentence｜>"),
    ),
    "llama": ("<s>", "<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>", "<|eot_id|>"),
    "mistral-small-3.2": (
        *("<s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
        *("[TOOL_RESULTS]", "[TOOL_CONTENT]", "[/TOOL_RESULTS]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "</s>"),
    ),
    "strict": ("<s>", "<start_of_turn>", "<end_of_turn>"),
}


def tokenizer(name: str) -> Tokenizer:
    return qwen_tokenizer(CONTROLS.get(name, (*_CHATML, "</tool_response>", "<|im_end|>")))


class FakeTyping:
    """A `TokenEngine` that types the answers of a script: texts, in which the names of control tokens are these."""

    def __init__(self, tokenizer: Tokenizer, answers: Sequence[str], context_window: int = 32_768) -> None:
        self.vocabulary, self._tokenize = tokenizer
        self.context_window = context_window
        self.usage = Usage()
        self.answers = list(answers)
        self.prompts: list[list[int]] = []
        self.samplings: list[Sampling] = []
        self.closed = False
        names = sorted(self.vocabulary.reserved, key=len, reverse=True)
        self._names = re.compile(f"({'|'.join(map(re.escape, names))})")

    def tokenize(self, text: str) -> list[int]:
        return self._tokenize(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))

    def tokenize_all(self, texts: Sequence[str]) -> list[list[int]]:
        return [self.tokenize(text) for text in texts]

    def detokenize(self, ids: Sequence[int]) -> bytes:
        return self.vocabulary.detokenize(ids)

    def warm(self, ids: Sequence[int], cancel: Event | None = None) -> None:
        pass

    def generate(
        self,
        ids: Sequence[int],
        *,
        grammar: Grammar | None = None,
        banned: Collection[int] = (),
        stop: Collection[int] = (),
        sampling: Sampling = GREEDY,
        limit: int,
        cancel: Event | None = None,
    ) -> Generation:
        if cancel is not None and cancel.is_set():
            raise Cancelled
        assert grammar is None and limit > 0 and len(ids) + limit <= self.context_window
        self.prompts.append(list(ids))
        self.samplings.append(sampling)
        found: list[int] = []
        for at, part in enumerate(self._names.split(self.answers.pop(0))):
            found += [self.vocabulary.reserved[part]] if at % 2 else self.tokenize(part)
        assert set(banned).isdisjoint(found) and not set(self.vocabulary.end_of_generation) & set(found)
        tokens = tuple(Token(token, None) for token in found)
        return Generation(tokens[:limit], "limit" if len(tokens) > limit else "eog")

    def choose(
        self, ids: Sequence[int], allowed: Sequence[int], sampling: Sampling = GREEDY, cancel: Event | None = None
    ) -> Token:
        raise AssertionError("nothing is chosen")

    def log_probs(self, ids: Sequence[int], forced: Sequence[int], cancel: Event | None = None) -> list[float]:
        raise AssertionError("nothing is scored")

    def next_log_probs(self, ids: Sequence[int], count: int, cancel: Event | None = None) -> dict[int, float]:
        raise AssertionError("nothing is scored")

    def score(self, ids: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[float]:
        raise AssertionError("nothing is scored")

    def begin_turn(self) -> None:
        pass

    def end_turn(self) -> TurnUsage:
        return TurnUsage(0, 0, 0, 0, 0.0, 0.0)

    def close(self) -> None:
        self.closed = True

    def text(self, prompt: int = -1) -> str:
        return self.detokenize(self.prompts[prompt]).decode()

    def reserved_in(self, prompt: int = -1) -> list[str]:
        names = {token: text for text, token in self.vocabulary.reserved.items()}
        return [names[token] for token in self.prompts[prompt] if token in names]


def chat_of(name: str, engine: TokenEngine, sampling: Sampling = GREEDY) -> TemplateChat:
    reserved = engine.vocabulary.reserved
    bos = "<s>" if "<s>" in reserved else ""
    return TemplateChat(engine, ChatTemplate(SOURCES[name], reserved, bos=bos), sampling, name)


class Talk:
    """A writer over a template, and a transcript that begins as a run does."""

    def __init__(self, name: str, *answers: str, issue: str = "It fails.", window: int = 32_768) -> None:
        self.engine = FakeTyping(tokenizer(name), answers, window)
        self.chat = chat_of(name, self.engine, Sampling(0.7, 20, 0.8))
        self.lines: list[str] = []
        self.speaker = ChatSpeaker(self.chat, self.lines.append)
        self.writer = self.speaker.writer(FakeTools(), Sampling(seed=3), 600)
        self.transcript = Transcript(self.speaker.encoder, FakeLog())
        self.transcript.write(self.speaker.turns.system("You repair code.", TOOLS), "system")
        self.transcript.write(self.speaker.turns.user(issue), "user")

    def call(self) -> Call:
        return self.writer.write(self.transcript).call

    def observe(self, text: str = "done") -> None:
        self.transcript.write(self.speaker.turns.observation(text), "observation")


def as_json(call: Call, arguments: str = "arguments") -> str:
    spec = next(spec for spec in TOOLS if spec.name == call.tool)
    return json.dumps({"name": call.tool, arguments: call.values(spec)})


def hermes(call: Call) -> str:
    return f"I look.\n<tool_call>\n{as_json(call)}\n</tool_call>"


def thinking_hermes(call: Call) -> str:
    return f"<think>\nHm: <tool_call> is next.\n</think>\n\n{hermes(call)}"


def after_thinking(call: Call) -> str:
    """Where the prompt opened the thinking, as the templates of late do."""
    return f"Hm: <tool_call> is next.\n</think>\n\n{hermes(call)}"


def _values(call: Call) -> str:
    return json.dumps(json.loads(as_json(call))["arguments"])


def harmony(call: Call) -> str:
    """The vendor's order: the model thinks, then the channel with the recipient."""
    thought = "<|channel|>analysis<|message|>I look.<|end|><|start|>assistant"
    return f"{thought}<|channel|>commentary to=functions.{call.tool} <|constrain|>json<|message|>{_values(call)}"


def harmony_recipient_first(call: Call) -> str:
    return f" to=functions.{call.tool}<|channel|>commentary json<|message|>{_values(call)}"


def harmony_preamble(call: Call) -> str:
    said = "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant"
    return f"{said}<|channel|>commentary to=functions.{call.tool}<|constrain|>json<|message|>{_values(call)}"


def glm(call: Call) -> str:
    pairs = "".join(f"<arg_key>{key}</arg_key><arg_value>{value}</arg_value>" for key, value in call.arguments.items())
    return f"I think.</think>I look.<tool_call>{call.tool}{pairs}</tool_call>"


def glm_in_lines(call: Call) -> str:
    """As GLM 4.5 and 4.6."""
    pairs = "".join(
        f"<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n" for key, value in call.arguments.items()
    )
    return f"I think.</think>\n<tool_call>{call.tool}\n{pairs}</tool_call>"


def deepseek(call: Call) -> str:
    inner = f"<｜tool▁call▁begin｜>{call.tool}<｜tool▁sep｜>{_values(call)}<｜tool▁call▁end｜>"
    return f"I look.<｜tool▁calls▁begin｜>{inner}<｜tool▁calls▁end｜>"


def deepseek_r1(call: Call) -> str:
    header = f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{call.tool}\n```json\n"
    return f"<｜tool▁calls▁begin｜>{header}{_values(call)}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>"


def kimi(call: Call) -> str:
    header = f"<|tool_call_begin|>functions.{call.tool}:0<|tool_call_argument_begin|>"
    return f"<|tool_calls_section_begin|>{header}{_values(call)}<|tool_call_end|><|tool_calls_section_end|>"


def llama(call: Call) -> str:
    return as_json(call, "parameters")


def llama_python_tag(call: Call) -> str:
    return f"<|python_tag|>{llama(call)}"


FORMS: list[tuple[str, Any]] = [
    *(("qwen3", hermes), ("qwen3", thinking_hermes), ("granite-4.0", hermes), ("smollm3", thinking_hermes)),
    *(("gpt-oss", harmony), ("gpt-oss", harmony_recipient_first), ("gpt-oss", harmony_preamble)),
    *(("glm-4.7-flash", glm), ("glm-4.7-flash", glm_in_lines), ("strict", hermes), ("no-system", hermes)),
    *(("deepseek-v3.1", deepseek), ("deepseek-v3.1", deepseek_r1), ("deepseek-v3.1", kimi), ("deepseek-v3.1", hermes)),
    *(("qwen3.5", after_thinking), ("qwen3.6", after_thinking), ("qwen3.8", after_thinking)),
    *(("llama", llama), ("llama", llama_python_tag)),
]
each_form = pytest.mark.parametrize(("name", "form"), FORMS, ids=lambda value: getattr(value, "__name__", value))


@each_form
def test_a_call_in_the_models_own_form_is_clean_and_runs(name: str, form: Any) -> None:
    talk = Talk(name, form(READ), form(EDIT), form(READ))
    assert talk.call() == READ
    talk.observe("lines of a.py")
    assert talk.call() == EDIT  # it changes a file, so it runs only if nothing was repaired
    talk.observe("edited")
    assert talk.call() == READ
    assert not talk.lines and not talk.engine.answers
    first, last = talk.engine.text(0), talk.engine.text()
    for text in ("You repair code.", "It fails.", *(f'"{spec.name}"' for spec in TOOLS)):
        assert name == "gpt-oss" or text in first
    assert "lines of a.py" in last and "edited" in last and "y = " in last
    assert "I think" not in last.replace("I think.</think>", "") and "<|start|>assistant<|start|>" not in last


def test_the_template_decides_what_is_control() -> None:
    talk = Talk("granite-4.0", hermes(READ), hermes(READ))
    talk.call()
    before = talk.engine.reserved_in()
    talk.observe()
    talk.call()
    call = ["<tool_call>", "</tool_call>", "<|end_of_text|>"]
    result = ["<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>", "<|start_of_role|>", "<|end_of_role|>"]
    assert talk.engine.reserved_in() == before + call + result
    # The turn before is the beginning of this one: its keys and values are in the cache.
    assert talk.engine.prompts[1][: len(talk.engine.prompts[0])] == talk.engine.prompts[0]


def test_thinking_that_the_prompt_opened_is_thinking() -> None:
    """A call in it changes nothing, and one that is taken back in it is none."""
    talk = Talk("glm-4.7-flash", f"Perhaps {glm(EDIT).partition('I look.')[2]}", glm(EDIT))
    assert talk.call() == EDIT and len(talk.lines) == 1
    taken_back = glm(EDIT).partition("I look.")[2]
    talk = Talk("glm-4.7-flash", f"Perhaps {taken_back} No.{glm(READ).removeprefix('I think.')}")
    assert talk.call() == READ and not talk.lines


@pytest.mark.parametrize("form", [hermes, llama])
def test_a_call_that_is_all_of_unfinished_thinking_changes_nothing(form: Any) -> None:
    only = form(EDIT).removeprefix("I look.\n")
    talk = Talk("qwen3.5", only, f"Hm.</think>{only}")
    assert talk.call() == EDIT and len(talk.lines) == 1
    talk.observe()
    # What it thought is kept apart, and stays with its call.
    messages = messages_of(talk.transcript.ids).messages
    assert [message.get("reasoning_content") for message in messages if "tool_calls" in message][-1] == "Hm."


@each_template
def test_a_damaged_call_is_shown_back_and_asked_again(name: str) -> None:
    form = next((form for known, form in FORMS if known == name), hermes)
    whole = form(EDIT)
    damaged = whole[: whole.rindex("2") + 3]  # cut inside the new text
    talk = Talk(name, damaged, "Hm.</think>I have nothing to call.", form(EDIT), form(READ))
    assert talk.call() == EDIT
    assert len(talk.lines) == 2 and not talk.engine.answers[1:]
    shown = talk.engine.text()
    assert "not run" in shown and "holds no call" in shown and "I have nothing to call." in shown
    talk.observe("edited")
    assert talk.call() == READ


def test_an_answer_that_never_calls_ends_the_run() -> None:
    talk = Talk("qwen3", *["I will read now."] * MAX_LOST)
    with pytest.raises(LimitReached, match="without a call"):
        talk.call()


def test_of_several_calls_the_first_runs_and_each_has_a_result() -> None:
    """Templates that write one call a turn (gpt-oss', Llama's) lose none."""
    for name, form in (("gpt-oss", harmony), ("llama", llama), ("granite-4.0", hermes)):
        two = form(READ) + "\n" + hermes(EDIT)
        two = f"[{form(READ)}, {form(EDIT)}]" if form is llama else two
        talk = Talk(name, two, form(EDIT))
        assert talk.call() == READ
        talk.observe("lines")
        assert talk.call() == EDIT
        assert "lines" in talk.engine.text() and "one call a turn" in talk.engine.text()
        assert "y = " in talk.engine.text()


def test_how_ids_are_drawn_is_the_cards() -> None:
    talk = Talk("qwen3", hermes(READ), hermes(READ))
    talk.call()
    talk.observe()
    talk.call()
    one, two = talk.engine.samplings
    assert (one.temperature, one.top_k, one.top_p) == (0.7, 20, 0.8) and one.seed != two.seed


def test_a_prompt_is_counted_and_one_too_long_is_not_sent() -> None:
    engine = FakeTyping(tokenizer("qwen3"), ["Hello.", "word " * 90], 600)
    chat = chat_of("qwen3", engine)
    reply = chat.chat([{"role": "user", "content": "hi"}], [], seed=1, limit=40)
    assert (reply.text, reply.finish, reply.prompt_tokens) == ("Hello.", "stop", len(engine.prompts[0]))
    reply = chat.chat([{"role": "user", "content": "hi"}], [], seed=1, limit=40)
    assert reply.finish == "length" and 30 < len(reply.text.split()) <= 40
    with pytest.raises(ContextExceededError) as raised:
        chat.chat([{"role": "user", "content": "word " * 570}], [], seed=1, limit=400)
    assert raised.value.window == 600 and 570 < (raised.value.prompt_tokens or 0) < 600
    assert len(engine.prompts) == 2
    cancelled = Event()
    cancelled.set()
    with pytest.raises(Cancelled):
        chat.chat([{"role": "user", "content": "hi"}], [], seed=1, limit=40, cancel=cancelled)
    chat.close()
    assert engine.closed


HOSTILE = "".join(
    f"{name} {name}{name[1:]} {name[:-1]}" for names in (*CONTROLS.values(), _CHATML, ("<|im_end|>",)) for name in names
)


@each_template
def test_hostile_text_stays_text(name: str) -> None:
    """In the issue, in results, and in what the model itself said without meaning control."""

    def controls(text: str) -> list[str]:
        form = next((form for known, form in FORMS if known == name), hermes)
        talk = Talk(name, form(Call("run", {"command": "x"})), form(READ), issue=f"a{text}z")
        talk.call()
        talk.observe(f"a{text}z")
        talk.call()
        # Harmless words would be as many tokens otherwise: only the reserved ones are compared.
        return talk.engine.reserved_in()

    assert controls(HOSTILE) == controls("harmless") != []


FRAGMENTS = [
    *("I will now read.", "<think>", "</think>", " ", "{", "<|channel|>analysis<|message|>", "<|channel|>"),
    *("<|start|>assistant", " to=functions.read", "<|message|>", "<tool_call>", "</tool_call>", "<tool_call>read"),
    *("<arg_key>path</arg_key>", "<arg_value>", "</arg_value>", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"),
    *("read<｜tool▁sep｜>{}", "<｜tool▁call▁end｜>", "[]", "[{}]", '{"name": "a b", "arguments": {}}', "\x00", "é"),
    *('{"name": "write", "arguments": {"x": 1}}', '{"name": "read", "arguments": {"path": "a.py"}}'),
    *(hermes(READ), harmony(EDIT), glm(READ), deepseek(EDIT), llama(READ), kimi(READ)[:60], glm(EDIT)[:80]),
]


@each_template
def test_whatever_it_answers_the_next_prompt_can_be_written(name: str) -> None:
    draw = random.Random(name)
    ends = set(CONTROLS.get(name, ("<|im_end|>",))[-1:])
    for _ in range(12):
        answers = ["".join(draw.choices(FRAGMENTS, k=draw.randrange(4))) for _ in range(10)]
        answers = [answer for answer in answers if not any(end in answer for end in ends)]
        talk = Talk(name, *answers)
        try:
            while len(talk.engine.answers) >= MAX_LOST:
                talk.call()
                talk.observe(draw.choice(["done", "", HOSTILE]))
        except LimitReached:
            pass
        assert talk.engine.prompts


HALVES = re.compile(r"</arg_value>\s*</tool_call>.*<tool_call>.*<arg_value>", re.DOTALL)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([*FRAGMENTS, "\n", "x"]), max_size=6).map("".join))
def test_a_hostile_value_is_never_read_wrong_and_clean(value: str) -> None:
    call = Call("edit", {**EDIT.arguments, "new": value})
    for form in (glm, glm_in_lines, deepseek, deepseek_r1, kimi, harmony, harmony_recipient_first):
        thinking = "<think>" if form in (glm, glm_in_lines) else ""
        text = split_channels(f"{thinking}{form(call)}")[1]
        if form is harmony_recipient_first:
            text = split_channels(f"<|start|>assistant{form(call)}")[1]
        first = parse_text(text, TOOLS).calls[0]
        if form in (glm, glm_in_lines) and HALVES.search(value):
            continue  # nothing tells it from two calls
        assert first.call == call or not is_safe_to_run(first, ["edit"])
        if thinking == "":  # JSON escapes what ends it
            assert first.call == call and not first.repairs


@pytest.mark.parametrize("form", [glm, glm_in_lines, deepseek, deepseek_r1, kimi])
def test_a_call_is_announced_as_it_streams(form: Any) -> None:
    text = form(EDIT)
    parser = TolerantParser(TOOLS, in_thinking="</think>" in text)
    events = [event for character in text for event in parser.feed(character)]
    assert CallStarted("edit") in events
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == parser.finish().said
    assert parser.finish() == parse_text(text, TOOLS, in_thinking="</think>" in text)


@pytest.mark.parametrize("cut", ["<｜tool▁call▁begin｜>", "<|tool_call_begin|>read", "</arg_value>", "<arg_key>a", " "])
def test_time_is_linear(cut: str) -> None:
    """A quarter of a megabyte, and four times as much: a quadratic reading would take minutes."""
    started = time.monotonic()
    for text in (cut * (250_000 // len(cut)), f"<tool_call>read<arg_key>a</arg_key><arg_value>{cut * 100_000}"):
        parse_text(text, TOOLS)
        parse_text(f"<｜tool▁call▁begin｜>read<｜tool▁sep｜>{text}", TOOLS)
    assert time.monotonic() - started < 10


def test_a_bare_call_must_be_exact() -> None:
    twice = '{"name": "edit", "name": "read", "parameters": {}}'
    for text in (
        f"Sure: {llama(EDIT)}",
        llama(EDIT)[:-1],
        f"{llama(EDIT)};",
        twice,
        llama(EDIT).replace('"path"', "path"),
    ):
        talk = Talk("llama", text, llama(READ))
        assert talk.call() == READ and len(talk.lines) == 1


def test_a_template_that_says_too_little_is_not_used() -> None:
    engine = FakeTyping(tokenizer("qwen3"), [])
    for source in (LOSES, "{{ raise_exception('never') }}"):
        with pytest.raises(InputError, match="template") as raised:
            TemplateChat(engine, ChatTemplate(source, engine.vocabulary.reserved), GREEDY, "m")
        assert raised.value.code == "template_failed"


def test_what_is_waived_is_said() -> None:
    assert "written as text" in chat_of("strict", FakeTyping(tokenizer("strict"), [])).waives
    assert "written as text" not in chat_of("qwen3", FakeTyping(tokenizer("qwen3"), [])).waives


def test_a_conversation_as_texts_alternates() -> None:
    past = (Exchange("one", "answer"), Exchange("two", ""))
    conversation = Conversation("three", (), past, "S", TOOLS[:1])
    text = calls_as_text(conversation)
    assert (text.past, text.user, text.steps, text.tools) == (past, "three", (), ())
    assert text.system.startswith("S\n\n# Tools") and f'"{TOOLS[0].name}"' in text.system
    assert without_system(text).past[0].user == f"{text.system}\n\none"
    assert without_system(Conversation("u", system="S")) == Conversation("S\n\nu")


class Session:
    """A loop with everything it needs, over an engine of ids and a template."""

    def __init__(self, chat: TemplateChat, root: Path, turns: int, reply_tokens: int, issue: str = "It fails.") -> None:
        self.log = FakeLog()
        speaker = ChatSpeaker(chat)
        toolbox = Toolbox(Files(root), FakeShell(), count=speaker.encoder.count)
        self.transcript = Transcript(speaker.encoder, self.log)
        self.transcript.write(speaker.turns.system("You repair code.", TOOLS), "system")
        self.transcript.write(speaker.turns.user(issue)[:-1], "user")
        at = len(self.transcript)
        self.transcript.write(speaker.turns.user_end(), "user")
        opening = Opening(self.transcript, at, len(self.transcript), lambda: None)
        copy = FakeCopy(root)
        self.loop = Loop(
            speaker.engine,
            speaker.turns,
            speaker.encoder,
            speaker.writer(toolbox, Sampling(seed=5), reply_tokens),
            toolbox,
            FakeJudge(root),
            copy,
            Limits(turns=turns),
            self.log,
            opening,
            State(copy.snapshot()),
            reply_tokens=reply_tokens,
        )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    (root / "a.py").write_text("".join(f"value_{n} = {n * 7919}\n" for n in range(400)))
    return root


@pytest.mark.parametrize(("name", "form"), [("qwen3", hermes), ("strict", hermes), ("glm-4.7-flash", glm)])
def test_a_full_window_is_forgotten_and_the_loop_goes_on(name: str, form: Any, root: Path) -> None:
    reads = [Call("read", {"path": "a.py", "start": str(1 + 20 * n), "end": str(60 + 20 * n)}) for n in range(15)]
    engine = FakeTyping(tokenizer(name), [form(call) for call in reads], 4_500)
    session = Session(chat_of(name, engine), root, turns=15, reply_tokens=300)
    end = session.loop.run(session.transcript)
    assert end.reason == "the limit of 15 turns"
    assert len(session.log.of("forgot")) >= 1 and len(session.log.of("turn")) == 15
    assert "value_319" in engine.text()  # the last result that it was told


def test_a_window_that_is_full_for_the_model_alone_is_forgotten_too(root: Path) -> None:
    """Digits are more of its tokens than of our ids: its count is believed."""
    (root / "a.py").write_text("\n".join(["1 2 3 4 5 6 7 8 9 0 " * 4] * 400))
    reads = [Call("read", {"path": "a.py", "start": str(1 + 9 * n), "end": str(9 + 9 * n)}) for n in range(20)]
    engine = FakeTyping(tokenizer("qwen3"), [hermes(call) for call in reads], 6_000)
    session = Session(chat_of("qwen3", engine), root, turns=20, reply_tokens=300)
    end = session.loop.run(session.transcript)
    assert end.reason == "the limit of 20 turns" and len(session.log.of("forgot")) >= 1


@pytest.fixture(scope="module", params=["qwen3", "granite-4.0", "strict", "gpt-oss"])
def random_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    name: str = request.param
    small = small_vocabulary()
    more = [text for text in CONTROLS.get(name, ()) if text not in small.texts]
    tokens = TokenList([*small.texts, *more], small.merges, control=(*small.control, *more), template=SOURCES[name])
    tiny = Shape(layers=1, d_model=32, heads=2, kv_heads=1, head_dim=16, ffn=32)
    yield write_random(tmp_path_factory.mktemp(name) / "r.gguf", tokens=tokens, shape=tiny, scale=0.15)


def test_a_model_that_knows_nothing_ends_at_a_limit(random_model: Path, root: Path) -> None:
    """The real engine, control tokens and all: nothing raises, and nothing is lost from the log."""
    header = GGUFHeader(random_model)
    with open_engine(random_model, context=8192) as engine:
        for seed in range(2):
            chat = TemplateChat(engine, ChatTemplate.of(header), Sampling(1.5, seed=seed), "random")
            session = Session(chat, root, turns=4, reply_tokens=48, issue=HOSTILE)
            end = session.loop.run(session.transcript)
            assert end.outcome == "limit"
            assert f"{MAX_LOST} answers in a row" in end.reason or "turns" in end.reason
            assert session.log.branches()[0] == list(session.transcript.ids)
            assert chat.usage.decoded >= MAX_LOST
