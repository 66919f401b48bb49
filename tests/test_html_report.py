"""The report: a whole page for any log, everything escaped, readable without script, network, colour or eyes."""

import json
import re
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinsmith.codebase import Suspect
from tinsmith.events import RunLog, RunStore
from tinsmith.resolve.diff_view import MAX_LINES, file_diffs
from tinsmith.resolve.gate import Evidence
from tinsmith.resolve.html_report import write_html
from tinsmith.resolve.report import Facts, pull_request

VOID = {"meta", "link", "br", "hr", "img", "input"}
SECRET = "ghp_" + "9fQ2xL7bT4vZ8kR1mN6wY3cH5jD0sG2pA9eU"

PATCH = """\
diff --git a/shop.py b/shop.py
index ca760aa6379385c8dd4eb170405037cdb20c8337..88ef1c6afe23ea93059784638383934d76dad55c 100644
--- a/shop.py
+++ b/shop.py
@@ -4,5 +4,6 @@ import decimal
 def discount(count, price):
     total = count * price
-    if count > 10:
+    if count >= 10:
+        # <b>&amp;
         total = total - total // 10
     return total
diff --git a/tests/test new.py b/tests/test new.py
new file mode 100755
index 0000000000000000000000000000000000000000..88ef1c6afe23ea93059784638383934d76dad55c
--- /dev/null
+++ b/tests/test new.py\t
@@ -0,0 +1,2 @@
+--- a/looks like a header
+++ b/so does this
\\ No newline at end of file
"""

TEST = "tests/test_shop.py::test_ten"
EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("issue", {"text": "# No discount for ten\n\nIt should be 90."}),
    (
        "base",
        {
            "passing": ["tests/test_shop.py::test_nine", "tests/test_shop.py::test_many"],
            "reproduction": [
                {"nodeid": TEST, "outcome": "failed", "exception": "AssertionError", "message": "assert 100 == 90"}
            ],
            "runs": 2,
            "seconds": 0.4,
        },
    ),
    (
        "suspects",
        {
            "rows": [
                {"path": "shop.py", "name": "label", "first": 20, "last": 22, "reasons": ["named in the issue"]},
                {"path": "shop.py", "name": "discount", "first": 4, "last": 8, "reasons": ["raised", "executed"]},
            ]
        },
    ),
    ("engine", {"model": "/m.gguf", "context_window": 16384}),
    ("tokens", {"branch": 0, "at": 0, "kind": "user", "ids": [4711, 4712]}),
    ("call", {"tool": "edit", "arguments": {"path": "shop.py", "start": "6", "new": "    if count >= 10:"}}),
    ("test_run", {"selected": [TEST], "outcomes": {TEST: "passed"}, "timed_out": False}),
    (
        "turn",
        {
            "number": 1,
            "attempt": 1,
            "branch": 0,
            "tool": "edit",
            "observation": "The reproduction passes.",
            "kind": "done",
            "accepted": True,
            "usage": {"prefilled": 900, "reused": 100, "decoded": 40},
            "seconds": {"prefill": 0.9, "decode": 0.3, "tool": 0.01, "test": 0.6},
        },
    ),
    ("forgot", {"branch": 1, "at": 300, "dropped": 5120, "record": {}}),
    ("engine_restarted", {"reason": "it was killed", "restarts": 1}),
    ("run_resumed", {"turns": 1}),
    ("call", {"tool": "finish", "arguments": {"summary": "Ten counts."}}),
    ("test_run", {"selected": None, "outcomes": {TEST: "passed", "t::nine": "passed"}, "timed_out": False}),
    (
        "turn",
        {
            "number": 2,
            "attempt": 2,
            "tool": "finish",
            "observation": "Accepted",
            "kind": "done",
            "accepted": True,
            "usage": {"prefilled": 100, "reused": 1900, "decoded": 60},
            "seconds": {"prefill": 0.1, "decode": 0.2, "tool": 0.0, "test": 1.1},
        },
    ),
    ("attempt", {"number": 1, "accepted": False, "reason": "the limit of 3 turns", "changed_lines": 9, "turns": 3}),
    ("attempt", {"number": 2, "accepted": True, "findings": 1, "changed_lines": 2, "turns": 2, "test_runs": 4}),
    (
        "evidence",
        {
            "evidence": {
                "reproduction": [TEST],
                "before": {TEST: "failed"},
                "after": {TEST: "passed"},
                "still_passing": 2,
                "broken": [],
                "flaky": ["tests/test_shop.py::test_clock"],
                "control": True,
                "findings": [{"rule": "literal", "path": "shop.py", "line": 6, "text": "compares with 10"}],
            }
        },
    ),
    ("reproduction_written", {"path": "tests/test_repro.py", "text": "def test_x():\n    assert f(10) == 90\n"}),
    (
        "result",
        {
            "status": "resolved",
            "reason": "the reproduction flips",
            "branch": "tinsmith/no-discount",
            "summary": "Ten counts as many.",
            "usage": {
                "turns": 2,
                "test_runs": 4,
                "prefilled_tokens": 1000,
                "reused_tokens": 2000,
                "decoded_tokens": 100,
            },
        },
    ),
]


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "state")


