"""What the loop knows apart from the transcript, and how it tells that it goes round in circles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.vocabularies import qwen

from tinsmith.agent import LimitReached, Record, within
from tinsmith.agent.limits import Repetition
from tinsmith.dialects import Call

ENCODE = qwen().encode_ordinary


def count(text: str) -> int:
    return len(ENCODE(text))


def filled(turns: int) -> Record:
    record = Record()
    for number in range(turns):
        call = Call("edit", {"path": "a.py", "start": str(number), "end": str(number), "new": "x"})
        record.note(call, f"I think\nit is line {number}", f"Edited.\ntests fail {number}", accepted=False)
    return record


def test_the_record_tells_what_happened() -> None:
    record = filled(3)
    record.note(Call("search", {"pattern": "def f"}), "", "a.py\n3\tdef f", accepted=None)
    text = record.text("--- a\n+++ b\n-x\n+y", ["a.py\n3\tdef f():", "b.py\n1\timport a"], 2_000, count)
    assert "4 turns so far" in text
    assert "Changes so far:\n--- a" in text
    assert "The last edit was tested:\nEdited.\ntests fail 2" in text
    assert "edit a.py:2-2: Edited. (I think it is line 2)" in text and "search def f: a.py" in text
    assert text.index("edit a.py:0-0") < text.index("edit a.py:2-2") < text.index("a.py\n3\tdef f")
    assert text.endswith("b.py\n1\timport a")
    record.note(Call("edit", {"path": "a.py"}), "", "The reproduction passes.", accepted=True)
    assert "was tested" not in record.text("", [], 2_000, count)


def test_the_record_survives_the_log_and_forgets_the_oldest() -> None:
    record = filled(100)
    assert Record.from_json(record.as_json()) == record
    assert len(record.steps) == 24 and record.steps[-1].place == "a.py:99-99" and record.turns == 100


@given(st.integers(40, 600), st.text(max_size=3_000), st.lists(st.text(max_size=800), max_size=4))
def test_the_record_never_exceeds_its_budget(budget: int, diff: str, excerpts: list[str]) -> None:
    assert count(filled(30).text(diff, excerpts, budget, count)) <= budget


@given(st.text(max_size=2_000), st.integers(0, 300))
def test_within_keeps_what_fits_and_cuts_the_middle(text: str, budget: int) -> None:
    cut = within(text, budget, count)
    assert count(cut) <= budget
    assert cut == text or len(cut) < len(text)


def test_a_repetition_is_pointed_out_and_then_ends_the_run() -> None:
    repetition = Repetition([])
    said = []
    for _ in range(5):
        said.append(repetition.note("same"))
        repetition.check()
        assert repetition.note("other" + str(len(said))) == ""
    assert said[:2] == ["", ""] and "3 times" in said[2] and "5 times" in said[4]
    repetition.note("same")
    with pytest.raises(LimitReached, match="6 times"):
        repetition.check()
    with pytest.raises(LimitReached):  # a run that goes on knows it still
        Repetition(list(repetition.recent)).check()
