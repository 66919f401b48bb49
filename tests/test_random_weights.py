"""The proof with random weights, in small: a short session holds, and calls are read from the text alone."""

from pathlib import Path

import pytest
from proofs.kill_tasks import TASKS
from proofs.random_weights import BYTES, MERGES, SHAPE, Found, parsed, session

from tinsmith.dialects import Call, Malformed
from tinsmith.models.random_weights import write_random

CALL = "<tool_call>\n<function=finish>\n<parameter=summary>\na\n</parameter>\n</function>\n</tool_call>"


def test_a_short_session(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    model = write_random(tmp_path / "random.gguf", vocabulary=BYTES, merges=MERGES, shape=SHAPE, seed=1)
    found = Found()
    session(TASKS[0], tmp_path, model, 1, 4, found)
    assert not found.wrong
    assert found.turns == sum(found.done.values()) + sum(found.refused.values()) == 4
    assert dict(found.statuses) == {"unresolved": 1}


@pytest.mark.parametrize(
    ("said", "call"),
    [
        (CALL, Call("finish", {"summary": "a"})),
        ("first " + CALL, Call("finish", {"summary": "a"})),
        ("no call", None),
        (CALL[:-30], Malformed),
    ],
)
def test_a_call_is_read_from_the_text_alone(said: str, call: object) -> None:
    text = f"<|im_start|>assistant\nearlier {CALL}<|im_end|>\n<|im_start|>assistant\n{said}<|im_end|>\n"
    read = parsed(text)
    assert isinstance(read, Malformed) if call is Malformed else read == call
