"""The tolerant parser: every damage that is known, and what must hold for any text at all. docs/lost-calls.md."""

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinsmith.dialects import (
    Call,
    Dialect,
    FunctionText,
    MistralV7,
    MistralV11,
    MistralV13,
    Parameter,
    QwenThinking,
    QwenXml,
    Span,
    ToolSpec,
    call_pieces,
)
from tinsmith.dialects.tolerant import (
    ArgumentDelta,
    CallStarted,
    Event,
    Parsed,
    ParsedCall,
    Repair,
    TextDelta,
    ThinkingDelta,
    TolerantParser,
    complaint,
    is_safe_to_run,
    native_calls,
    parse_text,
)
from tinsmith.dialects.tolerant.json_text import read_json
from tinsmith.tools import TOOLS

settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")

PLAN = ToolSpec(
    "plan",
    "Tools of others: every type.",
    (
        Parameter("items", "array", schema={"type": "array", "items": {"type": "object"}}),
        Parameter("note", "", required=False, schema={"anyOf": [{"type": "string"}, {"type": "null"}]}),
        Parameter("count", "", required=False, schema={"anyOf": [{"type": "integer"}, {"type": "string"}]}),
        Parameter("done", "boolean", required=False),
        Parameter("ratio", "number", required=False),
        Parameter("state", "string", required=False, schema={"type": "string", "enum": ["open", "closed"]}),
        Parameter("extra", "object", required=False),
    ),
)
ALL = (*TOOLS, PLAN)
MUTATING = ("edit", "run", "plan", "finish")


def qwen(name: str, **values: str) -> str:
    body = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items())
    return f"<tool_call>\n<function={name}>\n{body}</function>\n</tool_call>"


def only(text: str) -> ParsedCall:
    (call,) = parse_text(text, ALL).calls
    return call


def values(parsed: ParsedCall) -> dict[str, Any]:
    assert parsed.call is not None, parsed
    return parsed.call.values(next(spec for spec in ALL if spec.name == parsed.call.tool))


@dataclass(frozen=True)
class Damage:
    """`call`: what is read, None where the model is asked again; `repairs` that are named, None: whichever."""

    id: str
    text: str
    call: Call | None
    repairs: tuple[Repair, ...] | None = ()
    said: str = ""
    says: str = ""
    """What the problem tells."""


READ = Call("read", {"path": "a.py", "start": "1", "end": "20"})
READ_XML = qwen("read", path="a.py", start="1", end="20")
READ_JSON = '{"path": "a.py", "start": 1, "end": 20}'
RUN = Call("run", {"command": "ls"})
EDIT = Call("edit", {"path": "a.py", "old": "    if x:\n        return 1\n", "new": ""})
NESTED = (
    'GOLDEN = """<tool_call>\n<function=edit>\n<parameter=path>\na.py\n</parameter>\n<parameter=new>\nx\n</parameter>\n'
    '</function>\n</tool_call>"""\nOTHER = """<function=read>\n<parameter=path>\nb.py\n</function>"""\n'
    "TAG = re.compile(r'<parameter=([^>]+)>|</parameter>')\nassert parse(GOLDEN)"
)

