"""Training: what it learns from is what the agent writes, and what it exports is what llama.cpp runs."""
# ruff: noqa: E402 - without the extra `learn` there is nothing here to import

import random
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")

import gguf
import numpy as np
from tokenizers import Tokenizer

from tinsmith.agent import CallWriter, Transcript
from tinsmith.dialects import Call, Encoder, QwenXml, arguments_pieces
from tinsmith.engines import GREEDY, EmbeddedEngine, open_engine
from tinsmith.errors import InputError
from tinsmith.learn.examples import Example, Function, Kind, build
from tinsmith.learn.export import export_gguf
from tinsmith.learn.muon import orthogonalised
from tinsmith.learn.network import Decoder, Shape
from tinsmith.learn.shards import BUCKETS, Shards, write_shard
from tinsmith.learn.solder import mutants
from tinsmith.learn.tokenizer import plain_ids, reserved_of, train_tokenizer
from tinsmith.learn.training import Plan, load, train
from tinsmith.models import GGUFHeader, find_model
from tinsmith.tasks import sample
from tinsmith.tools import EDIT, Files, ShellResult, Toolbox

pytestmark = pytest.mark.learn

VOCABULARY = 400
SHAPE = Shape(layers=2, d_model=64, heads=2, kv_heads=1, head_dim=32, ffn=64, vocabulary=VOCABULARY, context=1024)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    source = Path(textwrap.__file__).read_text(encoding="utf-8")
    return train_tokenizer([source[:8000], source[8000:]], VOCABULARY)


def _random_network(shape: Shape, seed: int) -> Decoder:
    """Weights far larger than those of a fresh network, so that attention, norms and positions all matter."""
    torch.manual_seed(seed)
    network = Decoder(shape)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 2:
                parameter.normal_(std=0.2)
            else:
                parameter.uniform_(0.5, 2.0)
    return network


@pytest.fixture(scope="module")
def network() -> Decoder:
    return _random_network(SHAPE, 0)


@pytest.fixture(scope="module")
def model(network: Decoder, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    export_gguf(network, tokenizer, path, card="solder", context=SHAPE.context)
    return path


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[EmbeddedEngine]:
    with open_engine(model) as engine:
        yield engine


@pytest.fixture(scope="module")
def encoder(tokenizer: Tokenizer) -> Encoder:
    return Encoder(lambda text: plain_ids(tokenizer, text), reserved_of(tokenizer))


# Tokenizer ----------------------------------------------------------------------------------------

_TEXTS = [
    "def f(self, name):\n    return self._names.get(name, -1)  # it's what's there\n",
    "\t\tif x:\r\n\r\n   \n \n\n     y\n  ",
    " ",
    "\n\n\n",
    "x = 1234567890 + 0x1F - 3.14e-10 if a1b2 else ٣٤ ²³ Ⅷ",
    "naïve Straße 東京 привет שלום नमस्ते e\u0301 \u200b\u00a0\u2028 😀👩‍👩‍👧 \ufeff",
    "<|im_start|>user\n<tool_call></tool_call><|im_end|><|endoftext|> <tool_response> <|im_<|im_end|>",
    "'S 'LL i'M don't !!!\n\n???   ...\n;;",
    "\x00\x01\x7f",
]


def test_text_is_cut_as_llama_cpp_cuts_it(tokenizer: Tokenizer, encoder: Encoder, engine: EmbeddedEngine) -> None:
    theirs = Encoder(engine.tokenize, engine.vocabulary.reserved)
    assert dict(engine.vocabulary.reserved) == reserved_of(tokenizer)
    draw = random.Random(0)
    mixed = "".join(draw.choice(" \n\t\r_.'aZé0９文😀<|>\u0301\u00a0") for _ in range(2000))
    for text in [*_TEXTS, mixed]:
        ids = encoder.encode_text(text)
        assert ids == theirs.encode_text(text), text
        assert engine.detokenize(ids).decode() == text


def test_too_little_text_for_the_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="too little text"):
        train_tokenizer(["aa"], VOCABULARY)


