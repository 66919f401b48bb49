"""Which engine computes: a server that was named, else a `llama-server` binary, else llama.cpp out of the wheel."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from tinsmith.engines.embedded import EmbeddedEngine, open_engine
from tinsmith.engines.llama_http import LlamaHTTP
from tinsmith.engines.llama_server import ServedEngine, attach_llama_server, open_llama_server
from tinsmith.engines.protocol import TokenEngine
from tinsmith.engines.served_template import template_at, template_in_properties
from tinsmith.engines.server_address import server_address
from tinsmith.engines.server_http import ConnectionLostError, NotReachedError, NotReadyError, ServerHTTP
from tinsmith.engines.vllm import VLLMEngine, open_vllm
from tinsmith.engines.vllm_http import VLLMHTTP
from tinsmith.errors import EngineError, InputError, MachineError
from tinsmith.models import EngineOptions, Machine, gpus_of_binary, run_tool

NONE = "none"
"""As the setting for the binary: use no binary, not even one on PATH."""


@dataclass(frozen=True)
class EngineChoice:
    """What a person settles of engines.

    `llama_server`: the binary, a path or a name on PATH; `none`: no binary; empty: `llama-server` if it is on
    PATH. `arguments`: for the binary, such as `--n-gpu-layers 99`. `key`: of a server that was named.
    `vocabulary`: a GGUF file or a tokenizer directory, for a server whose vocabulary cannot be had otherwise.
    """

    llama_server: str = ""
    arguments: tuple[str, ...] = ()
    key: str = field(default="", repr=False)
    vocabulary: Path | None = None


class Served(NamedTuple):
    """The token engine of a server, with what the server says of its model: `names` (the id that it is asked for by,
    then its file or directory) and its chat template, empty where that is not known."""

    engine: TokenEngine
    names: tuple[str, ...]
    template: str


def chosen_binary(choice: EngineChoice) -> tuple[str | None, str]:
    """The `llama-server` that a file is computed with, None for the built-in llama.cpp, and why in half a sentence."""
    if choice.llama_server == NONE:
        return None, "the setting llama_server says so"
    if choice.llama_server:
        return choice.llama_server, "the setting llama_server names it"
    if found := shutil.which("llama-server"):
        return found, "it is on PATH"
    return None, "no llama-server is named or on PATH"


def machine_of(choice: EngineChoice, machine: Machine) -> Machine:
    """`machine` as the engine of `choice` sees it: the built-in one uses no GPU, a binary those that it lists itself.

    A binary that cannot list them is taken to use those of the machine.
    """
    binary, _ = chosen_binary(choice)
    if binary is None:
        return machine.with_gpus(())
    listing = run_tool((str(Path(binary).expanduser()), "--list-devices"))
    if listing is None or "devices" not in listing:
        return machine
    found = gpus_of_binary(listing)
    return machine if machine.unified and found else machine.with_gpus(found)


def open_any_engine(
    model_path: Path,
    *,
    choice: EngineChoice,
    context: int | None = None,
    progress: Callable[[str], None] | None = None,
    on_restart: Callable[[str], None] | None = None,
    options: EngineOptions | None = None,
) -> TokenEngine:
    """The engine for the GGUF at `model_path`, by `choice`, as the `options` of a plan say.

    A binary that was found and not named is left for the wheel where it cannot be executed or does not know our
    options. Raises what `open_llama_server` and `open_engine` do.
    """
    binary, _ = chosen_binary(choice)
    if binary:
        try:
            return open_llama_server(
                model_path,
                binary=binary,
                arguments=choice.arguments,
                context=context,
                progress=progress,
                on_restart=on_restart,
                options=options,
            )
        except (MachineError, InputError) as error:
            is_binarys = error.code in ("engine_missing", "engine_arguments")
            if choice.llama_server or choice.arguments or not is_binarys:
                raise
            if progress:
                progress(f"{binary} cannot be used ({error}); the built-in engine is")
    return open_engine(model_path, context=context, progress=progress, on_restart=on_restart, options=options)


def open_served_engine(
    base_url: str,
    *,
    choice: EngineChoice,
    model: str | None = None,
    progress: Callable[[str], None] | None = None,
    on_restart: Callable[[str], None] | None = None,
) -> Served:
    """The token engine of the server at `base_url`, a llama-server (`model`: one of a router's) or a vLLM.

    Raises EngineError `not_token_level` for any other server, `no_vocabulary` where its vocabulary cannot be had
    (both: it can still be used as a chat engine), InputError `model_unknown`, and what `attach_llama_server` and
    `open_vllm` do.
    """
    key, given = choice.key, choice.vocabulary
    match kind_of_server(base_url, key, model):
        case "llama-server":
            gguf = given if given is None or given.is_file() else None
            served = attach_llama_server(
                base_url, key=key, model=model, gguf=gguf, progress=progress, on_restart=on_restart
            )
            try:
                return _of_llama_server(served, LlamaHTTP(server_address(base_url), key, model=model), model)
            except BaseException:
                served.close()
                raise
        case "vllm":
            engine = open_vllm(
                base_url, key=key, model=model, vocabulary=given, progress=progress, on_restart=on_restart
            )
            found = VLLMHTTP(server_address(base_url), key).model(model)
            return Served(engine, (found.id, found.root), template_at(given or Path(found.root)))
        case _:
            raise EngineError(
                "not_token_level",
                f"the server at {base_url} takes messages, not token ids",
                "Use it as a chat server.",
            )


def _of_llama_server(engine: TokenEngine, http: LlamaHTTP, model: str | None) -> Served:
    """`engine` with what the server of `http`, which answers by now, says of its model."""
    try:
        properties = http.get("/props")
        ids = [str(row["id"]) for row in http.get("/v1/models").get("data", [])]
    except (ConnectionLostError, NotReadyError) as error:
        words = f"the server at {http.address} was lost: {error}"
        raise EngineError("server_lost", words, "See the server's own log, then use --resume.") from error
    if model is not None and ids and model not in ids:
        raise InputError("model_unknown", f"{http.address} does not serve {model!r}", f"It serves: {', '.join(ids)}.")
    names = (model or (ids[0] if ids else ""), str(properties.get("model_path", "")))
    return Served(engine, names, template_in_properties(properties))


def kind_of_server(base_url: str, key: str = "", model: str | None = None) -> str:
    """`llama-server`, `vllm`, or empty for any other. Raises InputError `bad_base_url` or `key_refused`, EngineError
    `server_lost`."""
    http = ServerHTTP(server_address(base_url), key, patience=30)
    query = f"?model={quote(model, safe='')}" if model else ""
    for path in (f"/props{query}", "/v1/models"):
        try:
            found = http.get(path)
        except NotReachedError as error:
            raise EngineError(
                "server_lost", f"{http.address} cannot be reached: {error}", "Start the server."
            ) from error
        except NotReadyError as error:
            if "loading model" in str(error).lower():
                return "llama-server"  # it says so on every path until it is ready
            continue
        except (EngineError, ConnectionLostError):
            continue
        if isinstance(found, dict) and "default_generation_settings" in found:
            return "llama-server"
        entries = found.get("data") if isinstance(found, dict) else None
        rows: list[Any] = entries if isinstance(entries, list) else []
        if any(isinstance(row, dict) and row.get("owned_by") == "vllm" for row in rows):
            return "vllm"
    return ""


def describe(engine: TokenEngine) -> str:
    """Which engine it is, in a few words for the log."""
    if isinstance(engine, ServedEngine | VLLMEngine):
        return engine.described
    if isinstance(engine, EmbeddedEngine):
        from importlib.metadata import version  # slow to import

        return f"built-in llama.cpp (xllamacpp {version('xllamacpp')})"
    return type(engine).__name__
