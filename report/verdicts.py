"""What the rules found, ready to be shown: results with their questions, findings grouped by cause."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from contract.findings import SEVERITIES, Findings, Outcome, Part, RuleResult
from contract.rules import RULES
from report import words
from report.read.findings import LABELS, not_applying

PASSED: Final = (Outcome.NO_ISSUES, Outcome.DOES_NOT_APPLY)
ORDER: Final = (
    Outcome.ISSUES_FOUND,
    Outcome.ERROR,
    Outcome.COULD_NOT_JUDGE,
    Outcome.IN_PROGRESS,
    Outcome.STOPPED,
    *PASSED,
)
SENTENCES: Final = {
    Outcome.COULD_NOT_JUDGE: "could not judge",
    Outcome.ERROR: "failed",
    Outcome.IN_PROGRESS: "still looking",
    Outcome.STOPPED: "stopped",
}


@dataclass(frozen=True)
class Finding:
    """A finding and the rule that made it; NaN for a step that it does not name."""

    rule: str
    step: float
    tensor: str
    severity: str
    message: str

    @property
    def where(self) -> str:
        step = f"step {self.step:,.0f}" if math.isfinite(self.step) else ""
        return ", ".join(part for part in (step, self.tensor) if part)


@dataclass
class Advice:
    """Findings that share a cause and a remedy, which are then said once."""

    severity: str
    cause: str
    remedy: str
    findings: list[Finding] = field(default_factory=list)

    @property
    def span(self) -> str:
        """Where they are: `step 10`, or `20 findings, steps 10 to 400`."""
        steps = [finding.step for finding in self.findings if math.isfinite(finding.step)]
        if not steps or len(self.findings) == 1:
            return (
                self.findings[0].where
                if len(self.findings) == 1
                else words.plural(len(self.findings), "finding")
            )
        if min(steps) == max(steps):
            return f"{words.plural(len(self.findings), 'finding')} at step {steps[0]:,.0f}"
        return f"{words.plural(len(self.findings), 'finding')}, steps {min(steps):,.0f} to {max(steps):,.0f}"


@dataclass(frozen=True)
class Verdict:
    """One rule's result as a page shows it."""

    result: RuleResult
    advice: tuple[Advice, ...] = ()

    @property
    def name(self) -> str:
        return self.result.name

    @property
    def rule(self) -> str:
        return self.result.rule

    @property
    def outcome(self) -> Outcome:
        return self.result.outcome

    @property
    def summary(self) -> str:
        return self.result.summary

    @property
    def findings(self) -> list[Finding]:
        return [finding for advice in self.advice for finding in advice.findings]

    @property
    def unlisted(self) -> int:
        """How many findings were only counted."""
        return max(0, self.result.total - len(self.result.findings))

    @property
    def parts(self) -> tuple[Part, ...]:
        return self.result.parts

    @property
    def parameters(self) -> dict[str, str]:
        """Those of a rule that is made of others are shown with them."""
        return {} if self.parts else parameters(self.result.parameters)

    @property
    def question(self) -> str:
        return question(self.rule)

    @property
    def description(self) -> str:
        return f"It looks for {RULES[self.rule].looks_for}." if self.rule in RULES else ""

    @property
    def mark(self) -> str:
        return mark(self.outcome)

    @property
    def label(self) -> str:
        return LABELS[self.outcome]

    @property
    def severity(self) -> str:
        return min((advice.severity for advice in self.advice), key=_gravity, default="medium")


def question(rule: str) -> str:
    """What a person wants to know of a rule; empty for one that is not ours."""
    return RULES[rule].question if rule in RULES else ""


def mark(outcome: Outcome) -> str:
    """The sign beside a rule, or a part of one."""
    return {Outcome.ISSUES_FOUND: "!", Outcome.NO_ISSUES: "✓"}.get(outcome, "–")


def parameters(values: Mapping[str, Any]) -> dict[str, str]:
    """A rule's parameters that have a value."""
    return {str(key): str(value) for key, value in values.items() if value is not None}


def verdicts(findings: Findings | None) -> list[Verdict]:
    """All rules, those with issues first and of them the gravest first."""
    results = findings.rules if findings else ()
    # What a rule that is made of others says is repeated from its parts, which may be rules of the job too.
    said = {
        (finding.cause, finding.remedy)
        for result in results
        if not result.parts
        for finding in result.findings
    }
    return sorted((_verdict(result, said) for result in results), key=_rank)


def _verdict(result: RuleResult, said: set[tuple[str, str]]) -> Verdict:
    groups: dict[tuple[str, str, str], Advice] = {}
    for item in result.findings:
        if result.parts and (item.cause, item.remedy) in said:
            continue
        key = item.severity, item.cause, item.remedy
        advice = groups.setdefault(key, Advice(*key))
        step = math.nan if item.step is None else float(item.step)
        advice.findings.append(Finding(result.rule, step, item.tensor or "", item.severity, item.message))
    return Verdict(result, tuple(sorted(groups.values(), key=lambda advice: _gravity(advice.severity))))


def _gravity(severity: str) -> int:
    return SEVERITIES.index(severity)


def _rank(verdict: Verdict) -> tuple[int, bool, int, int]:
    severity = _gravity(verdict.severity) if verdict.outcome is Outcome.ISSUES_FOUND else 0
    names = list(RULES)
    order = names.index(verdict.rule) if verdict.rule in RULES else len(names)
    return ORDER.index(verdict.outcome), bool(verdict.parts), severity, order


def sentence(judged: list[Verdict], *, complete: bool = True) -> str:
    """The verdicts in one sentence for the headline; `complete`: all of the job's rules are among them."""
    if not judged:
        return "No rule has looked at this job."
    by_outcome: dict[Outcome, list[str]] = {}
    for verdict in judged:
        by_outcome.setdefault(verdict.outcome, []).append(verdict.name)
    if not complete and by_outcome.keys() == {Outcome.ISSUES_FOUND}:
        names = _names(by_outcome[Outcome.ISSUES_FOUND])
        return f"{names} found something to change; the other rules have given no verdict."
    rules = words.plural(len(judged), "rule")
    parts = []
    if issues := by_outcome.get(Outcome.ISSUES_FOUND, []):
        parts.append(f"{len(issues)} of {rules} found something to change: {_names(issues)}")
    passed = by_outcome.get(Outcome.NO_ISSUES, [])
    if len(passed) == len(judged):
        parts.append(f"None of {rules} found anything to change")
    elif not issues and passed:
        parts.append(f"{len(passed)} of {rules} found nothing")
    if idle := not_applying([verdict.result for verdict in judged]):
        parts.append(idle)
    for outcome, text in SENTENCES.items():
        if rest := by_outcome.get(outcome):
            parts.append(f"{len(rest)} {text}: {_names(rest)}")
    return f"{'' if issues or passed else f'Of {rules}, '}{'; '.join(parts)}."


def _names(rules: list[str]) -> str:
    return words.listing(rules if len(rules) <= 5 else [*rules[:4], f"{len(rules) - 4} more"])
