"""One run: its stages in order, and everything that can end them.

Every stage leaves what it found in the run's log before the next begins, so an interrupted run goes on where
it was: what the log has is not done again.
"""

import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace

from tinsmith.agent import CLOSING_RESERVE, Opening, Speaker, Transcript
from tinsmith.codebase import prime_suspects
from tinsmith.dialects import Call, Encoder
from tinsmith.engines import Cancelled, Engine, EngineChoice, Sampling
from tinsmith.errors import EngineError, MachineError, TinsmithError
from tinsmith.events import Event, RunLog, RunStore, redact
from tinsmith.models import Endpoint, Model
from tinsmith.resolve.agents_file import agents_notes
from tinsmith.resolve.analysis import Analysis, analyse, locate
from tinsmith.resolve.attempts import Attempt, Attempts, best_of, status_of
from tinsmith.resolve.candidates import candidate_calls
from tinsmith.resolve.delivery import Delivery
from tinsmith.resolve.gate import Evidence, Gate
from tinsmith.resolve.history import History
from tinsmith.resolve.opening import MAX_SUSPECTS, brief_of, fitting_excerpts, opened, write_opening
from tinsmith.resolve.ordering import shuffled
from tinsmith.resolve.planning import plan_of
from tinsmith.resolve.reproduction import Reproduction
from tinsmith.resolve.request import Request, Result
from tinsmith.resolve.speaking import OpenEngine, Progress, speak_with
from tinsmith.resolve.write_reproduction import WrittenReproduction, write_reproduction
from tinsmith.tools import EDIT, Excerpt, Files, Outputs, ShellResult, Toolbox
from tinsmith.workspace import CommandSandbox, TestRunner, TreeCache, Workspace, run_reported

RANKED_REPLY = 160
"""Tokens kept for the next call of a model that ranks its edits."""
MAX_REPLY = 4096
"""Tokens of a free value, at most; a window of less than eight times this gives less."""


