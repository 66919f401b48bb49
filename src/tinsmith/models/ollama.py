"""Ollama's registry and its files on disk: manifests (Docker's, version 2, schema 2) that name blobs by their sha256.

Wire format: GET /v2/NAMESPACE/NAME/manifests/TAG and /v2/NAMESPACE/NAME/blobs/sha256:HEX (the distribution
specification). A model is the layer of type `application/vnd.ollama.image.model`; what else a manifest lists (template,
parameters, vision projector) is not ours to use.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from tinsmith import __version__
from tinsmith.errors import InputError
from tinsmith.models.download import RemoteFile
from tinsmith.models.download_answer import Again, check_status, opened, shown
from tinsmith.models.download_retry import Patience, Retries, Say

DEFAULT_REGISTRY = "https://registry.ollama.ai"
MODEL_LAYER = "application/vnd.ollama.image.model"
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_MANIFEST_BYTES = 4 << 20
_REFERENCE = re.compile(r"(?:(?P<namespace>[\w.-]+)/)?(?P<name>[\w.-]+)(?::(?P<tag>[\w.-]+))?", re.ASCII)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class OllamaReference:
    """`NAMESPACE/NAME:TAG`, as Ollama completes it."""

    namespace: str
    name: str
    tag: str

    def __str__(self) -> str:
        space = "" if self.namespace == "library" else f"{self.namespace}/"
        return f"{space}{self.name}:{self.tag}"


@dataclass(frozen=True)
class Layer:
    """The model of a manifest: its sha256 in hex and its size in bytes."""

    sha256: str
    size: int


def parse_ollama_reference(text: str) -> OllamaReference:
    """`[NAMESPACE/]NAME[:TAG]`.  Raises InputError `bad_reference`."""
    found = _REFERENCE.fullmatch(text)
    if not found:
        remedy = "Write ollama:NAME:TAG or ollama:USER/NAME:TAG, as `ollama pull` takes it."
        raise InputError("bad_reference", f"{text!r} names no model of Ollama", remedy)
    return OllamaReference(found["namespace"] or "library", found["name"], found["tag"] or "latest")


def ollama_file(registry: str, reference: OllamaReference, *, patience: Patience, say: Say) -> RemoteFile:
    """The GGUF file of a model in a registry, by the URL of the registry's top.

    Raises InputError `not_found`, `no_gguf`, `bad_address`; MachineError as `download.fetch` does.
    """
    import httpx

    top = f"{registry.rstrip('/')}/v2/{reference.namespace}/{reference.name}"
    url, retries = f"{top}/manifests/{reference.tag}", Retries(patience, say)
    headers = {"Accept": _MANIFEST, "User-Agent": f"tinsmith/{__version__}"}
    with httpx.Client(timeout=httpx.Timeout(15.0, read=patience.stall)) as client:
        while True:
            try:
                with opened(client, url, headers, "") as response:
                    check_status(response, url, has_token=False)
                    text = bytearray()
                    for block in response.iter_bytes():
                        text += block
                        if len(text) > _MANIFEST_BYTES:
                            raise InputError("bad_address", f"{shown(url)} is too long", "See `ollama_registry`.")
                    break
            except Again as again:
                retries.wait(again.what, retry_after=again.retry_after, status=again.status)
            except httpx.TransportError as error:
                retries.wait(f"{shown(url)}: {str(error) or type(error).__name__}")
    layer = model_layer(bytes(text), str(reference))
    name = f"{reference.name}-{reference.tag}.gguf"
    return RemoteFile(f"{top}/blobs/sha256:{layer.sha256}", name, layer.size, layer.sha256)


def model_layer(manifest: bytes, name: str) -> Layer:
    """The model's layer of a manifest.  Raises InputError `no_gguf`."""
    try:
        layers: list[dict[str, Any]] = json.loads(manifest)["layers"]
        found = [layer for layer in layers if layer["mediaType"] == MODEL_LAYER]
        if len(found) != 1:
            raise ValueError(f"it lists {len(found)} GGUF files")
        digest = _DIGEST.fullmatch(found[0]["digest"])
        if not digest or not 0 < int(found[0]["size"]) < 1 << 50:
            raise ValueError("its digest or size is none")
        return Layer(digest[1], int(found[0]["size"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            "no_gguf",
            f"{name} in Ollama is not one GGUF file: {error}",
            "It may be of another format, or run elsewhere (`-cloud`). Take the model from a hub: hf:OWNER/REPO:QUANT.",
        ) from error
