"""Where model files lie on disk: one content-addressed store, shared by every process of this person.

    STATE/models/lock                     held (flock) while names or files change
    STATE/models/names/NAME.json          one record a model, replaced as a whole
    STATE/models/files/KEY/FILE.gguf      what was downloaded or copied; never changed once it is there
    STATE/models/partial/KEY/             downloads under way (`store_partial`)

KEY is the sha256 of the file; of a split model the sha256 of its parts' sums, one a line.  A directory appears under
`files/` by one rename after every byte in it was checked, so a file that has a place there is whole.  The parts of a
split model lie in one directory, since llama.cpp looks for them beside the first.

A model imported in place has a record and no file here: the record says where the file is, its size and its time.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tinsmith.errors import InputError, MachineError
from tinsmith.events import default_state_dir
from tinsmith.models.store_files import (
    copy_file,
    default_name,
    disk_errors,
    file_name,
    hash_file,
    key_of,
    size_below,
    split_parts,
    sync,
)
from tinsmith.models.store_partial import Partial, abandoned
from tinsmith.models.store_record import StoredFile, StoredModel, read_record, write_record

RESERVE = 1 << 30
"""Bytes that a download leaves free on the disk: logs, copies of repositories and the desktop need some."""
ABANDONED = 7 * 86_400.0
"""Seconds without a byte after which an unfinished download is rubbish."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


@dataclass(frozen=True)
class FileCheck:
    """What `verify` found of one file; `problem` is empty where it is as recorded."""

    path: Path
    problem: str


@dataclass(frozen=True)
class Collected:
    """What `collect` took away, and the bytes that this freed."""

    paths: tuple[Path, ...]
    bytes: int


