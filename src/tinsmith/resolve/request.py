"""What a person asks `resolve` for, and what comes of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tinsmith.agent import Limits
from tinsmith.errors import TinsmithError
from tinsmith.resolve.gate import Evidence


@dataclass(frozen=True)
class Request:
    """What the person asked for. `order`: `model`, or `shuffled` for plain enumerate-and-test (evaluation only).

    `package` is a directory below the checkout's top where the tests run, `agents_tokens` bounds AGENTS.md, `context`
    the window, in tokens; `dialect` is the name of one, `template` for the model's own chat template, or `auto`.
    `approve_sensitive`: a branch is made also of a patch that touches files which act by themselves. `sandbox`: see
    `tinsmith.workspace.find_sandbox`.
    """

    repo: Path
    issue: str
    model: str | None = None
    python: Path | None = None
    test_command: str | None = None
    package: str = ""
    seed: int = 1
    attempts: int = 1
    limits: Limits = field(default_factory=Limits)
    test_timeout: float = 300.0
    agents_tokens: int = 400
    state_dir: Path | None = None
    order: str = "model"
    context: int | None = None
    dialect: str = "auto"
    approve_sensitive: bool = False
    sandbox: Literal["bubblewrap", "landlock", "none"] = "bubblewrap"

    def as_json(self) -> dict[str, Any]:
        """For a run's log; the issue is an event of its own."""
        return {
            "repo": str(self.repo),
            "model": self.model,
            "python": str(self.python) if self.python else None,
            "test_command": self.test_command,
            "package": self.package,
            "seed": self.seed,
            "attempts": self.attempts,
            "limits": self.limits.as_json(),
            "test_timeout": self.test_timeout,
            "agents_tokens": self.agents_tokens,
            "order": self.order,
            "context": self.context,
            "dialect": self.dialect,
            "approve_sensitive": self.approve_sensitive,
            "sandbox": self.sandbox,
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any], issue: str, state_dir: Path | None) -> "Request":
        """The request that `as_json` gave."""
        fields: dict[str, Any] = dict(given)
        fields["repo"] = Path(fields["repo"])
        fields["python"] = Path(fields["python"]) if fields["python"] else None
        fields["limits"] = Limits(**fields["limits"])
        return cls(**fields, issue=issue, state_dir=state_dir)


@dataclass
class Result:
    """How it ended. Paths are absolute; `status` is one of resolved, unresolved, unverified, error, interrupted.

    `sensitive` are rows of `SensitivePath`: what the patch touches that acts by itself.
    """

    run: str
    status: str = "error"
    reason: str = ""
    branch: str | None = None
    patch: Path | None = None
    pull_request: Path | None = None
    report: Path | None = None
    evidence: Evidence = field(default_factory=Evidence)
    sensitive: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
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
            "sensitive": self.sensitive,
            "usage": self.usage,
        }
