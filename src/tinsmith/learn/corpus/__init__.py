"""Training text: permissively licensed Python functions from pinned wheels and from the standard library.

`corpus.toml` pins every archive by version and SHA-256 and states its licence; `excluded.txt` lists what
may never be in training text. Wheels are fetched with pip by exact version and hash, read as zip files, and
never installed or run. The rules that a wheel, a file and a function must pass are `licence_of`,
`file_refused` and `functions_of`.

    python -m tinsmith.learn.corpus --cache DIR            # fetch and extract; resumable
    python -m tinsmith.learn.corpus --cache DIR --pin NAMES.txt > corpus.toml
"""

from tinsmith.learn.corpus.archives import CONFIG, Package, fetch, load, pin
from tinsmith.learn.corpus.collection import Manifest, ManifestRow, collect, read_manifest, split_of
from tinsmith.learn.corpus.extraction import functions_of
from tinsmith.learn.corpus.licence import licence_of
from tinsmith.learn.corpus.policy import excluded, file_refused, normalised

__all__ = [
    "CONFIG",
    "Manifest",
    "ManifestRow",
    "Package",
    "collect",
    "excluded",
    "fetch",
    "file_refused",
    "functions_of",
    "licence_of",
    "load",
    "normalised",
    "pin",
    "read_manifest",
    "split_of",
]
