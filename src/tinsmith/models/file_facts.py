"""What the header of a GGUF file says, beside what the catalogue knows of that model."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinsmith.models.catalogue_entry import Entry
from tinsmith.models.catalogue_sizes import gigabytes
from tinsmith.models.comparison import WINDOWS
from tinsmith.models.geometry import Geometry
from tinsmith.models.gguf_layout import Layout, read_layout
from tinsmith.models.model_names import entry_of_all
from tinsmith.models.plan_memory import memory_needed
from tinsmith.models.weights import Weights


@dataclass(frozen=True)
class FileFacts:
    """A file's layout, shape and weights; `name` as it calls itself, `entry` the model that it is taken for."""

    layout: Layout
    geometry: Geometry
    weights: Weights
    name: str
    entry: Entry | None

    @property
    def context(self) -> int:
        """The context in tokens that the header says, 0 where it is silent."""
        return self.geometry.context

    def as_json(self) -> dict[str, Any]:
        """All of it; sizes in bytes, contexts in tokens. `context_length` is the vendor's, None where not known."""
        entry, weights, geometry = self.entry, self.weights, self.geometry
        return {
            "id": entry.id if entry else None,
            "name": self.name,
            "source": str(self.layout.source),
            "gguf_version": self.layout.version,
            "architecture": geometry.architecture,
            "architecture_known": geometry.certain,
            "bytes": self.layout.size,
            "parts": len(self.layout.parts),
            "parameters": weights.parameters,
            "parameters_active": weights.active_parameters,
            "context_length": (entry.context_native or None) if entry else None,
            "context_length_header": self.context or None,
            "kv_bytes_per_token": geometry.cache_bytes_per_token(),
            "state_bytes": geometry.state_bytes(),
            "kv_bytes": {str(tokens): geometry.cache_bytes(tokens) for tokens in self._windows()},
            "memory_bytes": {str(tokens): memory_needed(geometry, weights, tokens) for tokens in self._windows()},
            "weights": {
                "total": weights.total,
                "embedding": weights.embedding,
                "output": weights.output,
                "dense": sum(layer.dense for layer in weights.layers),
                "experts": sum(layer.experts for layer in weights.layers),
                "read_per_token": weights.read_per_token(),
            },
            "tensor_types": dict(Counter(tensor.kind for tensor in self.layout.tensors).most_common()),
            "traps": [{"id": trap.id, "text": trap.text, "source": trap.source} for trap in entry.traps]
            if entry
            else [],
        }

    def lines(self) -> Iterator[tuple[str, str]]:
        """The same for a person: a label and a text."""
        entry, weights, geometry = self.entry, self.weights, self.geometry
        yield "File", str(self.layout.source)
        yield "Calls itself", self.name or "nothing"
        yield "Taken for", f"{entry.name} ({entry.id})" if entry else "no model of the catalogue"
        yield "Architecture", geometry.architecture + ("" if geometry.certain else ", read by the standard keys alone")
        parts = f" in {len(self.layout.parts)} parts" if len(self.layout.parts) > 1 else ""
        yield "Size", f"{gigabytes(self.layout.size)}{parts}"
        active = f", {_count(weights.active_parameters)} active per token" if geometry.experts else ""
        yield "Parameters", f"{_count(weights.parameters)}{active}"
        experts = sum(layer.experts for layer in weights.layers)
        if experts:
            rest = weights.total - experts
            yield "Where", f"experts {gigabytes(experts)}, the rest {gigabytes(rest)}"
        kinds = Counter(tensor.kind for tensor in self.layout.tensors).most_common()
        yield "Tensors", ", ".join(f"{count} {kind}" for kind, count in kinds)
        promised = entry.context_native if entry else 0
        told = f"; the vendor promises {promised:,}" if promised and promised != self.context else ""
        yield "Context", (f"{self.context:,}" if self.context else "not said") + told
        state = geometry.state_bytes()
        kept = f"{geometry.cache_bytes_per_token() / 1024:.4g} KiB"
        yield "KV per token, f16", kept + (f" + {state / 2**20:.0f} MiB state" if state else "")
        for tokens in self._windows():
            cache, needed = geometry.cache_bytes(tokens), memory_needed(geometry, weights, tokens)
            yield f"At {tokens:,}", f"cache {cache / 2**30:.2f} GiB, memory in all {needed / 2**30:.2f} GiB"
        for trap in entry.traps if entry else ():
            yield "Trap", trap.text

    def _windows(self) -> list[int]:
        within = {tokens for tokens in WINDOWS if not self.context or tokens <= self.context}
        return sorted(within | ({self.context} if self.context else set()))


def facts_of_file(source: str) -> FileFacts:
    """What the header at a path or an http(s) URL says; of a URL only the header is fetched.

    Raises InputError `model_unreadable`, `url_unreadable`.
    """
    place = source if "://" in source else Path(source).expanduser()
    layout = read_layout(place)
    geometry = layout.geometry()
    name = str(layout.value("general.name", ""))
    parts = [str(layout.value(f"general.{key}", "")) for key in ("basename", "size_label", "finetune", "version")]
    entry = entry_of_all([name, "-".join(part for part in parts if part), Path(source.split("?")[0]).name])
    return FileFacts(layout, geometry, layout.weights(), name, entry)


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.2f} B" if parameters >= 1e8 else f"{parameters / 1e6:.2f} M"
