"""Tools as other programs declare them, read to `ToolSpec`s."""

import re
from collections.abc import Mapping
from typing import Any, cast

from tinsmith.dialects.json_keywords import Schema, as_json
from tinsmith.dialects.json_schema import Finite, JsonSchemas, Objects, Strings
from tinsmith.dialects.json_shortest import Shortest
from tinsmith.dialects.tool_call import Parameter, ToolSpec
from tinsmith.errors import InputError

_TOOL_NAME = re.compile(r"[\w.:/-]{1,128}")
_PARAMETER_NAME = re.compile(r"[^\s\x00-\x1f<>\"\\\\]+( [^\s\x00-\x1f<>\"\\\\]+)*")
"""What every dialect can write: Qwen's stands in a tag, Mistral's in a JSON string."""


def tool_from_json(declaration: Mapping[str, Any]) -> ToolSpec:
    """The tool that another program declares.

    `declaration` is `{"type": "function", "function": {...}}` as in OpenAI's interface or what stands in `function`
    there: `name`, `description`, and `parameters`, the JSON Schema of an object. A parameter is of type "string" where
    its values are any strings or some listed ones; its values then stand raw in calls, all others are JSON.

    Raises InputError `bad_tool` for what is no declaration and `schema_unsatisfiable` where a required parameter can
    have no finite value.
    """
    function = declaration.get("function", declaration)
    if not isinstance(function, Mapping):
        raise _bad("A tool", "`function` is no object")
    function = cast("Mapping[str, Any]", function)
    name = function.get("name")
    if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
        raise _bad("A tool", f"{name!r} is no name")
    schema, description = function.get("parameters"), function.get("description") or ""
    if schema is None or schema == {}:
        schema = {"type": "object", "properties": {}}
    if not isinstance(schema, Mapping) or not isinstance(description, str):
        raise _bad(f"The tool {name}", "`parameters` is no schema or `description` no text")
    schema = cast("Mapping[str, Any]", schema)
    try:
        as_json(declaration).encode()
        shortest = Shortest(JsonSchemas(schema))
        parameters = _parameters(schema, shortest)
    except (TypeError, ValueError, RecursionError) as error:
        raise _bad(f"The tool {name}", str(error)) from error
    for parameter in parameters:
        if parameter.required and shortest.value(parameter.as_schema()) is None:
            raise InputError(
                "schema_unsatisfiable",
                f"The tool {name} asks for {parameter.name}, and no finite value is valid under its schema.",
                "Correct the schema: a bound, a list of values or a reference to itself leaves nothing.",
            )
    return ToolSpec(name, description, tuple(parameters), schema)


def text_values(schema: Schema, schemas: JsonSchemas) -> tuple[str, ...] | None:
    """The strings that are the only values of `schema`; none where any string is one; None where not all values are
    strings, or strings have bounds or must be escaped to stand on one line."""
    match schemas.kinds(schema):
        case (Strings(least=0, most=None),):
            return ()
        case (Finite(values),) if all(isinstance(value, str) and value.isprintable() for value in values):
            return values
        case _:
            return None


def _parameters(schema: Mapping[str, Any], shortest: Shortest) -> list[Parameter]:
    kinds = shortest.schemas.kinds(schema)
    if len(kinds) != 1 or not isinstance(kinds[0], Objects):
        raise ValueError("`parameters` is not the schema of one kind of object")
    members, found = kinds[0], list[Parameter]()
    for name in dict.fromkeys([*members.properties, *members.required]):
        if not _PARAMETER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be written as a parameter's name")
        member, required = members.member(name), name in members.required
        if not required and shortest.value(member) is None:
            continue  # it can never be given
        words: Mapping[str, Any] = ({} if member else {"enum": []}) if isinstance(member, bool) else member
        is_text = text_values(member, shortest.schemas) is not None
        type_ = "string" if is_text else words.get("type")
        description = words.get("description")
        found.append(
            Parameter(
                name,
                type_ if isinstance(type_, str) and (is_text or type_ != "string") else "",
                description if isinstance(description, str) else "",
                required,
                words,
            )
        )
    return found


def _bad(what: str, why: str) -> InputError:
    remedy = "Declare it as OpenAI's interface does: name, description, parameters (the JSON Schema of an object)."
    return InputError("bad_tool", f"{what} cannot be used: {why}.", remedy)
