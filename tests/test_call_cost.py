"""The bench of a call's cost, on a small model: that it counts what it says."""

from collections.abc import Iterator

import pytest

from tinsmith.evals.call_cost import (
    BOUNDED,
    REALISTIC,
    VOCABULARY,
    Bench,
    BenchTools,
    Cost,
    SteeredEngine,
    cpu_seconds,
    large_vocabulary,
    paths_of,
    summary,
    table,
)
from tinsmith.models import find_model
from tinsmith.models.random_weights import write_random
from tinsmith.tools import TOOLS


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SteeredEngine]:
    path = write_random(tmp_path_factory.mktemp("model") / "random.gguf", scale=0.15)
    with SteeredEngine(path, 16_384) as engine:
        yield engine


def test_a_call_is_measured(engine: SteeredEngine) -> None:
    bench, tools = Bench(engine), BenchTools(paths_of(50), REALISTIC)
    for spec in TOOLS:
        cost = bench.call(spec.name, tools, 3)
        assert cost.tool == spec.name
        free = sum(length for name, length in REALISTIC.items() if name in {p.name for p in spec.parameters})
        assert free - 4 < cost.sampled < cost.ids  # a last character may be cut
        assert min(cost.seconds, cost.free_seconds) > 0
    assert cpu_seconds(engine.pid) > 0
    assert engine.choose([65], [66, 67]).id in (66, 67)


def test_the_vocabulary_cuts_text_as_solders_does() -> None:
    tokens = large_vocabulary()
    assert len(tokens.texts) == len(set(tokens.texts)) == VOCABULARY
    assert find_model("solder").path.exists() and set(tokens.control) | set(tokens.delimiters) <= set(tokens.texts)
    made = {"".join(merge.split(" ")) for merge in tokens.merges}
    assert made.isdisjoint(tokens.texts[5000:])  # no text is cut into a token that was added


def test_the_summary_is_of_all_calls() -> None:
    costs = {"x": [Cost("run", 30, 10, 1.0, 2.0, 3.0, 4.0), Cost("run", 30, 10, 3.0, 4.0, 1.0, 4.0)]}
    found = summary(costs, {"first": 2.0, "later": 0.01})
    assert found == {
        "calls": {"x": 2},
        "ratio": {"x": 0.625},
        "cpu_ratio": {"x": 0.5},
        "paths_ready": {"first": 2.0, "later": 0.01},
    }
    assert "| x | run | 30 | 10 | 2000 | 3000 | 0.62 | 2000 | 4000 |" in table(costs)
    assert set(BOUNDED) == set(REALISTIC)
