"""From what a person names to a card and a file on disk."""

import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from tinsmith.errors import MachineError
from tinsmith.models.card import ModelCard, cards
from tinsmith.models.gguf_header import GGUFHeader

DEFAULT_MODEL = "solder"


@dataclass(frozen=True)
class Model:
    """A model that is there: its card, and its GGUF file, whose tensors are known to be whole."""

    card: ModelCard
    path: Path

    @property
    def source(self) -> str:
        """What names it again."""
        return str(self.path)


def find_model(name: str | None) -> Model:
    """The model called `name`: a catalogue id or the path of a GGUF file; None: TINSMITH_MODEL, else Solder.

    Raises MachineError `model_missing` where there is no such file, InputError `model_unreadable` where it is
    no whole GGUF. A file whose metadata names a card (`tinsmith.card` or `general.name`) gets that card.
    """
    name = name or os.environ.get("TINSMITH_MODEL") or DEFAULT_MODEL
    known = cards()
    card = known.get(name)
    if card is not None and card.file is not None:
        path = Path(str(files("tinsmith.models").joinpath(card.file)))
        if not path.is_file():
            raise MachineError(
                "model_missing",
                f"the weights of {card.name} are not installed ({path})",
                "Reinstall tinsmith, or give --model the path of a GGUF file.",
            )
        GGUFHeader(path)
        return Model(card, path)
    path = Path(name).expanduser()
    if not path.is_file():
        ids = ", ".join(card.id for card in known.values() if card.file)
        raise MachineError(
            "model_missing",
            f"there is no model {name!r}: neither a file nor one of {ids}",
            "Give --model the path of a GGUF file, or leave it out to use the built-in model.",
        )
    header = GGUFHeader(path)
    claims = (str(header.value(key, "")).lower() for key in ("tinsmith.card", "general.name"))
    card = next((known[claim] for claim in claims if claim in known), known["default"])
    return Model(card, path.resolve())
