"""One record of the store: which model, which files, where they came from. One JSON file a name."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tinsmith.errors import MachineError
from tinsmith.models.store_files import replace_file

SCHEMA = 1


@dataclass(frozen=True)
class StoredFile:
    """One GGUF file: its absolute path, its size in bytes, its sha256 in hex; empty: not yet known."""

    path: Path
    bytes: int
    sha256: str
    modified_ns: int = 0
    """When a file imported in place was last changed, in nanoseconds; 0: the file is ours."""


@dataclass(frozen=True)
class StoredModel:
    """One record.  `id` is the catalogue's, empty where it is none of them; `source` names where it came from.

    `key` names the directory of the files in the store, empty for files that were imported in place.
    """

    name: str
    id: str
    quant: str
    source: str
    key: str
    files: tuple[StoredFile, ...]
    added: str = ""
    """ISO 8601, UTC."""

    @property
    def in_place(self) -> bool:
        return not self.key

    @property
    def path(self) -> Path:
        """The file to load: of a split model the first part."""
        return self.files[0].path

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    def check(self) -> None:
        """Raises MachineError `model_file_gone` or `model_file_changed`: sizes and times alone, no byte is read."""
        for file in self.files:
            try:
                status = file.path.stat()
            except OSError as error:
                raise MachineError(
                    "model_file_gone",
                    f"{file.path}, the file of {self.name}, cannot be read any more: {error.strerror}",
                    f"`tinsmith models remove {self.name}`, then import or pull it again.",
                ) from error
            if status.st_size != file.bytes or (file.modified_ns and status.st_mtime_ns != file.modified_ns):
                raise MachineError(
                    "model_file_changed",
                    f"{file.path} is no longer the file that {self.name} was recorded with",
                    f"`tinsmith models verify {self.name}` compares its content; if it was meant, import it again.",
                )

    def row(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "name": self.name,
            "id": self.id or None,
            "quant": self.quant or None,
            "source": self.source,
            "added": self.added,
            "in_place": self.in_place,
            "path": str(self.path),
            "bytes": self.bytes,
            "files": [{"path": str(f.path), "bytes": f.bytes, "sha256": f.sha256 or None} for f in self.files],
        }


def read_record(path: Path, files: Path) -> StoredModel | None:
    """The record at `path`, None where there is none; `files` is where the store keeps its own.

    Raises MachineError `record_unreadable`.
    """
    try:
        raw = json.loads(path.read_bytes())
        if raw["schema"] != SCHEMA:
            raise ValueError(f"it is of version {raw['schema']!r}")
        key = str(raw["key"])
        model = StoredModel(
            name=path.name.removesuffix(".json"),
            id=str(raw["id"]),
            quant=str(raw["quant"]),
            source=str(raw["source"]),
            key=key,
            files=tuple(_file(row, files / key if key else None) for row in raw["files"]),
            added=str(raw["added"]),
        )
        if not model.files:
            raise ValueError("it names no file")
        return model
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MachineError(
            "record_unreadable",
            f"{path} is no record of a model: {error}",
            "Delete that file, then pull or import the model again.",
        ) from error


def _file(row: dict[str, Any], place: Path | None) -> StoredFile:
    # Names below the store are relative, so that the state directory can be moved.
    path = place / str(row["name"]) if place else Path(row["path"])
    return StoredFile(path, int(row["bytes"]), str(row["sha256"]), int(row.get("modified_ns", 0)))


def write_record(path: Path, model: StoredModel) -> StoredModel:
    """Writes `model`, as a whole or not at all, and gives it back with its time."""
    added = model.added or datetime.now(UTC).isoformat(timespec="seconds")
    rows: Sequence[dict[str, Any]] = [
        {"bytes": file.bytes, "sha256": file.sha256}
        | ({"path": str(file.path), "modified_ns": file.modified_ns} if model.in_place else {"name": file.path.name})
        for file in model.files
    ]
    record = {"schema": SCHEMA, "name": model.name, "id": model.id, "quant": model.quant, "source": model.source}
    replace_file(path, json.dumps(record | {"key": model.key, "added": added, "files": rows}, indent=1) + "\n")
    return StoredModel(model.name, model.id, model.quant, model.source, model.key, model.files, added)