CATALOGUE = (
    Damage("Q1-opener-missing", READ_XML.removeprefix("<tool_call>\n"), READ, (Repair.OPENER,)),
    Damage(
        "Q1-opener-missing-after-prose",
        "I will look at it.\n\n" + READ_XML.removeprefix("<tool_call>\n"),
        READ,
        (Repair.OPENER,),
        "I will look at it.",
    ),
    Damage(
        "Q2-white-space-kept",
        "<tool_call>\n<function=edit>\n<parameter=path>\na.py\n</parameter>\n"
        "<parameter=old>\n    if x:\n        return 1\n\n</parameter>\n"
        "<parameter=new>\n\n</parameter>\n</function>\n</tool_call>",
        EDIT,
    ),
    Damage("Q3-one-newline-stripped", qwen("run", command="\nls\n"), Call("run", {"command": "\nls\n"})),
    Damage(
        "Q4-last-parameter-not-closed",
        "<tool_call>\n<function=run>\n<parameter=command>\nls\n</function>\n</tool_call>",
        RUN,
        (Repair.CLOSER,),
    ),
    Damage(
        "Q4-parameter-not-closed",
        READ_XML.replace("a.py\n</parameter>\n", "a.py\n"),
        READ,
        (Repair.OPEN_VALUE,),
    ),
    Damage(
        "Q5-closer-doubled",
        READ_XML.replace("20\n</parameter>\n", "20\n</parameter>\n</parameter>\n"),
        READ,
        (Repair.DOUBLED_CLOSER,),
    ),
    Damage("Q6-any-order", qwen("read", end="20", start="1", path="a.py"), READ),
    Damage(
        "Q6-optional-before-required",
        qwen("edit", old="x", new="y", path="a.py"),
        Call("edit", {"old": "x", "new": "y", "path": "a.py"}),
    ),
    Damage(
        "Q7-array-of-objects", qwen("plan", items='[{"a": {"b": 1}}]'), Call("plan", {"items": '[{"a": {"b": 1}}]'})
    ),
    Damage(
        "Q7-array-as-json-string",
        '<tool_call>\n{"name": "plan", "arguments": {"items": "[{\\"a\\": 1}]"}}\n</tool_call>',
        Call("plan", {"items": '[{"a": 1}]'}),
        (Repair.TYPE,),
    ),
    Damage(
        "Q8-python-scalars",
        qwen("plan", items="[]", done="True", note="None"),
        Call("plan", {"items": "[]", "done": "true", "note": "null"}),
    ),
    Damage(
        "Q8-python-literals-in-a-list",
        qwen("plan", items="[{'a': True, 'b': None}]"),
        Call("plan", {"items": '[{"a": true, "b": null}]'}),
        (Repair.PYTHON_LITERAL, Repair.SEPARATORS),
    ),
    Damage(
        "Q9-name-value-tag",
        "<tool_call>\n<function=run>\n<parameter=command=ls</parameter>\n</function>\n</tool_call>",
        RUN,
        (Repair.NAME_VALUE,),
    ),
    Damage(
        "Q10-call-inside-a-value",
        qwen("edit", path="tests/test_parser.py", new=NESTED),
        Call("edit", {"path": "tests/test_parser.py", "new": NESTED}),
    ),
    Damage(
        "Q10-tags-inside-a-value",
        qwen(
            "edit", path="a.py", new='text = "<parameter=old>\\nx\\n</parameter>\\n</function>"\n</parameter>\nreturn'
        ),
        Call(
            "edit",
            {"path": "a.py", "new": 'text = "<parameter=old>\\nx\\n</parameter>\\n</function>"\n</parameter>\nreturn'},
        ),
    ),
    Damage(
        "Q10-value-ends-too-early",
        qwen("edit", path="a.py", new="x\n</parameter>\n</function>\n</tool_call>\nmore"),
        Call("edit", {"path": "a.py", "new": "x"}),
        (Repair.LEFT_OVER,),
        "more",
    ),
    Damage(
        "Q11-backticks-in-a-list",
        qwen("plan", items='[{"code": `a\n"b"`}]'),
        Call("plan", {"items": '[{"code": "a\\n\\"b\\""}]'}),
        (Repair.SEPARATORS,),
    ),
    Damage(
        "Q11-raw-newlines-in-a-list",
        qwen("plan", items='[{"code": "a\nb"}]'),
        Call("plan", {"items": '[{"code": "a\\nb"}]'}),
        (Repair.RAW_CONTROL,),
    ),
    Damage(
        "Q11-a-backtick-is-no-quote",
        qwen("plan", items='[{"code": "use `x` here"}]'),
        Call("plan", {"items": '[{"code": "use `x` here"}]'}),
    ),
    Damage(
        "Q13-text-between-thinking-and-call",
        f"<think>\nFirst read.\n</think>\n\nI read it.\n{READ_XML}",
        READ,
        (),
        "I read it.",
    ),
    Damage("Q13-thinking-opened-by-the-prompt", f"First read.\n</think>\n\n{READ_XML}", READ),
    Damage("Q13-call-inside-thinking", f"<think>\nFirst read.\n{READ_XML}\n</think>", READ, (Repair.IN_THINKING,)),
    Damage("Q13-thinking-not-closed", f"<think>\nFirst read.\n{READ_XML}", READ, (Repair.IN_THINKING,)),
    Damage(
        "P-opener-missing-tag-malformed",
        "<function=run</function>\n<parameter=command>ls</parameter>\n</tool_call>",
        RUN,
        (Repair.TAG, Repair.CLOSER, Repair.OPENER),
    ),
    Damage("P-closing-tag-missing", READ_XML.removesuffix("\n</tool_call>"), READ, (Repair.CLOSER,)),
    Damage("P-name-value", READ_XML.replace(">\n1\n<", "=1<").replace(">\n20\n<", "=20<"), READ, (Repair.NAME_VALUE,)),
    Damage(
        "P-mixed",
        "<tool_call>\n<function=edit</function>\n<parameter=path>a.py</parameter>\n<parameter=old=x</parameter>\n"
        "<parameter=new></parameter>\ny\n</tool_call>",
        Call("edit", {"path": "a.py", "old": "x", "new": "y"}),
        (Repair.TAG, Repair.NAME_VALUE, Repair.EMPTY_TAG, Repair.CLOSER),
    ),
    Damage(
        "P-indented",
        "<tool_call>\n  <function=run>\n    <parameter=command>\nls\n    </parameter>\n  </function>\n</tool_call>",
        RUN,
        (Repair.INDENTED,),
    ),
    Damage(
        "P-one-line",
        "<tool_call><function=run><parameter=command>ls</parameter></function></tool_call>",
        RUN,
        (Repair.ONE_LINE,),
    ),
    Damage(
        "P-attributes",
        '<tool_call function="run">\n<parameter name="command" value="ls"/>\n</tool_call>',
        None,
        None,
        says="<function=NAME>",
    ),
    Damage("P-name-attribute", READ_XML.replace("<function=read>", '<function name="read">'), READ, (Repair.TAG,)),
    Damage(
        "P-cut",
        "<tool_call>\n<function=read>\n<parameter=path>\na.p",
        None,
        (Repair.VALUE_CUT, Repair.CLOSER),
        says="start, end are missing",
    ),
    Damage(
        "P-cut-in-the-last-value",
        READ_XML[: READ_XML.index("20") + 1],
        Call("read", {**READ.arguments, "end": "2"}),
        (Repair.VALUE_CUT, Repair.CLOSER),
    ),
    Damage("P-cut-opener", "Well.\n<tool_call", None, (Repair.VALUE_CUT,), "Well.", "cut off"),
    Damage(
        "P-beginning-lost",
        "ls\n</parameter>\n</function>\n</tool_call>",
        None,
        None,
        "ls\n</parameter>\n</function>",
        "beginning",
    ),
    Damage("2505-text-protocol", "<function=run>\n<parameter=command>ls</parameter>\n</function>", RUN),
    Damage(
        "2505-stop-word",
        "<function=run>\n<parameter=command>\nls -l\npwd\n</parameter>\n</function",
        Call("run", {"command": "ls -l\npwd"}),
        (Repair.CLOSER,),
    ),
    Damage("M2-args-in-text", f"[TOOL_CALLS]read[ARGS]{READ_JSON}", READ),
    Damage("M2-name-and-arguments-swapped", f"[TOOL_CALLS]{READ_JSON}[ARGS]read", READ, (Repair.SWAPPED,)),
    Damage("M2-call-without-args-tag", f"[TOOL_CALLS]read{READ_JSON}", READ, (Repair.TAG,)),
    Damage("M3-v11", f"Well.[TOOL_CALLS]read[CALL_ID]123456789[ARGS]{READ_JSON}</s>", READ, (), "Well."),
    Damage(
        "M3-single-quotes",
        "[TOOL_CALLS][{'name': 'run', 'arguments': {'command': 'ls'}}]",
        RUN,
        (Repair.SEPARATORS,),
    ),
    Damage("M3-object-without-list", f'[TOOL_CALLS]{{"name": "read", "arguments": {READ_JSON}}}', READ, (Repair.TAG,)),
    Damage("M4-control-tokens-dropped", f"I read it.read{READ_JSON}", READ, (Repair.OPENER,), "I read it."),
    Damage("M4-control-tokens-dropped-v11", f"readaB3456789{READ_JSON}", READ, (Repair.OPENER, Repair.JUNK)),
    Damage("M4-opener-dropped", f"read[ARGS]{READ_JSON}", READ, (Repair.OPENER,)),
    Damage("M4-opener-dropped-v7", f'[{{"name": "read", "arguments": {READ_JSON}}}]', READ, (Repair.OPENER,)),
    Damage("vibe-738-junk-after-the-name", f"readगीत{READ_JSON}", READ, (Repair.OPENER, Repair.JUNK)),
    Damage(
        "H1-junk-in-the-header",
        f"<|channel|>commentary?commentary to=functions.read json<|message|>{READ_JSON}<|call|>",
        READ,
        (Repair.TAG,),
    ),
    Damage(
        "H1-header-is-gptoss",
        f"<|channel|>commentary to=functions.read <|constrain|>json<|message|>{READ_JSON}<|call|>",
        READ,
    ),
    Damage("H2-control-tokens-dropped", f"commentary to=functions.read json{READ_JSON}", READ, (Repair.TAG,)),
    Damage(
        "H3-cut-json",
        '<tool_call>\n{"name": "edit", "arguments": {"path": "a.py", "new": "x = ',
        Call("edit", {"path": "a.py", "new": "x = "}),
        (Repair.CLOSER, Repair.VALUE_CUT),
    ),
    Damage(
        "H3-cut-json-incomplete",
        '[TOOL_CALLS]edit[ARGS]{"path": "a.py", "ne',
        None,
        (Repair.VALUE_CUT,),
        says="new is missing",
    ),
    Damage("H3-only-brackets-cut", '[TOOL_CALLS]run[ARGS]{"command": "ls"', RUN, (Repair.CLOSER,)),
    Damage("hermes", f'<tool_call>\n{{"name": "read", "arguments": {READ_JSON}}}\n</tool_call>', READ),
    Damage(
        "hermes-opener-missing", f'{{"name": "read", "arguments": {READ_JSON}}}\n</tool_call>', READ, (Repair.OPENER,)
    ),
    Damage(
        "hermes-in-a-fence",
        f'So:\n```json\n{{"name": "read", "arguments": {READ_JSON}}}\n```',
        READ,
        (Repair.OPENER,),
        "So:\n```json\n\n```",
    ),
    Damage(
        "hermes-bad-escape",
        '<tool_call>\n{"name": "search", "arguments": {"pattern": "\\d+"}}\n</tool_call>',
        Call("search", {"pattern": "\\d+"}),
        (Repair.BAD_ESCAPE,),
    ),
    Damage(
        "hermes-inner-quotes",
        '<tool_call>\n{"name": "run", "arguments": {"command": "echo "a""}}\n</tool_call>',
        None,
        None,
        says="must be escaped",
    ),
    Damage(
        "hermes-brackets-crossed",
        '<tool_call>\n{"name": "plan", "arguments": {"items": [{"a": "b"}}]}\n</tool_call>',
        None,
        None,
        says="a comma or ]",
    ),
    Damage(
        "hermes-arguments-as-string",
        '<tool_call>{"name": "run", "arguments": "{\\"command\\": \\"ls\\"}"}</tool_call>',
        RUN,
    ),
    Damage(
        "openai-message-as-text",
        '{"tool_calls": [{"type": "function", "function": {"name": "run", "arguments": "{\\"command\\": \\"ls\\"}"}}]}',
        RUN,
        (Repair.OPENER,),
    ),
    Damage("unknown-tool", qwen("raed", path="a.py"), None, None, says="Did you mean 'read'?"),
    Damage(
        "unknown-tool-bare",
        "<function=open_file>\n<parameter=path>\na\n</parameter>\n</function>",
        None,
        None,
        says="no tool 'open_file'",
    ),
    Damage("unknown-parameter", qwen("run", cmd="ls"), None, None, says="no parameter 'cmd'"),
    Damage("wrong-type", qwen("read", path="a.py", start="first", end="2"), None, None, says="start must be integer"),
    Damage("not-in-the-enum", qwen("plan", items="[]", state="ajar"), None, None, says="state must be"),
    Damage("given-twice", READ_XML.replace("=end>", "=start>"), None, None, says="given twice"),
)


