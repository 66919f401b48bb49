"""The geometries of the models that the sizes are checked for, and what is known of their sizes.

From their configuration files and model cards; computed figures are of an independent script that follows llama.cpp's
recipes.
"""

from typing import NamedTuple

from tinsmith.models.geometry import DeltaNet, Geometry, LatentAttention, LayerCache

GIB = 1 << 30


def full(count: int, width: int) -> tuple[LayerCache, ...]:
    return (LayerCache("full", width, width),) * count


def hybrid(count: int, width: int, delta: DeltaNet) -> tuple[LayerCache, ...]:
    """Three layers of delta net, one of attention."""
    recurrent = LayerCache("recurrent", state_bytes=delta.state_bytes)
    return tuple(LayerCache("full", width, width) if i % 4 == 3 else recurrent for i in range(count))


DEVSTRAL = Geometry("llama", full(40, 1024), 5120, 32, 128, 131072, 32768, context=131072)
DEVSTRAL_123B = Geometry("llama", full(88, 1024), 12288, 96, 128, 131072, 28672, context=262144)
QWEN3_CODER_30B = Geometry("qwen3moe", full(48, 512), 2048, 32, 128, 151936, 768, 128, 8, context=262144)
QWEN3_CODER_480B = Geometry("qwen3moe", full(62, 1024), 6144, 96, 128, 151936, 2560, 160, 8, context=262144)
_DELTA = DeltaNet(16, 32, 128)
QWEN3_CODER_NEXT = Geometry(
    "qwen3next",
    hybrid(48, 512, _DELTA),
    2048,
    16,
    256,
    151936,
    512,
    512,
    10,
    1,
    262144,
    shared_feed_forward=512,
    delta=_DELTA,
)
QWEN36_35B = Geometry(
    "qwen35moe",
    hybrid(40, 512, _DELTA),
    2048,
    16,
    256,
    248320,
    512,
    256,
    8,
    1,
    262144,
    shared_feed_forward=512,
    delta=_DELTA,
)
_DELTA_27B = DeltaNet(16, 48, 128)
QWEN36_27B = Geometry(
    "qwen35", hybrid(64, 1024, _DELTA_27B), 5120, 24, 256, 248320, 17408, context=262144, delta=_DELTA_27B
)
GLM = Geometry(
    "deepseek2",
    (LayerCache("latent", 576),) * 47,
    2048,
    20,
    576,
    154880,
    1536,
    64,
    4,
    1,
    202752,
    dense_layers=1,
    dense_feed_forward=10240,
    latent=LatentAttention(768, 512, 64, 192, 256),
)
GPT_OSS = Geometry(
    "gpt-oss",
    tuple(LayerCache("full", 512, 512) if i % 2 else LayerCache("sliding", 512, 512, 128) for i in range(24)),
    2880,
    64,
    64,
    201088,
    2880,
    32,
    4,
    context=131072,
)


class Cache(NamedTuple):
    """A row of the table of KV caches at f16: bytes per token, GiB at 32K, 64K, 128K and 256K, MiB of state."""

    geometry: Geometry
    per_token: int
    gib: tuple[float, ...]
    state: float = 0.0


CACHES = {
    "Devstral 24B": Cache(DEVSTRAL, 163_840, (5.0, 10.0, 20.0, 40.0)),
    "Devstral 2 123B": Cache(DEVSTRAL_123B, 360_448, (11.0, 22.0, 44.0, 88.0)),
    "Qwen3-Coder-30B-A3B": Cache(QWEN3_CODER_30B, 98_304, (3.0, 6.0, 12.0, 24.0)),
    "Qwen3-Coder-480B": Cache(QWEN3_CODER_480B, 253_952, (7.75, 15.5, 31.0, 62.0)),
    "Qwen3-Coder-Next": Cache(QWEN3_CODER_NEXT, 24_576, (0.75, 1.5, 3.0, 6.0), 75.375),
    "Qwen3.6-35B-A3B": Cache(QWEN36_35B, 20_480, (0.625, 1.25, 2.5, 5.0), 62.8125),
    "Qwen3.6-27B": Cache(QWEN36_27B, 65_536, (2.0, 4.0, 8.0, 16.0), 149.625),
    "GLM-4.7-Flash": Cache(GLM, 54_144, (54_144 / 32768, 54_144 / 16384, 54_144 / 8192)),
    "gpt-oss-20b": Cache(GPT_OSS, 24_576, (0.75, 1.5, 3.0)),
}

PUBLISHED = [
    (DEVSTRAL, "Q4_K_M", 14_334_438_272),
    (QWEN3_CODER_30B, "Q4_K_M", 18_556_689_568),
    (QWEN3_CODER_30B, "Q6_K", 25_092_535_456),
]
"""Bytes of files on the hub: bartowski's Devstral-Small-2, unsloth's Qwen3-Coder-30B."""

COMPUTED = {
    "Q2_K": (8.89, 11.26, 174.7, 46.6),
    "Q3_K_S": (10.40, 13.29, 206.9, 54.4),
    "Q3_K_M": (11.47, 14.71, 229.3, 60.6),
    "IQ4_XS": (12.76, 16.37, 255.6, 67.1),
    "Q4_K_S": (13.55, 17.46, 272.8, 71.2),
    "Q4_K_M": (14.33, 18.56, 290.1, 74.9),
    "Q5_K_M": (16.76, 21.73, 340.5, 88.3),
    "Q6_K": (19.34, 25.09, 394.1, 102.6),
    "Q8_0": (25.05, 32.49, 510.4, 132.9),
    "BF16": (47.1, 61.1, 960.0, 250.0),
}
"""GB (1e9 bytes) of Devstral 24B, Qwen3-Coder-30B, 480B and Devstral 2 123B."""
