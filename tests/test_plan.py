"""Plans: what lies where, to the byte; what does not fit; and that an engine really starts as its plan says."""

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.shop import ISSUE, make_shop
from tests.wheel_as_server import write_binary

from tinsmith.engines import EmbeddedEngine, EngineChoice, machine_of, open_any_engine
from tinsmith.errors import MachineError
from tinsmith.events import RunStore
from tinsmith.models import (
    GPU,
    EngineOptions,
    Machine,
    best_plan,
    memory_needed,
    plan_for,
    plan_or_error,
    profiles,
    read_layout,
    windows,
)
from tinsmith.models.geometry import Geometry, LayerCache
from tinsmith.models.plan_memory import PROCESS, capacity, reserve
from tinsmith.models.plan_speed import ISSUE as TYPICAL
from tinsmith.models.random_weights import Shape, write_random
from tinsmith.models.weights import computed_weights
from tinsmith.resolve import Request, resolve

GIB = 1 << 30
DENSE = Geometry("llama", (LayerCache("full", 1024, 1024),) * 40, 5120, 32, 128, 131072, 32768, context=131072)
EXPERTS = Geometry("qwen3moe", (LayerCache("full", 512, 512),) * 48, 2048, 32, 128, 151936, 768, 128, 8, context=262144)


def machine(ram: float, vram: float = 0.0, *, unified: bool = False, cores: int = 8) -> Machine:
    gpus = (GPU("G", int(vram * GIB), int(vram * GIB), 500e9, 60e12, "cuda", "given"),) if vram else ()
    size = int(ram * GIB)
    return Machine("m", size, size, cores, 50e9, 500e9, gpus=gpus, unified=unified, instructions=("avx2",))


def test_on_the_cores_everything_lies_in_ram() -> None:
    weights = computed_weights(EXPERTS, "Q4_K_M")
    made = plan_for(EXPERTS, weights, machine(32), 32768)
    assert made is not None
    assert made.place == "cpu"
    assert made.ram.weights == weights.total
    assert made.ram.cache == EXPERTS.cache_bytes(32768) == 98304 * 32768
    assert made.ram.total == memory_needed(EXPERTS, weights, 32768)
    assert made.vram.total == 0
    assert made.engine_options().gpu_layers == 0


@pytest.mark.parametrize("geometry", [DENSE, EXPERTS])
@pytest.mark.parametrize("vram", [0, 4, 8, 12, 16, 24, 48])
@pytest.mark.parametrize("ram", [8, 16, 32, 64])
def test_no_plan_takes_more_than_there_is(geometry: Geometry, vram: int, ram: int) -> None:
    weights = computed_weights(geometry, "Q4_K_M")
    host = machine(ram, vram)
    made = best_plan(geometry, weights, host)
    if made is None:
        assert memory_needed(geometry, weights, 16384, "q8_0", "q8_0") > capacity(host).ram
        return
    assert made.ram.total <= capacity(host).ram == host.memory_total - reserve(host.memory_total)
    assert made.vram.total <= capacity(host).vram < max(1, vram * GIB)
    shared = weights.embedding  # looked up in RAM; the output is apart here
    assert made.ram.weights + made.vram.weights == weights.total if weights.output else shared
    assert made.ram.cache + made.vram.cache == geometry.cache_bytes(made.context, made.key, made.value)


def test_experts_stay_in_ram_where_the_gpu_is_small() -> None:
    weights = computed_weights(EXPERTS, "Q4_K_M")
    made = plan_for(EXPERTS, weights, machine(32, 8), 16384)
    assert made is not None
    assert made.place == "experts"
    options = made.engine_options()
    assert options.gpu_layers == 49
    assert 0 < options.cpu_expert_layers < 48
    kept = sum(layer.experts for layer in weights.layers[: options.cpu_expert_layers])
    assert made.ram.weights == weights.embedding + kept
    # One layer's experts more would not have fitted.
    more = weights.layers[options.cpu_expert_layers - 1].experts
    assert made.vram.total + more > capacity(machine(32, 8)).vram
    assert options.llama_server_arguments()[-2:] == ["--n-cpu-moe", str(options.cpu_expert_layers)]
    assert made.speed.decode > 2 * (plan_for(EXPERTS, weights, machine(32), 16384) or made).speed.decode


