"""The KV cache of every kind of layer, and the geometry that a file's metadata tells."""

from dataclasses import replace
from pathlib import Path

import gguf
import pytest
from tests.geometry_models import write_geometry
from tests.geometry_table import CACHES, DEVSTRAL, GIB, GPT_OSS

from tinsmith.errors import InputError
from tinsmith.models import read_layout
from tinsmith.models.geometry import CacheType, Geometry, LayerCache

MIB = 1 << 20


@pytest.mark.parametrize("name", CACHES)
def test_the_table_of_caches(name: str) -> None:
    geometry, per_token, gib, state = CACHES[name]
    assert geometry.cache_bytes_per_token() == per_token
    assert geometry.state_bytes() == int(state * MIB)
    sliding = sum(2 * (layer.key_width + layer.value_width) * 768 for layer in geometry.layers if layer.window)
    for context, expected in zip((1 << 15, 1 << 16, 1 << 17, 1 << 18), gib, strict=False):
        grown = context * per_token
        assert grown == int(expected * GIB)
        assert geometry.cache_bytes(context) == grown + geometry.state_bytes() + sliding
        eight = grown * 34 // 64 + geometry.state_bytes() + sliding * 34 // 64
        assert geometry.cache_bytes(context, "q8_0", "q8_0") == eight


@pytest.mark.parametrize(
    ("kind", "of_32"),
    [
        ("f32", 128),
        ("f16", 64),
        ("bf16", 64),
        ("q8_0", 34),
        ("q5_1", 24),
        ("q5_0", 22),
        ("q4_1", 20),
        ("q4_0", 18),
        ("iq4_nl", 18),
    ],
)
def test_cache_types(kind: CacheType, of_32: int) -> None:
    one = replace(DEVSTRAL, layers=(LayerCache("full", 64, 32),))
    assert one.cache_bytes(256, kind, "f16") == 256 * (2 * of_32 + 64)
    assert one.cache_bytes(256, "f16", kind) == 256 * (128 + of_32)


def test_a_row_that_blocks_do_not_fill_is_refused() -> None:
    odd = replace(DEVSTRAL, layers=(LayerCache("full", 48, 48),))
    assert odd.cache_bytes(256) == 256 * 4 * 48
    with pytest.raises(ValueError, match="48 elements"):
        odd.cache_bytes(256, "q8_0")


def test_cells_come_in_256() -> None:
    assert DEVSTRAL.cache_bytes(1) == DEVSTRAL.cache_bytes(256) == 256 * 163_840


def test_a_sliding_layer_keeps_its_window_and_a_batch() -> None:
    sliding = replace(DEVSTRAL, layers=(LayerCache("sliding", 512, 512, 1000),))
    assert sliding.cache_bytes(131072, batch=512) == 1536 * 2048
    assert sliding.cache_bytes(131072, batch=2048) == 3072 * 2048
    assert sliding.cache_bytes(700, batch=512) == 768 * 2048  # the window is larger than the context
    assert sliding.cache_bytes_per_token() == 0


