"""What `tinsmith models list`, `show` and `compare` say of an entry, as data and as a table of texts.

Units: files in GB (10^9 bytes), as hubs show them; memory in GiB (2^30 bytes), as machines count it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from tinsmith.models.catalogue_entry import By, Entry, Provenance
from tinsmith.models.catalogue_sizes import gigabytes, parameter_counts, quant_memory, quant_sizes, usual_quant
from tinsmith.models.claims import Claim, claims_about

MARKS: Final[Mapping[By, str]] = {"vendor": "V", "third party": "3P", "computed": "C", "unverified": "U"}
LEGEND: Final = "[V] the vendor says so, [3P] a third party, [C] computed here, [U] unverified"
WINDOWS: Final = (16_384, 32_768, 131_072)
"""Context windows in tokens that memory is shown for."""
UNKNOWN: Final = "not known"


def described(entry: Entry) -> dict[str, Any]:
    """The whole of an entry for `--json`. Sizes in bytes, contexts in tokens; None for what is not known."""
    geometry, quant = entry.geometry, usual_quant(entry)
    counts = parameter_counts(entry)
    window, sizes = entry.window, quant_sizes(entry)
    return {
        "id": entry.id,
        "name": entry.name,
        "family": entry.family,
        "vendor": entry.vendor,
        "released": entry.released or None,
        "licence": entry.licence,
        "licence_note": entry.licence_note or None,
        "summary": entry.summary,
        "thinking": entry.thinking,
        "dialect": entry.dialect,
        "sampling": _sampling(entry),
        "parameters": counts[0] if counts else None,
        "parameters_active": (counts[1] or None) if counts else None,
        "parameters_by": counts[2] if counts else None,
        "context_length": window.native or None,
        "context_length_extended": window.extended or None,
        "context_length_header": window.header or None,
        "context_said": _said(window.said),
        "kv_bytes_per_token": geometry.cache_bytes_per_token() if geometry else None,
        "state_bytes": geometry.state_bytes() if geometry else None,
        "kv_bytes": {str(tokens): geometry.cache_bytes(tokens) for tokens in _windows(entry)} if geometry else {},
        "geometry": asdict(geometry) | {"layers": _layers(entry)} if geometry else None,
        "geometry_said": _said(entry.geometry_said),
        "usual_quant": quant,
        "memory_bytes": _memory(entry, quant),
        "quants": {name: asdict(size) | _place(entry, name) for name, size in sizes.items()},
        "hubs": [asdict(hub) for hub in entry.hubs],
        "ollama": list(entry.ollama),
        "scores": [_score(score.benchmark, score.value, score.scaffold, score.said) for score in entry.scores],
        "traps": [asdict(trap) for trap in entry.traps],
        "uses": dict(entry.uses),
        "claims": [asdict(claim) for claim in claims_about(entry.id)],
    }


def listed(entry: Entry) -> dict[str, Any]:
    """One row of `tinsmith models list`."""
    whole = described(entry)
    names = (
        "id name released licence thinking parameters parameters_active context_length kv_bytes_per_token usual_quant"
    )
    quant = whole["usual_quant"]
    size = whole["quants"][quant]["bytes"] if quant else None
    return {name: whole[name] for name in names.split()} | {"usual_bytes": size, "uses": list(entry.uses)}


def comparison(entries: Sequence[Entry]) -> list[tuple[str, list[str]]]:
    """The rows of the table that compares `entries`: a label, and a text for each of them."""
    rows: list[tuple[str, list[str]]] = []

    def row(label: str, cells: Sequence[str]) -> None:
        if any(cell != UNKNOWN for cell in cells):
            rows.append((label, list(cells)))

    row("Released", [entry.released or UNKNOWN for entry in entries])
    row("Licence", [" ".join(filter(None, (entry.licence, entry.licence_note))) for entry in entries])
    row("Parameters", [_count(entry) for entry in entries])
    row("Active per token", [_count(entry, active=True) for entry in entries])
    row("Thinks", [entry.thinking for entry in entries])
    row("Writes calls as", [entry.dialect for entry in entries])
    row("Context", [_context(entry) for entry in entries])
    row("KV per token, f16", [_kv_per_token(entry) for entry in entries])
    for tokens in (32_768, 131_072):
        row(f"KV at {_tokens(tokens)}", [_kv_at(entry, tokens) for entry in entries])
    row("KV at native", [_kv_at(entry, entry.context_native) for entry in entries])
    row("File, usual quant", [_file(entry) for entry in entries])
    for tokens in WINDOWS:
        row(f"Memory at {_tokens(tokens)}", [_memory_at(entry, tokens) for entry in entries])
    benchmarks = dict.fromkeys(score.benchmark for entry in entries for score in entry.scores)
    for benchmark in benchmarks:
        row(benchmark, ["; ".join(_scores(entry, benchmark)) or UNKNOWN for entry in entries])
    row("Sampling", [_sampling_text(entry) for entry in entries])
    return rows


def comparison_markdown(entries: Sequence[Entry]) -> str:
    """The table of `comparison` and the claims about `entries` in Markdown."""
    lines = [f"| | {' | '.join(entry.name for entry in entries)} |", f"|---|{'---|' * len(entries)}"]
    lines += [f"| {label} | {' | '.join(cells)} |" for label, cells in comparison(entries)]
    return "\n".join([*lines, "", f"{LEGEND}.", "", claims_markdown(claims_about(*(entry.id for entry in entries)))])


def claims_markdown(found: Sequence[Claim]) -> str:
    """Claims as a table in Markdown."""
    lines = ["| claim | verdict | what is true |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {claim.claim} | {claim.verdict} | {claim.truth} |" for claim in found)])


def _windows(entry: Entry) -> list[int]:
    return sorted({tokens for tokens in (*WINDOWS, entry.context_native) if tokens})


def _layers(entry: Entry) -> list[dict[str, Any]]:
    """The layers by kind with their number: all of one kind keep the same."""
    layers = entry.geometry.layers if entry.geometry else ()
    return [asdict(layer) | {"count": layers.count(layer)} for layer in dict.fromkeys(layers)]


def _memory(entry: Entry, quant: str | None) -> dict[str, int]:
    if quant is None or entry.geometry is None:
        return {}
    fitting = (tokens for tokens in WINDOWS if not entry.context_native or tokens <= entry.context_native)
    return {str(tokens): quant_memory(entry, quant, tokens) for tokens in fitting}


def _place(entry: Entry, quant: str) -> dict[str, Any]:
    place = entry.place_of(quant)
    known = entry.quants.get(quant)
    return {
        "sha256": (known.sha256 or None) if known else None,
        "repository": place.repository if place else None,
        "file": place.file if place else None,
    }


def _said(said: Provenance | None) -> dict[str, str] | None:
    return None if said is None else asdict(said)


def _score(benchmark: str, value: float, scaffold: str, said: Provenance) -> dict[str, Any]:
    return {"benchmark": benchmark, "value": value, "scaffold": scaffold} | asdict(said)


def _sampling(entry: Entry) -> dict[str, Any] | None:
    run = entry.run
    if run.sampling is None:
        return None
    return asdict(run.sampling) | {"note": run.sampling_note or None} | (_said(run.sampling_said) or {})


def _sampling_text(entry: Entry) -> str:
    sampling, said = entry.run.sampling, entry.run.sampling_said
    if sampling is None or said is None:
        return UNKNOWN
    parts = [f"T {sampling.temperature:g}"]
    parts += [f"top_p {sampling.top_p:g}"] if sampling.top_p < 1 else []
    parts += [f"top_k {sampling.top_k}"] if sampling.top_k else []
    return f"{', '.join(parts)} [{MARKS[said.by]}]"


def _count(entry: Entry, *, active: bool = False) -> str:
    counts = parameter_counts(entry)
    number = 0 if counts is None else counts[1] if active else counts[0]
    if counts is None or not number:
        return UNKNOWN
    text = f"{number / 1e9:.1f} B" if number >= 1e8 else f"{number / 1e6:.1f} M"
    return f"{text} [{MARKS[counts[2]]}]"


def _context(entry: Entry) -> str:
    window = entry.window
    if window.said is None:
        return UNKNOWN
    text = f"{window.native:,} [{MARKS[window.said.by]}]"
    text += f", {window.extended:,} by YaRN" if window.extended else ""
    return text + (f"; its header says {window.header:,}" if window.header not in (0, window.native) else "")


def _kv_mark(entry: Entry) -> str:
    """A cache is computed; of a geometry that nobody vouches for, it is as unverified."""
    return "U" if entry.geometry_said is not None and entry.geometry_said.by == "unverified" else "C"


def _kv_per_token(entry: Entry) -> str:
    if entry.geometry is None:
        return UNKNOWN
    per_token, state = entry.geometry.cache_bytes_per_token(), entry.geometry.state_bytes()
    text = f"{per_token / 1024:.4g} KiB" + (f" + {state / 2**20:.0f} MiB state" if state else "")
    return f"{text} [{_kv_mark(entry)}]"


def _kv_at(entry: Entry, tokens: int) -> str:
    if entry.geometry is None or not 0 < tokens <= entry.context_native:
        return UNKNOWN if entry.geometry is None or not tokens else "beyond its window"
    return f"{entry.geometry.cache_bytes(tokens) / 2**30:.2f} GiB"


def _file(entry: Entry) -> str:
    quant = usual_quant(entry)
    if quant is None:
        return UNKNOWN
    size = quant_sizes(entry)[quant]
    return f"{gigabytes(size.bytes)} {quant} [{MARKS[size.by]}]"


def _memory_at(entry: Entry, tokens: int) -> str:
    quant = usual_quant(entry)
    needed = quant_memory(entry, quant, tokens) if quant else 0
    if tokens > entry.context_native > 0:
        return "beyond its window"
    return f"{needed / 2**30:.1f} GiB" if needed else UNKNOWN


def _scores(entry: Entry, benchmark: str) -> list[str]:
    found: list[str] = []
    for score in entry.scores:
        if score.benchmark == benchmark:
            scaffold = ", scaffold not stated" if score.scaffold == "not stated" else f", {score.scaffold}"
            found.append(f"{score.value:.1f} [{MARKS[score.said.by]}{scaffold}]")
    return found


def _tokens(tokens: int) -> str:
    return f"{tokens // 1024}K"
