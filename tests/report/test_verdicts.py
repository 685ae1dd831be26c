"""What the rules said, in the report's words."""

from __future__ import annotations

from typing import Any

import pytest

from contract.findings import Finding, Findings, Outcome, Part
from report.verdicts import Verdict, mark, question, sentence, verdicts
from tests.report.sample_findings import rule

SLOW = Finding(97, None, "low", "Step 97 took 139 ms.", "A slow picture.", "Raise workers.")


def said(outcome: Outcome, *names: str) -> list[Verdict]:
    return [Verdict(rule(name, outcome)) for name in names]


FOUND, FINE, SHORT, IDLE = (
    Outcome.ISSUES_FOUND,
    Outcome.NO_ISSUES,
    Outcome.COULD_NOT_JUDGE,
    Outcome.DOES_NOT_APPLY,
)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ([], "No rule has looked at this job."),
        (said(FINE, "A", "B"), "None of 2 rules found anything to change."),
        (
            said(FINE, "A") + said(SHORT, "B", "C"),
            "1 of 3 rules found nothing; 2 could not judge: B and C.",
        ),
        (
            said(FOUND, "A") + said(FINE, "B") + said(SHORT, "C"),
            "1 of 3 rules found something to change: A; 1 could not judge: C.",
        ),
        (
            said(FINE, "A") + said(Outcome.ERROR, "B") + said(Outcome.STOPPED, "C"),
            "1 of 3 rules found nothing; 1 failed: B; 1 stopped: C.",
        ),
        (
            said(FINE, "A", "B") + said(IDLE, "CPUBottleneck", "LoadBalancing"),
            "2 of 4 rules found nothing; 2 do not apply without a GPU.",
        ),
        (
            said(FOUND, "A") + said(IDLE, "CPUBottleneck", "DeadRelu"),
            "1 of 3 rules found something to change: A; 2 do not apply (1 without a GPU).",
        ),
        (said(IDLE, "CPUBottleneck"), "Of 1 rule, 1 does not apply without a GPU."),
        (said(Outcome.IN_PROGRESS, *"ABCDEF"), "Of 6 rules, 6 still looking: A, B, C, D and 2 more."),
        (said(SHORT, "A"), "Of 1 rule, 1 could not judge: A."),
    ],
)
def test_the_headline_counts_who_found_what_and_who_could_not(found: list[Verdict], text: str) -> None:
    assert sentence(found) == text


def test_findings_of_a_log_without_verdicts_are_not_counted_among_all_rules() -> None:
    text = "A and B found something to change; the other rules have given no verdict."
    assert sentence(said(FOUND, "A", "B"), complete=False) == text
    # A file that is not complete names all rules.
    assert "2 of 3" not in sentence(said(FOUND, "A", "B"), complete=False)
    assert "2 of 3" in sentence(said(FOUND, "A", "B") + said(Outcome.IN_PROGRESS, "C"), complete=False)


@pytest.mark.parametrize(
    ("outcome", "sign"),
    [(FOUND, "!"), (FINE, "✓"), (SHORT, "–"), (IDLE, "–"), (Outcome.ERROR, "–")],
)
def test_only_a_rule_that_judged_has_a_check_mark(outcome: Outcome, sign: str) -> None:
    assert mark(outcome) == sign


def test_issues_come_first_and_of_them_the_gravest() -> None:
    grave = Finding(3, "loss", "high", "NaN.", "", "")
    results = (
        rule("DeadRelu", FINE),
        rule("StepOutlier", FOUND, findings=[SLOW]),
        rule("Overfit", SHORT),
        rule("ExplodingTensor", FOUND, findings=[grave]),
    )
    order = [verdict.rule for verdict in verdicts(Findings(rules=results))]
    assert order == ["ExplodingTensor", "StepOutlier", "Overfit", "DeadRelu"]


def test_a_rule_made_of_rules_repeats_none_that_the_job_has_of_its_own() -> None:
    parts = [Part("StepOutlier", FOUND, "5 outliers.", 1)]
    other = Finding(None, None, "medium", "CPUBottleneck: full.", "Too few cores.", "Take more.")
    results = (
        rule("StepOutlier", FOUND, findings=[SLOW]),
        rule("ProfilerReport", FOUND, findings=[SLOW, other], parts=parts, window=500),
    )
    outlier, report = verdicts(Findings(rules=results))
    assert (outlier.rule, [item.message for item in outlier.findings]) == ("StepOutlier", [SLOW.message])
    assert [item.message for item in report.findings] == ["CPUBottleneck: full."]
    assert not report.parameters
    (alone,) = verdicts(Findings(rules=results[1:]))
    assert len(alone.findings) == 2


def test_findings_with_one_cause_are_one_advice() -> None:
    def at(step: int | None, severity: Any = "high") -> Finding:
        return Finding(step, "loss", severity, "It rises.", "The rate.", "Lower it.")

    result = rule("Overfit", FOUND, findings=[at(10), at(40), at(20, "low"), at(None)], total=9)
    (verdict,) = verdicts(Findings(rules=(result,)))
    assert [advice.span for advice in verdict.advice] == ["3 findings, steps 10 to 40", "step 20, loss"]
    assert (verdict.severity, verdict.unlisted) == ("high", 5)


def test_questions_and_what_a_rule_looks_for_are_those_of_the_contract() -> None:
    (verdict,) = verdicts(Findings(rules=(rule("Overfit", FINE, ratio_threshold=0.1, tensor_regex=None),)))
    assert verdict.question == "Does it do as well on new pictures as on known ones?"
    assert verdict.description == "It looks for a validation loss well above the training loss."
    assert verdict.parameters == {"ratio_threshold": "0.1"}
    assert question("Somebodys") == ""