@pytest.mark.parametrize("damage", CATALOGUE, ids=[damage.id for damage in CATALOGUE])
def test_catalogue(damage: Damage) -> None:
    parsed = parse_text(damage.text, ALL)
    (call,) = parsed.calls
    assert call.call == damage.call
    assert (call.problem is None) == (damage.call is not None)
    assert damage.says in (call.problem or "")
    if damage.repairs is not None:
        assert set(call.repairs) == set(damage.repairs)
    assert parsed.said == damage.said
    assert parsed.raw == damage.text
    assert call.raw and call.raw in damage.text
    assert is_safe_to_run(call, MUTATING) <= (damage.call is not None)
    if damage.repairs != () and damage.call is not None:
        assert not is_safe_to_run(call, [damage.call.tool])
    assert "Send it again" in complaint(call, ALL)


NOT_CALLS = (
    "I would call <function=edit> here, or <tool_call> as such.",
    "The `<function=unknown>` tag.",
    'package.json:\n{"name": "shop", "version": "1.0"}',
    "[1, 2] and {a} and [TOOL_CALLS] in the middle of a sentence",
    "<function=x> is not ours\n\n<parameter=foo>",
    "thread{'path': 1}; read (it) and run: {'command'}",
    "a < b and c </parameter> d\n</function>",
    'config = {"arguments": {"path": "a"}}',
    "",
)


