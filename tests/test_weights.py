"""Bytes by where they can lie, computed for quants whose files are not here, and read out of files."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.geometry_models import write_geometry
from tests.geometry_table import (
    COMPUTED,
    DEVSTRAL,
    DEVSTRAL_123B,
    GLM,
    GPT_OSS,
    PUBLISHED,
    QWEN3_CODER_30B,
    QWEN3_CODER_480B,
    QWEN3_CODER_NEXT,
    QWEN36_27B,
    QWEN36_35B,
)

from tinsmith.models import find_model, read_layout
from tinsmith.models.geometry import Geometry
from tinsmith.models.gguf_layout import Tensor
from tinsmith.models.tensor_list import ARCHITECTURES, tensors_of
from tinsmith.models.weights import QUANTS, LayerWeights, Weights, computed_weights, file_bytes

MODELS = (DEVSTRAL, QWEN3_CODER_30B, QWEN3_CODER_480B, DEVSTRAL_123B)


@pytest.mark.parametrize(("geometry", "quant", "published"), PUBLISHED)
def test_published_files_within_a_thousandth(geometry: Geometry, quant: str, published: int) -> None:
    assert file_bytes(geometry, quant) == pytest.approx(published, rel=0.001)
    assert 0 < published - computed_weights(geometry, quant).total < 0.001 * published  # the rest is metadata


@pytest.mark.parametrize("quant", COMPUTED)
def test_the_table_of_sizes_within_half_a_percent(quant: str) -> None:
    for geometry, gigabytes in zip(MODELS, COMPUTED[quant], strict=True):
        assert file_bytes(geometry, quant) / 1e9 == pytest.approx(gigabytes, rel=0.005)


def test_parameters_are_those_that_vendors_count() -> None:
    def billions(geometry: Geometry) -> tuple[float, float]:
        weights = computed_weights(geometry, "BF16")
        return weights.parameters / 1e9, weights.active_parameters / 1e9

    assert computed_weights(QWEN3_CODER_30B, "Q4_K_M").parameters == 30_532_122_624
    assert billions(QWEN3_CODER_480B) == pytest.approx((480.15, 34.54), abs=0.01)
    assert billions(QWEN3_CODER_30B)[1] == pytest.approx(3.04, abs=0.01)
    assert billions(DEVSTRAL)[0] == pytest.approx(23.57, abs=0.01)
    assert billions(QWEN3_CODER_NEXT)[0] == pytest.approx(79.67, abs=0.01)
    assert billions(QWEN36_35B)[0] == pytest.approx(34.66, abs=0.01)
    assert billions(QWEN36_27B)[0] == pytest.approx(26.9, abs=0.01)
    assert billions(GLM)[0] == pytest.approx(29.94, abs=0.01)
    assert billions(GPT_OSS)[0] == pytest.approx(20.91, abs=0.01)


def test_what_is_no_expert_of_qwen3_coder_is_a_gigabyte() -> None:
    weights = computed_weights(QWEN3_CODER_30B, "Q4_K_M")
    experts = sum(layer.experts for layer in weights.layers)
    assert (weights.total - experts) / 1e9 == pytest.approx(0.96, rel=0.05)
    assert weights.read_per_token() < 2.1e9 < experts


@pytest.mark.parametrize("quant", QUANTS)
def test_a_file_has_the_bytes_that_were_computed(quant: str, tmp_path: Path) -> None:
    geometry = replace(QWEN3_CODER_30B, layers=QWEN3_CODER_30B.layers[:3], vocabulary=512, experts=16)
    layout = read_layout(write_geometry(tmp_path / "m.gguf", geometry, quant, data=False))
    assert layout.weights() == computed_weights(geometry, quant)
    assert layout.weights().total == sum(tensor.size for tensor in layout.tensors)


def test_eight_experts_have_rules_of_their_own() -> None:
    eight = replace(QWEN3_CODER_30B, experts=8, experts_used=2)
    kinds = {name: computed_weights(eight, name) for name in ("Q4_K_M", "Q5_K_S")}
    nine = {name: computed_weights(replace(eight, experts=9), name) for name in kinds}
    # K and V in Q8_0, and in Q4_K_M the output of attention in Q5_K.
    assert kinds["Q4_K_M"].layers[20].dense > nine["Q4_K_M"].layers[20].dense
    assert kinds["Q5_K_S"].layers[20].dense > nine["Q5_K_S"].layers[20].dense


def test_a_row_of_no_whole_blocks_falls_back() -> None:
    """gpt-oss has rows of 2,880: what should be Q4_K is Q5_0, what should be MXFP4 stays."""
    assert file_bytes(GPT_OSS, "MXFP4") == pytest.approx(12.11e9, rel=0.002)
    assert computed_weights(GPT_OSS, "Q4_K_M").total > 14e9
    odd = computed_weights(replace(DEVSTRAL, d_model=5000, layers=DEVSTRAL.layers[:1]), "Q4_K_M")
    assert odd.embedding == 5000 * 131072 * 2  # F16, as 32 does not divide it either


def test_a_tied_embedding_is_read_as_output() -> None:
    tied = computed_weights(replace(DEVSTRAL, tied=True), "Q6_K")
    assert tied.output == 0
    assert tied.read_per_token() == tied.total
    free = computed_weights(DEVSTRAL, "Q6_K")
    assert free.read_per_token() == free.total - free.embedding


def test_experts_that_are_used_are_read() -> None:
    weights = Weights(10, 20, (LayerWeights(3, 80), LayerWeights(5, 160)), 0, 0, 8, 2)
    assert weights.total == 278
    assert weights.read_per_token() == 20 + 8 + 60


def test_layers_beyond_the_last_predict_further_tokens() -> None:
    one = replace(DEVSTRAL, layers=DEVSTRAL.layers[:1], d_model=64, heads=1, feed_forward=64, vocabulary=64)
    tensors = [
        Tensor("token_embd.weight", (64, 64), "F32", 100),
        Tensor("blk.1.nextn.eh_proj.weight", (9, 9), "F32", 7),
    ]
    weights = Weights.of_tensors(tensors, one)
    assert (weights.predictor, weights.total, weights.parameters, weights.active_parameters) == (7, 107, 4177, 4096)


def test_solder() -> None:
    layout = read_layout(find_model("solder").path)
    weights = layout.weights()
    assert weights.total + layout.parts[0].data_offset == layout.size
    assert len(weights.layers) == len(layout.geometry().layers) == 4


def test_what_is_not_known_is_said() -> None:
    with pytest.raises(ValueError, match="newcomer"):
        tensors_of(replace(DEVSTRAL, architecture="newcomer"))
    with pytest.raises(ValueError, match="Q9"):
        computed_weights(DEVSTRAL, "Q9")
    assert {"llama", "mistral3", "qwen3", "qwen3moe"} <= ARCHITECTURES
