"""Widespread claims about the models of the catalogue, with what is true. Data: `claims.toml`."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

from tinsmith.models.toml_fields import Fields

Verdict = Literal["wrong", "wrong model", "imprecise", "true"]


@dataclass(frozen=True)
class Claim:
    """A claim as articles make it; `truth` is what holds, `models` the ids that it is about."""

    id: str
    claim: str
    verdict: Verdict
    truth: str
    models: tuple[str, ...]
    source: str


def parse_claims(text: str) -> tuple[Claim, ...]:
    """The claims of a TOML text. Raises CardError with the field's name."""
    take = Fields(tomllib.loads(text))
    found = take.tables("claims", _claim)
    take.done()
    return found


@cache
def claims() -> tuple[Claim, ...]:
    """All of them, the wrong ones first."""
    found = parse_claims(files("tinsmith.models").joinpath("claims.toml").read_text(encoding="utf-8"))
    return tuple(sorted(found, key=lambda claim: get_args(Verdict).index(claim.verdict)))


def claims_about(*ids: str) -> tuple[Claim, ...]:
    """The claims about any of the models."""
    return tuple(claim for claim in claims() if set(ids) & set(claim.models))


def _claim(take: Fields) -> Claim:
    return Claim(
        id=take.matching("id", r"[a-z0-9.-]+"),
        claim=take.text("claim"),
        verdict=take.choice("verdict", get_args(Verdict)),
        truth=take.text("truth"),
        models=take.texts("models"),
        source=take.text("source"),
    )