def written(path: Path, architecture: str, **keys: object) -> Path:
    """A GGUF with only metadata (and one small tensor); `__` stands for a dot in a key."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in keys.items():
        name = f"{architecture}.{key.replace('__', '.')}"
        if isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, float):
            writer.add_float32(name, value)
        elif isinstance(value, bool):
            writer.add_bool(name, value)
        elif isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, int):
            writer.add_int64(name, value) if value < 0 else writer.add_uint32(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    return path


def read(path: Path, architecture: str, **keys: object) -> Geometry:
    return read_layout(written(path / "m.gguf", architecture, **keys)).geometry()


PLAIN: dict[str, object] = {
    "block_count": 4,
    "embedding_length": 256,
    "feed_forward_length": 512,
    "attention__head_count": 4,
    "attention__head_count_kv": 2,
}


def test_head_sizes_follow_from_the_width(tmp_path: Path) -> None:
    geometry = read(tmp_path, "llama", **PLAIN)
    assert geometry.layers == (LayerCache("full", 128, 128),) * 4
    assert (geometry.head_size, geometry.certain, geometry.context) == (64, True, 0)


def test_without_kv_heads_every_head_has_its_own(tmp_path: Path) -> None:
    keys = {key: value for key, value in PLAIN.items() if "kv" not in key}
    assert read(tmp_path, "llama", **keys).layers[0] == LayerCache("full", 256, 256)


def test_gemma3_has_a_full_layer_in_six(tmp_path: Path) -> None:
    geometry = read(tmp_path, "gemma3", **PLAIN | {"block_count": 12, "attention__sliding_window": 1024})
    assert [layer.kind for layer in geometry.layers] == (["sliding"] * 5 + ["full"]) * 2
    assert geometry.layers[0] == LayerCache("sliding", 128, 128, 1024)


def test_gemma4_says_it_layer_by_layer(tmp_path: Path) -> None:
    geometry = read(
        tmp_path,
        "gemma4",
        **PLAIN
        | {
            "attention__sliding_window": 512,
            "attention__sliding_window_pattern": [True, True, False, True],
            "attention__head_count_kv": [4, 4, 1, 4],
            "attention__key_length": 512,
            "attention__value_length": 512,
            "attention__key_length_swa": 256,
            "attention__value_length_swa": 256,
            "attention__shared_kv_layers": 1,
        },
    )
    sliding = LayerCache("sliding", 1024, 1024, 512)
    assert geometry.layers == (sliding, sliding, LayerCache("full", 512, 512), LayerCache("full"))


def test_gpt_oss_slides_every_other_layer(tmp_path: Path) -> None:
    model = write_geometry(tmp_path / "m.gguf", replace(GPT_OSS, vocabulary=512, experts=4), "MXFP4", data=False)
    assert read_layout(model).geometry().layers == GPT_OSS.layers


def test_mamba_has_only_state(tmp_path: Path) -> None:
    geometry = read(
        tmp_path,
        "mamba",
        block_count=2,
        embedding_length=64,
        feed_forward_length=0,
        attention__head_count=0,
        ssm__conv_kernel=4,
        ssm__inner_size=128,
        ssm__state_size=16,
        ssm__time_step_rank=4,
    )
    assert geometry.layers == (LayerCache("recurrent", state_bytes=4 * (3 * 128 + 16 * 128)),) * 2
    assert geometry.cache_bytes_per_token() == 0


def test_hybrids_are_recurrent_where_there_are_no_kv_heads(tmp_path: Path) -> None:
    keys = {"attention__head_count_kv": [0, 2, 0, 2], "ssm__conv_kernel": 4, "ssm__inner_size": 64}
    state = {"ssm__state_size": 8, "ssm__group_count": 1}
    kinds = [layer.kind for layer in read(tmp_path, "jamba", **PLAIN | keys | state).layers]
    assert kinds == ["recurrent", "full"] * 2
    layers = read(
        tmp_path, "nemotron_h", **PLAIN | keys | state | {"feed_forward_length": [0, 0, 99, 0], "block_count": 4}
    ).layers
    assert [layer.kind for layer in layers] == ["recurrent", "full", "full", "full"]
    assert layers[2] == LayerCache("full")  # an MLP alone keeps nothing
    both = read(tmp_path, "falcon-h1", **PLAIN | keys | state | {"attention__head_count_kv": 2}).layers
    assert both[0].key_width == 128 and both[0].state_bytes == 4 * (3 * (64 + 16) + 8 * 64)
    short = read(tmp_path, "lfm2", **PLAIN | {"attention__head_count_kv": [0, 2, 0, 2], "shortconv__l_cache": 3}).layers
    assert short[0] == LayerCache("recurrent", state_bytes=4 * 256 * 2)


def test_layers_that_predict_further_tokens_keep_nothing(tmp_path: Path) -> None:
    assert len(read(tmp_path, "qwen3", **PLAIN | {"nextn_predict_layers": 1}).layers) == 3


def test_old_files_of_latent_models_keep_every_head(tmp_path: Path) -> None:
    keys = {"attention__head_count_kv": 4, "attention__key_length": 192, "attention__value_length": 128}
    layers = read(tmp_path, "deepseek2", **PLAIN | keys | {"attention__kv_lora_rank": 64}).layers
    assert layers[0] == LayerCache("full", 768, 512)


def test_an_unknown_architecture_is_read_by_the_standard_keys_and_says_so(tmp_path: Path) -> None:
    geometry = read(tmp_path, "newcomer", **PLAIN | {"attention__sliding_window": 64})
    assert not geometry.certain
    assert geometry.layers == (LayerCache("full", 128, 128),) * 4  # never too little


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ({"block_count": None}, "block_count is missing"),
        ({"block_count": 0}, "block_count says 0"),
        ({"block_count": 1_000_000_000}, "block_count says 1000000000"),
        ({"block_count": 3, "nextn_predict_layers": 3}, "block_count says 3"),
        ({"embedding_length": "wide"}, "embedding_length is 'wide'"),
        ({"embedding_length": -1}, "embedding_length is -1"),
        ({"attention__head_count": 1.5}, "head_count is 1.5"),
        ({"attention__head_count": True}, "head_count is True"),
        ({"attention__head_count_kv": [1, 2]}, "head_count_kv has 2 elements"),
        ({"attention__head_count_kv": [1, 2, -3, 4]}, "head_count_kv is -3"),
        ({"attention__sliding_window": 9, "attention__sliding_window_pattern": [True]}, "pattern has 1 elements"),
    ],
)
def test_nonsense_exits_2_and_says_where(keys: dict[str, object], word: str, tmp_path: Path) -> None:
    merged = {key: value for key, value in (PLAIN | keys).items() if value is not None}
    with pytest.raises(InputError, match=word) as caught:
        read(tmp_path, "gemma3", **merged)
    assert (caught.value.code, caught.value.exit_code) == ("model_unreadable", 2)
    assert "missing" in word or "at byte" in caught.value.message
