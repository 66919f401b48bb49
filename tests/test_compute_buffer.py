"""What the engine prints of its buffers, beside what is predicted: weights, KV cache, recurrent state, compute."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.geometry_models import write_geometry
from tests.geometry_table import DEVSTRAL, GLM, GPT_OSS, QWEN3_CODER_30B, QWEN3_CODER_NEXT, QWEN36_27B

from tinsmith.models.compute_buffer import compute_buffer_bytes
from tinsmith.models.geometry import CacheType, DeltaNet, Geometry, LatentAttention, LayerCache
from tinsmith.models.gguf_layout import read_layout

MIB = 1 << 20
PRINTED = 0.0051 * MIB  # the engine prints hundredths of a MiB
CONTEXT = 4096


def full(count: int, width: int) -> tuple[LayerCache, ...]:
    return (LayerCache("full", width, width),) * count


DELTA = DeltaNet(2, 4, 64)
MIXED = tuple(
    LayerCache("full", 128, 128) if i == 3 else LayerCache("recurrent", state_bytes=DELTA.state_bytes) for i in range(4)
)
SLIDING = tuple(LayerCache("full", 128, 128) if i % 2 else LayerCache("sliding", 128, 128, 128) for i in range(4))
SMALL = {
    "llama": Geometry("llama", full(2, 128), 256, 4, 64, 512, 1024, context=CONTEXT),
    "qwen2": Geometry("qwen2", full(2, 128), 256, 4, 64, 512, 512, context=CONTEXT, tied=True),
    "qwen3": Geometry("qwen3", full(3, 128), 256, 8, 64, 512, 512, context=CONTEXT, tied=True),
    "qwen3moe": Geometry("qwen3moe", full(2, 128), 256, 8, 64, 512, 256, 16, 4, context=CONTEXT),
    "qwen3next": Geometry(
        "qwen3next", MIXED, 256, 4, 64, 512, 256, 8, 2, 1, CONTEXT, shared_feed_forward=256, delta=DELTA
    ),
    "qwen35moe": Geometry(
        "qwen35moe", MIXED, 256, 4, 64, 512, 256, 8, 2, 1, CONTEXT, shared_feed_forward=256, delta=DELTA
    ),
    "qwen35": Geometry("qwen35", MIXED, 256, 4, 64, 512, 512, context=CONTEXT, delta=DELTA),
    "deepseek2": Geometry(
        "deepseek2",
        (LayerCache("latent", 96),) * 3,
        256,
        4,
        96,
        512,
        256,
        8,
        2,
        1,
        CONTEXT,
        dense_layers=1,
        dense_feed_forward=512,
        latent=LatentAttention(128, 64, 32, 64, 64),
    ),
    "gpt-oss": Geometry("gpt-oss", SLIDING, 256, 8, 64, 512, 256, 8, 2, context=CONTEXT),
}
REAL = {
    "devstral": DEVSTRAL,
    "qwen3-coder-30b": QWEN3_CODER_30B,
    "qwen3-coder-next": QWEN3_CODER_NEXT,
    "qwen3.6-27b": QWEN36_27B,
    "glm-4.7-flash": GLM,
    "gpt-oss-20b": GPT_OSS,
}


class Buffers(NamedTuple):
    """Bytes, as printed."""

    model: float
    cache: float
    compute: float


ENGINE = """
import sys
import xllamacpp as x
path, context, batch, kind = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
p = x.CommonParams()
p.model.path, p.n_ctx, p.n_parallel, p.n_batch, p.n_ubatch = path, context, 1, batch, batch
p.cache_type_k = p.cache_type_v = getattr(x.ggml_type, "GGML_TYPE_" + kind.upper())
p.hostnames, p.port, p.api_keys, p.ui, p.warmup, p.verbosity = ["127.0.0.1"], 0, ["key"], False, False, 4
p.cpuparams.n_threads = 1
server = x.Server(p)  # held: destroying it can hang
sys.stdin.read()
"""


def buffers(model: Path, context: int, batch: int, kind: CacheType = "f16") -> Buffers:
    command = [sys.executable, "-c", ENGINE, str(model), str(context), str(batch), kind]
    told = ""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as engine:
        assert engine.stderr is not None
        for line in engine.stderr:
            told += line
            if "listening on" in line:
                break
        engine.kill()
    assert "listening on" in told, told[-2000:]

    def found(what: str) -> float:
        return MIB * sum(float(size) for size in re.findall(rf"CPU\w* {what} buffer size = +([\d.]+) MiB", told))

    return Buffers(found("model"), found("KV") + found("RS"), found("compute"))


@pytest.mark.parametrize("name", SMALL)
def test_small_models_of_every_architecture(name: str, tmp_path: Path) -> None:
    geometry = SMALL[name]
    model = write_geometry(tmp_path / "m.gguf", geometry)
    layout = read_layout(model)
    assert layout.geometry() == geometry
    kind: CacheType = "q8_0" if name in ("llama", "deepseek2") else "f16"
    printed = buffers(model, CONTEXT, 256, kind)
    assert printed.model == pytest.approx(layout.weights().total, abs=PRINTED)
    # One line each for K and V, and for state: none is off by more than its rounding.
    assert printed.cache == pytest.approx(geometry.cache_bytes(CONTEXT, kind, kind, batch=256), abs=2 * PRINTED)
    computed = compute_buffer_bytes(geometry, CONTEXT, 256)
    assert 0.99 * printed.compute < computed < 1.35 * printed.compute


@pytest.mark.parametrize("name", REAL)
def test_real_shapes_need_what_is_predicted(name: str, tmp_path: Path) -> None:
    """A few layers and experts of a real model; the file has a hole in the place of its weights."""
    real = REAL[name]
    kinds = 4 if real.delta else 2  # of the last layer only the rows that are put out are computed
    geometry = replace(real, layers=real.layers[:kinds], experts=min(16, real.experts), vocabulary=1024, context=262144)
    model = write_geometry(tmp_path / "m.gguf", geometry, "Q8_0", data=False)
    context, batch = (32768, 256) if name in ("devstral", "glm-4.7-flash") else (8192, 512)
    printed = buffers(model, context, batch)
    assert printed.cache == pytest.approx(geometry.cache_bytes(context, batch=batch), abs=2 * PRINTED)
    assert printed.compute == pytest.approx(compute_buffer_bytes(geometry, context, batch), rel=0.01)