def log_of(store: RunStore, events: list[tuple[str, dict[str, Any]]]) -> RunLog:
    with store.create(repo=Path("/home/me/shop"), model="solder") as log:
        for kind, data in events:
            log.append(kind, **data)
    return log


class Page(HTMLParser):
    """Checks what a validator and a screen reader need while it reads."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[tuple[str, Mapping[str, str | None]]] = []
        self.tags: list[tuple[str, Mapping[str, str | None]]] = []
        self.ids: list[str] = []
        self.headings: list[int] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert len(given) == len(attrs), f"an attribute twice: {tag} {attrs}"
        self.tags.append((tag, given))
        if "id" in given:
            self.ids.append(str(given["id"]))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append((tag, given))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1][0] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if not any(tag == "style" for tag, _ in self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        """All words, blanks made one."""
        return " ".join(" ".join(self.words).split())

    def of(self, tag: str) -> list[Mapping[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def checked(page: str) -> Page:
    page.encode("utf-8")
    assert page.startswith("<!doctype html>\n")
    parsed = Page(page)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert parsed.of("html")[0]["lang"] == "en" and len(parsed.of("title")) == 1
    for landmark in ("header", "nav", "main", "footer"):
        assert len(parsed.of(landmark)) == 1
    assert parsed.headings[0] == 1 and parsed.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(parsed.headings, parsed.headings[1:], strict=False))
    for tag in ("svg", "img"):
        for attributes in parsed.of(tag):
            assert attributes.get("role") == "img" and attributes.get("aria-label")
    assert len(parsed.of("caption")) == len(parsed.of("table"))
    assert all(attributes.get("scope") in ("col", "row") for attributes in parsed.of("th"))
    for attributes in parsed.of("section"):
        assert attributes["aria-labelledby"] in parsed.ids
    targets = [str(attributes["href"]) for attributes in parsed.of("a")]
    assert "#content" in targets and all(target[:1] == "#" and target[1:] in parsed.ids for target in targets)
    # Nothing that runs, nothing that loads.
    names = {tag for tag, _ in parsed.tags}
    assert names.isdisjoint({"script", "iframe", "object", "embed", "link", "form", "base", "img", "b", "x"})
    for _, attributes in parsed.tags:
        assert not any(name.startswith("on") or name in ("src", "style", "srcset", "action") for name in attributes)
    assert "url(" not in page and "@import" not in page
    assert "prefers-color-scheme: dark" in page and "@media print" in page
    return parsed


def test_the_page_tells_the_run_in_order(store: RunStore) -> None:
    page = checked(write_html(log_of(store, EVENTS), PATCH))
    story = [
        "Resolved",
        "No discount for ten",
        "1 test that failed now passes; all 2 tests that passed before still pass.",
        "What was wrong",
        "The fix is in discount , shop.py , in lines 4 to 8.",
        "Ten counts as many.",
        "It should be 90.",
        "Where",
        "not changed",
        "changed",
        "The change",
        "shop.py",
        "Modified: 2 added, 1 removed",
        "if count >= 10:",
        "Added: 2 added, 0 removed; a program",
        "--- a/looks like a header".removeprefix("-"),
        "No newline at end of file",
        "The evidence",
        TEST,
        "✗ failed AssertionError: assert 100 == 90",
        "✓ passed",
        "still pass: 2. Broken: none.",
        "test_clock",
        "As a control",
        "tests/test_repro.py",
        "compares with 10",
        "What no test can see",
        "Attempts",
        "the limit of 3 turns",
        "2 (chosen)",
        "Timeline",
        "edit shop.py:6",
        "accepted: The reproduction passes.",
        "0.90",
        "5,120 tokens left the window",
        "The engine was restarted: it was killed.",
        "The run was resumed after turn 1.",
        "Tokens",
        "66.7 %",
        "16,384",
        "What to do now",
        "tinsmith/no-discount",
        "tinsmith apply 2",
        "/home/me/shop",
    ]
    at = 0
    for words in story:
        found = page.text.find(words, at)
        assert found >= 0, f"{words!r} is not after {page.text[max(at - 80, 0) : at]!r}"
        at = found
    assert "4711" not in page.text  # token ids spell text
    bars = [attributes["aria-label"] for attributes in page.of("svg") if attributes["class"] == "bar"]
    assert bars[0] == "Turn 1: prefill 0.90 s, decode 0.30 s, tool 0.01 s, test 0.60 s" and len(bars) == 2


def test_line_numbers_and_signs_of_the_diff() -> None:
    shop, new = file_diffs(PATCH)
    rows = [(line.sign, line.old, line.new, line.text.strip()) for line in shop.lines]
    assert rows[:5] == [
        ("@", None, None, "import decimal"),
        (" ", 4, 4, "def discount(count, price):"),
        (" ", 5, 5, "total = count * price"),
        ("-", 6, None, "if count > 10:"),
        ("+", None, 6, "if count >= 10:"),
    ]
    assert (shop.added, shop.removed, new.path, new.change) == (2, 1, "tests/test new.py", "added")
    assert [line.text for line in new.lines if line.sign == "+"] == ["--- a/looks like a header", "++ b/so does this"]
    assert shop.touches(4, 8) and not shop.touches(20, 30)


@pytest.mark.parametrize("status", ["resolved", "unresolved", "unverified", "error", "interrupted", "odd<b>"])
def test_each_status_says_what_it_means_in_words(store: RunStore, status: str) -> None:
    page = checked(write_html(log_of(store, [("result", {"status": status, "reason": "so it is."})]), ""))
    words = {
        "resolved": "Resolved",
        "unresolved": "No change passed the tests",
        "unverified": "nothing proves it",
        "error": "ended in an error",
        "interrupted": "tinsmith resolve --resume",
        "odd<b>": "Odd<b>",
    }
    assert words[status] in page.text
    assert ("Why: so it is." in page.text) == (status != "resolved")


def test_old_and_short_logs_make_a_page_too(store: RunStore) -> None:
    for count in range(len(EVENTS)):
        checked(write_html(log_of(store, EVENTS[:count]), PATCH if count % 2 else ""))
    for at in range(len(EVENTS)):
        checked(write_html(log_of(store, EVENTS[:at] + EVENTS[at + 1 :]), PATCH))
    for kind, _ in EVENTS:
        checked(write_html(log_of(store, [(kind, {})]), ""))
    old = [(kind, {k: v for k, v in data.items() if k not in ("seconds", "attempt")}) for kind, data in EVENTS]
    page = checked(write_html(log_of(store, [event for event in old if event[0] != "base"]), PATCH))
    assert "Prefill" not in page.text and "1 test that failed now passes" in page.text


def planted(value: Any, text: str) -> Any:
    """`value` with `text` in every string and every key of a test's name."""
    if isinstance(value, str):
        return value + text
    if isinstance(value, dict):
        return {key + text if "::" in key else key: planted(item, text) for key, item in value.items()}
    return [planted(item, text) for item in value] if isinstance(value, list) else value


