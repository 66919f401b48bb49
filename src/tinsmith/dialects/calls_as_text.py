"""Tools for a model whose chat template knows none: declared in the system text, calls and results as plain turns.

The form is that of Hermes, `<tool_call>{"name": …, "arguments": {…}}</tool_call>`, which most open models have seen.
What is left is a conversation of texts that alternate, which every chat template takes.
"""

import json

from tinsmith.dialects.called import call_values
from tinsmith.dialects.conversation import Conversation, Exchange, Step
from tinsmith.dialects.tool_call import Call, ToolSpec

_DECLARED = """\
# Tools

You work with functions. Each of your turns ends with the call of one, as a JSON object with its name and its \
arguments within <tool_call></tool_call> tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>

The result comes with the next message. The functions are, within <tools></tools> tags:
<tools>
"""


def calls_as_text(conversation: Conversation) -> Conversation:
    """`conversation` without tools and steps: every call stands in an answer, every result in a text of the person's.

    What the model thought is left out, as chat templates do it with answers.
    """
    system, tools = conversation.system, conversation.tools
    if tools:
        declared = "".join(json.dumps(tool.as_json(), ensure_ascii=False) + "\n" for tool in tools)
        system = "\n\n".join(filter(None, [system, f"{_DECLARED}{declared}</tools>"]))
    past: list[Exchange] = []
    for exchange in conversation.past:
        user = _stepwise(past, exchange.user, exchange.steps, tools)
        past.append(Exchange(user, exchange.answer))
    user = _stepwise(past, conversation.user, conversation.steps, tools)
    return Conversation(user, (), tuple(past), system)


def without_system(conversation: Conversation) -> Conversation:
    """`conversation` with its system text before the person's first words, for templates that take none."""
    first, *rest = (*conversation.past, Exchange(conversation.user, "", conversation.steps))
    user = "\n\n".join(filter(None, [conversation.system, first.user]))
    if not rest:
        return Conversation(user, conversation.steps, (), "", conversation.tools)
    past = (Exchange(user, first.answer, first.steps), *conversation.past[1:])
    return Conversation(conversation.user, conversation.steps, past, "", conversation.tools)


def _stepwise(past: list[Exchange], user: str, steps: tuple[Step, ...], tools: tuple[ToolSpec, ...]) -> str:
    """Adds `steps` to `past` as exchanges that begin with `user`; the person's text that comes after them."""
    for step in steps:
        calls = [_call_text(answered.call, tools) for answered in step.calls]
        past.append(Exchange(user, "\n".join(filter(None, [step.said, *calls]))))
        results = [f"<tool_response>\n{answered.result}\n</tool_response>" for answered in step.calls]
        user = "\n".join(results)
    return user


def _call_text(call: Call, tools: tuple[ToolSpec, ...]) -> str:
    written = json.dumps({"name": call.tool, "arguments": call_values(call, tools)}, ensure_ascii=False)
    return f"<tool_call>\n{written}\n</tool_call>"