@pytest.mark.parametrize("text", NOT_CALLS)
def test_prose_is_no_call(text: str) -> None:
    parsed = parse_text(text, ALL)
    assert (parsed.calls, parsed.said, parsed.thinking) == ((), text.strip(), "")


def test_several_calls_and_what_the_model_invents_after_them() -> None:
    two = f"Both.\n{READ_XML}\n{qwen('run', command='ls')}<|im_end|>\n"
    assert [call.call for call in parse_text(two, ALL).calls] == [READ, RUN]
    parallel = f'[TOOL_CALLS]read[ARGS]{READ_JSON}[TOOL_CALLS]run[ARGS]{{"command": "ls"}}</s>'
    assert [call.call for call in parse_text(parallel, ALL).calls] == [READ, RUN]
    objects = f'{{"name": "read", "arguments": {READ_JSON}}}, {{"name": "run", "arguments": {{"command": "ls"}}}}'
    listed = f"[TOOL_CALLS][{objects}]"
    assert [call.call for call in parse_text(listed, ALL).calls] == [READ, RUN]
    assert all(not call.repairs for text in (two, parallel, listed) for call in parse_text(text, ALL).calls)
    invented = f"{READ_XML}\n<|im_start|>user\n<tool_response>\nx\n</tool_response>\n{qwen('run', command='rm x')}"
    assert [call.call for call in parse_text(invented, ALL).calls] == [READ]


