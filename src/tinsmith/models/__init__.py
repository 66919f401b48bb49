"""Which model, which file, and what its header says: cards, the GGUF header, the vocabulary, random twins.

Knows nothing of how a model is run. `tinsmith.models.random_weights` is imported by its own name: only tests
and baselines need it.
"""

from tinsmith.models.card import CardSampling, ModelCard, parse_card
from tinsmith.models.catalogue import DEFAULT_MODEL, Model, card_of_file, cards, find_entry, find_model
from tinsmith.models.catalogue_entry import Entry, Provenance, Published, Score, entries
from tinsmith.models.catalogue_sizes import gigabytes, quant_memory, quant_sizes, usual_quant
from tinsmith.models.claims import Claim, claims, claims_about
from tinsmith.models.comparison import LEGEND, MARKS, comparison, comparison_markdown, described, listed
from tinsmith.models.cores import usable_cores
from tinsmith.models.doctor import checks
from tinsmith.models.download import Progress
from tinsmith.models.endpoint import Endpoint, card_of_served, find_endpoint
from tinsmith.models.file_facts import FileFacts, facts_of_file
from tinsmith.models.fit import Candidate, candidates, gives_way
from tinsmith.models.fit_file import file_candidate
from tinsmith.models.foreign_import import import_model
from tinsmith.models.foreign_models import ForeignModel, foreign_models
from tinsmith.models.gguf_header import GGUFHeader
from tinsmith.models.gguf_layout import Layout, Tensor, read_layout
from tinsmith.models.gpu import GPU, gpus_of_binary, run_tool
from tinsmith.models.hub import Hub
from tinsmith.models.machine import Machine, this_machine
from tinsmith.models.machine_profile import find_profile, profiles
from tinsmith.models.model_names import entry_named
from tinsmith.models.plan import EngineOptions, Plan, plan_for
from tinsmith.models.plan_choice import best_plan, plan_or_error, windows
from tinsmith.models.plan_memory import memory_needed
from tinsmith.models.recommendation import Recommendation, recommend
from tinsmith.models.store import FileCheck, Store
from tinsmith.models.store_pull import Sources, Wanted, locate, pull
from tinsmith.models.store_record import StoredModel
from tinsmith.models.tokenizer_file import read_tokenizer
from tinsmith.models.toml_fields import CardError
from tinsmith.models.vocabulary import END_TEXTS, Kind, Vocabulary, build_vocabulary, byte_characters

__all__ = [
    "DEFAULT_MODEL",
    "END_TEXTS",
    "GPU",
    "LEGEND",
    "MARKS",
    "Candidate",
    "CardError",
    "CardSampling",
    "Claim",
    "Endpoint",
    "EngineOptions",
    "Entry",
    "FileCheck",
    "FileFacts",
    "ForeignModel",
    "GGUFHeader",
    "Hub",
    "Kind",
    "Layout",
    "Machine",
    "Model",
    "ModelCard",
    "Plan",
    "Progress",
    "Provenance",
    "Published",
    "Recommendation",
    "Score",
    "Sources",
    "Store",
    "StoredModel",
    "Tensor",
    "Vocabulary",
    "Wanted",
    "best_plan",
    "build_vocabulary",
    "byte_characters",
    "candidates",
    "card_of_file",
    "card_of_served",
    "cards",
    "checks",
    "claims",
    "claims_about",
    "comparison",
    "comparison_markdown",
    "described",
    "entries",
    "entry_named",
    "facts_of_file",
    "file_candidate",
    "find_endpoint",
    "find_entry",
    "find_model",
    "find_profile",
    "foreign_models",
    "gigabytes",
    "gives_way",
    "gpus_of_binary",
    "import_model",
    "listed",
    "locate",
    "memory_needed",
    "parse_card",
    "plan_for",
    "plan_or_error",
    "profiles",
    "pull",
    "quant_memory",
    "quant_sizes",
    "read_layout",
    "read_tokenizer",
    "recommend",
    "run_tool",
    "this_machine",
    "usable_cores",
    "usual_quant",
    "windows",
]
