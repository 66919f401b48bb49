"""A model that a server elsewhere runs: its base URL in the place of a file."""

import os
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from tinsmith.errors import InputError
from tinsmith.models.card import ModelCard, default_card
from tinsmith.models.model_names import entry_named


@dataclass(frozen=True)
class Endpoint:
    """What a person names with `URL` or `URL#MODEL`. `served` is the MODEL, None for the first that is served.

    `card` is the one of any unknown model, until it is known what is served (`card_of_served`).
    """

    card: ModelCard
    url: str
    served: str | None

    @property
    def source(self) -> str:
        """What names it again."""
        return f"{self.url}#{self.served}" if self.served else self.url


def find_endpoint(name: str | None) -> Endpoint | None:
    """The endpoint called `name` (None: TINSMITH_MODEL), None where that is no URL.

    Raises InputError `bad_base_url` where the URL holds a password.
    """
    name = name or os.environ.get("TINSMITH_MODEL", "")
    if "://" not in name:
        return None
    url, _, served = name.partition("#")
    if urlsplit(url).username is not None:
        remedy = "Give the key in TINSMITH_API_KEY: what names a model is written into logs."
        raise InputError("bad_base_url", "a base URL holds no user and no password", remedy)
    card = replace(default_card(), id=served or url, name=served or url, licence="the server's own")
    return Endpoint(card, url.rstrip("/"), served or None)


def card_of_served(*names: str) -> ModelCard | None:
    """The card of the first of `names`, ids or file names by which a server calls its model, that means an entry."""
    return next((entry.card for name in names if (entry := entry_named(name)) is not None), None)
