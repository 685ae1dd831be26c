"""Autotune: ranges around the example values of a request, and what else it leaves open.

AWS does not say how it chooses. Here a whole number is searched from a quarter to four times its example, any
other positive number over two orders of magnitude, and one from 0.5 to 1, such as a momentum, near 1. Texts,
zero, negative numbers, the epochs and the seed keep their example.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

from local.jobs.hyperband import EPOCHS

_KEPT = frozenset((*EPOCHS, "seed", "random_seed"))
_JOBS_PER_RANGE, _MOST_JOBS = 10, 50


def enabled(request: Mapping[str, Any]) -> bool:
    return "Autotune" in request


def chosen(request: Mapping[str, Any]) -> dict[str, Any]:
    """The request with everything chosen: as if its author had written ranges, limits and criteria."""
    full = copy.deepcopy(dict(request))
    config = full["HyperParameterTuningJobConfig"]
    count, shared = 0, False
    one = full.get("TrainingJobDefinition")
    for definition in [one] if one is not None else full.get("TrainingJobDefinitions", []):
        ranges = definition.get("HyperParameterRanges")
        again = ranges is None and shared
        if ranges is None:
            ranges, shared = config.setdefault("ParameterRanges", {}), True
        count += _choose(ranges, definition.setdefault("StaticHyperParameters", {}), again=again)
    limits = config["ResourceLimits"]
    if config["Strategy"] != "Grid" and "MaxRuntimeInSeconds" not in limits:
        most = max(limits["MaxParallelTrainingJobs"], min(_MOST_JOBS, _JOBS_PER_RANGE * max(1, count)))
        limits.setdefault("MaxNumberOfTrainingJobs", most)
    if config["Strategy"] in ("Bayesian", "Random") and one is not None:
        config.setdefault("TrainingJobEarlyStoppingType", "Auto")
    criteria = config.setdefault("TuningJobCompletionCriteria", {})
    criteria.setdefault("ConvergenceDetected", {"CompleteOnConvergence": "Enabled"})
    return full


def _choose(ranges: dict[str, Any], static: dict[str, str], *, again: bool) -> int:
    """Puts each of AutoParameters among the ranges or the static values; how many ranges there are then.

    `again`: the ranges are those of a definition before, and have theirs.
    """
    for parameter in ranges.get("AutoParameters", []):
        name, hint = parameter["Name"], parameter["ValueHint"]
        kind, entry = _range(name, hint.strip('"'))
        if entry and not again:
            ranges.setdefault(kind, []).append({"Name": name, **entry})
        elif not entry:
            static.setdefault(name, hint)
    return sum(len(entries) for kind, entries in ranges.items() if kind != "AutoParameters")


def _range(name: str, hint: str) -> tuple[str, dict[str, str]]:
    try:
        value = float(hint)
    except ValueError:
        value = math.nan
    if name in _KEPT or not math.isfinite(value) or value <= 0:
        return "", {}
    if hint.isdecimal():
        least, most = max(1, int(hint) // 4), int(hint) * 4
        return "IntegerParameterRanges", _interval(least, most, "Logarithmic")
    if 0.5 <= value < 1:
        low, high = max(0.0, round(1 - (1 - value) * 10, 9)), 1 - (1 - value) / 10
        return "ContinuousParameterRanges", _interval(low, high, "ReverseLogarithmic")
    high = min(1.0, value * 10) if value < 1 else value * 10
    return "ContinuousParameterRanges", _interval(value / 10, high, "Logarithmic")


def _interval(low: float, high: float, scaling: str) -> dict[str, str]:
    # More digits than `g` has: 1.2e+06 is no whole number, and 0.9999999 is not 1.
    return {"MinValue": f"{low:.12g}", "MaxValue": f"{high:.12g}", "ScalingType": scaling}
