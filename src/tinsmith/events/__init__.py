"""What happened: the append-only log of a run, and a run's state on disk.

Everything that a person or a program can see of a run (terminal, JSON output, replay, report, training
data) is a projection of one file, `events.jsonl`, in the run's own directory.  An event is one JSON object
a line:

    {"v": 1, "seq": 0, "time": "2026-11-25T01:45:01.123456Z", "type": "run_started", ...data}

`RunStore` finds, creates and lists runs; `RunLog` appends to one and reads it back.  `redact` takes secrets out
of whatever a person is shown of it.
"""

from tinsmith.events.log import SCHEMA_VERSION, Event, RunLog
from tinsmith.events.redaction import has_secret, redact, redact_event
from tinsmith.events.store import RunRow, RunStore, default_state_dir

__all__ = [
    "SCHEMA_VERSION",
    "Event",
    "RunLog",
    "RunRow",
    "RunStore",
    "default_state_dir",
    "has_secret",
    "redact",
    "redact_event",
]
