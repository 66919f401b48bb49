"""From what a person asks for to a model in the store: where its files are, then each of them, then one rename."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit, urlunsplit

from tinsmith.errors import InputError
from tinsmith.models.catalogue_entry import Entry
from tinsmith.models.catalogue_sizes import usual_quant
from tinsmith.models.download import Progress, RemoteFile, fetch
from tinsmith.models.download_answer import shown
from tinsmith.models.download_retry import Patience, Say
from tinsmith.models.hub import DEFAULT_QUANT, Hub, HubReference, offline, parse_hub_reference
from tinsmith.models.model_names import entry_named
from tinsmith.models.ollama import DEFAULT_REGISTRY, ollama_file, parse_ollama_reference
from tinsmith.models.store import Store
from tinsmith.models.store_files import default_name, file_name, key_of, part_of
from tinsmith.models.store_partial import Partial
from tinsmith.models.store_record import StoredModel


@dataclass(frozen=True)
class Sources:
    """Where models may be had from: a hub or its mirror, Ollama's registry or its mirror, nowhere."""

    hub: Hub = field(default_factory=Hub)
    ollama_registry: str = DEFAULT_REGISTRY
    is_offline: bool = False


@dataclass(frozen=True)
class Wanted:
    """A model's files and what its record will say."""

    files: tuple[RemoteFile, ...]
    source: str
    name: str
    id: str = ""
    quant: str = ""

    @property
    def bytes(self) -> int:
        """Of all files, -1 where not known before the download."""
        return -1 if any(file.size < 0 for file in self.files) else sum(file.size for file in self.files)

    @property
    def key(self) -> str:
        """The key of its files in the store, empty where not all sums are known before the download."""
        sums = [file.sha256 for file in self.files]
        return key_of(sums) if all(sums) else ""


def locate(
    what: str,
    sources: Sources,
    *,
    quant: str = "",
    choose_quant: Callable[[Entry], str | None] = usual_quant,
    patience: Patience | None = None,
    say: Say = lambda line: None,
) -> Wanted:
    """The files that `what` means: `hf:OWNER/REPO[:QUANT or FILE]`, `ollama:NAME[:TAG]`, a URL, a catalogue's model.

    Raises InputError `bad_reference`, `model_unknown`, `no_such_quant`, `not_published`, `not_found`, `not_allowed`;
    MachineError `offline`, and those of `download.fetch`.
    """
    patience = patience or Patience()
    if sources.is_offline:
        raise offline(what)
    kind, _, rest = what.partition(":")
    if kind == "hf":
        reference = parse_hub_reference(rest)
        return _of_hub(reference if reference.what else replace(reference, what=quant), sources, patience, say)
    if kind == "ollama":
        tag = parse_ollama_reference(rest)
        file = ollama_file(sources.ollama_registry, tag, patience=patience, say=say)
        entry = entry_named(str(tag))
        return Wanted((file,), f"ollama:{tag}", default_name(file.name), entry.id if entry else "")
    if kind in ("http", "https"):
        return _of_url(what, sources.hub)
    entry = entry_named(what)
    if entry is None:
        remedy = "Give an id of `tinsmith models list`, hf:OWNER/REPO:QUANT, ollama:NAME:TAG, a URL or a file."
        raise InputError("model_unknown", f"nothing is known as {what!r}", remedy)
    return _of_entry(entry, quant or choose_quant(entry) or DEFAULT_QUANT, sources, patience, say)


