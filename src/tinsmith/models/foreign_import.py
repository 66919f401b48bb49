"""A file elsewhere becomes a model of the store without a copy; which catalogue entry it is, its header says."""

import os
from collections.abc import Mapping
from pathlib import Path

from tinsmith.models.catalogue import card_of_file
from tinsmith.models.foreign_models import find_foreign
from tinsmith.models.gguf_header import GGUFHeader
from tinsmith.models.model_names import entry_named
from tinsmith.models.store import Store
from tinsmith.models.store_record import StoredModel


def import_model(store: Store, what: str, name: str = "", environment: Mapping[str, str] = os.environ) -> StoredModel:
    """The GGUF file `what`, or the model that another program calls so, as a model of the store; it stays where it is.

    Raises InputError `model_unreadable`, `unknown_foreign_model`, `ambiguous_foreign_model`, `name_taken`,
    `bad_model_name`.
    """
    path = Path(what).expanduser()
    if path.is_file():
        id, quant = identified(path, path.name)
        return store.import_in_place(path, name, id=id, quant=quant)
    found = find_foreign(what, environment)
    id, quant = identified(found.path, found.name)
    return store.import_in_place(
        found.path, name or found.store_name, source=found.source, id=id, quant=quant, sha256=found.sha256
    )


def identified(path: Path, name: str) -> tuple[str, str]:
    """(the catalogue's id, the quant) of a GGUF file that is called `name` somewhere; empty where it is not known.

    Raises InputError `model_unreadable`.
    """
    import gguf

    id = card_of_file(path).id
    entry = entry_named(name) if id == "default" else None
    kind = GGUFHeader(path).value("general.file_type")
    try:
        quant = gguf.LlamaFileType(int(kind)).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except (TypeError, ValueError):
        quant = ""
    return (entry.id if entry else "" if id == "default" else id), quant
