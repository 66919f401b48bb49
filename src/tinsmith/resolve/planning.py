"""The engine of a person's own file is started as a plan says: what its header asks for, held against this machine."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinsmith.engines import EngineChoice, TokenEngine, machine_of, open_any_engine
from tinsmith.errors import InputError
from tinsmith.events import default_state_dir
from tinsmith.models import ModelCard, Plan, plan_or_error, read_layout, this_machine, windows

Progress = Callable[[str], None]


@dataclass
class FileEngines:
    """Starts the engine of the file that `card` is of; an `OpenEngine`. `asked` is the window that the person wants.

    `plan` is what the engine was started with: None before, for the built-in model, which fits everywhere, and for a
    file of a shape that we cannot read. Raises MachineError `model_does_not_fit` beside what `open_any_engine` raises.
    """

    card: ModelCard
    choice: EngineChoice
    asked: int | None
    plan: Plan | None = field(default=None, init=False)

    def __call__(
        self,
        model_path: Path,
        *,
        context: int | None,
        progress: Progress | None,
        on_restart: Callable[[str], None] | None,
    ) -> TokenEngine:
        if self.card.file is None:
            self.plan = self._plan(model_path, progress)
        if self.plan is not None and progress:
            progress(f"the plan: {self.plan.described()}")
        return open_any_engine(
            model_path,
            choice=self.choice,
            context=self.plan.context if self.plan else context,
            progress=progress,
            on_restart=on_restart,
            options=self.plan.engine_options() if self.plan else None,
        )

    def _plan(self, path: Path, progress: Progress | None) -> Plan | None:
        layout = read_layout(path)
        try:
            geometry, weights = layout.geometry(), layout.weights()
        except InputError as error:
            if progress:
                progress(f"no plan is made, since the file does not say its shape: {error}")
            return None
        machine = machine_of(self.choice, this_machine(state_dir=default_state_dir()))
        contexts = windows(self.asked, self.card.context, geometry.context)
        return plan_or_error(path.name, geometry, weights, machine, contexts)


def plan_of(open_engine: object) -> dict[str, Any] | None:
    """For the log: the plan that was followed, None where there was none."""
    made = open_engine.plan if isinstance(open_engine, FileEngines) else None
    return made.as_json() if made else None
