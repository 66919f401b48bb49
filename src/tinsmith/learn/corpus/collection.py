"""From pinned wheels and the standard library to one deduplicated file of functions, split by package."""

import gzip
import hashlib
import json
import os
import platform
import sys
import sysconfig
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from tinsmith.errors import InputError
from tinsmith.learn.corpus.archives import CONFIG, Package, fetch, load
from tinsmith.learn.corpus.extraction import files_of, functions_of
from tinsmith.learn.corpus.licence import licence_of
from tinsmith.learn.corpus.policy import file_refused, normalised

_PART_VERSION = "1"  # of the extraction: another one makes the cached parts anew
_VALIDATION_SHARE = 0.05  # of packages
_STANDARD_LIBRARY = "cpython"


@dataclass(frozen=True)
class ManifestRow:
    """What one package gave: `sha256` of its archive, counts after deduplication, and the side of the split
    it is on.
    """

    package: str
    version: str
    licence: str
    sha256: str
    split: str
    functions: int
    characters: int


@dataclass(frozen=True)
class Manifest:
    rows: list[ManifestRow]

    @property
    def functions(self) -> int:
        return sum(row.functions for row in self.rows)

    @property
    def characters(self) -> int:
        return sum(row.characters for row in self.rows)

    def provenance(self) -> str:
        """The list that is shipped beside the weights: tab-separated, one package a line."""
        names = ("package", "version", "licence", "sha256", "functions")
        lines = [
            "\t".join(names),
            *("\t".join(str(getattr(row, name)) for name in names) for row in self.rows),
        ]
        return "\n".join(lines) + "\n"


def collect(config: Path, cache: Path, *, standard_library: bool = True) -> Manifest:
    """Fetches what `config` pins and writes `functions.jsonl.gz` and `manifest.json` to the directory
    `cache`.

    A row of the first: {package, version, path, qualname, first_line, source, doc, split}; functions with
    equal tokens occur once. Archives and extracted parts that are there already are used again. Raises
    InputError and MachineError as `load` and `fetch` do.
    """
    archives, parts = cache / "archives", cache / "parts"
    archives.mkdir(parents=True, exist_ok=True)
    parts.mkdir(exist_ok=True)
    packages = load(config)
    with ThreadPoolExecutor(4) as threads:
        wheels = list(threads.map(fetch, packages, [archives] * len(packages)))
    for package, wheel in zip(packages, wheels, strict=True):
        if licence_of(wheel) != package.licence:
            raise InputError(
                "corpus-licence",
                f"{wheel.name}: licence is not {package.licence}.",
                "Write the file anew with --pin.",
            )
    sources = list(zip(packages, wheels, strict=True))
    if standard_library:
        sources.insert(0, _standard_library())
    paths = [parts / f"{package.name}-{package.sha256[:12]}-{_PART_VERSION}.jsonl.gz" for package, _ in sources]
    with ProcessPoolExecutor() as processes:
        jobs = {
            package.name: processes.submit(_extract, package, source, part)
            for (package, source), part in zip(sources, paths, strict=True)
            if not part.exists()
        }
        for number, (name, job) in enumerate(jobs.items(), 1):
            job.result()
            print(f"{number}/{len(jobs)} {name}", file=sys.stderr)
    return _merge([package for package, _ in sources], paths, cache)


def read_manifest(cache: Path, config: Path = CONFIG) -> Manifest | None:
    """The manifest of a whole collection of what `config` pins in `cache`, None where there is none."""
    path = cache / "manifest.json"
    if not path.exists():
        return None
    rows = [ManifestRow(**row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
    # The standard library is that of the interpreter that collected.
    collected = {(row.package, row.sha256) for row in rows if row.package != _STANDARD_LIBRARY}
    pinned = {(package.name, package.sha256) for package in load(config)}
    return Manifest(rows) if collected == pinned else None


def split_of(package: str) -> str:
    """`train` or `validation`: by package, so that no project is on both sides."""
    draw = int.from_bytes(hashlib.sha256(normalised(package).encode()).digest()[:4], "big") / 2**32
    return "validation" if draw < _VALIDATION_SHARE else "train"


def _extract(package: Package, source: Path, part: Path) -> None:
    """Writes the functions of one archive to `part`, one JSON object a line."""
    rows: list[str] = []
    for path, text in files_of(source):
        if "\ufffd" in text or file_refused(path, text) is not None:
            continue
        for function in functions_of(text):
            rows.append(
                json.dumps(
                    {"package": package.name, "version": package.version, "path": path, **function},
                    ensure_ascii=False,
                )
            )
    _write(part, rows)


def _write(path: Path, rows: list[str]) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with temporary.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as stream:
        for row in rows:
            stream.write(row.encode() + b"\n")
    temporary.replace(path)


def _standard_library() -> tuple[Package, Path]:
    root = Path(sysconfig.get_paths()["stdlib"])
    digest = hashlib.sha256()
    for path, text in files_of(root):
        if file_refused(path, "") is None:
            digest.update(text.encode())
    return Package(_STANDARD_LIBRARY, platform.python_version(), root.name, digest.hexdigest(), "PSF-2.0"), root


def _merge(packages: list[Package], parts: list[Path], cache: Path) -> Manifest:
    seen: set[str] = set()
    kept: list[str] = []
    rows: list[ManifestRow] = []
    for package, part in zip(packages, parts, strict=True):
        functions = characters = 0
        with gzip.open(part, "rt", encoding="utf-8") as stream:
            for line in stream:
                row = json.loads(line)
                digest = row.pop("hash")
                if digest in seen:
                    continue
                seen.add(digest)
                row["split"] = split_of(package.name)
                kept.append(json.dumps(row, ensure_ascii=False))
                functions += 1
                characters += len(row["source"])
        rows.append(
            ManifestRow(
                package.name,
                package.version,
                package.licence,
                package.sha256,
                split_of(package.name),
                functions,
                characters,
            )
        )
    _write(cache / "functions.jsonl.gz", kept)
    text = json.dumps({"rows": [asdict(row) for row in rows]}, indent=1)
    (cache / "manifest.json").write_text(text + "\n", encoding="utf-8")
    return Manifest(rows)
