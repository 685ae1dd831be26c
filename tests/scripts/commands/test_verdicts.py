"""What the terminal shows of the debugger's rules."""

from __future__ import annotations

import pytest

from contract.findings import Finding, FindingLine, Findings, Outcome, RuleResult, StopLine, VerdictLine
from scripts.commands.verdicts import FindingsLog, show_verdicts
from scripts.output import Output


def test_a_finding_is_shown_with_its_place_and_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    FindingsLog(Output()).show(FindingLine("Overfit", 1200, "loss", "high", "It rises.", "Lower it."))
    assert capsys.readouterr().out.splitlines() == [
        "! Overfit step 1,200, loss It rises.",
        "  → Lower it.",
    ]


def test_of_many_findings_of_a_rule_the_first_are_shown_and_each_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = FindingsLog(Output())
    for step in range(20):
        log.show(FindingLine("DeadRelu", step, None, "medium", f"Dead at {step}.", "Lower it."))
    log.show(FindingLine("DeadRelu", 99, None, "medium", "All dead.", "Start anew."))
    log.show(FindingLine("Overfit", 5, None, "medium", "It rises.", "Lower it."))
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("!")]
    assert [line.split()[3].rstrip(",") for line in shown] == ["0", "1", "2", "99", "5"]


def test_the_end_of_a_training_is_shown_and_verdicts_wait_for_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = FindingsLog(Output())
    log.show(VerdictLine("Overfit", Outcome.NO_ISSUES, "All is well."))
    log.show(StopLine("DeadRelu", 120, "All dead."))
    assert capsys.readouterr().out == "■ DeadRelu ended the training at step 120: All dead.\n"


def test_verdicts_with_evidence_are_a_table_and_the_rest_a_line_for_each_outcome(
    capsys: pytest.CaptureFixture[str],
) -> None:
    finding = Finding(3, None, "high", "Dead.", "why", "what")
    results = (
        RuleResult("DeadRelu", "DeadRelu", "debugger", Outcome.ISSUES_FOUND, "3 of 4 layers.", total=1,
                   findings=(finding,)),
        RuleResult("Overfit", "Overfit", "debugger", Outcome.NO_ISSUES, "Ratio 0.01."),
        RuleResult("Mine", "Mine", "debugger", Outcome.COULD_NOT_JUDGE, "Looked at once."),
        RuleResult("VanishingGradient", "VanishingGradient", "debugger", Outcome.NO_ISSUES),
        RuleResult("BatchSize", "BatchSize", "profiler", Outcome.DOES_NOT_APPLY, "No GPU."),
    )  # fmt: skip
    show_verdicts(Output(), Findings("j", True, results, ("Nothing was measured.",), "DeadRelu", 120))
    captured = capsys.readouterr()
    lines = {
        line.split()[0]: " ".join(line.split()[1:]) for line in captured.out.splitlines() if line.strip()
    }
    assert lines["DeadRelu"] == "Issues found 3 of 4 layers."
    assert lines["Mine"] == "Could not judge Looked at once."
    assert "No issues: Overfit, VanishingGradient\n" in captured.out
    assert "Does not apply: BatchSize\n" in captured.out
    said = captured.out + captured.err
    assert "DeadRelu stopped the training after step 120." in said
    assert "Nothing was measured." in said


def test_no_findings_are_no_words(capsys: pytest.CaptureFixture[str]) -> None:
    show_verdicts(Output(), None)
    assert capsys.readouterr().out == ""
