"""`tinsmith models list`, `show`, `compare`: what they print, their JSON, and the page that repeats them."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tinsmith.cli.main import cli
from tinsmith.models import claims, claims_about, comparison_markdown, entries
from tinsmith.models.random_weights import Shape, write_random

ARTICLE = ("devstral-small-2-24b", "qwen3-coder-30b-a3b")
PAGE = Path(__file__).parent.parent / "docs/models.md"


def models(*arguments: str, state: Path | None = None) -> Result:
    return CliRunner().invoke(
        cli, ["models", *arguments], env={"COLUMNS": "80", **({"TINSMITH_STATE_DIR": str(state)} if state else {})}
    )


def answer(*arguments: str) -> dict[str, Any]:
    result = models(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout.splitlines()[-1])


def test_list() -> None:
    rows = answer("list")["rows"]
    assert [row["id"] for row in rows] == list(entries())
    coder = next(row for row in rows if row["id"] == "qwen3-coder-30b-a3b")
    assert (coder["kv_bytes_per_token"], coder["usual_quant"], coder["usual_bytes"]) == (
        98_304,
        "Q4_K_M",
        18_556_689_568,
    )
    assert all(id in models("list").output for id in entries())


def test_show_has_the_numbers_that_programs_ask_for() -> None:
    devstral, coder = (answer("show", name) for name in ARTICLE)
    assert (devstral["context_length"], devstral["context_length_header"]) == (262_144, 393_216)
    assert (devstral["kv_bytes_per_token"], coder["kv_bytes_per_token"]) == (163_840, 98_304)
    assert devstral["quants"]["Q4_K_M"]["bytes"] == 14_334_438_272
    assert coder["quants"]["Q6_K"]["bytes"] == 25_092_535_456 and coder["quants"]["Q6_K"]["sha256"]
    assert coder["parameters"] == 30_532_122_624
    assert (devstral["sampling"]["temperature"], devstral["sampling"]["by"]) == (0.15, "third party")
    assert {trap["id"] for trap in devstral["traps"]} >= {"yarn-conversion", "header-context", "ollama-tag"}
    assert {claim["id"] for claim in devstral["claims"]} >= {"46.8-is-2505", "q4-halves-to-8-gb"}
    assert devstral["scores"][0] == {
        "benchmark": "SWE-bench Verified",
        "value": 68.0,
        "scaffold": "not stated",
        "by": "vendor",
        "date": "2025-12-09",
        "source": "model card",
    }


@pytest.mark.parametrize("id", entries())
def test_show_works_in_80_columns(id: str) -> None:
    result = models("show", id)
    assert result.exit_code == 0 and entries()[id].name in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    assert json.loads(models("show", id, "--json").stdout)["id"] == id


def test_compare_sets_them_beside_each_other_with_what_is_wrongly_said() -> None:
    found = models("compare", *ARTICLE)
    assert found.exit_code == 0 and max(map(len, found.output.splitlines())) <= 80
    plain = " ".join(found.output.split())
    for words in ("160 KiB [C]", "96 KiB [C]", "14.33 GB Q4_K_M [3P]", "50.3 [3P, OpenHands 0.54]", "WRONG MODEL"):
        assert words in plain
    told = answer("compare", *ARTICLE)
    assert [row["id"] for row in told["rows"]] == list(ARTICLE)
    assert len(told["claims"]) == len(claims_about(*ARTICLE))
    # 24 GiB at the native 256K, and all of the experts in memory.
    coder = told["rows"][1]
    assert coder["kv_bytes"]["262144"] == 24 * 2**30 and 18.6e9 < coder["memory_bytes"]["16384"] < 21e9


def test_compare_of_many_is_several_tables() -> None:
    result = models("compare", *entries())
    assert result.exit_code == 0 and max(map(len, result.output.splitlines())) <= 80
    assert result.output.count("Licence ") == -(-len(entries()) // 3)


@pytest.mark.parametrize("arguments", [("show", "qwen3-coder-31b"), ("compare", ARTICLE[0], "qwen3-coder-31b")])
def test_an_unknown_model_exits_2_with_names_like_it(arguments: tuple[str, ...], tmp_path: Path) -> None:
    result = models(*arguments, "--json", state=tmp_path)
    error = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["code"]) == (2, "model_unknown")
    assert "qwen3-coder-30b-a3b" in error["remedy"]


def test_show_reads_the_header_of_a_file(tmp_path: Path) -> None:
    name = "Devstral-Small-2-24B-Instruct-2512"
    shape = Shape(layers=3, d_model=64, heads=4, kv_heads=2, head_dim=32, ffn=64, context=393_216)
    path = write_random(tmp_path / "model.gguf", shape=shape, name=name)
    told = answer("show", str(path))
    assert (told["id"], told["name"], told["architecture"]) == ("devstral-small-2-24b", name, "qwen3")
    assert (told["context_length"], told["context_length_header"]) == (262_144, 393_216)
    assert told["kv_bytes_per_token"] == 3 * 2 * 64 * 2 and told["bytes"] == path.stat().st_size
    assert told["weights"]["total"] < told["bytes"] < told["memory_bytes"]["16384"]
    text = models("show", str(path)).output
    assert "the vendor promises 262,144" in text and "apply_scale" in text


def test_show_of_a_broken_file_exits_2(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF\x03\x00\x00\x00")
    result = models("show", str(broken), "--json")
    assert (result.exit_code, json.loads(result.stdout)["error"]["code"]) == (2, "model_unreadable")


def test_the_page_repeats_what_the_command_says() -> None:
    page = PAGE.read_text()
    assert comparison_markdown([entries()[id] for id in ARTICLE]) in page
    assert set(claims()) == set(claims_about(*ARTICLE)), "the page has them all"
    assert models("compare", *ARTICLE, "--markdown").stdout.strip() in page
