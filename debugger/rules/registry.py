"""All rules by AWS's names."""

from __future__ import annotations

from collections.abc import Mapping

from contract.rules import ParameterError, find
from debugger.rules.class_imbalance import ClassImbalance
from debugger.rules.dead_relu import DeadRelu
from debugger.rules.exploding_tensor import ExplodingTensor
from debugger.rules.loss_not_decreasing import LossNotDecreasing
from debugger.rules.overfit import Overfit
from debugger.rules.overtraining import Overtraining
from debugger.rules.poor_weight_initialization import PoorWeightInitialization
from debugger.rules.profiler_report import PARTS, ProfilerReport
from debugger.rules.rule import Plan, Rule
from debugger.rules.vanishing_gradient import VanishingGradient
from debugger.rules.weight_update_ratio import WeightUpdateRatio

_ALL: tuple[type[Rule], ...] = (
    ClassImbalance,
    DeadRelu,
    ExplodingTensor,
    LossNotDecreasing,
    Overfit,
    Overtraining,
    PoorWeightInitialization,
    VanishingGradient,
    WeightUpdateRatio,
    *PARTS,
    ProfilerReport,
)
RULES: Mapping[str, type[Rule]] = {rule.name: rule for rule in _ALL}


def make(name: str, parameters: Mapping[str, object], plan: Plan | None = None) -> Rule:
    """The rule of that name. Raises `ParameterError` where there is none, or for its parameters."""
    if not name.strip():
        raise ParameterError("rule_to_invoke is missing: it names the rule")
    return RULES[find(name).name](parameters, plan)