def test_a_call_after_a_damaged_one_is_not_trusted() -> None:
    first = "<tool_call>\n<function=edit>\n<parameter=path>\na.py"
    calls = parse_text(f"{first}\n{qwen('run', command='ls')}", ALL).calls
    assert [call.call for call in calls] == [None, RUN]
    assert calls[1].repairs == (Repair.AFTER_DAMAGE,)
    assert not is_safe_to_run(calls[1], MUTATING)


def test_what_may_run() -> None:
    def safe(text: str) -> bool:
        return is_safe_to_run(only(text), MUTATING)

    assert safe(qwen("run", command="ls"))
    assert not safe(qwen("run", command="ls").removeprefix("<tool_call>\n"))  # repaired, and it changes things
    assert safe(READ_XML.removeprefix("<tool_call>\n"))  # repaired, and it only reads
    assert not safe(READ_XML[: READ_XML.index("20") + 1])  # a value was cut
    assert not safe(qwen("read", path="a.py"))
    assert not is_safe_to_run(ParsedCall(RUN, "", (), "a problem"), ())


def test_a_complaint_says_all_that_is_needed() -> None:
    text = complaint(only(qwen("edit", path="a.py", old="x" * 5000)), ALL)
    assert "new is missing" in text
    assert text.count("edit(path: string, start?: integer, end?: integer, old?: string, new: string)") == 1
    assert "<function=edit>" in text and len(text) < 1500
    repaired = complaint(only("<function=run>\n<parameter=command>\nls\n</parameter>\n</function>\n</tool_call>"), ALL)
    assert Repair.OPENER in repaired and "run(command: string)" in repaired


def test_values_fit_their_schema() -> None:
    got = values(
        only(
            qwen("plan", items="[]", count="5", done="false", ratio="5", extra='{"a": [1]}', note="null", state="open")
        )
    )
    assert got == {
        "items": [],
        "count": 5,
        "done": False,
        "ratio": 5,
        "extra": {"a": [1]},
        "note": None,
        "state": "open",
    }
    assert values(only(qwen("plan", items="[]", count="five", note="text")))["count"] == "five"
    assert values(only(qwen("run", command="null"))) == {"command": "null"}
    assert values(only(qwen("read", path="a", start=" 5 ", end="7.0"))) == {"path": "a", "start": 5, "end": 7}
    for bad in ({"done": "maybe"}, {"ratio": "1e999"}, {"count": "[1]"}, {"extra": "[1]"}, {"items": "[1]"}):
        parsed = only(qwen("plan", **{"items": "[]", **bad}))
        assert parsed.call is None or bad == {"count": "[1]"}, parsed
    left_out = only('[TOOL_CALLS]edit[ARGS]{"path": "a", "old": null, "new": "x"}')
    assert (left_out.call, left_out.repairs) == (Call("edit", {"path": "a", "new": "x"}), ())


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "#/nowhere"}, {"anyOf": 3}, {"enum": [[{}]]}, {}])
def test_a_schema_that_is_none_rejects_nothing(schema: dict[str, Any]) -> None:
    odd = ToolSpec("odd", "", (Parameter("x", "", schema=schema),))
    (call,) = parse_text(qwen("odd", x="[{}]"), [odd]).calls
    assert call.call == Call("odd", {"x": "[{}]"})


# What a server parsed.


def native(name: Any, arguments: Any) -> ParsedCall:
    (call,) = native_calls([{"id": "a", "function": {"name": name, "arguments": arguments}}], ALL)
    return call


