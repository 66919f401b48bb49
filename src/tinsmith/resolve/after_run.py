"""After a run: its patch into the person's work tree and out again.

What is applied is remembered beside the run's log, not in it: the log tells what the run did, and ends with it.
`applied.diff` is the patch as it went in (a run that is resumed may come to another), `applied.json` says how
far that came and what the files were before and after, so that a kill at any moment is told from a change of
the person's.
"""

import json
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from tinsmith.errors import InputError
from tinsmith.events import RunLog, redact
from tinsmith.workspace import Patch, apply_patch, file_prints, open_checkout, parse_patch, recover_apply

_Prints = dict[str, str | None]
"""What a path is: a hash over kind, mode and content; None where nothing is there."""


@dataclass(frozen=True)
class _Applied:
    """Contents of `applied.json`. `after` is empty until the patch is in."""

    step: Literal["applying", "applied", "undoing"]
    before: _Prints
    after: _Prints


def apply(log: RunLog, *, approve_sensitive: bool = False) -> tuple[str, ...]:
    """Puts the run's patch into the work tree it was made for: all of it, or nothing.  Returns its paths.

    Files with changes of the person's are fine where the patch fits.  Raises InputError `no_patch`,
    `already_applied`, `half_applied`, `repo_gone`, `run_in_use`, `patch_rejected`, `patch_does_not_apply`,
    `sensitive_paths` where the patch touches files that act by themselves and that is not approved.
    """
    with _owned(log):
        top = _top(log)
        recover_apply(top)
        if (applied := _read(log)) is not None:
            _take_out_leftovers(log, top, applied)
        source = log.directory / "patch.diff"
        patch = _patch(log, source)
        _write(log.directory / "applied.diff", patch.content)
        before = file_prints(top, patch.paths)
        _remember(log, _Applied("applying", before, {}))
        try:
            _apply(top, patch, source, approve_sensitive=approve_sensitive)
        except InputError:
            _forget(log)
            raise
        _remember(log, _Applied("applied", before, file_prints(top, patch.paths)))
        return patch.paths


def undo(log: RunLog) -> tuple[str, ...]:
    """Takes the patch that `apply` put in out again: all of it, or nothing.  Returns its paths.

    Raises InputError `not_applied`, `changed_since`, `half_applied`, `repo_gone`, `run_in_use`.
    """
    with _owned(log):
        top = _top(log)
        recover_apply(top)
        applied = _read(log)
        source = log.directory / "applied.diff"
        if applied is None:
            raise _not_applied(log)
        patch = _patch(log, source)
        now = file_prints(top, patch.paths)
        if now == applied.before:  # by the person's own hand, or before a kill
            _forget(log)
            raise _not_applied(log)
        if applied.step == "applied" and now != applied.after:
            changed = ", ".join(path for path in patch.paths if now[path] != applied.after[path])
            raise InputError(
                "changed_since",
                redact(f"these files have changed since the patch was applied: {changed}"),
                f"Undo those changes first, or take the patch out by hand: git apply --reverse {source}",
            )
        if applied.step == "applied":
            _remember(log, _Applied("undoing", applied.before, applied.after))
        _take_out(top, patch, source)
        _forget(log)
        return patch.paths


@contextmanager
def _owned(log: RunLog) -> Generator[None]:
    """One apply or undo at a time, and none while the run goes on."""
    log.own()
    try:
        yield
    finally:
        log.close()


def _top(log: RunLog) -> Path:
    started = next(log.events(), None) or {}
    repo = Path(str(started.get("repo", "")))
    if not repo.is_absolute() or not repo.is_dir() or open_checkout(repo).top != repo.resolve():
        raise InputError(
            "repo_gone",
            f"the checkout {repo} that run {log.run} was made for is not there",
            f"Bring it back, or go to another and use: git apply {log.directory / 'patch.diff'}",
        )
    return repo


def _patch(log: RunLog, file: Path) -> Patch:
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise InputError(
            "no_patch", f"run {log.run} left no patch", f"`tinsmith log show {log.run}` says what happened."
        ) from None
    return parse_patch(content.decode("utf-8", "surrogateescape"))


def _take_out_leftovers(log: RunLog, top: Path, applied: _Applied) -> None:
    """Makes sure that the patch applied before is out: the person's own undoing and a killed apply count."""
    source = log.directory / "applied.diff"
    patch = _patch(log, source)
    now = file_prints(top, patch.paths)
    if now != applied.before:
        if applied.step == "applied" or now == applied.after:
            raise InputError(
                "already_applied",
                f"the patch of run {log.run} is applied already",
                f"`tinsmith undo {log.run}` takes it out.",
            )
        _take_out(top, patch, source)
    _forget(log)


def _take_out(top: Path, patch: Patch, source: Path) -> None:
    try:
        _apply(top, patch, source, reverse=True)
    except InputError as error:
        raise InputError(
            "half_applied",
            redact(f"an earlier apply or undo was killed half way: look at {', '.join(patch.paths)}"),
            f"Restore these files, with `git checkout` or by hand; the patch is {source}",
        ) from error


def _apply(top: Path, patch: Patch, source: Path, *, reverse: bool = False, approve_sensitive: bool = False) -> None:
    try:
        apply_patch(top, patch, reverse=reverse, approve_sensitive=approve_sensitive)
    except InputError as error:
        raise InputError(error.code, redact(error.message), f"{error.remedy} The patch: {source}") from error


def _not_applied(log: RunLog) -> InputError:
    return InputError(
        "not_applied",
        f"the patch of run {log.run} is not in the work tree",
        f"There is nothing to undo; `tinsmith apply {log.run}` puts it in.",
    )


def _read(log: RunLog) -> _Applied | None:
    try:
        return _Applied(**json.loads((log.directory / "applied.json").read_bytes()))
    except FileNotFoundError:
        return None


def _remember(log: RunLog, applied: _Applied) -> None:
    _write(log.directory / "applied.json", json.dumps(asdict(applied)).encode())


def _forget(log: RunLog) -> None:
    for name in ("applied.json", "applied.diff"):
        (log.directory / name).unlink(missing_ok=True)
    _sync(log.directory)


def _write(place: Path, content: bytes) -> None:
    """Puts `content` in place in one step; it is on the disk when this returns."""
    new = place.with_name(place.name + ".new")
    with new.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(place)
    _sync(place.parent)


def _sync(directory: Path) -> None:
    """Makes new names in `directory` survive a power cut."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
