"""The sizes of an entry's quants: published ones as they are, the others computed; and the memory they need."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from tinsmith.models.catalogue_entry import By, Entry
from tinsmith.models.geometry import CacheType
from tinsmith.models.weights import QUANTS, Weights, computed_weights, file_bytes

USUAL = ("Q4_K_M", "UD-Q4_K_M", "UD-Q4_K_XL", "MXFP4", "Q8_0")
"""The quants that a model is usually taken in, the best known first."""


@dataclass(frozen=True)
class QuantSize:
    """A quant's file: `bytes`, who says them, and whether to the byte."""

    bytes: int
    by: By
    exact: bool
    source: str


@cache
def quant_sizes(entry: Entry) -> Mapping[str, QuantSize]:
    """Every quant of `entry` whose size is known or can be computed, smallest first."""
    found = {
        name: QuantSize(quant.bytes, quant.said.by, quant.exact, quant.said.source)
        for name, quant in entry.quants.items()
    }
    # A model that was trained in MXFP4 has no other quant worth having; no other model is published in it.
    if entry.geometry is not None and not entry.is_built_in and "MXFP4" not in found:
        for name in QUANTS:
            if name not in found and name != "MXFP4":
                try:
                    size = file_bytes(entry.geometry, name)
                except ValueError:
                    break  # an architecture whose tensors are not known
                found[name] = QuantSize(size, "computed", False, "llama.cpp's recipe for the geometry")
    return dict(sorted(found.items(), key=lambda pair: pair[1].bytes))


def usual_quant(entry: Entry) -> str | None:
    """The quant that `entry` is usually taken in: the first of `USUAL` that is published, else that can be computed;
    None where no size is known."""
    known = quant_sizes(entry)
    return next((name for sizes in (entry.quants, known) for name in USUAL if name in sizes), None)


def quant_memory(entry: Entry, quant: str, context: int, key: CacheType = "f16", value: CacheType = "f16") -> int:
    """Bytes of memory, wherever they lie, to run a quant with a window of `context` tokens; 0 where it is not known."""
    from tinsmith.models.plan_memory import memory_needed

    size = quant_sizes(entry).get(quant)
    if entry.geometry is None or size is None:
        return 0
    in_one_piece = Weights(size.bytes, 0, (), 0, 0)  # where they lie does not matter here
    return memory_needed(entry.geometry, in_one_piece, context, key, value)


@cache
def parameter_counts(entry: Entry) -> tuple[int, int, By] | None:
    """Parameters, those that one token uses, and who says so: counted where the tensors are known, else the vendor's
    round numbers; 0 or None where nobody says them."""
    if entry.geometry is not None and entry.geometry.feed_forward:
        try:
            weights = computed_weights(entry.geometry, "BF16")
            return weights.parameters, weights.active_parameters, "computed"
        except ValueError:
            pass
    said = entry.parameters
    return (said.total, said.active, said.said.by) if said else None


def gigabytes(size: int) -> str:
    """`size` bytes in GB or MB, about four digits."""
    if size < 1e9:
        return f"{size / 1e6:.2f} MB"
    return f"{size / 1e9:.2f} GB" if size < 1e11 else f"{size / 1e9:.1f} GB"