class Run:
    """One run in one process: what each stage needs of the stages before it."""

    def __init__(
        self,
        request: Request,
        model: Model | Endpoint,
        sandbox: CommandSandbox,
        log: RunLog,
        progress: Progress,
        cancel: threading.Event | None,
        choice: EngineChoice,
        open_engine: OpenEngine,
    ) -> None:
        self._request, self._model, self._card, self._log = request, model, model.card, log
        self._progress, self._cancel, self._sandbox = progress, cancel, sandbox
        self._choice, self._open_engine = choice, open_engine
        self._history = History.of(log)
        self._started = time.monotonic()
        self._stack = ExitStack()
        self._result = Result(log.run)
        self._workspace: Workspace | None = None
        self._speaker: Speaker | None = None
        self._gate: Gate | None = None
        self._analysis: Analysis | None = None
        self._before, self._turns = self._history, self._history.turns
        self._delivery = Delivery(request, model.card.name, log, progress, sandbox.waived)

    def result(self) -> Result:
        """Runs all stages. Whatever ends them, the patch so far is kept and the run has a status."""
        result = self._result
        self._log.subscribe(self._on_event)
        try:
            self._work()
        except (KeyboardInterrupt, Cancelled):
            result.status, result.reason = "interrupted", "interrupted"
        except TinsmithError as error:
            self._fail(error)
        except OSError as error:
            self._fail(MachineError("machine", f"the system refused: {error}", "See to it, then use --resume."))
        except Exception as error:
            self._log.append("crash", traceback=redact(traceback.format_exc()))
            remedy = "Please report it. The run is kept; --resume goes on with it."
            self._fail(EngineError("internal", f"a fault of Tinsmith: {type(error).__name__}: {error}", remedy))
        try:
            self._delivery.deliver(result, self._workspace, self._history.branch)
        except KeyboardInterrupt:
            result.status, result.reason = "interrupted", "interrupted"
        except TinsmithError as error:
            self._fail(error)
        finally:
            self._account()
            self._stack.close()
        self._delivery.write_texts(result, self._analysis)
        if self._workspace is not None and result.status not in ("interrupted", "error"):
            self._workspace.discard()
        return result

    def _fail(self, error: TinsmithError) -> None:
        self._result.status, self._result.reason, self._result.error = "error", error.message, error

    def _work(self) -> None:
        history, request = self._history, self._request
        workspace = self._workspace = self._open_workspace()
        runner = TestRunner(workspace, self._sandbox, request.test_command, cwd=request.package or ".")
        analysis = history.analysis or analyse(
            workspace,
            runner,
            request.issue,
            timeout=request.test_timeout,
            package=request.package,
            sink=self._log,
            progress=self._progress,
        )
        done = [Attempt.of_event(event) for event in history.attempts]
        if history.turn is None and 0 < self._count(analysis) <= len(done):
            self._take_up(analysis, self._written())
            self._settle(analysis, done)
            return
        speaker = self._start_engine()
        encoder = speaker.encoder
        if (
            history.reproduction_stage is None
            and not analysis.reproduction.failing
            and self._card.edit_domain == "free"
        ):
            analysis = self._reproduce(analysis, runner, speaker)
        written = self._written()
        start = self._start_tree(written)
        gate = self._take_up(analysis, written)
        files = Files(workspace.tree)
        outputs = Outputs(self._log.directory / "outputs")
        toolbox = Toolbox(files, self._shell, free_tokens=self._free_tokens(), count=encoder.count, outputs=outputs)
        opening, shown = self._opening(analysis, speaker, toolbox)
        attempts = Attempts(
            speaker,
            self._card,
            toolbox,
            gate,
            workspace,
            opening,
            self._log,
            lambda tool: self._candidates(files, analysis, shown, tool),
            shuffled(request.seed) if request.order == "shuffled" else None,
            request.seed,
            request.limits,
            self._reply_tokens(),
            start,
            done,
            self._progress,
        )
        turn = history.turn
        transcript = self._restored(encoder, turn["branch"], turn["length"]) if turn else None
        attempts.run(self._count(analysis), turn, transcript)
        self._settle(analysis, done)

    def _open_workspace(self) -> Workspace:
        directory = self._log.directory / "workspace"
        if self._history.analysis is not None:
            workspace = Workspace.open(directory)
            workspace.restore(workspace.base)
            return workspace
        Workspace.remove(directory)  # what an interrupted copy left
        self._progress("copying the checkout")
        store = RunStore(self._request.state_dir)
        aside = [store.state_dir, store.runs]
        return Workspace.create(
            self._request.repo,
            directory,
            python=self._request.python,
            leave_out=aside,
            trees=TreeCache(store.state_dir / "trees"),
            overlay=None if self._request.sandbox == "bubblewrap" else False,  # a view stands in namespaces of its own
        )

    def _count(self, analysis: Analysis) -> int:
        """How many attempts: several are worth their tests only where tests can tell them apart."""
        return self._request.attempts if analysis.reproduction.failing else 1

    def _written(self) -> WrittenReproduction | None:
        stage = self._history.reproduction_stage
        return WrittenReproduction.from_json(stage["written"]) if stage and stage["written"] else None

    def _start_tree(self, written: WrittenReproduction | None) -> str:
        """What every attempt begins with: the base, and the reproduction that the run wrote."""
        workspace = self._workspace
        assert workspace is not None
        if written is None:
            return workspace.base
        workspace.restore(workspace.base)
        workspace.write_file(written.path, written.text.encode())
        return workspace.snapshot()

    def _take_up(self, analysis: Analysis, written: WrittenReproduction | None) -> Gate:
        """Goes on with what the analysis found: suspects shown, a gate that asks for its reproduction."""
        request, history, workspace = self._request, self._history, self._workspace
        assert workspace is not None
        self._analysis = analysis
        for suspect in prime_suspects(analysis.suspects, MAX_SUSPECTS):
            self._progress(f"suspect: {suspect.path}:{suspect.first} {suspect.name} ({'; '.join(suspect.reasons)})")
        gate = self._gate = Gate(
            workspace,
            self._sandbox,
            request.test_command,
            analysis.reproduction,
            self._log,
            limit=request.limits.test_runs,
            runs=analysis.runs + history.runs,
            runs_after_edit=history.runs_after_edit,
            # An edit can make a loop endless; what the clean base took says when to stop waiting.
            timeout=min(request.test_timeout, 10 + 10 * analysis.seconds),
            reproduction_files={written.path: written.text.encode()} if written else {},
            cwd=request.package or ".",
        )
        if history.evidence is not None:
            gate.evidence = Evidence(**history.evidence)
        self._result.evidence = gate.evidence
        return gate

    def _start_engine(self) -> Speaker:
        self._progress(f"starting {self._card.name}")
        speaker, self._card, described = speak_with(
            self._model,
            self._choice,
            self._request.context,
            self._request.dialect,
            self._open_engine,
            self._progress,
            self._restarted,
            self._cancel,
        )
        self._speaker = speaker
        self._stack.callback(speaker.engine.close)
        self._check_same_dialect(speaker)
        self._progress(f"computing with {described}")
        self._log.append(
            "engine",
            engine=described,
            model=self._model.source,
            card=self._card.id,
            dialect=speaker.turns.name,
            context_window=speaker.engine.context_window,
            plan=plan_of(self._open_engine),
        )
        return speaker

    def _check_same_dialect(self, speaker: Speaker) -> None:
        """A transcript goes on as it was begun: a server that takes messages now cannot read ids, nor the reverse."""
        before = next((event for event in reversed(self._history.events) if event["type"] == "engine"), None)
        if before is None or self._history.branches() == {0: []}:
            return
        if before.get("dialect", speaker.turns.name) != speaker.turns.name:
            raise EngineError(
                "engine_changed",
                f"the run was begun in the dialect {before['dialect']}, the engine now has {speaker.turns.name}",
                "Start the server as it was and use --resume, or start a new run.",
            )

    def _restarted(self, reason: str) -> None:
        self._log.append("engine_restarted", reason=reason)
        self._progress(f"the engine was restarted: {reason}")

    def _running(self) -> Engine:
        assert self._speaker is not None
        return self._speaker.engine

    def _restored(self, encoder: Encoder, branch: int, length: int) -> Transcript:
        return Transcript.restored(encoder, self._log, self._history.branches(), branch, length)

    def _opening(self, analysis: Analysis, speaker: Speaker, toolbox: Toolbox) -> tuple[Opening, list[Excerpt]]:
        """What every attempt begins with: written now, or as the log has it; and the lines that it shows."""
        request, history, card = self._request, self._history, self._card
        turns, encoder = speaker.turns, speaker.encoder
        notes = ""
        if card.edit_domain == "free":
            notes = agents_notes(toolbox.files.root, request.package, request.agents_tokens, encoder.count)
        shown = fitting_excerpts(
            card,
            turns,
            encoder,
            toolbox.files,
            prime_suspects(analysis.suspects, MAX_SUSPECTS),
            analysis.failures,
            request.issue,
            notes,
            self._running().context_window,
            self._reply_tokens(),
        )
        before = history.opening
        if before is not None and (history.turn is not None or history.attempts):
            transcript = self._restored(encoder, before["branch"], before["length"])
            return opened(transcript, before["at"], shown, toolbox), shown
        transcript = self._restored(encoder, 0, 0) if history.branches() != {0: []} else Transcript(encoder, self._log)
        brief = brief_of(card, request.issue, analysis.failures, shown, notes)
        return write_opening(card, turns, transcript, brief, shown, toolbox, self._log), shown

    def _reproduce(self, analysis: Analysis, runner: TestRunner, speaker: Speaker) -> Analysis:
        """Has the model write a failing test where there is none; what it proves is the new analysis."""
        request, workspace = self._request, self._workspace
        assert workspace is not None
        self._progress("no test fails: writing one that reproduces the issue")
        toolbox = Toolbox(Files(workspace.tree), self._shell, count=speaker.encoder.count)
        opening, _ = self._opening(analysis, speaker, toolbox)
        sampling = self._card.sampling
        written, runs = write_reproduction(
            speaker,
            opening.transcript.fork(opening.at),
            workspace,
            self._sandbox,
            issue=request.issue,
            test_command=request.test_command,
            sampling=Sampling(sampling.temperature, sampling.top_k, sampling.top_p, request.seed),
            free_tokens=self._free_tokens(),
            reply_tokens=self._reply_tokens(),
            timeout=request.test_timeout,
            sink=self._log,
            package=request.package,
            progress=self._progress,
            cancel=self._cancel,
        )
        if written is not None:
            workspace.write_file(written.path, written.text.encode())
            reproduction = Reproduction(written.outcomes, analysis.reproduction.passing)
            runs += analysis.runs
            analysis = locate(
                workspace,
                runner,
                request.issue,
                reproduction,
                runs,
                analysis.seconds,
                request.test_timeout,
                request.package,
                self._log,
            )
        else:
            analysis = replace(analysis, runs=analysis.runs + runs)
            self._log.append("base", **analysis.reproduction.as_json(), runs=analysis.runs, seconds=analysis.seconds)
            self._log.append("suspects", rows=[asdict(suspect) for suspect in analysis.suspects])
        self._log.append("reproduction_stage", written=written.as_json() if written else None)
        self._history = History.of(self._log)
        return analysis

    def _free_tokens(self) -> int:
        return min(MAX_REPLY, self._running().context_window // 8)

    def _reply_tokens(self) -> int:
        """The longest turn of the model's: what comes before a call, and the call."""
        if self._card.edit_domain == "candidates":
            return RANKED_REPLY
        return self._card.preamble_tokens + self._free_tokens() + CLOSING_RESERVE

    def _shell(self, command: str) -> ShellResult:
        """A command of the model's, in the sandbox, in the agent's copy."""
        assert self._workspace is not None
        done, report = run_reported(
            self._workspace,
            self._sandbox,
            ["/bin/sh", "-c", command],
            timeout=self._request.test_timeout,
            cwd=self._request.package or ".",
        )
        output = done.output.decode("utf-8", "replace")
        killed = f"\n[{done.killed_because}]" if done.killed_for else ""
        return ShellResult(done.returncode, output + killed, report)

    def _candidates(self, files: Files, analysis: Analysis, shown: Sequence[Excerpt], tool: str) -> list[Call]:
        if tool != EDIT.name or self._card.edit_domain != "candidates":
            return []
        return candidate_calls(files, prime_suspects(analysis.suspects, MAX_SUSPECTS), shown)

    def _on_event(self, event: Event) -> None:
        """Keeps the patch so far beside the log, at every change of the copy."""
        if event["type"] == "turn":
            self._turns += 1
            self._delivery.keep(self._workspace, event["state"]["tree"])

    def _settle(self, analysis: Analysis, attempts: Sequence[Attempt]) -> None:
        """Takes the best attempt for the run's."""
        result, best = self._result, best_of(attempts)
        assert self._workspace is not None
        self._workspace.restore(best.tree)
        result.evidence = Evidence(**best.evidence)
        self._delivery.summary = best.summary
        result.status, result.reason = status_of(best, bool(analysis.reproduction.failing))

    def _account(self) -> None:
        usage = dict(self._before.usage)
        if self._speaker is not None:
            for kind in ("prefilled", "reused", "decoded"):
                usage[kind] = usage.get(kind, 0) + getattr(self._speaker.engine.usage, kind)
        prefilled, reused = usage.get("prefilled", 0), usage.get("reused", 0)
        self._result.usage = {
            "turns": self._turns,
            "prompt_tokens": prefilled + reused,
            "prefilled_tokens": prefilled,
            "reused_tokens": reused,
            "decoded_tokens": usage.get("decoded", 0),
            "test_runs": self._gate.runs if self._gate else 0,
            "seconds": round(self._before.seconds + time.monotonic() - self._started, 2),
        }
