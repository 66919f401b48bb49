"""Files of the store: their names, their sums, and how a small one is replaced so that no kill can halve it."""

import contextlib
import errno
import hashlib
import os
import re
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from tinsmith.errors import InputError, MachineError

CHUNK = 1 << 20
MAGIC = b"GGUF"
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_FULL = (errno.ENOSPC, errno.EDQUOT)


def part_of(name: str) -> tuple[str, int, int] | None:
    """(stem, number, count) of one part of a split model, as llama.cpp names them; None for a whole file."""
    found = _PART.fullmatch(name)
    return (found["stem"], int(found["number"]), int(found["count"])) if found else None


def split_parts(path: Path) -> list[Path]:
    """The file, or where it is one part of a split model, all of them in order.

    Raises InputError `model_unreadable` where one is no file that begins as a GGUF.
    """
    path = path.expanduser()
    part = part_of(path.name)
    parts = [path]
    if part is not None:
        stem, _, count = part
        parts = [path.with_name(f"{stem}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]
    for file in parts:
        try:
            fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(fd, "rb") as stream:
                if stream.read(len(MAGIC)) != MAGIC:
                    raise OSError(errno.EINVAL, "it does not begin as a GGUF file")
        except OSError as error:
            raise InputError(
                "model_unreadable",
                f"{file} is no GGUF file that can be used: {error.strerror}",
                "Name a .gguf file; of a split model any part, with the others beside it.",
            ) from error
    return parts


def file_name(name: str) -> str:
    """A name for a file of the store after what it was called elsewhere: no path, no odd character, ends in `.gguf`."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", re.split(r"[/\\]", name)[-1]).lstrip(".-")[-200:]
    return plain if plain.lower().endswith(".gguf") and len(plain) > 5 else "model.gguf"


def default_name(file: str) -> str:
    """The name of a model after its file's: lower case, without `.gguf` and the number of a part."""
    plain = file_name(file)
    part = part_of(plain)
    stem = (part[0] if part else plain[: -len(".gguf")]).lower().lstrip("._-")
    return stem[:128] or "model"


def key_of(sums: Sequence[str]) -> str:
    """The name of a directory of files: the sha256 of the one file, or of the list of the parts' sums."""
    return sums[0] if len(sums) == 1 else hashlib.sha256("\n".join(sums).encode()).hexdigest()


def hash_file(path: Path, read: Callable[[int], None] = lambda count: None) -> str:
    """The sha256 of a file in hex; `read` is told how many more bytes were read."""
    total = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(CHUNK):
            total.update(block)
            read(len(block))
    return total.hexdigest()


def copy_file(source: Path, target: Path) -> str:
    """Copies a file and gives its sha256."""
    total = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(CHUNK):
            total.update(block)
            writer.write(block)
    return total.hexdigest()


def replace_file(path: Path, text: str) -> None:
    """Writes a small file as a whole: beside its place, to the disk, then one rename.

    The caller holds the lock of the directory. So the name aside is the same each time, and what a kill leaves there is
    overwritten by the next writer.
    """
    aside = path.with_name(f".{path.name}.new")
    with aside.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Makes the bytes of a file, or the names in a directory, survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def size_below(place: Path) -> int:
    """Bytes of the files in a directory, links not followed."""
    total = 0
    for top, _, names in os.walk(place):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # somebody else deletes it as well
                total += os.lstat(os.path.join(top, name)).st_size
    return total


@contextlib.contextmanager
def disk_errors(place: Path) -> Generator[None]:
    """What the disk refuses becomes MachineError `disk_full`, `file_too_large` or `store_unusable`."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise MachineError(
                "disk_full",
                f"the disk is full (or the quota used up) at {place}",
                "Free some space and run the command again: it goes on where it stopped.",
            ) from error
        if error.errno == errno.EFBIG:
            raise MachineError(
                "file_too_large",
                f"the file system at {place} (or a limit of this shell) does not take a file of this size",
                "Name a directory on another file system in TINSMITH_STATE_DIR.",
            ) from error
        raise MachineError(
            "store_unusable",
            f"cannot keep models in {place}: {error.strerror or error}",
            "Make it writable, or name another directory in TINSMITH_STATE_DIR.",
        ) from error
