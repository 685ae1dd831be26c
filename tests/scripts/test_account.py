"""What is judged before a job is paid for."""

import pytest

from scripts.account import check_rules
from scripts.errors import BAD_INPUT, ByocError
from scripts.settings import load


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            'debugger.rules=["LossNotDecresing"]',
            r"no rule LossNotDecresing\. Did you mean LossNotDecreasing\?",
        ),
        ('profiler.rules=["stepoutlier"]', r"no rule stepoutlier\. Did you mean StepOutlier\?"),
        ('debugger.rules=["Nonsense"]', r"no rule Nonsense\. Allowed: ClassImbalance, "),
        (
            "debugger.parameters.Overfti.patience=2",
            r"Overfti is not in debugger.rules\. Did you mean Overfit\?",
        ),
        ("debugger.parameters.Overfit.pateince=2", r"no parameter 'pateince'.* Did you mean patience\?"),
        ("debugger.parameters.Overfit.patience=soon", r"patience='soon' must be a whole number"),
        ("profiler.parameters.ProfilerReport.StepOutlier_stdev=2", "no parameter 'stdev'; it has .*stddev"),
    ],
)
def test_a_misspelled_rule_is_told_with_what_was_meant(override: str, message: str) -> None:
    with pytest.raises(ByocError, match=message) as caught:
        check_rules(load(required=False, overrides=[override], environment={}))
    assert caught.value.code == BAD_INPUT


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["debugger.parameters.Overfit.patience=2", "debugger.parameters.Overfit.stop_training_on_fire=true"],
        ["profiler.parameters.ProfilerReport.StepOutlier_stddev=2"],
        ["debugger.enabled=false", 'debugger.rules=["Nonsense"]'],
    ],
)
def test_what_the_rules_take_passes(overrides: list[str]) -> None:
    check_rules(load(required=False, overrides=overrides, environment={}))
