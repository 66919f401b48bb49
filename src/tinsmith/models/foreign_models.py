"""What other programs have downloaded already: Ollama, LM Studio, llama.cpp, the Hugging Face cache.

Their directories are only read. Layouts:

    Ollama      MODELS/manifests/REGISTRY/NAMESPACE/NAME/TAG names MODELS/blobs/sha256-HEX
    LM Studio   MODELS/PUBLISHER/REPOSITORY/FILE.gguf
    llama.cpp   CACHE/OWNER_REPOSITORY_FILE.gguf; later versions write as the Hugging Face cache does
    HF cache    HUB/models--OWNER--REPOSITORY/snapshots/COMMIT/FILE.gguf, a link to a blob that is called by its sha256

Only whole GGUF files count: what is being downloaded has another name, or is no target of any name, until it is whole.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinsmith.errors import InputError
from tinsmith.models.ollama import model_layer
from tinsmith.models.store_files import MAGIC, default_name, part_of

Holder = Literal["ollama", "lm-studio", "llama.cpp", "huggingface"]
_DEPTH = 4
"""Directories within one another: PUBLISHER/REPOSITORY/DIRECTORY, or REGISTRY/NAMESPACE/NAME, and one to spare."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ForeignModel:
    """A model that another program holds.

    `name` is how that program calls it; `path` the file, of a split model its first part; `bytes` of all parts;
    `sha256` in hex, empty where its holder does not say.
    """

    holder: Holder
    name: str
    path: Path
    bytes: int
    sha256: str = ""

    @property
    def source(self) -> str:
        """What the record of the store says of its origin."""
        return f"{self.holder}:{self.name}"

    @property
    def store_name(self) -> str:
        """The name it gets in the store."""
        return default_name(f"{self.name.rsplit('/', 1)[-1].removesuffix('.gguf')}.gguf")


def foreign_models(environment: Mapping[str, str] = os.environ) -> tuple[ForeignModel, ...]:
    """Every model that is found, once each, whatever cannot be read left out."""
    home = Path(environment.get("HOME") or Path.home())
    found: dict[tuple[int, int], ForeignModel] = {}
    for model in (
        *_ollama(environment, home),
        *_lm_studio(home),
        *_hugging_face(environment, home),
        *_llama_cpp(environment, home),
    ):
        try:
            status = model.path.stat()
        except OSError:
            continue
        found.setdefault((status.st_dev, status.st_ino), model)
    return tuple(sorted(found.values(), key=lambda model: (model.holder, model.name)))


def find_foreign(name: str, environment: Mapping[str, str] = os.environ) -> ForeignModel:
    """The model that its holder calls `name`, with or without `HOLDER:` before it.

    Raises InputError `unknown_foreign_model`, `ambiguous_foreign_model`.
    """
    models = foreign_models(environment)
    meant = [model for model in models if name in (model.source, model.name, model.store_name)]
    if len(meant) == 1:
        return meant[0]
    if meant:
        listed = ", ".join(model.source for model in meant)
        raise InputError("ambiguous_foreign_model", f"{name!r} is more than one model", f"Name one: {listed}.")
    listed = ", ".join(model.source for model in models[:20]) or "none was found"
    raise InputError(
        "unknown_foreign_model", f"there is neither a file nor a model {name!r} of another program", f"Found: {listed}."
    )


def _ollama(environment: Mapping[str, str], home: Path) -> Iterator[ForeignModel]:
    named = environment.get("OLLAMA_MODELS")
    # The second is where the installer's service keeps them.
    places = [Path(named)] if named else [home / ".ollama" / "models", Path("/usr/share/ollama/.ollama/models")]
    for place in places:
        top = place / "manifests"
        for manifest in _files(top):
            parts = manifest.relative_to(top).parts
            if len(parts) != 4:
                continue
            registry, namespace, name, tag = parts
            space = "" if (registry, namespace) == ("registry.ollama.ai", "library") else f"{namespace}/"
            called = f"{'' if registry == 'registry.ollama.ai' else registry + '/'}{space}{name}:{tag}"
            try:
                layer = model_layer(_head(manifest, 4 << 20), called)
            except (InputError, OSError):
                continue
            blob = place / "blobs" / f"sha256-{layer.sha256}"
            if _is_model(blob) and blob.stat().st_size == layer.size:
                yield ForeignModel("ollama", called, blob, layer.size, layer.sha256)


