"""What AWS's documents forbid in a WarmStartConfig ("Warm Start Tuning Restrictions")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from local.api.control import Request, unique
from local.errors import ValidationException
from local.jobs import parents
from local.jobs.documents import Document
from local.store import Store

_MOST_CHANGES = 10
_INJECTED = "_tuning_objective_metric"
_KINDS = {
    "ContinuousParameterRanges": "continuous",
    "IntegerParameterRanges": "integer",
    "CategoricalParameterRanges": "categorical",
}


def check(store: Store, request: Request) -> int:
    """ValidationException for what AWS refuses; how many training jobs the parents have launched."""
    if "WarmStartConfig" not in request:
        return 0
    names = parents.names(request)
    unique(names, "parent tuning job")
    definition = request.get("TrainingJobDefinition")
    if definition is None:
        raise ValidationException(
            "WarmStartConfig: warm start takes a single TrainingJobDefinition, not TrainingJobDefinitions."
        )
    launched = 0
    for name in names:
        parent = store.get("tuning-job", name)
        if parent is None:
            raise ValidationException(f"WarmStartConfig: there is no parent tuning job {name}.")
        _check_parent(parent, request, definition)
        launched += len(parents.children(store, parent))
    return launched


def _check_parent(parent: Document, request: Request, definition: Mapping[str, Any]) -> None:
    name, status = parent["HyperParameterTuningJobName"], parent["HyperParameterTuningJobStatus"]
    if status not in ("Completed", "Stopped", "Failed"):
        raise ValidationException(
            f"WarmStartConfig: the parent {name} is {status}: wait until it is Completed, Stopped or Failed."
        )
    old = parent.get("TrainingJobDefinition")
    if old is None:
        raise ValidationException(
            f"WarmStartConfig: the parent {name} has several TrainingJobDefinitions; warm start takes one."
        )
    then, now = parent["HyperParameterTuningJobConfig"], request["HyperParameterTuningJobConfig"]
    objectives = [_objective(then, old), _objective(now, definition)]
    if objectives[0] != objectives[1]:
        raise ValidationException(
            f"WarmStartConfig: the objective of the parent {name} is {objectives[0]}, and this one's is "
            f"{objectives[1]}: they must be the same."
        )
    _check_hyperparameters(name, _Space.of(then, old), _Space.of(now, definition))
    if parents.identical(request):
        _check_identical(name, old, definition)


def _objective(config: Mapping[str, Any], definition: Mapping[str, Any]) -> str:
    objective = definition.get("TuningObjective") or config["HyperParameterTuningJobObjective"]
    return f"{objective['Type']} {objective['MetricName']}"


class _Space:
    """A definition's hyperparameters: kinds of the tuned, values of those with a list, and static ones."""

    def __init__(self, ranges: Mapping[str, Any], static: Mapping[str, str]) -> None:
        self.kinds = {each["Name"]: word for kind, word in _KINDS.items() for each in ranges.get(kind, [])}
        self.values = {each["Name"]: each["Values"] for each in ranges.get("CategoricalParameterRanges", [])}
        self.static = {key: value for key, value in static.items() if key != _INJECTED}

    @classmethod
    def of(cls, config: Mapping[str, Any], definition: Mapping[str, Any]) -> _Space:
        ranges = definition.get("HyperParameterRanges") or config.get("ParameterRanges", {})
        return cls(ranges, definition.get("StaticHyperParameters", {}))

    @property
    def names(self) -> set[str]:
        return {*self.kinds, *self.static}


def _check_hyperparameters(parent: str, old: _Space, new: _Space) -> None:
    if len(old.names) != len(new.names):
        extra, gone = sorted(new.names - old.names), sorted(old.names - new.names)
        raise ValidationException(
            f"WarmStartConfig: the parent {parent} has {len(old.names)} static and tunable hyperparameters, "
            f"and this tuning job {len(new.names)} (more: {', '.join(extra) or 'none'}; missing: "
            f"{', '.join(gone) or 'none'}). Their number must be the same."
        )
    for name in sorted({*old.kinds} & {*new.kinds}):
        if old.kinds[name] != new.kinds[name]:
            raise ValidationException(
                f"WarmStartConfig: {name} is {old.kinds[name]} in the parent {parent} and {new.kinds[name]} "
                "here: the type of a hyperparameter must not change."
            )
    changes = 0
    for name, value in new.static.items():
        if name in old.kinds:
            changes += len(old.values.get(name, [""]))
        elif old.static.get(name) != value:
            changes += 2
    if changes > _MOST_CHANGES:
        raise ValidationException(
            f"WarmStartConfig: {changes} changes of static hyperparameters since the parent {parent}; "
            f"{_MOST_CHANGES} are allowed."
        )


def _check_identical(parent: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """The same channels, and the same image; its tag may differ, for a version with better logs, say."""
    data = [
        {
            channel["ChannelName"]: channel["DataSource"].get("S3DataSource", {}).get("S3Uri")
            for channel in definition.get("InputDataConfig", [])
        }
        for definition in (old, new)
    ]
    if data[0] != data[1]:
        raise ValidationException(
            f"WarmStartConfig: IdenticalDataAndAlgorithm, but the parent {parent} was given other data: "
            "take the same InputDataConfig, or TransferLearning."
        )
    images = [each["AlgorithmSpecification"]["TrainingImage"] for each in (old, new)]
    if _repository(images[0]) != _repository(images[1]):
        raise ValidationException(
            f"WarmStartConfig: IdenticalDataAndAlgorithm, but the parent {parent} trained in the image "
            f"{images[0]}, and not {images[1]}: take the same image, or TransferLearning."
        )


def _repository(image: str) -> str:
    folder, slash, name = image.partition("@")[0].rpartition("/")
    return folder + slash + name.partition(":")[0]
