"""What a run leaves: the patch at every moment, and at its end the branch, the pull request's text, the report."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinsmith.codebase import prime_suspects
from tinsmith.errors import InputError
from tinsmith.events import RunLog
from tinsmith.resolve.analysis import Analysis
from tinsmith.resolve.html_report import write_html
from tinsmith.resolve.opening import MAX_SUSPECTS
from tinsmith.resolve.report import Facts, pull_request, title
from tinsmith.resolve.request import Request, Result
from tinsmith.workspace import (
    Workspace,
    branch_commit,
    commit_branch,
    describe_sensitive,
    parse_patch,
    sensitive_paths,
    slug,
)


class Delivery:
    """The files of one run beside its log, and its branch. `summary` is what the model said of its fix, `waived` what
    the sandbox does not hold."""

    def __init__(
        self, request: Request, model: str, log: RunLog, progress: Callable[[str], None], waived: str = ""
    ) -> None:
        self._request, self._model, self._log, self._progress = request, model, log, progress
        self._waived = waived
        self._kept = ""
        self.summary = ""

    @property
    def patch(self) -> Path:
        """Where the patch so far lies, once there is one."""
        return self._log.directory / "patch.diff"

    def keep(self, workspace: Workspace | None, tree: str) -> None:
        """Writes the patch from the base to `tree`; nothing where it is what it was."""
        if workspace is None or tree == self._kept:
            return
        text = workspace.diff(workspace.base, tree)
        if text:
            _replace(self.patch, text)
        else:
            self.patch.unlink(missing_ok=True)
        self._kept = tree

    def deliver(self, result: Result, workspace: Workspace | None, before: Mapping[str, Any] | None) -> None:
        """Keeps the patch and adds the branch where one is due; `before` is the branch of an interrupted delivery.

        A patch that touches files which act by themselves gets none unless the person approved of that before.
        Raises InputError where git does not take it; the patch is kept then too.
        """
        if workspace is not None:
            self.keep(workspace, workspace.snapshot())
        result.patch = self.patch if self.patch.is_file() else None
        if result.status not in ("resolved", "unverified"):
            return
        if result.patch is None or workspace is None:
            result.status, result.reason = "unresolved", "the run ended without a change"
            return
        repo, approved = self._request.repo, self._request.approve_sensitive
        patch = parse_patch(result.patch.read_text(encoding="utf-8", errors="surrogateescape"))
        if sensitive := sensitive_paths(patch):
            result.sensitive = [asdict(each) for each in sensitive]
            if not approved:
                result.status = "unverified"
                result.reason += (
                    f"; no branch, since the patch needs your approval: {describe_sensitive(sensitive)}. "
                    f"Read it, then: tinsmith apply --approve-sensitive {self._log.run}"
                )
                return
        if before is not None and branch_commit(repo, before["branch"]) == before["commit"]:
            result.branch = str(before["branch"])
        else:
            headline = title(self._request.issue)

            def announce(branch: str, commit: str) -> None:
                self._log.append("branch", branch=branch, commit=commit)

            try:
                result.branch = commit_branch(
                    repo,
                    patch,
                    slug(headline),
                    f"Fix: {headline}",
                    workspace.checkout.head,
                    approve_sensitive=approved,
                    announce=announce,
                )
            except InputError as refused:
                if refused.code != "patch_does_not_apply":
                    raise
                result.reason += (
                    "; no branch, since it builds on changes that are not committed: "
                    f"tinsmith apply {self._log.run} puts it into your work tree"
                )
                return
        self._progress(f"branch {result.branch}")

    def write_texts(self, result: Result, analysis: Analysis | None) -> None:
        """The pull request's text, the report, and the end of the log."""
        patch = ""
        if result.patch is not None:
            patch = result.patch.read_text(encoding="utf-8", errors="surrogateescape")
        facts = Facts(
            run=result.run,
            issue=self._request.issue,
            status=result.status,
            reason=result.reason,
            model=self._model,
            suspects=prime_suspects(analysis.suspects, MAX_SUSPECTS) if analysis else (),
            patch=patch,
            evidence=result.evidence,
            failures=analysis.failures if analysis else {},
            usage=result.usage,
            branch=result.branch,
            summary=self.summary,
            waived=self._waived,
        )
        result.pull_request = self._log.directory / "pull_request.md"
        _replace(result.pull_request, pull_request(facts))
        # The report is a projection of the log; `run_ended` comes when nothing is left to be done.
        self._log.append(
            "result",
            status=result.status,
            reason=result.reason,
            branch=result.branch,
            usage=result.usage,
            summary=self.summary,
        )
        result.report = self._log.directory / "report.html"
        _replace(result.report, write_html(self._log, patch))
        self._log.end(result.status, reason=result.reason, branch=result.branch)


def _replace(path: Path, text: str) -> None:
    """Writes a file in one step: whoever reads it finds the old text or the new."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
    temporary.replace(path)
