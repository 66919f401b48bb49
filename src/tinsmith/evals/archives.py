"""Pinned archives of other people's packages: fetched by hash, unpacked, never run here.

`pip download` of a source archive asks its build backend for metadata, which runs the package's own code.
So pip is given backends that only copy the `PKG-INFO` that every source archive has: no code of a package
runs, and nothing else is downloaded.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tinsmith.errors import InputError, MachineError

_BACKENDS = (
    "setuptools.build_meta",
    "hatchling.build",
    "flit_core.buildapi",
    "poetry.core.masonry.api",
    "pdm.backend",
)
_BACKEND = """\
import pathlib, shutil, sys

def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    place = pathlib.Path(metadata_directory, "package.dist-info")
    place.mkdir()
    shutil.copy("PKG-INFO", place / "METADATA")
    return place.name

__legacy__ = sys.modules[__name__]
"""


@dataclass(frozen=True)
class Archive:
    """A wheel or source archive of the package index: exactly these bytes. `name` as the index has it."""

    name: str
    version: str
    file: str
    sha256: str

    @property
    def is_wheel(self) -> bool:
        """Whether it is a wheel."""
        return self.file.endswith(".whl")


def fetch(archive: Archive, cache: Path) -> Path:
    """The archive's file in `cache`/archives, downloaded with pip if it is not there.

    Raises MachineError `eval_download` where pip cannot get it, InputError `eval_archive` for other bytes.
    """
    place = cache / "archives" / archive.file
    if not place.is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        _download(archive, place.parent)
    if not place.is_file() or _sha256(place) != archive.sha256:
        raise InputError("eval_archive", f"{place} is not the pinned archive.", "Delete it and prepare again.")
    return place


def unpack(archive: Archive, cache: Path) -> Path:
    """The top directory of the unpacked archive in `cache`/sources. Raises as `fetch` does."""
    place = cache / "sources" / f"{archive.name}-{archive.version}-{archive.sha256[:8]}"
    if not place.is_dir():
        file = fetch(archive, cache)
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent) as directory:
            whole = Path(directory, "tree")
            whole.mkdir()
            _extract(file, whole)
            inner = list(whole.iterdir())
            top = inner[0] if not archive.is_wheel and len(inner) == 1 else whole
            shutil.move(top, place)
    return place


def _extract(file: Path, target: Path) -> None:
    try:
        if file.suffix == ".whl":
            with zipfile.ZipFile(file) as archive:
                archive.extractall(target)  # zipfile drops absolute paths and `..` itself
        else:
            with tarfile.open(file) as archive:
                _extract_tar(archive, target)
    except (tarfile.TarError, zipfile.BadZipFile, OSError) as error:
        raise InputError(
            "eval_archive", f"{file} cannot be unpacked: {error}", "Delete it and prepare again."
        ) from error


def _extract_tar(archive: tarfile.TarFile, target: Path) -> None:
    if hasattr(tarfile, "data_filter"):
        archive.extractall(target, filter="data")
        return
    # Python before 3.11.4: files and directories inside, which is what a source archive is made of.
    for member in archive:
        if member.name.startswith("/") or ".." in member.name.split("/"):
            raise tarfile.TarError(f"{member.name!r} leads outside")
        if member.isfile() or member.isdir():
            archive.extract(member, target, set_attrs=False)


def _download(archive: Archive, target: Path) -> None:
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        requirements = scratch / "requirements.txt"
        requirements.write_text(f"{archive.name}=={archive.version} --hash=sha256:{archive.sha256}\n", encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += [
            "--no-deps",
            "--require-hashes",
            "--requirement",
            str(requirements),
            "--dest",
            str(target),
        ]
        environment = dict(os.environ)
        if archive.is_wheel:
            command += ["--only-binary", ":all:"]
        else:
            command += ["--no-binary", ":all:", "--no-build-isolation", "--use-pep517"]
            environment["PYTHONPATH"] = str(_write_backends(scratch / "backends"))
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise MachineError(
            "eval_download",
            f"pip could not get {archive.file}: {done.stderr.strip()[-500:]}",
            "Check pip (`python -m pip`) and the network, then prepare again.",
        )


def _write_backends(directory: Path) -> Path:
    for name in _BACKENDS:
        file = directory.joinpath(*name.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        for package in list(file.parents)[: name.count(".")]:
            (package / "__init__.py").touch()
        file.write_text(_BACKEND, encoding="utf-8")
    return directory


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
