"""A Hugging Face-compatible hub: `hf:OWNER/REPO[@REVISION][:QUANT or FILE]` becomes files with URLs, sizes and sums.

`huggingface_hub` asks for the list of files and writes the URLs; the bytes come by `download`.  Its telemetry is off
(`HF_HUB_DISABLE_TELEMETRY`): else it would tell which program runs it and fetch a list for that.  It is not asked for
a file's metadata, since it hands the token of a mirror on to the public hub where that redirects there; sizes and sums
are in the list, or in the first answer of the download.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath

from tinsmith import __version__
from tinsmith.errors import InputError, MachineError
from tinsmith.models.download import RemoteFile
from tinsmith.models.download_answer import refusal, shown
from tinsmith.models.download_retry import AGAIN, Patience, Retries, Say
from tinsmith.models.store_files import part_of

DEFAULT_HUB = "https://huggingface.co"
DEFAULT_QUANT = "Q4_K_M"
_REFERENCE = re.compile(
    r"(?P<repository>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[\w./-]+))?(?::(?P<what>\S+))?"
)


@dataclass(frozen=True)
class HubReference:
    """A repository on a hub, and which of its models: a quant, a file (any part of a split one), a pattern, or
    nothing."""

    repository: str
    revision: str = ""
    what: str = ""


@dataclass(frozen=True)
class HubModel:
    """Files to download, in order, and what names them again."""

    files: tuple[RemoteFile, ...]
    source: str


@dataclass(frozen=True)
class Hub:
    """A hub by the URL of its top, and the person's token for it; empty: none."""

    url: str = DEFAULT_HUB
    token: str = ""

    def __repr__(self) -> str:
        return f"Hub({self.url!r})"

    def files_of(self, reference: HubReference, *, patience: Patience, say: Say) -> HubModel:
        """What to download for `reference`, pinned to the commit that its revision is now.

        Raises InputError `not_found`, `not_allowed`, `no_such_quant`; MachineError as `download.fetch` does.
        """
        commit, files = self._listed(reference, patience, say)
        chosen = chosen_files(files, reference.what, reference.repository)
        source = f"hf:{reference.repository}@{commit or reference.revision or 'main'}:{chosen[0].name}"
        return HubModel(tuple(chosen), source)

    def file_at(self, repository: str, file: str, revision: str, *, size: int, sha256: str) -> HubModel:
        """A file of which all is known: nothing is asked of the hub."""
        url = self._url(repository, file, revision or "main")
        remote = RemoteFile(url, file, size, sha256, self.token)
        return HubModel((remote,), f"hf:{repository}@{revision or 'main'}:{file}")

    def _url(self, repository: str, file: str, revision: str) -> str:
        _without_telemetry()
        from huggingface_hub import hf_hub_url

        return hf_hub_url(repository, file, revision=revision, endpoint=self.url)

    def _listed(self, reference: HubReference, patience: Patience, say: Say) -> tuple[str, list[RemoteFile]]:
        """The commit, and every GGUF file of the repository."""
        _without_telemetry()
        import httpx2
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        api = HfApi(self.url, token=self.token or False, library_name="tinsmith", library_version=__version__)
        retries, where = Retries(patience, say), f"{shown(self.url)}/{reference.repository}"
        while True:
            try:
                # Listed with `blobs`, each file has its size and, where it lies in LFS, its sha256.
                found = api.model_info(
                    reference.repository, revision=reference.revision or None, files_metadata=True, timeout=30.0
                )
                break
            except OfflineModeIsEnabled as error:
                raise offline(where) from error
            except HfHubHTTPError as error:
                status = error.response.status_code
                if status not in AGAIN:
                    what = f"{where} at {reference.revision}" if reference.revision else where
                    raise refusal(status, what, has_token=bool(self.token)) from error
                retries.wait(
                    f"{where} answers {status}", status=status, retry_after=error.response.headers.get("Retry-After")
                )
            except httpx2.TransportError as error:
                retries.wait(f"{where}: {str(error) or type(error).__name__}")
            except (ValueError, TypeError, KeyError) as error:
                remedy = "See that `hub` in your settings is the top of a Hugging Face-compatible hub."
                raise InputError("bad_address", f"{where} does not answer as a hub does: {error}", remedy) from error
        commit = found.sha or ""
        revision = commit or reference.revision or "main"
        return commit, [
            RemoteFile(
                self._url(reference.repository, file.rfilename, revision),
                file.rfilename,
                -1 if file.size is None else file.size,
                file.lfs.sha256 if file.lfs else "",
                self.token,
            )
            for file in found.siblings or ()
            if file.rfilename.lower().endswith(".gguf")
        ]


