"""Reads an entry of the catalogue and checks it: a fault is named by its field."""

import tomllib
from dataclasses import replace
from typing import Any, get_args

from tinsmith.models.card import DialectName, EditDomain, Tools, default_card, read_sampling
from tinsmith.models.catalogue_entry import (
    By,
    Entry,
    Hub,
    Parameters,
    Provenance,
    Published,
    Run,
    Score,
    Thinking,
    Trap,
    Use,
    Window,
)
from tinsmith.models.geometry import DeltaNet, Geometry, LatentAttention, LayerCache, LayerKind
from tinsmith.models.toml_fields import CardError, Fields

_ID = r"[a-z0-9][a-z0-9.-]*"
_DAY = r"\d{4}-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?"
_REPOSITORY = r"[A-Za-z0-9][\w.-]*/[\w.-]+"


def parse_entry(text: str) -> Entry:
    """The entry of a TOML text. Raises CardError with the field's name."""
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CardError(str(error)) from error
    take = Fields(raw)
    try:
        return _entry(take)
    except CardError as error:
        raise CardError(f"{raw.get('id', 'an entry without id')}: {error}") from error


def _entry(take: Fields) -> Entry:
    window = _whole(take.table("context"), _window) if "context" in take else Window(0, 0, 0, None)
    geometry, geometry_said = _geometry(take.table("geometry"), window.native) if "geometry" in take else (None, None)
    quants = take.tables("quants", _published)
    entry = Entry(
        id=take.matching("id", _ID),
        name=take.text("name"),
        family=take.matching("family", _ID),
        vendor=take.text("vendor"),
        released=take.matching("released", _DAY, ""),
        licence=take.text("licence"),
        licence_note=take.text("licence_note", ""),
        summary=take.text("summary"),
        thinking=take.choice("thinking", get_args(Thinking)),
        names=take.texts("names"),
        ollama=take.texts("ollama"),
        parameters=_whole(take.table("parameters"), _parameters) if "parameters" in take else None,
        window=window,
        geometry=geometry,
        geometry_said=geometry_said,
        run=_whole(take.table("run"), _run),
        quants=dict(quants),
        hubs=take.tables("hubs", _hub),
        scores=take.tables("scores", _score),
        traps=take.tables("traps", _trap),
        uses=dict(take.tables("uses", _use)),
    )
    take.done()
    if len(entry.quants) < len(quants):
        raise CardError("quants: one name twice")
    return entry


def _whole(fields: Fields, read: Any) -> Any:
    """What `read` makes of `fields`; complains of unknown fields."""
    found = read(fields)
    fields.done()
    return found


def provenance(take: Fields) -> Provenance:
    """Who says the number beside it. Raises CardError with the field's name."""
    return Provenance(
        by=take.choice("by", get_args(By)),
        date=take.matching("date", f"(seen )?{_DAY}"),
        source=take.text("source"),
    )


def _window(take: Fields) -> Window:
    return Window(
        native=take.integer("native", 1),
        extended=take.integer("extended", 1, 0),
        header=take.integer("header", 1, 0),
        said=provenance(take),
    )


def _parameters(take: Fields) -> Parameters:
    return Parameters(take.integer("total", 1), take.integer("active", 1, 0), provenance(take))


def _geometry(take: Fields, context: int) -> tuple[Geometry, Provenance]:
    delta = _whole(take.table("delta"), _delta) if "delta" in take else None
    latent = _whole(take.table("latent"), _latent) if "latent" in take else None
    block = [layer for layers in take.tables("layers", _layers) for layer in layers]
    if not block:
        raise CardError("geometry.layers: none")
    if any(layer.kind == "recurrent" for layer in block):
        if delta is None:
            raise CardError("geometry.delta: missing, and there are recurrent layers")
        block = [
            replace(layer, state_bytes=delta.state_bytes) if layer.kind == "recurrent" else layer for layer in block
        ]
    geometry = Geometry(
        architecture=take.text("architecture"),
        layers=tuple(block * take.integer("repeat", 1, 1)),
        d_model=take.integer("d_model", 1),
        heads=take.integer("heads", 1),
        head_size=take.integer("head_size", 1),
        vocabulary=take.integer("vocabulary", 1),
        feed_forward=take.integer("feed_forward", 1, 0),
        experts=take.integer("experts", 1, 0),
        experts_used=take.integer("experts_used", 1, 0),
        experts_shared=take.integer("experts_shared", 0, 0),
        context=context,
        tied=take.flag("tied"),
        dense_layers=take.integer("dense_layers", 1, 0),
        dense_feed_forward=take.integer("dense_feed_forward", 1, 0),
        delta=delta,
        latent=latent,
    )
    said = provenance(take)
    take.done()
    if geometry.experts_used > geometry.experts:
        raise CardError("geometry.experts_used: more than there are experts")
    return geometry, said


def _delta(take: Fields) -> DeltaNet:
    return DeltaNet(**{name: take.integer(name, 1) for name in ("key_heads", "value_heads", "head_size", "conv")})


def _latent(take: Fields) -> LatentAttention:
    return LatentAttention(
        query_rank=take.integer("query_rank", 0),
        **{name: take.integer(name, 1) for name in ("rank", "rope", "no_rope", "value")},
    )


def _layers(take: Fields) -> list[LayerCache]:
    kind: LayerKind = take.choice("kind", get_args(LayerKind))
    kept = {
        "full": ("key_width", "value_width"),
        "sliding": ("key_width", "value_width", "window"),
        "latent": ("key_width",),
        "recurrent": (),
    }[kind]
    count = take.integer("count", 1)
    return [LayerCache(kind, **{name: take.integer(name, 1) for name in kept})] * count


def _run(take: Fields) -> Run:
    default = default_card()
    sampling = said = None
    note = ""
    if "sampling" in take:
        table = take.table("sampling")
        sampling, said, note = read_sampling(table), provenance(table), table.text("note", "")
        table.done()
    return Run(
        dialect=take.choice("dialect", get_args(DialectName)),
        file=take.optional_text("file"),
        context=take.integer("context", 1, default.context),
        system=take.optional_text("system"),
        tools=take.choice("tools", get_args(Tools), default.tools),
        edit_domain=take.choice("edit_domain", get_args(EditDomain), default.edit_domain),
        preamble_tokens=take.integer("preamble_tokens", 0, default.preamble_tokens),
        sampling=sampling,
        sampling_said=said,
        sampling_note=note,
    )


def _published(take: Fields) -> tuple[str, Published]:
    return take.matching("name", r"[\w.-]+"), Published(
        bytes=take.integer("bytes", 1),
        exact=not take.flag("rounded"),
        sha256=take.matching("sha256", r"[0-9a-f]{64}", ""),
        repository=take.matching("repository", _REPOSITORY, ""),
        revision=take.matching("revision", r"[0-9a-f]{40}", ""),
        file=take.text("file", ""),
        said=provenance(take),
    )


def _hub(take: Fields) -> Hub:
    return Hub(take.matching("repository", _REPOSITORY), take.matching("files", r".*\{quant\}.*\.gguf"))


def _score(take: Fields) -> Score:
    return Score(
        benchmark=take.text("benchmark"),
        value=take.number("value", 0.0, 100.0),
        scaffold=take.text("scaffold"),
        said=provenance(take),
    )


def _trap(take: Fields) -> Trap:
    return Trap(take.matching("id", _ID), take.text("text"), take.text("source"))


def _use(take: Fields) -> tuple[Use, str]:
    return take.choice("use", get_args(Use)), take.text("why")
