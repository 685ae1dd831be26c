"""All rules by AWS's names."""

from __future__ import annotations

from collections.abc import Mapping

from train.rules.class_imbalance import ClassImbalance
from train.rules.dead_relu import DeadRelu
from train.rules.exploding_tensor import ExplodingTensor
from train.rules.loss_not_decreasing import LossNotDecreasing
from train.rules.overfit import Overfit
from train.rules.overtraining import Overtraining
from train.rules.poor_weight_initialization import PoorWeightInitialization
from train.rules.profiler_report import PARTS, ProfilerReport
from train.rules.rule import ParameterError, Rule
from train.rules.vanishing_gradient import VanishingGradient
from train.rules.weight_update_ratio import WeightUpdateRatio

_DEBUGGER: tuple[type[Rule], ...] = (
    ClassImbalance,
    DeadRelu,
    ExplodingTensor,
    LossNotDecreasing,
    Overfit,
    Overtraining,
    PoorWeightInitialization,
    VanishingGradient,
    WeightUpdateRatio,
)
DEBUGGER_RULES: Mapping[str, type[Rule]] = {rule.name: rule for rule in _DEBUGGER}
_PROFILER: tuple[type[Rule], ...] = (*PARTS, ProfilerReport)
PROFILER_RULES: Mapping[str, type[Rule]] = {rule.name: rule for rule in _PROFILER}
RULES: Mapping[str, type[Rule]] = {**DEBUGGER_RULES, **PROFILER_RULES}


def make(parameters: Mapping[str, object]) -> Rule:
    """The rule that RuleParameters describes; `rule_to_invoke` names it. Raises `ParameterError`."""
    name = str(parameters.get("rule_to_invoke", "")).strip()
    found = next((rule for known, rule in RULES.items() if known.lower() == name.lower()), None)
    if found is None:
        raise ParameterError(
            f"rule_to_invoke={name!r} is not a rule; the rules are {', '.join(sorted(RULES))}"
        )
    return found(dict(parameters))
