"""From a model to something that the loop can speak with: an engine of ids for a file and for a server that takes ids,
of messages for any other server."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from tinsmith.agent import ChatSpeaker, Speaker, TemplateChat, TokenSpeaker
from tinsmith.dialects import TEMPLATE, ChatTemplate, Detected, Encoder, detect_dialect, dialect_named, dialect_of
from tinsmith.engines import (
    EngineChoice,
    Sampling,
    Served,
    TokenEngine,
    describe,
    is_loopback,
    open_chat_engine,
    open_served_engine,
)
from tinsmith.errors import EngineError, InputError
from tinsmith.models import Endpoint, GGUFHeader, Model, ModelCard, card_of_served
from tinsmith.settings import Settings

Progress = Callable[[str], None]

AUTO = "auto"
"""The name of a dialect that stands for what the model's card, file or server says."""
CHAT_PREAMBLE = 2048
"""Tokens before a call of a model behind messages: one whose thinking cannot be switched off needs them."""


class OpenEngine(Protocol):
    """Starts the engine of a model file; `tinsmith.engines.open_engine` is one."""

    def __call__(
        self,
        model_path: Path,
        *,
        context: int | None,
        progress: Progress | None,
        on_restart: Callable[[str], None] | None,
    ) -> TokenEngine: ...


class Speaking(NamedTuple):
    """A model that can be spoken with, the card that holds for it, and what computes, in a few words for the log."""

    speaker: Speaker
    card: ModelCard
    described: str


def engine_choice(settings: Settings) -> EngineChoice:
    """What the settings say of engines."""
    return EngineChoice(
        str(settings.llama_server or ""), settings.llama_server_arguments, settings.api_key, settings.vocabulary
    )


def check_dialect(name: str) -> None:
    """Raises InputError `unknown_dialect` where a person can ask for no dialect of that name."""
    if name not in (AUTO, TEMPLATE):
        try:
            dialect_named(name)
        except InputError as error:
            remedy = f"{error.remedy.rstrip('.')}, {TEMPLATE} (its own chat template), {AUTO}."
            raise InputError(error.code, error.message, remedy) from error


def speak_with_file(
    model: Model,
    context: int | None,
    dialect_name: str,
    open_engine: OpenEngine,
    progress: Progress,
    on_restart: Callable[[str], None],
    cancel: threading.Event | None,
) -> Speaking:
    """Starts the engine of a file. A model of no dialect of ours is asked with its own chat template, and what that
    waives is said once. Raises what `open_engine` raises, InputError `dialect_mismatch`, `template_missing`,
    `template_failed`."""
    card, header = model.card, GGUFHeader(model.path)
    detected = dialect_of(card, header) if dialect_name == AUTO else Detected(dialect_name, "you say so")
    template = ChatTemplate.of(header) if detected.name == TEMPLATE else None
    engine = open_engine(model.path, context=context or card.context, progress=progress, on_restart=on_restart)
    try:
        if template is not None:
            drawn = Sampling(card.sampling.temperature, card.sampling.top_k, card.sampling.top_p)
            chat = TemplateChat(engine, template, drawn, card.name)
            progress(f"{detected.reason}; {chat.waives}")
            card = replace(card, preamble_tokens=CHAT_PREAMBLE)
            return Speaking(ChatSpeaker(chat, progress, cancel), card, describe(engine))
        if lacking := _lacking(engine, detected.name):
            raise InputError(
                "dialect_mismatch",
                f"{model.path.name} cannot speak {detected.name}: its vocabulary lacks {', '.join(lacking)}.",
                f"{'G' if dialect_name == AUTO else 'Leave --dialect out, or g'}ive --dialect {TEMPLATE}, "
                "which asks it with its own chat template.",
            )
    except InputError:
        engine.close()
        raise
    if card.file is None:
        progress(f"its dialect is {detected.name}: {detected.reason}")
    encoder = Encoder(engine.tokenize, engine.vocabulary.reserved, engine.tokenize_all)
    speaker = TokenSpeaker(engine, dialect_named(detected.name), encoder, card.preamble_tokens, cancel)
    return Speaking(speaker, card, describe(engine))


