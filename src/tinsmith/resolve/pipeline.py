"""From an issue to a tested branch: copy, base, suspects, agent, gate, patch.

The person's work tree, index and HEAD are never touched; what is left behind is a run in the state directory and, when
the gate accepts (or nothing could be checked), a branch.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from tinsmith.agent import CallWriter, End, Limits, Loop, Transcript
from tinsmith.codebase import Evidence as Clues
from tinsmith.codebase import Suspect, is_test_file, prime_suspects, rank_suspects
from tinsmith.dialects import Call, Encoder, dialect_named
from tinsmith.engines import Cancelled, Sampling, TokenEngine, open_engine
from tinsmith.errors import InputError, TinsmithError
from tinsmith.events import RunLog, RunStore
from tinsmith.models import Model, find_model
from tinsmith.resolve.brief import Failure, first_turn, shorten
from tinsmith.resolve.candidates import candidate_calls, excerpts_of
from tinsmith.resolve.gate import Evidence, Gate, failure_text
from tinsmith.resolve.ordering import shuffled
from tinsmith.resolve.report import Facts, pull_request, report, title
from tinsmith.resolve.reproduction import Reproduction, find_reproduction, test_source
from tinsmith.tools import EDIT, TOOLS, Excerpt, Files, Toolbox
from tinsmith.workspace import (
    Completed,
    Patch,
    Sandbox,
    TestReport,
    TestRunner,
    Workspace,
    commit_branch,
    find_python,
    open_checkout,
    parse_patch,
    slug,
)

DEFAULT_SYSTEM = (
    "You fix an issue in the repository you are in. Find the cause, change as little as you can, then call finish. "
    "After each edit the failing tests run by themselves. You see only what tools show you; edit only lines shown."
)
MAX_SUSPECTS = 3
MAX_SHOWN_LINES = 80
MAX_ISSUE_CHARACTERS = {"candidates": 400, "free": 8_000}


@dataclass(frozen=True)
class Request:
    """What the person asked for. `order`: `model`, or `shuffled` for plain enumerate-and-test (evaluation only)."""

    repo: Path
    issue: str
    model: str | None = None
    python: Path | None = None
    test_command: str | None = None
    seed: int = 1
    limits: Limits = field(default_factory=Limits)
    test_timeout: float = 300.0
    state_dir: Path | None = None
    order: str = "model"


@dataclass
class Result:
    """How it ended. Paths are absolute; `status` is one of resolved, unresolved, unverified, error, interrupted."""

    run: str
    status: str = "error"
    reason: str = ""
    branch: str | None = None
    patch: Path | None = None
    pull_request: Path | None = None
    report: Path | None = None
    evidence: Evidence = field(default_factory=Evidence)
    usage: dict[str, float] = field(default_factory=dict[str, float])
    error: TinsmithError | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields of `resolve --json`."""
        return {
            "run": self.run,
            "status": self.status,
            "reason": self.reason,
            "branch": self.branch,
            "patch": str(self.patch) if self.patch else None,
            "pull_request": str(self.pull_request) if self.pull_request else None,
            "report": str(self.report) if self.report else None,
            "evidence": asdict(self.evidence),
            "usage": self.usage,
        }


def resolve(
    request: Request, progress: Callable[[str], None] = lambda line: None, cancel: Event | None = None
) -> Result:
    """Runs the whole pipeline.

    Raises InputError and MachineError before a run exists; afterwards errors are in the result.
    """
    if not request.issue.strip():
        raise InputError("empty_issue", "The issue is empty.", "Say in a sentence or more what goes wrong.")
    model = find_model(request.model)
    sandbox = Sandbox.find()
    python = find_python(request.repo, request.python)
    store = RunStore(request.state_dir)
    top = open_checkout(request.repo).top
    with store.create(repo=top, model=model.card.id) as log:
        run = _Run(request, model, sandbox, python, log, progress, cancel)
        try:
            run.work()
        except (KeyboardInterrupt, Cancelled):
            run.result.status, run.result.reason = "interrupted", "interrupted"
        except TinsmithError as error:
            run.result.status, run.result.reason, run.result.error = "error", error.message, error
        finally:
            run.close()
        log.end(run.result.status, reason=run.result.reason, branch=run.result.branch)
        return run.result


