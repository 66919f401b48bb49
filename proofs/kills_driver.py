"""One process of a run whose model is scripted: starts the run, or goes on with it, and prints its result as JSON.

`python -m proofs.kills_driver TASK REPO STATE_DIR MODEL [RUN]`. SIGUSR1 is the death of the engine: what it had
cached is gone at its next request.
"""

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from proofs.kill_tasks import TASKS
from tests.fake_engine import FakeEngine

from tinsmith.dialects import QwenXml
from tinsmith.errors import TinsmithError
from tinsmith.events import RunStore
from tinsmith.resolve import Request, resolve, resume


class FakeDeath:
    """Whether the engine was killed since it was last asked."""

    def __init__(self) -> None:
        self._dead = False
        signal.signal(signal.SIGUSR1, lambda number, frame: self._die())

    def _die(self) -> None:
        self._dead = True

    def __call__(self, request: int) -> bool:
        dead, self._dead = self._dead, False
        return dead


def main() -> None:
    """Exit status 0 when the run has a result, whatever it is."""
    name, repo, state, model, *runs = sys.argv[1:]
    death = FakeDeath()
    task = next(task for task in TASKS if task.name == name)
    state_dir = Path(state)
    done = sum(event["type"] == "turn" for run in runs for event in RunStore(state_dir).open(run).events())

    def open_engine(
        model_path: Path,
        *,
        context: int | None,
        progress: Callable[[str], None] | None,
        on_restart: Callable[[str], None] | None,
    ) -> FakeEngine:
        return FakeEngine(None, task.script(), QwenXml(), first_turn=done, kill_at=death, on_restart=on_restart)

    request = Request(
        repo=Path(repo),
        issue=task.issue,
        model=model,
        python=Path(sys.executable),
        attempts=task.attempts,
        limits=task.limits,
        state_dir=state_dir,
    )
    try:
        if runs:
            result = resume(runs[0], say, state_dir=state_dir, open_engine=open_engine)
        else:
            result = resolve(request, say, open_engine=open_engine)
    except TinsmithError as error:
        print(json.dumps({"error": {"code": error.code, "message": error.message}}))
        sys.exit(error.exit_code)
    answer = result.as_json()
    if result.error is not None:
        answer["error"] = {"code": result.error.code, "message": result.error.message}
    print(json.dumps(answer))


def say(line: str) -> None:
    """Progress, to stderr."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