# Network and export -------------------------------------------------------------------------------


def _as_stored(network: Decoder, shape: Shape) -> Decoder:
    """`network` with its matrices rounded as the file rounds them."""
    kind = gguf.GGMLQuantizationType.Q8_0
    other = Decoder(shape)
    state = {
        name: torch.from_numpy(gguf.quants.dequantize(gguf.quants.quantize(value.numpy(), kind), kind))
        if value.dim() == 2
        else value
        for name, value in network.state_dict().items()
    }
    other.load_state_dict(state)
    return other


def _difference(network: Decoder, engine: EmbeddedEngine, ids: Sequence[int]) -> float:
    """The largest difference of a next id's log-probability, network against llama.cpp."""
    with torch.no_grad():
        ours = network.logits(network.hidden(torch.tensor([ids]))[0, -1]).log_softmax(-1)
    theirs = engine.next_log_probs(ids, VOCABULARY)
    assert len(theirs) == VOCABULARY
    return max(abs(float(ours[token]) - value) for token, value in theirs.items())


def test_log_probs_are_those_of_llama_cpp(network: Decoder, engine: EmbeddedEngine) -> None:
    """llama.cpp rounds activations and cache too, hence the tolerance; another network is far off."""
    draw = random.Random(1)
    ids = [draw.randrange(VOCABULARY - 7) for _ in range(300)]
    stored = _as_stored(network, SHAPE)
    for length in (1, 7, 300):
        assert _difference(stored, engine, ids[:length]) < 0.3, length
    wrong_rope = _as_stored(network, replace(SHAPE, rope_base=1000.0))
    wrong_norm = _as_stored(network, SHAPE)
    with torch.no_grad():
        for block in wrong_norm.blocks:
            block.q_norm.weight.fill_(1.0)
    assert _difference(wrong_rope, engine, ids) > 0.8
    assert _difference(wrong_norm, engine, ids) > 0.8


def test_export_names_its_card_and_holds_every_tensor(network: Decoder, model: Path) -> None:
    header = GGUFHeader(model)
    assert header.value("tinsmith.card") == "solder"
    assert header.value("general.license") == "Apache-2.0"
    assert header.context_length == SHAPE.context
    assert find_model(str(model)).card.id == "solder"
    assert len(header.tensors) == len(network.state_dict())
    assert {tensor.kind for tensor in header.tensors} == {"Q8_0", "F32"}
    assert sum(int(np.prod(tensor.shape)) for tensor in header.tensors) == network.parameter_count()
    weights = sum(tensor.size for tensor in header.tensors)
    assert weights < network.parameter_count() * 1.1
    assert weights < model.stat().st_size < weights + 40_000
    assert [path.name for path in model.parent.iterdir()] == [model.name]


# Examples -----------------------------------------------------------------------------------------

_FUNCTION = Function(
    "package/store.py",
    "Store.look",
    41,
    (
        "    def look(self, key, limit):",
        "        # 'é' and <tool_call> are text",
        "        found = self.items.get(key)",
        "        if found is None and len(self.items) < limit:",
        "            return limit - 1",
        "        return found",
    ),
    "Looks.",
)


class FakeSink:
    def append(self, type: str, /, **data: Any) -> None:
        del type, data


class FakeEditOnly(Toolbox):
    """The model has no say in which tool comes next."""

    def available(self) -> list[str]:
        return [EDIT.name]


def _example(encoder: Encoder, seed: int, finish_share: float = 0.0) -> tuple[Example, Call]:
    rng = random.Random(seed)
    mutation = mutants(_FUNCTION, rng, 1)[0]
    line = str(mutation.line)
    call = Call("edit", {"path": _FUNCTION.path, "start": line, "end": line, "new": mutation.before})
    example = build(encoder, "You are Solder.", _FUNCTION, mutation, [_FUNCTION], rng, finish_share)
    return example, call


