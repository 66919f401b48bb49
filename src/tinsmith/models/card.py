"""What a run needs to know of a model beyond its file: how it writes, how it is sampled, which tools it is told of.

The catalogue's entries give a card each (`Entry.card`); `default_card.toml` is the one of any other file.
"""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

from tinsmith.models.toml_fields import CardError, Fields

Tools = Literal["full", "terse"]
EditDomain = Literal["free", "candidates"]
DialectName = Literal[
    "auto", "qwen-xml", "qwen-thinking", "mistral-v7", "mistral-v11", "mistral-v13", "function-text", "template"
]
"""How the model writes turns and calls; `auto`: as its file says, `template`: as its own chat template does."""


@dataclass(frozen=True)
class CardSampling:
    """The sampling a model is run with; `top_k` 0 and `top_p` 1 mean off."""

    temperature: float
    top_k: int
    top_p: float


@dataclass(frozen=True)
class ModelCard:
    """One model.

    `file` is relative to this package, None where the weights are the person's own file. `context` is the window in
    tokens that a run opens where nothing else says it, `context_trained` the most that the model was made for (0: not
    known). `system` None means the default text; `preamble_tokens` is how much free text may come before a call.
    """

    id: str
    name: str
    licence: str
    file: str | None
    dialect: DialectName
    context: int
    system: str | None
    tools: Tools
    edit_domain: EditDomain
    preamble_tokens: int
    sampling: CardSampling
    context_trained: int = 0


def parse_card(text: str) -> ModelCard:
    """The card of a TOML text. Raises CardError with the field's name."""
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CardError(str(error)) from error
    take = Fields(raw)
    sampling = take.table("sampling")
    card = ModelCard(
        id=take.text("id"),
        name=take.text("name"),
        licence=take.text("licence"),
        file=take.optional_text("file"),
        dialect=take.choice("dialect", get_args(DialectName)),
        context=take.integer("context", 1),
        system=take.optional_text("system"),
        tools=take.choice("tools", get_args(Tools)),
        edit_domain=take.choice("edit_domain", get_args(EditDomain)),
        preamble_tokens=take.integer("preamble_tokens", 0),
        sampling=read_sampling(sampling),
    )
    take.done()
    sampling.done()
    return card


def read_sampling(take: Fields) -> CardSampling:
    """The sampling of a table. Raises CardError with the field's name."""
    return CardSampling(
        temperature=take.number("temperature", 0.0, 10.0),
        top_k=take.integer("top_k", 0),
        top_p=take.number("top_p", 0.0, 1.0),
    )


@cache
def default_card() -> ModelCard:
    """The card of a GGUF file that no entry of the catalogue claims."""
    return parse_card(files("tinsmith.models").joinpath("default_card.toml").read_text(encoding="utf-8"))