def pull(
    store: Store,
    wanted: Wanted,
    *,
    name: str = "",
    patience: Patience | None = None,
    say: Say = lambda line: None,
    progress: Callable[[Progress], None] = lambda now: None,
) -> StoredModel:
    """Downloads `wanted`, or goes on with it, and gives it a name.  What the store has already is not downloaded.

    Raises InputError `name_taken`, `bad_model_name` before any byte comes; MachineError `disk_too_small`,
    `model_file_gone`, `model_file_changed` (it was pulled before, and somebody else changed it); and what
    `download.fetch` raises: then what came is kept for the next attempt, but for a file with a wrong sum.
    """
    model = StoredModel(name or wanted.name, wanted.id, wanted.quant, wanted.source, wanted.key, ())
    known = store.named(model.name)
    if known is not None and not wanted.key and known.source == model.source:
        known.check()
        return known
    if known is None or known.key != wanted.key:
        store.new_name(model.name)
    key = wanted.key or hashlib.sha256("\n".join(file.url for file in wanted.files).encode()).hexdigest()
    waiting = "another process is downloading it: waiting for that"
    with Partial(store.partial, key, waiting=lambda: say(waiting)) as partial:
        if wanted.key and (there := store.adopt(key, model)):
            partial.remove()
            return there
        parts = [partial.files / file_name(file.name) for file in wanted.files]
        if set(os.listdir(partial.files)) - {part.name for part in parts} or len(set(parts)) < len(parts):
            partial.empty()
        store.check_space(sum(max(0, file.size - _size(part)) for file, part in zip(wanted.files, parts, strict=True)))
        sums: list[str] = []
        done = 0
        for number, (file, part) in enumerate(zip(wanted.files, parts, strict=True)):
            rest = zip(wanted.files[number + 1 :], parts[number + 1 :], strict=True)
            later = sum(max(0, other.size - _size(there)) for other, there in rest)
            sums.append(
                fetch(
                    file,
                    part,
                    partial.notes / f"{part.name}.json",
                    check_space=lambda needed, later=later: store.check_space(needed + later),
                    patience=patience,
                    say=say,
                    progress=lambda now, done=done: progress(
                        replace(now, bytes=done + now.bytes, total=wanted.bytes if wanted.bytes >= 0 else now.total)
                    ),
                )
            )
            done += part.stat().st_size
        return store.commit(partial, sums, model)


def _of_hub(reference: HubReference, sources: Sources, patience: Patience, say: Say) -> Wanted:
    found = sources.hub.files_of(reference, patience=patience, say=say)
    name = PurePosixPath(found.files[0].name).name
    entry = entry_named(name)
    return Wanted(found.files, found.source, default_name(name), entry.id if entry else "")


def _of_url(url: str, hub: Hub) -> Wanted:
    parts = urlsplit(url)
    if parts.username is not None:
        remedy = "Take them out: what names a model is written into its record."
        raise InputError("bad_reference", "the URL holds a user or a password", remedy)
    top = urlsplit(hub.url)
    token = hub.token if (parts.scheme, parts.netloc) == (top.scheme, top.netloc) else ""
    path = PurePosixPath(parts.path)
    names = [path.name]
    if part := part_of(path.name):
        names = [f"{part[0]}-{number:05}-of-{part[2]:05}.gguf" for number in range(1, part[2] + 1)]
    files = [
        RemoteFile(urlunsplit(parts._replace(path=str(path.with_name(name)), fragment="")), name, token=token)
        for name in names
    ]
    entry = entry_named(path.name)
    return Wanted(tuple(files), shown(files[0].url), default_name(path.name), entry.id if entry else "")


def _of_entry(entry: Entry, quant: str, sources: Sources, patience: Patience, say: Say) -> Wanted:
    named = {known.lower(): known for known in entry.quants}
    quant = named.get(quant.lower(), quant)
    place = entry.place_of(quant)
    if place is None or not place.repository:
        words = f"{entry.name} comes with Tinsmith" if entry.is_built_in else f"nobody is known to publish {entry.name}"
        remedy = "Give a repository of a hub (hf:OWNER/REPO:QUANT), a URL or a file."
        raise InputError("not_published", words, remedy)
    if place.exact and place.sha256:
        found = sources.hub.file_at(place.repository, place.file, place.revision, size=place.bytes, sha256=place.sha256)
    else:
        reference = HubReference(place.repository, place.revision, place.file if quant in entry.quants else quant)
        found = sources.hub.files_of(reference, patience=patience, say=say)
    return Wanted(found.files, found.source, f"{entry.id}-{quant.lower()}", entry.id, quant)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