ATTACK = "<script>alert(1)</script><x onload=1>\"'></td></table>&lt;{{7*7}}{%x%}\x00\x1b[2J\u202e\ud800\ufffe"


def test_what_others_wrote_is_only_text(store: RunStore) -> None:
    events = [(kind, planted(data, ATTACK)) for kind, data in EVENTS]
    events[-1][1]["status"] = "resolved"
    with store.create(repo=Path("/home/me/" + ATTACK.replace("/", "").replace("\x00", "")), model=ATTACK) as log:
        for kind, data in events:
            log.append(kind, **data)
    patch = PATCH.replace("shop.py", "shop" + ATTACK.replace("\n", "") + ".py").replace("decimal", ATTACK)
    source = write_html(log, patch)
    page = checked(source)
    assert "<script" not in source and "onload=1>" not in source.replace("onload=1&gt;", "")
    assert page.text.count("<script>alert(1)</script>") >= 15
    assert "{{7*7}}" in page.text and "49" not in re.sub(r"\d{3,}", "", page.text).split()
    assert not re.search("[\x00-\x08\x0e-\x1f\x7f\u202a-\u202e]", source) and "\\u202e" in page.text


_LEAF = st.one_of(st.none(), st.booleans(), st.integers(-5, 10**6), st.floats(0, 10), st.text(max_size=8))
_DATA = st.recursive(
    _LEAF, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3))
)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_log_breaks_it(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Events with fields of any kind: a log may come from another version."""
    drawn = data.draw(st.lists(st.sampled_from(EVENTS), max_size=6))
    rows = [("run_started", {"repo": "/r", "model": "m"})]
    for kind, fields in drawn:
        changed = {key: data.draw(st.one_of(st.just(value), _DATA)) for key, value in fields.items()}
        rows.append((kind, changed))
    directory = tmp_path_factory.mktemp("run")
    lines = [json.dumps({"v": 1, "seq": at, "time": "", "type": kind, **d}) for at, (kind, d) in enumerate(rows)]
    (directory / "events.jsonl").write_text("\n".join(lines) + "\n")
    checked(write_html(RunLog(directory), data.draw(st.one_of(st.just(PATCH), st.text(max_size=60)))))


def test_what_a_small_model_only_repeats_is_left_out(store: RunStore) -> None:
    events = [*EVENTS[:-1], ("result", {**EVENTS[-1][1], "summary": "full_name: return False " * 9})]
    assert "full_name: return" not in checked(write_html(log_of(store, events), PATCH)).text


def test_secrets_are_redacted(store: RunStore) -> None:
    events = [(kind, planted(data, f" {SECRET}")) for kind, data in EVENTS]
    events[-1][1]["status"] = "resolved"
    page = write_html(log_of(store, events), PATCH.replace("# <b>&amp;", f"token = '{SECRET}'"))
    assert SECRET not in page and "[redacted: GitHub token]" in page
    checked(page)


def test_a_long_run_stays_a_page(store: RunStore) -> None:
    turn = next(data for kind, data in EVENTS if kind == "turn")
    long = "".join(f"+line {n} {'x' * 50}\n" for n in range(2 * MAX_LINES))
    patch = PATCH + (
        "diff --git a/b.py b/b.py\nnew file mode 100644\nindex 0..1\n--- /dev/null\n+++ b/b.py\n"
        f"@@ -0,0 +1,{2 * MAX_LINES} @@\n{long}"
    )
    events = [*EVENTS[:5], *(("turn", {**turn, "number": n}) for n in range(1, 301)), EVENTS[-1]]
    page = write_html(log_of(store, events), patch)
    parsed = checked(page)
    assert "more lines are in the patch file" in parsed.text
    assert len(page) < 2_000_000


def facts(**changes: Any) -> Facts:
    given: dict[str, Any] = {
        "run": "20260101-000000-0000",
        "issue": "No discount for ten\n",
        "status": "resolved",
        "reason": "the reproduction flips",
        "model": "Solder",
        "suspects": [
            Suspect("shop.py", "label", 20, 22, 2.0, ("named in the issue",), ()),
            Suspect("shop.py", "discount", 4, 8, 1.0, ("executed by the failing test",), ()),
        ],
        "patch": PATCH,
        "evidence": Evidence(
            [TEST],
            {TEST: "failed"},
            {TEST: "passed"},
            2,
            [],
            control=True,
            findings=[{"rule": "literal", "path": "shop.py", "line": 6, "text": "compares with 10"}],
        ),
        "failures": {TEST: "AssertionError: assert 100 == 90"},
        "usage": {},
        "branch": "tinsmith/x",
        "summary": "Ten counts as many.",
    }
    return Facts(**{**given, **changes})


def test_the_pull_requests_text() -> None:
    text = pull_request(facts())
    order = ["# Fix: No", "## What", "Ten counts", "`shop.py` (modified, +2 -1)", "```diff", "## Root cause"]
    order += ["`discount` in `shop.py`, lines 4 to 8", "## Evidence", f"| `{TEST}` | failed | passed |", "assert 100"]
    order += ["## How it was verified", "still pass: 2; broken: 0", "As a control", "## Look at these", "compares with"]
    places = [text.index(words) for words in order]
    assert places == sorted(places)
    assert "*unverified*" in pull_request(facts(evidence=Evidence(), status="unverified"))
    for babble in ("full_name: return False " * 9, "xml/" * 40):
        assert babble[:9] not in pull_request(facts(summary=babble))
    assert "Not found." in pull_request(facts(patch="", evidence=Evidence()))


def test_the_pull_requests_text_is_redacted_and_cannot_be_broken_out_of() -> None:
    evil = f"a `|` ```\n<img src=x> ![x](y) {SECRET}"
    text = pull_request(facts(issue=evil, summary=evil, failures={TEST: evil}, patch=PATCH.replace("# <b>", evil[:9])))
    assert SECRET not in text
    assert "<img" not in re.sub(r"`[^\n]*`", "", text) and "![x]" not in re.sub(r"`[^\n]*`", "", text)
