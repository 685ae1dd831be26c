"""What the rules found, put together from findings.json, status.json and DescribeTrainingJob."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scripts import jobs
from scripts.report import words
from scripts.report.data import mapping, number, sequence
from scripts.report.inputs import ReportInputs

QUESTIONS = {
    "LossNotDecreasing": "Is the loss going down?",
    "VanishingGradient": "Do all layers still get a gradient?",
    "ExplodingTensor": "Are all numbers finite?",
    "Overfit": "Does it do as well on new pictures as on known ones?",
    "Overtraining": "Is it still getting better?",
    "DeadRelu": "Are the activations alive?",
    "PoorWeightInitialization": "Did it start from sensible weights?",
    "WeightUpdateRatio": "Do the weights move at a sensible pace?",
    "ClassImbalance": "Are the classes balanced?",
    "CPUBottleneck": "Does the processor hold the accelerator up?",
    "IOBottleneck": "Does reading data hold the accelerator up?",
    "LowGPUUtilization": "Is the accelerator busy?",
    "GPUMemoryIncrease": "Is memory use steady?",
    "LoadBalancing": "Do all accelerators carry the same load?",
    "StepOutlier": "Do all steps take about as long?",
    "MaxInitializationTime": "Did training begin soon?",
    "BatchSize": "Is the batch large enough for the machine?",
    "Dataloader": "Does the number of loader workers fit the machine?",
    "OverallSystemUsage": "How is the machine used?",
    "OverallFrameworkMetrics": "Where does the time go?",
    "ProfilerReport": "Everything about performance",
}
PROFILER = tuple(QUESTIONS)[tuple(QUESTIONS).index("CPUBottleneck") :]
SEVERITIES = ("high", "medium", "low")
PASSED = ("NoIssuesFound", "DoesNotApply")
ORDER = ("IssuesFound", "Error", "CouldNotJudge", "InProgress", "Stopping", "Stopped", *PASSED)
LABELS = {
    "IssuesFound": "Issues found",
    "Error": "Error",
    "CouldNotJudge": "Could not judge",
    "InProgress": "Still looking",
    "Stopping": "Stopping",
    "Stopped": "Stopped",
    "NoIssuesFound": "No issues",
    "DoesNotApply": "Does not apply",
}

SENTENCES = {
    "CouldNotJudge": "could not judge",
    "Error": "failed",
    "InProgress": "still looking",
    "Stopping": "stopping",
    "Stopped": "stopped",
}


@dataclass(frozen=True)
class Finding:
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


def idle(summary: str) -> bool:
    """Whether a part passed only because it does not concern this job: GPU rules without a GPU."""
    return summary.endswith(jobs.DOES_NOT_APPLY)


@dataclass(frozen=True)
class Part:
    """One of the rules that a rule is made of: ProfilerReport's."""

    rule: str
    found: int
    seen: int
    summary: str
    parameters: dict[str, str]

    @property
    def question(self) -> str:
        return QUESTIONS.get(self.rule, "")

    @property
    def mark(self) -> str:
        if self.found:
            return "!"
        judged = self.seen and not idle(self.summary) and not self.summary.startswith("Could not judge")
        return "✓" if judged else "–"


@dataclass
class Verdict:
    name: str
    rule: str
    status: str
    kind: str
    summary: str = ""
    description: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    advice: list[Advice] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    @property
    def findings(self) -> list[Finding]:
        return [finding for advice in self.advice for finding in advice.findings]

    @property
    def question(self) -> str:
        return QUESTIONS.get(self.rule, "")

    @property
    def mark(self) -> str:
        """For a rule that found nothing: whether it had anything to look at."""
        return "–" if self.status == "DoesNotApply" else "✓"

    @property
    def label(self) -> str:
        return LABELS.get(self.status, self.status)

    @property
    def severity(self) -> str:
        return min((advice.severity for advice in self.advice), key=SEVERITIES.index, default="medium")


