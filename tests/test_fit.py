"""Fit and recommend: ranked by what is known, refused with the arithmetic, the docs' tables as the code makes them."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tinsmith.cli.models import models as command
from tinsmith.models import Machine, candidates, entries, find_entry, gives_way, profiles, recommend
from tinsmith.models.catalogue_entry import Use
from tinsmith.models.fit_table import error_table, measurements, written
from tinsmith.models.fit_weights import loss_of, quants_of
from tinsmith.models.plan_memory import capacity
from tinsmith.models.random_weights import write_random
from tinsmith.models.recommendation import FREE_LICENCES, compare_scores

DOCS = Path(__file__).parent.parent / "docs" / "fit.md"
USES: tuple[Use, ...] = ("local", "edge", "issues", "cli", "private", "long-context")


def run(*arguments: str, state: Path | None = None) -> tuple[int, str]:
    environment = {"TINSMITH_STATE_DIR": str(state)} if state else {}
    done = CliRunner().invoke(command, list(arguments), env=environment)
    return done.exit_code, done.output


def answer(*arguments: str) -> Any:
    code, output = run(*arguments, "--json")
    assert code == 0, output
    return json.loads(output.strip().splitlines()[-1])


def test_the_docs_have_the_tables_that_the_code_makes() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert written(text) == text, "make them again: python -m tinsmith.models.fit_table docs/fit.md"


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("name", list(profiles()))
def test_what_is_recommended_keeps_to_the_rules(name: str, use: Use) -> None:
    host = profiles()[name]
    found = recommend(entries().values(), host, use)
    if found.pick is None:
        assert "Solder, works here" in found.instead
        assert "a machine with" in found.instead
        return
    pick, made = found.pick, found.pick.plan
    assert made is not None
    assert made.ram.total <= capacity(host).ram
    assert made.vram.total <= capacity(host).vram
    assert pick.loss < 4
    assert made.speed.decode >= 2
    assert made.context >= (65_536 if use == "long-context" else 16_384)
    assert not pick.entry.is_built_in
    assert found.runner_up is None or found.runner_up.entry.id != pick.entry.id
    assert found.reasons[0].startswith("it fits")
    if use == "private":
        assert pick.entry.licence in FREE_LICENCES
    assert json.dumps(found.as_json())


@pytest.mark.parametrize("name", ["pi5-8gb", "vps-4gb"])
def test_where_nothing_fits_it_says_what_would(name: str) -> None:
    found = recommend(entries().values(), profiles()[name], "local")
    assert found.pick is None
    assert "The least that is sensible is Qwen3-Coder 30B-A3B" in found.instead
    code, output = run("recommend", "--machine", name)
    assert code == 3
    assert "Solder" in output


def test_a_dense_model_on_a_pi_is_refused_with_the_arithmetic() -> None:
    host = profiles()["pi5-16gb"]
    rows = [row for row in candidates([find_entry("devstral-small-2-24b")], host) if row.loss < 4]
    assert rows
    assert all(row.refused for row in rows)
    fitting = [row.refused for row in rows if row.plan is not None]
    assert "it reads 7.7 GB a token, and the memory gives 7.8 GB/s: the ceiling is 1.0 tokens/s" in fitting
    found = recommend(entries().values(), host, "edge")
    assert found.pick is not None
    assert found.pick.entry.id == "qwen3-coder-30b-a3b"
    assert 2.6 < found.pick.quant.bits < 3.1
    assert any("passed over: Devstral Small 2 24B" in reason for reason in found.reasons)


def test_bits_below_what_was_measured_are_refused() -> None:
    devstral, coder = find_entry("devstral-small-2-24b"), find_entry("qwen3-coder-30b-a3b")
    quants = {quant.name: quant for quant in quants_of(devstral)}
    assert loss_of(devstral, quants["Q2_K"])[0] == 4
    learned = quants["IQ3_S-2.67bpw"]
    assert loss_of(devstral, learned)[0] == 3
    assert loss_of(devstral, replace(learned, bytes=int(2.39 * learned.weights.parameters / 8)))[0] == 4
    levels = {quant.name: loss_of(coder, quant)[0] for quant in quants_of(coder)}
    assert (levels["Q4_K_M"], levels["IQ4_XS"], levels["Q3_K_M"], levels["Q2_K"]) == (0, 1, 2, 4)
    assert levels["Q3_K_S-2.69bpw"] == 3


def test_only_results_of_one_kind_are_compared() -> None:
    coder, thinker = find_entry("qwen3-coder-30b-a3b"), find_entry("qwen3.6-35b-a3b")
    gap, words = compare_scores(thinker, coder)
    assert gap == pytest.approx(64.4 - 31.8)  # one table of one third party, not the vendor's 73.4 against it
    assert "third party" in words
    assert compare_scores(coder, thinker)[0] == -gap
    devstral = find_entry("devstral-small-2-24b")
    assert compare_scores(devstral, coder) == (0.0, "no result of one kind compares them")
    assert compare_scores(thinker, devstral)[0] == pytest.approx((73.4 - 68.0), abs=0.01)


def test_sizes_are_the_published_ones_where_they_are_known() -> None:
    coder = {quant.name: quant for quant in quants_of(find_entry("qwen3-coder-30b-a3b"))}
    assert coder["Q4_K_M"].bytes == 18_556_689_568
    assert coder["Q4_K_M"].exact
    assert coder["Q4_K_M"].weights.total == pytest.approx(18_556_689_568, rel=0.002)
    assert coder["Q3_K_S-2.69bpw"].weights.total == 10_300_000_000 or coder["Q3_K_S-2.69bpw"].weights.total == (
        pytest.approx(10.3e9, rel=0.001)
    )


def test_every_model_of_a_known_shape_has_quants() -> None:
    for entry in entries().values():
        assert bool(quants_of(entry)) == (entry.geometry is not None), entry.id


def test_predictions_stand_beside_measurements() -> None:
    rows = list(error_table())[2:]
    assert len(rows) == len(measurements()) == 7
    assert sum("within" in row for row in rows) >= 4
    assert "+" in rows[-1].split("|")[5]  # the one that nothing predicts is shown too


def test_more_memory_is_never_slower() -> None:
    entry = find_entry("qwen3-coder-30b-a3b")
    host = profiles()["gpu8-ram32"]
    minutes: list[float] = []
    for gib in (8, 12, 16, 24, 32):
        gpus = tuple(replace(device, memory_total=gib << 30, memory_free=gib << 30) for device in host.gpus)
        row = next(row for row in candidates([entry], host.with_gpus(gpus)) if row.quant.name == "Q4_K_M")
        minutes.append(row.minutes)
    assert minutes == sorted(minutes, reverse=True)


def test_what_gives_way_is_said_in_order() -> None:
    rows = candidates([find_entry("qwen3-coder-30b-a3b")], profiles()["gpu24-ram64"])
    row = next(row for row in rows if row.quant.name == "Q4_K_M")
    said = gives_way(row)
    starts = ["the cache of other", "the cache to q8_0: 1.4 GiB", "the window to 16384", "experts from", "the quant to"]
    assert [text.startswith(start) for text, start in zip(said, starts, strict=True)] == [True] * 5


def test_fit_of_one_model() -> None:
    found = answer("fit", "qwen3-coder-30b-a3b", "--machine", "gpu12-ram64")
    row = next(row for row in found["rows"] if row["quant"] == "Q4_K_M")
    assert row["fits"]
    assert row["plan"]["place"] == "experts"
    assert row["plan"]["vram_bytes"] < 12 << 30
    assert not row["refused"]
    assert found["machine"]["gpus"][0]["name"] == "RTX 3060"
    code, text = run("fit", "qwen3-coder-30b-a3b", "--machine", "gpu12-ram64")
    assert code == 0
    assert max(map(len, text.splitlines())) <= 80
    assert "What gives way first" in text


def test_fit_of_the_whole_catalogue_shows_each_model_once() -> None:
    code, text = run("fit", "--machine", "laptop-32gb", "--context", "65536")
    assert code == 0
    assert text.count("qwen3.6-27b") == 1
    rows = answer("fit", "--machine", "laptop-32gb", "--context", "65536")["rows"]
    assert {row["plan"]["context"] for row in rows if row["plan"]} == {65536}


def test_fit_of_a_file(tmp_path: Path) -> None:
    path = write_random(tmp_path / "mine.gguf")
    (row,) = answer("fit", str(path), "--machine", "vps-4gb")["rows"]
    assert row["model"] == "mine.gguf"
    assert row["bytes"] == path.stat().st_size
    assert row["fits"]


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("fit", "no-such-model", "--machine", "vps-4gb"), 2, "model_unknown"),
        (("fit", "--machine", "no-such-machine"), 2, "no_profile"),
        (("fit", "devstral-small-2505", "--context", "200000", "--machine", "vps-4gb"), 2, "context_too_long"),
        (("fit", "muse-glimmer-30b", "--machine", "vps-4gb"), 2, "shape_unknown"),
        (("recommend", "--machine", "vps-4gb"), 3, "nothing_fits"),
    ],
)
def test_errors_have_their_code(arguments: tuple[str, ...], code: int, error: str) -> None:
    status, output = run(*arguments, "--json")
    assert status == code
    found = next(json.loads(line) for line in output.splitlines() if line.startswith("{"))
    assert found["error"]["code"] == error
    assert found["error"]["remedy"]


def test_this_machine_unmeasured(tmp_path: Path) -> None:
    code, output = run("fit", "qwen3-coder-30b-a3b", "--no-measure", "--json", state=tmp_path)
    assert code == 0
    assert json.loads(output)["machine"]["sources"]["bandwidth"].startswith("assumed")
    assert not list(tmp_path.iterdir())


def test_recommend_reads_well() -> None:
    code, text = run("recommend", "--machine", "gpu24-ram64", "--for", "issues")
    assert code == 0
    assert text.splitlines()[0].startswith("Qwen3.6 27B, Q4_K_M")
    assert "Runner-up: " in text
    assert "tinsmith models pull qwen3.6-27b --quant Q4_K_M" in " ".join(text.split())
    assert "(vendor" in text


def test_models_beyond_our_dialects_stand_back() -> None:
    only = [entry for entry in entries().values() if entry.dialect == "template" and entry.geometry is not None]
    assert only
    found = recommend([*only, find_entry("qwen3-coder-30b-a3b")], profiles()["gpu24-ram64"], "local")
    assert found.pick is not None
    assert found.pick.entry.id == "qwen3-coder-30b-a3b"
    assert "no dialect of its own here" in found.trade


def test_a_machine_with_nothing_measured_is_still_planned() -> None:
    host = Machine("bare", 32 << 30, 32 << 30, 4, 40e9, 160e9)
    assert recommend(entries().values(), host, "local").pick is not None


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; import tinsmith.cli.main; sys.exit('numpy' in sys.modules or 'tinsmith.models' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