def speak_with_endpoint(
    endpoint: Endpoint,
    choice: EngineChoice,
    context: int | None,
    dialect_name: str,
    progress: Progress,
    on_restart: Callable[[str], None],
    cancel: threading.Event | None,
) -> Speaking:
    """Asks a server for token ids where it takes them and we know how its model writes calls, else for messages.

    Says once why messages, and what that waives. Raises what `open_served_engine` and `open_chat_engine` raise,
    InputError `cannot_rank`.
    """
    if not is_loopback(endpoint.url):
        progress(f"code leaves this machine: it is sent to {urlsplit(endpoint.url).hostname}")
    if dialect_name == TEMPLATE:
        return _speak_in_messages(endpoint, choice, context, "its own chat template was asked for", progress, cancel)
    try:
        served = open_served_engine(
            endpoint.url, choice=choice, model=endpoint.served, progress=progress, on_restart=on_restart
        )
    except EngineError as error:
        if error.code not in ("not_token_level", "no_vocabulary"):
            raise
        return _speak_in_messages(endpoint, choice, context, error.message, progress, cancel)
    known = card_of_served(*served.names)
    detected = _detected(served, known, dialect_name)
    lacking = _lacking(served.engine, detected.name)
    if detected.name == TEMPLATE or lacking:
        served.engine.close()
        reason = f"its vocabulary lacks {', '.join(lacking)}" if lacking else detected.reason
        return _speak_in_messages(endpoint, choice, context, reason, progress, cancel)
    engine, card = served.engine, known or endpoint.card
    if bound := context or (known.context_trained if known else None):
        engine.context_window = min(engine.context_window, bound)
    progress(f"its dialect is {detected.name}: {detected.reason}")
    encoder = Encoder(engine.tokenize, engine.vocabulary.reserved, engine.tokenize_all)
    speaker = TokenSpeaker(engine, dialect_named(detected.name), encoder, card.preamble_tokens, cancel)
    return Speaking(speaker, card, describe(engine))


def speak_with(
    model: Model | Endpoint,
    choice: EngineChoice,
    context: int | None,
    dialect_name: str,
    open_engine: OpenEngine,
    progress: Progress,
    on_restart: Callable[[str], None],
    cancel: threading.Event | None,
) -> Speaking:
    """Either. `context` bounds the window in tokens; None: what the card or the server says. `dialect_name`: `AUTO`,
    `TEMPLATE` or a dialect's."""
    if isinstance(model, Endpoint):
        return speak_with_endpoint(model, choice, context, dialect_name, progress, on_restart, cancel)
    return speak_with_file(model, context, dialect_name, open_engine, progress, on_restart, cancel)


def _detected(served: Served, known: ModelCard | None, dialect_name: str) -> Detected:
    if dialect_name != AUTO:
        return Detected(dialect_name, "you say so")
    if known is not None and known.dialect != AUTO:
        return Detected(known.dialect, "its model card says so")
    return detect_dialect(served.template, served.engine.vocabulary.reserved, " ".join(served.names))


def _lacking(engine: TokenEngine, dialect_name: str) -> list[str]:
    """The control tokens of the dialect that the engine's vocabulary does not have."""
    controls = () if dialect_name == TEMPLATE else dialect_named(dialect_name).controls
    return [text for text in controls if text not in engine.vocabulary.reserved]


def _speak_in_messages(
    endpoint: Endpoint,
    choice: EngineChoice,
    context: int | None,
    reason: str,
    progress: Progress,
    cancel: threading.Event | None,
) -> Speaking:
    progress(f"{endpoint.url} is used as a chat server: {reason}")
    engine = open_chat_engine(endpoint.url, served=endpoint.served, key=choice.key, context=context, progress=progress)
    known = card_of_served(engine.model)
    if known is not None and known.edit_domain == "candidates":
        engine.close()
        raise InputError(
            "cannot_rank",
            f"{known.name} ranks edits by their probabilities, which a chat endpoint does not tell",
            f"Use it without a URL (--model {known.id}), or served by llama-server.",
        )
    progress(
        f"{engine.model} is asked with messages: exact ids, reserved ids and calls valid by construction are waived; "
        "each call is parsed and checked instead"
    )
    card = replace(endpoint.card, preamble_tokens=CHAT_PREAMBLE)
    return Speaking(ChatSpeaker(engine, progress, cancel), card, f"{engine.model} at {endpoint.url}, by messages")
