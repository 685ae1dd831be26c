"""What a job's rules found, as it can be known without its findings.json; and how outcomes are worded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from contract.findings import (
    Finding,
    FindingLine,
    Findings,
    Line,
    Outcome,
    ProgressLine,
    RuleResult,
    StopLine,
    VerdictLine,
    parse_line,
)
from contract.rules import RULES, ParameterError, find
from report.read.toolkit import split_host

MOST_FINDINGS: Final = 1_000  # of one rule that are kept
LABELS: Final[Mapping[Outcome, str]] = {
    Outcome.ISSUES_FOUND: "Issues found",
    Outcome.ERROR: "Error",
    Outcome.COULD_NOT_JUDGE: "Could not judge",
    Outcome.IN_PROGRESS: "Still looking",
    Outcome.STOPPED: "Stopped",
    Outcome.NO_ISSUES: "No issues",
    Outcome.DOES_NOT_APPLY: "Does not apply",
}


def line_of(text: str) -> Line | None:
    """What a line of the log says, whichever host it is of; None for one that is not ours."""
    return parse_line(split_host(text)[1])


def have_evidence(findings: Findings | None) -> bool:
    """Whether any rule saw enough of the training to say something about it."""
    telling = (Outcome.ISSUES_FOUND, Outcome.NO_ISSUES, Outcome.ERROR)
    return findings is not None and any(rule.outcome in telling for rule in findings.rules)


def of_lines(lines: Iterable[str]) -> Findings | None:
    """What the log says of the rules: the findings without their causes, the verdicts if it has them.

    None where no rule has written a line.
    """
    story = _Story()
    for text in lines:
        story.add(line_of(text))
    return story.findings()


@dataclass
class _Story:
    """What the lines have said so far."""

    findings_of: dict[str, dict[tuple[int | None, str | None], Finding]] = field(default_factory=dict)
    verdicts: dict[str, tuple[Outcome, VerdictLine]] = field(default_factory=dict)
    stop: StopLine | None = None

    def add(self, line: Line | None) -> None:
        if isinstance(line, FindingLine):
            kept = self.findings_of.setdefault(line.rule, {})
            place = line.step, line.tensor
            # After an interruption steps are repeated, and so is what was found in them.
            if place in kept or len(kept) < MOST_FINDINGS:
                kept[place] = Finding(*place, line.severity, line.message, "", line.remedy)
        elif isinstance(line, VerdictLine):
            outcome = _outcome(line.outcome)
            if outcome is not None:
                self.verdicts[line.rule] = outcome, line
        elif isinstance(line, StopLine):
            self.stop = line
        elif isinstance(line, ProgressLine):  # what was said before an interruption is not the last word
            self.verdicts, self.stop = {}, None

    def findings(self) -> Findings | None:
        names = {**self.findings_of, **self.verdicts}
        if not names and self.stop is None:
            return None
        results = [self._result(name) for name in names]
        order = list(RULES)
        results.sort(key=lambda item: order.index(item.rule) if item.rule in RULES else len(order))
        return Findings(
            complete=bool(self.verdicts),
            rules=tuple(results),
            stopped_by=self.stop.rule if self.stop else "",
            stopped_at=self.stop.step if self.stop else None,
        )

    def _result(self, name: str) -> RuleResult:
        findings = tuple(self.findings_of.get(name, {}).values())
        outcome, line = self.verdicts.get(name, (Outcome.ISSUES_FOUND, VerdictLine(name)))
        if outcome is not Outcome.ISSUES_FOUND:
            findings = ()  # a profiler rule judges the whole job anew each time, and this holds no longer
        rule, kind = _rule(name)
        total = max(line.total, len(findings))
        return RuleResult(name, rule, kind, outcome, line.summary, total=total, findings=findings)


def of_description(job: Mapping[str, Any]) -> Findings | None:
    """The statuses of a described job's rules, where it has any: of SageMaker's own Debugger."""
    results = []
    for kind, section in (("debugger", "DebugRule"), ("profiler", "ProfilerRule")):
        rules = {
            str(entry.get("RuleConfigurationName")): str(
                (entry.get("RuleParameters") or {}).get("rule_to_invoke", "")
            )
            for entry in _tables(job.get(f"{section}Configurations"))
        }
        for entry in _tables(job.get(f"{section}EvaluationStatuses")):
            name, outcome = str(entry.get("RuleConfigurationName", "")), entry.get("RuleEvaluationStatus")
            rule, own_kind = _rule(rules.get(name) or name)
            results.append(
                RuleResult(
                    name,
                    rule,
                    own_kind if rule in RULES else kind,
                    # Stopping, which is SageMaker's alone, is no end yet.
                    _outcome(outcome) or Outcome.IN_PROGRESS,
                    str(entry.get("StatusDetails") or ""),
                )
            )
    complete = all(result.outcome.is_final for result in results)
    return Findings(complete=complete, rules=tuple(results)) if results else None


def beside(findings: Findings, others: Findings | None) -> Findings:
    """The findings of the training container, and behind them what SageMaker's own Debugger said of the
    job."""
    if others is None:
        return findings
    theirs = tuple(replace(result, name=f"{result.name} (SageMaker)") for result in others.rules)
    return replace(findings, complete=findings.complete and others.complete, rules=(*findings.rules, *theirs))


def ended(findings: Findings) -> Findings:
    """The findings of a job that has ended: rules that had no verdict until then will have none."""

    def closed(result: RuleResult) -> RuleResult:
        if result.outcome is not Outcome.IN_PROGRESS:
            return result
        so_far = f" Until then: {result.summary}" if result.summary else ""
        text = f"The job ended before the rule had its verdict.{so_far}"
        return replace(result, outcome=Outcome.STOPPED, summary=text)

    return replace(findings, rules=tuple(map(closed, findings.rules)))


def outcomes(findings: Findings | None) -> dict[str, str]:
    """The outcomes by the rules' names."""
    return {result.name: str(result.outcome) for result in findings.rules} if findings else {}


def not_applying(results: Sequence[RuleResult]) -> str:
    """How many of the rules do not concern the job: `3 do not apply without a GPU`; empty for none."""
    idle = [result for result in results if result.outcome is Outcome.DOES_NOT_APPLY]
    if not idle:
        return ""
    verb = "does" if len(idle) == 1 else "do"
    # What keeps a profiler rule from judging measurements that are there is that they are of no GPU.
    without = sum(result.kind == "profiler" for result in idle)
    why = " without a GPU" if without == len(idle) else f" ({without} without a GPU)" if without else ""
    return f"{len(idle)} {verb} not apply{why}"


def stop_sentence(findings: Findings | None) -> str:
    """Which rule ended the training, and when; empty where none did."""
    if findings is None or not findings.stopped_by:
        return ""
    at = f" after step {findings.stopped_at:,}" if findings.stopped_at is not None else ""
    return f"{findings.stopped_by} stopped the training{at}."


def _rule(name: str) -> tuple[str, str]:
    """A rule's own name and its kind, by a name in whatever case."""
    try:
        rule = find(name)
    except ParameterError:
        return name, "debugger"
    return rule.name, rule.kind


def _outcome(value: object) -> Outcome | None:
    try:
        return Outcome(str(value))
    except ValueError:
        return None


def _tables(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
