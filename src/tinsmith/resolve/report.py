"""What a person reads after a run: the pull request's text and the report, both Markdown, from the same facts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tinsmith.codebase import Suspect
from tinsmith.resolve.gate import Evidence


@dataclass(frozen=True)
class Facts:
    """Everything the texts are made of."""

    run: str
    issue: str
    status: str
    reason: str
    model: str
    suspects: Sequence[Suspect]
    patch: str
    evidence: Evidence
    failures: Mapping[str, str]
    usage: Mapping[str, float]
    branch: str | None
    summary: str


def title(issue: str) -> str:
    """The first line of the issue, as a title."""
    first = next((line.strip("# \t") for line in issue.splitlines() if line.strip("# \t")), "the issue")
    return first if len(first) <= 72 else first[:69].rstrip() + "..."


def pull_request(facts: Facts) -> str:
    """What, root cause, evidence."""
    return "\n".join(
        [
            f"# Fix: {title(facts.issue)}",
            "",
            "## What",
            "",
            *_changes(facts.patch),
            "",
            "## Root cause",
            "",
            _root_cause(facts),
            "",
            "## Evidence",
            "",
            *_evidence(facts),
            "",
            f"Made by Tinsmith with {facts.model}, run {facts.run}. Status: **{facts.status}** ({facts.reason}).",
            "",
        ]
    )


def report(facts: Facts) -> str:
    """The whole run on one page."""
    usage = facts.usage
    return "\n".join(
        [
            f"# {title(facts.issue)}",
            "",
            f"Status: **{facts.status}** ({facts.reason}). Branch: {facts.branch or 'none'}. Run: {facts.run}.",
            "",
            "## Issue",
            "",
            *[f"> {line}" for line in facts.issue.strip().splitlines()],
            "",
            "## Where",
            "",
            *[f"- `{s.path}` `{s.name}`, lines {s.first} to {s.last}: {'; '.join(s.reasons)}" for s in facts.suspects],
            "",
            "## Patch",
            "",
            *(_fenced("diff", facts.patch) if facts.patch else ["None."]),
            "",
            "## Evidence",
            "",
            *_evidence(facts),
            "",
            "## Cost",
            "",
            f"{usage['turns']:.0f} turns, {usage['test_runs']:.0f} test runs, {usage['seconds']:.1f} s; tokens: "
            f"{usage['prompt_tokens']:.0f} in prompts, {usage['prefilled_tokens']:.0f} prefilled, "
            f"{usage['reused_tokens']:.0f} reused, {usage['decoded_tokens']:.0f} decoded.",
            "",
        ]
    )


def _changes(patch: str) -> list[str]:
    return _fenced("diff", patch) if patch else ["No change."]


def _fenced(kind: str, text: str) -> list[str]:
    fence = "```"
    while fence in text:
        fence += "`"
    return [fence + kind, text.rstrip("\n"), fence]


def _root_cause(facts: Facts) -> str:
    if not facts.patch:
        return "Not found."
    places = [line[6:] for line in facts.patch.splitlines() if line.startswith("+++ b/")]
    of_suspect = next((s for s in facts.suspects if s.path in places), None)
    where = f"`{of_suspect.name}` in `{of_suspect.path}`" if of_suspect else ", ".join(f"`{p}`" for p in places)
    why = f" ({'; '.join(of_suspect.reasons)})" if of_suspect else ""
    return f"The failing test leads to {where}{why}. The line changed above is what made it fail."


def _evidence(facts: Facts) -> list[str]:
    evidence = facts.evidence
    if not evidence.reproduction:
        return ["No test failed on the clean base, so nothing proves the fix: this run is *unverified*."]
    lines = [
        "| test | clean base | clean copy with the patch |",
        "| --- | --- | --- |",
        *(f"| `{t}` | {evidence.before[t]} | {evidence.after.get(t, 'not run')} |" for t in evidence.reproduction),
        "",
    ]
    lines += [f"On the clean base: `{message}`" for message in facts.failures.values()]
    if evidence.after:
        lines.append(
            f"Tests that passed before and still pass: {evidence.still_passing}; broken: {len(evidence.broken)}."
        )
    return lines
