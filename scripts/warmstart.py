"""A tuning job that goes on from earlier ones: which kind of warm start fits, and what SageMaker wants of it.

SageMaker's rules are those of "Warm Start Tuning Restrictions": at most five parents that are over, the same
objective, and the same hyperparameters, static and tuned ones together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from contract.errors import ByocError
from contract.hyperparameters import HYPERPARAMETERS, is_reserved
from contract.s3 import split
from report.read import aws, tuning
from report.read.aws import Clients
from report.read.jobs import UNDER_WAY
from scripts.awsdebugger import Request
from scripts.ranges import text_of

Kind = Literal["IdenticalDataAndAlgorithm", "TransferLearning"]
_MOST = 5
_RANGES = ("ContinuousParameterRanges", "IntegerParameterRanges", "CategoricalParameterRanges")
_OBJECTIVE = "_tuning_objective_metric"


def look(clients: Clients, names: Sequence[str]) -> list[Mapping[str, Any]]:
    """The descriptions of the parents.

    Raises:
        ByocError: there are too many, one is missing, or one still runs.
    """
    names = list(dict.fromkeys(names))
    if len(names) > _MOST:
        raise ByocError(
            f"--warm-start names {len(names)} tuning jobs; SageMaker takes {_MOST}.", "Leave some out."
        )
    parents: list[Mapping[str, Any]] = []
    for name in names:
        described = tuning.describe(clients, name)
        if (status := described["HyperParameterTuningJobStatus"]) in UNDER_WAY:
            raise ByocError(
                f"--warm-start {name}: it is {status}, and SageMaker takes tuning jobs that are over.",
                f"Wait for it with `byoc watch {name}`, or end it with `byoc stop {name}`.",
            )
        if "TrainingJobDefinition" not in described:
            raise ByocError(
                f"--warm-start {name}: it has several training job definitions.",
                "SageMaker takes tuning jobs with one.",
            )
        parents.append(described)
    return parents


def kind(clients: Clients, request: Request, parents: Sequence[Mapping[str, Any]]) -> tuple[Kind, str]:
    """The kind of warm start that fits, and why it is not the other one.

    Objectives can be compared where image and pictures are the same, also the pictures below the address.
    """
    definition = request["TrainingJobDefinition"]
    for parent in parents:
        name, old = parent["HyperParameterTuningJobName"], parent["TrainingJobDefinition"]
        if _image(old) != _image(definition):
            return "TransferLearning", f"{name} trained in another image, {_image(old)}"
        if _data(old) != _data(definition):
            return "TransferLearning", f"{name} trained on other data"
    first = min(parent["CreationTime"] for parent in parents)
    for channel, uri in _data(definition).items():
        if changed_since(clients, uri, first):
            return "TransferLearning", f"the channel {channel} has been uploaded to since"
    return "IdenticalDataAndAlgorithm", ""


def changed_since(clients: Clients, uri: str, moment: datetime) -> bool:
    """Whether an object below the address is newer."""
    bucket, prefix = split(uri)
    return any(item["LastModified"] > moment for item in aws.objects(clients.s3, bucket, prefix))


def warm_started(request: Request, parents: Sequence[Mapping[str, Any]], chosen: Kind) -> Request:
    """The request of a tuning job that goes on from the parents.

    A hyperparameter that the parents have and this one has not is fixed at what the trainer takes without it;
    one of its fixed ones that the parents lack is left out if it is the trainer's default anyway.

    Raises:
        ByocError: the parents have another objective, or cannot have the same hyperparameters.
    """
    static = dict(request["TrainingJobDefinition"]["StaticHyperParameters"])
    tuned = _tuned(request)
    defaults = {item.name: text_of(item.default) for item in HYPERPARAMETERS}
    theirs = [{*_tuned(parent), *_static(parent)} for parent in parents]
    for missing in sorted(set().union(*theirs) - tuned - static.keys()):
        if missing in defaults:
            static[missing] = defaults[missing]
    for parent, names in zip(parents, theirs, strict=True):
        _check_objective(request, parent)
        for extra in sorted(static.keys() - names):
            if static[extra] == defaults.get(extra):
                del static[extra]
        own = {name for name in {*static, *tuned} if name != _OBJECTIVE}
        if own != names:
            raise _others(parent["HyperParameterTuningJobName"], sorted(own - names), sorted(names - own))
    return {
        **request,
        "TrainingJobDefinition": {**request["TrainingJobDefinition"], "StaticHyperParameters": static},
        "WarmStartConfig": {
            "ParentHyperParameterTuningJobs": [
                {"HyperParameterTuningJobName": parent["HyperParameterTuningJobName"]} for parent in parents
            ],
            "WarmStartType": chosen,
        },
    }


def _check_objective(request: Request, parent: Mapping[str, Any]) -> None:
    """Another program may have given the parent's objective and ranges to its definition."""
    here, there = (tuning.TuningJob("", each).objective for each in (request, parent))
    if here != there:
        raise ByocError(
            f"--warm-start {parent['HyperParameterTuningJobName']}: its objective is "
            f"{there['Type']} {there['MetricName']}, and this one's {here['Type']} {here['MetricName']}.",
            f'Set tune.objective = "{there["MetricName"]}": a warm start needs the same.'
            if here["MetricName"] != there["MetricName"]
            else "Leave that tuning job out.",
        )


def _others(parent: str, more: Sequence[str], missing: Sequence[str]) -> ByocError:
    parts = [f"{', '.join(more)} here only"] if more else []
    parts += [f"{', '.join(missing)} there only"] if missing else []
    ours = [name for name in more if not is_reserved(name)]
    remedy = (
        f"Take {', '.join(ours)} out of [tune.ranges] and [hyperparameters]; or fix it in the first tuning "
        "job already, so that a later one may vary it."
        if ours
        else "Leave that tuning job out."
    )
    return ByocError(
        f"--warm-start {parent}: SageMaker wants the same hyperparameters, and there is {'; '.join(parts)}.",
        remedy,
    )


def _tuned(job: Mapping[str, Any]) -> set[str]:
    ranges = (
        job["TrainingJobDefinition"].get("HyperParameterRanges")
        or job["HyperParameterTuningJobConfig"].get("ParameterRanges")
        or {}
    )
    return {item["Name"] for key in _RANGES for item in ranges.get(key, [])}


def _static(parent: Mapping[str, Any]) -> set[str]:
    return {*parent["TrainingJobDefinition"].get("StaticHyperParameters", {})} - {_OBJECTIVE}


def _image(definition: Mapping[str, Any]) -> str:
    """Without tag and digest: another version of an image is the same algorithm."""
    algorithm = definition["AlgorithmSpecification"]
    image = str(algorithm.get("TrainingImage") or algorithm.get("AlgorithmName")).partition("@")[0]
    folder, slash, name = image.rpartition("/")
    return f"{folder}{slash}{name.partition(':')[0]}"


def _data(definition: Mapping[str, Any]) -> dict[str, str]:
    return {
        channel["ChannelName"]: channel["DataSource"].get("S3DataSource", {}).get("S3Uri", "")
        for channel in definition.get("InputDataConfig", [])
    }
