"""Which model, which file, and what its header says: cards, the GGUF header, the vocabulary, random twins.

Knows nothing of how a model is run. `tinsmith.models.random_weights` is imported by its own name: only tests
and baselines need it.
"""

from tinsmith.models.card import CardError, CardSampling, ModelCard, cards, parse_card
from tinsmith.models.catalogue import DEFAULT_MODEL, Model, find_model
from tinsmith.models.endpoint import Endpoint, card_of_served, find_endpoint
from tinsmith.models.gguf_header import GGUFHeader, Tensor
from tinsmith.models.tokenizer_file import read_tokenizer
from tinsmith.models.vocabulary import END_TEXTS, Kind, Vocabulary, build_vocabulary, byte_characters

__all__ = [
    "DEFAULT_MODEL",
    "END_TEXTS",
    "CardError",
    "CardSampling",
    "Endpoint",
    "GGUFHeader",
    "Kind",
    "Model",
    "ModelCard",
    "Tensor",
    "Vocabulary",
    "build_vocabulary",
    "byte_characters",
    "card_of_served",
    "cards",
    "find_endpoint",
    "find_model",
    "parse_card",
    "read_tokenizer",
]
