"""What the rules said, in the report's words."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.jobs import COULD_NOT_JUDGE, DOES_NOT_APPLY
from scripts.report.inputs import ReportInputs
from scripts.report.verdicts import Part, Verdict, sentence, verdicts
from train.rules import evaluator
from train.rules.system import NO_GPU

SHORT = f"{COULD_NOT_JUDGE}the weights were saved at step 0 only: train longer."


def said(status: str, *rules: str) -> list[Verdict]:
    return [Verdict(name, name, status, "debug") for name in rules]


def idle(name: str, summary: str) -> Verdict:
    return Verdict(name, name, "DoesNotApply", "profiler", summary)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ([], "No rule has looked at this job."),
        (said("NoIssuesFound", "A", "B"), "None of 2 rules found anything to change."),
        (
            said("NoIssuesFound", "A") + said("CouldNotJudge", "B", "C"),
            "1 of 3 rules found nothing; 2 could not judge: B and C.",
        ),
        (
            said("IssuesFound", "A") + said("NoIssuesFound", "B") + said("CouldNotJudge", "C"),
            "1 of 3 rules found something to change: A; 1 could not judge: C.",
        ),
        (
            said("NoIssuesFound", "A") + said("Error", "B") + said("Stopped", "C"),
            "1 of 3 rules found nothing; 1 failed: B; 1 stopped: C.",
        ),
        (
            [*said("NoIssuesFound", "A", "B"), idle("C", NO_GPU), idle("D", NO_GPU)],
            "2 of 4 rules found nothing; 2 do not apply without a GPU.",
        ),
        (
            [*said("IssuesFound", "A"), idle("B", NO_GPU), idle("C", "This does not apply.")],
            "1 of 3 rules found something to change: A; 2 do not apply (1 without a GPU).",
        ),
        ([idle("A", NO_GPU)], "Of 1 rule, 1 does not apply without a GPU."),
        (said("InProgress", *"ABCDEF"), "Of 6 rules, 6 still looking: A, B, C, D and 2 more."),
        (said("CouldNotJudge", "A"), "Of 1 rule, 1 could not judge: A."),
    ],
)
def test_the_headline_counts_who_found_what_and_who_could_not(found: list[Verdict], text: str) -> None:
    assert sentence(found) == text


def test_the_rules_and_the_report_agree_on_how_the_details_begin() -> None:
    assert evaluator.COULD_NOT_JUDGE == COULD_NOT_JUDGE
    assert NO_GPU.endswith(DOES_NOT_APPLY)


def test_a_rule_that_does_not_apply_is_no_rule_that_found_nothing() -> None:
    entry = {"RuleConfigurationName": "LoadBalancing", "RuleEvaluationStatus": "NoIssuesFound"}
    describe = {"ProfilerRuleEvaluationStatuses": [entry | {"StatusDetails": NO_GPU}]}
    (verdict,) = verdicts(ReportInputs("job", describe=describe))
    assert (verdict.status, verdict.label, verdict.mark) == ("DoesNotApply", "Does not apply", "–")


@pytest.mark.parametrize("source", ["describe", "status", "findings"])
def test_a_rule_that_could_not_judge_is_told_from_one_that_failed(source: str) -> None:
    key, details = (
        ("rules", "Summary") if source == "findings" else ("DebugRuleEvaluationStatuses", "StatusDetails")
    )
    entries: list[dict[str, Any]] = [
        {"RuleConfigurationName": "Short", "RuleEvaluationStatus": "Error", details: SHORT},
        {
            "RuleConfigurationName": "Broken",
            "RuleEvaluationStatus": "Error",
            details: "InternalServerError: KeyError",
        },
    ]
    broken, short = verdicts(ReportInputs("job", **{"describe": {}, source: {key: entries}}))
    assert (broken.label, broken.summary) == ("Error", "InternalServerError: KeyError")
    assert (short.label, short.summary) == (
        "Could not judge",
        "The weights were saved at step 0 only: train longer.",
    )


def test_a_part_that_could_not_judge_has_no_check_mark() -> None:
    assert Part("A", 0, 9, "Over 9 steps all is well.", {}).mark == "✓"
    assert Part("A", 0, 9, "Could not judge: 9 steps were timed.", {}).mark == "–"
