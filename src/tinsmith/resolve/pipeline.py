"""Issue in, tested branch and patch out: the front door, for a new run and for one that was interrupted."""

import threading
from dataclasses import replace
from pathlib import Path

from tinsmith.engines import EngineChoice
from tinsmith.errors import InputError
from tinsmith.events import RunStore, redact
from tinsmith.models import find_endpoint, find_model
from tinsmith.resolve.history import History
from tinsmith.resolve.planning import FileEngines
from tinsmith.resolve.request import Request, Result
from tinsmith.resolve.run import Run
from tinsmith.resolve.speaking import OpenEngine, Progress, check_dialect, engine_choice
from tinsmith.settings import Settings
from tinsmith.workspace import find_python, find_sandbox, open_checkout


def resolve(
    request: Request,
    progress: Progress = lambda line: None,
    cancel: threading.Event | None = None,
    *,
    choice: EngineChoice | None = None,
    open_engine: OpenEngine | None = None,
) -> Result:
    """Runs the whole pipeline.

    `choice` is what is settled of engines (None: what environment and the person's own file say), `open_engine` what
    starts the engine of a model file (None: `FileEngines`). Raises InputError and MachineError before a run
    exists; afterwards errors are in the result.
    """
    if not request.issue.strip():
        raise InputError("empty_issue", "The issue is empty.", "Say in a sentence or more what goes wrong.")
    check_dialect(request.dialect)
    choice = choice or engine_choice(Settings.of_person())
    model = find_endpoint(request.model) or find_model(request.model)
    sandbox = find_sandbox(request.sandbox)
    checkout = open_checkout(request.repo)
    # What is resumed later, from anywhere and in another environment, is this very run.
    request = replace(
        request,
        repo=checkout.top,
        python=find_python(checkout.top / request.package, request.python),
        model=model.source,
        issue=redact(request.issue),
    )
    with RunStore(request.state_dir).create(repo=checkout.top, model=model.card.id) as log:
        log.append("request", **request.as_json())
        log.append("issue", text=request.issue)
        if sandbox.waived:
            log.append("sandbox", waived=sandbox.waived)
            progress(sandbox.waived)
        return Run(
            request,
            model,
            sandbox,
            log,
            progress,
            cancel,
            choice,
            open_engine or FileEngines(model.card, choice, request.context),
        ).result()


def resume(
    run: str,
    progress: Progress = lambda line: None,
    cancel: threading.Event | None = None,
    *,
    state_dir: Path | None = None,
    choice: EngineChoice | None = None,
    open_engine: OpenEngine | None = None,
) -> Result:
    """Goes on with a run that was interrupted or ended in an error, after its last completed turn.

    What computes is no part of the run: `choice` and `open_engine` are as for `resolve`.
    Raises InputError `unknown_run`, `run_in_use`, `run_ended`, `not_resumable`, and what `resolve` raises.
    """
    choice = choice or engine_choice(Settings.of_person())
    with RunStore(state_dir).open(run) as log:
        log.own()
        if (status := log.status()) not in ("running", "interrupted", "error"):
            raise InputError("run_ended", f"run {run} has ended: {status}", "Start a new run with --issue.")
        history = History.of(log)
        request = history.request(state_dir)
        model = find_endpoint(request.model) or find_model(request.model)
        sandbox = find_sandbox(request.sandbox)
        log.append("run_resumed", turns=history.turns)
        if sandbox.waived:
            progress(sandbox.waived)
        progress(f"going on with {run} after {history.turns} turns")
        return Run(
            request,
            model,
            sandbox,
            log,
            progress,
            cancel,
            choice,
            open_engine or FileEngines(model.card, choice, request.context),
        ).result()
