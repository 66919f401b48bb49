"""llama.cpp's own server as a token engine: a `llama-server` binary that we run, or one that runs already.

What is asked of it is what is asked of the embedded engine; only who answers differs.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tinsmith.engines.attached_server import PATIENCE, AttachedServer
from tinsmith.engines.child_process import Start, planned_orders
from tinsmith.engines.embedded import EmbeddedEngine
from tinsmith.engines.llama_http import LlamaHTTP
from tinsmith.engines.protocol import Usage
from tinsmith.engines.served_vocabulary import served_vocabulary
from tinsmith.engines.server_address import server_address
from tinsmith.engines.supervisor import Supervisor
from tinsmith.engines.utf8 import PieceBytes
from tinsmith.errors import InputError, MachineError
from tinsmith.models import EngineOptions, GGUFHeader, Vocabulary

BINARY_BATCH = 512
"""Tokens that a binary reads at once: what a GPU takes in one piece anyway, and soon done without one."""

_OURS = frozenset(
    (
        *("-m", "--model", "-mu", "--model-url", "-hf", "--hf-repo", "--models-dir", "--lora", "-c", "--ctx-size"),
        *("-np", "--parallel", "-cb", "--host", "--port", "--path", "--api-prefix", "--api-key", "--api-key-file"),
        *("--log-file", "--log-disable", "--context-shift", "--embedding", "--embeddings", "--rerank", "--reranking"),
    )
)
"""Options that are settled by us, that take from the network, or that break what a token engine promises."""


def start_of_binary(binary: str, arguments: Sequence[str], options: EngineOptions | None = None) -> Start:
    """How the `llama-server` at `binary` (a path, or a name on PATH) is started with the person's `arguments`, which
    win over a plan's `options`.

    Raises MachineError `engine_missing`, InputError `engine_arguments`.
    """
    found = shutil.which(str(Path(binary).expanduser()))
    if found is None:
        raise MachineError(
            "engine_missing",
            f"there is no program {binary!r} that can be executed",
            "Set TINSMITH_LLAMA_SERVER to the path of llama-server, or to `none` to use the built-in engine.",
        )
    refused = [argument for argument in arguments if argument.partition("=")[0] in _OURS]
    if refused:
        raise InputError(
            "engine_arguments",
            f"{refused[0]} cannot be given to llama-server here",
            "Give only what says how to compute, such as --n-gpu-layers, --tensor-split or --cache-type-k.",
        )
    orders: dict[str, object] = {"binary": found, "arguments": list(arguments), "batch": BINARY_BATCH}
    if options is not None:
        orders |= planned_orders(options) | {"arguments": [*options.llama_server_arguments(), *arguments]}
    return Start("llama_server_child.py", orders)


def open_llama_server(
    model_path: Path,
    *,
    binary: str,
    arguments: Sequence[str] = (),
    context: int | None = None,
    progress: Callable[[str], None] | None = None,
    on_restart: Callable[[str], None] | None = None,
    options: EngineOptions | None = None,
) -> "ServedEngine":
    """Runs `binary` with the GGUF at `model_path`; the rest is as for `open_engine`, raising `engine_arguments` too."""
    start = start_of_binary(binary, arguments, options)
    header = GGUFHeader(model_path)
    trained = header.context_length
    wanted = context or (options.context if options else 0) or trained or 4096
    window = min(wanted, trained) if trained else wanted
    supervisor = Supervisor(model_path, window, progress, on_restart, start)
    return ServedEngine(header.vocabulary, supervisor, f"llama-server {start.orders['binary']}")


def attach_llama_server(
    base_url: str,
    *,
    key: str = "",
    model: str | None = None,
    gguf: Path | None = None,
    progress: Callable[[str], None] | None = None,
    on_restart: Callable[[str], None] | None = None,
) -> "ServedEngine":
    """The llama-server that runs at `base_url`; `model` is the one that a router is asked for.

    The vocabulary is read from `gguf` or from the file that the server says it serves, where one of them can be
    read here, else asked of the server. A server that goes away and comes back with the same model is asked
    again. Raises InputError `bad_base_url`, `key_refused` or `model_unreadable`, EngineError `server_lost`,
    `not_llama_server` or `no_vocabulary`.
    """
    http = LlamaHTTP(server_address(base_url), key, model=model, progress=progress, patience=PATIENCE)
    server = AttachedServer(http, lambda http: str(http.get("/props").get("model_path")), progress, on_restart)
    return ServedEngine(served_vocabulary(server.call, gguf, progress), server, f"llama-server at {http.address}")


class ServedEngine(EmbeddedEngine):
    """The embedded engine's way of asking, with `server` in place of its child; `described` says what that is."""

    def __init__(self, vocabulary: Vocabulary, server: Supervisor | AttachedServer[LlamaHTTP], described: str) -> None:
        self.described = described
        # In place of the parent's, which makes its own server; every attribute that it sets is set here.
        self.vocabulary = vocabulary
        self._bytes = PieceBytes(vocabulary.pieces)
        self._control = vocabulary.ids_of_kind("control")
        self._ends = frozenset(vocabulary.end_of_generation)
        self.usage = Usage()
        self._turn = Usage()
        self._turn_begins = True
        self._cached: Sequence[int] = ()
        self._closed = False
        self._child = server
        self._pid = server.pid
        properties = self._call(lambda http: http.get("/props"))
        self.context_window = int(properties["default_generation_settings"]["n_ctx"])

    @property
    def pid(self) -> int | None:
        """The process id of what holds our server, None where it is not ours."""
        return self._child.pid if isinstance(self._child, Supervisor) else None