def test_four_gib_of_gpu_hold_the_part_without_experts() -> None:
    made = plan_for(EXPERTS, computed_weights(EXPERTS, "Q4_K_M"), machine(32, 4), 16384, "q8_0", "q8_0")
    assert made is not None
    assert made.cpu_expert_layers in range(44, 49)
    assert 1 < made.vram.total / GIB < 3.5


def test_some_layers_of_a_dense_model_on_a_small_gpu() -> None:
    made = plan_for(DENSE, computed_weights(DENSE, "Q4_K_M"), machine(32, 8), 16384)
    assert made is not None
    assert made.place == "layers"
    assert 0 < made.gpu_layers <= 40
    assert made.cpu_expert_layers == 0


def test_unified_memory_is_one() -> None:
    weights = computed_weights(DENSE, "Q4_K_M")
    host = machine(32, 21, unified=True)
    made = plan_for(DENSE, weights, host, 16384)
    assert made is not None
    assert made.place == "gpu"
    assert made.total <= host.memory_total - reserve(host.memory_total)
    small = machine(16, 12, unified=True)
    assert best_plan(DENSE, weights, small) is None


def test_a_control_group_bounds_a_plan() -> None:
    host = replace(machine(64), memory_limit=8 * GIB)
    assert capacity(host).ram == 8 * GIB - (256 << 20)
    assert best_plan(DENSE, computed_weights(DENSE, "Q4_K_M"), host) is None


def test_the_window_and_the_cache_give_way_in_turn() -> None:
    weights = computed_weights(DENSE, "Q4_K_M")
    seen = []
    for tenths in range(320, 150, -2):
        made = best_plan(DENSE, weights, replace(machine(64), memory_limit=int(tenths / 10 * GIB)))
        if made is not None and (not seen or seen[-1] != (made.context, made.key)):
            seen.append((made.context, made.key))
    # q8_0 before a smaller window; also where it is a good deal quicker, as on these cores.
    assert [context for context, _ in seen] == sorted((context for context, _ in seen), reverse=True)
    assert seen[-1] == (16384, "q8_0")


def test_windows_that_are_tried() -> None:
    assert windows(None, 32768, 262144) == (32768, 24576, 16384)
    assert windows(None, 32768, 8192) == (8192,)
    assert windows(65536, 32768, 262144) == (65536,)
    assert windows(65536, 32768, 32768) == (32768,)
    assert windows(None, 32768, 0) == (32768, 24576, 16384)


def test_what_does_not_fit_says_what_would() -> None:
    weights = computed_weights(DENSE, "Q4_K_M")
    with pytest.raises(MachineError) as caught:
        plan_or_error("big.gguf", DENSE, weights, machine(16), (32768, 16384))
    assert caught.value.code == "model_does_not_fit"
    assert "needs 15.2 GiB" in caught.value.message
    assert "would fit" in caught.value.remedy
    assert "built-in model works" in caught.value.remedy
    busy = replace(machine(32), memory_available=10 * GIB)
    with pytest.raises(MachineError) as caught:
        plan_or_error("big.gguf", DENSE, weights, busy, (32768, 16384))
    assert "10.0 GiB are free now" in caught.value.message
    assert caught.value.remedy.startswith("Close other programs")


def test_speed_follows_the_memory_that_is_read() -> None:
    small, large = (
        plan_for(DENSE, computed_weights(DENSE, quant), machine(64, cores=64), 16384) for quant in ("Q4_K_M", "Q8_0")
    )
    assert small is not None
    assert large is not None
    assert 1.5 < small.speed.decode / large.speed.decode < 1.8
    on_gpu = plan_for(DENSE, computed_weights(DENSE, "Q4_K_M"), machine(64, 24), 16384)
    assert on_gpu is not None
    assert on_gpu.speed.decode > 5 * small.speed.decode
    assert on_gpu.speed.decode < 500e9 / 13.9e9  # below what the memory gives


def test_a_typical_issue_rereads_where_the_window_is_small() -> None:
    made = plan_for(DENSE, computed_weights(DENSE, "Q4_K_M"), machine(64), 32768)
    assert made is not None
    wide, narrow = TYPICAL.minutes(made.speed, 32768), TYPICAL.minutes(made.speed, 16384)
    assert wide == pytest.approx((12_067 / made.speed.prefill + 8_000 / made.speed.decode) / 60)
    assert narrow == pytest.approx(wide + 4_000 / made.speed.prefill / 60)
    assert TYPICAL.minutes(made.speed, 32768, thinks=True) > 2 * wide


