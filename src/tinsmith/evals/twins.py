"""The model under test and its twins: the same shape and vocabulary, weights drawn at random."""

import hashlib
from pathlib import Path

from tinsmith.models import Model
from tinsmith.models.random_weights import write_random


def digest(model: Path) -> str:
    """What tells one set of weights from another in file names and row keys."""
    with model.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:12]


def twin(model: Model, seed: int, cache: Path) -> Path:
    """The twin of `model` by `seed`, in `cache`/twins; it has the model's card."""
    place = cache / "twins" / f"{digest(model.path)}-{seed}.gguf"
    if not place.is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_suffix(".partial")
        write_random(partial, like=model.path, seed=seed, name=model.card.id)
        partial.rename(place)
    return place