class _Run:
    """One run: what each stage needs of the stages before it."""

    def __init__(
        self,
        request: Request,
        model: Model,
        sandbox: Sandbox,
        python: Path,
        log: RunLog,
        progress: Callable[[str], None],
        cancel: Event | None,
    ) -> None:
        self.request, self.model, self.log, self.progress, self.cancel = request, model, log, progress, cancel
        self.result = Result(log.run)
        self._sandbox, self._python = sandbox, python
        self._started = time.monotonic()
        self._stack = ExitStack()
        self._workspace: Workspace | None = None
        self._engine: TokenEngine | None = None
        self._gate: Gate | None = None
        self._loop: Loop | None = None
        self._suspects: Sequence[Suspect] = ()
        self._failures: Mapping[str, str] = {}
        self._summary = ""
        self._prompt_tokens = 0

    def work(self) -> None:
        """All stages. Whatever ends it, `close` then keeps the patch so far and writes the texts."""
        request = self.request
        self.log.append("issue", text=request.issue)
        self.progress("copying the checkout")
        workspace = Workspace.create(request.repo, self.log.directory / "workspace", python=self._python)
        self._stack.callback(workspace.discard)
        self._workspace = workspace
        runner = TestRunner(workspace, self._sandbox, request.test_command)

        self.progress("running the tests on the clean base")
        base = runner.run(None, timeout=request.test_timeout)
        reproduction = find_reproduction(base, request.issue, workspace.tree)
        self.progress(
            f"clean base: {len(reproduction.passing)} passed, {len(reproduction.failing)} reproduce the issue"
        )
        clues, runs = Clues(request.issue), 1
        if reproduction.failing:
            traced = runner.run(reproduction.ids, trace=True, timeout=request.test_timeout)
            runs += 1
            clues = self._clues(reproduction, traced)
        ranking = rank_suspects(workspace.tree, clues)
        self.log.append("suspects", rows=[asdict(suspect) for suspect in ranking])
        self._suspects = prime_suspects(ranking, MAX_SUSPECTS)
        for suspect in self._suspects:
            self.progress(f"suspect: {suspect.path}:{suspect.first} {suspect.name} ({'; '.join(suspect.reasons)})")

        self._gate = Gate(
            workspace,
            self._sandbox,
            request.test_command,
            reproduction,
            self.log,
            limit=request.limits.test_runs,
            runs=runs,
            # An edit can make a loop endless; what the clean base took says when to stop waiting.
            timeout=min(request.test_timeout, 10 + 10 * base.seconds),
        )
        self.result.evidence = self._gate.evidence
        self._start_engine()
        end = self._agent(workspace)
        self._settle(end, reproduction)

    def _clues(self, reproduction: Reproduction, traced: TestReport) -> Clues:
        """What the reproduction says of the place: its tracebacks, its source and the lines that it executed."""
        assert self._workspace is not None
        frames = [
            (frame.path, frame.line)
            for outcome in reproduction.failing
            for frame in reversed(outcome.frames)
            if not is_test_file(frame.path)
        ]
        self._failures = {o.nodeid: failure_text(o) for o in reproduction.failing}
        tests = "\n".join(test_source(self._workspace.tree, nodeid) for nodeid in reproduction.ids)
        executed: dict[str, set[int]] = {}
        for nodeid in reproduction.ids:
            if outcome := traced.outcomes.get(nodeid):
                for path, line in outcome.trace:
                    executed.setdefault(path, set()).add(line)
        lines = {path: frozenset(numbers) for path, numbers in executed.items() if not is_test_file(path)}
        return Clues(self.request.issue, tests, tuple(frames), lines)

    def _start_engine(self) -> None:
        self.progress(f"starting {self.model.card.name}")
        self._engine = self._stack.enter_context(
            open_engine(self.model.path, context=self.model.card.context, progress=self.progress)
        )
        self.log.append("engine", model=str(self.model.path), context_window=self._engine.context_window)
        dialect = dialect_named(self.model.card.dialect)
        lacking = [text for text in dialect.controls if text not in self._engine.vocabulary.reserved]
        if lacking:
            raise InputError(
                "dialect_mismatch",
                f"{self.model.path.name} cannot speak {dialect.name}: its vocabulary lacks {', '.join(lacking)}.",
                "Use a model of the Qwen3 family (Qwen3-Coder), or Solder.",
            )

    def _agent(self, workspace: Workspace) -> End:
        assert self._engine is not None and self._gate is not None
        card, request, engine = self.model.card, self.request, self._engine
        dialect = dialect_named(card.dialect)
        vocabulary = engine.vocabulary
        encoder = Encoder(engine.tokenize, vocabulary.reserved, lambda token: vocabulary.pieces[token].endswith(b"\n"))
        files = Files(workspace.tree)
        toolbox = Toolbox(files, self._shell, free_tokens=min(4096, engine.context_window // 8))
        shown = excerpts_of(files, self._suspects, MAX_SHOWN_LINES)
        for excerpt in shown:
            toolbox.show(excerpt)

        transcript = Transcript(encoder, self.log)
        system = dialect.system(card.system or DEFAULT_SYSTEM, TOOLS if card.tools == "full" else ())
        transcript.write(system, "system")
        transcript.write(dialect.user(self._first_turn(shown)), "user")
        writer = CallWriter(
            engine,
            dialect,
            encoder,
            toolbox,
            sampling=Sampling(card.sampling.temperature, card.sampling.top_k, card.sampling.top_p, request.seed),
            preamble_tokens=card.preamble_tokens,
            candidates=lambda tool: self._candidates(files, shown, tool),
            order=shuffled(request.seed) if request.order == "shuffled" else None,
            cancel=self.cancel,
        )
        self._loop = Loop(
            engine, dialect, writer, toolbox, self._gate, workspace, request.limits, self.log, self.progress
        )
        return self._loop.run(transcript)

    def _shell(self, command: str) -> tuple[int, str]:
        """A command of the model's, in the sandbox, in the agent's copy."""
        assert self._workspace is not None
        done: Completed = self._workspace.run(
            self._sandbox, ["/bin/sh", "-c", command], timeout=self.request.test_timeout
        )
        output = done.output.decode("utf-8", "replace")
        return done.returncode, output + ("\n[killed at the time limit]" if done.timed_out else "")

    def _candidates(self, files: Files, shown: Sequence[Excerpt], tool: str) -> list[Call]:
        if tool != EDIT.name or self.model.card.edit_domain != "candidates":
            return []
        return candidate_calls(files, self._suspects, shown)

    def _first_turn(self, shown: Sequence[Excerpt]) -> str:
        issue = shorten(self.request.issue, MAX_ISSUE_CHARACTERS[self.model.card.edit_domain])
        failures = [Failure(test, message) for test, message in list(self._failures.items())[:2]]
        return first_turn(issue, failures, shown)

    def _settle(self, end: End, reproduction: Reproduction) -> None:
        """The status, from what the gate saw and from nothing else."""
        self._summary = end.summary
        result = self.result
        if end.outcome == "limit":
            result.status, result.reason = "unresolved", f"stopped at {end.reason}"
        elif not reproduction.failing:
            result.status = "unverified"
            result.reason = "no test failed on the clean base, so nothing proves the fix"
        else:
            result.status, result.reason = (
                "resolved",
                "the reproduction flips and nothing that passed is broken",
            )

    def close(self) -> None:
        """Keeps the patch so far, adds the branch where it is due, writes the texts, ends the engine."""
        result = self.result
        try:
            patch = self._keep_patch()
            if patch and result.status in ("resolved", "unverified"):
                headline = title(self.request.issue)
                head = self._workspace.checkout.head if self._workspace else None
                result.branch = commit_branch(self.request.repo, patch, slug(headline), f"Fix: {headline}", head)
                self.progress(f"branch {result.branch}")
            elif result.status in ("resolved", "unverified"):
                result.status, result.reason = "unresolved", "the run ended without a change"
        except TinsmithError as error:
            result.status, result.reason, result.error = "error", error.message, error
        finally:
            self._account()
            self._stack.close()
        facts = self._facts()
        result.pull_request = self._write("pull_request.md", pull_request(facts))
        result.report = self._write("report.md", report(facts))

    def _keep_patch(self) -> Patch | None:
        workspace = self._workspace
        if workspace is None:
            return None
        text = workspace.diff(workspace.base, workspace.snapshot())
        if not text:
            return None
        self.result.patch = self._write("patch.diff", text)
        return parse_patch(text)

    def _write(self, name: str, text: str) -> Path:
        path = self.log.directory / name
        path.write_text(text, encoding="utf-8")
        return path

    def _account(self) -> None:
        usage = self._engine.usage if self._engine else None
        prefilled, reused, decoded = (usage.prefilled, usage.reused, usage.decoded) if usage else (0, 0, 0)
        self.result.usage = {
            "turns": self._loop.turns if self._loop else 0,
            "prompt_tokens": prefilled + reused,
            "prefilled_tokens": prefilled,
            "reused_tokens": reused,
            "decoded_tokens": decoded,
            "test_runs": self._gate.runs if self._gate else 0,
            "seconds": round(time.monotonic() - self._started, 2),
        }

    def _facts(self) -> Facts:
        patch = self.result.patch.read_text(encoding="utf-8") if self.result.patch else ""
        return Facts(
            run=self.result.run,
            issue=self.request.issue,
            status=self.result.status,
            reason=self.result.reason,
            model=self.model.card.name,
            suspects=self._suspects,
            patch=patch,
            evidence=self.result.evidence,
            failures=self._failures,
            usage=self.result.usage,
            branch=self.result.branch,
            summary=self._summary,
        )
