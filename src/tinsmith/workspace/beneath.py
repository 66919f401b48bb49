"""Files below one directory, reached in one step of the kernel's that no symlink can turn aside.

`openat2` (Linux 5.6, system call 437 on every architecture) resolves a whole path with RESOLVE_BENEATH and
RESOLVE_NO_SYMLINKS (include/uapi/linux/openat2.h), so nobody can put a symlink between the check and the use.
Where the kernel lacks it, or a container refuses it, the path is walked part by part, each opened in the one before
with O_NOFOLLOW: as safe, with one call a part.  Names are then used beside the open directory, never by their path.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO

_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08
_DIRECTORY = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", os.O_RDONLY)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Beneath:
    """The directory `top`, held open.  Paths are relative to it; every method raises OSError, ELOOP at a symlink.

    A directory that is moved out of `top` while a file in it is written takes that file along: only who may write
    both places can do that.
    """

    def __init__(self, top: Path, *, by_parts: bool = False) -> None:
        """`top` may be reached through symlinks.  `by_parts`: walk as where the kernel has no `openat2`."""
        self._fd = os.open(top, _DIRECTORY)
        self._by_parts = by_parts or not _has_openat2()

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> "Beneath":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def open(self, path: str, flags: int, mode: int = 0) -> int:
        """A descriptor as of `os.open`; symlinks are followed nowhere, not at the end either."""
        parts = path.split("/")
        if any(part in ("", ".", "..") for part in parts) or "\0" in path:
            raise OSError(errno.EXDEV, "not a path below the directory", path)
        flags |= os.O_CLOEXEC
        if not self._by_parts:
            return _openat2(self._fd, path, flags, mode)
        flags |= os.O_NOFOLLOW  # with RESOLVE_NO_SYMLINKS it would ask for the link itself
        above = os.dup(self._fd)
        try:
            for part in parts[:-1]:
                below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
                os.close(above)
                above = below
            return os.open(parts[-1], flags, mode, dir_fd=above)
        except NotADirectoryError as error:
            # O_DIRECTORY says so of a symlink too; openat2 says ELOOP.
            raise OSError(errno.ELOOP if self._crosses_link(parts) else errno.ENOTDIR, error.strerror, path) from None
        finally:
            os.close(above)

    def status(self, path: str) -> os.stat_result | None:
        """The status of what stands at `path` itself; None where nothing does."""
        try:
            with self._parent(path) as (parent, name):
                return os.stat(name, dir_fd=parent, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def open_regular(self, path: str) -> IO[bytes]:
        """A regular file to be read; OSError for anything else."""
        fd = self.open(path, os.O_RDONLY | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", path)
        return os.fdopen(fd, "rb")

    def read(self, path: str) -> bytes:
        """The bytes of a regular file; OSError for anything else."""
        with self.open_regular(path) as stream:
            return stream.read()

    def set_mode(self, path: str, mode: int) -> None:
        """Permission bits of a regular file or directory that need not be readable."""
        fd = self.open(path, getattr(os, "O_PATH", os.O_RDONLY))
        try:
            os.chmod(f"/proc/self/fd/{fd}", mode)  # fchmod takes no O_PATH descriptor
        finally:
            os.close(fd)

    def read_link(self, path: str) -> bytes:
        """The target of the symlink at `path`."""
        with self._parent(path) as (parent, name):
            return os.readlink(os.fsencode(name), dir_fd=parent)

    def make_parents(self, path: str) -> None:
        """Every directory above `path` is there when this returns."""
        parts = path.split("/")[:-1]
        for end in range(1, len(parts) + 1):
            with suppress(FileExistsError), self._parent("/".join(parts[:end])) as (parent, name):
                os.mkdir(name, dir_fd=parent)

    def write(self, path: str, content: bytes, *, mode: int, umask: bool = False, temporary: str = "") -> None:
        """Put a file in place of a file, a symlink or an empty directory, in one step.

        `mode` is taken as it is, or less what the process's umask takes away.  `temporary` is the name, in the same
        directory, under which the file is written first; what a kill leaves there is written over.
        """
        temporary = temporary or f".tinsmith-{os.urandom(8).hex()}"
        with self._parent(path) as (parent, name):
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(temporary, flags, mode if umask else 0o600, dir_fd=parent)
            with os.fdopen(fd, "wb") as stream:
                stream.write(content)
                if not umask:
                    os.fchmod(fd, mode)
            _rename_over(parent, temporary, name)

    def write_link(self, path: str, target: bytes, *, temporary: str) -> None:
        """Put a symlink in place of a file, a symlink or an empty directory, in one step."""
        with self._parent(path) as (parent, name):
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=parent)
            os.symlink(target, os.fsencode(temporary), dir_fd=parent)
            _rename_over(parent, temporary, name)

    def remove(self, path: str) -> None:
        """Remove a file or symlink that is there."""
        with self._parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)

    def remove_directory(self, path: str) -> bool:
        """Remove a directory if it is empty; whether it was."""
        try:
            with self._parent(path) as (parent, name):
                os.rmdir(name, dir_fd=parent)
        except OSError:
            return False
        return True

    def discard(self, path: str) -> None:
        """Remove a file or symlink if it is there; directories stay."""
        with suppress(FileNotFoundError, NotADirectoryError), self._parent(path) as (parent, name):
            os.unlink(name, dir_fd=parent)

    def make_way(self, path: str) -> None:
        """Every parent of `path` is a real directory that we may write to; what else stood there is removed."""
        parts = path.split("/")[:-1]
        for end in range(1, len(parts) + 1):
            with self._parent("/".join(parts[:end])) as (parent, name):
                try:
                    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                    if not stat.S_ISDIR(status.st_mode):
                        os.unlink(name, dir_fd=parent)
                        os.mkdir(name, 0o755, dir_fd=parent)
                    elif status.st_mode & 0o700 != 0o700:
                        os.close(open_own_directory(parent, name))
                except FileNotFoundError:
                    os.mkdir(name, 0o755, dir_fd=parent)

    def remove_all(self, path: str) -> None:
        """Remove whatever is at `path`, a directory of any depth too; nothing where nothing is."""
        with suppress(FileNotFoundError, NotADirectoryError), self._parent(path) as (parent, name):
            remove_entry(parent, name)

    def sync(self) -> None:
        """All that was written, renamed and removed in this file system is on the disk when this returns."""
        fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._fd)
        try:
            if not hasattr(_libc(), "syncfs"):
                os.sync()
            elif _libc().syncfs(fd) != 0:
                raise OSError(ctypes.get_errno(), "syncfs")
        finally:
            os.close(fd)

    @contextmanager
    def _parent(self, path: str) -> Generator[tuple[int, str]]:
        """(descriptor of the directory that holds `path`, its name there)."""
        above, _, name = path.rpartition("/")
        if name in ("", ".", "..") or "\0" in name or path.startswith("/"):
            raise OSError(errno.EXDEV, "not a path below the directory", path)
        fd = self.open(above, _DIRECTORY) if above else os.dup(self._fd)
        try:
            yield fd, name
        finally:
            os.close(fd)

    def _crosses_link(self, parts: list[str]) -> bool:
        above = os.dup(self._fd)
        try:
            for part in parts:
                if stat.S_ISLNK(os.stat(part, dir_fd=above, follow_symlinks=False).st_mode):
                    return True
                below = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
                os.close(above)
                above = below
        except OSError:
            pass
        finally:
            os.close(above)
        return False


def open_own_directory(parent: int, name: str) -> int:
    """A directory itself, opened to be listed and written to; its mode is put right where that keeps us out."""
    place = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        itself = f"/proc/self/fd/{place}"
        if os.fstat(place).st_mode & 0o700 != 0o700:
            os.chmod(itself, 0o755)
        return os.open(itself, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(place)


def remove_entry(parent: int, name: str) -> None:
    """Remove what `name` is in the open directory `parent`: no path is used, so none is too long or turned aside.

    Directories are moved up into the one that is emptied, under new names, so that no depth is too deep.
    """
    if not _is_directory(parent, name):
        os.unlink(name, dir_fd=parent)
        return
    top = open_own_directory(parent, name)
    try:
        waiting = os.listdir(top)
        while waiting:
            waiting += _take_apart(top, waiting.pop())
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent)


def _take_apart(top: int, name: str) -> list[str]:
    """Remove `name` from `top`; the new names there of the directories that were in it."""
    if not _is_directory(top, name):
        os.unlink(name, dir_fd=top)
        return []
    raised: list[str] = []
    below = open_own_directory(top, name)
    try:
        for inner in os.listdir(below):
            if not _is_directory(below, inner):
                os.unlink(inner, dir_fd=below)
                continue
            os.close(open_own_directory(below, inner))  # moving a directory writes its `..`
            new = f".remove-{os.urandom(8).hex()}"
            try:
                os.rename(inner, new, src_dir_fd=below, dst_dir_fd=top)
                raised.append(new)
            except OSError as error:
                if (
                    error.errno != errno.EXDEV
                ):  # an overlay does not move what lies in its lower layer, which is not deep
                    raise
                remove_entry(below, inner)
    finally:
        os.close(below)
    os.rmdir(name, dir_fd=top)
    return raised


def _is_directory(parent: int, name: str) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def open_beneath(top: Path, path: str) -> IO[bytes]:
    """A regular file below `top` to be read.  Raises as `Beneath.open_regular`."""
    with Beneath(top) as tree:
        return tree.open_regular(path)


def read_link_beneath(top: Path, path: str) -> bytes:
    """The target of a symlink below `top`.  Raises as `Beneath.read_link`."""
    with Beneath(top) as tree:
        return tree.read_link(path)


def _rename_over(parent: int, temporary: str, name: str) -> None:
    try:
        try:
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except IsADirectoryError:
            os.rmdir(name, dir_fd=parent)
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:
        os.unlink(temporary, dir_fd=parent)
        raise


def _openat2(directory: int, path: str, flags: int, mode: int) -> int:
    how = _OpenHow(flags, mode, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS)
    while True:
        fd = _libc().syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(directory),
            ctypes.c_char_p(os.fsencode(path)),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if fd >= 0:
            return fd
        number = ctypes.get_errno()
        if number not in (errno.EINTR, errno.EAGAIN):  # EAGAIN: something was renamed meanwhile
            raise OSError(number, os.strerror(number), path)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


@cache
def _has_openat2() -> bool:
    """Whether the kernel knows the call and nothing refuses it: older container runtimes say EPERM."""
    if not hasattr(os, "O_PATH"):
        return False
    fd = os.open("/", _DIRECTORY)
    try:
        os.close(_openat2(fd, ".", _DIRECTORY, 0))
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
