"""Pinned wheels: which ones, fetched with pip by exact version and hash, never installed or run."""

import hashlib
import json
import subprocess
import sys
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

from tinsmith.errors import InputError, MachineError
from tinsmith.learn.corpus.licence import licence_of
from tinsmith.learn.corpus.policy import excluded, normalised

CONFIG = Path(__file__).with_name("corpus.toml")

# The wheels are pinned for one platform, so that the same bytes are read on every machine.
_WHEEL_PLATFORMS = (
    *("any", "manylinux1_x86_64", "manylinux2010_x86_64", "manylinux2014_x86_64"),
    *(f"manylinux_2_{minor}_x86_64" for minor in (5, 12, 17, 24, 26, 27, 28)),
)
_WHEEL_PYTHON = "3.11"


@dataclass(frozen=True)
class Package:
    """A pinned wheel; `licence` is the SPDX identifier read from its metadata."""

    name: str
    version: str
    file: str
    sha256: str
    licence: str


def load(config: Path = CONFIG) -> list[Package]:
    """The pinned packages. Raises InputError for a malformed file or an excluded package."""
    try:
        packages = [Package(**row) for row in tomllib.loads(config.read_text(encoding="utf-8"))["package"]]
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise InputError("corpus-config", f"{config}: {error}", "Write it anew with --pin.") from error
    bad = [package.name for package in packages if normalised(package.name) in excluded()[0]]
    if bad:
        raise InputError(
            "corpus-excluded", f"Excluded from training text: {', '.join(bad)}.", f"Remove it from {config}."
        )
    return packages


def fetch(package: Package, archives: Path) -> Path:
    """The package's wheel in `archives`, downloaded if it is not there. Raises MachineError (no download)
    or InputError (other bytes).
    """
    path = archives / package.file
    if not path.exists():
        print(f"fetching {package.file}", file=sys.stderr, flush=True)
        requirements = archives / f".{package.name}.txt"
        requirements.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n", encoding="utf-8")
        try:
            _pip_download(f"--requirement={requirements}", archives, "--require-hashes")
        finally:
            requirements.unlink()
    if _sha256(path) != package.sha256:
        raise InputError("corpus-hash", f"{path.name} is not the pinned archive.", "Delete it and run again.")
    return path


def pin(names: list[str], cache: Path) -> str:
    """The text of a `corpus.toml` for projects by name: a wheel of each is resolved (one that lies in the
    cache is taken) and its licence read.

    Excluded projects and licences that are not permissive are left out, with a line on stderr.
    """
    archives = cache / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    blocks: list[str] = []
    for name in sorted(dict.fromkeys(normalised(name) for name in names)):
        if name in excluded()[0]:
            print(f"{name}: excluded", file=sys.stderr)
            continue
        wheel = _wheel(name, archives)
        if wheel is None:
            try:
                _pip_download(name, archives)
            except MachineError as error:
                print(error.message, file=sys.stderr)
                continue
            wheel = _wheel(name, archives)
        licence = licence_of(wheel) if wheel is not None else None
        if wheel is None or licence is None:
            print(f"{name}: licence not known to be permissive", file=sys.stderr)
            continue
        package = Package(name, wheel.name.split("-")[1], wheel.name, _sha256(wheel), licence)
        blocks.append(
            "[[package]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in asdict(package).items())
        )
    return "\n".join(blocks)


def _wheel(name: str, archives: Path) -> Path | None:
    found = [path for path in sorted(archives.glob("*.whl")) if normalised(path.name.split("-")[0]) == name]
    return found[-1] if found else None


def _pip_download(requirement: str, target: Path, *options: str) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary",
        ":all:",
    ]
    command += ["--implementation", "cp", "--python-version", _WHEEL_PYTHON]
    command += [f"--platform={name}" for name in _WHEEL_PLATFORMS]
    done = subprocess.run([*command, *options, "--dest", str(target), requirement], capture_output=True, text=True)
    if done.returncode != 0:
        raise MachineError(
            "corpus-download",
            f"{requirement}: {done.stderr.strip()[-500:]}",
            "Check pip and the network, then run it again.",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
