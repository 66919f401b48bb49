"""What the header of a GGUF file says: architecture, context, vocabulary, tensors.

Read with `gguf.GGUFReader`, which maps the file and checks that every tensor lies inside it, so a file cut
short anywhere is found here, in milliseconds, and not when a server fails to start.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tinsmith.errors import InputError
from tinsmith.models.vocabulary import Vocabulary, build_vocabulary


@dataclass(frozen=True)
class Tensor:
    """One tensor: `shape` in GGUF's order (fastest first), `kind` the ggml type's name, `size` in bytes."""

    name: str
    shape: tuple[int, ...]
    kind: str
    size: int


class GGUFHeader:
    """The header of the file at `path`. Raises InputError `model_unreadable` where it is no whole GGUF."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            import gguf
        except ImportError as error:  # a broken installation, not a broken model
            raise RuntimeError("the package `gguf` is missing") from error
        try:
            self.reader = gguf.GGUFReader(path)
            self.architecture = str(self.value("general.architecture"))
            self.tensors = tuple(
                Tensor(t.name, tuple(int(n) for n in t.shape), t.tensor_type.name, int(t.n_bytes))
                for t in self.reader.tensors
            )
            whole = all(int(t.data.nbytes) == int(t.n_bytes) for t in self.reader.tensors)
        except (ValueError, KeyError, IndexError, OverflowError, MemoryError, OSError) as error:
            raise unreadable(path, str(error)) from error
        if not whole or not self.tensors:
            raise unreadable(path, "tensor data is missing")

    def value(self, key: str, default: Any = None) -> Any:
        """The metadata value of `key` as a Python value, `default` where it is absent."""
        field = self.reader.get_field(key)
        return default if field is None else field.contents()

    @property
    def context_length(self) -> int:
        """The context the model says it was trained for, tokens; 0 where the header is silent."""
        return int(self.value(f"{self.architecture}.context_length", 0))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary. Raises InputError `model_unreadable` where there is none or of an unknown kind."""
        texts = self.value("tokenizer.ggml.tokens")
        if not texts:
            raise unreadable(self.path, "it has no vocabulary")
        names = ("eot", "eos", "eom")
        ends = [self.value(f"tokenizer.ggml.{name}_token_id") for name in names]
        bos = self.value("tokenizer.ggml.bos_token_id")
        model = str(self.value("tokenizer.ggml.model"))
        try:
            return build_vocabulary(
                texts,
                self.value("tokenizer.ggml.token_type") or [1] * len(texts),
                model=model,
                ends=[int(token) for token in ends if token is not None],
                bos=None if bos is None else int(bos),
                add_bos=bool(self.value("tokenizer.ggml.add_bos_token", model == "llama")),
            )
        except ValueError as error:
            raise unreadable(self.path, str(error)) from error

    @property
    def merges(self) -> tuple[str, ...]:
        """The merges of a BPE vocabulary, in order of rank."""
        return tuple(self.value("tokenizer.ggml.merges") or ())


def unreadable(path: Path, reason: str) -> InputError:
    """The error for a model file that is not whole or not a GGUF."""
    return InputError(
        "model_unreadable",
        f"{path} is not a complete GGUF file that can be used: {reason}",
        "Get the file again; if it was converted, convert it again to GGUF.",
    )