def test_a_q8_cache_is_not_tried_where_rows_have_no_whole_blocks() -> None:
    odd = replace(DENSE, layers=(LayerCache("full", 1000, 1000),) * 40)
    made = best_plan(odd, computed_weights(DENSE, "Q4_K_M"), machine(64))
    assert made is not None
    assert made.key == "f16"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random(tmp_path_factory.mktemp("plan") / "random.gguf", shape=Shape(head_dim=32), scale=0.15)


@pytest.mark.parametrize("kind", ["wheel", "binary"])
def test_an_engine_starts_as_planned(kind: str, model: Path, tmp_path: Path) -> None:
    choice = EngineChoice("none" if kind == "wheel" else str(write_binary(tmp_path)))
    layout = read_layout(model)
    made = plan_for(layout.geometry(), layout.weights(), machine(8), 2048, "q8_0", "q8_0")
    assert made is not None
    with closing(open_any_engine(model, choice=choice, options=made.engine_options())) as engine:
        assert isinstance(engine, EmbeddedEngine)
        assert engine.context_window == 2048  # as /props says
        assert len(engine.generate([40, 41, 42], limit=4).tokens) == 4
        assert engine.pid is not None
        if kind == "binary":
            (server,) = Path(f"/proc/{engine.pid}/task/{engine.pid}/children").read_text().split()
            tree = Path(f"/proc/{server}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            assert "--ctx-size 2048" in tree
            assert "--cache-type-k q8_0 --cache-type-v q8_0 --n-gpu-layers 0" in tree


def test_a_cache_type_really_reaches_the_engine(tmp_path: Path) -> None:
    # Rows of 16 elements are no whole number of q8_0's blocks of 32, which llama.cpp refuses: so it was asked for.
    odd = write_random(tmp_path / "odd.gguf", shape=Shape(head_dim=16, kv_heads=1))
    options = EngineOptions(2048, "q8_0", "q8_0", 0, 0, 1, 256, 0)
    with pytest.raises(Exception, match=r"ended unexpectedly|memory|not a complete"):
        open_any_engine(odd, choice=EngineChoice("none"), options=options)


def test_a_binary_is_asked_which_gpus_it_can_use(tmp_path: Path) -> None:
    host = machine(32, 8)
    assert machine_of(EngineChoice("none"), host).gpus == ()
    binary = tmp_path / "llama-server"
    binary.write_text("#!/bin/sh\nprintf 'Available devices:\\n  CUDA0: RTX 3090 (24260 MiB, 20000 MiB free)\\n'\n")
    binary.chmod(0o755)
    (found,) = machine_of(EngineChoice(str(binary)), host).gpus
    assert (found.name, found.memory_free) == ("RTX 3090", 20000 << 20)
    binary.write_text("#!/bin/sh\necho 'Available devices:'\n")
    assert machine_of(EngineChoice(str(binary)), host).gpus == ()
    binary.write_text("#!/bin/sh\nexit 1\n")  # an old one, which does not know the option
    assert machine_of(EngineChoice(str(binary)), host).gpus == host.gpus


def test_a_run_is_planned_from_the_files_own_header(model: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    asked = Request(repo=make_shop(tmp_path), issue=ISSUE, model=str(model), state_dir=tmp_path / "state", context=4096)
    result = resolve(replace(asked, limits=replace(asked.limits, turns=1)), lines.append, choice=EngineChoice("none"))
    events = [event for event in RunStore(tmp_path / "state").open(result.run).events() if event["type"] == "engine"]
    assert events[0]["plan"]["context"] == events[0]["context_window"] == 4096
    assert events[0]["plan"]["place"] == "cpu"
    assert json.dumps(events[0]["plan"])
    assert sum(line.startswith("the plan: ") for line in lines) == 1


def test_the_process_is_counted() -> None:
    assert memory_needed(EXPERTS, computed_weights(EXPERTS, "Q4_K_M"), 16384) > 18.5e9 + PROCESS
    assert profiles()["pi5-16gb"].memory_total < 16 * GIB