def test_an_example_is_what_the_agent_would_have_written(
    encoder: Encoder, engine: EmbeddedEngine, tmp_path: Path
) -> None:
    for seed in range(5):
        example, call = _example(encoder, seed)
        brief = next(i for i, kind in enumerate(example.kinds) if kind not in (Kind.FIXED, Kind.BRIEF))
        transcript = Transcript(Encoder(engine.tokenize, engine.vocabulary.reserved), FakeSink())
        transcript.sampled(example.ids[:brief])
        writer = CallWriter(
            engine,
            QwenXml(),
            encoder,
            FakeEditOnly(Files(tmp_path), lambda command: ShellResult(0, ""), count=encoder.count),
            sampling=GREEDY,
            preamble_tokens=0,
            candidates=lambda tool, call=call: [call],
        )
        assert writer.write(transcript).call == call
        assert list(transcript.ids) == example.ids
        pieces = [piece.span for piece in arguments_pieces(QwenXml(), EDIT, call)]
        end = encoder.encode(QwenXml().call_end())
        assert example.ids[: -len(end)][-len(encoder.encode(pieces)) :] == encoder.encode(pieces)
        assert QwenXml().parse(engine.detokenize(example.ids[brief:]).decode(), [EDIT]) == call


def test_kinds_mark_the_line_and_the_new_text(encoder: Encoder, engine: EmbeddedEngine) -> None:
    example, call = _example(encoder, 1, finish_share=1.0)

    def marked(kind: Kind) -> str:
        ids = [token for token, its in zip(example.ids, example.kinds, strict=True) if its == kind]
        return engine.detokenize(ids).decode()

    assert marked(Kind.LINE) == call.arguments["start"] + "\n"
    assert marked(Kind.NEW) == call.arguments["new"] + "\n"
    assert f"edit>\n{_FUNCTION.path}\n{call.arguments['end']}\nfinish>\n" in marked(Kind.CHOICE)
    assert "The reproduction passes" in marked(Kind.FIXED)
    assert call.arguments["new"].strip() in "\n".join(_FUNCTION.lines)


def test_mutants_are_those_of_the_whole_file() -> None:
    """A function is mutated alone; in its file, far down and under its class, the same bugs come out."""
    file = "\n" * (_FUNCTION.first - 2) + "class _:\n" + "\n".join(_FUNCTION.lines)
    last = _FUNCTION.first + len(_FUNCTION.lines) - 1
    for seed in range(20):
        whole = sample(file, _FUNCTION.first, last, random.Random(seed), 3)
        assert mutants(_FUNCTION, random.Random(seed), 3) == whole


# Shards -------------------------------------------------------------------------------------------


