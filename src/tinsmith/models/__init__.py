"""Which model, which file, and what its header says: cards, the GGUF header, the vocabulary, random twins.

Knows nothing of how a model is run. `tinsmith.models.random_weights` is imported by its own name: only tests
and baselines need it.
"""

from tinsmith.models.card import CardError, CardSampling, ModelCard, cards, parse_card
from tinsmith.models.catalogue import DEFAULT_MODEL, Model, find_model
from tinsmith.models.gguf_header import GGUFHeader, Tensor
from tinsmith.models.vocabulary import Kind, Vocabulary, build_vocabulary, byte_characters

__all__ = [
    "DEFAULT_MODEL",
    "CardError",
    "CardSampling",
    "GGUFHeader",
    "Kind",
    "Model",
    "ModelCard",
    "Tensor",
    "Vocabulary",
    "build_vocabulary",
    "byte_characters",
    "cards",
    "find_model",
    "parse_card",
]