def verdicts(inputs: ReportInputs) -> list[Verdict]:
    """All rules, those with issues first and of them the gravest first."""
    found: dict[str, Verdict] = {}
    for kind, key in (("debug", "DebugRule"), ("profiler", "ProfilerRule")):
        for source in (inputs.describe, inputs.status):
            for raw in sequence(source.get(f"{key}EvaluationStatuses")):
                entry = mapping(raw)
                name = str(entry.get("RuleConfigurationName", ""))
                if not name:
                    continue
                verdict = found.setdefault(name, Verdict(name, name, "InProgress", kind))
                verdict.status = str(entry.get("RuleEvaluationStatus", verdict.status))
                verdict.summary = str(entry.get("StatusDetails", "") or verdict.summary)
    for raw in sequence(inputs.findings.get("rules")):
        entry = mapping(raw)
        name = str(entry.get("RuleConfigurationName", ""))
        if name:
            known = found.get(name) or Verdict(name, name, "InProgress", "debug")
            found[name] = known
            _complete(known, entry, has_status=bool(known.summary))
    for verdict in found.values():
        verdict.status = jobs.verdict(
            {"RuleEvaluationStatus": verdict.status, "StatusDetails": verdict.summary}
        )
        verdict.summary = jobs.evidence(verdict.summary)
    said = {verdict.rule for verdict in found.values() if verdict.findings and not verdict.parts}
    for verdict in found.values():
        if verdict.parts:  # it repeats the findings of its parts, which may be rules of the job themselves
            verdict.advice = [
                advice
                for advice in verdict.advice
                if not all(finding.message.partition(":")[0] in said for finding in advice.findings)
            ]
    return sorted(found.values(), key=_rank)


def _complete(verdict: Verdict, entry: Mapping[str, Any], has_status: bool) -> None:
    verdict.rule = str(entry.get("Rule") or verdict.name)
    verdict.kind = "profiler" if verdict.rule in PROFILER else verdict.kind
    verdict.status = str(entry.get("RuleEvaluationStatus") or verdict.status)
    verdict.summary = str(entry.get("Summary") or verdict.summary)
    verdict.description = str(entry.get("Description") or "")
    verdict.parameters = _parameters(entry)
    for raw in sequence(entry.get("Parts")):
        item = mapping(raw)
        verdict.parts.append(
            Part(
                rule=str(item.get("Rule", "")),
                found=_count(item.get("Found")),
                seen=_count(item.get("Seen")),
                summary=str(item.get("Summary") or ""),
                parameters=_parameters(item),
            )
        )
    if verdict.parts:
        verdict.parameters = {}  # those of its parts, which are shown with them
    groups: dict[tuple[str, str, str], Advice] = {}
    for raw in sequence(entry.get("Findings")):
        item = mapping(raw)
        severity = str(item.get("severity", "medium"))
        severity = severity if severity in SEVERITIES else "medium"
        cause, remedy = str(item.get("cause") or ""), str(item.get("remedy") or "")
        advice = groups.setdefault((severity, cause, remedy), Advice(severity, cause, remedy))
        advice.findings.append(
            Finding(
                rule=verdict.rule,
                step=number(item.get("step")),
                tensor=str(item.get("tensor") or ""),
                severity=severity,
                message=str(item.get("message") or ""),
            )
        )
    verdict.advice = sorted(groups.values(), key=lambda advice: SEVERITIES.index(advice.severity))


def _parameters(entry: Mapping[str, Any]) -> dict[str, str]:
    raw = mapping(entry.get("Parameters"))
    return {
        str(key): str(value) for key, value in raw.items() if key != "rule_to_invoke" and value is not None
    }


def _count(value: object) -> int:
    found = number(value)
    return int(found) if math.isfinite(found) else 0


def _rank(verdict: Verdict) -> tuple[int, bool, int, int]:
    place = ORDER.index(verdict.status) if verdict.status in ORDER else 1
    severity = SEVERITIES.index(verdict.severity) if verdict.status == "IssuesFound" else 0
    known = list(QUESTIONS)
    order = known.index(verdict.rule) if verdict.rule in known else len(known)
    return place, bool(verdict.parts), severity, order


def sentence(found: list[Verdict]) -> str:
    """The verdicts in one sentence for the headline."""
    if not found:
        return "No rule has looked at this job."
    by_status: dict[str, list[str]] = {}
    idle = [verdict.summary for verdict in found if verdict.status == "DoesNotApply"]
    for verdict in found:
        by_status.setdefault(verdict.status, []).append(verdict.rule)
    rules = words.plural(len(found), "rule")
    parts = []
    if issues := by_status.pop("IssuesFound", []):
        parts.append(f"{len(issues)} of {rules} found something to change: {_names(issues)}")
    passed = by_status.pop("NoIssuesFound", [])
    if len(passed) == len(found):
        parts.append(f"None of {rules} found anything to change")
    elif not issues and passed:
        parts.append(f"{len(passed)} of {rules} found nothing")
    if idle:
        parts.append(jobs.not_applying(idle))
    for status, text in SENTENCES.items():
        if names := by_status.get(status):
            parts.append(f"{len(names)} {text}: {_names(names)}")
    return f"{'' if issues or passed else f'Of {rules}, '}{'; '.join(parts)}."


def _names(rules: list[str]) -> str:
    return words.listing(rules if len(rules) <= 5 else [*rules[:4], f"{len(rules) - 4} more"])
