"""A GGUF file as one candidate: what its header says, planned as a model of the catalogue is."""

from dataclasses import replace
from pathlib import Path

from tinsmith.models.card import default_card
from tinsmith.models.catalogue_entry import Entry, Provenance, Run, Window
from tinsmith.models.fit import FILE, Candidate, candidate, contexts_for
from tinsmith.models.fit_weights import Quant
from tinsmith.models.geometry import Geometry
from tinsmith.models.gguf_layout import Layout, read_layout
from tinsmith.models.machine import Machine
from tinsmith.models.model_names import entry_named


def file_candidate(source: Path | str, machine: Machine, context: int | None = None) -> Candidate:
    """The file at a path or URL, of which only the header is read. `context`: see `contexts_for`.

    Raises InputError as `read_layout` does, and where the header does not say the model's shape.
    """
    layout = read_layout(source)
    geometry, weights = layout.geometry(), layout.weights()
    entry = _entry(source, layout, geometry)
    trained = geometry.context or (context or contexts_for(None, None)[0])
    contexts = [tokens for tokens in contexts_for(None, context) if tokens <= trained] or [trained]
    return candidate(entry, Quant(FILE, layout.size, True, True, weights), machine, contexts)


def _entry(source: Path | str, layout: Layout, geometry: Geometry) -> Entry:
    """The entry that the name of the file means, with the shape that its header says; else one of its own."""
    name = Path(str(source)).name
    known = entry_named(name)
    if known is not None:
        return replace(known, id=name, geometry=geometry)
    said = Provenance("computed", "seen 2026-11", "the file's header")
    card = default_card()
    run = Run(
        card.dialect, None, card.context, None, card.tools, card.edit_domain, card.preamble_tokens, None, None, ""
    )
    return Entry(
        id=name,
        name=str(layout.value("general.name", name)),
        family="",
        vendor="",
        released="",
        licence=str(layout.value("general.license", "")),
        licence_note="",
        summary="",
        thinking="no",
        names=(),
        ollama=(),
        parameters=None,
        window=Window(geometry.context, 0, geometry.context, said),
        geometry=geometry,
        geometry_said=said,
        run=run,
        quants={},
        hubs=(),
        scores=(),
        traps=(),
        uses={},
    )
