"""`resolve --model` with a catalogue id: without its file it says what to get; with it, it starts as planned."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.geometry_models import write_geometry
from tests.shop import ISSUE, make_shop, request
from tests.wheel_as_server import write_binary

from tinsmith.engines import EngineChoice
from tinsmith.events import RunStore
from tinsmith.models import Store
from tinsmith.models.foreign_import import import_model
from tinsmith.models.geometry import Geometry, LayerCache
from tinsmith.resolve import resolve

NAME = "qwen3-coder-30b-a3b"
EXPERTS = Geometry("qwen3moe", (LayerCache("full", 64, 64),) * 2, 64, 4, 32, 512, 64, 8, 2, context=262144)
"""The architecture of Qwen3-Coder-30B-A3B, small."""


def test_without_its_file_it_says_what_to_pull_its_size_and_whether_it_fits(tmp_path: Path) -> None:
    environment = {**os.environ, "TINSMITH_STATE_DIR": str(tmp_path / "state"), "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "tinsmith.cli", "resolve", "--repo", str(make_shop(tmp_path)), "--model", NAME]
    done = subprocess.run([*command, "--issue-text", ISSUE, "--json"], env=environment, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    error = json.loads(done.stdout.splitlines()[-1])["error"]
    assert error["code"] == "model_missing"
    assert f"tinsmith models pull {NAME}" in error["remedy"] and " GB" in error["remedy"]
    assert "fits here" in error["remedy"] or f"tinsmith models fit {NAME}" in error["remedy"]


@pytest.mark.parametrize("kind", ["wheel", "binary"])
def test_with_an_imported_file_of_that_architecture_it_starts_as_planned(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINSMITH_STATE_DIR", str(tmp_path / "state"))
    path = write_geometry(tmp_path / "q.gguf", EXPERTS, name="Qwen3-Coder-30B-A3B-Instruct", scale=0.15)
    stored = import_model(Store(tmp_path / "state"), str(path))
    assert stored.id == NAME and stored.in_place
    lines: list[str] = []
    asked = request(make_shop(tmp_path), tmp_path, model=NAME)
    binary = write_binary(tmp_path)
    choice = EngineChoice("none" if kind == "wheel" else str(binary))
    result = resolve(replace(asked, limits=replace(asked.limits, turns=1)), lines.append, choice=choice)
    assert result.error is None and result.usage["turns"] == 1, (result.reason, lines)
    events = RunStore(tmp_path / "state").open(result.run).events()
    (engine,) = [event for event in events if event["type"] == "engine"]
    assert engine["card"] == NAME and engine["dialect"] == "qwen-xml" and engine["model"] == str(path)
    assert engine["plan"]["context"] == engine["context_window"] == 32768
    assert [line for line in lines if line.startswith("the plan: ")]
