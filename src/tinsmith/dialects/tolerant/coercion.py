"""From what a model gave for a parameter to the text that `Call.arguments` holds, by the parameter's schema.

The rules for text values are those of Qwen's published `qwen3coder_tool_parser` and its descendant in vLLM: a text
stays as it is; `null` and `None`, `true` and `True`, numbers, then lists and objects are tried as far as the schema
admits them; a union with strings takes the text itself last. A value that fits nothing is a problem here, where the
reference hands the text on.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from tinsmith.dialects.json_schema import Arrays, Finite, JsonSchemas, Kind, Objects, Strings
from tinsmith.dialects.tolerant.catalogue import Tools, described, signature
from tinsmith.dialects.tolerant.json_text import read_json, skip_space
from tinsmith.dialects.tolerant.parsed import ParsedCall, Repair
from tinsmith.dialects.tool_call import Call, Parameter, ToolSpec

_INTEGER = re.compile(r"[+-]?\d{1,40}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d{1,40}\.?\d{0,40}|\.\d{1,40})(?:[eE][+-]?\d{1,3})?", re.ASCII)
_PLAIN = 60


@dataclass
class Draft:
    """A call as far as it was read. `arguments`: texts where `in_text`, else JSON values; with a `problem` it is no
    call."""

    tool: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    in_text: bool = False
    repairs: list[Repair] = field(default_factory=list[Repair])
    problem: str | None = None


def finished(draft: Draft, raw: str, tools: Tools) -> ParsedCall:
    """The call that `draft` comes to under its tool's schema. Never raises."""
    repairs = tuple(dict.fromkeys(draft.repairs))
    spec = tools.by_name.get(draft.tool)
    if spec is None:
        return ParsedCall(None, raw, repairs, tools.unknown(draft.tool))
    arguments: dict[str, str] = {}
    problems = [draft.problem] if draft.problem else []
    found = list[Repair]()
    for key, value in draft.arguments.items():
        parameter = next((each for each in spec.parameters if each.name == key), None)
        if parameter is None:
            problems.append(f"There is no parameter {key[:_PLAIN]!r}.")
            continue
        kinds, schemas = _kinds(parameter, spec, tools)
        if value is None and not parameter.required and not _admits(schemas, parameter, None):
            continue  # JSON's way to leave an optional one out
        coerced = _from_text(str(value), parameter, kinds) if draft.in_text else _from_value(value, parameter, kinds)
        if coerced.fits and _admits(schemas, parameter, coerced.value):
            arguments[key] = coerced.value if parameter.is_text else json.dumps(coerced.value, ensure_ascii=False)
            found += coerced.repairs
        else:
            problems.append(f"{key} must be {described(parameter)}, not {_shown(value)}.")
    missing = [each.name for each in spec.parameters if each.required and each.name not in draft.arguments]
    if missing:
        problems.append(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.")
    repairs = tuple(dict.fromkeys([*draft.repairs, *found]))
    if problems:
        cut = "The call is cut off. " if Repair.VALUE_CUT in repairs else ""
        return ParsedCall(None, raw, repairs, f"{cut}{' '.join(problems)} The tool is {signature(spec)}.")
    return ParsedCall(Call(spec.name, arguments), raw, repairs)


@dataclass(frozen=True)
class _Coerced:
    value: Any = None
    fits: bool = True
    repairs: tuple[Repair, ...] = ()


_MISFIT = _Coerced(fits=False)


def _kinds(parameter: Parameter, spec: ToolSpec, tools: Tools) -> tuple[tuple[Kind, ...] | None, JsonSchemas | None]:
    """What the value may be; None where the schema is not understood, so anything may."""
    if parameter.schema is None and not parameter.type:
        return None, None
    try:
        schemas = tools.schemas(spec)
        return schemas.kinds(parameter.as_schema()), schemas
    except (ValueError, TypeError, AttributeError, RecursionError):  # what another program declared may be anything
        return None, None


def _admits(schemas: JsonSchemas | None, parameter: Parameter, value: Any) -> bool:
    if schemas is None:
        return True
    try:
        return schemas.admits(parameter.as_schema(), value)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return True


def _from_text(text: str, parameter: Parameter, kinds: tuple[Kind, ...] | None) -> _Coerced:
    if parameter.is_text:
        return _Coerced(text)
    stripped = text.strip()
    finite = [value for kind in kinds or () if isinstance(kind, Finite) for value in kind.values]
    strings = kinds is None or any(isinstance(kind, Strings) for kind in kinds)
    if stripped in ("null", "None") and (kinds is None or None in finite):
        return _Coerced(None)
    if stripped.lower() in ("true", "false") and (kinds is None or any(isinstance(value, bool) for value in finite)):
        return _Coerced(stripped.lower() == "true")
    if (number := _number(stripped)) is not None and (kinds is None or _takes_number(kinds, finite)):
        return _Coerced(number)
    containers = any(isinstance(kind, Arrays | Objects) for kind in kinds or ())
    if kinds is None or containers or any(isinstance(value, list | dict) for value in finite):
        reading = read_json(stripped)
        whole = reading.problem is None and skip_space(stripped, reading.end) == len(stripped)
        if whole and isinstance(reading.value, str) and not strings:  # JSON in a JSON string
            return _from_value(reading.value, parameter, kinds)
        if whole and isinstance(reading.value, list | dict) and (not strings or not reading.repairs):
            return _Coerced(cast("Any", reading.value), repairs=tuple(sorted(reading.repairs)))
    if strings and stripped.startswith('"'):  # our own dialects write it as JSON where it may be something else
        reading = read_json(stripped)
        if reading.end == len(stripped) and not reading.repairs and reading.problem is None:
            return _Coerced(reading.value)
    for value in finite:
        if isinstance(value, str) and value in (text, stripped):
            return _Coerced(value)
    return _Coerced(text) if strings else _MISFIT


def _number(text: str) -> int | float | None:
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        number = float(text)
        if number.is_integer() and abs(number) < 2**53:
            return int(number)
        return number if abs(number) < float("inf") else None
    return None


def _takes_number(kinds: tuple[Kind, ...], finite: list[Any]) -> bool:
    plain = any(not isinstance(kind, Finite | Strings | Arrays | Objects) for kind in kinds)
    return plain or any(isinstance(value, int | float) and not isinstance(value, bool) for value in finite)


def _from_value(value: Any, parameter: Parameter, kinds: tuple[Kind, ...] | None) -> _Coerced:
    if parameter.is_text:
        if isinstance(value, str):
            return _Coerced(value)
        if isinstance(value, int | float):  # a number where a text was wanted
            return _Coerced(json.dumps(value), repairs=(Repair.TYPE,))
        return _MISFIT
    takes_text = kinds is None or any(
        isinstance(kind, Strings) or (isinstance(kind, Finite) and value in kind.values) for kind in kinds
    )
    if not isinstance(value, str) or takes_text:
        return _Coerced(value)
    coerced = _from_text(value, parameter, kinds)
    return _Coerced(coerced.value, coerced.fits and not isinstance(coerced.value, str), (*coerced.repairs, Repair.TYPE))


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _PLAIN else text[:_PLAIN] + "…"