def _examples(lengths: Sequence[int]) -> list[Example]:
    """The ids count up; a third is fixed, the rest brief, and the last four are the line and the new text."""
    found: list[Example] = []
    for number, length in enumerate(lengths):
        kinds = [Kind.FIXED] * (length // 3) + [Kind.BRIEF] * (length - length // 3 - 4)
        ids = [(number + at) % 60 for at in range(length)]
        found.append(Example(ids, [*kinds, Kind.LINE, Kind.LINE, Kind.NEW, Kind.NEW]))
    return found


def test_batches_have_few_shapes_and_learn_every_choice(tmp_path: Path) -> None:
    lengths = [100, 200, 257, 258, 385, 600, 640, 1025, 1026, 3000] * 6
    tokens = write_shard(tmp_path / "one", _examples(lengths))
    assert tokens == sum(length for length in lengths if length <= BUCKETS[-1] + 1)
    shards = Shards([tmp_path / "one"])
    assert len(shards) == 48
    plan = Plan(learnt_share=0.2)
    batches = list(shards.batches(2048, 3, plan.learnt_share, plan.weights()))
    shapes = {batch.ids.shape for batch in batches}
    assert shapes == {(2048 // bucket, bucket + 1) for bucket in BUCKETS}
    for batch in batches:
        rows, length = batch.ids.shape[0], batch.ids.shape[1] - 1
        assert len(batch.picked) == len(batch.weights) == int(rows * length * plan.learnt_share)
        assert (np.diff(batch.picked) > 0).all()
        assert batch.picked[-1] < rows * length
        assert (batch.weights == 1.0).sum() == rows * 4  # the choices of each row, never left out
        brief = np.isclose(batch.weights, plan.brief_weight)
        assert (brief | (batch.weights == 1.0)).all()  # no padding, nothing fixed
    again = list(shards.batches(2048, 3, plan.learnt_share, plan.weights()))
    assert all(np.array_equal(a.ids, b.ids) for a, b in zip(batches, again, strict=True))
    other = list(shards.batches(2048, 4, plan.learnt_share, plan.weights()))
    assert not all(np.array_equal(a.ids, b.ids) for a, b in zip(batches, other, strict=False))


# Training -----------------------------------------------------------------------------------------

PLAN = Plan(
    shape=Shape(layers=1, d_model=32, heads=1, kv_heads=1, head_dim=32, ffn=32, vocabulary=64, context=256),
    tokens=30 * 512,
    batch_tokens=512,
)


class _Interrupted(Exception):
    pass


@pytest.fixture
def data(tmp_path: Path) -> Shards:
    draw = random.Random(0)
    write_shard(tmp_path / "shard", _examples([draw.randrange(150, 250) for _ in range(20)]))
    return Shards([tmp_path / "shard"])


def _curve(directory: Path) -> list[str]:
    return (directory / "curve.jsonl").read_text(encoding="utf-8").splitlines()


def test_training_learns_and_goes_on_after_an_interruption(
    data: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    said: list[str] = []
    whole = train(PLAN, data, data, tmp_path / "whole", compiled=True, progress=said.append)
    assert sum("no C++ compiler" in line for line in said) == 1
    losses = [float(line.split('"held_out": ')[1].rstrip("}")) for line in _curve(tmp_path / "whole")]
    assert len(losses) == 30
    assert losses[-1] < losses[0] * 0.7

    def interrupt(line: str) -> None:
        if "left" in line and f"'tokens': {12 * 512}," in line:
            raise _Interrupted

    with pytest.raises(_Interrupted):
        train(PLAN, data, data, tmp_path / "cut", compiled=False, save_every=0.0, progress=interrupt)
    assert load(tmp_path / "cut")[1]["seen"] == 11 * 512
    said.clear()
    resumed = train(PLAN, data, data, tmp_path / "cut", compiled=False, progress=said.append)
    assert said[0] == f"resumed at {11 * 512:,} tokens"
    assert load(tmp_path / "cut")[1]["seen"] == load(tmp_path / "whole")[1]["seen"] == PLAN.tokens
    for name, value in whole.state_dict().items():
        assert torch.allclose(value, resumed.state_dict()[name], atol=1e-4), name
    tokens = [line.split(",")[0] for line in _curve(tmp_path / "cut")]
    assert tokens == [line.split(",")[0] for line in _curve(tmp_path / "whole")]
    again = train(PLAN, data, data, tmp_path / "cut", compiled=False, progress=said.append)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in again.state_dict().items())
    larger = replace(PLAN, shape=replace(PLAN.shape, ffn=64))
    with pytest.raises(InputError, match="another shape"):
        train(larger, data, data, tmp_path / "cut", compiled=False, progress=said.append)


@pytest.mark.parametrize(("rows", "columns"), [(48, 48), (64, 32), (32, 96)])
def test_muon_makes_directions_orthogonal(rows: int, columns: int) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, rows, columns) * torch.tensor([1e-3, 1.0, 50.0])[:, None, None]
    values = torch.linalg.svdvals(orthogonalised(matrices, 8))
    assert values.shape == (3, min(rows, columns))
    assert float(values.min()) > 0.5
    assert float(values.max()) < 1.3
