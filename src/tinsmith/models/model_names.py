"""Which entry of the catalogue a name means: one that a file's header, a file or a server goes by.

A name is taken apart only where that is safe: directories, publishers, quants and parts of split files are cut off,
and what is left must be one of an entry's names to the letter. So a fine-tune, a pruned or an older model of a similar
name is nobody's: `Devstral-Small-2505` is not 2512, `Qwen3-Coder-REAP-25B-A3B` is not 30B-A3B.
"""

import re
from collections.abc import Iterable
from functools import cache

from tinsmith.models.catalogue_entry import Entry, entries

_PUBLISHERS = re.compile(
    r"^(?:mistralai|unsloth|bartowski|byteshape|ggml-org|lmstudio-community|qwen(?=-qwen)|kwaipilot|poolside|zai-org"
    r"|openai|meta-models)-"
)
_QUANT = re.compile(
    r"[-.](?:(?:ud|i1)-)?"
    r"(?:iq\d-(?:xxs|xs|s|m|nl)|q\d-(?:k(?:-(?:s|m|l|xl))?|\d)|bf16|f16|fp16|f32|fp8|mxfp4(?:-moe)?|nvfp4|[48]bit)"
    r"(?:-\d\.\d+bpw)?$"
)
_PACKAGING = re.compile(r"[-.](?:\d{5}-of-\d{5}|\d\.\d+bpw|gguf|imat|imatrix)$")


def normalised(name: str) -> str:
    """`name` in lower case, words joined by `-`, without directories, publisher, quant and other packaging."""
    text = name.strip().replace("\\", "/").rstrip("/").rsplit("/", 1)[-1].lower()
    text = re.sub(r"[\s_:]+", "-", text.removesuffix(".gguf"))
    text = re.sub(_PUBLISHERS, "", text)
    while (cut := _PACKAGING.sub("", _QUANT.sub("", text))) != text:
        text = cut
    return text


def entry_named(name: str) -> Entry | None:
    """The entry that `name` means: an id, an Ollama tag, or one of its names in any packaging."""
    tags, names = _index()
    tag = name.strip().lower().removeprefix("registry.ollama.ai/library/").removeprefix("library/")
    return tags.get(tag) or names.get(normalised(name))


def entry_of_all(names: Iterable[str]) -> Entry | None:
    """The entry that `names`, those of one model, mean; None where they mean none, or not all the same."""
    found = {entry.id: entry for name in names if name and (entry := entry_named(name)) is not None}
    return next(iter(found.values())) if len(found) == 1 else None


@cache
def _index() -> tuple[dict[str, Entry], dict[str, Entry]]:
    """Entries by Ollama tag and by name."""
    tags = {tag.lower(): entry for entry in entries().values() for tag in entry.ollama}
    names = {name: entry for entry in entries().values() for name in (entry.id, *entry.names)}
    return tags, names
