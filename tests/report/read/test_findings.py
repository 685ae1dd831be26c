"""What is known of a job's rules without findings.json."""

from __future__ import annotations

import pytest

from contract.findings import (
    FindingLine,
    Findings,
    Outcome,
    ProgressLine,
    StopLine,
    VerdictLine,
    format_line,
)
from report.read.findings import (
    LABELS,
    ended,
    line_of,
    not_applying,
    of_description,
    of_lines,
    outcomes,
    stop_sentence,
)
from tests.report import sample_findings, samples
from tests.report.sample_findings import rule

LOSS = FindingLine("LossNotDecreasing", 20, "loss", "high", "It rises.", "Lower lr.")
PROGRESS = ProgressLine(1, 8, 30, 400, 2.5)


def read(*lines: FindingLine | StopLine | VerdictLine | ProgressLine, mark: str = "") -> Findings:
    found = of_lines(["Device: cpu.", *(mark + format_line(line) for line in lines)])
    assert found is not None
    return found


@pytest.mark.parametrize("mark", ["", "[algo-1] "])
def test_a_running_job_has_the_findings_that_its_log_names(mark: str) -> None:
    found = read(PROGRESS, LOSS, mark=mark)
    assert not found.complete
    (result,) = found.rules
    assert (result.rule, result.kind, result.outcome, result.total) == (
        "LossNotDecreasing",
        "debugger",
        Outcome.ISSUES_FOUND,
        1,
    )
    (finding,) = result.findings
    assert (finding.step, finding.severity, finding.remedy, finding.cause) == (20, "high", "Lower lr.", "")


def test_verdicts_of_the_log_are_the_rules_results() -> None:
    whole = samples.stopped().findings
    assert whole is not None
    found = of_lines(sample_findings.lines(whole))
    assert found is not None
    assert found.complete
    assert outcomes(found) == outcomes(whole)
    assert (found.stopped_by, found.stopped_at) == ("LossNotDecreasing", 120)
    totals = {item.rule: (item.total, item.summary) for item in found.rules}
    assert totals == {item.rule: (item.total, item.summary) for item in whole.rules}


def test_a_finding_that_no_longer_holds_at_the_end_is_none() -> None:
    found = read(
        FindingLine("LowGPUUtilization", None, None, "low", "Idle."),
        VerdictLine("LowGPUUtilization", "NoIssuesFound"),
    )
    assert outcomes(found) == {"LowGPUUtilization": "NoIssuesFound"}
    assert not found.rules[0].findings


def test_steps_that_an_interruption_repeats_count_once_and_their_verdicts_are_not_the_last() -> None:
    found = read(LOSS, VerdictLine("Overfit", "NoIssuesFound"), PROGRESS, LOSS)
    assert not found.complete
    assert outcomes(found) == {"LossNotDecreasing": "IssuesFound"}
    assert found.rules[0].total == 1


@pytest.mark.parametrize(
    "lines",
    [
        [],
        ["epoch=1 train_loss=2", format_line(PROGRESS)],
        ['debugger.finding {"rule": 3}', 'debugger.verdict {"rule": "Overfit", "outcome": "Perhaps"}'],
    ],
)
def test_a_log_in_which_no_rule_speaks_says_nothing_of_rules(lines: list[str]) -> None:
    assert of_lines(lines) is None


def test_a_level_in_front_of_a_line_is_no_host() -> None:
    assert line_of(f"[algo-12] {format_line(LOSS)}") == LOSS
    assert line_of(f"[algo 1] {format_line(LOSS)}") is None


def test_statuses_of_sagemakers_own_debugger_are_taken_as_they_are() -> None:
    job = {
        "DebugRuleConfigurations": [
            {"RuleConfigurationName": "mine", "RuleParameters": {"rule_to_invoke": "overfit"}}
        ],
        "DebugRuleEvaluationStatuses": [
            {"RuleConfigurationName": "mine", "RuleEvaluationStatus": "Error", "StatusDetails": "No tensors."}
        ],
        "ProfilerRuleEvaluationStatuses": [
            {"RuleConfigurationName": "Unknown", "RuleEvaluationStatus": "Stopping"}
        ],
    }
    found = of_description(job)
    assert found is not None
    first, second = found.rules
    assert (first.name, first.rule, first.outcome, first.summary) == (
        "mine",
        "Overfit",
        Outcome.ERROR,
        "No tensors.",
    )
    assert (second.kind, second.outcome) == ("profiler", Outcome.IN_PROGRESS)
    assert not found.complete
    assert of_description({"DebugRuleEvaluationStatuses": None}) is None


def test_a_rule_without_verdict_has_none_when_the_job_has_ended() -> None:
    looking = rule("Overfit", Outcome.IN_PROGRESS, "3 evaluations.")
    (result,) = ended(Findings(rules=(looking,))).rules
    assert result.outcome is Outcome.STOPPED
    assert result.summary == "The job ended before the rule had its verdict. Until then: 3 evaluations."


def test_which_rule_stopped_the_job_is_a_sentence() -> None:
    at = Findings(stopped_by="Overfit", stopped_at=1200)
    assert stop_sentence(at) == "Overfit stopped the training after step 1,200."
    assert stop_sentence(Findings(stopped_by="Overfit")) == "Overfit stopped the training."
    assert stop_sentence(Findings()) == stop_sentence(None) == ""


def test_rules_that_do_not_apply_are_counted_by_their_outcome() -> None:
    fine = rule("Overfit", Outcome.NO_ISSUES, "This does not apply.")
    idle = [rule(name, Outcome.DOES_NOT_APPLY) for name in ("CPUBottleneck", "LoadBalancing", "DeadRelu")]
    assert not_applying([fine]) == ""
    assert not_applying([fine, *idle[:2]]) == "2 do not apply without a GPU"
    assert not_applying(idle) == "3 do not apply (2 without a GPU)"
    assert not_applying(idle[2:]) == "1 does not apply"


def test_every_outcome_has_its_words() -> None:
    assert set(LABELS) == set(Outcome)
