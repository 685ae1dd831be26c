"""A CreateHyperParameterTuningJob request, and parts of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

Make = Callable[..., dict[str, Any]]

LR = {"Name": "lr", "MinValue": "0.001", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
BATCH = {"Name": "batch_size", "Values": ["16", "32"]}


def warm(*names: str, kind: str = "IdenticalDataAndAlgorithm") -> dict[str, Any]:
    parents = [{"HyperParameterTuningJobName": name} for name in names]
    return {"WarmStartConfig": {"ParentHyperParameterTuningJobs": parents, "WarmStartType": kind}}


@pytest.fixture
def tuning(training: Make, image: str) -> Make:
    """A CreateHyperParameterTuningJob request; members replace the configuration's or its own."""

    def make(name: str = "tune", definition: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
        trial = training()
        del trial["TrainingJobName"]
        trial["AlgorithmSpecification"] = {
            "TrainingImage": image,
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "accuracy", "Regex": "accuracy=(.*)"}],
        }
        trial["StaticHyperParameters"] = {"epochs": "2"}
        trial.update(copy.deepcopy(definition or {}))
        config = {
            "Strategy": "Bayesian",
            "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": "accuracy"},
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": {
                "ContinuousParameterRanges": [LR],
                "CategoricalParameterRanges": [BATCH],
            },
        }
        request = {
            "HyperParameterTuningJobName": name,
            "HyperParameterTuningJobConfig": config,
            "TrainingJobDefinition": trial,
        }
        for key, value in members.items():
            place = (
                config
                if key in config
                or key in ("RandomSeed", "StrategyConfig", "TrainingJobEarlyStoppingType")
                or key == "TuningJobCompletionCriteria"
                else request
            )
            if value is None:
                del place[key]
            else:
                place[key] = value
        return request

    return make
