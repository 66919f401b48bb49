"""mistral-common as the oracle of Mistral's dialects: its own classes over the Tekken file in its wheel."""

import json
from functools import cache
from typing import Any

from mistral_common.protocol.instruct.messages import AssistantMessage, SystemMessage, ToolMessage, UserMessage
from mistral_common.protocol.instruct.normalize import get_normalizer
from mistral_common.protocol.instruct.request import ChatCompletionRequest
from mistral_common.protocol.instruct.tool_calls import FunctionCall, Tool, ToolCall
from mistral_common.protocol.instruct.validator import ValidationMode, get_validator
from mistral_common.tokens.tokenizers.base import SpecialTokens, TokenizerVersion
from mistral_common.tokens.tokenizers.instruct import InstructTokenizerV7, InstructTokenizerV11, InstructTokenizerV13
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from mistral_common.tokens.tokenizers.tekken import SpecialTokenInfo, Tekkenizer
from tests import vocabularies

from tinsmith.dialects import Conversation, Encoder, Step, call_id

SPECIAL = 1000
"""The first thousand ids of a Tekken vocabulary are control tokens; those without a name are `<SPECIAL_n>`."""


def control_tokens(version: int) -> dict[str, int]:
    """Every control token's text and id, as the tokenizer files of that version have them."""
    named = {token["rank"]: str(token["token_str"]) for token in Tekkenizer.DEPRECATED_SPECIAL_TOKENS}
    if version >= 11:
        named |= {32: SpecialTokens.args.value, 33: SpecialTokens.call_id.value}
    if version >= 13:
        named |= {34: SpecialTokens.begin_think.value, 35: SpecialTokens.end_think.value}
    return {named.get(rank, f"<SPECIAL_{rank}>"): rank for rank in range(SPECIAL)}


class Oracle:
    """The reference implementation of one version, and an `Encoder` over the same vocabulary."""

    def __init__(self, version: int) -> None:
        model = vocabularies.tekken_file()
        config = model["config"]
        self.controls = control_tokens(version)
        self.tekken = Tekkenizer(
            model["vocab"],
            [SpecialTokenInfo(rank=rank, token_str=text, is_control=True) for text, rank in self.controls.items()],
            config["pattern"],
            config["default_vocab_size"],
            SPECIAL,
            TokenizerVersion(f"v{version}"),
        )
        instruct = {7: InstructTokenizerV7, 11: InstructTokenizerV11, 13: InstructTokenizerV13}[version]
        self._tokenizer = MistralTokenizer(
            instruct(self.tekken),
            get_validator(self.tekken.version, ValidationMode.test),
            get_normalizer(self.tekken.version, None),
        )
        self.encoder = Encoder(self.tokenize, self.controls)

    def tokenize(self, text: str) -> list[int]:
        """Text as the reference tokenises what is no control token."""
        return self.tekken.encode(text, bos=False, eos=False)

    def encode(self, conversation: Conversation) -> list[int]:
        """The reference's ids of `conversation`, its calls numbered from 0."""
        return self._tokenizer.encode_chat_completion(request_of(conversation)).tokens


@cache
def oracle(version: int) -> Oracle:
    """The oracle of 7, 11 or 13."""
    return Oracle(version)


def request_of(conversation: Conversation) -> ChatCompletionRequest[Any]:
    """`conversation` as messages."""
    specs = {spec.name: spec for spec in conversation.tools}
    messages: list[Any] = [SystemMessage(content=conversation.system)] if conversation.system else []
    number = 0

    def add(user: str, steps: tuple[Step, ...]) -> None:
        nonlocal number
        messages.append(UserMessage(content=user))
        for step in steps:
            made: list[ToolCall] = []
            results: list[ToolMessage] = []
            for answered in step.calls:
                call = answered.call
                arguments = json.dumps(call.values(specs[call.tool]), ensure_ascii=False)
                made.append(ToolCall(id=call_id(number), function=FunctionCall(name=call.tool, arguments=arguments)))
                results.append(ToolMessage(content=answered.result, tool_call_id=call_id(number)))
                number += 1
            messages.extend([AssistantMessage(content=step.said, tool_calls=made), *results])

    for exchange in conversation.past:
        add(exchange.user, exchange.steps)
        messages.append(AssistantMessage(content=exchange.answer))
    add(conversation.user, conversation.steps)
    tools = [Tool.from_openai(spec.as_json()) for spec in conversation.tools]
    return ChatCompletionRequest(messages=messages, tools=tools or None)