def parse_hub_reference(text: str) -> HubReference:
    """`OWNER/REPO[@REVISION][:QUANT or FILE]`.  Raises InputError `bad_reference`."""
    found = _REFERENCE.fullmatch(text)
    if not found:
        remedy = "Write hf:OWNER/REPO, hf:OWNER/REPO:QUANT or hf:OWNER/REPO:FILE.gguf."
        raise InputError("bad_reference", f"{text!r} names no repository of a hub", remedy)
    return HubReference(found["repository"], found["revision"] or "", found["what"] or "")


def chosen_files(files: Sequence[RemoteFile], what: str, repository: str) -> list[RemoteFile]:
    """The model that `what` means (see `HubReference`), all its parts in order.

    Raises InputError `no_such_quant` with the models there are.
    """
    models = _models(files)
    # A vision projector or a draft for speculation is no model to run.
    names = [name for name in models if not PurePosixPath(name).name.lower().startswith(("mmproj", "mtp-"))]
    if what.lower().endswith(".gguf") or "*" in what:
        meant = [name for name in models if any(fnmatch(file.name, what) for file in models[name])]
    elif what:
        meant = _of_quant(names, what)
    else:
        meant = names if len(names) == 1 else _of_quant(names, DEFAULT_QUANT)
    if len(meant) == 1:
        return models[meant[0]]
    listed = ", ".join(sorted(PurePosixPath(name).name for name in (meant or names))[:40]) or "no GGUF file"
    words = f"{what or 'a model alone'} in {repository}"
    raise InputError(
        "no_such_quant",
        f"there is no {words}" if not meant else f"there is more than one {words}",
        f"It has: {listed}. Name one: hf:{repository}:QUANT or :FILE.gguf.",
    )


def _models(files: Sequence[RemoteFile]) -> dict[str, list[RemoteFile]]:
    """Whole files and split ones by the path of the whole; a split one with a part missing is left out."""
    models: dict[str, list[RemoteFile]] = {}
    counts: dict[str, int] = {}
    for file in sorted(files, key=lambda file: file.name):
        path = PurePosixPath(file.name)
        part = part_of(path.name)
        whole = str(path.with_name(f"{part[0]}.gguf")) if part else file.name
        models.setdefault(whole, []).append(file)
        counts[whole] = part[2] if part else 1
    return {name: parts for name, parts in models.items() if len(parts) == counts[name]}


def _of_quant(names: Sequence[str], quant: str) -> list[str]:
    """The names that end in `quant` as a word of its own; of several those without a further qualifier (`UD-`)."""
    word = re.compile(rf"(?:^|[-._/]){re.escape(quant)}(?:[-./]|$)", re.IGNORECASE)
    meant = [name for name in names if word.search(name)]
    plain = [name for name in meant if not re.search(rf"(?:UD|i1)[-._]{re.escape(quant)}", name, re.IGNORECASE)]
    ending = [name for name in plain or meant if name.lower().endswith(f"{quant.lower()}.gguf")]
    return ending or plain or meant


def offline(what: str) -> MachineError:
    """The error where a person has said that nothing is to be downloaded."""
    remedy = "Unset `offline` (TINSMITH_OFFLINE, HF_HUB_OFFLINE), or `tinsmith models import` a file that you have."
    return MachineError("offline", f"{what} would be downloaded, but Tinsmith is set to stay offline", remedy)


def _without_telemetry() -> None:
    # Read when the library is imported.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
