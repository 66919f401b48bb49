"""Model cards: what Tinsmith knows of a model beyond its file. Data files in `cards/`, checked on load."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

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

    `file` is relative to this package, None where the weights are the person's own file; `context` in tokens;
    `system` None means the default text; `preamble_tokens` is how much free text may come before a call.
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


class CardError(ValueError):
    """A card that does not keep to the schema: a fault of the package, found by its tests."""


def parse_card(text: str) -> ModelCard:
    """The card of a TOML text. Raises CardError with the field's name."""
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CardError(str(error)) from error
    take = _Fields(raw, "")
    sampling = _Fields(take.table("sampling"), "sampling.")
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
        sampling=CardSampling(
            temperature=sampling.number("temperature", 0.0, 10.0),
            top_k=sampling.integer("top_k", 0),
            top_p=sampling.number("top_p", 0.0, 1.0),
        ),
    )
    take.done()
    sampling.done()
    return card


@cache
def cards() -> dict[str, ModelCard]:
    """Every card of the package by its id."""
    found = [
        parse_card(entry.read_text(encoding="utf-8"))
        for entry in files("tinsmith.models").joinpath("cards").iterdir()
        if entry.name.endswith(".toml")
    ]
    return {card.id: card for card in sorted(found, key=lambda card: card.id)}


class _Fields:
    """Takes typed fields out of a table; what nobody took is unknown."""

    def __init__(self, table: dict[str, Any], prefix: str) -> None:
        self._left = dict(table)
        self._prefix = prefix

    def _take(self, key: str, types: type | tuple[type, ...]) -> Any:
        value = self._left.pop(key, None)
        if not isinstance(value, types) or isinstance(value, bool):
            raise CardError(f"{self._prefix}{key}: missing or of the wrong type")
        return value

    def table(self, key: str) -> dict[str, Any]:
        return self._take(key, dict)

    def text(self, key: str) -> str:
        value = self._take(key, str)
        if not value:
            raise CardError(f"{self._prefix}{key}: empty")
        return value

    def optional_text(self, key: str) -> str | None:
        return self.text(key) if key in self._left else None

    def choice(self, key: str, options: tuple[Any, ...]) -> Any:
        value = self._take(key, str)
        if value not in options:
            raise CardError(f"{self._prefix}{key}: {value!r} is none of {', '.join(options)}")
        return value

    def integer(self, key: str, least: int) -> int:
        value = self._take(key, int)
        if value < least:
            raise CardError(f"{self._prefix}{key}: less than {least}")
        return value

    def number(self, key: str, least: float, most: float) -> float:
        value = float(self._take(key, (int, float)))
        if not least <= value <= most:
            raise CardError(f"{self._prefix}{key}: not between {least} and {most}")
        return value

    def done(self) -> None:
        if self._left:
            raise CardError(f"unknown field {self._prefix}{min(self._left)}")
