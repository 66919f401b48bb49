"""From what a person names to an entry of the catalogue, a card and a file on disk."""

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from tinsmith.errors import InputError, MachineError
from tinsmith.models.card import ModelCard, default_card
from tinsmith.models.catalogue_entry import Entry, entries
from tinsmith.models.catalogue_sizes import gigabytes, quant_sizes, usual_quant
from tinsmith.models.gguf_header import GGUFHeader
from tinsmith.models.machine import this_machine
from tinsmith.models.model_names import entry_named, entry_of_all
from tinsmith.models.store import Store

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


@cache
def cards() -> Mapping[str, ModelCard]:
    """The card of every entry by its id, and `default`, that of any other file."""
    return {"default": default_card()} | {name: entry.card for name, entry in entries().items()}


def find_entry(name: str) -> Entry:
    """The entry called `name`: an id, an Ollama tag or the name of a file or repository.

    Raises InputError `model_unknown`, with the ids that are like it.
    """
    if (found := entry_named(name)) is not None:
        return found
    near = difflib.get_close_matches(name.lower(), entries(), n=3, cutoff=0.5)
    remedy = f"Did you mean {' or '.join(near)}? " if near else ""
    raise InputError(
        "model_unknown", f"the catalogue has no model {name!r}", f"{remedy}`tinsmith models list` lists them all."
    )


def find_model(name: str | None) -> Model:
    """The model called `name`: a catalogue id, a model of the store or the path of a GGUF file; None: TINSMITH_MODEL,
    else Solder.

    Raises MachineError `model_missing` where there is no such file, `model_file_gone` and `model_file_changed` where
    the store's is not as it was, InputError `model_unreadable` where it is no whole GGUF. A file gets the card of the
    entry that its header or its name means (`card_of_file`).
    """
    name = name or os.environ.get("TINSMITH_MODEL") or DEFAULT_MODEL
    entry = entries().get(name)
    if entry is not None and entry.run.file is not None:
        path = Path(str(files("tinsmith.models").joinpath(entry.run.file)))
        if not path.is_file():
            raise MachineError(
                "model_missing",
                f"the weights of {entry.name} are not installed ({path})",
                "Reinstall tinsmith, or give --model the path of a GGUF file.",
            )
        GGUFHeader(path)
        return Model(entry.card, path)
    path = Path(name).expanduser()
    if path.is_file():
        return Model(card_of_file(path), path.resolve())
    entry = entry or entry_named(name)
    store = Store()
    stored = store.find(name) or (store.find(entry.id) if entry is not None else None)
    if stored is None:
        raise _missing(name, entry)
    stored.check()
    known = entries().get(stored.id)
    return Model(known.card if known is not None else card_of_file(stored.path), stored.path)


def card_of_file(path: Path) -> ModelCard:
    """The card of a GGUF file: of the entry that `tinsmith.card` names, else of the one that its `general.name`, its
    base name with size, and its file name mean, where they do not contradict each other; else the default.

    Raises InputError `model_unreadable`.
    """
    header = GGUFHeader(path)

    def told(key: str) -> str:
        return str(header.value(key, ""))

    if (named := entries().get(told("tinsmith.card").lower())) is not None:
        return named.card
    parts = [told(f"general.{key}") for key in ("basename", "size_label", "finetune", "version")]
    composed = "-".join(part for part in parts if part)
    found = entry_of_all([told("general.name"), composed, path.name])
    if found is None or (found.is_built_in and entry_of_all([told("general.name")]) is not found):
        return default_card()  # what comes with Tinsmith is not known by the name of a file alone
    return found.card


def _missing(name: str, entry: Entry | None) -> MachineError:
    if entry is None:
        return MachineError(
            "model_missing",
            f"there is no model {name!r}: neither a file nor one of {', '.join(entries())}",
            "Give --model the path of a GGUF file, or leave it out to use the built-in model.",
        )
    return MachineError(
        "model_missing",
        f"{entry.name} is not on this machine",
        f"`tinsmith models pull {entry.id}` gets it{_size_and_fit(entry)}. Or give --model the path of its GGUF file.",
    )


def _size_and_fit(entry: Entry) -> str:
    """The size of an entry in the quant that suits this machine, and how it would run; else in the usual one, and that
    it does not fit. Empty where its size is not known."""
    from tinsmith.models.recommendation import recommend

    usual = usual_quant(entry)
    told = f" ({usual}, {gigabytes(quant_sizes(entry)[usual].bytes)})" if usual else ""
    try:
        pick = recommend([entry], this_machine()).pick
    except MachineError:
        return told
    if pick is not None and pick.plan is not None:
        return f" ({pick.quant.name}, {gigabytes(pick.quant.bytes)}), which fits here: {pick.plan.described()}"
    if not told or entry.geometry is None:
        return told
    return f"{told}, but no quant of it is of use here (`tinsmith models fit {entry.id}`)"