def test_native_calls_that_are_whole() -> None:
    for arguments in (READ_JSON, json.loads(READ_JSON)):  # Q14: an object where OpenAI has text
        assert (native("read", arguments).call, native("read", arguments).repairs) == (READ, ())
    (flat,) = native_calls([{"name": "read", "arguments": READ_JSON}], ALL)
    assert flat.call == READ
    assert native_calls([], ALL) == ()


@pytest.mark.parametrize(
    ("name", "arguments", "call", "repairs"),
    [
        ("edit", '{"path": "a.py", "new": "x = ', Call("edit", {"path": "a.py", "new": "x = "}), [Repair.VALUE_CUT]),
        ("run", '{"command": "ls"', RUN, [Repair.CLOSER]),
        ("read", '{"path": "a.py", "start": "1", "end": 20}', READ, [Repair.TYPE]),
        ("run", json.dumps('{"command": "ls"}'), RUN, [Repair.TYPE]),
        ("run", '[ARGS]{"command": "ls"}', RUN, [Repair.JUNK]),
        ('{"command": "ls"}', "[ARGS]run", RUN, [Repair.SWAPPED]),
        ("run[CALL_ID]123456789", '{"command": "ls"}', RUN, [Repair.JUNK]),
        ("run<|channel|>commentary", '{"command": "ls"}', RUN, [Repair.JUNK]),
        ("run", '{"command": "ls\\n</parameter>"}', Call("run", {"command": "ls\n</parameter>"}), [Repair.LEFT_OVER]),
        ("run", '{"command": "ls"', RUN, [Repair.CLOSER]),
    ],
)
def test_native_calls_that_are_damaged(name: str, arguments: str, call: Call, repairs: list[Repair]) -> None:
    parsed = native(name, arguments)
    assert parsed.call == call
    assert set(repairs) <= set(parsed.repairs)
    assert not is_safe_to_run(parsed, [call.tool])


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("reed", READ_JSON, "Did you mean 'read'?"),
        ('"}', '[ARGS]{"', "no tool"),
        ("read", '{"path": "a.py"', "start, end are missing"),
        ("read", "", "missing"),
        ("read", None, "missing"),
        ("read", "[]", "one JSON object"),
        ("run", '{"command": "a"}{"command": "b"}', "Nothing may follow"),
        ("run", '{"command": {"a": 1}}', "command must be string"),
        ("run", '{"command": "a", "command": "b"}', "twice"),
        (None, "{}", "names no tool"),
    ],
)
def test_native_calls_that_are_asked_again(name: Any, arguments: Any, says: str) -> None:
    parsed = native(name, arguments)
    assert parsed.call is None
    assert says in (parsed.problem or "")


# Streaming.


def streamed(text: str, cuts: Sequence[int]) -> tuple[list[Event], Parsed]:
    parser = TolerantParser(ALL)
    events: list[Event] = []
    for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        events += parser.feed(text[begin:end])
    return events, parser.finish()


def told(events: list[Event], kind: type[TextDelta] | type[ThinkingDelta] | type[ArgumentDelta]) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))


