"""A model whose dialect is not ours: the prompt comes from the chat template in its own file.

The template is Jinja and runs in Jinja's sandbox, with the filters and functions that `transformers` gives chat
templates (`apply_chat_template`), since that is what they are written for.

Untrusted text never passes through it. Every string of the conversation and of the tools is replaced by a mark, a long
random number; the prompt is cut at the marks, and only what the template itself wrote between them is read for
control tokens. A mark inside JSON that the template made stands for the string as JSON writes it. What a template
does to a string (trimming, sorting, comparing, cutting) it therefore does to the mark: trimming does not happen,
sorting is by who came first, and a template that takes strings apart fails. Roles, the words of JSON Schema and white
space are not replaced.
"""

import json
import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn, cast

from tinsmith.dialects.conversation import Conversation
from tinsmith.dialects.detection import template_of
from tinsmith.dialects.messages import messages_from_conversation
from tinsmith.dialects.spans import Control, Span, Spans, Text, joined, with_controls
from tinsmith.errors import InputError
from tinsmith.models import GGUFHeader

TEMPLATE_WAIVES = (
    "the prompt is written anew each turn by the model's own chat template, and its calls are read by the tolerant"
    " parser: calls are not valid by construction, and earlier turns may be read again"
)
"""What a run with a `ChatTemplate` says once. Untrusted text still cannot become control."""

