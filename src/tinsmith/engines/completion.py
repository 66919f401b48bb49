"""What llama.cpp's `/completion` is asked and answers, as far as ids are concerned. Wire format: llama.cpp
`tools/server/README.md`.
"""

from collections.abc import Collection, Sequence
from typing import Any

from tinsmith.engines.protocol import Sampling, Token


def seeded_at(sampling: Sampling, place: int) -> Sampling:
    """The seed goes on with the position, else every request would draw the same numbers."""
    return Sampling(sampling.temperature, sampling.top_k, sampling.top_p, sampling.seed + place)


def sampler(sampling: Sampling) -> dict[str, Any]:
    """The sampler chain written out: the server's own defaults (min-p, penalties) are not ours."""
    if sampling.temperature <= 0:
        return {"samplers": ["top_k"], "top_k": 1, "temperature": 0.0}
    names = ["top_k"] * (sampling.top_k > 0) + ["top_p"] * (sampling.top_p < 1) + ["temperature"]
    return {
        "samplers": names,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "temperature": sampling.temperature,
        "seed": sampling.seed % 0xFFFFFFFF,  # the all-ones seed means a random one
    }


def biases(banned: Collection[int]) -> dict[str, Any]:
    """Takes these ids away."""
    return {"logit_bias": [[token, False] for token in sorted(banned)]} if banned else {}


def probabilities(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the ids as far as they are reported: {id, logprob, top_logprobs}."""
    return answer.get("completion_probabilities", [])


def force(ids: Sequence[int]) -> dict[str, Any]:
    """Leaves nothing but these ids: a grammar of token references."""
    return {"grammar": "root ::= " + " ".join(f"<[{token}]>" for token in ids) + "\n"}


def with_log_probs(ids: Sequence[int], probabilities: Sequence[dict[str, Any]]) -> list[Token]:
    """Every id with its log-probability; the server reports of a character's several ids only the last."""
    tokens: list[Token] = []
    reported = iter(probabilities)
    entry = next(reported, None)
    for token in ids:
        if entry is not None and entry["id"] == token:
            tokens.append(Token(token, float(entry["logprob"])))
            entry = next(reported, None)
        else:
            tokens.append(Token(token, None))
    return tokens