FRAGMENTS = (
    *("<tool_call>", "\n", "<function=edit>", "<function=", "<parameter=path>", "<parameter=new>\n", "</parameter>"),
    *(
        "\n</parameter>\n",
        "</function>\n",
        "</tool_call>",
        "<think>",
        "</think>",
        "[TOOL_CALLS]",
        "read",
        "[ARGS]",
        "{",
    ),
    *('{"path": "a"', '"', ", ", "}", "[", "]", "'", "`", "\\", ' {"name": "run", "arguments": ', "<|im_end|>", "</s>"),
    *("[CALL_ID]", "commentary to=functions.run", "<|channel|>", "<|message|>", "  ", "é😀", "\ud800", "\0", "\u2028"),
    *("<function=read>\n", "a.py", "1", "True", "<tool_response>", "<parameter=", "finish", "=", ">", "```json\n"),
)
soup = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=3)), max_size=25).map("".join)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A text of the catalogue in which characters were lost, doubled or replaced."""
    text = draw(st.sampled_from(CATALOGUE)).text
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        to = draw(st.integers(at, min(len(text), at + 12)))
        text = text[:at] + draw(st.sampled_from(["", text[at:to] * 2, *FRAGMENTS])) + text[to:]
    return text


@settings(max_examples=400)
@given(st.one_of(soup, damaged()), st.data())
def test_chunks_make_no_difference(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=12)))
    whole_events, whole = streamed(text, [])
    events, parsed = streamed(text, cuts)
    letters, by_letter = streamed(text, range(1, len(text)))
    assert parsed == whole == by_letter
    for kind in (TextDelta, ThinkingDelta):
        assert told(events, kind) == told(whole_events, kind) == told(letters, kind)
    assert parsed.raw == text
    if "</think>" not in text and "[/THINK]" not in text:
        assert parsed.said.startswith(told(events, TextDelta))


@settings(max_examples=600)
@given(st.one_of(soup, damaged()))
def test_nothing_raises_and_nothing_unread_may_run(text: str) -> None:
    for call in parse_text(text, ALL).calls:
        complaint(call, ALL)
        assert (call.call is None) != (call.problem is None)
        if call.call is not None:
            values(call)
    for call in native_calls(
        [{"function": {"name": "edit", "arguments": text}}, {"name": text, "arguments": text}], ALL
    ):
        complaint(call, ALL)
    parse_text(text, [])
    read_json(text)


@given(
    st.lists(
        st.recursive(
            st.none() | st.integers() | st.text(max_size=4),
            lambda x: st.dictionaries(st.sampled_from(["id", "function", "name", "arguments", "path"]), x),
        ),
        max_size=3,
    )
)
def test_nothing_raises_on_any_message(calls: list[Any]) -> None:
    assert len(native_calls(calls, ALL)) == len(calls)


@pytest.mark.parametrize("damage", CATALOGUE, ids=[damage.id for damage in CATALOGUE])
def test_what_is_shown_is_said(damage: Damage) -> None:
    text = "Let me see.\n\n" + damage.text
    events, parsed = streamed(text, range(1, len(text)))
    shown = told(events, TextDelta)
    if "</think>" in damage.text and "<think>" not in damage.text:
        assert parsed.thinking.startswith("Let me see.")
    else:
        assert parsed.said.startswith(shown) and shown.startswith("Let me see.")
    assert "<tool" not in shown and "[TOOL" not in shown and "<func" not in shown
    assert len(parsed.calls) == 1


def test_text_is_shown_as_it_comes_and_a_call_is_announced_early() -> None:
    parser = TolerantParser(ALL)
    assert parser.feed("Let me") == [TextDelta("Let me")]
    assert parser.feed(" look. <b> <tool") == [TextDelta(" look. <b>")]
    assert parser.feed("box> is one") == [TextDelta(" <toolbox> is one")]
    assert parser.feed("\n<tool_call>\n<function=ed") == []
    assert parser.feed("it>\n<parameter=new>\nlong") == [CallStarted("edit"), ArgumentDelta("\n<parameter=new>\nlong")]
    assert parser.feed(" argument") == [ArgumentDelta(" argument")]  # Q12: it is seen to grow
    for text, name in (("[TOOL_CALLS]run[ARGS]{", "run"), ('<tool_call>{"name": "run"', "run"), ("run[ARGS]{", "run")):
        assert TolerantParser(ALL).feed(text)[0] == CallStarted(name)


def test_thinking_is_told_apart() -> None:
    parser = TolerantParser(ALL, in_thinking=True)
    events = [event for chunk in ("Hm", "m.\n</th", "ink>\n\nYes", ".") for event in parser.feed(chunk)]
    assert told(events, ThinkingDelta) == "Hmm.\n"
    assert told(events, TextDelta) == "Yes."
    assert (parser.finish().thinking, parser.finish().said) == ("Hmm.", "Yes.")


# Linear time.

MEGABYTE = 1_000_000
ADVERSARIES = {
    "angles": "<",
    "spaces": " \n",
    "openers": "<tool_call>\n",
    "functions": "<function=edit>\n",
    "parameters": "<tool_call>\n<function=edit>\n<parameter=path>\n",
    "nested": "<function=edit>\n<parameter=new>\n<function=read>\n</parameter>\n",
    "value-ends": "\n</parameter>\nx",
    "indents": "<parameter=path>" + " " * 40,
    "mistral": '[TOOL_CALLS]edit[ARGS]{"path":',
    "mistral-names": "[TOOL_CALLS]edit",
    "braces": '{"a":',
    "quotes": '"',
    "backslashes": "\\",
    "json": '{"name": "edit", "arguments": {"path": "',
    "hermes": '<tool_call>{"name": "edit", "arguments": "\n',
    "named": 'edit{"path"',
    "thinking": "<think></think>",
    "unclosed": "<think>",
    "orphans": "</think>\n</tool_call>\n",
    "harmony": "commentary to=functions.",
    "noise": "<|im_end|>",
}


@pytest.mark.parametrize("adversary", ADVERSARIES.values(), ids=ADVERSARIES)
@pytest.mark.parametrize(
    "head", ["", "<tool_call>\n<function=edit>\n<parameter=new>\n", '[TOOL_CALLS]plan[ARGS]{"items": [']
)
def test_time_is_linear(adversary: str, head: str) -> None:
    def seconds(size: int) -> float:
        text = head + (adversary * (size // len(adversary) + 1))[:size]
        started = time.process_time()
        parser = TolerantParser(ALL)
        for at in range(0, len(text), 4096):
            parser.feed(text[at : at + 4096])
        parser.finish()
        return time.process_time() - started

    small = seconds(MEGABYTE // 10)
    assert seconds(MEGABYTE) < max(1.0, 25 * small)


# Identity: what the dialects write.

DIALECTS: tuple[Dialect, ...] = (QwenXml(), QwenThinking(), FunctionText(), MistralV7(), MistralV11(), MistralV13())
plain_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30).filter(
    lambda text: not any(tag in text for tag in ("parameter", "function", "tool_call"))
)
code = st.sampled_from(
    [
        "    if x:\n        return {'a': [1]}\n",
        "",
        "\n",
        "a\n\n",
        '"quoted" \\d+ \\n',
        "<b>é</b> [ARGS] {",
        "x </s> y",
        "```\n",
    ]
)
texts = st.one_of(plain_texts, code)
hostile = st.lists(
    st.one_of(st.sampled_from([*FRAGMENTS[:12], "</function>", "\n", "x = 1"]), plain_texts), max_size=8
).map("".join)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(-1e9, 1e9) | plain_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain_texts, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def calls(draw: st.DrawFn, text: st.SearchStrategy[str]) -> Call:
    spec = draw(st.sampled_from(ALL))
    arguments: dict[str, str] = {}
    for parameter in spec.parameters:
        if parameter.required or draw(st.booleans()):
            if parameter.name == "state":
                arguments["state"] = draw(st.sampled_from(["open", "closed"]))
            elif parameter.is_text:
                arguments[parameter.name] = draw(text)
            else:
                strategy = {
                    "integer": st.integers(0, 10**9),
                    "items": st.lists(st.dictionaries(plain_texts, json_values, max_size=2), max_size=3),
                    "boolean": st.booleans(),
                    "ratio": st.floats(-1e9, 1e9),
                    "extra": st.dictionaries(plain_texts, json_values, max_size=3),
                    "note": st.none() | texts,
                    "count": st.integers() | texts,
                }
                found = strategy[parameter.type if parameter.type in strategy else parameter.name]
                arguments[parameter.name] = json.dumps(draw(found), ensure_ascii=False)
    return Call(spec.name, arguments)


def written(dialect: Dialect, call: Call) -> str | None:
    """None where the dialect cannot write it."""
    spec = next(spec for spec in ALL if spec.name == call.tool)
    try:
        text = plain(piece.span for piece in call_pieces(dialect, spec, call, 7))
    except ValueError:
        return None
    start = plain(dialect.assistant_start())
    return start + plain(dialect.thinking_end()) + text.removeprefix(start)


def plain(spans: Iterable[Span]) -> str:
    return "".join(span.text for span in spans)


def in_json(call: Call) -> dict[str, Any]:
    return call.values(next(spec for spec in ALL if spec.name == call.tool))


@pytest.mark.parametrize("dialect", DIALECTS, ids=[dialect.name for dialect in DIALECTS])
@given(call=calls(texts), said=st.sampled_from(["", "I look.\n\n", "a < b: "]))
def test_what_a_dialect_writes_is_read_clean(dialect: Dialect, call: Call, said: str) -> None:
    text = written(dialect, call)
    if text is None:
        return
    parsed = parse_text(said + text, ALL)
    (got,) = parsed.calls
    assert got.call is not None, got
    assert got.call.tool == call.tool
    assert in_json(got.call) == in_json(call)
    assert got.repairs == ()
    assert parsed.said == said.strip()


@pytest.mark.parametrize("dialect", DIALECTS, ids=[dialect.name for dialect in DIALECTS])
@settings(max_examples=200)
@given(call=calls(texts), value=hostile, data=st.data())
def test_a_hostile_value_is_never_read_wrong_and_clean(
    dialect: Dialect, call: Call, value: str, data: st.DataObject
) -> None:
    """A value that holds the syntax itself: the very call, or one that says it is in doubt."""
    spec = next(spec for spec in ALL if spec.name == call.tool)
    keys = [key for key in call.arguments if spec.parameter(key).is_text and key != "state"]
    # A model writes an empty value as no line at all, so one that begins with its end cannot be told from it.
    if not keys or value.lstrip().startswith("</parameter>"):
        return
    call = Call(call.tool, {**call.arguments, data.draw(st.sampled_from(keys)): value})
    text = written(dialect, call)
    if text is None:
        return
    found = parse_text(text, ALL).calls
    assert found
    for got in found:
        if got.call is None or in_json(got.call) != in_json(call):
            assert not is_safe_to_run(got, MUTATING), got