_WORDS = frozenset(
    """
    $defs $id $ref $schema additionalItems additionalProperties allOf anyOf const contains default definitions
    dependentRequired dependentSchemas deprecated description else enum examples exclusiveMaximum exclusiveMinimum
    format function if items maxItems maxLength maxProperties maximum minItems minLength minProperties minimum
    multipleOf name not nullable oneOf parameters pattern patternProperties prefixItems properties propertyNames
    readOnly required strict then title type unevaluatedItems unevaluatedProperties uniqueItems writeOnly
    """.split()  # noqa: SIM905
)
"""The keys of declarations that templates ask for by name."""
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keys below which the keys are names that somebody made up."""
_TYPES = ("array", "boolean", "function", "integer", "null", "number", "object", "string")


class ChatTemplate:
    """Renders whole conversations with the template of a model file.

    `reserved` are the texts of the vocabulary's control tokens and delimiters, `bos` and `eos` two of them or empty;
    `add_bos`: the prompt begins with `bos` whether the template writes it or not.
    """

    name = "template"

    def __init__(
        self, template: str, reserved: Collection[str], *, bos: str = "", eos: str = "", add_bos: bool = False
    ) -> None:
        self._source, self._reserved = template, reserved
        self._bos, self._eos, self._add_bos = bos, eos, add_bos

    @classmethod
    def of(cls, header: GGUFHeader) -> "ChatTemplate":
        """The template of a model file. Raises InputError `template_missing` where it has none."""
        template, vocabulary = template_of(header), header.vocabulary
        if not template:
            raise InputError(
                "template_missing",
                f"{header.path.name} has no chat template, and its vocabulary is of no dialect that Tinsmith knows.",
                "Get a file with a chat template (most instruct models have one), or use another model.",
            )
        ends = [vocabulary.pieces[token].decode() for token in vocabulary.end_of_generation[:1]]
        bos = "" if vocabulary.bos is None else vocabulary.pieces[vocabulary.bos].decode()
        return cls(template, vocabulary.reserved, bos=bos, eos="".join(ends), add_bos=vocabulary.add_bos)

    def render(self, conversation: Conversation) -> Spans:
        """The prompt up to where the model writes. Raises InputError `template_failed`."""
        marks = _Marks()
        messages = [_marked_message(message, marks) for message in messages_from_conversation(conversation)]
        tools = [marks.declaration(tool.as_json()) for tool in conversation.tools]
        try:
            prompt = self._rendered(marks, messages, tools)
            spans = self._cut(prompt, marks)
        except Exception as error:  # a template can fail in any way that a program can
            raise InputError(
                "template_failed",
                f"The model's own chat template cannot write this conversation: {marks.restored(str(error))[:500]}",
                "Choose the dialect by hand if you know it, or get a file of the model with a corrected template.",
            ) from error
        if self._add_bos and self._bos and spans[:1] != [Control(self._bos)]:
            spans.insert(0, Control(self._bos))
        return spans

    def _rendered(self, marks: "_Marks", messages: list[Any], tools: list[Any]) -> str:
        # Only here: most commands never need Jinja.
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = marks.as_json
        cast("dict[str, Any]", environment.globals).update(raise_exception=_refuse, strftime_now=_today)
        return environment.from_string(self._source).render(
            messages=messages,
            tools=tools or None,
            documents=None,
            add_generation_prompt=True,
            bos_token=self._bos,
            eos_token=self._eos,
        )

    def _cut(self, prompt: str, marks: "_Marks") -> list[Span]:
        spans: list[Span] = []
        for at, part in enumerate(marks.pattern.split(prompt)):
            if at % 2:
                spans.append(Text(marks.text(part)))
            elif marks.hurt(part):
                raise ValueError("it takes texts apart, which Tinsmith does not let it see")
            else:
                spans += with_controls(part, self._reserved)
        return joined(spans)


class _Marks:
    """Marks and what they stand for. Digits only, so that no change of case and no escape changes them.

    A mark is a random number, the number of its string, and how many times JSON was made of it.
    """

    def __init__(self) -> None:
        self._random = str(secrets.randbelow(9 * 10**29) + 10**29)
        self._numbers: dict[str, int] = {}
        self._strings: list[str] = []
        self.pattern = re.compile(rf"({self._random}\d{{8}})")

    def mark(self, text: str) -> str:
        """The mark of `text`, the same each time."""
        if not text.strip():
            return text
        if text not in self._numbers:
            self._numbers[text] = len(self._strings)
            self._strings.append(text)
        return f"{self._random}{self._numbers[text]:06}00"

    def text(self, mark: str) -> str:
        """What `mark` stands for."""
        text = self._strings[int(mark[-8:-2])]
        for _ in range(int(mark[-2:])):
            text = json.dumps(text, ensure_ascii=False)[1:-1]
        return text

    def restored(self, text: str) -> str:
        """`text` with all marks replaced."""
        return self.pattern.sub(lambda found: self.text(found.group()), text)

    def hurt(self, text: str) -> bool:
        """Whether a part of a mark is left in `text`."""
        half = len(self._random) // 2
        return self._random[:half] in text or self._random[half:] in text

    def as_json(
        self,
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        """The filter `tojson`. Jinja's own escapes HTML."""
        text = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
        return self.pattern.sub(lambda found: f"{found.group()[:-2]}{int(found.group()[-2:]) + 1:02}", text)

    def data(self, value: Any) -> Any:
        """JSON with every string marked."""
        if isinstance(value, str):
            return self.mark(value)
        if isinstance(value, Mapping):
            pairs = cast("Mapping[str, Any]", value).items()
            return _Arguments(self, {self.mark(key): self.data(inner) for key, inner in pairs})
        if isinstance(value, (list, tuple)):
            return [self.data(inner) for inner in cast("Sequence[Any]", value)]
        return value

    def declaration(self, value: Any, names: bool = False) -> Any:
        """JSON Schema, and what is around it, with every string marked but its words. `names`: the keys are names."""
        if isinstance(value, str):
            return value if value in _TYPES else self.mark(value)
        if isinstance(value, Mapping):
            return {
                key if key in _WORDS and not names else self.mark(key): self.declaration(
                    inner, key in _NAMED and not names
                )
                for key, inner in cast("Mapping[str, Any]", value).items()
            }
        if isinstance(value, (list, tuple)):
            return [self.declaration(inner) for inner in cast("Sequence[Any]", value)]
        return value


class _Arguments(dict[str, Any]):
    """An object that is JSON where a template takes it for text: half of all templates expect one, half the other."""

    def __init__(self, marks: _Marks, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._marks = marks

    def __str__(self) -> str:
        return self._marks.as_json(self)

    def __add__(self, other: str) -> str:
        return str(self) + other

    def __radd__(self, other: str) -> str:
        return other + str(self)


def _marked_message(message: Mapping[str, Any], marks: _Marks) -> dict[str, Any]:
    """A message with its texts marked. The ids of calls and the roles are ours."""
    marked = dict(message)
    for key in ("content", "reasoning_content"):
        if key in marked:
            marked[key] = marks.mark(marked[key])
    if "tool_calls" in marked:
        marked["tool_calls"] = [_marked_call(call, marks) for call in marked["tool_calls"]]
    return marked


def _marked_call(call: Mapping[str, Any], marks: _Marks) -> dict[str, Any]:
    function = call["function"]
    return {**call, "function": {"name": marks.mark(function["name"]), "arguments": marks.data(function["arguments"])}}


def _refuse(message: str) -> NoReturn:
    """The function `raise_exception`."""
    raise ValueError(message)


def _today(format: str) -> str:
    """The function `strftime_now`."""
    return datetime.now().strftime(format)
