"""Whole runs outside Python: the toolchain's recipe says how tests run, the runner what became of each."""

from pathlib import Path

import pytest
from tests.fake_engine import FakeEngines
from tests.shop import git, request
from tests.test_runners import node_reports_junit

from tinsmith.dialects import Call
from tinsmith.events import RunStore
from tinsmith.models.random_weights import Shape, write_random
from tinsmith.resolve import resolve

SHOP = """\
function discount(count, price) {
  const total = count * price;
  return count > 10 ? total - total / 10 : total;
}
module.exports = { discount };
"""
TESTS = """\
const { test } = require('node:test');
const assert = require('node:assert');
const { discount } = require('./shop.js');
test('ten get the discount', () => assert.strictEqual(discount(10, 10), 90));
test('nine do not', () => assert.strictEqual(discount(9, 10), 90));
"""
SCRIPT = [
    Call("read", {"path": "shop.js", "start": "1", "end": "5"}),
    Call("edit", {"path": "shop.js", "start": "3", "end": "3", "new": "  return count >= 10 ? total * 0.9 : total;"}),
    Call("finish", {"summary": "ten get the discount too"}),
]


def write_package(place: Path, tests: str) -> Path:
    repo = place / "shop"
    repo.mkdir()
    (repo / "package.json").write_text('{"name": "shop", "scripts": {"test": "node --test"}}')
    (repo / "shop.js").write_text(SHOP)
    (repo / "shop.test.js").write_text(tests)
    git(repo, "init", "--quiet")
    git(repo, "add", "--all")
    git(repo, "commit", "--quiet", "-m", "start")
    return repo


@pytest.mark.skipif(not node_reports_junit(), reason="there is no Node 20 or later below /usr")
@pytest.mark.parametrize(
    ("tests", "status"), [(TESTS, "resolved"), (TESTS.replace("(10, 10)", "(11, 10) - 9"), "unverified")]
)
def test_a_bug_in_javascript(tests: str, status: str, tmp_path: Path) -> None:
    model = write_random(
        tmp_path / "model.gguf", shape=Shape(layers=1, d_model=32, heads=2, kv_heads=1, head_dim=16, ffn=32)
    )
    lines: list[str] = []
    asked = request(write_package(tmp_path, tests), tmp_path, model=str(model))
    result = resolve(asked, lines.append, open_engine=FakeEngines(SCRIPT))
    events = RunStore(tmp_path / "state").open(result.run).events()
    assert [event["tool"] for event in events if event["type"] == "turn"] == ["read", "edit", "finish"]
    assert result.status == status, (result.reason, lines)
    assert result.patch is not None and "+  return count >= 10" in result.patch.read_text()
    if status == "resolved":
        assert list(result.evidence.after.values()) == ["passed"] and result.evidence.still_passing == 1
    else:
        assert "the tests are not Python's, so none is written" in lines