class Store:
    """The models kept in one state directory.  Any number of processes may use it at once.

    What cannot be written raises MachineError `disk_full`, `file_too_large` or `store_unusable`; a record that cannot
    be read raises MachineError `record_unreadable`.
    """

    def __init__(self, state_dir: Path | None = None) -> None:
        self.root = (state_dir.absolute() if state_dir is not None else default_state_dir()) / "models"
        self.partial = self.root / "partial"
        self._names, self._files = self.root / "names", self.root / "files"

    def models(self) -> tuple[StoredModel, ...]:
        """Every model with a record, by name."""
        read = (read_record(self._record(name), self._files) for name in self._recorded())
        return tuple(model for model in read if model is not None)

    def find(self, name: str) -> StoredModel | None:
        """The model of that name, else the newest of that catalogue id, None where there is neither."""
        if model := self.named(name.lower()):
            return model
        of_id = [model for model in self.models() if model.id == name]
        return max(of_id, key=lambda model: (model.added, model.name), default=None)

    def named(self, name: str) -> StoredModel | None:
        """The model with exactly that name."""
        return read_record(self._record(name), self._files) if _NAME.fullmatch(name) else None

    def get(self, name: str) -> StoredModel:
        """As `find`.  Raises InputError `unknown_model` with the names there are."""
        model = self.find(name)
        if model is None:
            names = ", ".join(self._recorded()) or "none yet"
            remedy = f"Stored: {names}. `tinsmith models pull` or `import` adds one."
            raise InputError("unknown_model", f"the store has no model {name!r}", remedy)
        return model

    def new_name(self, name: str) -> str:
        """`name`, if a model can be called so and none is.  Raises InputError `bad_model_name`, `name_taken`."""
        if not _NAME.fullmatch(name):
            remedy = "Use lower-case letters, digits, dots, hyphens and underscores, a letter or digit first."
            raise InputError("bad_model_name", f"{name!r} cannot be a model's name", remedy)
        if self.named(name):
            remedy = f"Give another --name, or first `tinsmith models remove {name}`."
            raise InputError("name_taken", f"another model in the store is called {name!r}", remedy)
        return name

    def add_file(self, path: Path, name: str = "", *, id: str = "", quant: str = "") -> StoredModel:
        """A copy of a GGUF file (of a split model: of every part), called `name` or as the file.

        Raises InputError `model_unreadable`, `name_taken`, `bad_model_name`; MachineError `disk_too_small`.
        """
        parts = split_parts(path)
        name = self.new_name(name or default_name(path.name))
        self.check_space(sum(part.stat().st_size for part in parts))
        source = f"file:{parts[0].absolute()}"
        with Partial(self.partial, hashlib.sha256(source.encode()).hexdigest()) as partial, disk_errors(self.root):
            partial.empty()
            sums = [copy_file(part, partial.files / file_name(part.name)) for part in parts]
            return self.commit(partial, sums, StoredModel(name, id, quant, source, key_of(sums), ()))

    def import_in_place(
        self, path: Path, name: str = "", *, source: str = "", id: str = "", quant: str = "", sha256: str = ""
    ) -> StoredModel:
        """A record of a GGUF file that stays where it is.  `sha256`: where it is known without reading the file.

        Raises InputError `model_unreadable`, `name_taken`, `bad_model_name`.
        """
        files: list[StoredFile] = []
        parts = split_parts(path)
        for part in parts:
            status = part.stat()
            known = sha256 if len(parts) == 1 else ""
            # Not resolved: the links of a cache keep their names, by which the parts of a split model find each other.
            files.append(StoredFile(part.absolute(), status.st_size, known, status.st_mtime_ns))
        name = name or default_name(path.name)
        source = source or f"file:{files[0].path}"
        with self._locked():
            return self._name(StoredModel(name, id, quant, source, "", tuple(files)))

    def commit(self, partial: Partial, sums: Sequence[str], model: StoredModel) -> StoredModel:
        """Makes the files of `partial`, whose sha256 are `sums` in the order of their names, those of `model`.

        Raises InputError `name_taken`, `bad_model_name`; `adopt` then gives the files to another name.
        """
        names = sorted(os.listdir(partial.files))
        files: list[StoredFile] = []
        with self._locked():
            place = self._files / key_of(sums)
            for file, sha256 in zip(names, sums, strict=True):
                path = partial.files / file
                path.chmod(0o444)
                sync(path)
                files.append(StoredFile(place / file, path.stat().st_size, sha256))
            sync(partial.files)
            same = self._at(place)
            if same is not None and all(file.path.is_file() for file in same.files):
                files = list(same.files)  # under the file names that it got first
            else:
                # What lies there has no record, or was tampered with.
                shutil.rmtree(place, ignore_errors=True)
                os.rename(partial.files, place)
                sync(self._files)
            stored = self._name(replace(model, key=key_of(sums), files=tuple(files)))
        partial.remove()
        return stored

    def adopt(self, key: str, model: StoredModel) -> StoredModel | None:
        """Gives files that are in the store already to `model`; None where there are none of that key.

        Raises InputError `name_taken`, `bad_model_name`.
        """
        with self._locked():
            place = self._files / key
            if not place.is_dir():
                return None
            same = self._at(place)
            files = list(same.files) if same else []
            if same is None:
                # A kill between the rename and the record: the sums are not written down anywhere.
                for name in sorted(os.listdir(place)):
                    path = place / name
                    files.append(StoredFile(path, path.stat().st_size, hash_file(path)))
            if not files or any(not file.path.is_file() for file in files) or key_of([f.sha256 for f in files]) != key:
                shutil.rmtree(place)
                return None
            return self._name(replace(model, key=key, files=tuple(files)))

    def remove(self, name: str) -> StoredModel:
        """Takes a name away, and the files that no other name uses.  What was imported in place is not touched.

        Raises InputError `unknown_model`.
        """
        with self._locked():
            model = self.get(name)
            self._record(model.name).unlink()
            sync(self._names)
            if model.key and self._at(self._files / model.key) is None:
                shutil.rmtree(self._files / model.key, ignore_errors=True)
        return model

    def verify(self, model: StoredModel, read: Callable[[int], None] = lambda count: None) -> tuple[FileCheck, ...]:
        """Reads every byte of a model again.  `read` is told how many more bytes were read.

        Of a file imported in place whose sha256 was unknown it is recorded now, and so is a new time of the same
        content.
        """
        checks: list[FileCheck] = []
        seen: list[StoredFile] = []
        for file in model.files:
            problem = ""
            try:
                status = file.path.stat()
                found = hash_file(file.path, read)
                if status.st_size != file.bytes:
                    problem = f"it has {status.st_size:,} bytes, not {file.bytes:,}"
                elif file.sha256 and found != file.sha256:
                    problem = f"its sha256 is {found}, not {file.sha256}"
                elif not file.sha256 and status.st_mtime_ns != file.modified_ns:
                    problem = "it was changed after it was imported, and its sum was not known"
                seen.append(StoredFile(file.path, file.bytes, found, status.st_mtime_ns if file.modified_ns else 0))
            except OSError as error:
                problem = error.strerror or str(error)
            checks.append(FileCheck(file.path, problem))
        if model.in_place and not any(check.problem for check in checks):
            with self._locked():
                if self.named(model.name) == model:
                    write_record(self._record(model.name), replace(model, files=tuple(seen)))
        return tuple(checks)

    def collect(self, older_than: float = ABANDONED, *, dry_run: bool = False) -> Collected:
        """Deletes files that no record names, and unfinished downloads not written to for `older_than` seconds.

        A download that is under way in another process is never touched.
        """
        gone: list[Path] = []
        freed = 0
        with self._locked():
            named = {model.key for model in self.models()}
            rubbish = [place for place in self._files.iterdir() if place.name not in named]
            rubbish += [*self._names.glob(".*"), *self.partial.glob(".*")]
            for place in sorted(rubbish):
                gone.append(place)
                freed += size_below(place)
                if place.is_dir() and not dry_run:
                    shutil.rmtree(place, ignore_errors=True)
                elif not dry_run:
                    place.unlink(missing_ok=True)
        for partial in abandoned(self.partial, older_than):
            gone.append(partial.place)
            freed += size_below(partial.place)
            if not dry_run:
                partial.remove()
        return Collected(tuple(gone), freed)

    def check_space(self, needed: int) -> None:
        """Raises MachineError `disk_too_small` where `needed` bytes and RESERVE do not fit."""
        self._prepare()
        free = shutil.disk_usage(self.root).free
        if needed and needed + RESERVE > free:
            raise MachineError(
                "disk_too_small",
                f"{needed:,} bytes are to come and {RESERVE:,} stay free, but {self.root} has only {free:,} left",
                "Free some space, take a smaller --quant, or name another directory in TINSMITH_STATE_DIR.",
            )

    def _name(self, model: StoredModel) -> StoredModel:
        """Writes the record of a model.  The lock is held."""
        known = self.named(model.name)
        if known is not None and (known.key, known.files) == (model.key, model.files):
            # The same again; what is known of its origin may be more than before.
            return write_record(self._record(model.name), replace(model, id=model.id or known.id, added=known.added))
        return write_record(self._record(self.new_name(model.name)), model)

    def _at(self, place: Path) -> StoredModel | None:
        return next((model for model in self.models() if model.key == place.name), None)

    def _record(self, name: str) -> Path:
        return self._names / f"{name}.json"

    def _recorded(self) -> list[str]:
        return sorted(path.name.removesuffix(".json") for path in self._names.glob("[!.]*.json"))

    def _prepare(self) -> None:
        with disk_errors(self.root):
            for place in (self._names, self._files, self.partial):
                place.mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        self._prepare()
        with disk_errors(self.root):
            fd = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                yield
            finally:
                os.close(fd)
