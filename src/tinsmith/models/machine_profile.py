"""Machines as data: the profiles of the package and a person's own, so that a plan can be made for another machine."""

import tomllib
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from tinsmith.errors import InputError
from tinsmith.models.gpu import GPU, GPUKind, gpu
from tinsmith.models.machine import Machine

_NUMBERS = ("memory_gib", "cores", "bandwidth_gb_per_s", "compute_gflops")


@cache
def profiles() -> dict[str, Machine]:
    """The profiles of the package by their names, in the order of their files."""
    places = files("tinsmith.models").joinpath("profiles").iterdir()
    texts = {place.name: place.read_text(encoding="utf-8") for place in places if place.name.endswith(".toml")}
    found = [parse_profile(texts[name], name) for name in sorted(texts)]
    return {machine.name: machine for machine in found}


def find_profile(name: str) -> Machine:
    """The profile of that name, or the one in the file at that path. Raises InputError `no_profile`, `bad_profile`."""
    if (known := profiles().get(name)) is not None:
        return known
    path = Path(name).expanduser()
    try:
        return parse_profile(path.read_text(encoding="utf-8"), name)
    except (OSError, UnicodeDecodeError) as error:
        names = ", ".join(profiles())
        words = f"there is no machine {name!r}: neither a profile nor a file that can be read"
        raise InputError("no_profile", words, f"Give the path of a TOML file or one of: {names}.") from error


def parse_profile(text: str, where: str) -> Machine:
    """The machine that a TOML text describes. Raises InputError `bad_profile` with the field's name.

    Fields: name, title, memory_gib (what the system has of it), cores, bandwidth_gb_per_s, compute_gflops (32-bit, all
    cores), and if there are any: instructions (`avx2`, ...), unified, board, gpu = [{name, memory_gib, gb_per_s?,
    tflops?}].
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _bad(where, str(error)) from error
    numbers = {name: raw.pop(name, None) for name in _NUMBERS}
    for name, value in numbers.items():
        _positive(where, name, value)
    devices = raw.pop("gpu", [])
    if not isinstance(devices, list):
        raise _bad(where, "gpu: not a list of tables")
    unified, board = raw.pop("unified", False), raw.pop("board", "")
    name, title = raw.pop("name", where), raw.pop("title", "")
    if not isinstance(unified, bool):
        raise _bad(where, "unified: not true or false")
    for field, value in (("board", board), ("name", name), ("title", title)):
        if not isinstance(value, str):
            raise _bad(where, f"{field}: not a text")
    instructions = raw.pop("instructions", [])
    if not isinstance(instructions, list) or not all(isinstance(name, str) for name in instructions):
        raise _bad(where, "instructions: not a list of texts")
    if raw:
        raise _bad(where, f"there is no field {min(raw)!r}")
    memory = int(numbers["memory_gib"] * (1 << 30))
    return Machine(
        name=name,
        memory_total=memory,
        memory_available=memory,
        cores=int(numbers["cores"]),
        bandwidth=numbers["bandwidth_gb_per_s"] * 1e9,
        compute=numbers["compute_gflops"] * 1e9,
        gpus=tuple(_gpu(where, device, "metal" if unified else "other") for device in devices),
        instructions=tuple(instructions),
        unified=unified,
        board=board,
        sources={"title": title, "bandwidth": "given", "compute": "given"},
    )


def _gpu(where: str, table: Any, kind: GPUKind) -> GPU:
    if not isinstance(table, dict) or not isinstance(table.get("name"), str):
        raise _bad(where, "gpu: each has a name and memory_gib")
    if unknown := set(table) - {"name", "memory_gib", "gb_per_s", "tflops"}:
        raise _bad(where, f"gpu: there is no field {min(unknown)!r}")
    _positive(where, "gpu.memory_gib", table.get("memory_gib"))
    memory = int(table["memory_gib"] * (1 << 30))
    device = gpu(table["name"], memory, memory, kind)
    speeds = {"gb_per_s": device.bandwidth / 1e9, "tflops": device.compute / 1e12}
    for field in speeds:
        if field in table:
            _positive(where, f"gpu.{field}", table[field])
            speeds[field] = table[field]
    said = "given" if len(table) > 2 else device.source
    return GPU(device.name, memory, memory, speeds["gb_per_s"] * 1e9, speeds["tflops"] * 1e12, kind, said)


def _positive(where: str, field: str, value: Any) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e7:
        raise _bad(where, f"{field}: missing, or no positive number")


def _bad(where: str, reason: str) -> InputError:
    return InputError("bad_profile", f"{where}: {reason}", "docs/fit.md has an example of a machine's profile.")
