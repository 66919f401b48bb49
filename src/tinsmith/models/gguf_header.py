"""What the header of a GGUF file says: architecture, context, vocabulary, tensors.

Every tensor is checked to lie inside its file, so a file cut short anywhere is found here, in milliseconds, and not
when a server fails to start.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from tinsmith.models.gguf_layout import read_layout, unreadable
from tinsmith.models.vocabulary import Vocabulary, build_vocabulary

_Element = TypeVar("_Element", str, int)


class GGUFHeader:
    """The header of the file at `path`, of a split file of all parts. Raises InputError `model_unreadable` where it is
    no whole GGUF.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.layout = read_layout(path)
        self.architecture = self.layout.architecture
        self.tensors = self.layout.tensors
        if not self.tensors:
            raise unreadable(path, "tensor data is missing")

    def value(self, key: str, default: Any = None) -> Any:
        """The metadata value of `key` as a Python value, `default` where it is absent."""
        return self.layout.value(key, default)

    @property
    def context_length(self) -> int:
        """The context the model says it was trained for, tokens; 0 where the header is silent."""
        told = self.value(f"{self.architecture}.context_length")
        return told if isinstance(told, int) and told > 0 else 0

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary. Raises InputError `model_unreadable` where there is none or of an unknown kind."""
        texts = self._elements("tokenizer.ggml.tokens", str)
        if not texts:
            raise unreadable(self.path, "it has no vocabulary")
        ends = [self._token(name, len(texts)) for name in ("eot", "eos", "eom")]
        model = str(self.value("tokenizer.ggml.model"))
        try:
            return build_vocabulary(
                texts,
                self._elements("tokenizer.ggml.token_type", int) or [1] * len(texts),
                model=model,
                ends=[token for token in ends if token is not None],
                bos=self._token("bos", len(texts)),
                add_bos=bool(self.value("tokenizer.ggml.add_bos_token", model == "llama")),
            )
        except ValueError as error:
            raise unreadable(self.path, f"its vocabulary: {error}") from error

    @property
    def merges(self) -> tuple[str, ...]:
        """The merges of a BPE vocabulary, in order of rank."""
        return tuple(self._elements("tokenizer.ggml.merges", str))

    def _elements(self, key: str, kind: type[_Element]) -> list[_Element]:
        """The array `key`, empty where it is absent."""
        found = self.value(key, [])
        if not isinstance(found, list) or not all(type(element) is kind for element in found):
            offset = self.layout.metadata[key].offset
            raise unreadable(self.path, f"at byte {offset}, {key} is no array of {kind.__name__}")
        return found

    def _token(self, name: str, size: int) -> int | None:
        """The id of the special token `name`; None where there is none, or where it is no id, as llama.cpp takes it."""
        found = self.value(f"tokenizer.ggml.{name}_token_id")
        return found if type(found) is int and 0 <= found < size else None
