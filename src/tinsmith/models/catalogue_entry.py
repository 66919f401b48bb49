"""What the catalogue knows of one model, each number with who says so, when and where.

The data are the TOML files in `catalogue/`, one a model; `catalogue_schema.py` reads and checks them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Literal

from tinsmith.models.card import CardSampling, DialectName, EditDomain, ModelCard, Tools, default_card
from tinsmith.models.geometry import Geometry

By = Literal["vendor", "third party", "computed", "unverified"]
"""Who says a number: the maker of the model, somebody else who measured or read it, we from other numbers, or nobody
whose word is at hand (recalled or inferred)."""

Use = Literal["local", "edge", "issues", "cli", "private", "long-context"]
Thinking = Literal["no", "yes", "per request", "unknown"]


@dataclass(frozen=True)
class Provenance:
    """Where a number is from. `date`: YYYY-MM or YYYY-MM-DD, when it was published, or `seen` when it was read."""

    by: By
    date: str
    source: str


@dataclass(frozen=True)
class Parameters:
    """Parameters by the vendor's own count, often rounded; `active`: those that one token uses, 0 where not known."""

    total: int
    active: int
    said: Provenance


@dataclass(frozen=True)
class Window:
    """Context in tokens: `native` is what the vendor promises, `extended` what a rope extension reaches, `header` what
    a GGUF header says; 0: not known."""

    native: int
    extended: int
    header: int
    said: Provenance | None


@dataclass(frozen=True)
class Published:
    """A file that somebody publishes. `bytes` of all its parts, rounded by its publisher where not `exact`.

    `sha256` is empty where it is not known, `repository`, `revision` and `file` (a pattern where there are parts) too.
    """

    bytes: int
    exact: bool
    sha256: str
    repository: str
    revision: str
    file: str
    said: Provenance


@dataclass(frozen=True)
class Hub:
    """A repository on a Hugging Face-compatible hub; `files` is the pattern of its files with `{quant}` in it."""

    repository: str
    files: str


@dataclass(frozen=True)
class Score:
    """A benchmark's result in per cent. `scaffold`: the agent that was run, `not stated` where nobody says it."""

    benchmark: str
    value: float
    scaffold: str
    said: Provenance


@dataclass(frozen=True)
class Trap:
    """Something that goes wrong with this model, and the way round it."""

    id: str
    text: str
    source: str


@dataclass(frozen=True)
class Run:
    """How the model is run: what becomes its card. `sampling_note`: what the sampling here leaves out."""

    dialect: DialectName
    file: str | None
    context: int
    system: str | None
    tools: Tools
    edit_domain: EditDomain
    preamble_tokens: int
    sampling: CardSampling | None
    sampling_said: Provenance | None
    sampling_note: str


@dataclass(frozen=True, eq=False)
class Entry:
    """One model of the catalogue.

    `released`: YYYY-MM or YYYY-MM-DD, empty for what is none's release. `names` are the names by which files and
    servers call it, in the form of `model_names.normalised`; `ollama` its tags there, the usual first. `geometry` is
    None where the model's shape is not known, its `feed_forward` 0 where that alone is not. `quants` are files that are
    published; `uses` say for each use why this model is a choice for it.
    """

    id: str
    name: str
    family: str
    vendor: str
    released: str
    licence: str
    licence_note: str
    summary: str
    thinking: Thinking
    names: tuple[str, ...]
    ollama: tuple[str, ...]
    parameters: Parameters | None
    window: Window
    geometry: Geometry | None
    geometry_said: Provenance | None
    run: Run
    quants: Mapping[str, Published]
    hubs: tuple[Hub, ...]
    scores: tuple[Score, ...]
    traps: tuple[Trap, ...]
    uses: Mapping[Use, str]

    @property
    def dialect(self) -> DialectName:
        """How the model writes turns and calls."""
        return self.run.dialect

    @property
    def sampling(self) -> CardSampling | None:
        """The sampling that is recommended for it, None where nobody recommends any."""
        return self.run.sampling

    @property
    def context_native(self) -> int:
        """Tokens that the vendor promises, 0 where that is not known."""
        return self.window.native

    @property
    def context_extended(self) -> int:
        """Tokens that a rope extension reaches, 0 where none is known."""
        return self.window.extended

    @property
    def is_built_in(self) -> bool:
        """Whether its weights are part of this package."""
        return self.run.file is not None

    @property
    def card(self) -> ModelCard:
        """The card that a run of this model uses."""
        run = self.run
        return replace(
            default_card(),
            id=self.id,
            name=self.name,
            licence=self.licence,
            file=run.file,
            dialect=run.dialect,
            context=run.context,
            system=run.system,
            tools=run.tools,
            edit_domain=run.edit_domain,
            preamble_tokens=run.preamble_tokens,
            sampling=run.sampling or default_card().sampling,
            context_trained=self.window.native,
        )

    def place_of(self, quant: str) -> Published | None:
        """Where the file of `quant` is published: the one that is known, else by the pattern of the first hub."""
        if (known := self.quants.get(quant)) is not None and known.repository:
            return known
        for hub in self.hubs:
            said = Provenance("computed", "seen 2026-10", f"by the pattern of {hub.repository}")
            return Published(0, False, "", hub.repository, "", hub.files.replace("{quant}", quant), said)
        return None


@cache
def entries() -> Mapping[str, Entry]:
    """Every entry of the catalogue by its id, in the order of their ids. Raises CardError for a faulty file."""
    from tinsmith.models.catalogue_schema import parse_entry

    found = [
        parse_entry(place.read_text(encoding="utf-8"))
        for place in files("tinsmith.models").joinpath("catalogue").iterdir()
        if place.name.endswith(".toml")
    ]
    return {entry.id: entry for entry in sorted(found, key=lambda entry: entry.id)}
