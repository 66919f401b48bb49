"""What a machine has: laid out as trees of /proc and /sys, said by tools, and read from the one that runs the tests."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tinsmith.errors import InputError, MachineError
from tinsmith.models import checks, find_profile, gpus_of_binary, profiles, this_machine
from tinsmith.models.bandwidth import Measured, measure, remember, remembered
from tinsmith.models.gpu import gpu
from tinsmith.models.machine_profile import parse_profile

GIB = 1 << 30
MEMINFO = "MemTotal: 16384000 kB\nMemFree: 1000000 kB\nMemAvailable: 12000000 kB\nSwapTotal: 4000000 kB\n"


class FakeTools:
    """Programs by their first words, with what they print; any other is absent."""

    def __init__(self, said: Mapping[str, str] | None = None) -> None:
        self._said = said or {}

    def __call__(self, arguments: Sequence[str]) -> str | None:
        line = " ".join(arguments)
        return next((text for words, text in self._said.items() if line.startswith(words)), None)


def lay_out(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


def test_memory_of_a_plain_linux_machine(tmp_path: Path) -> None:
    root = lay_out(
        tmp_path, {"proc/meminfo": MEMINFO, "proc/cpuinfo": "model name : A\nflags : fpu avx2 fma avx512f\n"}
    )
    found = this_machine(root=root, run=FakeTools(), system="linux")
    assert (found.memory_total, found.memory_available) == (16384000 << 10, 12000000 << 10)
    assert found.memory_limit == 0
    assert found.swap == 4000000 << 10
    assert found.instructions == ("avx2", "fma", "avx512f")
    assert found.gpus == ()
    assert "swap, not counted" in found.described()
    assert found.sources["bandwidth"] == "assumed"


def test_without_memavailable_as_on_old_kernels(tmp_path: Path) -> None:
    root = lay_out(tmp_path, {"proc/meminfo": "MemTotal: 1000000 kB\nMemFree: 300000 kB\nCached: 200000 kB\n"})
    assert this_machine(root=root, run=FakeTools(), system="linux").memory_available == 500000 << 10


def test_the_nearest_limit_of_nested_control_groups_v2(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/user.slice"
    root = lay_out(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/user.slice/job\n",
            f"{group}/job/memory.max": "max\n",
            f"{group}/memory.max": f"{8 * GIB}\n",
            f"{group}/memory.current": f"{3 * GIB}\n",
            f"{group}/memory.stat": f"anon 1\ninactive_file {GIB}\n",
        },
    )
    found = this_machine(root=root, run=FakeTools(), system="linux")
    assert found.memory_limit == 8 * GIB
    assert found.memory_available == 6 * GIB  # what the page cache holds can be given back
    assert "memory.max" in found.sources["memory_limit"] or "user.slice" in found.sources["memory_limit"]


def test_a_limit_of_control_groups_v1_seen_from_within_a_container(tmp_path: Path) -> None:
    top = "sys/fs/cgroup/memory"
    root = lay_out(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "9:memory:/docker/0a1b\n3:cpu,cpuacct:/docker/0a1b\n",
            f"{top}/memory.limit_in_bytes": f"{2 * GIB}\n",
            f"{top}/memory.usage_in_bytes": f"{GIB}\n",
            f"{top}/memory.stat": "total_inactive_file 0\n",
        },
    )
    found = this_machine(root=root, run=FakeTools(), system="linux")
    assert (found.memory_limit, found.memory_available) == (2 * GIB, GIB)


def test_no_limit_of_version_1_is_a_high_number(tmp_path: Path) -> None:
    limit = {"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}
    root = lay_out(tmp_path, {"proc/meminfo": MEMINFO, "proc/self/cgroup": "4:memory:/\n", **limit})
    assert this_machine(root=root, run=FakeTools(), system="linux").memory_limit == 0


def test_a_raspberry_pi_is_known(tmp_path: Path) -> None:
    cpuinfo = "processor : 0\nCPU part : 0xd0b\nFeatures : fp asimd evtstrm asimddp\n"
    model = {"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.1\0"}
    root = lay_out(tmp_path, {"proc/meminfo": MEMINFO, "proc/cpuinfo": cpuinfo, **model})
    found = this_machine(root=root, run=FakeTools(), system="linux")
    assert found.board == "Raspberry Pi 5 Model B Rev 1.1"
    assert found.bandwidth == 12e9
    assert found.sources["bandwidth"] == "assumed for the board"
    assert found.instructions == ("asimd", "asimddp")


def test_nvidia_gpus_and_one_that_shares_the_memory(tmp_path: Path) -> None:
    root = lay_out(tmp_path, {"proc/meminfo": MEMINFO})
    said = "NVIDIA GeForce RTX 4070 Ti SUPER, 16376, 15000\nNVIDIA Unheard-of, 8192, 8000\ngarbage\n"
    found = this_machine(root=root, run=FakeTools({"nvidia-smi": said}), system="linux")
    first, second = found.gpus
    assert (first.memory_total, first.memory_free) == (16376 << 20, 15000 << 20)
    assert first.bandwidth == 672e9
    assert second.source == "assumed"
    assert not found.unified
    orin = this_machine(root=root, run=FakeTools({"nvidia-smi": "Orin (nvgpu), [N/A], [N/A]\n"}), system="linux")
    assert orin.unified
    assert orin.gpus[0].memory_total == orin.memory_total


def test_gpus_of_amd_and_intel_from_the_kernel(tmp_path: Path) -> None:
    drm = "sys/class/drm"
    root = lay_out(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            f"{drm}/card0/device/vendor": "0x1002\n",
            f"{drm}/card0/device/mem_info_vram_total": f"{24 * GIB}\n",
            f"{drm}/card0/device/mem_info_vram_used": f"{GIB}\n",
            f"{drm}/card0-DP-1/status": "connected\n",
            f"{drm}/card1/device/vendor": "0x1002\n",
            f"{drm}/card1/device/mem_info_vram_total": f"{512 << 20}\n",
            f"{drm}/card2/device/vendor": "0x8086\n",
            f"{drm}/card2/device/tile0/physical_vram_size_bytes": "0x400000000\n",
            f"{drm}/card3/device/vendor": "0x8086\n",
        },
    )
    names = "GPU[0]\t\t: Card Series: \t\tAMD Radeon RX 7900 XTX\n"
    found = this_machine(root=root, run=FakeTools({"rocm-smi": names}), system="linux")
    assert [device.kind for device in found.gpus] == ["rocm", "intel"]  # no part of a processor
    assert found.gpus[0].name == "AMD Radeon RX 7900 XTX"
    assert found.gpus[0].memory_free == 23 * GIB
    assert found.gpus[0].bandwidth == 960e9
    assert found.gpus[1].memory_total == 16 * GIB


def test_apple_silicon() -> None:
    said = {
        "sysctl -n hw.memsize": str(32 * GIB),
        "sysctl -n hw.pagesize": "16384",
        "sysctl -n hw.perflevel0.physicalcpu": "8",
        "sysctl -n machdep.cpu.brand_string": "Apple M2 Pro",
        "sysctl -n hw.optional.arm.FEAT_DotProd": "1",
        "vm_stat": "Mach Virtual Memory Statistics:\nPages free: 100000.\nPages inactive: 500000.\n",
    }
    found = this_machine(run=FakeTools(said), system="darwin")
    assert found.unified
    assert found.memory_available == 600000 * 16384
    assert found.gpus[0].memory_total == 32 * GIB * 2 // 3
    assert (found.bandwidth, found.gpus[0].bandwidth) == (200e9, 200e9)
    assert found.cores == 8
    assert found.instructions == ("asimddp",)
    wired = this_machine(run=FakeTools({"sysctl -n iogpu.wired_limit_mb": "28672", **said}), system="darwin")
    assert wired.gpus[0].memory_total == 28 * GIB


def test_what_a_binary_lists() -> None:
    listing = (
        "Available devices:\n  CUDA0: NVIDIA GeForce RTX 3090 (24260 MiB, 23000 MiB free)\n"
        "  Vulkan1: AMD Radeon (RADV) (8192 MiB, 8000 MiB free)\n  BLAS: Accelerate (0 MiB, 0 MiB free)\n"
    )
    first, second = gpus_of_binary(listing)
    assert (first.kind, first.memory_free, first.bandwidth) == ("cuda", 23000 << 20, 936e9)
    assert (second.name, second.kind) == ("AMD Radeon (RADV)", "other")
    assert gpus_of_binary("Available devices:\n  (none)\n") == ()


def test_the_longest_name_decides() -> None:
    assert gpu("NVIDIA GeForce RTX 4070 Laptop GPU", 1, 1, "cuda").bandwidth == 504e9
    assert gpu("NVIDIA GeForce RTX 4070 Ti SUPER", 1, 1, "cuda").bandwidth == 672e9
    assert gpu("Apple M3 Max", 1, 1, "metal").bandwidth == 400e9


def test_a_system_that_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(MachineError) as caught:
        this_machine(root=tmp_path, run=FakeTools(), system="linux")
    assert caught.value.code == "machine_unknown"


def test_a_measurement_is_bounded_and_remembered(tmp_path: Path) -> None:
    begun = time.monotonic()
    found = measure(2, 1 << 30, seconds=0.3)
    assert time.monotonic() - begun < 5
    assert found.bandwidth > 1e8
    assert found.compute > 1e7
    remember(tmp_path, "a|b", found)
    assert remembered(tmp_path, "a|b") == found
    assert remembered(tmp_path, "another") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"v": 1}', '{"v": 1, "identity": "x", "bandwidth": 0, "compute": 1}'])
def test_a_spoilt_memory_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "machine.json").write_text(text)
    assert remembered(tmp_path, "x") is None


def test_a_state_directory_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    remember(tmp_path / "file" / "state", "x", Measured(1.0, 1.0))
    assert remembered(tmp_path / "file" / "state", "x") is None


def test_this_machine(tmp_path: Path) -> None:
    found = this_machine(state_dir=tmp_path)
    assert 0 < found.memory_available <= found.memory_total
    assert found.cores >= 1
    assert found.cores <= (os.cpu_count() or 1)
    assert json.loads(json.dumps(found.as_json()))["sources"]["bandwidth"].startswith(("assumed", "measured"))
    assert not list(tmp_path.iterdir())  # nothing is measured unasked
    row = checks()[0]
    assert (row.name, row.ok, row.remedy) == ("machine", True, "")


def test_the_profiles_are_twelve() -> None:
    assert len(profiles()) == 12
    assert profiles()["mac-32gb"].unified
    assert profiles()["gpu24-ram64"].gpus[0].bandwidth == 936e9
    assert not profiles()["vps-4gb"].gpus


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    text = (
        "memory_gib = 128\ncores = 16\nbandwidth_gb_per_s = 80\ncompute_gflops = 900\n"
        'gpu = [{ name = "Mystery", memory_gib = 48, gb_per_s = 700, tflops = 90 }]\n'
    )
    (tmp_path / "mine.toml").write_text(text)
    found = find_profile(str(tmp_path / "mine.toml"))
    assert found.memory_total == 128 * GIB
    assert (found.gpus[0].bandwidth, found.gpus[0].source) == (700e9, "given")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("memory_gib = ", "Invalid value"),
        ("memory_gib = 1", "cores"),
        ("memory_gib = true", "memory_gib"),
        ("memory_gib = 8\ncores = 4\nbandwidth_gb_per_s = 9\ncompute_gflops = 9\nspeed = 1", "no field 'speed'"),
        ("memory_gib = 8\ncores = 4\nbandwidth_gb_per_s = 9\ncompute_gflops = 9\ngpu = [1]", "gpu"),
        ("memory_gib = 8\ncores = 4\nbandwidth_gb_per_s = 9\ncompute_gflops = 9\nboard = 5", "board"),
        (
            "memory_gib = 8\ncores = 4\nbandwidth_gb_per_s = 9\ncompute_gflops = 9\ninstructions = 'avx2'",
            "instructions",
        ),
    ],
)
def test_a_faulty_profile_names_its_field(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_profile(text, "mine.toml")
    assert caught.value.code == "bad_profile"
    assert words in caught.value.message


def test_an_unknown_profile_says_which_there_are() -> None:
    with pytest.raises(InputError) as caught:
        find_profile("gameboy")
    assert caught.value.code == "no_profile"
    assert "pi5-8gb" in caught.value.remedy