def _lm_studio(home: Path) -> Iterator[ForeignModel]:
    places = [home / ".lmstudio" / "models", home / ".cache" / "lm-studio" / "models"]
    try:
        # Where the person moved its directory, this file says so.
        moved = _head(home / ".lmstudio-home-pointer", 4096).decode().strip()
        places.insert(0, Path(moved) / "models")
    except (OSError, UnicodeDecodeError):
        pass
    for place in places:
        yield from _models("lm-studio", place, _files(place))


def _llama_cpp(environment: Mapping[str, str], home: Path) -> Iterator[ForeignModel]:
    named = environment.get("LLAMA_CACHE")
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    for place in [Path(named)] if named else [cache / "llama.cpp", home / "Library" / "Caches" / "llama.cpp"]:
        yield from _models("llama.cpp", place, (path for path in _entries(place) if path.is_file()))
        yield from _snapshots("llama.cpp", place)


def _hugging_face(environment: Mapping[str, str], home: Path) -> Iterator[ForeignModel]:
    cache = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    top = Path(environment.get("HF_HOME") or cache / "huggingface")
    named = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE")
    yield from _snapshots("huggingface", (Path(named) if named else top / "hub").expanduser())


def _snapshots(holder: Holder, place: Path) -> Iterator[ForeignModel]:
    for repository in _entries(place):
        if not repository.name.startswith("models--"):
            continue
        called = repository.name.removeprefix("models--").replace("--", "/")
        for snapshot in _entries(repository / "snapshots"):
            yield from _models(holder, snapshot, _files(snapshot), f"{called}/")


def _models(holder: Holder, top: Path, files: Iterator[Path], before: str = "") -> Iterator[ForeignModel]:
    """Whole models among `files`: of a split one all parts must be there."""
    for path in files:
        name = path.name
        part = part_of(name)
        if not name.lower().endswith(".gguf") or name.lower().startswith("mmproj") or (part and part[1] != 1):
            continue
        parts = [path]
        if part:
            parts = [path.with_name(f"{part[0]}-{n:05}-of-{part[2]:05}.gguf") for n in range(1, part[2] + 1)]
        if not all(_is_model(file) for file in parts):
            continue
        blob = path.resolve().name
        sha256 = blob if _SHA256.fullmatch(blob) and len(parts) == 1 else ""
        whole = path.with_name(f"{part[0]}.gguf") if part else path
        called = before + whole.relative_to(top).as_posix()
        yield ForeignModel(holder, called, path, sum(file.stat().st_size for file in parts), sha256)


def _files(top: Path) -> Iterator[Path]:
    """Every file below `top`, directories that are links included, each directory once."""
    seen: set[tuple[int, int]] = set()
    waiting = [(top, 0)]
    while waiting:
        place, depth = waiting.pop()
        try:
            status = place.stat()
        except OSError:
            continue
        if (status.st_dev, status.st_ino) in seen or depth > _DEPTH:
            continue
        seen.add((status.st_dev, status.st_ino))
        for path in _entries(place):
            try:
                if path.is_dir():
                    waiting.append((path, depth + 1))
                elif path.is_file():
                    yield path
            except OSError:
                continue


def _entries(place: Path) -> list[Path]:
    try:
        return sorted(place.iterdir())
    except OSError:
        return []


def _is_model(path: Path) -> bool:
    try:
        return path.is_file() and _head(path, len(MAGIC)) == MAGIC
    except OSError:
        return False


def _head(path: Path, most: int) -> bytes:
    with path.open("rb") as stream:
        return stream.read(most)
