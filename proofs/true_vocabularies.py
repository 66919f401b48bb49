"""The whole vocabularies of Qwen's and Mistral's models as token lists for files with random weights."""

from collections.abc import Mapping, Sequence
from functools import cache

from tests import vocabularies

from tinsmith.models import byte_characters
from tinsmith.models.random_weights import TokenList

QWEN_CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Ids 151643 to 151645 of Qwen's models; those between them and the delimiters are for images and completion."""
QWEN_OTHERS = ("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>")
QWEN_OTHERS += ("<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>")
QWEN_OTHERS += ("<|video_pad|>",)
QWEN_DELIMITERS = ("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>")
QWEN_DELIMITERS += ("<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>")
"""Ids 151657 to 151668, added tokens that are no control tokens (tokenizer_config.json of Qwen3-Coder)."""

TEKKEN_SPECIAL = 1000
"""The first thousand ids of a Tekken vocabulary are for control tokens."""
TEKKEN_CONTROL = ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]")
TEKKEN_CONTROL += ("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]")
TEKKEN_CONTROL += ("[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]")
_AFTER_V7 = {"mistral-v7": (), "mistral-v11": ("[AUDIO]", "[BEGIN_AUDIO]", "[ARGS]", "[CALL_ID]")}
_AFTER_V7["mistral-v13"] = (*_AFTER_V7["mistral-v11"], "[THINK]", "[/THINK]")


def merges_of(ranks: Mapping[bytes, int]) -> list[str]:
    """The merges of a byte-level BPE vocabulary that is given by ranks, in their order, in the mapped form."""
    characters = byte_characters()

    def mapped(piece: bytes) -> str:
        return "".join(characters[byte] for byte in piece)

    merges: list[str] = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            left, right = _last_merge(token, rank, ranks)
            merges.append(f"{mapped(left)} {mapped(right)}")
    return merges


def _last_merge(token: bytes, rank: int, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes]:
    """The two parts that `token` is merged of: what merging its bytes by lower ranks ends with."""
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 2:
        found = [(ranks.get(parts[i] + parts[i + 1], rank), i) for i in range(len(parts) - 1)]
        best, at = min(found)
        if best >= rank:
            raise ValueError(f"{token!r} is not made of two tokens")
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]


def _texts(ranks: Mapping[bytes, int]) -> list[str]:
    characters = byte_characters()
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    return ["".join(characters[byte] for byte in token) for token, _ in ordered]


@cache
def qwen_tokens(template: str | None = None) -> TokenList:
    """Qwen3-Coder's vocabulary: 151,669 ids."""
    ranks = _ranks(vocabularies.qwen())
    texts = [*_texts(ranks), *QWEN_CONTROL, *QWEN_OTHERS, *QWEN_DELIMITERS]
    control = (*QWEN_CONTROL, *QWEN_OTHERS)
    return TokenList(texts, _merges("qwen"), control, QWEN_DELIMITERS, template=template)


@cache
def tekken_tokens(version: str = "mistral-v13", template: str | None = None) -> TokenList:
    """Tekken with the control tokens of `version`: 131,072 ids."""
    control = [*TEKKEN_CONTROL]
    control += [f"<SPECIAL_{i}>" for i in range(len(control), 24)]
    control += _AFTER_V7[version]
    control += [f"<SPECIAL_{i}>" for i in range(len(control), TEKKEN_SPECIAL)]
    texts = [*control, *_texts(_ranks(vocabularies.tekken()))]
    return TokenList(texts, _merges("tekken"), control, (), "</s>", "<pad>", "<s>", "tekken", template)


@cache
def _merges(name: str) -> Sequence[str]:
    return merges_of(_ranks(vocabularies.qwen() if name == "qwen" else vocabularies.tekken()))


def _ranks(encoding: object) -> Mapping[bytes, int]:
    ranks: Mapping[bytes, int] = encoding._mergeable_ranks  # type: ignore[attr-defined]
    return ranks
